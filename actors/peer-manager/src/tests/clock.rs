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
    rig.expect_failure(id, None, FetchError::NoPeer);
    rig.passes(1_000);
    assert_eq!(rig.reports.last().unwrap().1.peers[0].faults, 0, "it had no fair chance");
}

#[test]
fn a_slow_peer_alone_is_asked_nothing_that_it_cannot_answer_in_time_and_is_blamed_for_nothing() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let wanted: Vec<RequestId> =
        (0..32).map(|n| rig.fetch_within(bodies(n * 45..=n * 45 + 44), 30_000)).collect();
    // fifteen a second, one request after another
    let mut queue: VecDeque<Asked> = (0..4).map(|_| rig.expect_asked(ANNA)).collect();
    let (mut served, mut bodies_served) = (0, 0);
    while let Some(asked) = queue.pop_front() {
        let FetchItems::Bodies { blocks } = &asked.items else { panic!("bodies were asked for") };
        rig.answers_after(blocks.len() as u64 * 1_000 / 15, &asked, blocks.len());
        rig.expect_answer(asked.id, ANNA);
        served += 1;
        bodies_served += blocks.len();
        while let Some(Effect::Command(_)) = rig.seen.front() {
            queue.push_back(rig.expect_asked(ANNA));
        }
    }
    assert!(bodies_served >= 8 * 45, "only {bodies_served} were asked for in thirty seconds");
    rig.passes(30_000);
    for id in &wanted[served..] {
        rig.expect_failure(*id, None, FetchError::NoPeer);
    }
    assert_eq!(rig.faults(ANNA), 0);
    rig.expect_silence();
}

#[test]
fn even_the_slowest_peer_is_tried_with_what_has_its_whole_budget_ahead() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 4_000);
    let id = rig.fetch_within(bodies(1..=2), 3_000);
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(2_000, &asked, 2);
    rig.expect_answer(id, ANNA);
}

#[test]
fn what_has_too_little_time_left_for_one_peer_goes_to_a_faster_one() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 4_000);
    rig.peer_connects(BERT);
    rig.measure(BERT, 50);
    let held: Vec<Asked> = (1..=8)
        .map(|at| {
            rig.fetch(bodies(at..=at));
            let Effect::Command(SessionCommand::Fetch { session, request, items }) =
                rig.expect_effect()
            else {
                panic!("both have four slots");
            };
            Asked { session, id: request, items }
        })
        .collect();
    let id = rig.fetch_within(bodies(9..=9), 3_000);
    let of = |rig: &Rig, who| held.iter().find(|it| rig.peers[&it.session] == who).unwrap().clone();
    let anna = of(&rig, ANNA);
    rig.answers_after(100, &anna, 1);
    rig.expect_answer(anna.id, ANNA);
    rig.expect_silence();
    let bert = of(&rig, BERT);
    rig.answers_after(100, &bert, 1);
    rig.expect_answer(bert.id, BERT);
    assert_eq!(rig.expect_asked(BERT).id, id);
}

#[test]
fn the_time_for_an_answer_begins_when_the_peer_is_done_with_what_it_was_asked_before() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let asked: Vec<Asked> = (1..=4)
        .map(|at| {
            rig.fetch(headers(at * 100, 1));
            rig.expect_asked(ANNA)
        })
        .collect();
    // five seconds each while nobody knows it, and four times what it takes from then on
    for one in &asked[..3] {
        rig.answers_after(4_000, one, 1);
        rig.expect_answer(one.id, ANNA);
    }
    rig.passes(19_900);
    assert_eq!((rig.in_flight(ANNA), rig.faults(ANNA)), (1, 0));
    rig.passes(200);
    rig.expect_failure(asked[3].id, Some(ANNA), FetchError::TimedOut);
    assert_eq!(rig.faults(ANNA), 1);
}

