//! discv4 (devp2p `discv4.md`, EIP-868): a state machine without sockets, clock or randomness.

mod contacts;
mod inbound;
mod lookup;
mod pending;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use alloy_primitives::{B256, B512};
use moorline_messages::PeerId;
use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::{
    Bounds, DropReason,
    counters::Drops,
    key::NodeKey,
    limits::PacketLimits,
    record::{LocalRecord, SignedRecord},
};
use contacts::Contacts;
use lookup::Lookup;
use pending::{Awaited, Pending, Query};
use table::{Node, Table};
use wire::{Endpoint, Packet};

/// How long a packet of ours is good.
const EXPIRATION_S: u64 = 20;
/// How long an answer may take.
const REPLY_WAIT: Duration = Duration::from_millis(700);
/// After the proof of an endpoint, how long nothing is asked of it: it proves ours meanwhile.
const SETTLE: Duration = Duration::from_millis(500);
/// How often the node of the table that was silent for longest is pinged.
const REVALIDATE_EVERY: Duration = Duration::from_secs(3);
/// Who answered so lately is not pinged again.
const FRESH: Duration = Duration::from_secs(30);
/// A record older than this is asked for again when its node answers a ping.
const RECORD_STALE: Duration = Duration::from_secs(1_800);
/// With fewer nodes than this in the table, lookups start from the bootnodes too.
const TABLE_POOR_NODES: usize = 8;
/// Bootnodes that are used.
const SEEDS_MAX: usize = 32;

/// A moment: monotonic for waits, and Unix time for what packets say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) unix_s: u64,
}

/// What reaches the core.
#[derive(Clone, Debug)]
pub(crate) enum Input<'a> {
    /// A datagram came.
    Datagram { from: SocketAddr, bytes: &'a [u8] },
    /// The node's record is another now.
    Record(&'a LocalRecord),
    /// The moment that `next_wakeup` named has come.
    Wakeup,
}

/// What the core wants done.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Send this datagram.
    Send { to: SocketAddr, bytes: Vec<u8> },
    /// A node signed this record and answers at this address.
    Found { record: Box<SignedRecord>, ip: IpAddr },
}

/// A node to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) tcp: u16,
}

/// All that discv4 remembers. Every map has a bound; a restart loses it.
#[derive(Debug)]
pub(crate) struct Discv4 {
    key: NodeKey,
    record: Vec<u8>,
    record_seq: u64,
    endpoint: Endpoint,
    seeds: Vec<Seed>,
    /// Whether the socket is one for IPv6; nodes of the other family cannot be reached.
    on_ipv6: bool,
    lookup_every: Duration,
    limits: PacketLimits,
    table: Table,
    contacts: Contacts,
    pending: Pending,
    lookup: Option<Lookup>,
    lookup_at: Instant,
    revalidate_at: Instant,
    drops: Drops,
    rng: StdRng,
}

impl Discv4 {
    pub(crate) fn new(
        key: NodeKey,
        record: &LocalRecord,
        seeds: Vec<Seed>,
        on_ipv6: bool,
        bounds: &Bounds,
        randomness: u64,
        now: Now,
    ) -> Self {
        let limits = PacketLimits::new(
            bounds.packets_per_sender_per_second,
            bounds.packets_per_second,
            now.at,
        );
        Self {
            table: Table::new(&key.id()),
            record: record.rlp(),
            record_seq: record.seq(),
            endpoint: record.endpoint(),
            seeds: seeds
                .into_iter()
                .filter(|seed| seed.id != key.id() && seed.addr.is_ipv6() == on_ipv6)
                .take(SEEDS_MAX)
                .collect(),
            on_ipv6,
            lookup_every: bounds.lookup_pause(),
            limits,
            contacts: Contacts::default(),
            pending: Pending::default(),
            lookup: None,
            lookup_at: now.at,
            revalidate_at: later(now.at, REVALIDATE_EVERY),
            drops: Drops::default(),
            rng: StdRng::seed_from_u64(randomness),
            key,
        }
    }

    /// Takes one input in and appends what is to be done.
    pub(crate) fn handle(&mut self, now: Now, input: Input<'_>, effects: &mut Vec<Effect>) {
        match input {
            Input::Datagram { from, bytes } => {
                if let Err(reason) = self.datagram(now, from, bytes, effects) {
                    self.drops.count(reason);
                }
            }
            Input::Record(record) => {
                self.record = record.rlp();
                self.record_seq = record.seq();
                self.endpoint = record.endpoint();
            }
            Input::Wakeup => {}
        }
        self.expire(now);
        self.fetch_records(now, effects);
        self.revalidate(now, effects);
        self.advance_lookup(now, effects);
    }

