//! The tip, when the peer that was asked for it takes unusually long.

use super::*;

/// Anna answers two bodies in 20 ms and Bert in 60 ms, so the tip goes to Anna.
fn anna_and_bert() -> (Rig, [SessionId; 2]) {
    let mut rig = Rig::new();
    let sessions = [rig.peer_connects(ANNA), rig.peer_connects(BERT)];
    rig.measure(ANNA, 20);
    rig.measure(BERT, 60);
    (rig, sessions)
}

/// A tip request that both work on.
fn both_asked(rig: &mut Rig) -> (RequestId, Asked, Asked) {
    let id = rig.fetch_tip(bodies(9..=9));
    let first = rig.expect_asked(ANNA);
    rig.passes(200);
    let second = rig.expect_asked(BERT);
    assert_eq!((first.id, second.id, &first.items), (id, id, &second.items));
    (id, first, second)
}

#[test]
fn the_tip_is_given_to_a_second_peer_once_the_first_takes_unusually_long() {
    let (mut rig, _) = anna_and_bert();
    rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(ANNA);
    rig.passes(199);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_asked(BERT);
    rig.peer_connects(CARL);
    rig.passes(1_000);
    rig.expect_silence();
}

#[test]
fn what_is_unusual_depends_on_the_peer_and_the_size() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    // 300 ms to begin with, and 50 ms each
    rig.measure(ANNA, 400);
    rig.peer_connects(BERT);
    rig.fetch_tip(bodies(1..=8));
    rig.expect_asked(ANNA);
    rig.passes(1_049);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_asked(BERT);
}

#[test]
fn a_peer_nobody_measured_is_given_a_second_before_another_is_asked() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.fetch_tip(headers(9, 1));
    rig.expect_asked(ANNA);
    rig.passes(999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_asked(BERT);
}

#[test]
fn history_that_straggles_is_given_to_a_second_peer_after_what_waits() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 900);
    let id = rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.peer_connects(BERT);
    rig.measure(BERT, 40);
    rig.passes(1_900);
    for number in 2..=6 {
        rig.fetch_avoiding(bodies(number..=number), &[ANNA]);
    }
    let asked: Vec<Asked> = (2..=5).map(|_| rig.expect_asked(BERT)).collect();
    rig.passes(59);
    rig.expect_silence();
    // all that Bert may be asked is out, and one more waits
    rig.answers_after(40, &asked[0], 1);
    rig.expect_answer(asked[0].id, BERT);
    assert_eq!(rig.expect_asked(BERT).items, bodies(6..=6));
    rig.expect_silence();
    rig.answers_after(40, &asked[1], 1);
    rig.expect_answer(asked[1].id, BERT);
    assert_eq!(rig.expect_asked(BERT).id, id);
}

#[test]
fn history_that_straggles_is_not_given_to_a_peer_nobody_measured() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 900);
    rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.peer_connects(BERT);
    rig.passes(3_000);
    rig.expect_silence();
}

#[test]
fn a_second_peer_that_is_lost_is_replaced() {
    let (mut rig, _) = anna_and_bert();
    let (id, _, second) = both_asked(&mut rig);
    rig.peer_connects(CARL);
    rig.expect_silence();
    rig.peer_closes(second.session, CloseReason::Network("reset".to_owned()));
    assert_eq!(rig.expect_asked(CARL).id, id);
}

#[test]
fn the_first_answer_wins_and_the_other_only_teaches() {
    for anna_wins in [true, false] {
        let (mut rig, _) = anna_and_bert();
        let (id, first, second) = both_asked(&mut rig);
        let (winner, loser) = if anna_wins { (first, second) } else { (second, first) };
        let [winner_id, loser_id] = [&winner, &loser].map(|asked| rig.peers[&asked.session]);
        rig.answers_after(100, &winner, 1);
        rig.expect_answer(id, winner_id);
        assert_eq!([rig.in_flight(ANNA), rig.in_flight(BERT)], [0, 0]);
        let before = rig.delay_ms(loser_id);
        rig.answers_after(400, &loser, 1);
        rig.expect_silence();
        assert!(rig.delay_ms(loser_id) > before, "it taught how slow the peer is");
        rig.passes(60_000);
        assert_eq!(rig.faults(loser_id), 0);
        rig.expect_silence();
    }
}

#[test]
fn an_empty_answer_leaves_the_request_to_the_other() {
    for anna_lacks in [true, false] {
        let (mut rig, _) = anna_and_bert();
        let (id, first, second) = both_asked(&mut rig);
        let (lacking, other) = if anna_lacks { (first, second) } else { (second, first) };
        rig.answers_after(10, &lacking, 0);
        rig.expect_silence();
        let other_id = rig.peers[&other.session];
        rig.answers_after(10, &other, 1);
        rig.expect_answer(id, other_id);
        // nobody but the peer manager saw that it lacked something
        rig.fetch_tip(bodies(8..=8));
        rig.expect_asked(other_id);
    }
}

#[test]
fn two_empty_answers_are_the_one_outcome() {
    let (mut rig, _) = anna_and_bert();
    let (id, first, second) = both_asked(&mut rig);
    rig.answers_after(10, &second, 0);
    rig.expect_silence();
    rig.answers_after(10, &first, 0);
    rig.expect_answer(id, ANNA);
    rig.expect_silence();
}

