//! How long a peer is expected to take, from what it did so far.

use std::time::{Duration, Instant};

use moorline_messages::FetchItems;

/// What a peer's speed is measured for, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Headers,
    Bodies,
    Receipts,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Headers, Self::Bodies, Self::Receipts];

    pub(crate) const fn of(items: &FetchItems) -> Self {
        match items {
            FetchItems::Headers { .. } => Self::Headers,
            FetchItems::Bodies { .. } => Self::Bodies,
            FetchItems::Receipts { .. } => Self::Receipts,
        }
    }

    /// Time granted to one item on top of the peer's usual delay, in milliseconds: a body, or a
    /// block's receipts, of 50 kB at 2.5 MB/s, a header at the pace of a slow database.
    const fn allowance_ms(self) -> f64 {
        match self {
            Self::Headers => 1.0,
            Self::Bodies | Self::Receipts => 20.0,
        }
    }
}

/// How many items a request asks for.
pub(crate) fn asked_items(items: &FetchItems) -> u64 {
    match items {
        FetchItems::Headers { limit, .. } => *limit,
        FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => {
            u64::try_from(blocks.len()).unwrap_or(u64::MAX)
        }
    }
    .max(1)
}

/// Weight of the newest measurement when the one before it is fresh.
const NEWEST: f64 = 0.25;
/// A measurement is worth half after this long: a peer that was slow under somebody else's load, or
/// ours, must not stay unasked for ever.
const MEASURE_HALF_LIFE: Duration = Duration::from_secs(2);
/// How fast the best delay ever seen is forgotten, per measurement.
const FLOOR_DRIFT: f64 = 1.05;
/// Shares below this count as this, so that an expected time stays finite.
const SHARE_MIN: f64 = 0.005;
/// What a peer is expected to take that nobody measured yet.
const UNMEASURED_MS: f64 = 2_000.0;
/// How long a peer is given that nobody measured yet, allowances not included.
const UNMEASURED_TIMEOUT_MS: f64 = 5_000.0;
/// A peer gets this many times its usual delay.
const DELAYS_PER_TIMEOUT: f64 = 4.0;
/// Shortest time given to a peer: below it the network's jitter decides.
const TIMEOUT_MIN_MS: f64 = 2_000.0;
/// A peer that takes this many times what is expected of it takes unusually long.
const UNUSUAL_FACTOR: f64 = 1.5;
/// Shortest time that is unusually long: below it the network's jitter decides.
const UNUSUAL_MIN_MS: f64 = 200.0;
/// What is unusually long for a peer that nobody measured yet.
const UNUSUAL_UNMEASURED_MS: f64 = 1_000.0;
/// Longest time given to a peer.
const TIMEOUT_MAX_MS: f64 = 20_000.0;
/// A request ahead of another costs at least this share of the delay.
const LOAD_SHARE: f64 = 0.25;
/// Expected time added by an answer that did not come.
const TIMED_OUT_MS: f64 = 4_000.0;
/// Expected time added by items that the peer did not have.
const LACKED_MS: f64 = 500.0;
/// What an item takes at least where its pace is told, in milliseconds.
const ITEM_MS_MIN: f64 = 0.000_1;
/// Most time that faults can add.
const PENALTY_MAX_MS: f64 = 60_000.0;
/// Faults weigh half after this long.
const PENALTY_HALF_LIFE: Duration = Duration::from_secs(30);

/// What is measured of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When the answer came.
    pub(crate) at: Instant,
    /// From the request's leaving to the answer's coming.
    pub(crate) took: Duration,
    /// Set when the peer had other requests of ours before this one: the time since it finished
    /// those, which says how fast it works, but not how far away it is.
    pub(crate) worked: Option<Duration>,
    /// Items asked for.
    pub(crate) asked: u64,
    /// Items sent.
    pub(crate) got: u64,
}

/// The pace of one peer in one kind of work.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// What an answer costs however small it is.
    floor_ms: f64,
    /// What each item adds.
    item_ms: f64,
    /// The part of what was asked for that came, so that a peer which answers a hundred questions
    /// with one item each, fast, does not look fast.
    share: f64,
    /// Time to answer, waiting behind other requests included: what timeouts are made from.
    delay_ms: f64,
    /// When the newest answer came.
    measured_at: Instant,
}

