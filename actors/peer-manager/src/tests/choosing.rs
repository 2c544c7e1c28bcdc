//! Who is asked.

use super::*;

#[test]
fn the_fastest_is_asked_first_once_measured() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 400);
    rig.measure(BERT, 40);
    rig.fetch(bodies(1..=10));
    rig.expect_asked(BERT);
    rig.expect_silence();
}

#[test]
fn delays_far_below_any_timeout_still_decide() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 4);
    rig.measure(BERT, 3);
    rig.fetch(bodies(1..=1));
    rig.expect_asked(BERT);
}

#[test]
fn a_busy_fast_peer_leaves_work_to_a_slower_one() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 60);
    rig.measure(BERT, 40);
    rig.fetch(bodies(1..=128));
    rig.expect_asked(BERT);
    rig.fetch(bodies(129..=256));
    rig.expect_asked(ANNA);
}

#[test]
fn speed_is_known_for_each_kind_by_itself() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    for (peer, other, times_ms) in [(ANNA, BERT, [10, 900, 30]), (BERT, ANNA, [90, 100, 300])] {
        let kinds = [headers(9, 9), bodies(1..=9), receipts(1..=9)];
        for (what, time_ms) in kinds.into_iter().zip(times_ms) {
            rig.fetch_avoiding(what, &[other]);
            let asked = rig.expect_asked(peer);
            rig.answers_after(time_ms, &asked, 9);
            rig.expect_answer(asked.id, peer);
        }
    }
    rig.fetch(headers(9, 9));
    rig.expect_asked(ANNA);
    rig.fetch(bodies(1..=9));
    rig.expect_asked(BERT);
    rig.fetch(receipts(1..=9));
    rig.expect_asked(ANNA);
    assert_eq!(
        (rig.delay_ms(ANNA), rig.delay_ms(BERT)),
        (Some(900), Some(300)),
        "the slowest kind"
    );
}

#[test]
fn a_new_peer_is_tried_with_one_request_but_not_with_the_tip() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.measure(ANNA, 10);
    rig.peer_connects(BERT);
    rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(ANNA);
    rig.fetch(bodies(1..=2));
    rig.expect_asked(BERT);
    rig.fetch(bodies(3..=4));
    rig.expect_asked(ANNA);
}

#[test]
fn a_peer_that_sends_one_of_many_fast_is_not_fast() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    for (peer, other, time_ms, got) in [(ANNA, BERT, 20, 1), (BERT, ANNA, 200, 128)] {
        for _ in 0..20 {
            let id = rig.fetch_avoiding(bodies(1..=128), &[other]);
            let asked = rig.expect_asked(peer);
            rig.answers_after(time_ms, &asked, got);
            rig.expect_answer(id, peer);
        }
    }
    rig.fetch(bodies(1..=128));
    rig.expect_asked(BERT);
}

#[test]
fn an_empty_answer_says_nothing_about_speed() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 60);
    rig.measure(BERT, 40);
    for time_ms in [1, 1_000, 1] {
        let id = rig.fetch_avoiding(bodies(1..=1), &[BERT]);
        let asked = rig.expect_asked(ANNA);
        rig.answers_after(time_ms, &asked, 0);
        rig.expect_answer(id, ANNA);
    }
    rig.passes(1_000);
    assert_eq!(rig.reports.last().unwrap().1.peers[0].delay_ms, Some(60));
}

#[test]
fn nobody_has_more_than_four_requests_out() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    for number in 1..=5 {
        rig.fetch(bodies(number..=number));
    }
    let first = rig.expect_asked(ANNA);
    for _ in 2..=4 {
        rig.expect_asked(ANNA);
    }
    rig.expect_silence();
    rig.answers_after(10, &first, 1);
    rig.expect_answer(first.id, ANNA);
    rig.expect_asked(ANNA);
}

#[test]
fn a_peer_to_avoid_is_not_asked_even_if_the_other_is_busy() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 1);
    for number in 1..=5 {
        rig.fetch_avoiding(bodies(number..=number), &[ANNA]);
    }
    for _ in 1..=4 {
        rig.expect_asked(BERT);
    }
    rig.passes(200);
    rig.expect_silence();
}

#[test]
fn a_peer_to_avoid_is_the_last_resort_after_a_breath() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.fetch_avoiding(bodies(1..=1), &[ANNA]);
    rig.passes(99);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_asked(ANNA);
}

