//! Who is handed on: nodes of our chain and fork, each once in a while, and not too many at once.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use alloy_eip2124::ForkFilter;
use moorline_messages::{NodeRecord, PeerId, Subnet};
use tokio::sync::{mpsc, watch};

use crate::{
    Bounds,
    counters::{SharedCounters, bump},
    limits::Allowance,
    net::{is_inside, is_loopback, is_usable, may_relay},
    record::SignedRecord,
};

/// Nodes that are remembered as handed on.
pub(crate) const REMEMBERED_MAX: usize = 8_192;
/// Nodes of one /24 or /48 that are handed on while they are remembered.
pub(crate) const SUBNET_CANDIDATES_MAX: usize = 10;

/// How a node was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// By discv4.
    Discv4,
    /// By discv5.
    Discv5,
    /// In a DNS list.
    Dns,
}

/// A node that says it is on our chain and fork, and has not been named lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who and where.
    pub record: NodeRecord,
    /// How it was found.
    pub via: Via,
}

/// Why a node that was found is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its record has no `eth` entry: a consensus node, a light one, or none at all.
    NoForkId,
    /// It is on another chain, or on a fork that does not go with ours (EIP-2124).
    OtherFork,
    /// Its record names no address for TCP, or one that cannot or may not be dialled.
    NoAddress,
    /// It was handed on lately.
    Repeated,
    /// Its neighbourhood had its share lately.
    Crowded,
    /// More are found than are handed on in a second.
    Rate,
    /// Nobody takes them.
    Full,
}

#[derive(Debug)]
pub(crate) struct Gate {
    forks: watch::Receiver<ForkFilter>,
    local: PeerId,
    bounds: Bounds,
    /// Our own address, where it is known: nobody may point from outside into a local network.
    own_ip: Option<IpAddr>,
    told: BTreeMap<PeerId, IpAddr>,
    /// The same in the order in which they were told.
    order: VecDeque<(Instant, PeerId)>,
    allowance: Allowance,
    out: mpsc::Sender<Candidate>,
    counters: SharedCounters,
}

impl Gate {
    pub(crate) fn new(
        forks: watch::Receiver<ForkFilter>,
        local: PeerId,
        own_ip: Option<IpAddr>,
        bounds: Bounds,
        counters: SharedCounters,
        now: Instant,
    ) -> (Self, mpsc::Receiver<Candidate>) {
        let (out, candidates) = mpsc::channel(bounds.candidates_queued.max(1));
        let gate = Self {
            forks,
            local,
            own_ip,
            told: BTreeMap::new(),
            order: VecDeque::new(),
            allowance: Allowance::new(bounds.candidates_per_second, now),
            bounds,
            out,
            counters,
        };
        (gate, candidates)
    }

    /// Hands a node on if it may be. `seen_at` is where it answered, which counts for more than
    /// what its record says.
    pub(crate) fn offer(
        &mut self,
        record: &SignedRecord,
        seen_at: Option<IpAddr>,
        via: Via,
        now: Instant,
    ) {
        if record.id() == self.local {
            return;
        }
        let judged = self.judge(record, seen_at, via, now);
        let mut counters = self.counters.lock();
        match judged {
            Ok(()) => bump(&mut counters.candidates, via),
            Err(refusal) => bump(&mut counters.refused, refusal),
        }
    }

    /// Takes over the address that others see us at. They may shut us out of local networks, and let
    /// us into none: what is inside is not theirs to say.
    pub(crate) fn seen_from_outside_at(&mut self, ip: IpAddr) {
        if !is_inside(ip) {
            self.own_ip = Some(ip);
        }
    }

    /// Whether somebody could take another node now.
    pub(crate) fn has_room(&self) -> bool {
        self.out.capacity() > 0
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.told.len()
    }

    fn judge(
        &mut self,
        record: &SignedRecord,
        seen_at: Option<IpAddr>,
        via: Via,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.forget(now);
        let fork_id = record.fork_id().ok_or(Refusal::NoForkId)?;
        self.forks.borrow().validate(fork_id).map_err(|_| Refusal::OtherFork)?;
        let addr = self.address_of(record, seen_at).ok_or(Refusal::NoAddress)?;
        if self.told.contains_key(&record.id()) {
            return Err(Refusal::Repeated);
        }
        if !self.shares_our_loopback(addr.ip())
            && self.neighbours(addr.ip()) >= SUBNET_CANDIDATES_MAX
        {
            return Err(Refusal::Crowded);
        }
        if !self.allowance.take(now) {
            return Err(Refusal::Rate);
        }
        let record = NodeRecord { id: record.id(), addr };
        self.out.try_send(Candidate { record, via }).map_err(|_| Refusal::Full)?;
        self.told.insert(record.id, record.addr.ip());
        self.order.push_back((now, record.id));
        Ok(())
    }

    fn address_of(&self, record: &SignedRecord, seen_at: Option<IpAddr>) -> Option<SocketAddr> {
        let addr = match seen_at {
            Some(ip) => SocketAddr::new(ip, record.tcp_port(ip)?),
            None => record.tcp_addr()?,
        };
        let may_be_dialled = match self.own_ip {
            Some(own) => may_relay(own, addr.ip()),
            // who answered from inside is inside; a record alone may say anything
            None => seen_at.is_some() || !is_inside(addr.ip()),
        };
        (may_be_dialled && is_usable(addr)).then_some(addr)
    }

    /// Nodes of a test network all share one address.
    fn shares_our_loopback(&self, ip: IpAddr) -> bool {
        is_loopback(ip) && self.own_ip.is_some_and(is_loopback)
    }

    fn neighbours(&self, ip: IpAddr) -> usize {
        let subnet = Subnet::of(ip);
        self.told.values().filter(|told| Subnet::of(**told) == subnet).count()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, id)) = self.order.front() {
            let over = now.saturating_duration_since(*at) >= self.bounds.repeat_after;
            if !over && self.told.len() < REMEMBERED_MAX {
                return;
            }
            self.told.remove(id);
            self.order.pop_front();
        }
    }
}
