//! Budgets, what is taken back, and what is said when nothing comes.

use std::time::Duration;

use moorline_messages::{
    DownloadRequest, FetchError, FetchItems, FetchRequest, HashOrNumber, RequestId, Stall,
};

use super::rig::{MemoryStore, Rig, chain, fat, hashes, head, is_for_headers, peer};
use crate::{Budget, core::Input};

const HEADERS: usize = FetchItems::MAX_HEADERS as usize;

fn header_bytes() -> usize {
    HEADERS * size_of::<moorline_messages::SealedHeader>()
}

#[test]
fn bodies_under_way_stay_within_the_bytes_allowed() {
    let budget = Budget { in_flight_bytes: 1 << 20, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(2_000);
    rig.ask_range(head(&blocks), 2_000);
    rig.serve_headers(peer(1), &blocks);
    // no body was seen yet, so each is taken to be 12 KiB
    let asked: usize = rig.fetches.iter().map(bodies_in).sum();
    assert!((1..=87).contains(&asked), "{asked} bodies are under way");
    rig.serve_all(&blocks);
    assert!(rig.told.len() > 1, "and yet it ends");
    rig.expect_nothing_held();
}

fn bodies_in(fetch: &FetchRequest) -> usize {
    match &fetch.items {
        FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => blocks.len(),
        FetchItems::Headers { .. } => 0,
    }
}

#[test]
fn no_more_blocks_are_queued_than_allowed() {
    let budget = Budget { queue_items: 1_024, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(5_000);
    let request = rig.ask_range(head(&blocks), 5_000);
    let mut most = 0;
    while let Some(fetch) = rig.fetches.pop_front() {
        rig.serve(fetch, peer(1), &blocks);
        rig.pass(Duration::from_millis(200));
        most = most.max(rig.progress.queued);
    }
    assert!((1..=1_024).contains(&most), "{most} were queued");
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn when_headers_fill_the_buffer_the_farthest_gives_way_to_the_next() {
    let budget = Budget { buffer_bytes: 5 * header_bytes(), ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(6_000);
    let request = rig.ask_range(head(&blocks), 6_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let next = rig.fetches.iter().filter(|fetch| is_for_headers(fetch)).count();
    assert!(next <= 5, "{next} chunks of headers are under way in room for five");
    // everything below arrives first, and cannot be linked; what comes next fails
    let next = rig.take_headers().unwrap();
    rig.serve_headers(peer(2), &blocks);
    rig.failed(next.id, peer(1), FetchError::TimedOut);
    let again = rig.fetches.iter().find(|fetch| is_for_headers(fetch)).expect("nothing moves");
    let FetchItems::Headers { top, .. } = &again.items else { unreachable!() };
    let proved = 6_000 - FetchItems::MAX_HEADERS;
    let by_hash = HashOrNumber::Hash(blocks[proved as usize - 1].header.hash());
    assert!(
        [by_hash, HashOrNumber::Number(proved)].contains(top),
        "{top:?} is not what comes next"
    );
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks), "what gave way was fetched again");
    rig.pass(Duration::from_secs(1));
    assert!(rig.progress.evicted <= 2 * FetchItems::MAX_HEADERS, "{}", rig.progress.evicted);
    rig.expect_nothing_held();
}

#[test]
fn what_gives_way_is_what_lies_farthest_down() {
    let budget = Budget { buffer_bytes: 5 * header_bytes(), ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = fat(&rig.genesis, 4_000, 80);
    rig.ask_range(head(&blocks), 4_000);
    // the disk is slow, so what is proved stays in the buffer
    rig.store_answers = false;
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let next = rig.take_headers().unwrap();
    let mut lowest = u64::MAX;
    while let Some(at) = rig.fetches.iter().position(is_for_headers) {
        let fetch = rig.fetches.remove(at).unwrap();
        if let FetchItems::Headers { top: HashOrNumber::Number(top), .. } = &fetch.items {
            lowest = lowest.min(*top);
        }
        rig.serve(fetch, peer(2), &blocks);
    }
    // bodies take the room that was kept for what comes next
    rig.answer_reads();
    let bodies = rig.fetches.pop_front().unwrap();
    rig.serve(bodies, peer(1), &blocks);
    rig.failed(next.id, peer(1), FetchError::TimedOut);
    rig.pass(Duration::from_secs(1));
    let evicted = rig.progress.evicted / FetchItems::MAX_HEADERS;
    assert!((1..=2).contains(&evicted), "{evicted} chunks");
    rig.store_answers = true;
    rig.answer_store();
    rig.serve_all(&blocks);
    let asked = |top: u64| rig.asked_by_number.iter().filter(|asked| **asked == top).count();
    assert_eq!((asked(lowest), asked(lowest + 1_024)), (2, 1), "{:?}", rig.asked_by_number);
}

#[test]
fn nothing_gives_way_to_what_waits_for_a_slow_disk() {
    let budget = Budget { buffer_bytes: 10 * header_bytes(), ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = fat_chain(&rig, 4_000);
    rig.ask_range(head(&blocks), 4_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.store_answers = false;
    rig.serve(first, peer(1), &blocks);
    let slow = rig.take_headers().unwrap();
    for _ in 0..3 {
        let at = rig.fetches.iter().position(is_for_headers).unwrap();
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(2), &blocks);
    }
    // bodies fill the buffer, and the disk stands still
    rig.answer_reads();
    while let Some(at) = rig.fetches.iter().position(|fetch| !is_for_headers(fetch)) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), &blocks);
        rig.answer_reads();
    }
    rig.pass(Duration::from_secs(1));
    let full = 10 * header_bytes() as u64;
    let buffered = rig.progress.buffered_bytes;
    assert!((full..full + (6 << 20)).contains(&buffered), "{buffered} of {full}");
    rig.fetches.clear();
    rig.failed(slow.id, peer(1), FetchError::TimedOut);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.progress.evicted, 0);
    assert!(rig.fetches.is_empty(), "a slow disk slows intake: {:?}", rig.fetches.len());
    rig.store_answers = true;
    rig.answer_store();
    assert!(!rig.fetches.is_empty(), "and it goes on when the disk does");
}

/// Blocks of some ten kilobytes.
fn fat_chain(rig: &Rig, count: u64) -> Vec<moorline_messages::Block> {
    fat(&rig.genesis, count, 200)
}

#[test]
fn bodies_that_grow_do_not_outgrow_the_buffer() {
    let budget = Budget { in_flight_bytes: 1 << 20, buffer_bytes: 1 << 20, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let small = rig.chain(1_500);
    let request = rig.ask_range(head(&small), 1_500);
    rig.serve_all(&small);
    assert_eq!(rig.delivered(request).len(), 1_500);
    let large = fat(&small[1_499].header, 1_500, 200);
    rig.ask_range(head(&large), 1_500);
    rig.serve_headers(peer(1), &large);
    rig.store_answers = false;
    for fetch in std::mem::take(&mut rig.fetches) {
        rig.serve(fetch, peer(1), &large);
    }
    rig.pass(Duration::from_secs(1));
    assert!(rig.progress.buffered_bytes <= 4 << 20, "{}", rig.progress.buffered_bytes);
}

#[test]
fn what_the_peer_manager_forgot_is_out_of_the_books() {
    let mut rig = Rig::new();
    let blocks = rig.chain(2_000);
    let request = rig.ask_range(head(&blocks), 2_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    rig.fetches.clear();
    rig.restart(moorline_messages::ActorName::PeerManager);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    rig.expect_nothing_held();
}

#[test]
fn headers_that_another_span_brought_are_taken_back() {
    let mut rig = Rig::new();
    let blocks = rig.chain(2_000);
    let lower = rig.ask_range(blocks[1_487].header.hash(), 1_488);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(lower).len(), 1_488);
    // two downloads of the same end: the earlier one proves it
    let one = rig.ask_range(head(&blocks), 512);
    let fetch = rig.fetches.pop_front().unwrap();
    let other = rig.ask_range(head(&blocks), 511);
    rig.serve(fetch, peer(1), &blocks);
    rig.serve_all(&blocks);
    rig.told.retain(|told| told_to(told) != Some(other));
    assert_eq!(rig.delivered(one), hashes(&blocks[1_488..]));
    rig.expect_nothing_held();
}

fn told_to(told: &moorline_messages::DownloadOutcome) -> Option<RequestId> {
    use moorline_messages::DownloadOutcome::Blocks;
    match told {
        Blocks { request, .. } => Some(*request),
        _ => None,
    }
}

#[test]
fn a_cancelled_download_takes_back_what_it_asked_for() {
    let mut rig = Rig::new();
    let blocks = rig.chain(9_000);
    let request = rig.ask_range(head(&blocks), 9_000);
    for _ in 0..3 {
        let at = rig.fetches.iter().position(is_for_headers).unwrap();
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), &blocks);
    }
    let out: Vec<RequestId> = rig.fetches.iter().map(|fetch| fetch.id).collect();
    let bodies = rig.fetches.iter().filter(|fetch| !is_for_headers(fetch)).count();
    assert!(bodies > 0 && bodies < out.len());
    rig.give(Input::Request(DownloadRequest::Cancel { id: request }));
    let mut taken_back = rig.taken_back.clone();
    taken_back.sort();
    assert_eq!(taken_back, out);
    assert!(rig.fetches.is_empty());
}

