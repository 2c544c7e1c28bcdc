//! Whatever peers do, every request gets one outcome, nobody is given too much, and the same inputs
//! give the same effects.

use proptest::prelude::*;

use super::*;
use crate::core::IN_FLIGHT_REQUESTS_MAX;

/// Longest budget of a request here, in milliseconds.
const BUDGET_MAX_MS: u64 = 30_000;

#[derive(Clone, Debug)]
enum Step {
    Connect { peer: u8, earliest: u64 },
    Close { which: usize, breach: bool },
    Fetch { first: u64, count: u64, tip: bool, headers: bool, avoid: Vec<u8>, budget_ms: u64 },
    Answer { which: usize, count: usize },
    Report { peer: u8, conduct: Conduct },
    Wait { time_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let conduct = prop_oneof![
        8 => Just(Conduct::Served),
        4 => Just(Conduct::Lacked),
        1 => Just(Conduct::BrokenLink),
    ];
    prop_oneof![
        2 => (0..6_u8, 0..40_u64).prop_map(|(peer, earliest)| Step::Connect { peer, earliest }),
        1 => (0..6_usize, any::<bool>()).prop_map(|(which, breach)| Step::Close { which, breach }),
        8 => (
            (0..50_u64, 1..20_u64, any::<bool>(), any::<bool>()),
            (proptest::collection::vec(0..6_u8, 0..3), 0..BUDGET_MAX_MS),
        )
            .prop_map(|((first, count, tip, headers), (avoid, budget_ms))| {
                Step::Fetch { first, count, tip, headers, avoid, budget_ms }
            }),
        8 => (0..30_usize, 0..20_usize).prop_map(|(which, count)| Step::Answer { which, count }),
        1 => (0..6_u8, conduct).prop_map(|(peer, conduct)| Step::Report { peer, conduct }),
        6 => (0..3_000_u64).prop_map(|time_ms| Step::Wait { time_ms }),
    ]
}

/// Runs the steps, then lets every budget end.
struct Run {
    rig: Rig,
    open: Vec<SessionId>,
    /// What was asked and may still be answered, in time or late.
    asked: Vec<Asked>,
    in_flight: BTreeMap<SessionId, usize>,
    out: BTreeMap<RequestId, SessionId>,
    outcomes: BTreeMap<RequestId, usize>,
}

impl Run {
    fn of(steps: &[Step], start: Instant) -> Self {
        let static_peers = vec![node(peer(0)), node(peer(1))];
        let config = PeerManagerConfig { static_peers, ..PeerManagerConfig::default() };
        let rig = Rig::starting(start, config, 0);
        let mut run = Self {
            rig,
            open: Vec::new(),
            asked: Vec::new(),
            in_flight: BTreeMap::new(),
            out: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        for step in steps {
            run.step(step.clone());
            run.look();
        }
        run.rig.passes(BUDGET_MAX_MS);
        run.look();
        run
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { peer: id, earliest } => {
                let session = self.rig.peer_connects_with(peer(id), range(earliest, 100));
                self.open.push(session);
            }
            Step::Close { which, breach } if which < self.open.len() => {
                let session = self.open.remove(which);
                let reason = if breach {
                    CloseReason::Breach("test".to_owned())
                } else {
                    CloseReason::Network("test".to_owned())
                };
                self.rig.peer_closes(session, reason);
            }
            Step::Fetch { first, count, tip, headers: of_headers, avoid, budget_ms } => {
                let items = if of_headers {
                    headers(first, count)
                } else {
                    bodies(first..=first + count - 1)
                };
                let request = FetchRequest {
                    priority: if tip { Priority::Tip } else { Priority::History },
                    avoid: avoid.into_iter().map(peer).collect(),
                    budget_ms,
                    ..self.rig.request(items)
                };
                self.outcomes.insert(request.id, 0);
                self.rig.send(request);
            }
            Step::Answer { which, count } if which < self.asked.len() => {
                let asked = self.asked.remove(which);
                self.rig.answers_after(0, &asked, count);
            }
            Step::Report { peer: id, conduct } => self.rig.reports(peer(id), conduct),
            Step::Wait { time_ms } => self.rig.passes(time_ms),
            Step::Close { .. } | Step::Answer { .. } => {}
        }
    }

    fn look(&mut self) {
        for effect in std::mem::take(&mut self.rig.seen) {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    let count = self.in_flight.entry(session).or_default();
                    *count += 1;
                    assert!(*count <= IN_FLIGHT_REQUESTS_MAX, "{session} is given too much");
                    self.out.insert(request, session);
                    self.asked.push(Asked { session, id: request, items });
                }
                Effect::Outcome(outcome) => {
                    *self.outcomes.get_mut(&outcome.id).expect("an outcome of a request") += 1;
                    if let Some(session) = self.out.remove(&outcome.id) {
                        *self.in_flight.get_mut(&session).unwrap() -= 1;
                    }
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_request_gets_one_outcome(steps in proptest::collection::vec(step(), 1..150)) {
        let start = moorline_kit::now();
        let run = Run::of(&steps, start);
        for (id, count) in &run.outcomes {
            prop_assert_eq!(*count, 1, "request {} has {} outcomes", id, count);
        }
        let again = Run::of(&steps, start);
        let (one, other) = (run.rig.trace, again.rig.trace);
        let difference = one.iter().zip(&other).find(|(one, other)| one != other);
        prop_assert!(difference.is_none() && one.len() == other.len(), "{:?}", difference);
    }
}
