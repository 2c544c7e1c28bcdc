//! Between the peer manager and the devp2p edge.

use std::{borrow::Cow, collections::BTreeSet, fmt, net::SocketAddr, str::FromStr};

use alloy_primitives::{B256, B512, BlockNumber, hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::{Blame, BlockNumHash, FetchItems, FetchedItems, PeerId, RequestId, SessionId, Weigh};

/// Where a node can be reached: `enode://<id>@<ip>:<port>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRecord {
    /// Who must answer there.
    pub id: PeerId,
    /// Its TCP address.
    pub addr: SocketAddr,
}

impl Serialize for NodeRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeRecord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Why a text is not an enode address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NodeRecordError {
    /// It does not begin with `enode://`.
    #[error("an enode address begins with enode://")]
    Scheme,
    /// The node id is not 128 hexadecimal digits.
    #[error("an enode address has 128 hexadecimal digits before the @")]
    Id,
    /// What follows the `@` is not an IP address and a port.
    #[error("an enode address has an IP address and a port after the @, as in 127.0.0.1:30303")]
    Address,
}

impl FromStr for NodeRecord {
    type Err = NodeRecordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.trim().strip_prefix("enode://").ok_or(NodeRecordError::Scheme)?;
        let (id, address) = rest.split_once('@').ok_or(NodeRecordError::Address)?;
        let mut bytes = [0; 64];
        hex::decode_to_slice(id, &mut bytes).map_err(|_| NodeRecordError::Id)?;
        // geth appends ?discport= when its UDP port differs; sessions need only TCP
        let address = address.split_once('?').map_or(address, |(tcp, _)| tcp);
        let addr = address.parse().map_err(|_| NodeRecordError::Address)?;
        Ok(Self { id: PeerId(B512::from(bytes)), addr })
    }
}

impl fmt::Display for NodeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enode://{}@{}", hex::encode(self.id.0), self.addr)
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The peer dialled us.
    Inbound,
    /// We dialled the peer.
    Outbound,
}

/// The blocks a node says it can serve, bodies and receipts (EIP-7642).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedRange {
    /// The lowest block it serves.
    pub earliest: BlockNumber,
    /// The highest block it serves.
    pub latest: BlockNumber,
    /// The hash of that block.
    pub latest_hash: B256,
}

/// A peer that completed RLPx, hello and Status, and is on our network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub id: PeerId,
    /// From where.
    pub addr: SocketAddr,
    /// Who dialled whom.
    pub direction: Direction,
    /// What it calls itself. Untrusted text: at most 256 characters, control characters removed.
    pub client: String,
    /// The version of eth in use.
    pub eth_version: u8,
    /// What it serves. Below eth/69 peers do not say.
    pub range: Option<AnnouncedRange>,
}

/// Why a connection is ended, as devp2p numbers it (`rlpx.md`, Disconnect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum DisconnectReason {
    /// Asked to.
    Requested = 0x00,
    /// The TCP connection failed.
    TcpError = 0x01,
    /// Bytes that the protocol does not allow.
    ProtocolBreach = 0x02,
    /// Nothing to gain from this peer: another network, or nothing to serve.
    UselessPeer = 0x03,
    /// No slot is free.
    TooManyPeers = 0x04,
    /// There is a session with this peer already.
    AlreadyConnected = 0x05,
    /// No common version of the base protocol.
    IncompatibleP2p = 0x06,
    /// The peer did not name itself.
    NullIdentity = 0x07,
    /// The node is shutting down.
    ClientQuitting = 0x08,
    /// Another key answered than the one that was dialled.
    UnexpectedIdentity = 0x09,
    /// The node dialled itself.
    SelfConnection = 0x0a,
    /// No sign of life in time.
    PingTimeout = 0x0b,
    /// A reason of a subprotocol's own.
    Subprotocol = 0x10,
}

