//! A head is named, and the chain below it is followed.

use std::time::Duration;

use moorline_messages::{ActorName, DownloadRequest, Forkchoice, TreeVerdict};

use super::rig::{Rig, at_head, grow, hash, names, spec};
use crate::core::{BUFFER_HEADERS_MAX, CANONICAL_PER_BATCH_MAX};

#[test]
fn an_unknown_head_is_asked_for_once_and_then_by_the_clock() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let id = rig.expect_download_set(hash(&chain[9]));
    rig.follow(&chain[9]);
    rig.follow(&chain[9]);
    rig.expect_silence();
    rig.pass(Duration::from_secs(9));
    rig.expect_silence();
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.expect_download_set(hash(&chain[9])), id);
    rig.expect_silence();
}

#[test]
fn below_a_head_everything_down_to_the_tip_is_asked_for_and_the_tip_rises_from_the_bottom() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.deliver(range, &chain[..4], 5);
    rig.expect_canonical(&chain[..4]);
    rig.deliver(range, &chain[4..7], 2);
    rig.expect_canonical(&chain[4..7]);
    rig.expect_silence();
    rig.deliver(range, &chain[7..9], 0);
    rig.expect_canonical(&chain[7..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_head_right_above_the_tip_needs_nothing_but_itself() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_tip(&chain[..9]);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    rig.expect_canonical(&chain[9..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_payload_that_is_here_becomes_canonical_when_it_is_named() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_tip(&chain[..8]);
    assert_eq!(rig.new_payload(&chain[8]), TreeVerdict::Syncing);
    assert_eq!(rig.new_payload(&chain[9]), TreeVerdict::Syncing);
    assert_eq!(rig.payloads, names(&chain[8..]));
    rig.expect_silence();
    rig.follow(&chain[9]);
    rig.expect_canonical(&chain[8..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn what_is_buffered_above_a_range_connects_when_the_range_ends() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    for block in &chain[5..] {
        assert_eq!(rig.new_payload(block), TreeVerdict::Syncing);
    }
    rig.expect_silence();
    rig.follow(&chain[9]);
    let range = rig.expect_download_range(&chain[4], 5);
    rig.deliver(range, &chain[..5], 0);
    rig.expect_canonical(&chain);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_child_of_the_target_extends_it_at_no_cost() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 12, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..10], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.deliver(range, &chain[..3], 6);
    rig.expect_canonical(&chain[..3]);
    for block in &chain[10..] {
        rig.new_payload(block);
        rig.follow(block);
        rig.expect_silence();
    }
    rig.deliver(range, &chain[3..9], 0);
    rig.expect_canonical(&chain[3..]);
    rig.expect_synced(&chain[11]);
}

#[test]
fn a_later_head_on_the_same_chain_joins_the_range_that_is_under_way() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 20, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..10], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.follow(&chain[19]);
    let set = rig.expect_download_set(hash(&chain[19]));
    // the old range goes on meanwhile, and what it brings counts
    rig.deliver(range, &chain[..3], 6);
    rig.expect_canonical(&chain[..3]);
    rig.deliver(set, &chain[19..], 0);
    // height 9 belongs to the old range, so only 10 to 19 are missing above it
    let join = rig.expect_download_range(&chain[18], 10);
    rig.deliver(join, &chain[9..19], 0);
    rig.expect_silence();
    rig.deliver(range, &chain[3..9], 0);
    rig.expect_canonical(&chain[3..]);
    rig.expect_synced(&chain[19]);
}

#[test]
fn a_head_on_another_branch_cancels_what_leads_nowhere() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    let other = grow(&rig.genesis(), 10, 1);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.follow(&other[9]);
    let set = rig.expect_download_set(hash(&other[9]));
    rig.deliver(set, &other[9..], 0);
    rig.expect_cancel(range);
    let range = rig.expect_download_range(&other[8], 9);
    rig.deliver(range, &other[..9], 0);
    rig.expect_canonical(&other);
    rig.expect_synced(&other[9]);
}

#[test]
fn a_replaced_head_that_was_never_seen_is_no_longer_asked_for() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let first = rig.expect_download_set(hash(&chain[9]));
    rig.follow(&chain[4]);
    rig.expect_cancel(first);
    let second = rig.expect_download_set(hash(&chain[4]));
    rig.deliver(first, &chain[9..], 0);
    rig.expect_silence();
    rig.deliver(second, &chain[4..5], 0);
    rig.expect_download_range(&chain[3], 4);
}

#[test]
fn the_newest_forkchoice_is_written_once() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.store_answers = false;
    for block in &chain[5..] {
        rig.follow(block);
        rig.follow(block);
    }
    assert_eq!(rig.forkchoices, [at_head(hash(&chain[5]))]);
    let request = rig.store.pop_front().unwrap().id();
    rig.store_answers = true;
    rig.confirm(request);
    assert_eq!(rig.forkchoices, [at_head(hash(&chain[5])), at_head(hash(&chain[9]))]);
}

