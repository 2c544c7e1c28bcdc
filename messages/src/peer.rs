//! What the downloader saw of a peer, and what the peer manager knows of all of them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{AnnouncedRange, Blame, Direction, PeerId, RequestId, Weigh};

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
    /// The version of eth in use.
    pub eth_version: u8,
    /// What it says it serves.
    pub range: Option<AnnouncedRange>,
    /// Its usual time to answer, in milliseconds; the slowest kind's. `None` until it
    /// answered once.
    pub delay_ms: Option<u64>,
    /// Late and wrong answers since it was first seen, earlier sessions included.
    pub faults: u64,
    /// Requests that are out.
    pub in_flight: u64,
    /// Headers, bodies and blocks' receipts it sent.
    pub served_items: u64,
    /// Bytes of its answers on the wire.
    pub served_bytes: u64,
}

/// The connected peers. Told when something changed, at most once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersReport {
    /// Ascending by id.
    pub peers: Vec<PeerSummary>,
    /// Requests that wait for a peer.
    pub queued: u64,
}

impl Weigh for PeersReport {
    fn weight_bytes(&self) -> usize {
        let one = size_of::<PeerSummary>();
        self.peers.iter().map(|peer| one.saturating_add(peer.client.len())).sum()
    }
}