impl DisconnectReason {
    /// The reason behind a number on the wire; unknown numbers count as a subprotocol's own.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0x00 => Self::Requested,
            0x01 => Self::TcpError,
            0x02 => Self::ProtocolBreach,
            0x03 => Self::UselessPeer,
            0x04 => Self::TooManyPeers,
            0x05 => Self::AlreadyConnected,
            0x06 => Self::IncompatibleP2p,
            0x07 => Self::NullIdentity,
            0x08 => Self::ClientQuitting,
            0x09 => Self::UnexpectedIdentity,
            0x0a => Self::SelfConnection,
            0x0b => Self::PingTimeout,
            _ => Self::Subprotocol,
        }
    }
}

/// Why a session, or an attempt at one, is over.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing listens there, or the network failed.
    #[error("the network failed: {0}")]
    Network(String),
    /// The peer took too long: to connect, to shake hands, or to show a sign of life.
    #[error("the peer was silent for too long during {0}")]
    Silent(&'static str),
    /// The peer said goodbye.
    #[error("the peer disconnected: {0:?}")]
    Remote(DisconnectReason),
    /// We said goodbye.
    #[error("we disconnected: {0:?}")]
    Local(DisconnectReason),
    /// It is on another network, or has another genesis or fork schedule.
    #[error("the peer is on another network: {0}")]
    OtherNetwork(String),
    /// No version of eth in common.
    #[error("the peer speaks no version of eth that we speak")]
    NoCommonVersion,
    /// It sent bytes that no honest peer sends.
    #[error("the peer broke the protocol: {0}")]
    Breach(String),
}

impl CloseReason {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Breach(_) => Blame::Peer,
            Self::Network(_)
            | Self::Silent(_)
            | Self::Remote(_)
            | Self::Local(_)
            | Self::OtherNetwork(_)
            | Self::NoCommonVersion => Blame::Nobody,
        }
    }
}

/// What the peer manager orders of the devp2p edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCommand {
    /// Open a session. Answered by `Opened` or `DialFailed`.
    Dial {
        /// Whom.
        node: NodeRecord,
    },
    /// Send a request. Answered by `Answered`, or by `Closed` if the session ends first; the clock is
    /// the peer manager's.
    Fetch {
        /// On which session.
        session: SessionId,
        /// Echoed by the event. The wire has a request id of its own.
        request: RequestId,
        /// What to ask for.
        items: FetchItems,
    },
    /// End a session. Answered by `Closed`.
    Disconnect {
        /// Which.
        session: SessionId,
        /// Why.
        reason: DisconnectReason,
    },
    /// What we serve changed: new sessions say so in their Status, open ones are told (EIP-7642,
    /// BlockRangeUpdate).
    AnnounceRange {
        /// The blocks of which bodies and receipts can be had.
        range: AnnouncedRange,
        /// The highest block that is here, which the fork id follows (EIP-2124), and of which eth/68
        /// peers are told.
        tip: BlockNumHash,
    },
    /// Let these peers in whatever the bounds on sessions, addresses and subnets, and count them towards
    /// none. Replaces whom an earlier command named.
    Favour {
        /// At most 2,048.
        peers: BTreeSet<PeerId>,
    },
    /// Say `Opened` again for every open session, whatever was said before. How a peer manager that
    /// lost its memory learns whom it knows.
    Introduce,
}

/// What the devp2p edge tells the peer manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A session stands, and the peer is on our network.
    Opened {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PeerInfo,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Whom we dialled.
        node: NodeRecord,
        /// Why.
        reason: CloseReason,
    },
    /// A peer answered a request.
    Answered {
        /// The session.
        session: SessionId,
        /// The request's id.
        request: RequestId,
        /// What it sent, unproved.
        items: FetchedItems,
        /// Size of the message on the wire, in bytes.
        wire_bytes: usize,
    },
    /// A peer now serves another range.
    RangeUpdated {
        /// The session.
        session: SessionId,
        /// The range.
        range: AnnouncedRange,
    },
    /// A session is over. Requests that were out on it are not answered any more.
    Closed {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
}

impl Weigh for SessionCommand {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Fetch {
                items: FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks },
                ..
            } => blocks.len().saturating_mul(40),
            Self::Favour { peers } => peers.len().saturating_mul(size_of::<PeerId>()),
            _ => 0,
        }
    }
}

impl Weigh for SessionEvent {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Answered { items, .. } => items.weight_bytes(),
            _ => 0,
        }
    }
}
