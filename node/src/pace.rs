//! How far a sync has come and how fast it goes: worked out once, for whoever shows it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline_downloader::Budget;
use moorline_messages::{ProgressReport, Stall, TreeReport};

use crate::observe::Observed;

/// How often the pace is worked out.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Rates are of this much time, or of what has passed since there was something to do.
const RATES_OF: Duration = Duration::from_secs(10);
/// The most that is shown while anything is missing.
const NEARLY_ALL_PERCENT: f64 = 99.9;
/// Nothing is foretold from less than this: the first blocks come late.
const FORETOLD_AFTER: Duration = Duration::from_secs(3);
/// Nor when nothing has come for this long.
pub(crate) const IDLE_AFTER: Duration = Duration::from_secs(5);
/// Below so many in a second nothing is foretold.
const SLOWEST_PER_S: f64 = 0.01;

/// What the node is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No head was named yet.
    #[default]
    Waiting,
    /// Blocks are missing under the named head.
    Syncing,
    /// The tip is the named head, and on disk; or the named head is invalid and is not followed.
    Resting,
}

/// How far a sync has come, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// What the node is about.
    pub phase: Phase,
    /// Of the work that lay before this process when it last began to sync, how much is done. A
    /// body to put on disk counts nine times a header to prove, so it moves from the first header to
    /// the last body. It never falls while the target stays the same, is zero until the target's
    /// height is known, and 100 only when the tip is the target and on disk.
    pub percent: f64,
    /// Headers proved in a second.
    pub headers_per_s: f64,
    /// Blocks put on disk in a second.
    pub blocks_per_s: f64,
    /// Bytes of both proved in a second.
    pub bytes_per_s: f64,
    /// How long the rest takes at these rates, the slower of headers and blocks counting; `None` where
    /// one of them does not move, in the first seconds, and when nothing has come for some.
    pub eta: Option<Duration>,
    /// Bytes in flight and held, of the bytes that may be.
    pub budget_used_percent: f64,
    /// How long ago a header, a block or a byte last came, in whole seconds; zero where nothing is
    /// missing.
    pub idle: Duration,
    /// Why nothing comes, as the downloader has it; `None` while something does.
    pub stalled: Option<Stall>,
}

/// Works out the pace of what it is shown.
#[derive(Debug)]
pub(crate) struct Meter {
    budget: Budget,
    phase: Phase,
    /// Ascending in time, the first at most [`RATES_OF`] old but for one.
    samples: VecDeque<(Instant, Totals)>,
    /// Headers and blocks that were there before the sync began.
    done_before: u64,
    target: Option<B256>,
    percent: f64,
    /// More than the target's own block is being fetched, or was.
    is_under_way: bool,
    began_at: Option<Instant>,
    moved_at: Option<Instant>,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    headers: u64,
    blocks: u64,
    bytes: u64,
}

impl Totals {
    const fn of(progress: &ProgressReport) -> Self {
        Self { headers: progress.headers, blocks: progress.blocks, bytes: progress.bytes }
    }

    const fn work(self) -> u64 {
        work(self.headers, self.blocks)
    }
}

/// A block's body is most of what it takes: nine times its header.
const fn work(headers: u64, blocks: u64) -> u64 {
    headers.saturating_add(blocks.saturating_mul(9))
}

impl Meter {
    pub(crate) const fn new(budget: Budget) -> Self {
        Self {
            budget,
            phase: Phase::Waiting,
            samples: VecDeque::new(),
            done_before: 0,
            target: None,
            percent: 0.0,
            is_under_way: false,
            began_at: None,
            moved_at: None,
        }
    }

