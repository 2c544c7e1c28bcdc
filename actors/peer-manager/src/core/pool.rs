//! Nodes that were found: dialled one after another as long as there is room.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use moorline_messages::{NodeRecord, PeerId, PeerOrigin, Subnet};

use super::after;

/// Most nodes that are remembered; past it the one that was dead most often goes, or was full most
/// often, and of these the oldest.
pub(crate) const CANDIDATES_MAX: usize = 2_048;
/// Most of them in one /24 or /48, loopback excepted: names cost nothing, addresses do.
pub(crate) const SUBNET_CANDIDATES_MAX: usize = 32;
/// Most dials to them under way at once.
pub(crate) const FOUND_DIALS_MAX: usize = 16;
/// Shortest time between two dials to any of them.
const DIAL_EVERY: Duration = Duration::from_millis(100);
/// Wait before a node is dialled again; doubled for each further failure. Others turn away who comes
/// back within half a minute.
pub(crate) const REDIAL_FIRST: Duration = Duration::from_secs(35);
/// Longest wait.
pub(crate) const REDIAL_MAX: Duration = Duration::from_secs(3_600);
/// A node that was dead this often in a row is forgotten; if it is alive it will be found again.
const DEATHS_MAX: u32 = 6;
/// One that never let us in so often in a row gives way to a new name, where there is no room for both.
const TRIES_MAX: u32 = 4;
/// A session that lasted this long shows that the node is fine.
const SESSION_LASTED: Duration = Duration::from_secs(60);
/// A dial that is not answered in this time is taken for failed, should the answer be lost.
const DIAL_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Instant },
    Dialling { until: Instant },
    Connected { since: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    node: NodeRecord,
    origin: PeerOrigin,
    state: State,
    /// Dials and short sessions in a row that came to nothing.
    failures: u32,
    /// Those of them in which nobody was there, or nobody of ours.
    deaths: u32,
    /// The count of all that were found.
    arrival: u64,
}

impl Candidate {
    fn is_new(&self) -> bool {
        self.failures == 0
    }

    /// Among those who are ready: what was remembered comes first, then what waits longest.
    fn place(&self, ready_at: Instant) -> (bool, Instant, u64) {
        (self.origin != PeerOrigin::Remembered, ready_at, self.arrival)
    }
}

/// Everybody that was found.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    nodes: BTreeMap<PeerId, Candidate>,
    arrivals: u64,
    /// Whether the newest dial was to one who had never been dialled: the next is to another, so that
    /// a flood of names does not keep us from those who were full a while ago.
    was_new: bool,
    /// When the newest dial was ordered.
    dialled_at: Option<Instant>,
    /// When to look again whether somebody is to be dialled; `None` where nobody is.
    look_at: Option<Instant>,
    /// Something changed since the last look.
    is_stale: bool,
}

impl Pool {
    /// Takes in a node that was found; known ones only change their address. Nobody is dialled
    /// before `first_at`.
    pub(crate) fn found(&mut self, node: NodeRecord, origin: PeerOrigin, first_at: Instant) {
        self.is_stale = true;
        let ip = node.addr.ip();
        let is_crowded = self.is_crowded(ip);
        if let Some(known) = self.nodes.get_mut(&node.id) {
            let stays_near = Subnet::of(known.node.addr.ip()) == Subnet::of(ip);
            if matches!(known.state, State::Waiting { .. }) && (stays_near || !is_crowded) {
                known.node = node;
            }
            return;
        }
        if is_crowded || (self.nodes.len() >= CANDIDATES_MAX && !self.forget_one()) {
            return;
        }
        self.arrivals = self.arrivals.saturating_add(1);
        let (state, arrival) = (State::Waiting { until: first_at }, self.arrivals);
        let candidate = Candidate { node, origin, state, failures: 0, deaths: 0, arrival };
        self.nodes.insert(node.id, candidate);
    }

    fn is_crowded(&self, ip: IpAddr) -> bool {
        let subnet = Subnet::of(ip);
        let same = self.nodes.values().filter(|it| Subnet::of(it.node.addr.ip()) == subnet);
        !ip.to_canonical().is_loopback() && same.count() >= SUBNET_CANDIDATES_MAX
    }

    /// Makes room, if anybody was dead, or was full again and again: a flood of names must not wash out
    /// what nobody tried yet, nor those who are always full keep everybody else out.
    fn forget_one(&mut self) -> bool {
        let is_waiting = |it: &&Candidate| matches!(it.state, State::Waiting { .. });
        let in_vain = |it: &&Candidate| it.deaths > 0 || it.failures >= TRIES_MAX;
        let worst = self.nodes.values().filter(is_waiting).filter(in_vain);
        let worst = worst.max_by_key(|it| (it.deaths, it.failures, Reverse(it.arrival)));
        let worst = worst.map(|it| it.node.id);
        worst.and_then(|id| self.nodes.remove(&id)).is_some()
    }

    /// Another peer manager takes over: whether somebody is connected will be said again by then.
    pub(crate) fn begin_anew(&mut self, first_at: Instant) {
        for candidate in self.nodes.values_mut() {
            let until = match candidate.state {
                State::Waiting { until } => until.max(first_at),
                State::Dialling { .. } | State::Connected { .. } => first_at,
            };
            candidate.state = State::Waiting { until };
        }
        (self.is_stale, self.look_at) = (true, None);
    }

