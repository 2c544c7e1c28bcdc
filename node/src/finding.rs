//! Looking for nodes: discovery, and its way to the peer manager.

use std::net::{IpAddr, SocketAddr};

use alloy_eip2124::ForkFilter;
use moorline_discovery::{
    Bootnode, Candidate, Discovery, DiscoveryConfig, DiscoveryError, DiscoveryHandle,
    DiscoveryView, Mechanisms, Via,
};
use moorline_kit::Port;
use moorline_messages::{DiscoveryEvent, PeerOrigin};
use tokio::sync::{mpsc, watch};

/// How nodes are looked for.
#[derive(Clone, Debug)]
pub struct DiscoverySetup {
    /// The address of the UDP socket.
    pub addr: IpAddr,
    /// Its port; `None` is that of TCP, or a free one where nothing listens on TCP.
    pub port: Option<u16>,
    /// Where others see us, if the operator knows.
    pub external_ip: Option<IpAddr>,
    /// Nodes to begin with.
    pub bootnodes: Vec<Bootnode>,
    /// Lists as `enrtree://<key>@<domain>`.
    pub dns_trees: Vec<String>,
    /// Which ways are gone.
    pub mechanisms: Mechanisms,
}

/// A discovery that runs.
#[derive(Debug)]
pub(crate) struct Finding(DiscoveryHandle);

impl Finding {
    /// Looks for nodes of this fork, and hands them on as fast as they are taken. `tcp_port` is where
    /// others may connect, 0 for nowhere.
    pub(crate) async fn start(
        setup: DiscoverySetup,
        node_key: [u8; 32],
        tcp_port: u16,
        forks: watch::Receiver<ForkFilter>,
        found: Port<DiscoveryEvent>,
    ) -> Result<Self, DiscoveryError> {
        let listen = SocketAddr::new(setup.addr, setup.port.unwrap_or(tcp_port));
        let config = DiscoveryConfig {
            external_ip: setup.external_ip,
            bootnodes: setup.bootnodes,
            dns_trees: setup.dns_trees,
            mechanisms: setup.mechanisms,
            ..DiscoveryConfig::new(node_key, listen, tcp_port, forks)
        };
        let started = match Discovery::start(config.clone()).await {
            // the other ways do without a resolver
            Err(error @ DiscoveryError::Resolver(_)) => {
                tracing::warn!(%error, "the DNS lists of nodes are not read");
                let dns_trees = Vec::new();
                Discovery::start(DiscoveryConfig { dns_trees, ..config }).await
            }
            started => started,
        };
        let mut handle = started?;
        tokio::spawn(hand_on(handle.take_candidates(), found));
        Ok(Self(handle))
    }

    pub(crate) fn view(&self) -> DiscoveryView {
        self.0.view()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    pub(crate) async fn stop(self) {
        self.0.shutdown().await;
    }
}

/// Candidates wait for the peer manager, and discovery for them.
async fn hand_on(mut candidates: mpsc::Receiver<Candidate>, to: Port<DiscoveryEvent>) {
    while let Some(candidate) = candidates.recv().await {
        let origin = match candidate.via {
            Via::Discv4 => PeerOrigin::Discv4,
            Via::Discv5 => PeerOrigin::Discv5,
            Via::Dns => PeerOrigin::Dns,
        };
        let event = DiscoveryEvent::Found { node: candidate.record, origin };
        if to.send(event).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use alloy_primitives::B512;
    use moorline_kit::Limit;
    use moorline_messages::{NodeRecord, PeerId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn candidates_wait_while_the_peer_manager_has_no_room_and_none_is_lost() {
        let (queue, candidates) = mpsc::channel(2);
        let (port, mut inbox) = Port::channel("nodes found", Limit::new(1, 1));
        let handing = tokio::spawn(hand_on(candidates, port));
        let record = |byte| {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 30_303));
            NodeRecord { id: PeerId(B512::repeat_byte(byte)), addr }
        };
        // one in the port, one on its way, two in the queue
        for byte in 1..=4 {
            queue.send(Candidate { record: record(byte), via: Via::Dns }).await.unwrap();
        }
        let fifth = Candidate { record: record(5), via: Via::Discv4 };
        let wait = Duration::from_secs(60);
        assert!(tokio::time::timeout(wait, queue.send(fifth)).await.is_err(), "all is full");
        for byte in 1..=4 {
            let expected = DiscoveryEvent::Found { node: record(byte), origin: PeerOrigin::Dns };
            assert_eq!(inbox.next().await, Some(expected));
        }
        drop(queue);
        handing.await.unwrap();
        assert_eq!(inbox.next().await, None);
    }
}
