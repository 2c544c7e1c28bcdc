//! A store that keeps receipts: what the consensus client delivers lacks them.

use std::time::Duration;

use alloy_primitives::B256;
use moorline_messages::{ActorName, DownloadRequest, RequestId, StoreRequest, TreeVerdict};

use super::rig::{Rig, child, grow, hash, names, spec, with_payload_trigger};

#[test]
fn a_payload_becomes_canonical_when_its_receipts_are_here() {
    let chain = grow(spec().genesis(), 11, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    assert_eq!(rig.new_payload(&chain[10]), TreeVerdict::Syncing);
    assert_eq!(rig.payloads, names(&chain[10..]));
    rig.expect_silence();
    rig.follow(&chain[10]);
    let request = rig.expect_download_range(&chain[10], 1);
    rig.expect_silence();
    rig.deliver(request, &chain[10..], 0);
    rig.expect_canonical(&chain[10..]);
    rig.expect_synced(&chain[10]);
}

#[test]
fn a_head_whose_payload_is_being_written_is_looked_for_when_it_is() {
    let chain = grow(spec().genesis(), 11, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    rig.store_answers = false;
    rig.new_payload(&chain[10]);
    rig.follow(&chain[10]);
    rig.expect_silence();
    let Some(StoreRequest::Persist { id, .. }) = rig.store.pop_front() else { panic!("not kept") };
    rig.confirm(id);
    rig.expect_download_range(&chain[10], 1);
}

#[test]
fn a_head_whose_payload_the_store_lost_is_fetched_all_the_same() {
    let chain = grow(spec().genesis(), 11, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    rig.store_answers = false;
    rig.new_payload(&chain[10]);
    rig.follow(&chain[10]);
    rig.store.clear();
    rig.restart(ActorName::Store);
    let Some(StoreRequest::Persist { id, batch, .. }) = rig.store.pop_front() else {
        panic!("not sent again")
    };
    assert_eq!(batch.bodies.len(), 1);
    rig.confirm(id);
    rig.expect_download_range(&chain[10], 1);
}

#[test]
fn what_breaks_a_rule_is_invalid_without_receipts_too() {
    let chain = grow(spec().genesis(), 10, 0);
    let bad = child(&chain[9].header, 0, |header| header.base_fee_per_gas = Some(1));
    let above = grow(&bad.header, 2, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain, |_| {});
    for block in [&bad, &above[0], &above[1], &bad] {
        assert!(matches!(rig.new_payload(block), TreeVerdict::Invalid { .. }));
    }
    assert!(matches!(rig.forkchoice(hash(&above[1])), TreeVerdict::Invalid { .. }));
    assert!(rig.payloads.is_empty());
}

#[test]
fn a_payload_beside_the_chain_is_accepted() {
    let chain = grow(spec().genesis(), 10, 0);
    let side = grow(&chain[6].header, 1, 1);
    let mut rig = Rig::with_receipts_at_tip(&chain, |_| {});
    assert_eq!(rig.new_payload(&side[0]), TreeVerdict::Accepted);
    rig.expect_silence();
}

#[test]
fn a_payload_that_may_start_a_download_starts_it_with_itself() {
    let chain = grow(spec().genesis(), 20, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], with_payload_trigger);
    assert_eq!(rig.new_payload(&chain[19]), TreeVerdict::Syncing);
    rig.expect_download_range(&chain[19], 10);
}

#[test]
fn a_payload_that_comes_again_is_not_written_again() {
    let chain = grow(spec().genesis(), 11, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    for _ in 0..3 {
        assert_eq!(rig.new_payload(&chain[10]), TreeVerdict::Syncing);
    }
    assert_eq!(rig.payloads, names(&chain[10..]));
}

#[test]
fn the_tip_follows_though_receipts_come_a_slot_late() {
    let chain = grow(spec().genesis(), 30, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    // what is out, as what may be delivered of it: the blocks from there to here
    let mut out: Vec<(RequestId, usize, usize)> = Vec::new();
    for at in 10..30 {
        rig.new_payload(&chain[at]);
        rig.follow(&chain[at]);
        while let Some(request) = rig.downloads.pop_front() {
            match request {
                DownloadRequest::BlockRange { id, count, head } => {
                    let top = chain.iter().position(|block| hash(block) == head).unwrap();
                    out.push((id, top + 1 - count as usize, top));
                }
                DownloadRequest::Cancel { id } => out.retain(|(other, ..)| *other != id),
                DownloadRequest::BlockSet { .. } => panic!("the head alone is asked for"),
            }
        }
        // by now peers have the receipts of the block below the head
        for (id, low, top) in std::mem::take(&mut out) {
            let here = top.min(at - 1);
            if low <= here {
                rig.deliver(id, &chain[low..=here], (top - here) as u64);
            }
            if here < top {
                out.push((id, here.max(low - 1) + 1, top));
            }
        }
        rig.pass(Duration::from_secs(1));
    }
    let last = rig.canonical.back().and_then(|batch| batch.last().copied());
    assert_eq!(last, Some(chain[28].num_hash()));
}

#[test]
fn a_first_block_that_is_not_genesis_s_child_is_invalid_at_once() {
    let mut rig = Rig::with_receipts_at_tip(&[], |_| {});
    let genesis = rig.genesis();
    let odd = child(&genesis, 0, |header| header.parent_hash = B256::repeat_byte(7));
    assert!(matches!(rig.new_payload(&odd), TreeVerdict::Invalid { .. }));
    assert!(rig.payloads.is_empty());
}
