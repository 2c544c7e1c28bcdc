//! The tip under random interleavings: peers that answer, answer with nothing, hang and leave.

use super::*;

/// Shorter than any time that a peer is given, in milliseconds, by as much as passes in one step: what
/// left in the midst of one is only seen at its end.
const IN_TIME_MS: u64 = 2_000 - STEP_MAX_MS as u64;
const STEP_MAX_MS: usize = 400;
const PEERS: u8 = 4;

/// Numbers that only look random.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

#[derive(Clone, Debug)]
struct Out {
    asked: Asked,
    at: Instant,
}

struct Run {
    rig: Rig,
    random: Seeded,
    open: BTreeMap<u8, SessionId>,
    out: Vec<Out>,
    owed: Vec<RequestId>,
    asked_of: BTreeMap<RequestId, Vec<SessionId>>,
    outcomes: BTreeMap<RequestId, FetchOutcome>,
    all: usize,
}

impl Run {
    fn of(seed: u64) -> Self {
        let mut run = Self {
            rig: Rig::new(),
            random: Seeded(seed),
            open: BTreeMap::new(),
            out: Vec::new(),
            owed: Vec::new(),
            asked_of: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            all: 0,
        };
        for _ in 0..300 {
            run.step();
        }
        run.rig.passes(30_000);
        run.look();
        run
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=3 => {
                let first = self.random.below(50) as u64;
                let request = self.rig.request(bodies(first..=first));
                let priority =
                    if self.random.below(4) == 0 { Priority::History } else { Priority::Tip };
                let id = self.rig.send(FetchRequest { priority, budget_ms: 20_000, ..request });
                self.owed.push(id);
                self.all += 1;
            }
            4..=10 if !self.out.is_empty() => {
                let which = self.random.below(self.out.len());
                self.answer(which);
                return;
            }
            11 if !self.owed.is_empty() => {
                let which = self.random.below(self.owed.len());
                let id = self.owed.remove(which);
                self.all -= 1;
                self.rig.cancel(&[id]);
            }
            12..=13 => {
                let number = self.random.below(usize::from(PEERS)) as u8;
                match self.open.remove(&number) {
                    Some(session) if self.random.below(3) == 0 => {
                        self.rig.peer_closes(session, CloseReason::Network("test".to_owned()));
                        self.out.retain(|out| out.asked.session != session);
                    }
                    Some(session) => {
                        self.open.insert(number, session);
                    }
                    None => {
                        let session = self.rig.peer_connects(peer(number));
                        self.open.insert(number, session);
                    }
                }
            }
            _ => {
                let time_ms = self.random.below(STEP_MAX_MS) as u64;
                self.rig.passes(time_ms);
            }
        }
        self.look();
    }

    /// One answers, with something or with nothing. What is in time must be the outcome at once, but
    /// nothing while another may still have it.
    fn answer(&mut self, which: usize) {
        let out = self.out.remove(which);
        let id = out.asked.id;
        let in_time = |at: Instant| self.rig.now - at < ms(IN_TIME_MS);
        let (is_owed, is_in_time) = (self.owed.contains(&id), in_time(out.at));
        let mut others = self.out.iter().filter(|other| other.asked.id == id);
        let (has_other, other_in_time) =
            (others.clone().next().is_some(), others.any(|other| in_time(other.at)));
        let count = usize::from(self.random.below(3) > 0);
        let before = self.outcomes.len();
        self.rig.answers_after(0, &out.asked, count);
        self.look();
        let came = self.outcomes.len() - before;
        if is_owed && is_in_time && (count > 0 || !has_other) {
            let outcome = &self.outcomes[&id];
            assert_eq!(outcome.peer, Some(self.rig.peers[&out.asked.session]));
            assert_eq!(outcome.result.as_ref().map(FetchedItems::len), Ok(count));
            assert_eq!(came, 1);
        } else if !is_owed || (count == 0 && other_in_time) {
            assert_eq!(came, 0, "nobody waits for this answer, or another may have it");
        }
    }

    fn look(&mut self) {
        for effect in std::mem::take(&mut self.rig.seen) {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    assert!(self.owed.contains(&request), "nobody waits for {request}");
                    let asked_of = self.asked_of.entry(request).or_default();
                    assert!(!asked_of.contains(&session), "{asked_of:?}");
                    asked_of.push(session);
                    let asked = Asked { session, id: request, items };
                    self.out.push(Out { asked, at: self.rig.now });
                }
                Effect::Outcome(outcome) => {
                    let place = self.owed.iter().position(|id| *id == outcome.id);
                    self.owed.remove(place.expect("an outcome that is owed"));
                    self.outcomes.insert(outcome.id, outcome);
                }
                Effect::Command(SessionCommand::Disconnect { session, .. }) => {
                    self.open.retain(|_, open| *open != session);
                    self.out.retain(|out| out.asked.session != session);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_first_useful_answer_is_the_one_outcome() {
    let mut hedged = 0;
    for seed in 1..=200 {
        let run = Run::of(seed);
        assert_eq!(run.owed, [], "seed {seed}");
        assert_eq!(run.outcomes.len(), run.all, "seed {seed}");
        let peers = run.rig.core.peers_report(run.rig.now).peers;
        assert!(peers.iter().all(|peer| peer.in_flight == 0), "seed {seed}: {peers:?}");
        hedged += run.asked_of.values().filter(|asked_of| asked_of.len() > 1).count();
    }
    assert!(hedged > 1_000, "{hedged} were asked of two");
}
