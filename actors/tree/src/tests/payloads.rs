//! The consensus client hands over blocks.

use moorline_messages::{ActorName, Body, Breach, DownloadFailure, StoreRequest, TreeVerdict};

use super::rig::{Rig, child, grow, hash, names, spec, with_payload_trigger};
use crate::core::INVALID_HITS_MAX;

#[test]
fn a19_on_top_of_the_chain_syncing_beside_it_accepted() {
    let chain = grow(spec().genesis(), 10, 0);
    let side = grow(&chain[7].header, 2, 1);
    let mut rig = Rig::at_tip(&chain[..9]);
    assert_eq!(rig.new_payload(&chain[9]), TreeVerdict::Syncing);
    assert_eq!(rig.new_payload(&side[1]), TreeVerdict::Syncing);
    assert_eq!(rig.new_payload(&side[0]), TreeVerdict::Accepted);
    assert_eq!(rig.new_payload(&side[1]), TreeVerdict::Accepted);
    assert_eq!(rig.new_payload(&chain[3]), TreeVerdict::Syncing);
    rig.expect_silence();
}

#[test]
fn a_payload_is_written_once_and_nothing_is_asked_for() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    for _ in 0..3 {
        assert_eq!(rig.new_payload(&chain[9]), TreeVerdict::Syncing);
    }
    assert_eq!(rig.payloads, names(&chain[9..]));
    rig.expect_silence();
}

#[test]
fn a22_what_breaks_a_rule_is_invalid_and_so_is_what_lies_above_it() {
    let chain = grow(spec().genesis(), 10, 0);
    let bad = child(&chain[9].header, 0, |header| header.base_fee_per_gas = Some(1));
    let above = grow(&bad.header, 2, 0);
    let mut rig = Rig::at_tip(&chain);
    for block in [&bad, &above[0], &above[1], &bad] {
        assert!(matches!(rig.new_payload(block), TreeVerdict::Invalid { .. }));
    }
    assert!(matches!(rig.forkchoice(hash(&above[1])), TreeVerdict::Invalid { .. }));
    assert!(rig.payloads.is_empty());
    rig.expect_silence();
}

#[test]
fn a_rule_that_needs_no_parent_is_judged_at_once() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    let bad = child(&chain[5].header, 0, |header| header.gas_used = header.gas_limit + 1);
    assert!(matches!(rig.new_payload(&bad), TreeVerdict::Invalid { .. }));
    let mut hollow = chain[7].clone();
    hollow.body = Body { transactions: vec![Default::default()], ..(*hollow.body).clone() }.into();
    assert!(matches!(rig.new_payload(&hollow), TreeVerdict::Invalid { .. }));
}

#[test]
fn a22_buffered_children_of_what_turns_out_invalid_are_invalid_too() {
    let chain = grow(spec().genesis(), 10, 0);
    let bad = child(&chain[9].header, 0, |header| header.timestamp = 0);
    let above = grow(&bad.header, 3, 0);
    let mut rig = Rig::at_tip(&chain);
    for block in &above {
        assert_eq!(rig.new_payload(block), TreeVerdict::Syncing);
    }
    assert!(matches!(rig.new_payload(&bad), TreeVerdict::Invalid { .. }));
    for block in &above {
        assert!(matches!(rig.new_payload(block), TreeVerdict::Invalid { .. }));
        assert!(matches!(rig.forkchoice(hash(block)), TreeVerdict::Invalid { .. }));
    }
    rig.expect_silence();
}

