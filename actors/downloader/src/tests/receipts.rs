//! Receipts, where the store keeps them.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{Bytes, Sealable};
use moorline_messages::{
    Block, Breach, Conduct, DownloadFailure, DownloadRequest, FetchError, FetchItems, FetchRequest,
    Receipts,
};
use moorline_rules::receipts::receipts_key;

use super::rig::{MemoryStore, Rig, hashes, head, peer, receipts_of};
use crate::core::Input;

fn rig() -> Rig {
    Rig::over(MemoryStore::with_receipts(), 0)
}

fn is_for_receipts(fetch: &FetchRequest) -> bool {
    matches!(fetch.items, FetchItems::Receipts { .. })
}

/// The oldest request for receipts, and the heights it asks for.
fn take_receipts(rig: &mut Rig) -> Option<(FetchRequest, Vec<u64>)> {
    let at = rig.fetches.iter().position(is_for_receipts)?;
    let fetch = rig.fetches.remove(at)?;
    let FetchItems::Receipts { blocks } = &fetch.items else { unreachable!() };
    let numbers = blocks.iter().map(|block| block.number).collect();
    Some((fetch, numbers))
}

/// Serves everything but receipts.
fn serve_the_rest(rig: &mut Rig, has: &[Block]) {
    while let Some(at) = rig.fetches.iter().position(|fetch| !is_for_receipts(fetch)) {
        let fetch = rig.fetches.remove(at).unwrap();
        rig.serve(fetch, peer(1), has);
    }
}

#[test]
fn a_block_is_delivered_with_its_receipts_and_not_before() {
    let mut rig = rig();
    let blocks = rig.chain(40);
    let request = rig.ask_range(head(&blocks), 40);
    serve_the_rest(&mut rig, &blocks);
    assert!(rig.delivered(request).is_empty(), "delivered without receipts");
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.receipts_asks.values().all(|asks| *asks == 1), "asked for twice");
    rig.expect_nothing_held();
    assert_eq!((rig.progress.blocks, rig.progress.receipts), (40, 40));
}

#[test]
fn a_store_that_keeps_none_is_brought_none() {
    let mut rig = Rig::new();
    let blocks = rig.chain(40);
    let request = rig.ask_range(head(&blocks), 40);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.receipts_asks.is_empty() && rig.store.receipts.is_empty());
}

#[test]
fn a_block_without_receipts_needs_nobody_to_say_so() {
    let mut rig = rig();
    let mut block = rig.chain(1).remove(0);
    let mut header = block.header.inner().clone();
    header.receipts_root = alloy_consensus::constants::EMPTY_RECEIPTS;
    block.header = Arc::new(header.seal_slow());
    let request = rig.ask_set([block.header.hash()]);
    rig.serve_all(std::slice::from_ref(&block));
    assert_eq!(rig.delivered(request), [block.header.hash()]);
    assert!(rig.receipts_asks.is_empty());
}

#[test]
fn what_the_consensus_client_delivered_lacks_only_its_receipts() {
    let mut rig = rig();
    let blocks = rig.chain(1);
    rig.store.put(&blocks[0]);
    let request = rig.ask_set([head(&blocks)]);
    assert_eq!((rig.header_asks, rig.body_asks.len()), (0, 0));
    let (fetch, numbers) = take_receipts(&mut rig).unwrap();
    rig.receipts(fetch.id, peer(1), &numbers);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn receipts_are_matched_by_root_and_never_by_position() {
    let mut rig = rig();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 20);
    serve_the_rest(&mut rig, &blocks);
    let (fetch, mut numbers) = take_receipts(&mut rig).unwrap();
    numbers.reverse();
    // one is skipped: it is asked of somebody else
    let skipped = numbers.remove(7);
    rig.receipts(fetch.id, peer(1), &numbers);
    let (again, numbers) = take_receipts(&mut rig).unwrap();
    assert_eq!((numbers.as_slice(), again.avoid.as_slice()), (&[skipped][..], &[peer(1)][..]));
    rig.receipts(again.id, peer(2), &numbers);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served));
}

#[test]
fn receipts_of_another_block_or_of_none_are_a_peers_fault() {
    let mut rig = rig();
    let blocks = rig.chain(3);
    let request = rig.ask_range(head(&blocks), 3);
    serve_the_rest(&mut rig, &blocks);
    let (fetch, _) = take_receipts(&mut rig).unwrap();
    rig.receipts(fetch.id, peer(1), &[77]);
    assert_eq!(rig.reports.last(), Some(&(peer(1), Conduct::UnaskedReceipts)));

    let (fetch, _) = take_receipts(&mut rig).unwrap();
    let senseless = Receipts { items: vec![Bytes::from_static(&[0x80])] };
    let receipts = vec![(receipts_key(&senseless), Arc::new(senseless))];
    rig.give(Input::Receipts { fetch: fetch.id, peer: peer(2), receipts });
    assert_eq!(rig.reports.last(), Some(&(peer(2), Conduct::UnaskedReceipts)));

    rig.pass(Duration::from_secs(1));
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_header_that_belies_its_receipts_is_the_chains_fault() {
    let mut rig = rig();
    let mut block = rig.chain(1).remove(0);
    let mut header = block.header.inner().clone();
    header.gas_used += 1;
    block.header = Arc::new(header.seal_slow());
    let request = rig.ask_set([block.header.hash()]);
    rig.serve_all(std::slice::from_ref(&block));
    let failure = rig.expect_failed(request);
    let gas = receipts_key(&receipts_of(1)).unwrap().gas_used;
    let breach = Breach::ReceiptsGas { found: gas + 1, expected: gas };
    assert_eq!(failure, DownloadFailure::Invalid { block: block.num_hash(), breach });
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served));
}

