//! Requests that are taken back.

use super::*;

#[test]
fn a_queued_request_that_is_cancelled_is_never_asked() {
    let mut rig = Rig::new();
    let [gone, kept] = [rig.fetch(bodies(1..=1)), rig.fetch(bodies(2..=2))];
    rig.cancel(&[gone]);
    assert_eq!(rig.core.peers_report(rig.now).queued, 1);
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
    assert_eq!(rig.core.peers_report(rig.now).peers[0].served_items, 1);
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

/// Four single bodies that go to Anna, are taken back, and are still hers to answer.
fn four_cancelled(rig: &mut Rig, first: u64) -> Vec<Asked> {
    let ids: Vec<RequestId> = (first..first + 4).map(|at| rig.fetch(bodies(at..=at))).collect();
    let asked = ids.iter().map(|_| rig.expect_asked(ANNA)).collect();
    rig.cancel(&ids);
    asked
}

#[test]
fn a_peer_is_not_blamed_for_the_work_that_was_cancelled_ahead() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 500);
    let mut queue = VecDeque::from(four_cancelled(&mut rig, 10));
    queue.extend(four_cancelled(&mut rig, 20));
    let wanted = rig.fetch(bodies(100..=100));
    // half a second for each, one after another
    while let Some(asked) = queue.pop_front() {
        rig.answers_after(500, &asked, 1);
        while let Some(Effect::Command(_)) = rig.seen.front() {
            queue.push_back(rig.expect_asked(ANNA));
        }
    }
    rig.expect_answer(wanted, ANNA);
    assert_eq!(rig.faults(ANNA), 0);
}

#[test]
fn cancelled_requests_do_not_pile_up_at_a_peer() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let mut sent = 0;
    for at in 0..200 {
        let id = rig.fetch(bodies(at..=at));
        sent += std::mem::take(&mut rig.seen).len();
        rig.cancel(&[id]);
    }
    assert_eq!(sent, IN_FLIGHT_REQUESTS_MAX + ASIDE_REQUESTS_MAX);
    // a peer that lets them all pass is given one at a time, however soon that is taken back
    rig.passes(6_000);
    for at in 0..200 {
        let id = rig.fetch(bodies(at..=at));
        sent += std::mem::take(&mut rig.seen).len();
        rig.cancel(&[id]);
    }
    assert_eq!(sent, IN_FLIGHT_REQUESTS_MAX + ASIDE_REQUESTS_MAX + 1);
}

#[test]
fn the_tip_goes_to_a_peer_that_has_nothing_cancelled_to_answer_first() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 400);
    four_cancelled(&mut rig, 10);
    rig.peer_connects(BERT);
    rig.measure(BERT, 500);
    rig.fetch_tip(bodies(100..=100));
    rig.expect_asked(BERT);
}

#[test]
fn a_request_that_comes_after_its_own_cancellation_is_not_asked() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let [first, gone, kept] = [1, 2, 3].map(|at| rig.request(bodies(at..=at)));
    rig.send(first.clone());
    let asked = rig.expect_asked(ANNA);
    rig.cancel(&[gone.id]);
    rig.send(gone);
    rig.expect_silence();
    rig.send(kept.clone());
    assert_eq!(rig.expect_asked(ANNA).id, kept.id);
    // what has come and gone may come again
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(first.id, ANNA);
    rig.cancel(&[first.id]);
    rig.send(first.clone());
    assert_eq!(rig.expect_asked(ANNA).id, first.id);
}

#[test]
fn cancellations_of_what_never_comes_are_forgotten() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let most = CANCELLED_EARLY_MAX as u64;
    let ids: Vec<RequestId> = (1..=most + 1).map(RequestId).collect();
    for ids in ids.chunks(1_000) {
        rig.cancel(ids);
    }
    let mut ask = |id: u64| {
        let request = rig.request(bodies(1..=1));
        rig.send(FetchRequest { id: RequestId(id), ..request });
        std::mem::take(&mut rig.seen).len()
    };
    assert_eq!([ask(most), ask(most + 1), ask(1)], [0, 1, 1]);
}

#[test]
fn a_peer_does_not_look_slow_for_the_work_that_was_cancelled_ahead() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 100);
    let cancelled = rig.fetch(bodies(1..=128));
    let large = rig.expect_asked(ANNA);
    rig.cancel(&[cancelled]);
    let small = rig.fetch(bodies(200..=200));
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(2_500, &large, 128);
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(small, ANNA);
    rig.peer_connects(BERT);
    rig.measure(BERT, 500);
    rig.fetch_tip(bodies(300..=300));
    rig.expect_asked(ANNA);
}
