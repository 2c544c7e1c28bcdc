//! What the downloader saw of a peer, and what the peer manager knows of all of them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{AnnouncedRange, Blame, Direction, NodeRecord, PeerId, RequestId, Weigh};

/// How a peer behaved in one answer, judged by whoever proved its bytes. At most one report per
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Everything it sent was right, and there was something.
    Served,
    /// It sent nothing: it does not have the items, or will not part with them.
    Lacked,
    /// Headers by number that turned out not to lead down from the trusted head. The peer may follow
    /// another branch in good faith.
    OtherBranch,
    /// Headers that do not start at the one asked for.
    WrongAnchor,
    /// Headers that do not link to one another, or to what is already proved, by parent hash.
    BrokenLink,
    /// A body that matches none of the headers asked about.
    UnaskedBody,
    /// Receipts that match none of the headers asked about.
    UnaskedReceipts,
    /// More items than were asked for.
    TooMany,
}

impl Conduct {
    /// Whose fault such an answer is.
    pub const fn blame(self) -> Blame {
        match self {
            Self::Served | Self::Lacked | Self::OtherBranch => Blame::Nobody,
            Self::WrongAnchor
            | Self::BrokenLink
            | Self::UnaskedBody
            | Self::UnaskedReceipts
            | Self::TooMany => Blame::Peer,
        }
    }
}

/// I asked this peer for that, and this is how it behaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer.
    pub peer: PeerId,
    /// The fetch that the report is about.
    pub request: RequestId,
    /// What it did.
    pub conduct: Conduct,
}

impl Weigh for PeerReport {
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// Why a peer is here: how we came to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerOrigin {
    /// The operator has it dialled.
    Static,
    /// The operator lets it in whenever it comes.
    Trusted,
    /// It served well before the node's last start.
    Remembered,
    /// discv4 found it.
    Discv4,
    /// discv5 found it.
    Discv5,
    /// A DNS list names it.
    Dns,
    /// It came to us.
    Inbound,
}

/// What discovery tells the peer manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// A node says that it is on our chain and fork. Nothing of it is proved but that it signed its
    /// record.
    Found {
        /// Who and where.
        node: NodeRecord,
        /// How.
        origin: PeerOrigin,
    },
}

/// What the operator orders of the peer manager while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCommand {
    /// Dial this node, and again for ever.
    Add {
        /// Whom.
        node: NodeRecord,
    },
    /// Do not dial this node for ever any more, and end the session with it. It may still be found, or
    /// come.
    Remove {
        /// Whom.
        peer: PeerId,
    },
    /// Let this node in whenever it comes, beyond the bounds on sessions.
    Trust {
        /// Whom.
        peer: PeerId,
    },
    /// Treat this node as any other again. Its session stays.
    Distrust {
        /// Whom.
        peer: PeerId,
    },
}

/// A peer that is not welcome for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBan {
    /// Who.
    pub peer: PeerId,
    /// From where it came last, which is not welcome either; `None` where that would hit others, as
    /// on a local network.
    pub ip: Option<IpAddr>,
    /// What is left of the ban, in milliseconds. Zero once it is over, while it still counts towards
    /// how long the next one is.
    pub left_ms: u64,
    /// Bans of this peer, this one included.
    pub times: u32,
}

/// What the peer manager wants to know again after the node's next start. Told when it changed, at
/// most once in ten seconds, and when the node ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBookReport {
    /// Peers that served well and can be dialled, the best first.
    pub good: Vec<NodeRecord>,
    /// Ascending by id.
    pub bans: Vec<PeerBan>,
}

/// How a peer does one kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPace {
    /// Its usual time to answer, waiting behind other requests included, in milliseconds.
    pub delay_ms: u64,
    /// Items a second at which it works once it has begun.
    pub items_per_s: u64,
    /// Items that it sent since it was first seen.
    pub served_items: u64,
}

/// One connected peer, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSummary {
    /// Who.
    pub id: PeerId,
    /// What it calls itself. Untrusted text.
    pub client: String,
    /// From where.
    pub addr: SocketAddr,
    /// Who dialled whom.
    pub direction: Direction,
    /// Why it is here.
    pub origin: PeerOrigin,
    /// For how long it is connected, in seconds.
    pub connected_s: u64,
    /// The version of eth in use.
    pub eth_version: u8,
    /// What it says it serves.
    pub range: Option<AnnouncedRange>,
    /// What it is chosen by, in milliseconds: the time in which it is expected to answer for 32
    /// bodies, recent faults counted as time. Less is better. `None` until it answered once.
    pub score_ms: Option<u64>,
    /// Its usual time to answer, in milliseconds; the slowest kind's. `None` until it
    /// answered once.
    pub delay_ms: Option<u64>,
    /// How it does headers, `None` until it sent some.
    pub headers: Option<PeerPace>,
    /// How it does bodies.
    pub bodies: Option<PeerPace>,
    /// How it does receipts.
    pub receipts: Option<PeerPace>,
    /// Late and wrong answers since it was first seen, earlier sessions included.
    pub faults: u64,
    /// Requests that are out.
    pub in_flight: u64,
    /// Headers, bodies and blocks' receipts it sent.
    pub served_items: u64,
    /// Bytes of its answers on the wire.
    pub served_bytes: u64,
    /// Bytes of answers a second lately.
    pub bytes_per_s: u64,
}

/// What the peer manager counted since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCounts {
    /// Dials ordered.
    pub dials: u64,
    /// Those that came to nothing.
    pub dial_failures: u64,
    /// Sessions that were not welcome, because no slot was free or the peer is banned.
    pub refused: u64,
    /// Answers that did not come in time.
    pub timeouts: u64,
    /// Bans.
    pub bans: u64,
}

/// The connected peers. Told when something changed, at most once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersReport {
    /// Ascending by id.
    pub peers: Vec<PeerSummary>,
    /// Requests that wait for a peer.
    pub queued: u64,
    /// Dials under way.
    pub dialling: u64,
    /// Nodes that were found and are not connected.
    pub candidates: u64,
    /// Peers that are banned now.
    pub banned: u64,
    /// Counted so far.
    pub counts: PeerCounts,
}

impl Weigh for DiscoveryEvent {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Weigh for PeerCommand {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Weigh for PeerBookReport {
    fn weight_bytes(&self) -> usize {
        let good = self.good.len().saturating_mul(size_of::<NodeRecord>());
        good.saturating_add(self.bans.len().saturating_mul(size_of::<PeerBan>()))
    }
}

impl Weigh for PeersReport {
    fn weight_bytes(&self) -> usize {
        let one = size_of::<PeerSummary>();
        self.peers.iter().map(|peer| one.saturating_add(peer.client.len())).sum()
    }
}
