//! Several peers over one chain.

use std::{io, sync::Arc};

use alloy_primitives::keccak256;
use moorline_messages::NodeRecord;
use moorline_rules::ChainSpec;

use crate::{Behaviour, Chain, Pace, Peer, PeerConfig};

/// Peers that serve the same chain. Dropping it stops them.
#[derive(Debug)]
pub struct Devnet {
    peers: Vec<Peer>,
}

impl Devnet {
    /// Starts one peer for each behaviour and pace, in this order. The same place in the order
    /// always has the same node id.
    pub async fn start(
        chain: Arc<dyn Chain>,
        spec: Arc<ChainSpec>,
        mix: impl IntoIterator<Item = (Behaviour, impl Into<Pace>)>,
    ) -> io::Result<Self> {
        Self::start_at(0, chain, spec, mix).await
    }

    /// The same, on consecutive ports from one on; 0 takes free ones.
    pub async fn start_at(
        port: u16,
        chain: Arc<dyn Chain>,
        spec: Arc<ChainSpec>,
        mix: impl IntoIterator<Item = (Behaviour, impl Into<Pace>)>,
    ) -> io::Result<Self> {
        let mut ports = (port..=u16::MAX).filter(|_| port > 0);
        let mut peers = Vec::new();
        for (place, (behaviour, pace)) in mix.into_iter().enumerate() {
            let key = keccak256(format!("moorline devnet peer {place}")).0;
            let config = PeerConfig::new(Arc::clone(&chain), Arc::clone(&spec));
            let port = ports.next().unwrap_or(0);
            let config = PeerConfig { behaviour, pace: pace.into(), key, port, ..config };
            peers.push(Peer::start(config).await?);
        }
        Ok(Self { peers })
    }

    /// The peers, in the order in which they were asked for.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Where to dial them, in the same order.
    pub fn records(&self) -> Vec<NodeRecord> {
        self.peers.iter().map(Peer::record).collect()
    }

    /// Stops all of them; their counters stay readable.
    pub fn stop(&self) {
        self.peers.iter().for_each(Peer::stop);
    }
}
