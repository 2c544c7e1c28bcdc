//! Between the tree, which knows what is missing, and the downloader, which gets it.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::B256;
use thiserror::Error;

use crate::{Blame, BlockNumHash, Breach, RequestId, SealedHeader, Weigh};

/// Please get these blocks. Asking again for what is already under way adds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadRequest {
    /// These blocks, each on its own.
    BlockSet {
        /// Echoed by every outcome.
        id: RequestId,
        /// Hashes that are trusted: named by the consensus client, or parents of such blocks. At
        /// most 64.
        hashes: BTreeSet<B256>,
    },
    /// A run of blocks that ends in a trusted one.
    BlockRange {
        /// Echoed by every outcome.
        id: RequestId,
        /// The highest block, trusted as above.
        head: B256,
        /// How many blocks, the head included, going down. Never zero.
        count: u64,
    },
    /// Nobody wants this any longer: what is queued or in flight for it is dropped.
    Cancel {
        /// The request to forget.
        id: RequestId,
    },
}

impl DownloadRequest {
    /// The request's id.
    pub const fn id(&self) -> RequestId {
        match self {
            Self::BlockSet { id, .. } | Self::BlockRange { id, .. } | Self::Cancel { id } => *id,
        }
    }
}

/// Why a download ended without its blocks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DownloadFailure {
    /// Every peer was tried, more than once, and none has it.
    #[error("no peer has block {hash} after {attempts} attempts")]
    Unobtainable {
        /// The first block that could not be had.
        hash: B256,
        /// How often somebody was asked.
        attempts: u32,
    },
    /// A block under the trusted head breaks a rule, so the head is invalid.
    #[error("block {block} is invalid: {breach}")]
    Invalid {
        /// The block that breaks the rule.
        block: BlockNumHash,
        /// The rule.
        breach: Breach,
    },
    /// A linked chain ended at a height at which the range should still go on: the head's number
    /// lied, or the head is on another network.
    #[error("block {block} has no ancestors left for the {missing} blocks still asked for")]
    TooShort {
        /// The lowest block of the chain.
        block: BlockNumHash,
        /// How many blocks should lie under it.
        missing: u64,
    },
}

impl DownloadFailure {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Unobtainable { .. } => Blame::Nobody,
            Self::Invalid { .. } | Self::TooShort { .. } => Blame::Chain,
        }
    }
}

/// What came of a [`DownloadRequest`]: one `NewDownloadStarted`, then any number of `Blocks`, or one
/// `Failed` that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadOutcome {
    /// The request was taken up.
    NewDownloadStarted {
        /// The request's id.
        request: RequestId,
        /// The block at the head of the request.
        target: B256,
        /// How many blocks are still missing for it.
        remaining_blocks: u64,
    },
    /// Some of the blocks, in ascending order, each once per request. Header, body and, where
    /// the store keeps them, receipts are proved against the trusted head and on disk before this is said.
    Blocks {
        /// The request's id.
        request: RequestId,
        /// The headers, ascending. The rest lies in the store, under the header's hash.
        blocks: Vec<Arc<SealedHeader>>,
        /// How many blocks are still to come for this request; zero ends it.
        remaining_blocks: u64,
    },
    /// The request ended without all of its blocks.
    Failed {
        /// The request's id.
        request: RequestId,
        /// Why.
        reason: DownloadFailure,
    },
}

/// What the downloader has in hand, for whoever watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressReport {
    /// Headers proved since the node started.
    pub headers: u64,
    /// Blocks proved and on disk, with their receipts where these are kept, since the node started.
    pub blocks: u64,
    /// Blocks whose receipts were proved and are on disk since the node started.
    pub receipts: u64,
    /// Bytes of headers, bodies and receipts that were proved.
    pub bytes: u64,
    /// Bodies and receipts that arrived although they were already here.
    pub refetched: u64,
    /// Held headers that were dropped to make room, and are asked for again.
    pub evicted: u64,
    /// Headers that the requests at hand still have to prove.
    pub remaining_headers: u64,
    /// Blocks that the requests at hand still miss; headers count for nothing here.
    pub remaining_blocks: u64,
    /// The greatest height the requests at hand lead to; zero with none.
    pub highest: u64,
    /// Fetches that are out.
    pub in_flight: u64,
    /// Bytes that the answers under way will probably bring.
    pub in_flight_bytes: u64,
    /// Bytes that were fetched and are not yet on disk: unlinked headers, and what is proved.
    pub buffered_bytes: u64,
    /// Blocks whose bodies are wanted, or whose receipts, asked for or not: whichever are more.
    pub queued: u64,
    /// Why nothing has come for a while; `None` while something does, or nothing is wanted.
    pub stalled: Option<Stall>,
}

/// Why a download makes no progress.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Stall {
    /// No peer could take what is wanted.
    #[error("no peer can be asked for what is missing")]
    NoPeer,
    /// Peers were asked, and none answered.
    #[error("the peers that were asked do not answer")]
    NoAnswer,
    /// Peers answer that they have none of it.
    #[error("the peers that were asked do not have what is missing")]
    Lacking,
    /// What peers send is not what was asked for.
    #[error("the peers that were asked send something else")]
    Lies,
    /// The store does not confirm what it was given, or does not answer.
    #[error("the store does not answer")]
    Store,
    /// What is whole waits until the tree takes it.
    #[error("the tree takes no blocks")]
    Tree,
}

impl Stall {
    /// Whose fault it is.
    pub const fn blame(self) -> Blame {
        match self {
            Self::NoPeer | Self::NoAnswer | Self::Lacking => Blame::Nobody,
            Self::Lies => Blame::Peer,
            Self::Store | Self::Tree => Blame::Node,
        }
    }
}

impl Weigh for DownloadRequest {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::BlockSet { hashes, .. } => hashes.len().saturating_mul(64),
            Self::BlockRange { .. } | Self::Cancel { .. } => 0,
        }
    }
}

impl Weigh for DownloadOutcome {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Blocks { blocks, .. } => blocks.iter().map(|header| header.weight_bytes()).sum(),
            Self::NewDownloadStarted { .. } | Self::Failed { .. } => 0,
        }
    }
}

impl Weigh for ProgressReport {
    fn weight_bytes(&self) -> usize {
        0
    }
}
