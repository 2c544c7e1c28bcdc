//! Which kind's turn it is at a peer that all of them wait for.

use super::*;

/// h for headers, b for bodies, r for receipts.
fn letter(items: &FetchItems) -> char {
    match items {
        FetchItems::Headers { .. } => 'h',
        FetchItems::Bodies { .. } => 'b',
        FetchItems::Receipts { .. } => 'r',
    }
}

#[test]
fn headers_and_bodies_take_turns_whichever_were_asked_for_first() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let mut out: Vec<Asked> = Vec::new();
    for at in 0..12 {
        rig.fetch(bodies(at * 10..=at * 10 + 9));
    }
    for at in 1..=8 {
        rig.fetch(headers(at * 1_000, 9));
    }
    while let Some(Effect::Command(SessionCommand::Fetch { .. })) = rig.seen.front() {
        out.push(rig.expect_asked(ANNA));
    }
    let mut kinds = String::new();
    for _ in 0..16 {
        let asked = out.remove(0);
        rig.answers_after(10, &asked, 9);
        rig.expect_answer(asked.id, ANNA);
        let next = rig.expect_asked(ANNA);
        kinds.push(letter(&next.items));
        out.push(next);
    }
    assert_eq!(kinds, "hhhhbhhhhbbbbbbb");
}

/// What is asked of Anna from now on when she answers the oldest, one after another, until nothing
/// waits, by their letters.
fn kinds_in_turn(rig: &mut Rig, out: &mut VecDeque<Asked>) -> String {
    let mut kinds = String::new();
    while let Some(asked) = out.pop_front() {
        rig.answers_after(10, &asked, 1);
        rig.expect_answer(asked.id, ANNA);
        if !rig.seen.is_empty() {
            let next = rig.expect_asked(ANNA);
            kinds.push(letter(&next.items));
            out.push_back(next);
        }
    }
    kinds
}

/// Anna with four requests out and a long line of bodies behind them.
fn a_line_of_bodies(rig: &mut Rig, count: u64) -> (VecDeque<Asked>, Vec<RequestId>) {
    rig.peer_connects(ANNA);
    let ids: Vec<RequestId> = (0..4 + count).map(|at| rig.fetch(bodies(at..=at))).collect();
    ((0..4).map(|_| rig.expect_asked(ANNA)).collect(), ids[4..].to_vec())
}

#[test]
fn headers_have_their_turn_though_bodies_far_back_are_cancelled_or_expire() {
    for expires in [false, true] {
        let mut rig = Rig::new();
        let (mut out, line) = a_line_of_bodies(&mut rig, 8);
        if expires {
            let id = rig.fetch_within(bodies(90..=90), 50);
            rig.passes(50);
            rig.expect_failure(id, None, FetchError::NoPeer);
        } else {
            rig.cancel(&line[7..]);
        }
        for at in 1..=8 {
            rig.fetch(headers(at * 100, 1));
        }
        let kinds = kinds_in_turn(&mut rig, &mut out);
        assert!(kinds.starts_with("hhhhbhhhhb"), "{kinds}");
    }
}

#[test]
fn bodies_keep_their_turns_though_those_before_them_are_cancelled() {
    let mut rig = Rig::new();
    let (mut out, line) = a_line_of_bodies(&mut rig, 40);
    for at in 1..=12 {
        rig.fetch(headers(at * 100, 1));
    }
    rig.cancel(&line[..38]);
    assert_eq!(kinds_in_turn(&mut rig, &mut out), "hhhhbhhhhbhhhh");
    // and all of them
    let mut rig = Rig::new();
    let (mut out, line) = a_line_of_bodies(&mut rig, 40);
    rig.cancel(&line);
    for at in 1..=12 {
        rig.fetch(headers(at * 100, 1));
    }
    rig.fetch(bodies(900..=900));
    rig.fetch(bodies(901..=901));
    assert_eq!(kinds_in_turn(&mut rig, &mut out), "hhhhhbhhhhbhhh");
}

#[test]
fn receipts_have_a_line_of_their_own_and_as_many_turns_as_bodies() {
    let mut rig = Rig::new();
    let (mut out, _) = a_line_of_bodies(&mut rig, 4);
    for at in 1..=4 {
        rig.fetch(receipts(at..=at));
    }
    for at in 1..=16 {
        rig.fetch(headers(at * 100, 1));
    }
    assert_eq!(kinds_in_turn(&mut rig, &mut out), "rhhhhbrhhhhbrhhhhbrhhhhb");
    // and without headers the two go one by one
    let mut rig = Rig::new();
    let (mut out, _) = a_line_of_bodies(&mut rig, 4);
    for at in 1..=6 {
        rig.fetch(receipts(at..=at));
    }
    assert_eq!(kinds_in_turn(&mut rig, &mut out), "rbrbrbrbrr");
}
