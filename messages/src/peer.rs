//! What the downloader saw of a peer.

use crate::{Blame, PeerId, RequestId, Weigh};

/// How a peer behaved in one answer, judged by whoever proved its bytes. At most one report per
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Everything it sent was right, and there was something.
    Served,
    /// It sent nothing: it does not have the items, or will not part with them.
    Lacked,
    /// Headers that do not start at the one asked for.
    WrongAnchor,
    /// Headers that do not link to one another, or to what is already proved, by parent hash.
    BrokenLink,
    /// A body that matches none of the headers asked about.
    UnaskedBody,
    /// More items than were asked for.
    TooMany,
}

impl Conduct {
    /// Whose fault such an answer is.
    pub const fn blame(self) -> Blame {
        match self {
            Self::Served | Self::Lacked => Blame::Nobody,
            Self::WrongAnchor | Self::BrokenLink | Self::UnaskedBody | Self::TooMany => Blame::Peer,
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
