//! Budgets, what is taken back, and what is said when nothing comes.

use std::time::Duration;

use moorline_messages::{
    DownloadRequest, FetchError, FetchItems, FetchRequest, HashOrNumber, RequestId, Stall,
};

use super::rig::{MemoryStore, Rig, chain, hashes, head, peer};
use crate::{Budget, core::Input};

const HEADERS: usize = FetchItems::MAX_HEADERS as usize;

fn is_for_headers(fetch: &FetchRequest) -> bool {
    matches!(fetch.items, FetchItems::Headers { .. })
}

fn header_bytes() -> usize {
    HEADERS * size_of::<moorline_messages::SealedHeader>()
}

#[test]
fn bodies_under_way_stay_within_the_bytes_allowed() {
    let budget = Budget { in_flight_bytes: 1 << 20, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(2_000);
    rig.ask_range(head(&blocks), 2_000);
    while let Some(at) = rig.fetches.iter().position(is_for_headers) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), &blocks);
    }
    // no body was seen yet, so each is taken to be 32 KiB
    let asked: usize = rig.fetches.iter().map(bodies_in).sum();
    assert!((1..=64).contains(&asked), "{asked} bodies are under way");
    rig.serve_all(&blocks);
    assert!(rig.told.len() > 1, "and yet it ends");
}

fn bodies_in(fetch: &FetchRequest) -> usize {
    match &fetch.items {
        FetchItems::Bodies { blocks } => blocks.len(),
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
    let next = rig.fetches.remove(rig.fetches.iter().position(is_for_headers).unwrap()).unwrap();
    while let Some(at) = rig.fetches.iter().position(is_for_headers) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(2), &blocks);
    }
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
    while let Some(at) = rig.fetches.iter().position(is_for_headers) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), &trunk);
    }
    let other = rig.ask_range(head(&fork), 550);
    while let Some(at) = rig.fetches.iter().position(is_for_headers) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), &fork);
    }
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
