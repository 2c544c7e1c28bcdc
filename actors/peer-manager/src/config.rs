//! What the operator decides, and what is remembered of earlier.

use std::collections::BTreeSet;

use moorline_messages::{NodeRecord, PeerBookReport, PeerCommand, PeerId};

/// Most static peers that orders may add up to.
pub(crate) const STATIC_PEERS_MAX: usize = 1_024;
/// Most trusted peers that orders may add up to.
const TRUSTED_PEERS_MAX: usize = 1_024;

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

impl PeerManagerConfig {
    /// Everybody whom the operator names.
    pub(crate) fn named(&self) -> impl Iterator<Item = PeerId> {
        let dialled = self.static_peers.iter().map(|node| node.id);
        dialled.chain(self.trusted_peers.iter().copied())
    }

    /// What the operator decides now. Says whether there is room for it.
    pub(crate) fn apply(&mut self, command: PeerCommand) -> bool {
        match command {
            PeerCommand::Add { node } => {
                if let Some(known) = self.static_peers.iter_mut().find(|known| known.id == node.id)
                {
                    *known = node;
                    return true;
                }
                let has_room = self.static_peers.len() < STATIC_PEERS_MAX;
                if has_room {
                    self.static_peers.push(node);
                }
                return has_room;
            }
            PeerCommand::Remove { peer } => self.static_peers.retain(|known| known.id != peer),
            PeerCommand::Trust { peer } => {
                let has_room = self.trusted_peers.contains(&peer)
                    || self.trusted_peers.len() < TRUSTED_PEERS_MAX;
                if has_room {
                    self.trusted_peers.insert(peer);
                }
                return has_room;
            }
            PeerCommand::Distrust { peer } => {
                self.trusted_peers.remove(&peer);
            }
        }
        true
    }
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
