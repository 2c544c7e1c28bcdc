//! How a peer of the crowd behaves: its line, its pace, what it has, and whether it lies.

use super::*;

/// The 2 MiB at which a peer ends an answer (devp2p eth, soft limit).
const ANSWER_BYTES_MAX: u64 = 2 << 20;
const HEADER_BYTES: u64 = 600;
/// What a peer takes for a request before its first byte.
const REQUEST_MS: u64 = 3;

/// Numbers that look random and are the same for a seed (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.between(1..=100) <= percent
    }
}

/// What is peculiar about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    Plain,
    /// It has nothing below this height, and says so.
    Pruned(u64),
    /// It has nothing below this height, and says nothing.
    PrunedInSilence(u64),
    /// No more than this many items in an answer.
    Partial(u64),
    /// The items of an answer in another order.
    Reordering,
    /// It lacks each block whose height divides by this.
    Patchy(u64),
    /// Another branch in good faith.
    OtherBranch,
    /// It never answers.
    Silent,
    /// It stops for seconds before one answer in twenty.
    Stuttering,
    /// The connection breaks after this time, and stands again after as long.
    Flapping(Duration),
    /// It comes only after this time.
    Late(Duration),
    /// Ten times slower until this time.
    Recovering(Duration),
    /// Ten times slower from this time on.
    Tiring(Duration),
    /// One answer in so many percent is a lie.
    Lying(u64),
}

/// A line and a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    pub(super) round_trip: Duration,
    pub(super) bytes_per_s: u64,
}

/// What an answer holds. The core sees only how many items that are.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// The heights that came, of bodies and receipts.
    pub(super) heights: Vec<u64>,
    pub(super) count: usize,
    pub(super) bytes: u64,
    pub(super) lie: Option<Conduct>,
    pub(super) is_of_other_branch: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) id: PeerId,
    pub(super) addr: SocketAddr,
    pub(super) speed: Speed,
    pub(super) habit: Habit,
    pub(super) session: Option<SessionId>,
    /// When it is done with what it was asked so far.
    pub(super) free_at: Instant,
    /// When its connection breaks next, if it flaps.
    pub(super) breaks_at: Option<Instant>,
    start: Instant,
    dice: Dice,
}

impl Model {
    pub(super) fn new(
        start: Instant,
        (number, addr): (u8, SocketAddr),
        speed: Speed,
        habit: Habit,
        dice: Dice,
    ) -> Self {
        Self {
            id: peer(number),
            addr,
            speed,
            habit,
            session: None,
            free_at: start,
            breaks_at: None,
            start,
            dice,
        }
    }

    pub(super) const fn lies(&self) -> bool {
        matches!(self.habit, Habit::Lying(_))
    }

    pub(super) fn info(&self, highest: u64) -> PeerInfo {
        let range = match self.habit {
            Habit::Pruned(earliest) => Some(range(earliest, highest)),
            Habit::PrunedInSilence(_) => None,
            _ => Some(range(0, highest)),
        };
        PeerInfo { addr: self.addr, range, ..info(self.id, Direction::Outbound) }
    }

    fn has(&self, height: u64) -> bool {
        match self.habit {
            Habit::Pruned(earliest) | Habit::PrunedInSilence(earliest) => height >= earliest,
            Habit::Patchy(each) => !height.is_multiple_of(each),
            Habit::OtherBranch => false,
            _ => true,
        }
    }

    /// Whether it would answer a request with all, or nearly all, that was asked for.
    pub(super) fn serves(&self, items: &FetchItems) -> bool {
        match items {
            _ if self.lies() || self.habit == Habit::Silent => false,
            FetchItems::Headers { .. } => self.habit != Habit::OtherBranch,
            FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => {
                let lacks = blocks.iter().filter(|block| !self.has(block.number)).count();
                lacks * 10 <= blocks.len()
            }
        }
    }

    /// Bytes a second at this moment.
    pub(super) fn bytes_per_s(&self, now: Instant) -> f64 {
        let is_slow = match self.habit {
            Habit::Recovering(until) => now < self.start + until,
            Habit::Tiring(since) => now >= self.start + since,
            _ => false,
        };
        self.speed.bytes_per_s as f64 / if is_slow { 10.0 } else { 1.0 }
    }

    /// What some bytes take it, without noise.
    pub(super) fn work(&self, now: Instant, bytes: u64) -> Duration {
        ms(REQUEST_MS) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s(now))
    }

    /// Answers in the order of the requests, one at a time. Says when the answer arrives.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        items: &FetchItems,
        sizes: Sizes,
    ) -> Option<(Instant, Answer)> {
        if self.habit == Habit::Silent {
            return None;
        }
        let answer = self.make(items, sizes);
        let noise = 0.9 + self.dice.between(0..=200) as f64 / 1_000.0;
        let mut work = self.work(now, answer.bytes).mul_f64(noise);
        if self.habit == Habit::Stuttering && self.dice.percent(5) {
            work += ms(self.dice.between(2_000..=6_000));
        }
        let half = self.speed.round_trip / 2;
        self.free_at = self.free_at.max(now + half) + work;
        Some((self.free_at + half, answer))
    }

    fn make(&mut self, items: &FetchItems, sizes: Sizes) -> Answer {
        let lie_percent = if let Habit::Lying(percent) = self.habit { percent } else { 0 };
        let is_lie = self.dice.percent(lie_percent);
        let most = if let Habit::Partial(most) = self.habit { most } else { u64::MAX };
        let mut answer = match items {
            FetchItems::Headers { top, limit } => {
                let other = self.habit == Habit::OtherBranch;
                let by_hash = matches!(top, HashOrNumber::Hash(_));
                let count = if other && by_hash { 0 } else { (*limit).min(most) };
                let lies = [Conduct::BrokenLink, Conduct::WrongAnchor, Conduct::TooMany];
                let lie = is_lie.then(|| lies[self.dice.between(0..=2) as usize]);
                Answer {
                    count: count as usize,
                    bytes: count * HEADER_BYTES,
                    lie,
                    is_of_other_branch: other,
                    ..Answer::default()
                }
            }
            FetchItems::Bodies { blocks } => self.parts(blocks, most, sizes.body),
            FetchItems::Receipts { blocks } => self.parts(blocks, most, sizes.receipts),
        };
        if is_lie && answer.lie.is_none() {
            let unasked = match items {
                FetchItems::Receipts { .. } => Conduct::UnaskedReceipts,
                _ => Conduct::UnaskedBody,
            };
            answer.lie = Some(if self.dice.percent(50) { unasked } else { Conduct::TooMany });
        }
        answer
    }

    fn parts(&self, blocks: &[BlockNumHash], most: u64, bytes: u64) -> Answer {
        let most = most.min(ANSWER_BYTES_MAX.div_ceil(bytes)) as usize;
        let here = blocks.iter().map(|block| block.number).filter(|height| self.has(*height));
        let mut heights: Vec<u64> = here.take(most).collect();
        if self.habit == Habit::Reordering {
            heights.reverse();
        }
        let count = heights.len();
        Answer { heights, count, bytes: count as u64 * bytes, ..Answer::default() }
    }
}

/// Bytes of a block's parts; all blocks are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) body: u64,
    pub(super) receipts: u64,
}

impl Sizes {
    /// Bytes of a whole answer.
    pub(super) fn of(self, items: &FetchItems) -> u64 {
        match items {
            FetchItems::Headers { limit, .. } => limit * HEADER_BYTES,
            FetchItems::Bodies { blocks } => blocks.len() as u64 * self.body,
            FetchItems::Receipts { blocks } => blocks.len() as u64 * self.receipts,
        }
    }
}