#[test]
fn a_session_that_closes_leaves_the_request_to_the_other() {
    for anna_leaves in [true, false] {
        let (mut rig, [anna, bert]) = anna_and_bert();
        let (id, first, second) = both_asked(&mut rig);
        let reason = || CloseReason::Network("test".to_owned());
        let (leaves, other) = if anna_leaves { (anna, second) } else { (bert, first) };
        rig.peer_closes(leaves, reason());
        rig.expect_silence();
        let other_id = rig.peers[&other.session];
        rig.peer_closes(other.session, reason());
        rig.expect_failure(id, Some(other_id), FetchError::Disconnected);
        rig.expect_silence();
    }
}

#[test]
fn a_timeout_leaves_the_request_to_the_other_and_still_deranks() {
    let (mut rig, _) = anna_and_bert();
    let (id, _, second) = both_asked(&mut rig);
    rig.passes(1_900);
    rig.expect_silence();
    assert_eq!([rig.faults(ANNA), rig.faults(BERT)], [1, 0]);
    assert_eq!([rig.in_flight(ANNA), rig.in_flight(BERT)], [0, 1]);
    rig.answers_after(10, &second, 1);
    rig.expect_answer(id, BERT);
    rig.fetch_tip(bodies(8..=8));
    rig.expect_asked(BERT);
}

#[test]
fn when_both_time_out_the_last_is_the_one_outcome() {
    let (mut rig, _) = anna_and_bert();
    let (id, ..) = both_asked(&mut rig);
    rig.passes(2_300);
    rig.expect_failure(id, Some(BERT), FetchError::TimedOut);
    rig.expect_silence();
    assert_eq!([rig.faults(ANNA), rig.faults(BERT)], [1, 1]);
}

#[test]
fn a_budget_that_ends_ends_both() {
    let (mut rig, _) = anna_and_bert();
    let request = rig.request(bodies(9..=9));
    let id = rig.send(FetchRequest { priority: Priority::Tip, budget_ms: 500, ..request });
    let first = rig.expect_asked(ANNA);
    rig.passes(200);
    let second = rig.expect_asked(BERT);
    rig.passes(300);
    let Effect::Outcome(outcome) = rig.expect_effect() else { panic!("an outcome is owed") };
    assert_eq!((outcome.id, outcome.peer), (id, None));
    assert_eq!(outcome.result, Err(FetchError::NoPeer));
    rig.expect_silence();
    rig.answers_after(10, &first, 1);
    rig.answers_after(10, &second, 1);
    rig.expect_silence();
    assert_eq!([rig.faults(ANNA), rig.faults(BERT)], [0, 0]);
}

#[test]
fn a_peer_that_hangs_behind_a_faster_one_is_deranked_all_the_same() {
    let (mut rig, _) = anna_and_bert();
    let (id, _, second) = both_asked(&mut rig);
    rig.answers_after(60, &second, 1);
    rig.expect_answer(id, BERT);
    rig.passes(1_800);
    assert_eq!(rig.faults(ANNA), 1);
    rig.fetch_tip(bodies(8..=8));
    rig.expect_asked(BERT);
}

#[test]
fn peers_to_avoid_are_no_second_peers() {
    let (mut rig, _) = anna_and_bert();
    let request = rig.request(bodies(9..=9));
    rig.send(FetchRequest { priority: Priority::Tip, avoid: vec![BERT], ..request });
    rig.expect_asked(ANNA);
    rig.passes(1_000);
    rig.expect_silence();
    rig.peer_connects(CARL);
    rig.expect_asked(CARL);
}

#[test]
fn a_second_peer_that_becomes_free_takes_the_tip_before_what_waits() {
    let (mut rig, _) = anna_and_bert();
    for number in 1..=4 {
        rig.fetch_avoiding(bodies(number..=number), &[ANNA]);
    }
    let busy: Vec<Asked> = (1..=4).map(|_| rig.expect_asked(BERT)).collect();
    let id = rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(ANNA);
    rig.fetch_avoiding(bodies(5..=5), &[ANNA]);
    rig.passes(300);
    rig.expect_silence();
    rig.answers_after(10, &busy[0], 1);
    rig.expect_answer(busy[0].id, BERT);
    assert_eq!(rig.expect_asked(BERT).id, id);
    rig.expect_silence();
}

#[test]
fn a_cancelled_request_is_cancelled_at_both() {
    let (mut rig, _) = anna_and_bert();
    let (id, first, second) = both_asked(&mut rig);
    rig.cancel(&[id]);
    assert_eq!([rig.in_flight(ANNA), rig.in_flight(BERT)], [0, 0]);
    rig.answers_after(10, &first, 1);
    rig.answers_after(10, &second, 1);
    rig.passes(60_000);
    rig.expect_silence();
}

#[test]
fn a_cancelled_request_is_not_hedged() {
    let (mut rig, _) = anna_and_bert();
    let id = rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(ANNA);
    rig.cancel(&[id]);
    rig.passes(1_000);
    rig.expect_silence();
}

#[test]
fn a_second_peer_is_not_asked_for_what_it_would_answer_too_late() {
    let (mut rig, _) = anna_and_bert();
    let request = rig.request(bodies(9..=9));
    let id = rig.send(FetchRequest { priority: Priority::Tip, budget_ms: 210, ..request });
    rig.expect_asked(ANNA);
    rig.passes(210);
    rig.expect_failure(id, None, FetchError::NoPeer);
    rig.expect_silence();
}
