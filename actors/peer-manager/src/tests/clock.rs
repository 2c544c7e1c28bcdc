//! Budgets, timeouts and silence.

use super::*;

#[test]
fn a_late_peer_is_a_timeout_at_once_and_its_answer_only_teaches() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 100);
    let id = rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    rig.passes(1_999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
    rig.answers_after(1_000, &asked, 1);
    rig.expect_silence();
    rig.passes(1_000);
    let (_, report) = rig.reports.last().unwrap();
    assert_eq!(report.peers[0].faults, 1);
    assert!(report.peers[0].delay_ms.unwrap() > 700, "{:?}", report.peers[0]);
}

#[test]
fn a_slow_peer_is_given_more_time_once_its_delay_is_known() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 3_000);
    let id = rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.passes(12_000);
    rig.expect_silence();
    rig.passes(20);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
}

#[test]
fn a_peer_that_was_late_is_asked_after_others_and_one_thing_at_a_time() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 10);
    rig.measure(BERT, 900);
    let id = rig.fetch(bodies(1..=1));
    rig.expect_asked(ANNA);
    rig.passes(2_020);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
    for number in 1..=7 {
        rig.fetch(bodies(number..=number));
    }
    let mut asked = BTreeMap::<PeerId, usize>::new();
    while let Some(Effect::Command(SessionCommand::Fetch { session, .. })) = rig.seen.pop_front() {
        *asked.entry(rig.peers[&session]).or_default() += 1;
    }
    assert_eq!(asked, BTreeMap::from([(ANNA, 1), (BERT, 4)]));
}

#[test]
fn a_budget_includes_the_time_in_the_queue() {
    let mut rig = Rig::new();
    let id = rig.fetch_within(bodies(1..=1), 1_000);
    rig.passes(700);
    rig.peer_connects(ANNA);
    rig.expect_asked(ANNA);
    rig.passes(299);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
    rig.passes(1_000);
    assert_eq!(rig.reports.last().unwrap().1.peers[0].faults, 0, "it had no fair chance");
}

#[test]
fn a_request_waits_for_a_peer_until_its_budget_ends() {
    let mut rig = Rig::new();
    let id = rig.fetch_within(bodies(1..=1), 1_000);
    rig.passes(999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_failure(id, None, FetchError::NoPeer);
    rig.peer_connects(ANNA);
    rig.expect_silence();
}

#[test]
fn five_timeouts_in_a_row_end_the_session_but_not_the_peer() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    for time in 1..=5 {
        let id = rig.fetch(headers(9, 1));
        rig.expect_asked(ANNA);
        rig.passes(5_001);
        rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
        if time < 5 {
            rig.expect_silence();
        }
    }
    rig.expect_disconnect(session, DisconnectReason::PingTimeout);
    rig.peer_connects(ANNA);
    rig.fetch(headers(9, 1));
    rig.expect_asked(ANNA);
}

#[test]
fn an_answer_between_timeouts_keeps_the_session() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    for _ in 1..=9 {
        let id = rig.fetch(headers(9, 1));
        let asked = rig.expect_asked(ANNA);
        rig.passes(20_000);
        rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
        rig.answers_after(1_000, &asked, 1);
        rig.expect_silence();
    }
}

#[test]
fn two_minutes_of_silence_end_the_session() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    let id = rig.fetch(headers(9, 1));
    rig.expect_asked(ANNA);
    rig.passes(119_999);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_disconnect(session, DisconnectReason::PingTimeout);
}

#[test]
fn a_peer_of_whom_nothing_is_wanted_may_be_silent() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 10);
    rig.passes(3_600_000);
    rig.expect_silence();
}

#[test]
fn a_request_that_a_peer_passed_over_is_forgiven_once_it_answers_a_later_one() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let id = rig.fetch(headers(9, 1));
    rig.expect_asked(ANNA);
    rig.passes(6_000);
    rig.expect_failure(id, Some(ANNA), FetchError::TimedOut);
    rig.measure(ANNA, 10);
    rig.passes(600_000);
    rig.expect_silence();
}

#[test]
fn a_session_that_closes_answers_for_what_was_out_on_it() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    let id = rig.fetch(headers(9, 1));
    let asked = rig.expect_asked(ANNA);
    rig.peer_closes(session, CloseReason::Remote(DisconnectReason::TooManyPeers));
    rig.expect_failure(id, Some(ANNA), FetchError::Disconnected);
    rig.answers_after(10, &asked, 1);
    rig.passes(60_000);
    rig.expect_silence();
}

#[test]
fn the_peers_are_told_of_at_most_once_a_second_and_only_on_change() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    for _ in 0..50 {
        rig.measure(ANNA, 100);
    }
    rig.passes(60_000);
    let gaps = rig.reports.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.clone().all(|gap| gap >= ms(1_000)), "{:?}", gaps.collect::<Vec<_>>());
    assert!((6..=8).contains(&rig.reports.len()), "{}", rig.reports.len());
    let last = &rig.reports.last().unwrap().1.peers[0];
    assert_eq!((last.served_items, last.served_bytes, last.in_flight), (100, 50_000, 0));
    assert_eq!(last.delay_ms, Some(100));
}
