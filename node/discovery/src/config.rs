//! What discovery is started with.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use alloy_eip2124::ForkFilter;
use moorline_messages::{NodeRecord, PeerId};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    discv4::Seed,
    dns::{TreeLink, TxtResolver},
    key::is_key,
    record::SignedRecord,
};

const LOOKUP_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Everything that discovery needs to know.
#[derive(Clone)]
pub struct DiscoveryConfig {
    /// The node's secp256k1 private key, which is also its identity over TCP.
    pub node_key: [u8; 32],
    /// The UDP address of discv4 and discv5. Port 0 takes any that is free.
    pub listen_addr: SocketAddr,
    /// The TCP port that the record names. Where it is 0 the record names none, and nobody dials us.
    pub tcp_port: u16,
    /// The address that the record names. Without one it is that of `listen_addr`, if it is a
    /// particular one, or else the one that discv5 hears from others.
    pub external_ip: Option<IpAddr>,
    /// Nodes to begin with.
    pub bootnodes: Vec<Bootnode>,
    /// DNS lists as `enrtree://<key>@<domain>` (EIP-1459).
    pub dns_trees: Vec<String>,
    /// Who is asked for TXT records; the system's resolvers where it is `None`.
    pub resolver: Option<Arc<dyn TxtResolver>>,
    /// The fork we are on and those that go with it. A change signs the record again.
    pub fork_filter: watch::Receiver<ForkFilter>,
    /// Which ways of finding nodes are used.
    pub mechanisms: Mechanisms,
    /// How much of everything.
    pub bounds: Bounds,
}

impl DiscoveryConfig {
    /// All mechanisms with the usual bounds, and nobody to begin with.
    pub fn new(
        node_key: [u8; 32],
        listen_addr: SocketAddr,
        tcp_port: u16,
        fork_filter: watch::Receiver<ForkFilter>,
    ) -> Self {
        Self {
            node_key,
            listen_addr,
            tcp_port,
            external_ip: None,
            bootnodes: Vec::new(),
            dns_trees: Vec::new(),
            resolver: None,
            fork_filter,
            mechanisms: Mechanisms::default(),
            bounds: Bounds::default(),
        }
    }
}

impl fmt::Debug for DiscoveryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryConfig")
            .field("listen_addr", &self.listen_addr)
            .field("tcp_port", &self.tcp_port)
            .field("external_ip", &self.external_ip)
            .field("bootnodes", &self.bootnodes.len())
            .field("dns_trees", &self.dns_trees)
            .field("mechanisms", &self.mechanisms)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// Which ways of finding nodes are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// discv4.
    pub discv4: bool,
    /// discv5.
    pub discv5: bool,
    /// DNS lists.
    pub dns: bool,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self { discv4: true, discv5: true, dns: true }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Datagrams of one sender that are looked at, per second.
    pub packets_per_sender_per_second: u32,
    /// Datagrams of all senders that are looked at, per second. discv5, which answers with less
    /// work, looks at four times as many.
    pub packets_per_second: u32,
    /// Between the end of one lookup and the start of the next.
    pub lookup_every: Duration,
    /// Nodes handed on per second.
    pub candidates_per_second: u32,
    /// Nodes that wait to be taken.
    pub candidates_queued: usize,
    /// A node is handed on again after this time.
    pub repeat_after: Duration,
    /// DNS requests per second (geth: 3).
    pub dns_requests_per_second: u32,
    /// How often the root of a DNS list is looked at again (geth: 30 minutes).
    pub dns_recheck_every: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            packets_per_sender_per_second: 100,
            packets_per_second: 1_000,
            lookup_every: Duration::from_secs(5),
            candidates_per_second: 20,
            candidates_queued: 256,
            repeat_after: Duration::from_secs(600),
            dns_requests_per_second: 3,
            dns_recheck_every: Duration::from_secs(1_800),
        }
    }
}

impl Bounds {
    /// However the bounds are set, lookups do not follow one another faster than ten a second.
    pub(crate) fn lookup_pause(&self) -> Duration {
        self.lookup_every.max(LOOKUP_PAUSE_MIN)
    }
}