#[test]
fn after_a_restart_the_stored_head_is_the_target_by_itself() {
    let chain = grow(spec().genesis(), 30, 0);
    let mut rig = Rig::unloaded(|_| {});
    rig.load(&chain[..10], at_head(hash(&chain[29])));
    let set = rig.expect_download_set(hash(&chain[29]));
    rig.deliver(set, &chain[29..], 0);
    let range = rig.expect_download_range(&chain[28], 19);
    rig.deliver(range, &chain[10..29], 0);
    rig.expect_canonical(&chain[10..]);
    rig.expect_synced(&chain[29]);
}

#[test]
fn before_the_store_has_answered_the_newest_head_is_kept() {
    let chain = grow(spec().genesis(), 30, 0);
    let mut rig = Rig::unloaded(|_| {});
    rig.follow(&chain[20]);
    rig.follow(&chain[21]);
    assert_eq!(rig.new_payload(&chain[22]), TreeVerdict::Syncing);
    rig.expect_silence();
    rig.load(&chain[..10], at_head(hash(&chain[29])));
    rig.expect_download_set(hash(&chain[21]));
    rig.expect_silence();
    assert_eq!(rig.forkchoices, [at_head(hash(&chain[21]))]);
}

#[test]
fn a24_the_genesis_block_is_the_only_valid_one() {
    let mut rig = Rig::at_genesis();
    let genesis = rig.genesis();
    assert_eq!(rig.forkchoice(genesis.hash()), TreeVerdict::Valid);
    rig.expect_silence();
}

#[test]
fn naming_the_genesis_block_unwinds_nothing_then_or_after_a_restart() {
    let chain = grow(spec().genesis(), 10, 0);
    let genesis = spec().genesis().hash();
    let mut rig = Rig::at_tip(&chain);
    assert_eq!(rig.forkchoice(genesis), TreeVerdict::Valid);
    rig.expect_silence();
    let mut rig = Rig::unloaded(|_| {});
    rig.load(&chain, at_head(genesis));
    rig.expect_silence();
}

#[test]
fn a26_a_zero_head_is_no_forkchoice() {
    let mut rig = Rig::at_genesis();
    assert!(matches!(rig.forkchoice(Default::default()), TreeVerdict::Inconsistent { .. }));
    rig.expect_silence();
}

#[test]
fn a26_safe_and_finalized_must_lie_below_the_head_where_that_can_be_told() {
    let chain = grow(spec().genesis(), 10, 0);
    let side = grow(&chain[4].header, 3, 1);
    let mut rig = Rig::at_tip(&chain);
    for block in &side {
        assert_eq!(rig.new_payload(block), TreeVerdict::Accepted);
    }
    let mut ask = |head, safe, finalized| {
        let forkchoice = Forkchoice { head, safe, finalized };
        rig.ask(moorline_messages::TreeRequest::ForkchoiceUpdated(forkchoice))
    };
    let (head, safe, finalized) = (hash(&chain[9]), hash(&chain[6]), hash(&chain[3]));
    assert_eq!(ask(head, safe, finalized), TreeVerdict::Syncing);
    assert_eq!(ask(head, head, head), TreeVerdict::Syncing);
    assert_eq!(ask(head, alloy_primitives::B256::repeat_byte(7), finalized), TreeVerdict::Syncing);
    assert!(matches!(ask(head, hash(&side[0]), finalized), TreeVerdict::Inconsistent { .. }));
    assert!(matches!(ask(head, safe, hash(&side[0])), TreeVerdict::Inconsistent { .. }));
    assert!(matches!(ask(head, finalized, safe), TreeVerdict::Inconsistent { .. }));
    assert!(matches!(ask(finalized, safe, finalized), TreeVerdict::Inconsistent { .. }));
    // nothing lies below the genesis block, known here or not
    let (genesis, unknown) = (spec().genesis().hash(), alloy_primitives::B256::repeat_byte(7));
    assert_eq!(ask(genesis, genesis, genesis), TreeVerdict::Valid);
    assert!(matches!(ask(genesis, unknown, genesis), TreeVerdict::Inconsistent { .. }));
    assert!(matches!(ask(genesis, genesis, finalized), TreeVerdict::Inconsistent { .. }));
    assert!(matches!(ask(head, genesis, unknown), TreeVerdict::Inconsistent { .. }));
    // what contradicts itself is not followed
    assert_eq!(ask(hash(&side[2]), hash(&side[0]), finalized), TreeVerdict::Syncing);
    rig.expect_canonical(&side);
}