    /// When the core wants to be woken next.
    pub(crate) fn next_wakeup(&self) -> Instant {
        let lookup = match &self.lookup {
            Some(lookup) => lookup.wakes_at(),
            None => Some(self.lookup_at),
        };
        [lookup, self.pending.next_deadline(), self.contacts.next_due()]
            .into_iter()
            .flatten()
            .fold(self.revalidate_at, Instant::min)
    }

    pub(crate) fn table_nodes(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn drops(&self) -> &Drops {
        &self.drops
    }

    #[cfg(test)]
    pub(crate) fn table_ids(&self) -> Vec<PeerId> {
        self.table.nodes().map(|node| node.id).collect()
    }

    /// Ends the waits that were in vain.
    fn expire(&mut self, now: Now) {
        for (id, awaited) in self.pending.take_expired(now.at) {
            match awaited {
                Awaited::Pong { .. } => {
                    self.table.missed(&id);
                    self.leg_failed(&id);
                }
                Awaited::Neighbors { nodes, answered: true, from } => {
                    self.leg_done(now, &id, from, &nodes);
                }
                Awaited::Neighbors { answered: false, .. } => self.leg_failed(&id),
                Awaited::Record { .. } => self.contacts.record_failed(&id, now.at),
            }
        }
    }

    /// Asks for the records that are due, as far as answers may be waited for.
    fn fetch_records(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((id, addr)) = self.contacts.pop_due(now.at) {
            let packet = Packet::RecordRequest { expiration: expiration(now) };
            let (bytes, hash) = wire::encode(&self.key, &packet);
            let awaited = Awaited::Record { hash };
            if self.pending.add(id, addr, awaited, later(now.at, REPLY_WAIT)) {
                effects.push(Effect::Send { to: addr, bytes });
            } else {
                self.contacts.record_failed(&id, now.at);
            }
        }
    }

    fn revalidate(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if now.at < self.revalidate_at {
            return;
        }
        self.revalidate_at = later(now.at, REVALIDATE_EVERY);
        if let Some(node) = self.table.stalest()
            && now.at.saturating_duration_since(node.seen_at) >= FRESH
        {
            self.ping(now, Seed { id: node.id, addr: node.addr, tcp: node.tcp }, false, effects);
        }
    }

    /// Pings a node, unless its answer is awaited already or too many are. A stranger is one that
    /// pinged first: those have waits of their own, so that strangers cannot use ours up.
    fn ping(&mut self, now: Now, node: Seed, stranger: bool, effects: &mut Vec<Effect>) -> bool {
        if self.pending.awaits_pong(&node.id, node.addr) {
            return true;
        }
        let packet = Packet::Ping {
            from: self.endpoint,
            to: Endpoint::of(node.addr, node.tcp),
            expiration: expiration(now),
            record_seq: Some(self.record_seq),
        };
        let (bytes, hash) = wire::encode(&self.key, &packet);
        let awaited = Awaited::Pong { hash, tcp: node.tcp, stranger };
        let added = self.pending.add(node.id, node.addr, awaited, later(now.at, REPLY_WAIT));
        if added {
            effects.push(Effect::Send { to: node.addr, bytes });
        }
        added
    }

    fn find_node(
        &mut self,
        now: Now,
        id: PeerId,
        addr: SocketAddr,
        target: B512,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let packet = Packet::FindNode { target, expiration: expiration(now) };
        let (bytes, _) = wire::encode(&self.key, &packet);
        let awaited = Awaited::Neighbors { nodes: Vec::new(), answered: false, from: addr.ip() };
        let added = self.pending.add(id, addr, awaited, later(now.at, REPLY_WAIT));
        if added {
            effects.push(Effect::Send { to: addr, bytes });
        }
        added
    }

    fn random_target(&mut self) -> B512 {
        let mut target = B512::ZERO;
        self.rng.fill_bytes(target.as_mut_slice());
        target
    }

    fn answer(&self, to: SocketAddr, packet: &Packet, effects: &mut Vec<Effect>) -> B256 {
        let (bytes, hash) = wire::encode(&self.key, packet);
        effects.push(Effect::Send { to, bytes });
        hash
    }

    fn note_answered(&mut self, id: PeerId, addr: SocketAddr, tcp: u16, at: Instant) {
        self.table.answered(Node::new(id, addr, tcp, at));
    }

    fn check_pending(&self, id: &PeerId, query: Query, from: SocketAddr) -> Result<(), DropReason> {
        if self.pending.awaits(id, query, from) { Ok(()) } else { Err(DropReason::Unsolicited) }
    }
}

/// When a packet sent now goes bad.
fn expiration(now: Now) -> u64 {
    now.unix_s.saturating_add(EXPIRATION_S)
}

/// A moment later, or the same one where clocks end.
fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}
