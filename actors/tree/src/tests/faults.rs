//! What goes wrong on the way.

use std::time::Duration;

use moorline_messages::{Breach, DownloadFailure, StoreRequest, TreeTarget, TreeVerdict};

use super::rig::{Rig, at_head, child, grow, hash, spec};

/// A chain of ten whose fifth block breaks a rule beside its parent.
fn bad_in_the_middle() -> Vec<moorline_messages::Block> {
    let mut chain = grow(spec().genesis(), 4, 0);
    chain.push(child(&chain[3].header, 0, |header| header.base_fee_per_gas = Some(7)));
    let rest = grow(&chain[4].header, 5, 0);
    chain.extend(rest);
    chain
}

#[test]
fn an_invalid_block_in_the_middle_ends_the_target_and_keeps_what_lies_below() {
    let chain = bad_in_the_middle();
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.deliver(range, &chain[..7], 2);
    rig.expect_cancel(range);
    rig.expect_canonical(&chain[..4]);
    rig.pass(Duration::from_secs(60));
    rig.expect_silence();
    let report = rig.reports.last().unwrap();
    assert!(report.invalid && !report.synced);
    assert!(report.trouble.as_ref().unwrap().contains("base fee"));
    assert!(matches!(rig.forkchoice(hash(&chain[9])), TreeVerdict::Invalid { .. }));
    assert!(matches!(rig.new_payload(&chain[5]), TreeVerdict::Invalid { .. }));
    // a good head is followed all the same
    let good = grow(&chain[3].header, 3, 1);
    rig.follow(&good[2]);
    let set = rig.expect_download_set(hash(&good[2]));
    rig.deliver(set, &good[2..], 0);
    let range = rig.expect_download_range(&good[1], 2);
    rig.deliver(range, &good[..2], 0);
    rig.expect_canonical(&good);
    rig.expect_synced(&good[2]);
}

#[test]
fn a_buffered_block_that_turns_out_invalid_ends_the_target_above_it() {
    let chain = bad_in_the_middle();
    let mut rig = Rig::at_genesis();
    for block in &chain[4..] {
        assert_eq!(rig.new_payload(block), TreeVerdict::Syncing);
    }
    rig.follow(&chain[9]);
    let range = rig.expect_download_range(&chain[3], 4);
    rig.deliver(range, &chain[..4], 0);
    rig.expect_canonical(&chain[..4]);
    rig.expect_silence();
    assert!(matches!(rig.forkchoice(hash(&chain[9])), TreeVerdict::Invalid { .. }));
}

#[test]
fn an_invalid_block_under_a_former_target_does_not_end_the_new_one() {
    let chain = bad_in_the_middle();
    let good = grow(&chain[3].header, 6, 1);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.follow(&good[5]);
    let set = rig.expect_download_set(hash(&good[5]));
    rig.deliver(range, &chain[..7], 2);
    rig.expect_cancel(range);
    rig.expect_canonical(&chain[..4]);
    rig.deliver(set, &good[5..], 0);
    let range = rig.expect_download_range(&good[4], 5);
    rig.deliver(range, &good[..5], 0);
    rig.expect_canonical(&good);
    rig.expect_synced(&good[5]);
}

#[test]
fn an_invalid_block_found_by_the_downloader_ends_the_target() {
    let chain = bad_in_the_middle();
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    let breach = Breach::BaseFee { found: 7, expected: 8 };
    rig.fail(range, DownloadFailure::Invalid { block: chain[4].num_hash(), breach });
    rig.expect_silence();
    assert!(matches!(rig.forkchoice(hash(&chain[9])), TreeVerdict::Invalid { .. }));
    assert!(matches!(rig.new_payload(&chain[4]), TreeVerdict::Invalid { .. }));
}

#[test]
fn a_chain_with_another_genesis_block_is_invalid() {
    let stranger = child(spec().genesis(), 9, |header| header.number = 0);
    let chain = grow(&stranger.header, 3, 0);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[2]);
    let set = rig.expect_download_set(hash(&chain[2]));
    rig.deliver(set, &chain[2..], 0);
    let range = rig.expect_download_range(&chain[1], 2);
    rig.deliver(range, &chain[..2], 0);
    rig.expect_silence();
    assert!(matches!(rig.forkchoice(hash(&chain[2])), TreeVerdict::Invalid { .. }));
    rig.pass(Duration::from_secs(1));
    assert!(rig.reports.last().unwrap().invalid);
}

