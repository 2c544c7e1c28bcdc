//! Asking again for one item: when, whom not, and how often.

use std::time::{Duration, Instant};

use moorline_messages::PeerId;

/// Attempts that may fail before an item counts as unobtainable.
const ATTEMPTS_MAX: u32 = 10;

/// Peers to avoid that are remembered for one item; the oldest is forgotten first.
const AVOID_MAX: usize = 16;

/// Wait after the second failure of an item; doubled with every further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The history of one item.
#[derive(Clone, Debug, Default)]
pub(super) struct Retry {
    attempts: u32,
    avoid: Vec<PeerId>,
    not_before: Option<Instant>,
}

impl Retry {
    /// An attempt failed. `counts` says whether a peer had its chance; waiting for peers costs
    /// nothing but time.
    pub(super) fn again(&mut self, now: Instant, peer: Option<PeerId>, counts: bool) {
        if counts {
            self.attempts = self.attempts.saturating_add(1);
        }
        if let Some(peer) = peer {
            self.exclude(peer);
        }
        let doublings = self.attempts.saturating_sub(1);
        // the first failure may be one peer's; another is asked without delay
        let wait = if counts && doublings == 0 {
            Duration::ZERO
        } else {
            BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MAX)
        };
        self.not_before = now.checked_add(wait);
    }

    /// Rather not this peer again.
    pub(super) fn exclude(&mut self, peer: PeerId) {
        if self.avoid.contains(&peer) {
            return;
        }
        if self.avoid.len() >= AVOID_MAX {
            self.avoid.remove(0);
        }
        self.avoid.push(peer);
    }

    /// Whether the item may be asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// When the item may be asked for, if it has to wait at all.
    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.not_before
    }

    /// Whether everybody had their chance.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.attempts >= ATTEMPTS_MAX
    }

    /// How often a peer had its chance.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whom to avoid.
    pub(super) fn avoid(&self) -> Vec<PeerId> {
        self.avoid.clone()
    }
}
