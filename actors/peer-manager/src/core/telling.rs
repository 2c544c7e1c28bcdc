//! What the core says of the peers, and how often.

use std::time::{Duration, Instant};

use moorline_messages::{NodeRecord, PeerBookReport, PeerCounts, PeersReport};

use super::{Effect, PeerManagerCore, after};

/// Shortest time between two reports on the peers.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two tellings of what is to be known again.
const BOOK_EVERY: Duration = Duration::from_secs(10);
/// Most peers that are to be known again.
const BOOK_GOOD_MAX: usize = 256;

/// What changed since it was last told, and what was counted.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    peers: Due,
    book: Due,
    counts: PeerCounts,
}

/// Something that is told when it changed, but not too often.
#[derive(Debug, Default)]
struct Due {
    changed: bool,
    told_at: Option<Instant>,
}

impl Due {
    fn take(&mut self, now: Instant, every: Duration) -> bool {
        let early = self.told_at.is_some_and(|at| after(at, every) > now);
        if early || !self.changed {
            return false;
        }
        *self = Self { changed: false, told_at: Some(now) };
        true
    }

    fn next_wakeup(&self, every: Duration) -> Option<Instant> {
        self.told_at.filter(|_| self.changed).map(|at| after(at, every))
    }
}

impl Telling {
    pub(crate) const fn peers_changed(&mut self) {
        self.peers.changed = true;
    }

    pub(crate) const fn book_changed(&mut self) {
        self.book.changed = true;
    }

    pub(crate) const fn counts(&self) -> PeerCounts {
        self.counts
    }

    pub(crate) fn count(&mut self, which: impl Fn(&mut PeerCounts) -> &mut u64, more: u64) {
        let count = which(&mut self.counts);
        *count = count.saturating_add(more);
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let wakeups = [self.peers.next_wakeup(REPORT_EVERY), self.book.next_wakeup(BOOK_EVERY)];
        wakeups.into_iter().flatten().min()
    }
}

impl From<PeerCounts> for Telling {
    fn from(counts: PeerCounts) -> Self {
        Self { counts, ..Self::default() }
    }
}

impl PeerManagerCore {
    pub(crate) fn tell(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.telling.peers.take(now, REPORT_EVERY) {
            effects.push(Effect::Peers(self.peers_report(now)));
        }
        if self.telling.book.take(now, BOOK_EVERY) {
            effects.push(Effect::Book(self.book(now)));
        }
    }

    pub(crate) fn peers_report(&self, now: Instant) -> PeersReport {
        PeersReport {
            peers: self.peers.summaries(now, |peer| self.origin(peer)),
            queued: count(self.queue.len()),
            dialling: count(self.dials.dialling().saturating_add(self.pool.dialling().count())),
            candidates: count(self.pool.waiting()),
            banned: count(self.bans.count(now)),
            counts: self.telling.counts,
        }
    }

    /// Whom to know again: first who serves now, then who did, each the best first.
    pub(crate) fn book(&self, now: Instant) -> PeerBookReport {
        let node = |peer| self.pool.get(peer).map(|(node, _)| node);
        let good: Vec<NodeRecord> = self.peers.by_merit(now).into_iter().filter_map(node).collect();
        let untried = self.config.book.good.iter().filter(|node| {
            self.pool.get(node.id).is_some() && !good.iter().any(|other| other.id == node.id)
        });
        let all = good.iter().chain(untried).filter(|node| !self.bans.is_banned(now, node.id));
        let good = all.take(BOOK_GOOD_MAX).copied().collect();
        PeerBookReport { good, bans: self.bans.book(now) }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
