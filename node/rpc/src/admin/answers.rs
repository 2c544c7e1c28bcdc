//! What the `admin` methods answer: geth's shapes, and under the key `moorline` what others do not tell.

use std::net::{IpAddr, SocketAddr};

use alloy_primitives::{B256, hex, keccak256};
use moorline_messages::{
    AnnouncedRange, Direction, NodeRecord, PeerCounts, PeerId, PeerOrigin, PeerPace, PeerSummary,
    PeersReport,
};
use serde::{Deserialize, Serialize};

use super::NodeFacts;

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminPeer {
    /// Its address as it came, or as it was dialled.
    pub enode: NodeRecord,
    /// The hash of its public key, in hex, as geth names nodes.
    pub id: String,
    /// What it calls itself. Untrusted text.
    pub name: String,
    /// What is spoken with it, as in `eth/69`.
    pub caps: Vec<String>,
    /// Where it is.
    pub network: PeerNetwork,
    /// What it says of its chain.
    pub protocols: PeerProtocols,
    /// What we know of it.
    pub moorline: PeerDetail,
}

/// Where a peer is, and why it is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerNetwork {
    /// From where.
    pub remote_address: SocketAddr,
    /// Whether it dialled us.
    pub inbound: bool,
    /// Whether the operator lets it in whenever it comes.
    pub trusted: bool,
    /// Whether the operator has it dialled.
    #[serde(rename = "static")]
    pub is_static: bool,
}

/// The protocols spoken with a peer, of which there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProtocols {
    /// `eth`.
    pub eth: PeerEth,
}

/// What a peer says of its chain. Below eth/69 it says of no range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerEth {
    /// The version in use.
    pub version: u8,
    /// The lowest block that it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earliest_block: Option<u64>,
    /// The highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_block: Option<u64>,
    /// Its hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_block_hash: Option<B256>,
}

/// How a peer does, as [`PeerSummary`] has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerDetail {
    /// Why it is here.
    pub origin: PeerOrigin,
    /// For how long.
    pub connected_seconds: u64,
    /// What it is chosen by; less is better.
    pub score_ms: Option<u64>,
    /// Its usual time to answer.
    pub delay_ms: Option<u64>,
    /// How it does headers.
    pub headers: Option<Pace>,
    /// How it does bodies.
    pub bodies: Option<Pace>,
    /// How it does receipts.
    pub receipts: Option<Pace>,
    /// Late and wrong answers.
    pub faults: u64,
    /// Requests that are out.
    pub in_flight: u64,
    /// Items it sent.
    pub served_items: u64,
    /// Bytes it sent.
    pub served_bytes: u64,
    /// Bytes a second lately.
    pub bytes_per_second: u64,
}

/// How a peer does one kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Its usual time to answer.
    pub delay_ms: u64,
    /// Items a second once it has begun.
    pub items_per_second: u64,
    /// Items it sent.
    pub served_items: u64,
}

impl Pace {
    const fn of(pace: PeerPace) -> Self {
        Self {
            delay_ms: pace.delay_ms,
            items_per_second: pace.items_per_s,
            served_items: pace.served_items,
        }
    }
}

impl AdminPeer {
    pub(super) fn of(peer: PeerSummary) -> Self {
        let range: Option<AnnouncedRange> = peer.range;
        Self {
            enode: NodeRecord { id: peer.id, addr: peer.addr },
            id: name_of(&peer.id),
            name: peer.client,
            caps: vec![format!("eth/{}", peer.eth_version)],
            network: PeerNetwork {
                remote_address: peer.addr,
                inbound: peer.direction == Direction::Inbound,
                trusted: peer.origin == PeerOrigin::Trusted,
                is_static: peer.origin == PeerOrigin::Static,
            },
            protocols: PeerProtocols {
                eth: PeerEth {
                    version: peer.eth_version,
                    earliest_block: range.map(|range| range.earliest),
                    latest_block: range.map(|range| range.latest),
                    latest_block_hash: range.map(|range| range.latest_hash),
                },
            },
            moorline: PeerDetail {
                origin: peer.origin,
                connected_seconds: peer.connected_s,
                score_ms: peer.score_ms,
                delay_ms: peer.delay_ms,
                headers: peer.headers.map(Pace::of),
                bodies: peer.bodies.map(Pace::of),
                receipts: peer.receipts.map(Pace::of),
                faults: peer.faults,
                in_flight: peer.in_flight,
                served_items: peer.served_items,
                served_bytes: peer.served_bytes,
                bytes_per_second: peer.bytes_per_s,
            },
        }
    }
}

