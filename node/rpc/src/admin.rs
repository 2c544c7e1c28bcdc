//! The `admin` methods, as geth has them, and `net_listening`.

mod answers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObjectOwned, Params},
};
use moorline_kit::Port;
use moorline_messages::{NodeRecord, PeerCommand, PeersReport};

pub use self::answers::{AdminPeer, NodeInfo, NodePeers, PeerDetail};
use crate::errors::{internal, invalid_params};

/// What does not change while the node runs, and what it says of itself to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// What it calls itself.
    pub name: String,
    /// Where it can be reached.
    pub record: NodeRecord,
    /// Whether it takes connections there.
    pub listening: bool,
    /// Its `enode://` address, and its signed record where discovery runs.
    pub enode: String,
    /// `enr:` and base64.
    pub enr: Option<String>,
    /// The UDP port of discovery.
    pub discovery_port: Option<u16>,
    /// The network's id.
    pub network_id: u64,
    /// The genesis block.
    pub genesis: alloy_primitives::B256,
    /// The highest block that is here.
    pub head: alloy_primitives::B256,
    /// How many sessions there may be.
    pub limits: PeerLimits,
}

/// How many sessions there may be, those with peers that the operator named aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLimits {
    /// Altogether.
    pub peers_max: usize,
    /// Of those, how many the peers may open.
    pub inbound_max: usize,
}

/// Whoever knows what the node and its peers are like now.
pub trait Overview: Send + Sync {
    /// The peers, as last reported.
    fn peers(&self) -> PeersReport;

    /// The node.
    fn node(&self) -> NodeFacts;
}

/// What the methods need.
#[derive(Clone)]
pub struct AdminPorts {
    /// To the peer manager.
    pub commands: Port<PeerCommand>,
    /// Of whom they tell.
    pub overview: Arc<dyn Overview>,
}

impl std::fmt::Debug for AdminPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminPorts").field("commands", &self.commands).finish_non_exhaustive()
    }
}

/// Makes the methods. Fails only if two methods had the same name.
pub fn admin_module(ports: AdminPorts) -> Result<RpcModule<()>, RegisterMethodError> {
    let mut module = RpcModule::new(ports);
    module.register_method("admin_addPeer", |params, ports, _| {
        order(&params, ports, |node| PeerCommand::Add { node })
    })?;
    module.register_method("admin_removePeer", |params, ports, _| {
        order(&params, ports, |node| PeerCommand::Remove { peer: node.id })
    })?;
    module.register_method("admin_addTrustedPeer", |params, ports, _| {
        order(&params, ports, |node| PeerCommand::Trust { peer: node.id })
    })?;
    module.register_method("admin_removeTrustedPeer", |params, ports, _| {
        order(&params, ports, |node| PeerCommand::Distrust { peer: node.id })
    })?;
    module.register_method("admin_peers", |_, ports, _| {
        let peers: Vec<_> = ports.overview.peers().peers.into_iter().map(AdminPeer::of).collect();
        Ok::<_, ErrorObjectOwned>(peers)
    })?;
    module.register_method("admin_nodeInfo", |_, ports, _| {
        let (facts, peers) = (ports.overview.node(), ports.overview.peers());
        Ok::<_, ErrorObjectOwned>(NodeInfo::of(facts, &peers))
    })?;
    module.register_method("net_listening", |_, ports, _| ports.overview.node().listening)?;
    Ok(module.remove_context())
}

/// Hands an order on. That it was taken says nothing of what comes of it, as with geth.
fn order(
    params: &Params<'_>,
    ports: &AdminPorts,
    command: impl FnOnce(NodeRecord) -> PeerCommand,
) -> Result<bool, ErrorObjectOwned> {
    let (enode,) = params.parse::<(String,)>().map_err(|error| invalid_params(error.message()))?;
    let node: NodeRecord = enode.parse().map_err(invalid_params)?;
    let taken = ports.commands.tell(command(node));
    taken.map(|()| true).map_err(|_| internal("too many orders about peers at once; order again"))
}
