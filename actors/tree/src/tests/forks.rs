//! The chain that is named leaves the one that is here.

use std::time::Duration;

use moorline_messages::TreeVerdict;

use super::rig::{Rig, grow, hash, spec};

#[test]
fn a_branch_that_is_here_becomes_canonical_from_the_common_ancestor_on() {
    let chain = grow(spec().genesis(), 10, 0);
    let side = grow(&chain[4].header, 7, 1);
    let mut rig = Rig::at_tip(&chain);
    for block in &side {
        assert_eq!(rig.new_payload(block), TreeVerdict::Accepted);
    }
    rig.expect_silence();
    rig.follow(&side[6]);
    rig.expect_canonical(&side);
    rig.expect_synced(&side[6]);
    // and back again, to a branch that is shorter
    rig.follow(&chain[9]);
    rig.expect_canonical(&chain[5..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn an_ancestor_of_the_tip_may_be_named_and_left_again() {
    let chain = grow(spec().genesis(), 10, 0);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&chain[6]);
    rig.expect_canonical(&chain[6..7]);
    rig.expect_synced(&chain[6]);
    rig.follow(&chain[9]);
    rig.expect_canonical(&chain[7..]);
    rig.expect_synced(&chain[9]);
}

#[test]
fn an_unknown_branch_is_fetched_downwards_in_growing_steps_until_it_links() {
    let chain = grow(spec().genesis(), 20, 0);
    let side = grow(&chain[9].header, 10, 1);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&side[9]);
    let set = rig.expect_download_set(hash(&side[9]));
    rig.deliver(set, &side[9..], 0);
    let one = rig.expect_download_range(&side[8], 1);
    rig.deliver(one, &side[8..9], 0);
    let two = rig.expect_download_range(&side[7], 2);
    rig.deliver(two, &side[6..8], 0);
    let four = rig.expect_download_range(&side[5], 4);
    rig.deliver(four, &side[2..6], 0);
    let eight = rig.expect_download_range(&side[1], 8);
    rig.expect_silence();
    // the common ancestor lies in the middle of what is delivered
    rig.deliver(eight, &[&chain[4..10], &side[..2]].concat(), 0);
    rig.expect_canonical(&side);
    rig.expect_synced(&side[9]);
}

#[test]
fn a_branch_never_leads_below_the_first_block() {
    let chain = grow(spec().genesis(), 5, 0);
    let side = grow(spec().genesis(), 5, 1);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&side[4]);
    let set = rig.expect_download_set(hash(&side[4]));
    rig.deliver(set, &side[4..], 0);
    let one = rig.expect_download_range(&side[3], 1);
    rig.deliver(one, &side[3..4], 0);
    let two = rig.expect_download_range(&side[2], 2);
    rig.deliver(two, &side[1..3], 0);
    let rest = rig.expect_download_range(&side[0], 1);
    rig.deliver(rest, &side[..1], 0);
    rig.expect_canonical(&side);
    rig.expect_synced(&side[4]);
}

#[test]
fn while_a_longer_branch_arrives_its_common_ancestor_is_looked_for() {
    let chain = grow(spec().genesis(), 20, 0);
    let side = grow(&chain[17].header, 40, 1);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&side[39]);
    let set = rig.expect_download_set(hash(&side[39]));
    rig.deliver(set, &side[39..], 0);
    // the side's block at the tip's height is side[1]
    let range = rig.expect_download_range(&side[38], 37);
    rig.deliver(range, &side[2..20], 19);
    let one = rig.expect_download_range(&side[1], 1);
    rig.deliver(range, &side[20..30], 9);
    rig.expect_silence();
    rig.deliver(one, &side[1..2], 0);
    let two = rig.expect_download_range(&side[0], 2);
    rig.deliver(two, &[&chain[17..18], &side[..1]].concat(), 0);
    rig.expect_canonical(&side[..30]);
    rig.deliver(range, &side[30..39], 0);
    rig.expect_canonical(&side[30..]);
    rig.expect_synced(&side[39]);
}

#[test]
fn a_fork_below_the_window_makes_the_window_longer() {
    let chain = grow(spec().genesis(), 1_500, 0);
    let side = grow(&chain[399].header, 2, 1);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&side[1]);
    let set = rig.expect_download_set(hash(&side[1]));
    rig.deliver(set, &side[1..], 0);
    rig.expect_silence();
    rig.walk(&chain);
    let one = rig.expect_download_range(&side[0], 1);
    rig.deliver(one, &side[..1], 0);
    rig.expect_canonical(&side);
    rig.expect_synced(&side[1]);
}

#[test]
fn an_old_canonical_block_is_recognised_below_the_window() {
    let chain = grow(spec().genesis(), 1_500, 0);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&chain[99]);
    let set = rig.expect_download_set(hash(&chain[99]));
    rig.deliver(set, &chain[99..100], 0);
    rig.walk(&chain);
    rig.expect_canonical(&chain[99..100]);
    rig.expect_synced(&chain[99]);
}

#[test]
fn a_walk_that_finds_nothing_is_not_repeated_without_end() {
    let chain = grow(spec().genesis(), 1_500, 0);
    let mut rig = Rig::at_tip(&chain);
    rig.follow(&chain[99]);
    let set = rig.expect_download_set(hash(&chain[99]));
    rig.deliver(set, &chain[99..100], 0);
    rig.walk(&[]);
    rig.pass(Duration::from_secs(60));
    assert!(rig.store.is_empty());
    rig.expect_silence();
    assert!(rig.reports.last().unwrap().trouble.is_some());
}
