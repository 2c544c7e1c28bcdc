//! What grows with the length of a gap, and what must not.

use std::time::Duration;

use alloy_primitives::{B256, U256};
use moorline_messages::{
    ActorName, BlockNumHash, DownloadOutcome, FetchError, FetchItems, HashOrNumber, Priority, Span,
    StoreRequest,
};

use super::rig::{MemoryStore, Rig, chain, hashes, head, is_for_headers, peer};
use crate::core::{Budget, Input};

/// As many spans as twenty million blocks have.
const SPANS: u64 = 40_000;

fn block(number: u64) -> BlockNumHash {
    BlockNumHash::new(number, B256::from(U256::from(number).saturating_add(U256::from(7))))
}

#[test]
fn twenty_million_blocks_in_spans_are_taken_up_at_once_and_no_input_walks_them() {
    let mut rig = Rig::new();
    let span = |at: u64| Span {
        top: block((at + 1) * 512),
        bottom: block(at * 512 + 1),
        bottom_parent: block(at * 512).hash,
    };
    rig.store.spans = (0..SPANS).map(span).collect();
    let mut rig = Rig::over(std::mem::take(&mut rig.store), 1);
    rig.store_answers = false;
    rig.ask_range(block(SPANS * 512).hash, SPANS * 512);
    assert!(matches!(
        rig.told.pop_front(),
        Some(DownloadOutcome::NewDownloadStarted { remaining_blocks, .. })
            if remaining_blocks == SPANS * 512
    ));
    // a walk over the spans at each of these would take minutes
    for _ in 0..100_000 {
        rig.give(Input::TreeHasRoom(true));
    }
    rig.expect_silence();
    let walks: Vec<_> = rig
        .asked_of_the_store()
        .filter_map(|request| match request {
            StoreRequest::Walk { top, limit, .. } => Some((top.number, *limit)),
            _ => None,
        })
        .collect();
    let lowest: Vec<_> =
        (1..=Budget::default().queue_items as u64 / 512).map(|at| (at * 512, 512)).collect();
    assert_eq!(walks, lowest, "the headers are all here, so bodies start at the bottom");
}

#[test]
fn the_head_of_the_chain_does_not_wait_for_the_history_under_it() {
    let mut rig = Rig::new();
    let blocks = rig.chain(16_000);
    let history = &blocks[..15_999];
    rig.ask_range(head(history), 15_999);
    // every slot for headers and bodies is taken by the history
    for _ in 0..30 {
        if let Some(at) = rig.fetches.iter().position(is_for_headers) {
            let fetch = rig.fetches.remove(at).unwrap();
            rig.serve(fetch, peer(1), history);
        }
    }
    let request = rig.ask_set([head(&blocks)]);
    let mut answers = 0;
    while !rig.told.iter().any(|told| is_blocks_of(told, request)) {
        let first = rig.fetches.iter().position(|fetch| fetch.priority == Priority::Tip);
        let fetch = rig.fetches.remove(first.unwrap_or(0)).unwrap();
        rig.serve(fetch, peer(1), &blocks);
        answers += 1;
    }
    assert!(answers <= 4, "{answers} answers went before the head");
}

fn is_blocks_of(told: &DownloadOutcome, of: moorline_messages::RequestId) -> bool {
    matches!(told, DownloadOutcome::Blocks { request, .. } if *request == of)
}

#[test]
fn a_core_without_a_free_slot_asks_for_no_wakeup_that_would_change_nothing() {
    let budget = Budget { header_fetches: 1, body_fetches: 1, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(5_000);
    rig.ask_range(head(&blocks), 5_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    // a fetch of each kind fails, and its slot is taken by another before the wait is over
    let headers = rig.fetches.iter().position(is_for_headers).unwrap();
    let headers = rig.fetches.remove(headers).unwrap();
    let bodies = rig.fetches.iter().position(|fetch| !is_for_headers(fetch)).unwrap();
    let bodies = rig.fetches.remove(bodies).unwrap();
    rig.failed(headers.id, peer(1), FetchError::Disconnected);
    rig.failed(bodies.id, peer(1), FetchError::Disconnected);
    rig.pass(Duration::from_secs(1));
    let due = rig.core.next_wakeup(rig.now);
    assert!(due.is_none_or(|(at, _)| at > rig.now), "it would spin: {due:?}");
}

#[test]
fn spans_that_wait_to_be_delivered_do_not_keep_others_shut() {
    let mut rig = Rig::new();
    let forks: Vec<_> = (0..6).map(|salt| chain(&rig.genesis, 2_048, salt)).collect();
    let requests: Vec<_> = forks.iter().map(|fork| rig.ask_range(head(fork), 2_048)).collect();
    // the lowest headers of each come last
    while let Some(at) = rig.fetches.iter().position(|fetch| {
        !matches!(fetch.items, FetchItems::Headers { top: HashOrNumber::Number(..513), .. })
            && !matches!(fetch.items, FetchItems::Headers { top: HashOrNumber::Hash(hash), .. }
                if forks.iter().any(|fork| fork[511].header.hash() == hash))
    }) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve_from_any(fetch, &forks);
    }
    while let Some(fetch) = rig.fetches.pop_front() {
        rig.serve_from_any(fetch, &forks);
    }
    let mut told = std::mem::take(&mut rig.told);
    for (request, fork) in requests.into_iter().zip(&forks) {
        rig.told = told.iter().filter(|told| is_blocks_of(told, request)).cloned().collect();
        assert_eq!(rig.delivered(request), hashes(fork));
    }
    told.clear();
}

#[test]
fn a_tree_that_restarted_is_not_kept_waiting_by_what_the_dead_one_wanted() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20_000);
    rig.ask_range(head(&blocks), 20_000);
    for _ in 0..80 {
        let fetch = rig.fetches.pop_front().unwrap();
        rig.serve(fetch, peer(1), &blocks);
    }
    let delivered = rig.told.iter().filter(|told| matches!(told, DownloadOutcome::Blocks { .. }));
    let delivered = delivered.count();
    rig.restart(ActorName::Tree);
    rig.told.clear();
    let request = rig.ask_range_as(1, head(&blocks), 19_000);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks[1_000..]), "and nothing to the dead one");
    assert!(rig.body_asks.values().all(|asks| *asks == 1), "{delivered}");
}
