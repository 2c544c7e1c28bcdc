//! Requests that are taken back.

use super::*;

#[test]
fn a_queued_request_that_is_cancelled_is_never_asked() {
    let mut rig = Rig::new();
    let [gone, kept] = [rig.fetch(bodies(1..=1)), rig.fetch(bodies(2..=2))];
    rig.cancel(&[gone]);
    assert_eq!(rig.core.peers_report().queued, 1);
    rig.peer_connects(ANNA);
    assert_eq!(rig.expect_asked(ANNA).id, kept);
    rig.passes(4_000);
    rig.expect_silence();
}

#[test]
fn a_request_that_is_out_and_cancelled_frees_its_slot_and_its_answer_only_teaches() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let ids: Vec<RequestId> = (1..=5).map(|number| rig.fetch(bodies(number..=number))).collect();
    let asked: Vec<Asked> = (1..=4).map(|_| rig.expect_asked(ANNA)).collect();
    rig.expect_silence();
    rig.cancel(&ids[..1]);
    let fifth = rig.expect_asked(ANNA);
    assert_eq!((fifth.id, rig.in_flight(ANNA)), (ids[4], 4));
    rig.answers_after(70, &asked[0], 1);
    rig.expect_silence();
    assert_eq!((rig.delay_ms(ANNA), rig.in_flight(ANNA)), (Some(70), 4));
    assert_eq!(rig.core.peers_report().peers[0].served_items, 1);
    rig.answers_after(10, &fifth, 1);
    rig.expect_answer(fifth.id, ANNA);
}

#[test]
fn neither_unknown_ids_nor_old_ones_nor_the_same_again_do_harm() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let id = rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    rig.cancel(&[]);
    rig.cancel(&[RequestId(777), RequestId(778)]);
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(id, ANNA);
    rig.cancel(&[id, id]);
    let other = rig.fetch(bodies(2..=2));
    let asked = rig.expect_asked(ANNA);
    rig.cancel(&[other, other, id]);
    assert_eq!(rig.in_flight(ANNA), 0);
    rig.answers_after(10, &asked, 1);
    rig.expect_silence();
}

#[test]
fn no_outcome_follows_when_the_session_of_a_cancelled_request_closes() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    let id = rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.cancel(&[id]);
    rig.peer_closes(session, CloseReason::Network("test".to_owned()));
    rig.passes(60_000);
    rig.expect_silence();
}

#[test]
fn a_peer_that_hangs_is_known_for_it_though_its_request_was_cancelled() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 10);
    let id = rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.cancel(&[id]);
    rig.passes(1_999);
    assert_eq!(rig.faults(ANNA), 0);
    rig.passes(60);
    assert_eq!(rig.faults(ANNA), 1);
    rig.expect_silence();
}