    /// Looks at everything that was reported.
    pub(crate) fn look(&mut self, now: Instant, seen: &Observed) -> Pace {
        let totals = Totals::of(&seen.progress);
        let phase = phase_of(seen.tree.as_ref());
        if phase == Phase::Syncing && self.phase != Phase::Syncing {
            // time without work is not part of any rate, but for the last look before it came
            self.samples.drain(..self.samples.len().saturating_sub(1));
            self.began_at = Some(now);
            self.moved_at = Some(now);
        }
        self.phase = phase;
        self.sample(now, totals);
        let [headers_per_s, blocks_per_s, bytes_per_s] = self.rates();
        let mut pace = Pace {
            phase,
            headers_per_s,
            blocks_per_s,
            bytes_per_s,
            budget_used_percent: self.budget_used_percent(&seen.progress),
            ..Pace::default()
        };
        if phase == Phase::Syncing {
            pace.percent = self.percent(seen, totals);
            pace.idle = self.idle(now);
            let begun =
                self.began_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            let steady = begun >= FORETOLD_AFTER && pace.idle < IDLE_AFTER;
            pace.eta = eta(&seen.progress, &pace).filter(|_| steady);
            pace.stalled = seen.progress.stalled;
        } else {
            self.done_before = totals.work();
            (self.target, self.percent, self.is_under_way) = (None, 0.0, false);
            let synced = seen.tree.as_ref().is_some_and(|tree| tree.synced);
            pace.percent = if synced { 100.0 } else { 0.0 };
        }
        pace
    }

    fn sample(&mut self, now: Instant, totals: Totals) {
        if self.samples.back().is_some_and(|(_, last)| *last != totals) {
            self.moved_at = Some(now);
        }
        self.samples.push_back((now, totals));
        // the youngest of those that are old enough stays: the window is never shorter than it says
        let old = |at: &Instant| now.saturating_duration_since(*at) >= RATES_OF;
        while self.samples.get(1).is_some_and(|(at, _)| old(at)) {
            self.samples.pop_front();
        }
    }

