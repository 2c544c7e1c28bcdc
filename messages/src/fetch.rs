//! Between the downloader, which says what it wants, and the peer manager, which decides from whom.

use std::sync::Arc;

use alloy_primitives::B256;
use thiserror::Error;

use crate::{
    Blame, BlockNumHash, Body, HashOrNumber, PeerId, Receipts, RequestId, SealedHeader, Weigh,
};

/// Which requests go first. Within a class, first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The head of the chain, which somebody is waiting for.
    Tip,
    /// Everything below it.
    History,
}

/// What to ask of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItems {
    /// Up to `limit` headers going down from `top`, it included.
    Headers {
        /// The highest header wanted.
        top: HashOrNumber,
        /// How many, at most [`FetchItems::MAX_HEADERS`].
        limit: u64,
    },
    /// The bodies of these blocks, at most [`FetchItems::MAX_BODIES`]. Peers may skip, stop early and reorder.
    Bodies {
        /// Blocks whose headers are proved.
        blocks: Vec<BlockNumHash>,
    },
    /// The receipts of these blocks, at most [`FetchItems::MAX_RECEIPTS`]. As with bodies.
    Receipts {
        /// Blocks whose headers are proved, none of them without transactions.
        blocks: Vec<BlockNumHash>,
    },
}

impl FetchItems {
    /// Most headers in one request: the least that any client in use serves, which is Besu.
    pub const MAX_HEADERS: u64 = 512;
    /// Most bodies in one request: the least that any client in use serves, which is Besu.
    pub const MAX_BODIES: usize = 128;
    /// Most blocks in one request for receipts: within what any client in use serves.
    pub const MAX_RECEIPTS: usize = 128;

    /// The greatest height asked for, where it is known.
    pub fn highest(&self) -> Option<u64> {
        match self {
            Self::Headers { top: HashOrNumber::Number(number), .. } => Some(*number),
            Self::Headers { .. } => None,
            Self::Bodies { blocks } | Self::Receipts { blocks } => {
                blocks.iter().map(|block| block.number).max()
            }
        }
    }

    /// The lowest height whose body or receipts are asked for. A peer that announced a greater `earliest` does
    /// not have it; headers are assumed to be there from genesis on (EIP-7642).
    pub fn lowest_of_blocks(&self) -> Option<u64> {
        match self {
            Self::Headers { .. } => None,
            Self::Bodies { blocks } | Self::Receipts { blocks } => {
                blocks.iter().map(|block| block.number).min()
            }
        }
    }
}

/// Please get this from some peer. Answered by exactly one [`FetchOutcome`], unless it is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Echoed by the outcome.
    pub id: RequestId,
    /// What is wanted.
    pub items: FetchItems,
    /// Who goes first.
    pub priority: Priority,
    /// Peers that already failed at these items; used only when nobody else is left.
    pub avoid: Vec<PeerId>,
    /// Time until an outcome is owed, the wait for a free peer included.
    pub budget_ms: u64,
}

/// What is to be done about requests that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchCommand {
    /// Nobody waits for these any longer: the queued ones are dropped, and the answers to those that
    /// are out are not passed on. No outcome follows. Unknown ids are ignored.
    Cancel {
        /// The requests, at most 4,096.
        ids: Vec<RequestId>,
    },
}

/// What one peer sent. Nothing of it is proved yet but the headers' own hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchedItems {
    /// Headers in the order of arrival, each with the hash of the bytes that arrived.
    Headers(Vec<Arc<SealedHeader>>),
    /// Bodies in the order of arrival.
    Bodies(Vec<Arc<Body>>),
    /// Receipts, block by block, in the order of arrival. Never part of a block's.
    Receipts(Vec<Arc<Receipts>>),
}

impl FetchedItems {
    /// How many items arrived.
    pub fn len(&self) -> usize {
        match self {
            Self::Headers(headers) => headers.len(),
            Self::Bodies(bodies) => bodies.len(),
            Self::Receipts(blocks) => blocks.len(),
        }
    }

    /// Whether the answer was empty, which is how a peer says that it has none of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Weigh for FetchedItems {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Headers(headers) => headers.iter().map(|header| header.weight_bytes()).sum(),
            Self::Bodies(bodies) => bodies.iter().map(|body| body.weight_bytes()).sum(),
            Self::Receipts(blocks) => blocks.iter().map(|block| block.weight_bytes()).sum(),
        }
    }
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FetchError {
    /// No peer could take the request before its budget ran out, or none with time to answer it.
    #[error("no peer could take the request in time")]
    NoPeer,
    /// The peer that took it did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The connection closed before an answer came.
    #[error("the connection closed before an answer came")]
    Disconnected,
}

impl FetchError {
    /// Whose fault it was. A silent peer has already been deranked by the peer manager's clock.
    pub const fn blame(self) -> Blame {
        Blame::Nobody
    }
}

/// What came of a [`FetchRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOutcome {
    /// The request's id.
    pub id: RequestId,
    /// Who was asked, if anybody was.
    pub peer: Option<PeerId>,
    /// What arrived, or why nothing did.
    pub result: Result<FetchedItems, FetchError>,
}

impl Weigh for FetchRequest {
    fn weight_bytes(&self) -> usize {
        let items = match &self.items {
            FetchItems::Headers { .. } => 0,
            FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => {
                blocks.len().saturating_mul(size_of::<B256>())
            }
        };
        items.saturating_add(self.avoid.len().saturating_mul(64))
    }
}

impl Weigh for FetchCommand {
    fn weight_bytes(&self) -> usize {
        let Self::Cancel { ids } = self;
        ids.len().saturating_mul(size_of::<RequestId>())
    }
}

impl Weigh for FetchOutcome {
    fn weight_bytes(&self) -> usize {
        self.result.as_ref().map_or(0, Weigh::weight_bytes)
    }
}