#[test]
fn a21_a_verdict_is_judged_anew_after_it_was_given_often() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    let bad = child(&chain[5].header, 0, |header| header.extra_data = vec![0; 33].into());
    assert!(matches!(rig.new_payload(&bad), TreeVerdict::Invalid { .. }));
    for _ in 0..INVALID_HITS_MAX {
        assert!(matches!(rig.forkchoice(hash(&bad)), TreeVerdict::Invalid { .. }));
    }
    // forgiven, so its block is fetched and judged once more
    assert_eq!(rig.forkchoice(hash(&bad)), TreeVerdict::Syncing);
    let set = rig.expect_download_set(hash(&bad));
    rig.deliver(set, std::slice::from_ref(&bad), 0);
    assert!(matches!(rig.forkchoice(hash(&bad)), TreeVerdict::Invalid { .. }));
}

#[test]
fn a23_a20_with_the_payload_trigger_a_payload_fetches_its_ancestors_and_moves_no_tip() {
    let mut rig = Rig::at_genesis_with(with_payload_trigger);
    let chain = grow(&rig.genesis(), 10, 0);
    assert_eq!(rig.new_payload(&chain[8]), TreeVerdict::Syncing);
    let range = rig.expect_download_range(&chain[7], 8);
    rig.deliver(range, &chain[..3], 5);
    rig.expect_silence();
    // named after all: nothing more is asked for
    rig.new_payload(&chain[9]);
    rig.follow(&chain[9]);
    rig.expect_silence();
    rig.deliver(range, &chain[3..8], 0);
    rig.expect_canonical(&chain);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a23_a_payload_far_above_the_tip_waits_for_a_forkchoice() {
    let mut rig = Rig::at_genesis_with(with_payload_trigger);
    let chain = grow(&rig.genesis(), 1_025, 0);
    rig.new_payload(&chain[1_024]);
    rig.expect_silence();
    rig.new_payload(&chain[1_023]);
    rig.expect_download_range(&chain[1_022], 1_023);
}

#[test]
fn a23_what_one_payload_asked_for_in_vain_does_not_keep_the_next_from_asking() {
    let mut rig = Rig::at_genesis_with(with_payload_trigger);
    let genesis = rig.genesis();
    let (bad, lost, good) = (grow(&genesis, 4, 1), grow(&genesis, 4, 2), grow(&genesis, 4, 3));
    rig.new_payload(&bad[3]);
    let range = rig.expect_download_range(&bad[2], 3);
    let breach = Breach::ExtraData(33);
    rig.fail(range, DownloadFailure::Invalid { block: bad[0].num_hash(), breach });
    rig.new_payload(&lost[3]);
    let range = rig.expect_download_range(&lost[2], 3);
    rig.fail(range, DownloadFailure::Unobtainable { hash: hash(&lost[2]), attempts: 3 });
    rig.new_payload(&good[3]);
    rig.expect_download_range(&good[2], 3);
}

#[test]
fn a22_a_block_above_an_invalid_one_is_not_said_to_break_its_rule() {
    let chain = grow(spec().genesis(), 4, 0);
    let bad = child(&chain[3].header, 0, |header| header.base_fee_per_gas = Some(1));
    let above = grow(&bad.header, 2, 0);
    let mut rig = Rig::at_tip(&chain);
    let reason = |verdict| match verdict {
        TreeVerdict::Invalid { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(rig.new_payload(&bad)).contains("base fee"));
    for (block, parent) in [(&above[0], &bad), (&above[1], &above[0])] {
        let expected = Breach::Ancestor(parent.num_hash()).to_string();
        assert_eq!(reason(rig.new_payload(block)), expected);
    }
    // the same of one that a peer delivers
    let mut rig = Rig::at_tip(&chain);
    rig.new_payload(&bad);
    rig.follow(&above[0]);
    let set = rig.expect_download_set(hash(&above[0]));
    rig.deliver(set, &above[..1], 0);
    let expected = Breach::Ancestor(bad.num_hash()).to_string();
    assert_eq!(reason(rig.forkchoice(hash(&above[0]))), expected);
}

#[test]
fn a21_a_block_that_the_edge_found_bad_never_becomes_canonical() {
    let chain = grow(spec().genesis(), 9, 0);
    let mut rig = Rig::at_tip(&chain[..4]);
    // one above it waits for it
    rig.new_payload(&chain[6]);
    rig.bad_payload(&chain[5]);
    for block in &chain[5..8] {
        assert!(matches!(rig.new_payload(block), TreeVerdict::Invalid { .. }));
        assert!(matches!(rig.forkchoice(hash(block)), TreeVerdict::Invalid { .. }));
    }
    // one that was not there yet, from a peer
    rig.follow(&chain[8]);
    let set = rig.expect_download_set(hash(&chain[8]));
    rig.deliver(set, &chain[8..], 0);
    assert!(matches!(rig.forkchoice(hash(&chain[8])), TreeVerdict::Invalid { .. }));
    rig.expect_silence();
}

#[test]
fn a21_a_block_that_the_edge_found_bad_is_canonical_no_longer() {
    let chain = grow(spec().genesis(), 10, 0);
    let side = grow(&chain[5].header, 2, 1);
    let mut rig = Rig::at_tip(&chain[..4]);
    for block in &chain[4..9] {
        rig.new_payload(block);
    }
    rig.new_payload(&side[0]);
    rig.follow(&chain[8]);
    rig.expect_canonical(&chain[4..9]);
    rig.expect_synced(&chain[8]);

    rig.bad_payload(&chain[6]);
    rig.expect_canonical(&chain[5..6]);
    assert_eq!(rig.reports.last().unwrap().tip, chain[5].num_hash());
    for block in &chain[6..] {
        assert!(matches!(rig.new_payload(block), TreeVerdict::Invalid { .. }));
        assert!(matches!(rig.forkchoice(hash(block)), TreeVerdict::Invalid { .. }));
    }
    rig.expect_silence();
    // what is beside it stands
    rig.follow(&side[0]);
    rig.expect_canonical(&side[..1]);
    rig.expect_synced(&side[0]);
}

#[test]
fn what_a_payload_fetched_is_canonical_only_once_it_is_named() {
    let mut rig = Rig::at_genesis_with(with_payload_trigger);
    let chain = grow(&rig.genesis(), 20, 0);
    rig.new_payload(&chain[0]);
    rig.follow(&chain[0]);
    rig.expect_canonical(&chain[..1]);
    assert_eq!(rig.new_payload(&chain[9]), TreeVerdict::Syncing);
    let range = rig.expect_download_range(&chain[8], 8);
    rig.deliver(range, &chain[1..9], 0);
    rig.expect_silence();
    rig.follow(&chain[9]);
    rig.expect_canonical(&chain[1..10]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_slow_store_is_not_flooded_with_payloads() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 400, 0);
    rig.store_answers = false;
    for block in &chain {
        assert_eq!(rig.new_payload(block), TreeVerdict::Syncing);
    }
    assert_eq!(rig.payloads.len(), 256);
    // what was not written does not count as here
    rig.follow(&chain[399]);
    rig.expect_download_set(hash(&chain[399]));
}

#[test]
fn the_tip_never_moves_to_a_payload_that_is_not_on_disk() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 3, 0);
    rig.store_answers = false;
    for block in &chain {
        rig.new_payload(block);
    }
    rig.follow(&chain[2]);
    rig.expect_silence();
    let owed: Vec<StoreRequest> = rig.store.drain(..).collect();
    // three payloads and the forkchoice; a crash loses them, and they are asked for again
    assert_eq!(owed.len(), 4);
    rig.restart(ActorName::Store);
    assert_eq!(rig.store.drain(..).collect::<Vec<_>>(), owed);
    rig.expect_silence();
    rig.confirm(owed[0].id());
    rig.expect_canonical(&chain[..1]);
    rig.confirm(owed[1].id());
    rig.confirm(owed[2].id());
    rig.expect_silence();
    let moving = rig.store.pop_front().unwrap().id();
    rig.confirm(moving);
    rig.expect_canonical(&chain[1..]);
}
