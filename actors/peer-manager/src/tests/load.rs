//! Many peers at work for a downloader that always wants more.

use super::*;

/// How a peer works: the time for an answer, and whether it gives several at once.
#[derive(Clone, Copy, Debug)]
struct Pace {
    answer: Duration,
    at_once: bool,
}

const fn parallel(answer_ms: u64) -> Pace {
    Pace { answer: Duration::from_millis(answer_ms), at_once: true }
}

const fn serial(answer_ms: u64) -> Pace {
    Pace { answer: Duration::from_millis(answer_ms), at_once: false }
}

fn some_bodies(at: u64) -> FetchItems {
    bodies(at * 128 + 1..=at * 128 + 128)
}

/// Peers that answer, and a downloader that keeps a number of requests at the peer manager.
struct World {
    rig: Rig,
    start: Instant,
    paces: BTreeMap<SessionId, Pace>,
    free_at: BTreeMap<SessionId, Instant>,
    /// When the processors that all peers share are free; none if each has its own.
    processors: Vec<Instant>,
    coming: BTreeMap<(Instant, u64), Asked>,
    count: u64,
    jitter: u64,
    served: BTreeMap<SessionId, u64>,
    done: u64,
    /// Tip requests that are out, since when.
    tip: BTreeMap<RequestId, Instant>,
    /// Who answered the tip, and how long it took.
    tip_answers: Vec<(SessionId, Duration)>,
}

impl World {
    fn of(paces: &[Pace]) -> Self {
        let rig = Rig::new();
        let mut world = Self {
            start: rig.now,
            rig,
            paces: BTreeMap::new(),
            free_at: BTreeMap::new(),
            processors: Vec::new(),
            coming: BTreeMap::new(),
            count: 0,
            jitter: 1,
            served: BTreeMap::new(),
            done: 0,
            tip: BTreeMap::new(),
            tip_answers: Vec::new(),
        };
        for (number, pace) in (1..).zip(paces) {
            let session = world.rig.peer_connects(peer(number));
            world.paces.insert(session, *pace);
            world.served.insert(session, 0);
        }
        world
    }

    /// Work for the processors that all share, with some noise: an answer's own cost is its pace.
    fn on_processors(mut self, processors: usize) -> Self {
        self.processors = vec![self.start; processors];
        self
    }

    /// Up to half as much again, the same in every run.
    fn noise(&mut self, time: Duration) -> Duration {
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        time.mul_f64(1.0 + (self.jitter >> 33) as f64 / f64::from(1_u32 << 31) / 2.0)
    }

    fn answer_at(&mut self, session: SessionId) -> Instant {
        let (now, pace) = (self.rig.now, self.paces[&session]);
        let free_at = self.free_at.get(&session).copied().unwrap_or(now).max(now);
        let at = if pace.at_once { now + pace.answer } else { free_at + pace.answer };
        let at = match (0..self.processors.len()).min_by_key(|it| self.processors[*it]) {
            Some(first) => {
                let took = self.noise(pace.answer);
                self.processors[first] = self.processors[first].max(now) + took;
                self.processors[first]
            }
            None => at,
        };
        self.free_at.insert(session, at);
        at
    }