impl Pace {
    fn first(sample: Sample) -> Self {
        let took_ms = millis(sample.took);
        let half_ms = took_ms / 2.0;
        Self {
            floor_ms: half_ms,
            item_ms: half_ms / sample.got as f64,
            share: share(sample),
            delay_ms: took_ms,
            measured_at: sample.at,
        }
    }

    /// What the measurements are still worth: one at first, half after each half-life.
    fn worth(&self, now: Instant) -> f64 {
        halved(now.saturating_duration_since(self.measured_at), MEASURE_HALF_LIFE)
    }

    /// What a request takes that the peer gets now.
    fn work_ms(&self, items: u64, (requests_ahead, items_ahead): (usize, u64)) -> f64 {
        let start_ms = self.floor_ms * (1.0 + requests_ahead as f64 * LOAD_SHARE);
        let items = items_ahead as f64 + items as f64;
        start_ms / self.share.max(SHARE_MIN) + self.item_ms * items
    }

    fn observe(&mut self, sample: Sample) {
        let took_ms = millis(sample.took);
        let item_ms = match sample.worked {
            Some(worked) => millis(worked) / sample.got as f64,
            None => {
                self.floor_ms = took_ms.min(self.floor_ms * FLOOR_DRIFT);
                (took_ms - self.floor_ms) / sample.got as f64
            }
        };
        let newest = 1.0 - self.worth(sample.at) * (1.0 - NEWEST);
        blend(&mut self.item_ms, item_ms, newest);
        blend(&mut self.share, share(sample), newest);
        blend(&mut self.delay_ms, took_ms, newest);
        self.measured_at = sample.at;
    }
}

/// Everything that ranks a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    headers: Option<Pace>,
    bodies: Option<Pace>,
    receipts: Option<Pace>,
    penalty_ms: f64,
    penalty_at: Option<Instant>,
}

impl Meter {
    const fn pace(&self, kind: Kind) -> Option<&Pace> {
        match kind {
            Kind::Headers => self.headers.as_ref(),
            Kind::Bodies => self.bodies.as_ref(),
            Kind::Receipts => self.receipts.as_ref(),
        }
    }

    const fn slot(&mut self, kind: Kind) -> &mut Option<Pace> {
        match kind {
            Kind::Headers => &mut self.headers,
            Kind::Bodies => &mut self.bodies,
            Kind::Receipts => &mut self.receipts,
        }
    }

    /// Learns from an answer. An empty one teaches nothing: it is fast because it is empty.
    pub(crate) fn observe(&mut self, kind: Kind, sample: Sample) {
        if sample.got == 0 {
            return;
        }
        match self.slot(kind) {
            Some(pace) => pace.observe(sample),
            empty => *empty = Some(Pace::first(sample)),
        }
    }

    /// The peer sent something, and all of it was right.
    pub(crate) fn served(&mut self, now: Instant) {
        self.penalty_ms = self.penalty_ms(now) / 2.0;
        self.penalty_at = Some(now);
    }

    /// The peer did not have what it was asked for.
    pub(crate) fn lacked(&mut self, now: Instant) {
        self.punish(now, LACKED_MS);
    }

    /// The peer let its time pass. It is given more the next time, and is asked later.
    pub(crate) fn timed_out(&mut self, now: Instant, kind: Kind) {
        self.punish(now, TIMED_OUT_MS);
        if let Some(pace) = self.slot(kind) {
            pace.delay_ms = (pace.delay_ms * 1.5).min(TIMEOUT_MAX_MS);
        }
    }

    fn punish(&mut self, now: Instant, extra_ms: f64) {
        self.penalty_ms = (self.penalty_ms(now) + extra_ms).min(PENALTY_MAX_MS);
        self.penalty_at = Some(now);
    }

    fn penalty_ms(&self, now: Instant) -> f64 {
        let Some(at) = self.penalty_at else { return 0.0 };
        self.penalty_ms * halved(now.saturating_duration_since(at), PENALTY_HALF_LIFE)
    }