#[test]
fn a_long_run_is_written_in_batches_that_wait_for_the_store() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 5_001, 0);
    rig.follow(&chain[5_000]);
    let set = rig.expect_download_set(hash(&chain[5_000]));
    rig.deliver(set, &chain[5_000..], 0);
    let range = rig.expect_download_range(&chain[4_999], 5_000);
    rig.store_answers = false;
    for (index, blocks) in chain[..5_000].chunks(500).enumerate() {
        rig.deliver(range, blocks, 5_000 - 500 * (index as u64 + 1));
    }
    // one is out, the rest waits
    assert_eq!(rig.canonical.iter().map(Vec::len).sum::<usize>(), 500);
    assert!(rig.reports.iter().all(|report| !report.synced));
    rig.store_answers = true;
    while let Some(request) = rig.store.pop_front() {
        let request = request.id();
        rig.step(crate::core::Input::Stored(moorline_messages::StoreOutcome::Persisted {
            request,
        }));
    }
    assert!(rig.canonical.iter().all(|batch| batch.len() <= CANONICAL_PER_BATCH_MAX));
    assert_eq!(rig.canonical.drain(..).flatten().collect::<Vec<_>>(), names(&chain));
    rig.expect_synced(&chain[5_000]);
}

#[test]
fn with_a_floor_the_lowest_block_wanted_stands_without_its_parent() {
    let mut rig = Rig::at_genesis_with(|config| config.floor = 6);
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 4);
    rig.deliver(range, &chain[5..7], 2);
    rig.expect_canonical(&chain[5..7]);
    rig.deliver(range, &chain[7..9], 0);
    rig.expect_canonical(&chain[7..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_crashed_downloader_is_asked_for_the_rest() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.deliver(range, &chain[..4], 5);
    rig.expect_canonical(&chain[..4]);
    rig.restart(ActorName::Downloader);
    let rest = rig.expect_download_range(&chain[8], 5);
    rig.deliver(rest, &chain[4..9], 0);
    rig.expect_canonical(&chain[4..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_request_that_ends_without_its_block_is_repeated_by_the_clock_and_not_at_once() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 10, 0);
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &[], 0);
    rig.expect_silence();
    rig.pass(Duration::from_secs(9));
    rig.expect_silence();
    rig.pass(Duration::from_secs(2));
    rig.expect_download_set(hash(&chain[9]));
}

#[test]
fn more_payloads_than_fit_are_fetched_again_from_the_bottom_up() {
    let mut rig = Rig::at_genesis();
    let above = BUFFER_HEADERS_MAX as u64 + 200;
    let chain = grow(&rig.genesis(), above + 10, 0);
    for block in &chain[10..] {
        assert_eq!(rig.new_payload(block), TreeVerdict::Syncing);
    }
    let top = chain.last().unwrap();
    rig.follow(top);
    let set = rig.expect_download_set(hash(top));
    rig.deliver(set, &chain[chain.len() - 1..], 0);
    // the ones farthest from connecting were dropped, all but the target itself
    let Some(DownloadRequest::BlockRange { id, head, count }) = rig.downloads.pop_front() else {
        panic!("a range is missing");
    };
    assert_eq!((head, count), (hash(&chain[chain.len() - 2]), above + 9));
    rig.deliver(id, &chain[..10], above - 1);
    rig.expect_canonical(&chain[..10]);
    rig.deliver(id, &chain[10..chain.len() - 1], 0);
    let canonical: Vec<_> = rig.canonical.drain(..).flatten().collect();
    assert_eq!(canonical, names(&chain[10..]));
    rig.expect_synced(top);
}

#[test]
fn old_blocks_that_are_delivered_again_do_not_push_new_ones_out_of_memory() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 13_000, 0);
    rig.follow(&chain[12_999]);
    let set = rig.expect_download_set(hash(&chain[12_999]));
    rig.deliver(set, &chain[12_999..], 0);
    let range = rig.expect_download_range(&chain[12_998], 12_999);
    let again = &chain[100..BUFFER_HEADERS_MAX + 200];
    for part in chain[..12_900].chunks(512).chain(again.chunks(512)) {
        rig.deliver(range, part, 99);
    }
    rig.new_payload(&chain[12_990]);
    rig.downloads.clear();
    rig.follow(&chain[12_990]);
    let asked: Vec<_> = rig.downloads.drain(..).collect();
    let again = |request: &DownloadRequest| matches!(request, DownloadRequest::BlockSet { .. });
    assert!(!asked.iter().any(again), "a block that is here is asked for: {asked:?}");
}

#[test]
fn a_head_that_is_the_genesis_block_is_reached() {
    let mut rig = Rig::at_genesis();
    let chain = grow(&rig.genesis(), 1, 0);
    rig.pass(Duration::from_secs(1));
    assert!(!rig.reports.last().unwrap().synced, "no head was named");
    assert_eq!(rig.forkchoice(rig.genesis().hash()), TreeVerdict::Valid);
    rig.pass(Duration::from_secs(1));
    assert!(rig.reports.last().unwrap().synced);
    rig.follow(&chain[0]);
    rig.pass(Duration::from_secs(1));
    assert!(!rig.reports.last().unwrap().synced);
}