#[test]
fn blocks_below_the_announced_range_are_never_asked_for_but_headers_are() {
    for of_blocks in [bodies, receipts] {
        let mut rig = Rig::new();
        rig.peer_connects_with(ANNA, range(100, 200));
        let id = rig.fetch_within(of_blocks(99..=120), 1_000);
        rig.passes(1_000);
        rig.expect_failure(id, None, FetchError::NoPeer);
        rig.fetch(headers(99, 50));
        rig.expect_asked(ANNA);
        rig.fetch(of_blocks(100..=120));
        rig.expect_asked(ANNA);
    }
}

#[test]
fn a_peer_that_is_behind_is_asked_only_when_nobody_is_ahead() {
    let mut rig = Rig::new();
    let behind = rig.peer_connects_with(ANNA, range(0, 1_000));
    rig.fetch(bodies(1_065..=1_065));
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(5, &asked, 1);
    rig.expect_answer(asked.id, ANNA);
    rig.peer_connects_with(BERT, range(0, 2_000));
    rig.measure(BERT, 500);
    rig.fetch(bodies(1_065..=1_065));
    rig.expect_asked(BERT);
    // within what an announcement may lag the faster one is asked
    rig.fetch(bodies(1_064..=1_064));
    rig.expect_asked(ANNA);
    let range = range(0, 1_001);
    rig.input(Input::Session(SessionEvent::RangeUpdated { session: behind, range }));
    rig.fetch(bodies(1_065..=1_065));
    rig.expect_asked(ANNA);
}

#[test]
fn the_tip_goes_first_and_then_whoever_came_first() {
    let mut rig = Rig::new();
    let history = [rig.fetch(bodies(1..=1)), rig.fetch(bodies(2..=2))];
    let tip = [rig.fetch_tip(bodies(8..=8)), rig.fetch_tip(bodies(9..=9))];
    rig.expect_silence();
    rig.peer_connects(ANNA);
    for id in [tip[0], tip[1], history[0], history[1]] {
        assert_eq!(rig.expect_asked(ANNA).id, id);
    }
}

#[test]
fn a_request_that_nobody_can_take_lets_others_pass() {
    let mut rig = Rig::new();
    rig.peer_connects_with(ANNA, range(100, 200));
    rig.fetch(bodies(1..=1));
    rig.fetch(bodies(150..=150));
    let asked = rig.expect_asked(ANNA);
    assert_eq!(asked.items, bodies(150..=150));
    rig.peer_connects_with(BERT, range(0, 200));
    assert_eq!(rig.expect_asked(BERT).items, bodies(1..=1));
}

#[test]
fn a_repeated_request_adds_nothing() {
    let mut rig = Rig::new();
    let queued = rig.request(bodies(1..=1));
    rig.send(queued.clone());
    rig.send(queued.clone());
    rig.peer_connects(ANNA);
    rig.expect_asked(ANNA);
    rig.send(queued);
    rig.expect_silence();
}

#[test]
fn peers_alike_are_told_apart_by_their_ids() {
    for order in [[ANNA, BERT, CARL], [CARL, BERT, ANNA]] {
        let mut rig = Rig::new();
        for id in order {
            rig.peer_connects(id);
        }
        rig.fetch(bodies(1..=1));
        rig.expect_asked(ANNA);
    }
}

#[test]
fn lacking_something_puts_a_peer_back_for_a_short_time() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 20);
    rig.measure(BERT, 60);
    rig.reports(ANNA, Conduct::Lacked);
    rig.fetch_tip(bodies(1..=1));
    rig.expect_asked(BERT);
    for _ in 0..8 {
        rig.reports(ANNA, Conduct::Served);
    }
    rig.fetch_tip(bodies(1..=1));
    rig.expect_asked(ANNA);
}

#[test]
fn what_a_peer_lacked_is_forgotten_with_time() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 20);
    rig.measure(BERT, 60);
    rig.reports(ANNA, Conduct::Lacked);
    rig.passes(150_000);
    rig.fetch_tip(bodies(1..=1));
    rig.expect_asked(ANNA);
}

#[test]
fn waiting_behind_our_own_requests_does_not_make_a_peer_slow() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    for (peer, other, time_ms) in [(ANNA, BERT, 100), (BERT, ANNA, 250)] {
        let id = rig.fetch_avoiding(bodies(1..=128), &[other]);
        let asked = rig.expect_asked(peer);
        rig.answers_after(time_ms, &asked, 128);
        rig.expect_answer(id, peer);
    }
    for _ in 1..=4 {
        rig.fetch_avoiding(bodies(1..=128), &[BERT]);
    }
    let all: Vec<Asked> = (1..=4).map(|_| rig.expect_asked(ANNA)).collect();
    for asked in all {
        rig.answers_after(100, &asked, 128);
        rig.expect_answer(asked.id, ANNA);
    }
    rig.fetch(bodies(1..=128));
    rig.expect_asked(ANNA);
}