    fn rates(&self) -> [f64; 3] {
        let (Some((from, then)), Some((to, now))) = (self.samples.front(), self.samples.back())
        else {
            return [0.0; 3];
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        let rate = |now: u64, then: u64| match now.saturating_sub(then) {
            more if seconds > 0.0 => more as f64 / seconds,
            _ => 0.0,
        };
        [
            rate(now.headers, then.headers),
            rate(now.blocks, then.blocks),
            rate(now.bytes, then.bytes),
        ]
    }

    fn percent(&mut self, seen: &Observed, totals: Totals) -> f64 {
        let Some(target) = seen.tree.as_ref().and_then(|tree| tree.target) else { return 0.0 };
        let Some(number) = target.number else { return self.percent };
        if self.target != Some(target.hash) {
            (self.target, self.percent, self.is_under_way) = (Some(target.hash), 0.0, false);
        }
        let done = totals.work().saturating_sub(self.done_before);
        let progress = &seen.progress;
        // the head comes first, and alone it says nothing of the way below it
        let is_more = progress.remaining_headers.max(progress.remaining_blocks) > 1;
        self.is_under_way |= is_more;
        if !self.is_under_way && number.saturating_sub(seen.tip()) > 1 {
            return self.percent;
        }
        let left = match work(progress.remaining_headers, progress.remaining_blocks) {
            // the downloader was not asked yet, or the tree still takes what came
            0 => {
                let above = number.saturating_sub(seen.tip());
                work(above, above)
            }
            left => left,
        };
        let all = done.saturating_add(left).max(1);
        let now = done as f64 * 100.0 / all as f64;
        self.percent = self.percent.max(now).min(NEARLY_ALL_PERCENT);
        self.percent
    }

    fn budget_used_percent(&self, progress: &ProgressReport) -> f64 {
        let used = progress.in_flight_bytes.saturating_add(progress.buffered_bytes);
        let all = self.budget.in_flight_bytes.saturating_add(self.budget.buffer_bytes).max(1);
        used as f64 * 100.0 / all as f64
    }

    fn idle(&self, now: Instant) -> Duration {
        let since = self.moved_at.unwrap_or(now);
        Duration::from_secs(now.saturating_duration_since(since).as_secs())
    }
}

fn phase_of(tree: Option<&TreeReport>) -> Phase {
    match tree {
        Some(TreeReport { target: Some(_), synced: false, invalid: false, .. }) => Phase::Syncing,
        Some(TreeReport { target: Some(_), .. }) => Phase::Resting,
        _ => Phase::Waiting,
    }
}

fn eta(progress: &ProgressReport, pace: &Pace) -> Option<Duration> {
    let left = |remaining: u64, rate: f64| match remaining {
        0 => Some(Duration::ZERO),
        _ if rate < SLOWEST_PER_S => None,
        _ => Duration::try_from_secs_f64(remaining as f64 / rate).ok(),
    };
    let headers = left(progress.remaining_headers, pace.headers_per_s)?;
    let blocks = left(progress.remaining_blocks, pace.blocks_per_s)?;
    Some(headers.max(blocks)).filter(|left| !left.is_zero())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use moorline_messages::{BlockNumHash, TreeTarget};

    use super::*;

    struct Rig {
        meter: Meter,
        now: Instant,
        seen: Observed,
    }

    impl Rig {
        fn new() -> Self {
            let budget = Budget { in_flight_bytes: 300, buffer_bytes: 100, ..Budget::default() };
            let seen = Observed::default();
            Self { meter: Meter::new(budget), now: moorline_kit::now(), seen }
        }

        fn targeting(number: Option<u64>) -> Self {
            let mut rig = Self::new();
            rig.target(1, number);
            rig.look();
            rig
        }

        fn target(&mut self, hash: u8, number: Option<u64>) {
            let target = TreeTarget { hash: B256::repeat_byte(hash), number };
            let tip = BlockNumHash::default();
            self.seen.tree = Some(TreeReport {
                tip,
                target: Some(target),
                synced: false,
                invalid: false,
                trouble: None,
            });
        }

        fn look(&mut self) -> Pace {
            self.meter.look(self.now, &self.seen)
        }

        /// A second later, with so many done and so many left of each.
        fn then(&mut self, headers: (u64, u64), blocks: (u64, u64)) -> Pace {
            self.now += Duration::from_secs(1);
            let progress = &mut self.seen.progress;
            (progress.headers, progress.remaining_headers) = headers;
            (progress.blocks, progress.remaining_blocks) = blocks;
            self.look()
        }
    }

    #[test]
    fn the_head_alone_says_nothing_of_the_way_below_it() {
        let mut rig = Rig::targeting(Some(100));
        assert_eq!(rig.then((1, 0), (0, 1)).percent, 0.0);
        let pace = rig.then((1, 99), (1, 99));
        assert!(pace.percent > 0.0 && pace.percent < 2.0, "{}", pace.percent);
    }

    #[test]
    fn percent_rises_from_the_first_header_to_the_last_body_and_never_falls() {
        let mut rig = Rig::targeting(Some(100));
        let mut last = 0.0;
        for headers in 1..=100 {
            let pace = rig.then((headers, 100 - headers), (0, 100));
            assert!(pace.percent > last, "{headers} headers: {} after {last}", pace.percent);
            last = pace.percent;
        }
        assert_eq!(last, 10.0);
        for blocks in 1..100 {
            let pace = rig.then((100, 0), (blocks, 100 - blocks));
            assert!(pace.percent > last, "{blocks} blocks: {} after {last}", pace.percent);
            last = pace.percent;
        }
        // the tree still takes the last of them: it is not behind again, and not there yet
        assert_eq!(rig.then((100, 0), (100, 0)).percent, last);
        // a rebuilt downloader finds more to do than it knew of
        assert_eq!(rig.then((100, 50), (100, 500)).percent, last);
        if let Some(tree) = &mut rig.seen.tree {
            tree.synced = true;
        }
        assert_eq!(rig.look().percent, 100.0);
    }

    #[test]
    fn percent_is_of_the_present_sync_alone_and_waits_for_the_height() {
        let mut rig = Rig::targeting(None);
        assert_eq!(rig.then((1, 0), (0, 1)).percent, 0.0, "how far it is is not known yet");
        rig.target(1, Some(100));
        assert_eq!(rig.then((25, 75), (25, 75)).percent, 25.0);
        if let Some(tree) = &mut rig.seen.tree {
            tree.synced = true;
        }
        rig.then((100, 0), (100, 0));
        rig.target(2, Some(110));
        assert_eq!(rig.then((100, 10), (100, 10)).percent, 0.0);
        assert_eq!(rig.then((105, 5), (100, 10)).percent, 5.0);
        // another target on the way may be farther than the old one
        rig.target(3, Some(200));
        assert_eq!(rig.then((105, 95), (100, 100)).percent, 0.5);
    }

    #[test]
    fn rates_are_of_the_last_ten_seconds_and_of_no_time_without_work() {
        let mut rig = Rig::new();
        for _ in 0..60 {
            rig.then((0, 0), (0, 0));
        }
        rig.target(1, Some(1_000));
        let pace = rig.then((200, 800), (100, 900));
        assert_eq!((pace.headers_per_s, pace.blocks_per_s), (200.0, 100.0));
        assert_eq!(pace.eta, None, "the first second foretells nothing");
        rig.then((400, 600), (200, 800));
        rig.then((600, 400), (300, 700));
        let pace = rig.then((800, 200), (400, 600));
        assert_eq!((pace.headers_per_s, pace.blocks_per_s), (200.0, 100.0));
        assert_eq!(pace.eta, Some(Duration::from_secs(6)), "blocks are slower");
        for _ in 0..9 {
            assert!(rig.then((800, 200), (400, 600)).blocks_per_s > 0.0);
        }
        let pace = rig.then((800, 200), (400, 600));
        assert_eq!((pace.headers_per_s, pace.blocks_per_s), (0.0, 0.0));
    }

    #[test]
    fn nothing_is_foretold_once_nothing_comes_and_a_stall_names_the_downloaders_reason() {
        let mut rig = Rig::targeting(Some(100));
        for done in 1..=5 {
            rig.then((done, 100 - done), (done, 100 - done));
        }
        for idle in 1..=24 {
            let pace = rig.then((5, 95), (5, 95));
            assert_eq!(pace.idle, Duration::from_secs(idle));
            assert_eq!(pace.eta.is_some(), pace.idle < IDLE_AFTER, "{idle} s");
            assert_eq!(pace.stalled, None, "the downloader says whether it is one");
        }
        rig.seen.progress.stalled = Some(Stall::NoPeer);
        assert_eq!(rig.look().stalled, Some(Stall::NoPeer));
        let pace = rig.then((6, 94), (5, 95));
        assert_eq!(pace.idle, Duration::ZERO);
        if let Some(tree) = &mut rig.seen.tree {
            tree.synced = true;
        }
        assert_eq!(rig.look().stalled, None, "nothing is missing");
    }

    #[test]
    fn the_budget_is_what_may_be_in_flight_and_held_together() {
        let mut rig = Rig::new();
        (rig.seen.progress.in_flight_bytes, rig.seen.progress.buffered_bytes) = (150, 50);
        assert_eq!(rig.look().budget_used_percent, 50.0);
    }

    #[test]
    fn a_distance_that_no_clock_can_hold_foretells_nothing() {
        let mut rig = Rig::targeting(Some(u64::MAX));
        rig.then((0, u64::MAX), (0, u64::MAX));
        for _ in 0..9 {
            rig.then((0, u64::MAX), (0, u64::MAX));
        }
        let pace = rig.then((1, u64::MAX), (1, u64::MAX));
        assert!(pace.percent < 0.1);
        assert_eq!(pace.eta, None);
    }
}
