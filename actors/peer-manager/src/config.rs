//! What the operator decides, and what is remembered of earlier.

use std::collections::BTreeSet;

use moorline_messages::{NodeRecord, PeerBookReport, PeerId};

/// Configuration of a [`PeerManagerActor`](crate::PeerManagerActor).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerManagerConfig {
    /// Peers that are dialled, and dialled again for ever. They count towards neither of the bounds
    /// below, and are forgiven sooner than others.
    pub static_peers: Vec<NodeRecord>,
    /// Peers that are let in whenever they come. The same holds for them.
    pub trusted_peers: BTreeSet<PeerId>,
    /// Most sessions with other peers.
    pub peers_max: usize,
    /// Most of those that the peer opened.
    pub inbound_max: usize,
    /// What an earlier peer manager wanted to know again.
    pub book: PeerBookReport,
}

impl Default for PeerManagerConfig {
    /// 50 sessions, of which the peers may open 30; nobody to dial.
    fn default() -> Self {
        Self {
            static_peers: Vec::new(),
            trusted_peers: BTreeSet::new(),
            peers_max: 50,
            inbound_max: 30,
            book: PeerBookReport::default(),
        }
    }
}
