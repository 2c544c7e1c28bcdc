//! Who comes, who goes, and who is dialled.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use moorline_messages::{
    CloseReason, Direction, DisconnectReason, FetchError, NodeRecord, PeerCommand, PeerId,
    PeerInfo, PeerOrigin, SessionCommand, SessionEvent, SessionId, address_of,
};

use super::{
    Effect, Note, PeerManagerCore, after,
    ban::STATIC_BAN_TIME,
    dial::BACKOFF_MAX,
    last_fails,
    neighbours::Neighbours,
    pool::{FOUND_DIALS_MAX, REDIAL_MAX},
};

/// Shortest time between two peers that have to make room because they are of no use.
const REPLACE_EVERY: Duration = Duration::from_secs(30);

impl PeerManagerCore {
    pub(crate) fn session(&mut self, now: Instant, event: SessionEvent, effects: &mut Vec<Effect>) {
        match event {
            SessionEvent::Opened { session, peer } => self.opened(now, session, peer, effects),
            SessionEvent::DialFailed { node, reason } => {
                self.dial_failed(now, node, reason, effects);
            }
            SessionEvent::Answered { session, request, items, wire_bytes } => {
                self.answered(now, session, request, items, wire_bytes, effects);
            }
            SessionEvent::RangeUpdated { session, range } => {
                self.telling.peers_changed();
                self.peers.announce(session, range);
            }
            SessionEvent::Closed { session, peer, reason } => {
                // who was never welcome has nothing to lose, and should not fill the list of bans
                let was_welcome = self.peers.session_of(peer) == Some(session);
                if let CloseReason::Breach(why) = &reason
                    && was_welcome
                {
                    self.ban(now, peer, why.clone(), effects);
                }
                self.lose(now, session, reason, effects);
            }
        }
    }

    /// Whether the operator named this peer.
    fn is_named(&self, peer: PeerId) -> bool {
        self.dials.names(peer) || self.config.trusted_peers.contains(&peer)
    }

    /// Why a connected peer is here.
    pub(crate) fn origin(&self, peer: &PeerInfo) -> PeerOrigin {
        if self.dials.names(peer.id) {
            PeerOrigin::Static
        } else if self.config.trusted_peers.contains(&peer.id) {
            PeerOrigin::Trusted
        } else {
            let outbound = (peer.direction == Direction::Outbound).then_some(peer.id);
            let found = outbound.and_then(|id| self.pool.get(id));
            found.map_or(PeerOrigin::Inbound, |(_, origin)| origin)
        }
    }

    fn opened(
        &mut self,
        now: Instant,
        session: SessionId,
        peer: PeerInfo,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.peers.session_of(peer.id) == Some(session);
        if !known && let Some(reason) = self.unwelcome(now, &peer) {
            effects.push(Effect::Note(Note::Refused { peer: peer.id, reason }));
            effects.push(Effect::Command(SessionCommand::Disconnect { session, reason }));
            if reason != DisconnectReason::AlreadyConnected {
                self.telling.count(|counts| &mut counts.refused, 1);
                self.dials.lost(now, peer.id, STATIC_BAN_TIME);
                if peer.direction == Direction::Outbound {
                    self.pool.lost(now, peer.id, Duration::ZERO, false);
                }
            }
            return;
        }
        self.telling.peers_changed();
        if !known {
            self.dials.opened(now, peer.id);
            self.pool.opened(now, peer.id);
            effects.push(Effect::Note(Note::Connected {
                peer: peer.id,
                client: peer.client.clone(),
                addr: peer.addr,
                direction: peer.direction,
            }));
        }
        self.peers.open(now, session, peer);
    }

    fn unwelcome(&self, now: Instant, peer: &PeerInfo) -> Option<DisconnectReason> {
        let ip = peer.addr.ip();
        if self.peers.session_of(peer.id).is_some() {
            Some(DisconnectReason::AlreadyConnected)
        } else if self.bans.is_banned(now, peer.id) {
            Some(DisconnectReason::UselessPeer)
        } else if self.is_named(peer.id) {
            None
        } else if self.bans.addresses(now).contains(&address_of(ip)) {
            Some(DisconnectReason::UselessPeer)
        } else if self.is_full_for(peer.direction) || !Neighbours::of(self.others()).have_room(ip) {
            Some(DisconnectReason::TooManyPeers)
        } else {
            None
        }
    }

    /// Where the peers are from that nobody named.
    fn others(&self) -> impl Iterator<Item = IpAddr> {
        let others = self.peers.infos().filter(|info| !self.is_named(info.id));
        others.map(|info| info.addr.ip())
    }