#[test]
fn what_a_peer_passes_over_has_no_more_time_for_it() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let asked: Vec<Asked> = (1..=2)
        .map(|at| {
            rig.passes(10);
            rig.fetch(headers(at * 100, 1));
            rig.expect_asked(ANNA)
        })
        .collect();
    rig.answers_after(4_000, &asked[1], 1);
    rig.expect_answer(asked[1].id, ANNA);
    rig.passes(1_000);
    rig.expect_failure(asked[0].id, Some(ANNA), FetchError::TimedOut);
}

#[test]
fn a_small_request_behind_a_large_one_is_not_late_before_that_is() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 100);
    rig.fetch(bodies(1..=128));
    let large = rig.expect_asked(ANNA);
    let id = rig.fetch(bodies(200..=200));
    let small = rig.expect_asked(ANNA);
    // two seconds, and 20 ms for each of the large one's
    rig.answers_after(2_900, &large, 128);
    rig.expect_answer(large.id, ANNA);
    rig.answers_after(100, &small, 1);
    rig.expect_answer(id, ANNA);
    assert_eq!(rig.faults(ANNA), 0);
}

#[test]
fn a_peer_that_is_always_behind_has_sixteen_requests_to_answer_at_most() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let mut unanswered: VecDeque<Asked> = VecDeque::new();
    let mut most = 0;
    for round in 0..20 {
        for at in 0..8 {
            rig.fetch_within(headers(round * 100 + at, 1), 25_000);
        }
        rig.passes(20_100);
        for effect in std::mem::take(&mut rig.seen) {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    unanswered.push_back(Asked { session, id: request, items });
                }
                Effect::Outcome(_) => {}
                other => panic!("it is slow, but not silent: {other:?}"),
            }
        }
        most = most.max(unanswered.len());
        let oldest = unanswered.pop_front().unwrap();
        rig.answers_after(0, &oldest, 1);
    }
    assert_eq!(most, UNANSWERED_REQUESTS_MAX);
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

#[test]
fn what_was_out_together_is_one_timeout_in_a_row() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    for step in 1..=5 {
        // four the first time, some moments apart; one at a time from then on
        let ids: Vec<RequestId> = (0..4)
            .map(|at| {
                rig.passes(10);
                rig.fetch(headers(9 + at, 1))
            })
            .collect();
        let out = if step == 1 { 4 } else { 1 };
        for _ in 0..out {
            rig.expect_asked(ANNA);
        }
        rig.expect_silence();
        rig.cancel(&ids[out..]);
        rig.passes(5_001);
        for id in &ids[..out] {
            rig.expect_failure(*id, Some(ANNA), FetchError::TimedOut);
        }
        assert_eq!(rig.faults(ANNA), if step < 5 { 3 + step } else { 0 }, "step {step}");
    }
    rig.expect_disconnect(session, DisconnectReason::PingTimeout);
}

#[test]
fn what_was_out_together_is_one_fault_that_is_forgotten_like_one() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 40);
    rig.measure(BERT, 4_900);
    for number in 1..=4 {
        let id = rig.fetch_avoiding(bodies(number..=number), &[BERT]);
        assert_eq!(rig.expect_asked(ANNA).id, id);
    }
    rig.passes(2_020);
    for id in 3..=6 {
        rig.expect_failure(RequestId(id), Some(ANNA), FetchError::TimedOut);
    }
    rig.fetch_tip(bodies(9..=9));
    let asked = rig.expect_asked(BERT);
    rig.answers_after(100, &asked, 1);
    rig.expect_answer(asked.id, BERT);
    // by then four seconds for one fault are two, and four times four would be eight
    rig.passes(30_000);
    rig.measure(BERT, 4_900);
    rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(ANNA);
}

