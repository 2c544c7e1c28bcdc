//! Whatever peers do, every request gets one outcome, nobody is given too much, and the same inputs
//! give the same effects.

use proptest::prelude::*;

use super::*;

use std::collections::BTreeSet;

/// Longest budget of a request here, in milliseconds.
const BUDGET_MAX_MS: u64 = 30_000;

#[derive(Clone, Debug)]
enum Step {
    Connect { peer: u8, earliest: u64 },
    Close { which: usize, breach: bool },
    Fetch { first: u64, count: u64, tip: bool, kind: Kind, avoid: Vec<u8>, budget_ms: u64 },
    Answer { which: usize, count: usize },
    Cancel { which: usize },
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
            (0..50_u64, 1..20_u64, any::<bool>(), proptest::sample::select(&Kind::ALL[..])),
            (proptest::collection::vec(0..6_u8, 0..3), 0..BUDGET_MAX_MS),
        )
            .prop_map(|((first, count, tip, kind), (avoid, budget_ms))| {
                Step::Fetch { first, count, tip, kind, avoid, budget_ms }
            }),
        8 => (0..30_usize, 0..20_usize).prop_map(|(which, count)| Step::Answer { which, count }),
        1 => (0..30_usize).prop_map(|which| Step::Cancel { which }),
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
    /// Whom each request that has no outcome yet was given to.
    out: BTreeMap<RequestId, Vec<SessionId>>,
    tip: BTreeSet<RequestId>,
    hedged: usize,
    cancelled: BTreeSet<RequestId>,
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
            out: BTreeMap::new(),
            tip: BTreeSet::new(),
            hedged: 0,
            cancelled: BTreeSet::new(),
            outcomes: BTreeMap::new(),
        };
        for step in steps {
            run.step(step.clone());
            run.look();
        }
        run.rig.passes(BUDGET_MAX_MS);
        run.look();
        let peers = run.rig.core.peers_report(run.rig.now);
        assert!(peers.queued == 0 && peers.peers.iter().all(|peer| peer.in_flight == 0));
        assert_eq!(run.out, BTreeMap::new(), "everything has come to its end");
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
            Step::Fetch { first, count, tip, kind, avoid, budget_ms } => {
                let items = match kind {
                    Kind::Headers => headers(first, count),
                    Kind::Bodies => bodies(first..=first + count - 1),
                    Kind::Receipts => receipts(first..=first + count - 1),
                };
                let request = FetchRequest {
                    priority: if tip { Priority::Tip } else { Priority::History },
                    avoid: avoid.into_iter().map(peer).collect(),
                    budget_ms,
                    ..self.rig.request(items)
                };
                self.outcomes.insert(request.id, 0);
                if tip {
                    self.tip.insert(request.id);
                }
                self.rig.send(request);
            }
            Step::Answer { which, count } if which < self.asked.len() => {
                let asked = self.asked.remove(which);
                self.rig.answers_after(0, &asked, count);
            }
            Step::Report { peer: id, conduct } => self.rig.reports(peer(id), conduct),
            Step::Wait { time_ms } => self.rig.passes(time_ms),
            Step::Cancel { which } => {
                let open = self.outcomes.iter().filter(|(_, count)| **count == 0);
                let Some(id) = open.map(|(id, _)| *id).nth(which) else { return };
                self.cancelled.insert(id);
                self.out.remove(&id);
                self.rig.cancel(&[id]);
            }
            Step::Close { .. } | Step::Answer { .. } => {}
        }
    }

    fn look(&mut self) {
        for effect in std::mem::take(&mut self.rig.seen) {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    self.departs(request, session);
                    self.asked.push(Asked { session, id: request, items });
                }
                Effect::Outcome(outcome) => {
                    *self.outcomes.get_mut(&outcome.id).expect("an outcome of a request") += 1;
                    self.out.remove(&outcome.id);
                }
                _ => {}
            }
        }
        let peers = self.rig.core.peers_report(self.rig.now).peers;
        let max = IN_FLIGHT_REQUESTS_MAX as u64;
        assert!(peers.iter().all(|peer| peer.in_flight <= max), "{peers:?}");
    }

    fn departs(&mut self, request: RequestId, session: SessionId) {
        assert!(!self.cancelled.contains(&request), "{request} was cancelled");
        assert_eq!(self.outcomes[&request], 0, "{request} is over");
        let flights = self.out.entry(request).or_default();
        flights.push(session);
        if flights.len() > 1 {
            self.hedged += 1;
            let peers: BTreeSet<PeerId> = flights.iter().map(|it| self.rig.peers[it]).collect();
            assert_eq!(peers.len(), flights.len(), "{request} was given to somebody twice");
        }
        // one of a pair may be over without a sign, the others are out
        let alone = self.out.values().filter(|flights| **flights == [session]).count();
        assert!(alone <= IN_FLIGHT_REQUESTS_MAX, "{session} is given too much");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_request_gets_one_outcome(steps in proptest::collection::vec(step(), 1..150)) {
        let start = moorline_kit::now();
        let run = Run::of(&steps, start);
        for (id, count) in &run.outcomes {
            let owed = usize::from(!run.cancelled.contains(id));
            prop_assert_eq!(*count, owed, "request {} has {} outcomes", id, count);
        }
        let again = Run::of(&steps, start);
        let (one, other) = (run.rig.trace, again.rig.trace);
        let difference = one.iter().zip(&other).find(|(one, other)| one != other);
        prop_assert!(difference.is_none() && one.len() == other.len(), "{:?}", difference);
    }
}