#[test]
fn what_nobody_has_is_tried_again_ever_more_rarely_and_said_once() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    for wait in [10, 20, 40, 60, 60] {
        let set = rig.expect_download_set(hash(&chain[9]));
        rig.expect_silence();
        let reason = DownloadFailure::Unobtainable { hash: hash(&chain[9]), attempts: 3 };
        rig.fail(set, reason);
        rig.follow(&chain[9]);
        rig.pass(Duration::from_secs(wait - 1));
        rig.expect_silence();
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.warnings.len(), 1);
    let report = rig.reports.last().unwrap().clone();
    assert!(!report.invalid && report.trouble.unwrap().contains("no peer has block"));
    assert_eq!(report.target, Some(TreeTarget { hash: hash(&chain[9]), number: None }));
    // another head has a fresh start
    rig.downloads.clear();
    rig.follow(&chain[8]);
    rig.downloads.pop_front();
    rig.expect_download_set(hash(&chain[8]));
}

#[test]
fn a_store_that_fails_is_read_anew_and_the_target_stands() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.store_answers = false;
    rig.deliver(range, &chain[..5], 4);
    rig.expect_canonical(&chain[..5]);
    let failed = rig.store.pop_front().unwrap().id();
    rig.fail_store(failed);
    rig.expect_cancel(range);
    assert!(rig.store.is_empty());
    rig.pass(Duration::from_secs(1));
    // the store has nothing of it, and that is what counts
    rig.load(&[], at_head(hash(&chain[9])));
    let set = rig.expect_download_set(hash(&chain[9]));
    rig.deliver(set, &chain[9..], 0);
    let range = rig.expect_download_range(&chain[8], 9);
    rig.deliver(range, &chain[..9], 0);
    rig.expect_canonical(&chain);
    rig.expect_synced(&chain[9]);
}

#[test]
fn a_store_that_keeps_failing_is_asked_ever_more_rarely() {
    let mut rig = Rig::unloaded(|_| {});
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let Some(StoreRequest::Load { id, .. }) = rig.store.pop_front() else { panic!() };
        rig.fail_store(id);
        rig.pass(Duration::from_millis(wait * 1_000 - 1));
        assert!(rig.store.is_empty());
        rig.pass(Duration::from_millis(1));
    }
}

#[test]
fn a_store_that_says_nothing_is_asked_again() {
    let mut rig = Rig::unloaded(|_| {});
    rig.store.clear();
    rig.pass(Duration::from_secs(31));
    rig.load(&[], Default::default());
    let chain = grow(&rig.genesis(), 1, 0);
    rig.store_answers = false;
    rig.new_payload(&chain[0]);
    let owed = rig.store.pop_front().unwrap();
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.store.pop_front(), Some(owed));
}

#[test]
fn a_stale_outcome_changes_nothing() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[9]);
    let set = rig.expect_download_set(hash(&chain[9]));
    let stale = moorline_messages::RequestId(set.0 + 1_000);
    rig.deliver(stale, &chain, 0);
    rig.fail(stale, DownloadFailure::Unobtainable { hash: hash(&chain[9]), attempts: 1 });
    rig.fail_store(stale);
    rig.pass(Duration::from_secs(5));
    rig.expect_silence();
    assert!(rig.store.is_empty());
}

#[test]
fn reports_come_a_few_times_a_second_and_the_last_one_at_once() {
    let chain = grow(spec().genesis(), 101, 0);
    let mut rig = Rig::at_genesis();
    rig.follow(&chain[100]);
    let set = rig.expect_download_set(hash(&chain[100]));
    rig.deliver(set, &chain[100..], 0);
    let range = rig.expect_download_range(&chain[99], 100);
    rig.reports.clear();
    for (index, block) in chain[..100].iter().enumerate() {
        rig.pass(Duration::from_millis(25));
        rig.deliver(range, std::slice::from_ref(block), 99 - index as u64);
    }
    // 2.5 s, four a second, and the end
    assert!((9..=12).contains(&rig.reports.len()), "{}", rig.reports.len());
    assert!(rig.reports.last().unwrap().synced);
}
