//! How long a peer may take.

use std::time::Duration;

use tokio::time::Instant;

/// How long each part of a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// For the RLPx handshake, for hello and for Status, each.
    pub handshake: Duration,
    /// For all three together, so that nobody who trickles them holds a place for long.
    pub meeting: Duration,
    /// Without a whole frame, beyond the time that [`Timeouts::minimum_bytes_per_s`] grants it.
    pub idle: Duration,
    /// Between two pings.
    pub ping_interval: Duration,
    /// Until a message that we send is taken.
    pub write: Duration,
    /// The slowest a frame may trickle in.
    pub minimum_bytes_per_s: u64,
    /// For a goodbye, and for all sessions to end at shutdown.
    pub goodbye: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            meeting: Duration::from_secs(8),
            idle: Duration::from_secs(30),
            ping_interval: Duration::from_secs(15),
            write: Duration::from_secs(20),
            minimum_bytes_per_s: 32 << 10,
            goodbye: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    /// When a meeting that begins now has to be over.
    pub(crate) fn meeting_deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.meeting).unwrap_or(now)
    }

    /// Until the next frame is whole, of which so many bytes are wanted at once.
    pub(crate) fn of_frame(&self, wanted_bytes: usize) -> Duration {
        let wanted_bytes = u64::try_from(wanted_bytes).unwrap_or(u64::MAX);
        let at_slowest_ms = wanted_bytes
            .saturating_mul(1000)
            .checked_div(self.minimum_bytes_per_s)
            .unwrap_or_default();
        self.idle.saturating_add(Duration::from_millis(at_slowest_ms))
    }
}
