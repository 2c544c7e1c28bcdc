//! How much a peer may say that nobody asked for. What is harmless and honest peers do when they are
//! busy is taken at a bounded pace; what no honest peer does is a breach.

use std::time::Duration;

use moorline_messages::AnnouncedRange;
use tokio::time::Instant;

use crate::{ConnectionError, local::worth_telling, pace::Bucket};

/// Pings of a peer in the long run, and at once. Clients send one in 10 to 60 s.
const PINGS_PER_S: u64 = 4;
const PINGS_BURST: u64 = 32;
/// Bytes on the wire of news of transactions and blocks that are taken from a peer in a second, in the
/// long run, and at once. On the mainnet a peer sends some 10 kB in a second.
const NEWS_BYTES_PER_S: u64 = 4 << 20;
const NEWS_BYTES_BURST: u64 = 16 << 20;
/// Range updates that are due, taken from a peer in a second, in the long run, and at once. At 32
/// blocks each (EIP-7642) that is the pace of 1,024 blocks a second.
const DUE_UPDATES_PER_S: u64 = 32;
const DUE_UPDATES_BURST: u64 = 128;
/// Most range updates of a peer in a minute that are not due.
const MAX_UNDUE_UPDATES_PER_MINUTE: u32 = 60;

/// What is left of a peer's share.
#[derive(Debug)]
pub(crate) struct Tolerance {
    pings: Bucket,
    news_bytes: Bucket,
    due_updates: Bucket,
    undue_updates: Minute,
}

impl Tolerance {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            pings: Bucket::new(PINGS_PER_S, PINGS_BURST, now),
            news_bytes: Bucket::new(NEWS_BYTES_PER_S, NEWS_BYTES_BURST, now),
            due_updates: Bucket::new(DUE_UPDATES_PER_S, DUE_UPDATES_BURST, now),
            undue_updates: Minute { since: now, count: 0 },
        }
    }

    /// A ping came.
    pub(crate) fn ping(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.pings.take(now) { Ok(()) } else { breach("a flood of pings") }
    }

    /// News came in so many bytes; says how long not to read on.
    pub(crate) fn news(&mut self, wire_bytes: usize, now: Instant) -> Duration {
        self.news_bytes.spend(u64::try_from(wire_bytes).unwrap_or(u64::MAX), now);
        self.news_bytes.wait(now)
    }

    /// A range came after another; says how long not to read on.
    pub(crate) fn range(
        &mut self,
        told: Option<&AnnouncedRange>,
        range: &AnnouncedRange,
        now: Instant,
    ) -> Result<Duration, ConnectionError> {
        if told.is_some_and(|told| worth_telling(told, range)) {
            self.due_updates.spend(1, now);
            return Ok(self.due_updates.wait(now));
        }
        if self.undue_updates.admits(now, MAX_UNDUE_UPDATES_PER_MINUTE) {
            Ok(Duration::ZERO)
        } else {
            breach("a flood of range updates")
        }
    }
}

fn breach<T>(text: &str) -> Result<T, ConnectionError> {
    Err(ConnectionError::Breach(text.to_owned()))
}

/// How often something happened in the current minute.
#[derive(Debug)]
struct Minute {
    since: Instant,
    count: u32,
}

impl Minute {
    fn admits(&mut self, now: Instant, most: u32) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(60) {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    fn range(latest: u64) -> AnnouncedRange {
        AnnouncedRange { earliest: 0, latest, latest_hash: B256::repeat_byte(1) }
    }

    #[test]
    fn pings_of_every_client_pass_and_a_flood_does_not() {
        let start = Instant::now();
        let mut tolerance = Tolerance::new(start);
        for second in 0..3600 {
            tolerance.ping(start + Duration::from_secs(second)).unwrap();
        }
        let late = start + Duration::from_secs(3600);
        let passed = (0..99).take_while(|_| tolerance.ping(late).is_ok()).count();
        assert_eq!(passed, 32);
    }

    #[test]
    fn news_are_taken_at_a_bounded_pace() {
        let start = Instant::now();
        let mut tolerance = Tolerance::new(start);
        for _ in 0..16 {
            assert_eq!(tolerance.news((1 << 20) - 1, start), Duration::ZERO);
        }
        let wait = tolerance.news(8 << 20, start);
        assert!(wait.abs_diff(Duration::from_secs(2)) < Duration::from_millis(1), "{wait:?}");
    }

    #[test]
    fn a_peer_that_syncs_fast_waits_and_one_that_repeats_itself_goes() {
        let start = Instant::now();
        let mut tolerance = Tolerance::new(start);
        let waits: Vec<Duration> = (0..160)
            .map(|at| tolerance.range(Some(&range(at * 32)), &range(at * 32 + 32), start).unwrap())
            .collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 127);
        assert!(waits[159] < Duration::from_secs(2));
        // a rollback is due, a step of 31 is not, nor is anything from a peer that has told nothing
        assert!(tolerance.range(Some(&range(9)), &range(8), start).unwrap() > Duration::ZERO);
        for minute in 0..2 {
            let now = start + Duration::from_secs(60 * minute);
            for _ in 0..59 {
                assert_eq!(tolerance.range(Some(&range(0)), &range(31), now), Ok(Duration::ZERO));
            }
            assert_eq!(tolerance.range(None, &range(999), now), Ok(Duration::ZERO));
            tolerance.range(Some(&range(0)), &range(31), now).unwrap_err();
        }
    }
}