    /// The operator wants nothing more of it.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.is_stale = true;
        self.nodes.remove(&peer);
    }

    /// How a node was found, and where it can be dialled.
    pub(crate) fn get(&self, peer: PeerId) -> Option<(NodeRecord, PeerOrigin)> {
        self.nodes.get(&peer).map(|it| (it.node, it.origin))
    }

    pub(crate) fn opened(&mut self, now: Instant, peer: PeerId) {
        self.is_stale = true;
        if let Some(candidate) = self.nodes.get_mut(&peer) {
            candidate.state = State::Connected { since: now };
        }
    }

    /// A session ended, or a dial came to nothing. It is dialled again after its wait, which is
    /// `at_least` this long, or forgotten; `is_dead` unless somebody of ours was there.
    pub(crate) fn lost(&mut self, now: Instant, peer: PeerId, at_least: Duration, is_dead: bool) {
        self.is_stale = true;
        let Some(candidate) = self.nodes.get_mut(&peer) else { return };
        if let State::Connected { since } = candidate.state
            && now.saturating_duration_since(since) >= SESSION_LASTED
        {
            candidate.failures = 0;
        }
        let factor = 2_u32.saturating_pow(candidate.failures);
        let wait = REDIAL_FIRST.saturating_mul(factor).min(REDIAL_MAX).max(at_least);
        candidate.failures = candidate.failures.saturating_add(1);
        candidate.deaths = if is_dead { candidate.deaths.saturating_add(1) } else { 0 };
        candidate.state = State::Waiting { until: after(now, wait) };
        if candidate.deaths >= DEATHS_MAX {
            self.nodes.remove(&peer);
        }
    }

    /// Where dials are under way.
    pub(crate) fn dialling(&self) -> impl Iterator<Item = IpAddr> {
        let dialling = self.nodes.values().filter(|it| matches!(it.state, State::Dialling { .. }));
        dialling.map(|it| it.node.addr.ip())
    }

    /// How many are known and not connected.
    pub(crate) fn waiting(&self) -> usize {
        self.nodes.values().filter(|it| matches!(it.state, State::Waiting { .. })).count()
    }

    /// Something that decides who may be dialled changed elsewhere.
    pub(crate) const fn look_again(&mut self) {
        self.is_stale = true;
    }

    /// Whether it is time to see who is to be dialled.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_stale || self.look_at.is_some_and(|at| at <= now)
    }

    /// Dials that were never answered are over.
    pub(crate) fn expire(&mut self, now: Instant) {
        let late = |it: &&Candidate| matches!(it.state, State::Dialling { until } if until <= now);
        let late: Vec<PeerId> = self.nodes.values().filter(late).map(|it| it.node.id).collect();
        for peer in late {
            self.lost(now, peer, Duration::ZERO, true);
        }
    }

    /// Whether anybody is ready who may be dialled.
    pub(crate) fn has_ready(&self, now: Instant, may_dial: impl Fn(&NodeRecord) -> bool) -> bool {
        let ready = |it: &Candidate| matches!(it.state, State::Waiting { until } if until <= now);
        self.nodes.values().any(|it| ready(it) && may_dial(&it.node))
    }

    /// Whom to dial now, if there is room for one more and somebody may be dialled.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        has_room: bool,
        may_dial: impl Fn(&NodeRecord) -> bool,
    ) -> Option<NodeRecord> {
        self.is_stale = false;
        let answers_by = self.nodes.values().filter_map(|it| match it.state {
            State::Dialling { until } => Some(until),
            State::Waiting { .. } | State::Connected { .. } => None,
        });
        self.look_at = answers_by.min();
        if !has_room {
            return None;
        }
        let may_at = self.dialled_at.map_or(now, |at| after(at, DIAL_EVERY));
        let waiting = self.nodes.values().filter_map(|it| match it.state {
            State::Waiting { until } if may_dial(&it.node) => Some((until, it)),
            _ => None,
        });
        let (ready, later): (Vec<_>, Vec<_>) =
            waiting.partition(|(at, _)| (*at).max(may_at) <= now);
        let other = !self.was_new;
        let next = ready.iter().min_by_key(|(at, it)| (it.is_new() != other, it.place(*at)));
        let next = next.map(|(_, it)| it.node);
        let others = ready.len() > usize::from(next.is_some());
        let later = later.into_iter().map(|(at, _)| at.max(may_at)).min();
        let again = if others { Some(after(now, DIAL_EVERY)) } else { later };
        if let Some(candidate) = next.and_then(|node| self.nodes.get_mut(&node.id)) {
            let until = after(now, DIAL_PATIENCE);
            self.was_new = candidate.is_new();
            candidate.state = State::Dialling { until };
            self.dialled_at = Some(now);
            self.look_at = self.look_at.map_or(Some(until), |at| Some(at.min(until)));
        }
        self.look_at = [self.look_at, again].into_iter().flatten().min();
        next
    }

    /// At this time somebody may be dialled who may not be now.
    pub(crate) fn look_again_at(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |look| look.min(at)));
    }

    pub(crate) const fn next_wakeup(&self) -> Option<Instant> {
        self.look_at
    }
}
