//! What runs when.
#![allow(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use crate::core::{Bounds, Core, Effect, Input};

const PAUSE: Duration = Duration::from_millis(20);

fn core_with(commit_pause: Duration) -> Core {
    Core::new(Bounds {
        commit_batches_max: 3,
        commit_bytes_max: 100,
        commit_pause,
        commit_bytes_aim: 50,
        reads_max: 2,
    })
}

fn core() -> Core {
    core_with(Duration::ZERO)
}

fn step_at(core: &mut Core, now: Instant, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    core.handle(now, input, &mut effects);
    effects
}

fn step(core: &mut Core, input: Input) -> Vec<Effect> {
    step_at(core, moorline_kit::now(), input)
}

/// A run of blocks, as a sync brings them.
fn write(ticket: u64, weight_bytes: usize) -> Input {
    Input::Write { ticket, weight_bytes, blocks: 8 }
}

/// One block, or what is said of one: a step at the tip.
fn tip_step(ticket: u64) -> Input {
    Input::Write { ticket, weight_bytes: 40, blocks: 1 }
}

#[test]
fn writes_that_arrive_during_a_commit_share_the_next_in_order() {
    let mut core = core();
    assert_eq!(step(&mut core, write(1, 10)), [Effect::Commit(vec![1])]);
    for ticket in 2..=5 {
        assert_eq!(step(&mut core, write(ticket, 10)), []);
    }
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![2, 3, 4])]);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![5])]);
    assert_eq!(step(&mut core, Input::Committed), []);
}

#[test]
fn a_commit_is_bounded_in_bytes_and_lets_one_heavy_batch_through() {
    let mut core = core();
    step(&mut core, write(1, 1));
    for (ticket, weight_bytes) in [(2, 60), (3, 50), (4, 5_000), (5, 1)] {
        step(&mut core, write(ticket, weight_bytes));
    }
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![2])]);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![3])]);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![4])]);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![5])]);
}

#[test]
fn a_lone_batch_is_written_at_once_and_one_right_behind_several_blocks_waits_for_more() {
    let (mut core, start) = (core_with(PAUSE), moorline_kit::now());
    assert_eq!(step_at(&mut core, start, write(1, 10)), [Effect::Commit(vec![1])]);
    assert_eq!(step_at(&mut core, start, Input::Committed), []);
    assert_eq!(core.next_wakeup(), None);
    assert_eq!(step_at(&mut core, start, write(2, 10)), []);
    assert_eq!(step_at(&mut core, start, write(3, 10)), []);
    let (until, _) = core.next_wakeup().unwrap();
    assert_eq!(until, start + PAUSE);
    assert_eq!(step_at(&mut core, start + PAUSE / 2, Input::Wake), []);
    assert_eq!(step_at(&mut core, until, Input::Wake), [Effect::Commit(vec![2, 3])]);
    assert_eq!(core.next_wakeup(), None);
    assert_eq!(step_at(&mut core, until, Input::Committed), []);
    assert_eq!(step_at(&mut core, until + PAUSE, write(4, 10)), [Effect::Commit(vec![4])]);
}

#[test]
fn steps_at_the_tip_that_wait_for_one_another_never_wait_for_more() {
    let (mut core, start) = (core_with(PAUSE), moorline_kit::now());
    for ticket in 1..=3 {
        assert_eq!(step_at(&mut core, start, tip_step(ticket)), [Effect::Commit(vec![ticket])]);
        assert_eq!(step_at(&mut core, start, Input::Committed), []);
    }
    // one that arrived during a commit goes with the next, and two that shared one call for a pause
    assert_eq!(step_at(&mut core, start, tip_step(4)), [Effect::Commit(vec![4])]);
    step_at(&mut core, start, tip_step(5));
    step_at(&mut core, start, tip_step(6));
    assert_eq!(step_at(&mut core, start, Input::Committed), [Effect::Commit(vec![5, 6])]);
    step_at(&mut core, start, Input::Committed);
    assert_eq!(step_at(&mut core, start, tip_step(7)), []);
    let until = start + PAUSE;
    assert_eq!(step_at(&mut core, until, Input::Wake), [Effect::Commit(vec![7])]);
    // that one was alone again
    step_at(&mut core, until, Input::Committed);
    assert_eq!(step_at(&mut core, until, tip_step(8)), [Effect::Commit(vec![8])]);
}

#[test]
fn what_fills_a_commit_and_what_is_stopped_for_does_not_wait() {
    let (mut core, start) = (core_with(PAUSE), moorline_kit::now());
    step_at(&mut core, start, write(1, 10));
    step_at(&mut core, start, Input::Committed);
    assert_eq!(step_at(&mut core, start, write(2, 40)), []);
    assert_eq!(step_at(&mut core, start, write(3, 10)), [Effect::Commit(vec![2, 3])]);
    step_at(&mut core, start, Input::Committed);
    for ticket in [4, 5] {
        assert_eq!(step_at(&mut core, start, write(ticket, 1)), []);
    }
    assert_eq!(step_at(&mut core, start, write(6, 1)), [Effect::Commit(vec![4, 5, 6])]);
    step_at(&mut core, start, Input::Committed);
    assert_eq!(step_at(&mut core, start, write(7, 1)), []);
    assert_eq!(step_at(&mut core, start, Input::Stop), [Effect::Commit(vec![7])]);
    assert_eq!(step_at(&mut core, start, Input::Committed), [Effect::Stopped]);
}

#[test]
fn reads_run_beside_a_commit_and_actors_go_before_edges() {
    let mut core = core();
    step(&mut core, write(1, 1));
    assert_eq!(step(&mut core, Input::Query { ticket: 2 }), [Effect::Read(2)]);
    assert_eq!(step(&mut core, Input::Query { ticket: 3 }), [Effect::Read(3)]);
    assert_eq!(step(&mut core, Input::Query { ticket: 4 }), []);
    assert_eq!(step(&mut core, Input::Read { ticket: 5 }), []);
    assert_eq!(step(&mut core, Input::HasRead { ticket: 3 }), [Effect::Read(5)]);
    assert_eq!(step(&mut core, Input::HasRead { ticket: 2 }), [Effect::Read(4)]);
}

#[test]
fn a_stop_waits_for_everything_that_was_accepted() {
    let mut core = core();
    step(&mut core, write(1, 1));
    step(&mut core, write(2, 1));
    step(&mut core, Input::Read { ticket: 3 });
    assert_eq!(step(&mut core, Input::Stop), []);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Commit(vec![2])]);
    assert_eq!(step(&mut core, Input::HasRead { ticket: 3 }), []);
    assert_eq!(step(&mut core, Input::Committed), [Effect::Stopped]);
    assert_eq!(step(&mut self::core(), Input::Stop), [Effect::Stopped]);
}