#[test]
fn what_another_download_still_wants_is_not_taken_back() {
    let mut rig = Rig::new();
    let trunk = rig.chain(600);
    let mut fork = trunk[..500].to_vec();
    fork.extend(chain(&trunk[499].header, 50, 1));
    let one = rig.ask_range(head(&trunk), 600);
    rig.serve_headers(peer(1), &trunk);
    let other = rig.ask_range(head(&fork), 550);
    rig.serve_headers(peer(1), &fork);
    rig.give(Input::Request(DownloadRequest::Cancel { id: one }));
    rig.told.clear();
    while let Some(fetch) = rig.fetches.pop_front() {
        rig.serve_from_any(fetch, &[trunk.clone(), fork.clone()]);
    }
    assert_eq!(rig.delivered(other), hashes(&fork));
    assert!(rig.body_asks.values().all(|asks| *asks == 1));
}

#[test]
fn overlapping_ranges_fetch_no_header_twice() {
    let mut rig = Rig::new();
    let blocks = rig.chain(6_000);
    rig.ask_range(head(&blocks), 6_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    rig.ask_range(blocks[3_999].header.hash(), 3_000);
    rig.ask_range(head(&blocks), 100);
    let mut headers = 0;
    let mut delivered = 0;
    while let Some(fetch) = rig.fetches.pop_front() {
        if let FetchItems::Headers { limit, .. } = &fetch.items {
            headers += limit;
        }
        rig.serve(fetch, peer(1), &blocks);
        delivered += rig.told.drain(..).filter(is_end).count();
    }
    assert_eq!(delivered, 3, "all three ended");
    // whoever comes later needs one header to learn how high it begins
    assert_eq!(headers, 6_000 - FetchItems::MAX_HEADERS + 1);
    assert!(rig.body_asks.values().all(|asks| *asks == 1));
}

fn is_end(told: &moorline_messages::DownloadOutcome) -> bool {
    use moorline_messages::DownloadOutcome::Blocks;
    matches!(told, Blocks { remaining_blocks: 0, .. })
}

#[test]
fn a_download_that_waited_for_another_goes_on_alone_when_that_ends() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    let long = rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let short = rig.ask_range(blocks[1_999].header.hash(), 1_500);
    let at = rig.fetches.iter().rposition(is_for_headers).unwrap();
    let one = rig.fetches.remove(at).unwrap();
    rig.serve(one, peer(1), &blocks);
    rig.give(Input::Request(DownloadRequest::Cancel { id: long }));
    rig.told.clear();
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(short), hashes(&blocks[500..2_000]));
}

