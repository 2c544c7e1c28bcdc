//! How much of our work one peer gets: token buckets. A bucket says how long to wait, so that a peer
//! that asks for more than its share is answered later and not turned out.

use std::time::Duration;

use tokio::time::Instant;

/// Requests of one peer that are begun in a second, in the long run. A client that syncs asks for a
/// few dozen items or 2 MiB at a time, which is far fewer.
pub const SERVED_REQUESTS_PER_S: u64 = 500;
/// Requests of one peer that are begun at once after a pause.
pub const SERVED_REQUESTS_BURST: u64 = 1_000;
/// Bytes that are read from the store for one peer in a second, in the long run: somewhat more than a
/// link of a gigabit carries, so that nobody who reads all that he asked for waits.
pub const SERVED_BYTES_PER_S: u64 = 128 << 20;
/// Bytes that are read from the store for one peer at once after a pause.
pub const SERVED_BYTES_BURST: u64 = 512 << 20;

/// Tokens that come back with time. The last one to take some may take more than there are; then the
/// next waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_s: u64,
    burst: u64,
    /// When all tokens are back.
    full_at: Instant,
}

impl Bucket {
    pub(crate) const fn new(per_s: u64, burst: u64, now: Instant) -> Self {
        Self { per_s, burst, full_at: now }
    }

    /// Takes so many tokens.
    pub(crate) fn spend(&mut self, tokens: u64, now: Instant) {
        let from = self.full_at.max(now);
        self.full_at = from.checked_add(self.time_of(tokens)).unwrap_or(from);
    }

    /// How long until there is one again.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let missing = self.full_at.saturating_duration_since(now);
        missing.saturating_sub(self.time_of(self.burst.saturating_sub(1)))
    }

    /// Takes a token where there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has_one = self.wait(now).is_zero();
        if has_one {
            self.spend(1, now);
        }
        has_one
    }

    fn time_of(&self, tokens: u64) -> Duration {
        let ns = u128::from(tokens).saturating_mul(1_000_000_000);
        let ns = ns.checked_div(u128::from(self.per_s)).unwrap_or_default();
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// The pace at which one peer's requests are served.
#[derive(Debug)]
pub(crate) struct ServingPace {
    requests: Bucket,
    bytes: Bucket,
}

impl ServingPace {
    pub(crate) const fn new(now: Instant) -> Self {
        Self::of(
            Bucket::new(SERVED_REQUESTS_PER_S, SERVED_REQUESTS_BURST, now),
            Bucket::new(SERVED_BYTES_PER_S, SERVED_BYTES_BURST, now),
        )
    }

    pub(crate) const fn of(requests: Bucket, bytes: Bucket) -> Self {
        Self { requests, bytes }
    }

    /// Counts a request, and says how long it has to wait.
    pub(crate) fn begin(&mut self, now: Instant) -> Duration {
        let wait = self.requests.wait(now).max(self.bytes.wait(now));
        self.requests.spend(1, now);
        wait
    }

    /// Counts what was read for a request.
    pub(crate) fn read(&mut self, bytes: usize, now: Instant) {
        self.bytes.spend(u64::try_from(bytes).unwrap_or(u64::MAX), now);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_its_rate_from_then_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!((0..9).filter(|_| bucket.take(start)).count(), 5);
        assert_eq!(bucket.wait(start), Duration::from_millis(100));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..99).filter(|_| bucket.take(later)).count(), 5, "no more than its burst");
        let taken = (1..=100).filter(|at| bucket.take(later + Duration::from_millis(at * 20)));
        assert_eq!(taken.count(), 20);
    }

    #[test]
    fn who_takes_more_than_there_is_lets_the_next_wait() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 10, start);
        bucket.spend(210, start);
        assert_eq!(bucket.wait(start), Duration::from_millis(2010));
        bucket.spend(u64::MAX, start);
        assert!(bucket.wait(start) > Duration::from_secs(1 << 30), "and nothing overflows");
    }

    #[test]
    fn a_peer_is_paced_by_requests_and_by_bytes() {
        let start = Instant::now();
        let mut pace = ServingPace::new(start);
        let waits: Vec<Duration> = (0..1500).map(|_| pace.begin(start)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 1000);
        assert_eq!(waits[1499], Duration::from_secs(1));

        let mut pace = ServingPace::new(start);
        for _ in 0..192 {
            pace.read(4 << 20, start);
        }
        let wait = pace.begin(start);
        assert!(wait.abs_diff(Duration::from_secs(2)) < Duration::from_millis(1), "{wait:?}");
    }
}
