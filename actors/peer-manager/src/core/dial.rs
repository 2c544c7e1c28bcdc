//! Peers that the operator named: dialled again for ever.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use moorline_messages::{NodeRecord, PeerId};

use super::after;
use crate::config::STATIC_PEERS_MAX;

/// Wait after the first failure; doubled for each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two dials, the spread not included.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A session that lasted this long shows that the peer is fine: waits start from the first again.
const SESSION_LASTED: Duration = Duration::from_secs(10);
/// A dial that is not answered in this time is taken for failed, should the answer be lost.
const DIAL_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting { until: Instant },
    Dialling { until: Instant },
    Connected { since: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Target {
    node: NodeRecord,
    state: State,
    failures: u32,
    /// The operator has been told of this streak of failures.
    warned: bool,
}

impl Target {
    fn back_off(&mut self, now: Instant, at_least: Duration) {
        let factor = 2_u32.saturating_pow(self.failures);
        let wait = BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX).max(at_least);
        let wait = wait.saturating_add(spread(self.node.id, wait));
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: after(now, wait) };
    }
}

/// Up to a quarter of a wait, by the id of whom we dial: two nodes that name each other would
/// otherwise dial in the same moment for ever, and each end the other's session as the newer one.
fn spread(peer: PeerId, wait: Duration) -> Duration {
    let quarter = wait.checked_div(4).unwrap_or_default();
    let [first, ..] = peer.0.0;
    quarter.mul_f64(f64::from(first) / 256.0)
}

/// The dialler's book.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    targets: BTreeMap<PeerId, Target>,
}

impl Dials {
    /// All of them are dialled from `first_at` on.
    pub(crate) fn new(nodes: &[NodeRecord], first_at: Instant) -> Self {
        let state = State::Waiting { until: first_at };
        let target = |node: &NodeRecord| Target { node: *node, state, failures: 0, warned: false };
        Self { targets: nodes.iter().map(|node| (node.id, target(node))).collect() }
    }

    /// Whether the operator wants it dialled.
    pub(crate) fn names(&self, peer: PeerId) -> bool {
        self.targets.contains_key(&peer)
    }

    /// One more, or one at another address, dialled at once unless it is connected.
    pub(crate) fn add(&mut self, node: NodeRecord, now: Instant, is_connected: bool) {
        if self.targets.len() >= STATIC_PEERS_MAX && !self.names(node.id) {
            return;
        }
        let state = match is_connected {
            true => State::Connected { since: now },
            false => State::Waiting { until: now },
        };
        self.targets.insert(node.id, Target { node, state, failures: 0, warned: false });
    }

    /// Not dialled any more.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.targets.remove(&peer);
    }

    /// How many dials are under way.
    pub(crate) fn dialling(&self) -> usize {
        let dialling = |it: &&Target| matches!(it.state, State::Dialling { .. });
        self.targets.values().filter(dialling).count()
    }

    /// Whom to dial now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<NodeRecord> {
        let mut due = Vec::new();
        for target in self.targets.values_mut() {
            match target.state {
                State::Dialling { until } if until <= now => target.back_off(now, Duration::ZERO),
                State::Waiting { until } if until <= now => {
                    target.state = State::Dialling { until: after(now, DIAL_PATIENCE) };
                    due.push(target.node);
                }
                State::Waiting { .. } | State::Dialling { .. } | State::Connected { .. } => {}
            }
        }
        due
    }

    pub(crate) fn opened(&mut self, now: Instant, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Connected { since: now };
            target.warned = false;
        }
    }

    /// A session ended; the peer is dialled again after its backoff, and not before `at_least`.
    pub(crate) fn lost(&mut self, now: Instant, peer: PeerId, at_least: Duration) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if let State::Connected { since } = target.state
            && now.saturating_duration_since(since) >= SESSION_LASTED
        {
            target.failures = 0;
        }
        target.back_off(now, at_least);
    }

    /// A dial came to nothing. Says whether it is the first of its streak; `None` for a peer that is
    /// connected after all, or that nobody named.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        peer: PeerId,
        at_least: Duration,
    ) -> Option<bool> {
        let target = self.targets.get_mut(&peer)?;
        if matches!(target.state, State::Connected { .. }) {
            return None;
        }
        target.back_off(now, at_least);
        Some(!std::mem::replace(&mut target.warned, true))
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let due = |target: &Target| match target.state {
            State::Waiting { until } | State::Dialling { until } => Some(until),
            State::Connected { .. } => None,
        };
        self.targets.values().filter_map(due).min()
    }
}
