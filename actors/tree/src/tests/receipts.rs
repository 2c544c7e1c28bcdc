//! A store that keeps receipts: what the consensus client delivers lacks them.

use moorline_messages::{ActorName, StoreRequest, TreeVerdict};

use super::rig::{Rig, child, grow, hash, names, spec, with_payload_trigger};

#[test]
fn a_payload_becomes_canonical_when_its_receipts_are_here() {
    let chain = grow(spec().genesis(), 11, 0);
    let mut rig = Rig::with_receipts_at_tip(&chain[..10], |_| {});
    assert_eq!(rig.new_payload(&chain[10]), TreeVerdict::Syncing);
    assert_eq!(rig.payloads, names(&chain[10..]));
    rig.expect_silence();
    rig.follow(&chain[10]);
    let request = rig.expect_download_set(hash(&chain[10]));
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
    rig.expect_download_set(hash(&chain[10]));
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
    rig.expect_download_set(hash(&chain[10]));
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
    let request = rig.expect_download_set(hash(&chain[19]));
    rig.deliver(request, &chain[19..], 0);
    rig.expect_download_range(&chain[18], 9);
}