#[test]
fn a_download_without_peers_says_so_once_and_again_when_it_goes_on() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    rig.ask_range(head(&blocks), 10);
    for _ in 0..4 {
        rig.pass(Duration::from_secs(30));
        let fetch = rig.fetches.pop_front().unwrap();
        rig.give(Input::FetchFailed { fetch: fetch.id, peer: None, error: FetchError::NoPeer });
    }
    assert_eq!(rig.stalls, [Some(Stall::NoPeer)]);
    assert_eq!(rig.progress.stalled, Some(Stall::NoPeer));
    rig.pass(Duration::from_secs(1));
    rig.serve_all(&blocks);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.stalls, [Some(Stall::NoPeer), None]);
    assert_eq!(rig.progress.stalled, None);
}

/// A peer that does this every time it is asked, for as long as it takes to be noticed.
fn stalled_by(answer: impl Fn(&mut Rig, RequestId, u8)) -> Vec<Option<Stall>> {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    rig.ask_range(head(&blocks), 10);
    for turn in 0..8 {
        rig.pass(Duration::from_secs(5));
        if let Some(fetch) = rig.fetches.pop_front() {
            answer(&mut rig, fetch.id, turn);
        }
    }
    rig.stalls
}

#[test]
fn what_peers_did_is_named_as_the_reason() {
    let silent = stalled_by(|rig, fetch, turn| rig.failed(fetch, peer(turn), FetchError::TimedOut));
    assert_eq!(silent, [Some(Stall::NoAnswer)]);
    let empty = stalled_by(|rig, fetch, turn| rig.headers(fetch, peer(turn), &[]));
    assert_eq!(empty, [Some(Stall::Lacking)]);
    let liars = stalled_by(|rig, fetch, turn| {
        let other = chain(&rig.genesis, 1, 7);
        rig.headers(fetch, peer(turn), &[&other[0]]);
    });
    assert_eq!(liars, [Some(Stall::Lies)]);
}

#[test]
fn a_store_that_confirms_nothing_is_named_as_the_reason() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    rig.ask_range(head(&blocks), 10);
    rig.store_answers = false;
    let fetch = rig.fetches.pop_front().unwrap();
    rig.serve(fetch, peer(1), &blocks);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.stalls, [Some(Stall::Store)]);
}

#[test]
fn a_tree_that_takes_nothing_is_named_as_the_reason() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    rig.ask_range(head(&blocks), 10);
    rig.give(Input::TreeHasRoom(false));
    rig.serve_all(&blocks);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.stalls, [Some(Stall::Tree)]);
}

#[test]
fn a_download_that_moves_is_never_said_to_stand_still() {
    let budget = Budget { header_fetches: 1, body_fetches: 1, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(1_000);
    let request = rig.ask_range(head(&blocks), 1_000);
    while let Some(fetch) = rig.fetches.pop_front() {
        rig.pass(Duration::from_secs(10));
        rig.serve(fetch, peer(1), &blocks);
    }
    assert!(rig.stalls.is_empty(), "{:?}", rig.stalls);
    drop(rig.delivered(request));
    rig.pass(Duration::from_secs(300));
    assert!(rig.stalls.is_empty(), "nothing is wanted, so nothing stands still");
}