/// A node to begin with: `enode://` or `enr:`.
#[derive(Clone, Debug)]
pub struct Bootnode(Known);

#[derive(Clone, Debug)]
enum Known {
    Enode(Seed),
    Record(Box<SignedRecord>),
}

impl Bootnode {
    /// Who it is.
    pub fn id(&self) -> PeerId {
        match &self.0 {
            Known::Enode(seed) => seed.id,
            Known::Record(record) => record.id(),
        }
    }

    /// How discv4 reaches it.
    pub(crate) fn seed(&self) -> Option<Seed> {
        match &self.0 {
            Known::Enode(seed) => Some(*seed),
            Known::Record(record) if record.is_consensus_node() => None,
            Known::Record(record) => {
                let addr = record.udp_addr()?;
                let tcp = record.tcp_port(addr.ip()).unwrap_or_default();
                Some(Seed { id: record.id(), addr, tcp })
            }
        }
    }

    /// How discv5 reaches it.
    pub(crate) fn record(&self) -> Option<&SignedRecord> {
        match &self.0 {
            Known::Enode(_) => None,
            Known::Record(record) => Some(record),
        }
    }
}

impl fmt::Display for Bootnode {
    /// As it is read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seed { id, addr, tcp } = match &self.0 {
            Known::Enode(seed) => *seed,
            Known::Record(record) => return f.write_str(&record.enr().to_base64()),
        };
        write!(f, "{}", NodeRecord { id, addr: SocketAddr::new(addr.ip(), tcp) })?;
        if addr.port() == tcp { Ok(()) } else { write!(f, "?discport={}", addr.port()) }
    }
}

impl FromStr for Bootnode {
    type Err = BootnodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.starts_with("enr:") {
            let record = SignedRecord::from_text(text).ok_or(BootnodeError::Record)?;
            record.udp_addr().ok_or(BootnodeError::Nowhere)?;
            return Ok(Self(Known::Record(Box::new(record))));
        }
        let node: NodeRecord = text.parse().map_err(|_| BootnodeError::Enode)?;
        if !is_key(&node.id) {
            return Err(BootnodeError::Enode);
        }
        let udp = match text.split_once("?discport=") {
            Some((_, port)) => port.parse().map_err(|_| BootnodeError::Enode)?,
            None => node.addr.port(),
        };
        let addr = SocketAddr::new(node.addr.ip(), udp);
        Ok(Self(Known::Enode(Seed { id: node.id, addr, tcp: node.addr.port() })))
    }
}

/// Why a text names no node. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BootnodeError {
    /// Neither `enr:` nor a sound `enode://<id>@<ip>:<port>[?discport=<port>]`.
    #[error("a bootnode is enr:<base64> or enode://<128 hexadecimal digits>@<ip>:<port>")]
    Enode,
    /// The record does not decode, or its signature is wrong.
    #[error("this record is not valid or not signed by its node")]
    Record,
    /// The record names no address, as that of a node which does not know its own.
    #[error(
        "this record names no address to ask at: its node needs --external-ip, or name its enode"
    )]
    Nowhere,
}

/// Whether a text is `enrtree://<key>@<domain>`.
///
/// # Errors
/// [`DiscoveryError::DnsTree`] where it is not.
pub fn check_dns_tree(text: &str) -> Result<(), DiscoveryError> {
    let link = text.parse::<TreeLink>();
    link.map(drop).map_err(|_| DiscoveryError::DnsTree(text.to_owned()))
}

/// Why discovery cannot start. This node's fault, each of them.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// The key is not one.
    #[error("these 32 bytes are not a secp256k1 private key")]
    NodeKey,
    /// The record does not fit into 300 bytes or cannot be signed.
    #[error("the node's own record cannot be signed")]
    Record,
    /// The address cannot be listened on.
    #[error("cannot listen for discovery on {addr}: {source}; choose another --discovery.port")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The discv5 crate does not start.
    #[error("discv5 does not start: {0}")]
    Discv5(String),
    /// The link to a DNS list is none.
    #[error("{0} is not enrtree://<key>@<domain>")]
    DnsTree(String),
    /// The system names no resolver.
    #[error("no DNS resolver: {0}")]
    Resolver(String),
}