    fn is_full_for(&self, direction: Direction) -> bool {
        let other = |info: &PeerInfo| !self.is_named(info.id);
        let inbound = |info: &PeerInfo| other(info) && info.direction == Direction::Inbound;
        self.peers.count(other) >= self.config.peers_max
            || (direction == Direction::Inbound
                && self.peers.count(inbound) >= self.config.inbound_max)
    }

    fn dial_failed(
        &mut self,
        now: Instant,
        node: NodeRecord,
        reason: CloseReason,
        effects: &mut Vec<Effect>,
    ) {
        self.telling.peers_changed();
        self.telling.count(|counts| &mut counts.dial_failures, 1);
        let is_named = self.is_named(node.id);
        let first = self.dials.failed(now, node.id, redial_wait(&reason));
        let found = self.peers.session_of(node.id).is_none();
        if found {
            self.pool.lost(now, node.id, redial_wait_of_found(&reason), !shows_life(&reason));
        }
        if let CloseReason::Breach(why) = &reason
            && (first.is_some() || (found && !is_named))
        {
            self.ban(now, node.id, why.clone(), effects);
        }
        // a session with it stands already, or is about to: it can be used after all
        let met = matches!(
            reason,
            CloseReason::Local(DisconnectReason::AlreadyConnected)
                | CloseReason::Remote(DisconnectReason::AlreadyConnected)
        );
        if let Some(first) = first.filter(|_| !met) {
            effects.push(Effect::Note(Note::Unreachable { node, reason, first }));
        }
    }

    /// Bans a peer, and the address from which it had its last session: what a record or a dial says of
    /// addresses proves nothing, and would have others banned.
    pub(crate) fn ban(
        &mut self,
        now: Instant,
        peer: PeerId,
        why: String,
        effects: &mut Vec<Effect>,
    ) {
        // answers that were under way when the first lie came out add nothing
        if self.bans.is_banned(now, peer) {
            return;
        }
        let time = if self.is_named(peer) {
            self.bans.ban_named(now, peer)
        } else {
            self.pool.remove(peer);
            self.bans.ban(now, peer, self.peers.last_ip(peer))
        };
        self.telling.count(|counts| &mut counts.bans, 1);
        self.telling.book_changed();
        effects.push(Effect::Note(Note::Banned { peer, why, time }));
    }

