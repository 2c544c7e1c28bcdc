//! Peers that the operator named.

use super::*;

fn refused() -> CloseReason {
    CloseReason::Network("connection refused".to_owned())
}

#[test]
fn a_named_peer_is_dialled_for_ever_with_growing_waits() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000] {
        rig.dial_fails(ANNA, refused());
        rig.passes(wait_ms - 1);
        rig.expect_silence();
        rig.passes(1);
        rig.expect_dial(ANNA);
    }
}

#[test]
fn a_session_that_lasted_resets_the_wait_and_a_short_one_does_not() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    for (lasts_ms, wait_ms) in [(9_999, 1_000), (9_999, 2_000), (9_999, 4_000), (10_000, 1_000)] {
        let session = rig.peer_connects(ANNA);
        rig.passes(lasts_ms);
        rig.peer_closes(session, CloseReason::Remote(DisconnectReason::Requested));
        rig.passes(wait_ms - 1);
        rig.expect_silence();
        rig.passes(1);
        rig.expect_dial(ANNA);
    }
}

#[test]
fn the_operator_is_warned_once_per_streak() {
    let mut rig = Rig::naming(&[ANNA]);
    for _ in 0..3 {
        rig.dial_fails(ANNA, refused());
    }
    let session = rig.peer_connects(ANNA);
    rig.peer_closes(session, refused());
    rig.dial_fails(ANNA, refused());
    let warned = |note: &Note| match note {
        Note::Unreachable { first, .. } => Some(*first),
        _ => None,
    };
    let warned: Vec<bool> = rig.notes.iter().filter_map(warned).collect();
    assert_eq!(warned, [true, false, false, true]);
}

#[test]
fn a_peer_on_another_network_is_tried_again_only_after_half_a_minute() {
    for reason in [CloseReason::OtherNetwork("genesis".to_owned()), CloseReason::NoCommonVersion] {
        let mut rig = Rig::naming(&[ANNA]);
        rig.expect_dial(ANNA);
        rig.dial_fails(ANNA, reason);
        rig.passes(29_999);
        rig.expect_silence();
        rig.passes(1);
        rig.expect_dial(ANNA);
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_while_shaking_hands_stays_away_for_a_while() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    rig.dial_fails(ANNA, CloseReason::Breach("garbage".to_owned()));
    let session = rig.peer_opens(info(ANNA, Direction::Inbound));
    rig.expect_disconnect(session, DisconnectReason::UselessPeer);
    rig.passes(14_999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dial(ANNA);
}

#[test]
fn a_dial_whose_answer_was_lost_is_repeated() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    rig.passes(30_999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dial(ANNA);
}

#[test]
fn a_peer_that_dialled_us_meanwhile_is_not_dialled() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    rig.peer_opens(info(ANNA, Direction::Inbound));
    let second = rig.peer_connects(ANNA);
    rig.expect_disconnect(second, DisconnectReason::AlreadyConnected);
    rig.dial_fails(ANNA, CloseReason::Remote(DisconnectReason::AlreadyConnected));
    rig.passes(600_000);
    rig.expect_silence();
}

#[test]
fn timeouts_never_end_the_dialling() {
    let mut rig = Rig::naming(&[ANNA]);
    for _ in 0..20 {
        rig.expect_dial(ANNA);
        let session = rig.peer_connects(ANNA);
        rig.fetch(headers(9, 1));
        rig.expect_asked(ANNA);
        rig.passes(119_999);
        rig.seen.clear();
        rig.passes(1);
        rig.expect_disconnect(session, DisconnectReason::PingTimeout);
        rig.passes(1_000);
    }
}

#[test]
fn nodes_that_name_each_other_do_not_dial_in_the_same_moment_for_ever() {
    let far = PeerId(B512::repeat_byte(0x80));
    let mut rig = Rig::naming(&[ANNA, far]);
    rig.expect_dial(ANNA);
    rig.expect_dial(far);
    rig.dial_fails(ANNA, refused());
    rig.dial_fails(far, refused());
    rig.passes(1_000);
    rig.expect_dial(ANNA);
    rig.passes(124);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dial(far);
}
