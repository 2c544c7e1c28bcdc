//! Node records (EIP-778): ours, re-signed when it changes, and those of others, verified.

use std::net::{IpAddr, SocketAddr};

use alloy_eip2124::{ForkHash, ForkId};
use alloy_primitives::{B512, bytes::Bytes};
use alloy_rlp::{Decodable, Encodable, Header};
use discv5::Enr;
use enr::{CombinedKey, EnrPublicKey};
use moorline_messages::PeerId;

use crate::{DiscoveryError, discv4::wire::Endpoint, key::NodeKey};

/// The entry that names chain and fork (EIP-868 record, `enr-entries/eth.md`).
const ETH: &str = "eth";
/// The entry that only consensus nodes have.
const ETH2: &str = "eth2";
/// The longest text of a record: 300 bytes in base64, and `enr:`.
pub(crate) const RECORD_TEXT_BYTES_MAX: usize = 404;

/// A record whose signature is right. Size, order of keys and signature are checked by `enr`.
#[derive(Clone, Debug)]
pub(crate) struct SignedRecord {
    enr: Enr,
    id: PeerId,
}

impl SignedRecord {
    /// From the record's RLP, which must be all there is.
    pub(crate) fn decode(mut rlp: &[u8]) -> Option<Self> {
        let enr = Enr::decode(&mut rlp).ok()?;
        if rlp.is_empty() { Self::new(enr) } else { None }
    }

    /// From `enr:` and base64.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text.len() > RECORD_TEXT_BYTES_MAX {
            return None;
        }
        Self::new(text.parse().ok()?)
    }

    /// None for a key that is not on secp256k1: devp2p knows no other.
    pub(crate) fn new(enr: Enr) -> Option<Self> {
        let key = enr.public_key().encode_uncompressed();
        let id = PeerId(B512::from(<[u8; 64]>::try_from(key.as_slice()).ok()?));
        Some(Self { enr, id })
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn seq(&self) -> u64 {
        self.enr.seq()
    }

    pub(crate) fn enr(&self) -> &Enr {
        &self.enr
    }

    /// The fork the node is on, where it is a node of an execution chain.
    pub(crate) fn fork_id(&self) -> Option<ForkId> {
        read_eth_entry(self.enr.get_raw_rlp(ETH)?)
    }

    /// Whether it is a consensus node, which speaks discv5 and not discv4.
    pub(crate) fn is_consensus_node(&self) -> bool {
        self.enr.get_raw_rlp(ETH2).is_some()
    }

    /// Where it takes TCP connections, by its own word.
    pub(crate) fn tcp_addr(&self) -> Option<SocketAddr> {
        let v4 = self.enr.tcp4_socket().map(SocketAddr::from);
        v4.or_else(|| self.enr.tcp6_socket().map(SocketAddr::from))
    }

    /// Its TCP port for addresses of this family.
    pub(crate) fn tcp_port(&self, ip: IpAddr) -> Option<u16> {
        match ip {
            IpAddr::V4(_) => self.enr.tcp4(),
            IpAddr::V6(_) => self.enr.tcp6().or_else(|| self.enr.tcp4()),
        }
    }

    /// Where it takes datagrams, by its own word.
    pub(crate) fn udp_addr(&self) -> Option<SocketAddr> {
        let v4 = self.enr.udp4_socket().map(SocketAddr::from);
        v4.or_else(|| self.enr.udp6_socket().map(SocketAddr::from))
    }
}

/// The node's own record.
#[derive(Clone, Debug)]
pub(crate) struct LocalRecord {
    enr: Enr,
    key: NodeKey,
}