    /// We end a session. What was out on it is answered now, not when the edge has closed it.
    pub(crate) fn disconnect(
        &mut self,
        now: Instant,
        session: SessionId,
        reason: DisconnectReason,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Command(SessionCommand::Disconnect { session, reason }));
        self.lose(now, session, CloseReason::Local(reason), effects);
    }

    fn lose(
        &mut self,
        now: Instant,
        session: SessionId,
        reason: CloseReason,
        effects: &mut Vec<Effect>,
    ) {
        for ended in self.flights.on(session) {
            effects.extend(last_fails(&ended, FetchError::Disconnected));
        }
        let Some(peer) = self.peers.close(now, session) else { return };
        let peer = peer.info.id;
        self.telling.peers_changed();
        let banned = self.bans.is_banned(now, peer);
        let wait = if banned { STATIC_BAN_TIME } else { redial_wait(&reason) };
        self.dials.lost(now, peer, wait);
        self.pool.lost(now, peer, redial_wait_of_found(&reason), false);
        effects.push(Effect::Note(Note::Lost { peer, reason }));
    }

    /// A node was found. One that is connected or not welcome need not be dialled.
    pub(crate) fn found(&mut self, now: Instant, node: NodeRecord, origin: PeerOrigin) {
        let is_known = self.is_named(node.id) || self.peers.session_of(node.id).is_some();
        if !is_known && !self.bans.is_banned(now, node.id) {
            self.telling.peers_changed();
            self.pool.found(node, origin, now);
        }
    }

    /// The operator orders something while the node runs.
    pub(crate) fn obey(&mut self, now: Instant, command: PeerCommand, effects: &mut Vec<Effect>) {
        self.telling.peers_changed();
        if !self.config.apply(command) {
            return effects.push(Effect::Note(Note::TooManyNamed { command }));
        }
        match command {
            PeerCommand::Add { node } => {
                self.pool.remove(node.id);
                self.bans.lift(node.id);
                self.dials.add(node, now, self.peers.session_of(node.id).is_some());
            }
            PeerCommand::Remove { peer } => {
                self.dials.remove(peer);
                self.pool.remove(peer);
                if let Some(session) = self.peers.session_of(peer) {
                    self.disconnect(now, session, DisconnectReason::Requested, effects);
                }
            }
            PeerCommand::Trust { peer } => {
                self.bans.lift(peer);
                self.pool.look_again();
            }
            PeerCommand::Distrust { .. } => self.pool.look_again(),
        }
        self.favour(effects);
    }

    /// Tells the edge whom the operator named.
    pub(crate) fn favour(&self, effects: &mut Vec<Effect>) {
        let peers = self.config.named().collect();
        effects.push(Effect::Command(SessionCommand::Favour { peers }));
    }

    /// Orders the dials that are due: all that the operator wants, and of those that were found as
    /// many as there is room for.
    pub(crate) fn dial(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut due = self.dials.due(now);
        if self.pool.is_due(now) {
            self.pool.expire(now);
            self.make_room(now, effects);
            due.extend(self.next_found(now));
        }
        if !due.is_empty() {
            self.telling.peers_changed();
            self.telling.count(|counts| &mut counts.dials, due.len() as u64);
        }
        let dial = |node| Effect::Command(SessionCommand::Dial { node });
        effects.extend(due.into_iter().map(dial));
    }

    fn next_found(&mut self, now: Instant) -> Option<NodeRecord> {
        let has_room = self.has_room();
        let may_dial = self.may_dial(now);
        let Self { pool, bans, .. } = self;
        let next = pool.due(now, has_room, may_dial);
        if has_room && let Some(at) = bans.address_is_free_at(now) {
            pool.look_again_at(at);
        }
        next
    }

    /// Whether one more that was found may be dialled: slots that peers may open are theirs.
    fn has_room(&self) -> bool {
        let dialling = self.pool.dialling().count();
        let other = |info: &PeerInfo| !self.is_named(info.id);
        let outbound = |info: &PeerInfo| other(info) && info.direction == Direction::Outbound;
        let outbound_max = self.config.peers_max.saturating_sub(self.config.inbound_max);
        dialling < FOUND_DIALS_MAX
            && self.peers.count(outbound).saturating_add(dialling) < outbound_max
            && self.peers.count(other).saturating_add(dialling) < self.config.peers_max
    }

    /// Who of those that were found may be dialled now.
    fn may_dial(&self, now: Instant) -> impl Fn(&NodeRecord) -> bool + use<> {
        let neighbours = Neighbours::of(self.others().chain(self.pool.dialling()));
        let banned = self.bans.addresses(now);
        let connected: BTreeSet<PeerId> = self.peers.infos().map(|info| info.id).collect();
        move |node| {
            let ip = node.addr.ip();
            !connected.contains(&node.id)
                && !banned.contains(&address_of(ip))
                && neighbours.have_room(ip)
        }
    }

    /// Where every slot is taken and somebody else could be dialled, a peer that was asked and was of
    /// no use for a while has to go.
    fn make_room(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let is_early = self.replaced_at.is_some_and(|at| after(at, REPLACE_EVERY) > now);
        if is_early || self.has_room() || !self.pool.has_ready(now, self.may_dial(now)) {
            return;
        }
        let useless = self
            .peers
            .useless(now, |info| !self.is_named(info.id) && info.direction == Direction::Outbound);
        if let Some(session) = useless {
            self.replaced_at = Some(now);
            self.disconnect(now, session, DisconnectReason::UselessPeer, effects);
        }
    }
}

/// The least wait before a peer is dialled again: time mends a network, but not a wrong genesis.
const fn redial_wait(reason: &CloseReason) -> Duration {
    match reason {
        CloseReason::OtherNetwork(_) | CloseReason::NoCommonVersion => BACKOFF_MAX,
        CloseReason::Breach(_) => STATIC_BAN_TIME,
        CloseReason::Network(_)
        | CloseReason::Silent(_)
        | CloseReason::Remote(_)
        | CloseReason::Local(_) => Duration::ZERO,
    }
}

/// The same for one of many that were found: it is not worth trying again soon.
const fn redial_wait_of_found(reason: &CloseReason) -> Duration {
    match reason {
        CloseReason::OtherNetwork(_)
        | CloseReason::NoCommonVersion
        | CloseReason::Breach(_)
        | CloseReason::Local(DisconnectReason::UselessPeer)
        | CloseReason::Remote(DisconnectReason::UselessPeer) => REDIAL_MAX,
        CloseReason::Network(_)
        | CloseReason::Silent(_)
        | CloseReason::Remote(_)
        | CloseReason::Local(_) => Duration::ZERO,
    }
}

/// Whether a dial that came to nothing met a node of ours, which might let us in another time.
const fn shows_life(reason: &CloseReason) -> bool {
    use DisconnectReason::{AlreadyConnected, ClientQuitting, TooManyPeers};
    matches!(
        reason,
        CloseReason::Remote(TooManyPeers | AlreadyConnected | ClientQuitting)
            | CloseReason::Local(TooManyPeers | AlreadyConnected | ClientQuitting)
    )
}
