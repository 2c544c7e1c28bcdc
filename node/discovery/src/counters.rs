//! What discovery counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Refusal, Via};

/// Why a datagram of discv4 was not acted upon. None is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Longer than 1,280 bytes, or too short to be one.
    Size,
    /// The hash in front is not that of what follows: damage, or another protocol.
    Foreign,
    /// Nobody signed it.
    Signature,
    /// Its content is not the RLP it should be, or of no known type.
    Malformed,
    /// It is older than it says it may become.
    Expired,
    /// It answers nothing that was asked, at that address.
    Unsolicited,
    /// It asks for something before its sender has proved where it is.
    Unproven,
    /// Its sender, or all senders together, send more than is looked at.
    Rate,
    /// It comes from an address that cannot be one, or from ourselves.
    Address,
    /// The record in it is not valid or is another node's.
    Record,
    /// As many strangers wait to prove themselves as may.
    Busy,
}

/// How often what was dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(BTreeMap<DropReason, u64>);

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        bump(&mut self.0, reason);
    }

    pub(crate) fn all(&self) -> &BTreeMap<DropReason, u64> {
        &self.0
    }
}

/// What discovery did since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryCounters {
    /// Nodes in the table of discv4.
    pub discv4_table_nodes: usize,
    /// Nodes in the table of discv5.
    pub discv5_table_nodes: usize,
    /// Datagrams that were taken for discv4.
    pub discv4_packets_in: u64,
    /// Datagrams that discv4 sent.
    pub discv4_packets_out: u64,
    /// Datagrams of discv4 that were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Texts that were fetched from DNS.
    pub dns_requests: u64,
    /// Texts from DNS that were missing or not what their tree says.
    pub dns_failures: u64,
    /// Nodes handed on, by how they were found.
    pub candidates: BTreeMap<Via, u64>,
    /// Nodes found and not handed on, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

/// The counters, where every task can reach them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCounters(Arc<Mutex<DiscoveryCounters>>);

impl SharedCounters {
    pub(crate) fn lock(&self) -> MutexGuard<'_, DiscoveryCounters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn bump<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}