#[test]
fn a_peer_that_dribbles_a_byte_a_second_loses_its_requests_to_others_and_then_its_session() {
    let mut rig = Rig::new();
    let dribbler = rig.peer_connects(ANNA);
    rig.measure(ANNA, 40);
    rig.peer_connects(BERT);
    rig.measure(BERT, 60);
    let start = rig.now;
    // a downloader that always wants eight, and asks somebody else for what failed
    let mut wanted: BTreeMap<RequestId, FetchItems> = BTreeMap::new();
    let mut with_anna: BTreeMap<RequestId, Instant> = BTreeMap::new();
    let mut with_bert: BTreeMap<(Instant, RequestId), Asked> = BTreeMap::new();
    let (mut rounds, mut retried, mut saved, mut dropped_at) = (0_u64, Vec::new(), 0, None);
    while dropped_at.is_none() && rig.now < start + ms(200_000) {
        while wanted.len() < 8 {
            rounds += 1;
            let items = bodies(rounds..=rounds);
            wanted.insert(rig.fetch(items.clone()), items);
        }
        while let Some(effect) = rig.seen.pop_front() {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    if session == dribbler {
                        assert!(!retried.contains(&request), "it failed at this");
                        with_anna.insert(request, rig.now);
                        let late = rig.faults(ANNA) > 0;
                        assert!(!late || with_anna.len() == 1, "it is asked one at a time");
                    } else {
                        let at = rig.now + ms(60);
                        with_bert.insert((at, request), Asked { session, id: request, items });
                    }
                }
                Effect::Outcome(FetchOutcome { id, result: Ok(_), .. }) => {
                    wanted.remove(&id);
                    saved += usize::from(retried.contains(&id));
                }
                Effect::Outcome(FetchOutcome { id, peer, result: Err(error) }) => {
                    if error == FetchError::TimedOut {
                        let took = rig.now - with_anna.remove(&id).unwrap();
                        assert!(took <= ms(20_000), "{took:?}");
                    }
                    assert_eq!(peer, Some(ANNA));
                    let items = wanted.remove(&id).unwrap();
                    let again = rig.fetch_avoiding(items.clone(), &[ANNA]);
                    retried.push(again);
                    wanted.insert(again, items);
                }
                Effect::Command(SessionCommand::Disconnect { session, .. }) => {
                    assert_eq!(session, dribbler);
                    dropped_at = Some(rig.now - start);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        let answer = with_bert.first_key_value().map(|((at, _), _)| *at);
        let next = answer.into_iter().chain(rig.core.next_wakeup().map(|(at, _)| at)).min();
        rig.now = next.unwrap().max(rig.now);
        if answer == Some(rig.now) {
            let (_, asked) = with_bert.pop_first().unwrap();
            rig.answers_after(0, &asked, 1);
        } else {
            rig.input(Input::Wakeup);
        }
    }
    let dropped_at = dropped_at.expect("it is dropped in the end");
    assert!(dropped_at <= ms(60_000), "{dropped_at:?}");
    // four at first, then one at a time
    assert!(retried.len() >= 8 && saved >= 7, "{saved} of {}", retried.len());
}

#[test]
fn what_one_peer_answers_gives_no_time_to_another() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    let first = rig.fetch(headers(100, 1));
    let asked = rig.expect_asked(ANNA);
    let second = rig.fetch_avoiding(headers(200, 1), &[ANNA]);
    rig.expect_asked(BERT);
    rig.answers_after(4_000, &asked, 1);
    rig.expect_answer(first, ANNA);
    rig.passes(1_001);
    rig.expect_failure(second, Some(BERT), FetchError::TimedOut);
}

#[test]
fn what_is_asked_behind_something_that_was_given_time_is_not_late_before_that() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let request = rig.fetch(headers(9, 1));
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(request, ANNA);
    let slow: Vec<Asked> = (1..=2)
        .map(|at| {
            rig.fetch(bodies(at..=at));
            rig.expect_asked(ANNA)
        })
        .collect();
    rig.answers_after(4_000, &slow[0], 1);
    rig.expect_answer(slow[0].id, ANNA);
    // two seconds by itself
    rig.fetch(headers(100, 1));
    rig.expect_asked(ANNA);
    rig.passes(4_000);
    assert_eq!((rig.in_flight(ANNA), rig.faults(ANNA)), (2, 0));
}
