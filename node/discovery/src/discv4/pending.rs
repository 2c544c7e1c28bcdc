//! What was asked and is not answered yet. An answer that nobody awaits is dropped.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use alloy_primitives::B256;
use moorline_messages::PeerId;

use super::wire::Neighbor;

/// Most answers that are awaited from nodes we chose to ask.
pub(crate) const AWAITED_MAX: usize = 256;
/// Most pongs that are awaited from nodes that pinged us first.
pub(crate) const AWAITED_FROM_STRANGERS_MAX: usize = 256;

/// What was asked of a node. One of each may be open with one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Query {
    Ping,
    FindNode,
    Record,
}

/// What is needed to take the answer.
#[derive(Clone, Debug)]
pub(crate) enum Awaited {
    /// A pong that names the hash of our ping.
    Pong { hash: B256, tcp: u16, stranger: bool },
    /// Neighbours, in one packet or more.
    Neighbors { nodes: Vec<Neighbor>, answered: bool, from: IpAddr },
    /// A record, with the hash of our request.
    Record { hash: B256 },
}

impl Awaited {
    fn query(&self) -> Query {
        match self {
            Self::Pong { .. } => Query::Ping,
            Self::Neighbors { .. } => Query::FindNode,
            Self::Record { .. } => Query::Record,
        }
    }

    fn is_of_stranger(&self) -> bool {
        matches!(self, Self::Pong { stranger: true, .. })
    }
}

#[derive(Debug)]
struct Wait {
    addr: SocketAddr,
    deadline: Instant,
    awaited: Awaited,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    waits: BTreeMap<(PeerId, Query), Wait>,
}

impl Pending {
    /// Notes a question. False, and nothing noted, where as many are open as there may be.
    pub(crate) fn add(
        &mut self,
        id: PeerId,
        addr: SocketAddr,
        awaited: Awaited,
        deadline: Instant,
    ) -> bool {
        let of_stranger = awaited.is_of_stranger();
        let alike = |wait: &&Wait| wait.awaited.is_of_stranger() == of_stranger;
        let limit = if of_stranger { AWAITED_FROM_STRANGERS_MAX } else { AWAITED_MAX };
        let key = (id, awaited.query());
        if self.waits.values().filter(alike).count() >= limit && !self.waits.contains_key(&key) {
            return false;
        }
        self.waits.insert(key, Wait { addr, deadline, awaited });
        true
    }

    pub(crate) fn awaits(&self, id: &PeerId, query: Query, from: SocketAddr) -> bool {
        self.waits.get(&(*id, query)).is_some_and(|wait| wait.addr == from)
    }

    pub(crate) fn awaits_pong(&self, id: &PeerId, from: SocketAddr) -> bool {
        self.awaits(id, Query::Ping, from)
    }

    pub(crate) fn get_mut(&mut self, id: &PeerId, query: Query) -> Option<&mut Awaited> {
        self.waits.get_mut(&(*id, query)).map(|wait| &mut wait.awaited)
    }

    pub(crate) fn take(&mut self, id: &PeerId, query: Query) -> Option<Awaited> {
        self.waits.remove(&(*id, query)).map(|wait| wait.awaited)
    }

    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(PeerId, Awaited)> {
        let over = self.waits.extract_if(.., |_, wait| wait.deadline <= now);
        over.map(|((id, _), wait)| (id, wait.awaited)).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waits.values().map(|wait| wait.deadline).min()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }
}