    /// Does what the core said last.
    fn settle(&mut self) {
        while let Some(effect) = self.rig.seen.pop_front() {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    let at = self.answer_at(session);
                    self.count += 1;
                    self.coming.insert((at, self.count), Asked { session, id: request, items });
                }
                Effect::Outcome(FetchOutcome { id, peer, result }) => {
                    result.expect("everybody answers");
                    let peer = peer.expect("somebody answered");
                    let session = *self.rig.peers.iter().find(|(_, id)| **id == peer).unwrap().0;
                    self.done += 1;
                    *self.served.get_mut(&session).unwrap() += 1;
                    if let Some(since) = self.tip.remove(&id) {
                        self.tip_answers.push((session, self.rig.now - since));
                    }
                    self.rig.reports(peer, Conduct::Served);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// Whatever comes next comes.
    fn turn(&mut self) {
        let answer = self.coming.first_key_value().map(|((at, _), _)| *at);
        let wakeup = self.rig.core.next_wakeup().map(|(at, _)| at);
        let next = [answer, wakeup].into_iter().flatten().min().expect("something is to come");
        self.rig.now = next;
        if answer == Some(next) {
            let (_, asked) = self.coming.pop_first().unwrap();
            let count = match &asked.items {
                FetchItems::Headers { limit, .. } => *limit as usize,
                FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => blocks.len(),
            };
            self.rig.answers_after(0, &asked, count);
        } else {
            self.rig.input(Input::Wakeup);
        }
        self.settle();
    }

    /// Keeps this many requests at the core until this many more are answered. Some may be of the tip.
    fn fetches(
        &mut self,
        number: u64,
        at_a_time: u64,
        what: impl Fn(u64) -> FetchItems,
        is_tip: impl Fn(u64) -> bool,
    ) {
        let end = self.done + number;
        let mut wanted = self.done;
        while self.done < end {
            while wanted < end && wanted - self.done < at_a_time {
                if is_tip(wanted) {
                    let id = self.rig.fetch_tip(what(wanted));
                    self.tip.insert(id, self.rig.now);
                } else {
                    self.rig.fetch(what(wanted));
                }
                self.settle();
                wanted += 1;
            }
            self.expect_no_idle_peer();
            self.turn();
        }
    }

    fn fetches_bodies(&mut self, number: u64, at_a_time: u64) {
        self.fetches(number, at_a_time, some_bodies, |_| false);
    }

    #[track_caller]
    fn expect_no_idle_peer(&self) {
        let report = self.rig.core.peers_report(self.rig.now);
        let idle = report.peers.iter().find(|peer| peer.in_flight < 4);
        let held = self.tip.len() as u64;
        assert!(report.queued <= held || idle.is_none(), "{idle:?} while {} wait", report.queued);
    }

    #[track_caller]
    fn expect_even_shares(&self) {
        let shares = self.shares();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 2, "{shares:?}");
    }

    fn took(&self) -> Duration {
        self.rig.now - self.start
    }

    fn shares(&self) -> Vec<u64> {
        self.served.values().copied().collect()
    }
}

#[test]
fn equal_peers_are_used_evenly_however_much_is_wanted() {
    for pace in [parallel(50), serial(50)] {
        for at_a_time in [1, 4, 6, 12, 24, 64] {
            let mut world = World::of(&[pace; 8]);
            world.fetches_bodies(400, at_a_time);
            world.expect_even_shares();
            let mut world = World::of(&[pace; 8]);
            world.fetches(200, at_a_time.min(32), |at| headers(at * 512 + 511, 512), |_| false);
            world.expect_even_shares();
        }
    }
}

#[test]
fn all_peers_work_from_the_first_round_on() {
    for wanted in [8, 16, 24, 32, 64] {
        let mut world = World::of(&[parallel(50); 8]);
        for at in 0..wanted {
            world.rig.fetch(some_bodies(at));
        }
        let report = world.rig.core.peers_report(world.rig.now);
        let each = (wanted / 8).min(4);
        assert!(report.peers.iter().all(|peer| peer.in_flight == each), "{:?}", report.peers);
    }
}

#[test]
fn eight_peers_are_eight_times_as_fast_as_one() {
    for (pace, at_once) in [(parallel(50), 4), (serial(50), 1)] {
        let mut world = World::of(&[pace; 8]);
        world.fetches_bodies(1_600, 64);
        assert_eq!(world.took(), ms(50) * 1_600 / 8 / at_once);
    }
}

#[test]
fn a_peer_that_is_ten_times_slower_does_not_hold_the_others_up() {
    for (fast, slow, at_once) in [(parallel(50), parallel(500), 4), (serial(50), serial(500), 1)] {
        let mut paces = [fast; 8];
        paces[2] = slow;
        let mut world = World::of(&paces);
        world.fetches_bodies(2_240, 64);
        let shares = world.shares();
        let mut others = shares.clone();
        let slows = others.remove(2);
        let fair = 2_240 / 71;
        assert!((fair / 2..=fair + 4).contains(&slows), "{shares:?}");
        assert!(others.iter().max().unwrap() - others.iter().min().unwrap() <= 2, "{shares:?}");
        // what it has at the end is all that is waited for
        let ideal = ms(50) * 2_240 / 7 / at_once;
        assert!(world.took() <= ideal + slow.answer * 4 / at_once, "{:?}", world.took());
    }
}

#[test]
fn shares_follow_speed() {
    for pace in [parallel, serial] {
        let mut world = World::of(&[pace(25), pace(50), pace(100), pace(200)]);
        world.fetches_bodies(1_500, 64);
        for (share, fair) in world.shares().into_iter().zip([800_u64, 400, 200, 100]) {
            assert!(share.abs_diff(fair) <= fair / 10 + 4, "{:?}", world.shares());
        }
    }
}

#[test]
fn peers_that_share_their_processors_all_get_work() {
    for at_a_time in [4, 6, 12, 24] {
        let mut world = World::of(&[parallel(3); 8]).on_processors(2);
        world.fetches_bodies(2_000, at_a_time);
        let shares = world.shares();
        assert!(shares.iter().all(|share| *share > 2_000 / 8 / 2), "{at_a_time}: {shares:?}");
    }
}

#[test]
fn a_peer_that_was_slow_for_a_while_is_used_again() {
    let mut paces = [parallel(50); 8];
    paces[2] = parallel(1_000);
    let mut world = World::of(&paces);
    world.fetches_bodies(200, 6);
    world.paces.insert(SessionId(3), parallel(50));
    // ten seconds
    world.fetches_bodies(1_200, 6);
    let before = world.shares();
    world.fetches_bodies(800, 6);
    let shares: Vec<u64> = world.shares().iter().zip(&before).map(|(all, old)| all - old).collect();
    assert!(shares.iter().all(|share| (90..=110).contains(share)), "{shares:?}");
}

#[test]
fn the_tip_is_answered_fast_although_one_peer_is_slow_and_all_are_busy() {
    for (fast, slow, at_most_ms) in
        [(parallel(50), parallel(500), 100), (serial(50), serial(500), 250)]
    {
        let mut paces = [fast; 8];
        paces[0] = slow;
        let mut world = World::of(&paces);
        world.fetches_bodies(200, 64);
        world.fetches(2_000, 64, some_bodies, |at| at % 10 == 0);
        assert!(world.tip_answers.len() >= 199);
        let slowest = world.tip_answers.iter().max_by_key(|(_, took)| *took).unwrap();
        assert!(slowest.1 <= ms(at_most_ms), "{slowest:?}");
        assert!(world.tip_answers.iter().all(|(by, _)| *by != SessionId(1)));
    }
}