#[test]
fn alike_peers_take_turns_and_the_rest_of_the_time_speed_decides() {
    let mut rig = Rig::new();
    for id in [ANNA, BERT, CARL] {
        rig.peer_connects(id);
    }
    for (id, time_ms) in [(ANNA, 50), (BERT, 52), (CARL, 80)] {
        rig.measure(id, time_ms);
    }
    for expected in [ANNA, BERT, ANNA, BERT] {
        let id = rig.fetch(bodies(1..=2));
        let asked = rig.expect_asked(expected);
        rig.answers_after(50, &asked, 2);
        rig.expect_answer(id, expected);
    }
}

#[test]
fn a_peer_that_was_measured_long_ago_is_tried_again_but_not_with_the_tip() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 800);
    rig.passes(6_000);
    rig.measure(BERT, 100);
    rig.fetch_tip(bodies(1..=2));
    let asked = rig.expect_asked(BERT);
    rig.answers_after(100, &asked, 2);
    rig.expect_answer(asked.id, BERT);
    rig.passes(100);
    rig.fetch(bodies(1..=2));
    rig.expect_asked(ANNA);
    // one trial is enough
    rig.fetch(bodies(1..=2));
    rig.expect_asked(BERT);
}

/// Anna answers in 50 ms and has four to answer, Bert answers in 500 ms and is idle.
fn busy_anna_and_idle_bert() -> (Rig, Vec<Asked>) {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 50);
    rig.measure(BERT, 500);
    for number in 1..=4 {
        rig.fetch_avoiding(bodies(number..=number), &[BERT]);
    }
    let asked = (1..=4).map(|_| rig.expect_asked(ANNA)).collect();
    (rig, asked)
}

#[test]
fn the_tip_waits_for_a_faster_peer_that_is_free_soon_and_history_does_not() {
    let (mut rig, asked) = busy_anna_and_idle_bert();
    let tip = rig.fetch_tip(bodies(9..=9));
    rig.expect_silence();
    let history = rig.fetch(bodies(5..=5));
    assert_eq!(rig.expect_asked(BERT).id, history);
    rig.answers_after(50, &asked[0], 1);
    rig.expect_answer(asked[0].id, ANNA);
    assert_eq!(rig.expect_asked(ANNA).id, tip);
}

#[test]
fn the_tip_does_not_wait_for_a_faster_peer_that_hangs() {
    let (mut rig, _) = busy_anna_and_idle_bert();
    let tip = rig.fetch_tip(bodies(9..=9));
    rig.passes(199);
    rig.expect_silence();
    rig.passes(1);
    assert_eq!(rig.expect_asked(BERT).id, tip);
}

#[test]
fn the_tip_does_not_wait_for_a_faster_peer_that_has_too_much_to_do() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.peer_connects(BERT);
    rig.measure(ANNA, 50);
    rig.measure(BERT, 60);
    for number in 1..=4 {
        rig.fetch_avoiding(bodies(number..=number), &[BERT]);
    }
    for _ in 1..=4 {
        rig.expect_asked(ANNA);
    }
    rig.fetch_tip(bodies(9..=9));
    rig.expect_asked(BERT);
}

#[test]
fn what_nobody_can_take_yet_keeps_its_turn() {
    let mut rig = Rig::new();
    let history = range(50, 1_000);
    rig.peer_connects_with(ANNA, history);
    rig.peer_connects_with(BERT, range(0, 10));
    let old: Vec<RequestId> = (0..5).map(|at| rig.fetch(bodies(at..=at))).collect();
    let mut out: VecDeque<Asked> = old[..4].iter().map(|_| rig.expect_asked(BERT)).collect();
    // many pass the one that only Bert has, while he is busy
    for at in 100..140 {
        rig.fetch(bodies(at..=at));
        let asked = rig.expect_asked(ANNA);
        rig.answers_after(10, &asked, 1);
        rig.expect_answer(asked.id, ANNA);
    }
    rig.fetch(headers(9, 1));
    assert!(matches!(rig.expect_asked(ANNA).items, FetchItems::Headers { .. }));
    let asked = out.pop_front().unwrap();
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(asked.id, BERT);
    assert_eq!(rig.expect_asked(BERT).id, old[4]);
}
