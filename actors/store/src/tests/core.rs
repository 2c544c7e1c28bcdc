//! What runs when.

use crate::core::{Bounds, Core, Effect, Input};

fn core() -> Core {
    Core::new(Bounds { commit_batches_max: 3, commit_bytes_max: 100, reads_max: 2 })
}

fn step(core: &mut Core, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    core.handle(input, &mut effects);
    effects
}

fn write(ticket: u64, weight_bytes: usize) -> Input {
    Input::Write { ticket, weight_bytes }
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
