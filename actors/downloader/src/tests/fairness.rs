//! Who goes first, who waits for whom, and what is not asked for twice.

use std::{collections::BTreeMap, time::Duration};

use moorline_messages::{
    DownloadOutcome, DownloadRequest, FetchError, FetchItems, HashOrNumber, Priority, StoreOutcome,
    StoreRequest, StoredState,
};

use super::rig::{MemoryStore, Rig, chain, hashes, head, is_for_headers, peer};
use crate::{Budget, core::Input};

fn asks_for_the_tip(rig: &Rig) -> bool {
    rig.fetches.iter().any(|fetch| fetch.priority == Priority::Tip)
}

fn room_for(chunks: usize) -> Budget {
    let chunk = 512 * size_of::<moorline_messages::SealedHeader>();
    Budget { buffer_bytes: chunks * chunk, ..Budget::default() }
}

#[test]
fn the_tip_is_asked_for_though_the_history_fills_the_buffer() {
    let mut rig = Rig::within(room_for(5), MemoryStore::default(), 0);
    let blocks = rig.chain(6_000);
    rig.ask_range(head(&blocks), 6_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    rig.take_headers().expect("what comes next is under way, and slow");
    rig.serve_headers(peer(1), &blocks);
    rig.fetches.clear();
    let tip = chain(&blocks[5_999].header, 1, 0);
    rig.ask_set([head(&tip)]);
    rig.pass(Duration::from_secs(1));
    assert!(asks_for_the_tip(&rig));
}

#[test]
fn the_tip_has_slots_of_its_own() {
    let budget = Budget { header_fetches: 1, body_fetches: 1, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(3_000);
    rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    assert_eq!(rig.fetches.len(), 2, "the history has the one slot of each kind");
    let tip = chain(&blocks[2_999].header, 1, 0);
    rig.ask_set([head(&tip)]);
    let headers = rig.fetches.pop_back().unwrap();
    assert_eq!(headers.priority, Priority::Tip);
    rig.serve(headers, peer(1), &tip);
    assert!(asks_for_the_tip(&rig), "and so does its body");
}

#[test]
fn a_tip_body_does_not_wait_behind_what_history_puts_back() {
    let budget = Budget { body_fetches: 1, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(600);
    rig.ask_range(head(&blocks), 600);
    rig.serve_headers(peer(1), &blocks);
    let history = rig.fetches.pop_front().unwrap();
    let tips: Vec<_> = (10..15).map(|salt| chain(&blocks[599].header, 1, salt).remove(0)).collect();
    for tip in &tips {
        rig.ask_set([tip.header.hash()]);
        let fetch = rig.take_headers().unwrap();
        rig.headers(fetch.id, peer(1), &[tip]);
    }
    assert_eq!(rig.fetches.drain(..).count(), 4, "four tip bodies take the slots on top");
    // the history's answer is cut off after one body, and the rest goes back
    let FetchItems::Bodies { blocks: wanted } = &history.items else { unreachable!() };
    let one = blocks.iter().find(|block| block.header.hash() == wanted[0].hash).unwrap();
    rig.bodies(history.id, peer(1), &[one]);
    assert!(asks_for_the_tip(&rig));
}

#[test]
fn a_body_that_the_tip_wants_too_goes_first() {
    let budget = Budget { body_fetches: 1, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(1_000);
    rig.ask_range(head(&blocks), 1_000);
    rig.serve_headers(peer(1), &blocks);
    rig.fetches.pop_front().expect("the history asks for bodies");
    rig.ask_range(blocks[700].header.hash(), 1);
    rig.serve_headers(peer(1), &blocks);
    assert!(asks_for_the_tip(&rig));
}

#[test]
fn a_body_dropped_and_wanted_again_is_not_asked_for_twice_at_a_time() {
    let mut rig = Rig::new();
    let trunk = rig.chain(60);
    let whole = rig.ask_range(head(&trunk), 60);
    rig.serve_headers(peer(1), &trunk);
    rig.ask_range(trunk[29].header.hash(), 30);
    rig.serve_headers(peer(1), &trunk);
    rig.give(Input::Request(DownloadRequest::Cancel { id: whole }));
    rig.told.clear();
    let again = rig.ask_range(head(&trunk), 60);
    rig.serve_headers(peer(1), &trunk);
    let mut under_way = BTreeMap::new();
    for fetch in &rig.fetches {
        let FetchItems::Bodies { blocks } = &fetch.items else { continue };
        for block in blocks {
            *under_way.entry(block.number).or_insert(0) += 1;
        }
    }
    assert_eq!(under_way.len(), 60);
    assert!(under_way.values().all(|times| *times == 1), "{under_way:?}");
    rig.serve_all(&trunk);
    rig.told.retain(
        |told| matches!(told, DownloadOutcome::Blocks { request, .. } if *request == again),
    );
    assert_eq!(rig.delivered(again), hashes(&trunk));
    rig.expect_nothing_held();
}

#[test]
fn two_requests_for_one_block_both_get_it() {
    let mut rig = Rig::new();
    let blocks = rig.chain(9);
    let set = rig.ask_set([blocks[3].header.hash(), blocks[7].header.hash()]);
    let other = rig.ask_set([blocks[7].header.hash()]);
    rig.serve_all(&blocks);
    let mut got = BTreeMap::new();
    for told in std::mem::take(&mut rig.told) {
        if let DownloadOutcome::Blocks { request, blocks, .. } = told {
            got.insert(request, blocks.iter().map(|block| block.number).collect::<Vec<_>>());
        }
    }
    assert_eq!(got, BTreeMap::from([(set, vec![4, 8]), (other, vec![8])]));
    assert!(rig.body_asks.values().all(|asks| *asks == 1));
}

#[test]
fn whoever_waits_for_a_claim_evicts_nothing() {
    let mut rig = Rig::within(room_for(8), MemoryStore::default(), 0);
    let blocks = rig.chain(9_000);
    let fork = chain(&blocks[3_999].header, 600, 7);
    rig.ask_range(head(&blocks), 9_000);
    let slow = rig.fetches.pop_front().unwrap();
    rig.ask_range(head(&fork), 600);
    let one = rig.fetches.pop_front().unwrap();
    rig.serve(one, peer(1), &fork);
    let of_fork: Vec<_> = std::iter::from_fn(|| rig.take_headers()).collect();
    rig.serve(slow, peer(1), &blocks);
    rig.take_headers().expect("what comes next is under way, and slow");
    for fetch in of_fork {
        rig.failed(fetch.id, peer(3), FetchError::TimedOut);
    }
    let mut asked = 0;
    while let Some(fetch) = rig.take_headers() {
        asked += 1;
        assert!(asked < 20, "what is evicted is asked for again, and evicted again");
        rig.serve(fetch, peer(1), &blocks);
    }
}

#[test]
fn a_header_that_another_download_fetched_does_not_cost_the_chunk_it_lies_in() {
    let mut rig = Rig::new();
    let blocks = rig.chain(6_000);
    let long = rig.ask_range(head(&blocks), 6_000);
    let first = rig.fetches.pop_front().unwrap();
    // somebody wants the single block with which a chunk of the first will begin
    rig.ask_set([blocks[4_975].header.hash()]);
    let single = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    rig.headers(single.id, peer(1), &[&blocks[4_975]]);
    let mut headers = 0;
    while let Some(fetch) = rig.fetches.pop_back() {
        if let FetchItems::Headers { limit, .. } = &fetch.items {
            headers += limit;
        }
        rig.serve(fetch, peer(1), &blocks);
    }
    assert!(headers <= 6_000 - 512, "{headers} headers were asked for");
    rig.told
        .retain(|told| matches!(told, DownloadOutcome::Blocks { request, .. } if *request == long));
    assert_eq!(rig.delivered(long), hashes(&blocks));
    rig.expect_nothing_held();
}

#[test]
fn what_a_dead_tree_wanted_is_not_asked_for_when_all_is_delivered() {
    let mut rig = Rig::new();
    let old = rig.chain(600);
    let mut new = old[..100].to_vec();
    new.extend(chain(&old[99].header, 20, 1));
    rig.ask_range_as(0, head(&old), 600);
    rig.serve_headers(peer(1), &old);
    let request = rig.ask_range_as(1, head(&new), 120);
    rig.told.clear();
    // nobody has the old branch any more
    for turn in 0..2_000_u32 {
        match rig.fetches.pop_front() {
            Some(fetch) => rig.serve(fetch, peer((turn % 200) as u8), &new),
            None => rig.pass(Duration::from_secs(5)),
        }
        let ended = |told: &DownloadOutcome| matches!(told, DownloadOutcome::Blocks { request: of, remaining_blocks: 0, .. } if *of == request);
        if rig.told.iter().any(ended) {
            rig.fetches.clear();
            rig.pass(Duration::from_secs(600));
            assert!(rig.fetches.is_empty(), "asked for, and nobody wants it: {:?}", rig.fetches);
            return rig.expect_nothing_held();
        }
    }
    panic!("the new range is not delivered");
}

#[test]
fn a_store_that_takes_long_to_say_what_is_there_is_heard() {
    let mut rig = Rig::new();
    rig.store_answers = false;
    rig.restart_over(1);
    let blocks = rig.chain(1);
    rig.ask_range(head(&blocks), 1);
    rig.pass(Duration::from_secs(12));
    let first = rig.asked_of_the_store().find_map(|asked| match asked {
        StoreRequest::Load { id, .. } => Some(*id),
        _ => None,
    });
    let (tip, forkchoice) = (rig.genesis.clone(), Default::default());
    let state = StoredState { tip, forkchoice, keeps_receipts: false, spans: Vec::new() };
    rig.give(Input::Stored(StoreOutcome::Loaded { request: first.unwrap(), state }));
    assert!(!rig.told.is_empty(), "the order is taken up");
}

#[test]
fn a_range_that_follows_another_adopts_what_is_on_its_way_to_the_disk() {
    let mut rig = Rig::new();
    let blocks = rig.chain(100);
    let one = rig.ask_set([head(&blocks)]);
    rig.store_answers = false;
    let (fetch, _, _) = rig.expect_header_fetch();
    rig.headers(fetch, peer(1), &[&blocks[99]]);
    rig.answer_reads();
    let asked = rig.header_asks;
    rig.ask_range(head(&blocks), 100);
    rig.answer_reads();
    assert_eq!(rig.header_asks, asked, "the head's header is proved, and on its way");
    rig.store_answers = true;
    rig.answer_store();
    let next = rig.fetches.iter().find(|fetch| is_for_headers(fetch)).unwrap();
    let below = HashOrNumber::Hash(blocks[98].header.hash());
    assert!(matches!(&next.items, FetchItems::Headers { top, .. } if *top == below), "{next:?}");
    rig.serve_all(&blocks);
    rig.told
        .retain(|told| !matches!(told, DownloadOutcome::Blocks { request, .. } if *request == one));
    rig.expect_nothing_held();
}
