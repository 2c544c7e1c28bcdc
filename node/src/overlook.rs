//! What the operator is told of the node and its peers.

use std::net::SocketAddr;

use alloy_primitives::B256;
use moorline_discovery::DiscoveryView;
use moorline_messages::{NodeRecord, PeersReport};
use moorline_rpc::{NodeFacts, Overview, PeerLimits};
use tokio::sync::watch;

use crate::{node::client_version, observe::Observed};

/// Everything that `admin_nodeInfo` and `admin_peers` are made of.
#[derive(Debug)]
pub(crate) struct Overlook {
    pub(crate) watched: watch::Receiver<Observed>,
    pub(crate) discovery: Option<(SocketAddr, DiscoveryView)>,
    pub(crate) record: NodeRecord,
    pub(crate) listening: bool,
    pub(crate) network_id: u64,
    pub(crate) genesis: B256,
    pub(crate) limits: PeerLimits,
}

impl Overview for Overlook {
    fn peers(&self) -> PeersReport {
        self.watched.borrow().peers_now(moorline_kit::now())
    }

    fn node(&self) -> NodeFacts {
        let discovery = self.discovery.as_ref();
        let head = self.watched.borrow().tree.as_ref().map_or(self.genesis, |tree| tree.tip.hash);
        NodeFacts {
            name: client_version(),
            record: self.record,
            listening: self.listening,
            enode: discovery.map_or_else(|| self.record.to_string(), |(_, view)| view.enode()),
            enr: discovery.map(|(_, view)| view.enr()),
            discovery_port: discovery.map(|(addr, _)| addr.port()),
            network_id: self.network_id,
            genesis: self.genesis,
            head,
            limits: self.limits,
        }
    }
}