/// This node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// The hash of its public key, in hex.
    pub id: String,
    /// What it calls itself.
    pub name: String,
    /// Where it can be reached.
    pub enode: String,
    /// Its signed record, where discovery runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enr: Option<String>,
    /// The address in its enode.
    pub ip: String,
    /// Where it listens.
    pub ports: NodePorts,
    /// The same with the address it listens on, 127.0.0.1 standing for all.
    pub listen_addr: String,
    /// What it speaks.
    pub protocols: NodeProtocols,
    /// How many peers it has, and looks for.
    pub moorline: NodePeers,
}

/// Where a node listens; 0 for nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePorts {
    /// By UDP.
    pub discovery: u16,
    /// By TCP.
    pub listener: u16,
}

/// The protocols a node speaks, of which there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProtocols {
    /// `eth`.
    pub eth: NodeEth,
}

/// What a node says of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEth {
    /// The network's id.
    pub network: u64,
    /// The genesis block.
    pub genesis: B256,
    /// The highest block that is here.
    pub head: B256,
}

/// What the peer manager is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePeers {
    /// Most sessions, those with peers that the operator named aside.
    pub peers_max: u64,
    /// Of those, how many the peers may open.
    pub inbound_max: u64,
    /// Dials under way.
    pub dialling: u64,
    /// Nodes that were found and are not connected.
    pub candidates: u64,
    /// Peers that are banned now.
    pub banned: u64,
    /// Requests that wait for a peer.
    pub queued: u64,
    /// Dials so far.
    pub dials: u64,
    /// Those that came to nothing.
    pub dial_failures: u64,
    /// Sessions that were not welcome.
    pub refused: u64,
    /// Answers that did not come in time.
    pub timeouts: u64,
    /// Bans so far.
    pub bans: u64,
}

fn ip_of(enode: &str) -> Option<IpAddr> {
    enode.parse::<NodeRecord>().ok().map(|record| record.addr.ip())
}

impl NodeInfo {
    pub(super) fn of(facts: NodeFacts, report: &PeersReport) -> Self {
        let PeerCounts { dials, dial_failures, refused, timeouts, bans } = report.counts;
        let listener = if facts.listening { facts.record.addr.port() } else { 0 };
        Self {
            id: name_of(&facts.record.id),
            name: facts.name,
            ip: ip_of(&facts.enode).unwrap_or(facts.record.addr.ip()).to_string(),
            enode: facts.enode,
            enr: facts.enr,
            ports: NodePorts { discovery: facts.discovery_port.unwrap_or(0), listener },
            listen_addr: facts.record.addr.to_string(),
            protocols: NodeProtocols {
                eth: NodeEth {
                    network: facts.network_id,
                    genesis: facts.genesis,
                    head: facts.head,
                },
            },
            moorline: NodePeers {
                peers_max: facts.limits.peers_max as u64,
                inbound_max: facts.limits.inbound_max as u64,
                dialling: report.dialling,
                candidates: report.candidates,
                banned: report.banned,
                queued: report.queued,
                dials,
                dial_failures,
                refused,
                timeouts,
                bans,
            },
        }
    }
}

fn name_of(id: &PeerId) -> String {
    hex::encode(keccak256(id.0))
}