#[test]
fn receipts_that_nobody_has_end_in_a_failure_that_is_told() {
    let mut rig = rig();
    let blocks = rig.chain(1);
    let request = rig.ask_set([head(&blocks)]);
    serve_the_rest(&mut rig, &blocks);
    for asker in 1..=10 {
        rig.pass(Duration::from_secs(6));
        let (fetch, _) = take_receipts(&mut rig).unwrap();
        rig.failed(fetch.id, peer(asker), FetchError::TimedOut);
    }
    let failure = rig.expect_failed(request);
    assert_eq!(failure, DownloadFailure::Unobtainable { hash: head(&blocks), attempts: 10 });
    rig.expect_nothing_held();
}

#[test]
fn after_a_restart_only_the_receipts_that_are_missing_are_asked_for() {
    let mut rig = rig();
    let blocks = rig.chain(300);
    rig.ask_range(head(&blocks), 300);
    serve_the_rest(&mut rig, &blocks);
    let (fetch, numbers) = take_receipts(&mut rig).unwrap();
    rig.receipts(fetch.id, peer(1), &numbers);
    let here = numbers.len();
    assert!(here < 300, "one answer brought all");

    let mut rig = Rig::over(std::mem::take(&mut rig.store), 1);
    let request = rig.ask_range(head(&blocks), 300);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert_eq!((rig.body_asks.len(), rig.receipts_asks.len()), (0, 300 - here));
    assert_eq!(rig.store.written_twice, 0);
}

#[test]
fn receipts_that_nobody_wants_any_more_are_taken_back() {
    let mut rig = rig();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 20);
    serve_the_rest(&mut rig, &blocks);
    let out = rig.fetches.front().unwrap().id;
    rig.give(Input::Request(DownloadRequest::Cancel { id: request }));
    assert_eq!(rig.taken_back, [out]);
    rig.expect_nothing_held();
}

#[test]
fn a_peer_manager_that_restarted_is_asked_for_receipts_again() {
    let mut rig = rig();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 20);
    serve_the_rest(&mut rig, &blocks);
    rig.fetches.clear();
    rig.restart(moorline_messages::ActorName::PeerManager);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_peer_that_sends_an_empty_list_for_what_it_lacks_is_no_liar() {
    let mut rig = rig();
    let blocks = rig.chain(3);
    let request = rig.ask_range(head(&blocks), 3);
    serve_the_rest(&mut rig, &blocks);
    let (fetch, numbers) = take_receipts(&mut rig).unwrap();
    let [first, second, third] = numbers[..] else { panic!("{numbers:?}") };
    let answer = [Receipts::default(), receipts_of(second), receipts_of(third)];
    let receipts = answer.map(|receipts| (receipts_key(&receipts), Arc::new(receipts))).to_vec();
    rig.give(Input::Receipts { fetch: fetch.id, peer: peer(1), receipts });
    assert_eq!(rig.reports.last(), Some(&(peer(1), Conduct::Served)));

    let (fetch, numbers) = take_receipts(&mut rig).unwrap();
    assert_eq!((numbers.as_slice(), fetch.avoid.as_slice()), (&[first][..], &[peer(1)][..]));
    let nothing = Receipts::default();
    let receipts = vec![(receipts_key(&nothing), Arc::new(nothing))];
    rig.give(Input::Receipts { fetch: fetch.id, peer: peer(2), receipts });
    assert_eq!(rig.reports.last(), Some(&(peer(2), Conduct::Lacked)));

    rig.pass(Duration::from_secs(1));
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn receipts_have_their_share_of_the_bytes_in_flight() {
    let mut rig = rig();
    let blocks = rig.chain(20_000);
    rig.ask_range(head(&blocks), 20_000);
    rig.serve_headers(peer(1), &blocks);
    let mut ahead = 0_i64;
    for _ in 0..150 {
        let fetch = rig.fetches.pop_front().unwrap();
        ahead += if is_for_receipts(&fetch) { -1 } else { 1 };
        rig.serve(fetch, peer(1), &blocks);
        // a few hundred of each are asked for in all
        assert!(ahead.abs() <= 16, "{ahead} more requests for bodies than for receipts");
    }
}
