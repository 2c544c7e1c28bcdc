//! What the operator decides.

use moorline_messages::NodeRecord;

/// Configuration of a [`PeerManagerActor`](crate::PeerManagerActor).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerManagerConfig {
    /// Peers that are dialled, and dialled again for ever. They count towards neither of the bounds
    /// below, and are forgiven sooner than others.
    pub static_peers: Vec<NodeRecord>,
    /// Most sessions with other peers.
    pub peers_max: usize,
    /// Most of those that the peer opened.
    pub inbound_max: usize,
}

impl Default for PeerManagerConfig {
    /// 50 sessions, of which the peers may open 30; nobody to dial.
    fn default() -> Self {
        Self { static_peers: Vec::new(), peers_max: 50, inbound_max: 30 }
    }
}