    /// What a request is expected to take, in microseconds, faults counted as time. `ahead` is what
    /// the peer has to answer first: requests, and their items.
    pub(crate) fn expected_us(
        &self,
        now: Instant,
        kind: Kind,
        items: u64,
        ahead: (usize, u64),
    ) -> u64 {
        let work_ms = match self.pace(kind) {
            Some(pace) => pace.work_ms(items, ahead),
            None => UNMEASURED_MS * (1.0 + ahead.0 as f64),
        };
        micros(work_ms + self.penalty_ms(now))
    }

    /// What a request usually takes, with what is `ahead` of it and without regard to faults. `None`
    /// for a peer nobody measured.
    pub(crate) fn usual(&self, kind: Kind, items: u64, ahead: (usize, u64)) -> Option<Duration> {
        Some(Duration::from_micros(micros(self.pace(kind)?.work_ms(items, ahead))))
    }

    /// How long a request takes when it takes longer than is usual for this peer, these items and
    /// what is `ahead` of them.
    pub(crate) fn unusual(&self, kind: Kind, items: u64, ahead: (usize, u64)) -> Duration {
        let unusual_ms = self
            .pace(kind)
            .map_or(UNUSUAL_UNMEASURED_MS, |pace| pace.work_ms(items, ahead) * UNUSUAL_FACTOR);
        Duration::from_micros(micros(unusual_ms.max(UNUSUAL_MIN_MS)))
    }

    /// The same for a peer that has nothing to do, believing old measurements less and less: those of
    /// a peer that is never asked would never be mended. Nothing but its faults speaks against a peer
    /// nobody tried.
    pub(crate) fn hoped_us(&self, now: Instant, kind: Kind, items: u64) -> u64 {
        let work_ms =
            self.pace(kind).map_or(0.0, |pace| pace.work_ms(items, (0, 0)) * pace.worth(now));
        micros(work_ms + self.penalty_ms(now))
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self, kind: Kind, items: u64) -> Duration {
        let usual_ms = self
            .pace(kind)
            .map_or(UNMEASURED_TIMEOUT_MS, |pace| pace.delay_ms * DELAYS_PER_TIMEOUT);
        let timeout_ms = usual_ms + kind.allowance_ms() * items as f64;
        Duration::from_micros(micros(timeout_ms.clamp(TIMEOUT_MIN_MS, TIMEOUT_MAX_MS)))
    }

    /// What a request of so many items is expected to take, faults counted as time, in milliseconds;
    /// `None` for a kind nobody measured.
    pub(crate) fn score_ms(&self, now: Instant, kind: Kind, items: u64) -> Option<u64> {
        self.pace(kind)?;
        self.expected_us(now, kind, items, (0, 0)).checked_div(1_000)
    }

    /// The usual time to answer, in milliseconds, and the items a second once it has begun.
    pub(crate) fn seen(&self, kind: Kind) -> Option<(u64, u64)> {
        let pace = self.pace(kind)?;
        Some((pace.delay_ms as u64, (1_000.0 / pace.item_ms.max(ITEM_MS_MIN)) as u64))
    }

    /// The usual time to answer, of the slowest kind, in milliseconds.
    pub(crate) fn delay_ms(&self) -> Option<u64> {
        let slowest = [self.headers, self.bodies, self.receipts]
            .into_iter()
            .flatten()
            .map(|pace| pace.delay_ms)
            .max_by(f64::total_cmp)?;
        Some(slowest as u64)
    }
}

fn share(sample: Sample) -> f64 {
    (sample.got as f64 / sample.asked as f64).min(1.0)
}

fn blend(old: &mut f64, new: f64, newest: f64) {
    *old = *old * (1.0 - newest) + new * newest;
}

/// What is left of one after this time.
fn halved(time: Duration, half_life: Duration) -> f64 {
    (-millis(time) / millis(half_life)).exp2()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn micros(time_ms: f64) -> u64 {
    (time_ms * 1_000.0) as u64
}