impl LocalRecord {
    /// Signs a first record. Sequence numbers must grow over restarts, so the caller gives one that
    /// follows the clock.
    pub(crate) fn new(
        key: NodeKey,
        ip: Option<IpAddr>,
        udp: u16,
        tcp: u16,
        fork_id: ForkId,
        seq: u64,
    ) -> Result<Self, DiscoveryError> {
        let mut builder = Enr::builder();
        builder.seq(seq).add_value_rlp(ETH, Bytes::from(eth_entry(fork_id)));
        if let Some(ip) = ip {
            builder.ip(ip);
        }
        let v6 = ip.is_some_and(|ip| ip.is_ipv6());
        if v6 {
            builder.udp6(udp);
        } else {
            builder.udp4(udp);
        }
        if tcp != 0 && v6 {
            builder.tcp6(tcp);
        } else if tcp != 0 {
            builder.tcp4(tcp);
        }
        let enr = builder.build(&signing_key(&key)?).map_err(|_| DiscoveryError::Record)?;
        Ok(Self { enr, key })
    }

    /// Signs the record again for another fork. False where it names that fork already.
    pub(crate) fn set_fork_id(&mut self, fork_id: ForkId) -> Result<bool, DiscoveryError> {
        let entry = eth_entry(fork_id);
        if self.enr.get_raw_rlp(ETH) == Some(entry.as_slice()) {
            return Ok(false);
        }
        let key = signing_key(&self.key)?;
        let entry = Bytes::from(entry);
        self.enr.insert_raw_rlp(ETH, entry, &key).map_err(|_| DiscoveryError::Record)?;
        Ok(true)
    }

    /// Takes over what discv5 made of the record when it learnt the address that others see.
    pub(crate) fn adopt(&mut self, enr: Enr) {
        if enr.seq() > self.enr.seq() {
            self.enr = enr;
        }
    }

    pub(crate) fn enr(&self) -> &Enr {
        &self.enr
    }

    pub(crate) fn seq(&self) -> u64 {
        self.enr.seq()
    }

    pub(crate) fn rlp(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.enr.encode(&mut out);
        out
    }

    pub(crate) fn text(&self) -> String {
        self.enr.to_base64()
    }

    /// What pings say of where we are.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let ip = self.ip();
        let v6 = ip.is_some_and(|ip| ip.is_ipv6());
        let (udp, tcp) = if v6 {
            (self.enr.udp6(), self.enr.tcp6())
        } else {
            (self.enr.udp4(), self.enr.tcp4())
        };
        Endpoint { ip, udp: udp.unwrap_or_default(), tcp: tcp.unwrap_or_default() }
    }

    /// `enode://` with the address as far as it is known, and `discport` where the ports differ.
    pub(crate) fn enode(&self) -> String {
        let Endpoint { ip, udp, tcp } = self.endpoint();
        let ip = ip.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let node =
            moorline_messages::NodeRecord { id: self.key.id(), addr: SocketAddr::new(ip, tcp) };
        if udp == tcp { node.to_string() } else { format!("{node}?discport={udp}") }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.enr.ip4().map(IpAddr::from).or_else(|| self.enr.ip6().map(IpAddr::from))
    }
}

/// The key in the form that `enr` and `discv5` sign with.
pub(crate) fn signing_key(key: &NodeKey) -> Result<CombinedKey, DiscoveryError> {
    let mut secret = key.secret_bytes();
    CombinedKey::secp256k1_from_bytes(&mut secret).map_err(|_| DiscoveryError::NodeKey)
}

pub(crate) fn read_eth_entry(mut entry: &[u8]) -> Option<ForkId> {
    let mut list = Header::decode_bytes(&mut entry, true).ok()?;
    // what follows is for later versions of the entry
    let mut fork_id = Header::decode_bytes(&mut list, true).ok()?;
    let hash = ForkHash(<[u8; 4]>::decode(&mut fork_id).ok()?);
    Some(ForkId { hash, next: u64::decode(&mut fork_id).ok()? })
}

/// `[[hash, next]]`.
fn eth_entry(fork_id: ForkId) -> Vec<u8> {
    let mut inner = Vec::new();
    fork_id.encode(&mut inner);
    let mut out = Vec::new();
    Header { list: true, payload_length: inner.len() }.encode(&mut out);
    out.extend_from_slice(&inner);
    out
}
