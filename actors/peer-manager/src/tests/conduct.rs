//! Lies, and what is none.

use super::*;

#[test]
fn a_liar_is_dropped_at_once_and_stays_away_for_ten_minutes() {
    for lie in [
        Conduct::WrongAnchor,
        Conduct::BrokenLink,
        Conduct::UnaskedBody,
        Conduct::UnaskedReceipts,
        Conduct::TooMany,
    ] {
        let mut rig = Rig::new();
        let session = rig.peer_connects(ANNA);
        let id = rig.fetch(bodies(1..=1));
        rig.expect_asked(ANNA);
        rig.reports(ANNA, lie);
        rig.expect_disconnect(session, DisconnectReason::ProtocolBreach);
        rig.expect_failure(id, Some(ANNA), FetchError::Disconnected);
        rig.peer_closes(session, CloseReason::Local(DisconnectReason::ProtocolBreach));
        rig.passes(599_999);
        let again = rig.peer_connects(ANNA);
        rig.expect_disconnect(again, DisconnectReason::UselessPeer);
        rig.passes(1);
        rig.peer_connects(ANNA);
        rig.expect_silence();
        assert!(matches!(rig.notes[1], Note::Banned { peer: ANNA, .. }), "{:?}", rig.notes);
    }
}

#[test]
fn a_breach_that_the_edge_saw_counts_like_a_lie() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    rig.peer_closes(session, CloseReason::Breach("a frame of 16 MiB".to_owned()));
    let again = rig.peer_connects(ANNA);
    rig.expect_disconnect(again, DisconnectReason::UselessPeer);
}

#[test]
fn a_liar_that_the_operator_named_is_dialled_again_after_fifteen_seconds() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    let session = rig.peer_connects(ANNA);
    rig.passes(60_000);
    rig.reports(ANNA, Conduct::UnaskedBody);
    rig.expect_disconnect(session, DisconnectReason::ProtocolBreach);
    rig.passes(14_999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dial(ANNA);
    rig.peer_connects(ANNA);
    rig.expect_silence();
}

#[test]
fn an_honest_peer_is_never_banned_for_what_it_lacks() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    for _ in 0..1_000 {
        rig.reports(ANNA, Conduct::Lacked);
        rig.reports(ANNA, Conduct::OtherBranch);
    }
    rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
}

#[test]
fn a_second_session_of_one_peer_is_ended_and_the_first_goes_on() {
    let mut rig = Rig::new();
    let first = rig.peer_connects(ANNA);
    let second = rig.peer_opens(info(ANNA, Direction::Inbound));
    rig.expect_disconnect(second, DisconnectReason::AlreadyConnected);
    rig.peer_closes(second, CloseReason::Local(DisconnectReason::AlreadyConnected));
    rig.fetch(bodies(1..=1));
    assert_eq!(rig.expect_asked(ANNA).session, first);
}

#[test]
fn others_may_open_sessions_as_long_as_slots_are_free() {
    let config = PeerManagerConfig {
        static_peers: vec![node(peer(9))],
        peers_max: 3,
        inbound_max: 2,
        ..PeerManagerConfig::default()
    };
    let mut rig = Rig::with(config, 0);
    rig.expect_dial(peer(9));
    rig.peer_opens(info(ANNA, Direction::Inbound));
    let second = rig.peer_opens(info(BERT, Direction::Inbound));
    let third = rig.peer_opens(info(CARL, Direction::Inbound));
    rig.expect_disconnect(third, DisconnectReason::TooManyPeers);
    rig.peer_opens(info(peer(9), Direction::Inbound));
    rig.expect_silence();
    rig.peer_closes(second, CloseReason::Remote(DisconnectReason::ClientQuitting));
    rig.peer_opens(info(CARL, Direction::Inbound));
    rig.expect_silence();
}

#[test]
fn an_answer_is_judged_once() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 20);
    rig.measure(BERT, 900);
    // eight times half a second would be four
    for _ in 0..8 {
        rig.reports_on(RequestId(1_000), ANNA, Conduct::Lacked);
    }
    let id = rig.fetch_tip(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(20, &asked, 1);
    rig.expect_answer(id, ANNA);
    rig.reports_on(RequestId(1_000), ANNA, Conduct::UnaskedBody);
    rig.expect_silence();
    rig.reports_on(id, ANNA, Conduct::UnaskedBody);
    rig.expect_disconnect(session, DisconnectReason::ProtocolBreach);
}

#[test]
fn worse_conduct_costs_more() {
    for (conduct, bert_ms, expected) in [
        (Conduct::Lacked, 300, BERT),
        (Conduct::Lacked, 700, ANNA),
        (Conduct::OtherBranch, 700, BERT),
        (Conduct::OtherBranch, 1_800, ANNA),
    ] {
        let mut rig = Rig::new();
        rig.peer_connects(ANNA);
        rig.peer_connects(BERT);
        rig.measure(ANNA, 20);
        rig.measure(BERT, bert_ms);
        rig.reports(ANNA, conduct);
        rig.fetch_tip(bodies(1..=2));
        rig.expect_asked(expected);
    }
}

#[test]
fn a_named_liar_that_comes_back_is_asked_last() {
    let mut rig = Rig::naming(&[ANNA]);
    rig.expect_dial(ANNA);
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 20);
    rig.measure(BERT, 1_800);
    let session = SessionId(1);
    rig.reports(ANNA, Conduct::UnaskedBody);
    rig.expect_disconnect(session, DisconnectReason::ProtocolBreach);
    rig.peer_closes(session, CloseReason::Local(DisconnectReason::ProtocolBreach));
    rig.passes(15_000);
    rig.seen.clear();
    rig.peer_connects(ANNA);
    rig.fetch_tip(bodies(1..=2));
    rig.expect_asked(BERT);
}
