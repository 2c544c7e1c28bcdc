//! What is kept, and what can be asked of it.

use std::sync::Arc;

use alloy_primitives::{B256, BlockNumber, Bytes};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ActorName, Blame, Block, BlockNumHash, Body, Forkchoice, HashOrNumber, Receipts, RequestId,
    SealedHeader, Weigh,
};

/// A run of headers that are proved and stored but do not yet connect to the canonical chain.
///
/// Spans are the record of a backward download: two of them belong together when one's
/// `bottom_parent` is the other's `top`, so a chain of any length is found again after a restart,
/// and two downloads join where their hashes meet. A span at or below the canonical tip is spent, and
/// the store forgets it in the batch that moves the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The highest block.
    pub top: BlockNumHash,
    /// The lowest block; equal to `top` in a span of one.
    pub bottom: BlockNumHash,
    /// The parent of the lowest block.
    pub bottom_parent: B256,
}

impl Span {
    /// How many blocks the span holds.
    pub const fn len(&self) -> u64 {
        self.top.number.saturating_sub(self.bottom.number).saturating_add(1)
    }

    /// A span holds at least one block.
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// One atomic step: all of it is on disk, or none of it. Repeating a batch changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreBatch {
    /// Proved headers.
    pub headers: Vec<Arc<SealedHeader>>,
    /// Proved bodies. A body that is already stored is not written twice.
    pub bodies: Vec<(BlockNumHash, Arc<Body>)>,
    /// Proved receipts, of blocks that have any. Rejected by a store that keeps none; receipts that are
    /// already stored are not written twice.
    pub receipts: Vec<(BlockNumHash, Arc<Receipts>)>,
    /// Spans to remember.
    pub spans: Vec<Span>,
    /// Canonical blocks, ascending and gap-free. They replace whatever was canonical from the first
    /// one's height upwards; the last one becomes the tip.
    pub canonical: Vec<BlockNumHash>,
    /// What the consensus client last said.
    pub forkchoice: Option<Forkchoice>,
}

impl StoreBatch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.bodies.is_empty()
            && self.receipts.is_empty()
            && self.spans.is_empty()
            && self.canonical.is_empty()
            && self.forkchoice.is_none()
    }
}

/// What an actor asks of the store. Outcomes go to the actor named in `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest {
    /// Write this. Answered by `Persisted` once it would survive a loss of power.
    Persist {
        /// Echoed by the outcome.
        id: RequestId,
        /// Who asks.
        from: ActorName,
        /// The step.
        batch: StoreBatch,
    },
    /// What is there? Asked at start and after a restart.
    Load {
        /// Echoed by the outcome.
        id: RequestId,
        /// Who asks.
        from: ActorName,
    },
    /// Are these blocks there?
    Find {
        /// Echoed by the outcome.
        id: RequestId,
        /// Who asks.
        from: ActorName,
        /// At most 1,024 hashes.
        hashes: Vec<B256>,
    },
    /// The stored headers from `top` downwards, by parent hash.
    Walk {
        /// Echoed by the outcome.
        id: RequestId,
        /// Who asks.
        from: ActorName,
        /// Where to begin.
        top: BlockNumHash,
        /// How many at most; no more than 1,024.
        limit: u64,
    },
}

impl StoreRequest {
    /// The request's id.
    pub const fn id(&self) -> RequestId {
        match self {
            Self::Persist { id, .. }
            | Self::Load { id, .. }
            | Self::Find { id, .. }
            | Self::Walk { id, .. } => *id,
        }
    }

    /// Who asked.
    pub const fn from(&self) -> ActorName {
        match self {
            Self::Persist { from, .. }
            | Self::Load { from, .. }
            | Self::Find { from, .. }
            | Self::Walk { from, .. } => *from,
        }
    }
}

/// A block that the store holds, or half of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBlock {
    /// Its header.
    pub header: Arc<SealedHeader>,
    /// Whether its body is there too.
    pub has_body: bool,
    /// Whether its receipts are there, or it has none.
    pub has_receipts: bool,
}

/// What the store knows when a node starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The highest canonical block; the genesis block in a new store.
    pub tip: Arc<SealedHeader>,
    /// What the consensus client last said; zero hashes in a new store.
    pub forkchoice: Forkchoice,
    /// Whether receipts are kept, which was decided when the store was founded: then no block becomes
    /// canonical without them.
    pub keeps_receipts: bool,
    /// Downloads that did not connect yet, in no particular order.
    pub spans: Vec<Span>,
}

/// What came of a [`StoreRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// The batch is flushed and synced: it survives a crash and a loss of power.
    Persisted {
        /// The request's id.
        request: RequestId,
    },
    /// What is there.
    Loaded {
        /// The request's id.
        request: RequestId,
        /// The state.
        state: StoredState,
    },
    /// One entry for each hash asked about, in that order.
    Found {
        /// The request's id.
        request: RequestId,
        /// The blocks.
        blocks: Vec<Option<FoundBlock>>,
    },
    /// The walk, descending. Shorter than asked for where the store knows no further ancestor.
    Walked {
        /// The request's id.
        request: RequestId,
        /// The blocks.
        blocks: Vec<FoundBlock>,
    },
    /// The store could not do it. Nothing of the batch counts as written.
    Failed {
        /// The request's id.
        request: RequestId,
        /// Why.
        error: StoreError,
    },
}

/// Why the store could not do something.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The disk or the database refused.
    #[error("the store cannot write or read: {0}")]
    Io(String),
    /// What was read back is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A batch broke the store's own rules.
    #[error("a batch does not fit what is stored: {0}")]
    Rejected(String),
}

impl StoreError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// A read by an edge: the RPC server, or a session that serves a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreQuery {
    /// How far the store goes.
    Status,
    /// Canonical headers as `GetBlockHeaders` asks for them.
    Headers {
        /// The first one.
        start: HashOrNumber,
        /// How many at most; the store caps it at 1,024.
        limit: u64,
        /// How many to leave out between two.
        skip: u64,
        /// Towards genesis instead of away from it.
        reverse: bool,
        /// Stop once this many bytes are gathered.
        budget_bytes: usize,
    },
    /// Bodies of canonical blocks, in the order asked for, stopping at the first that is missing.
    Bodies {
        /// The blocks' hashes; the store caps them at 1,024.
        hashes: Vec<B256>,
        /// Stop once this many bytes are gathered.
        budget_bytes: usize,
    },
    /// Receipts of canonical blocks, in the order asked for, stopping at the first block that is missing.
    /// A store that keeps none has them for no block.
    Receipts {
        /// The blocks' hashes; the store caps them at 1,024.
        hashes: Vec<B256>,
        /// Stop once this many bytes are gathered.
        budget_bytes: usize,
    },
    /// Bodies of canonical blocks, all that are asked for or nothing, as `engine_getPayloadBodies` wants
    /// them (execution-apis, `engine/shanghai.md`).
    PayloadBodies {
        /// Whose.
        blocks: PayloadBlocks,
        /// Nothing is answered where they weigh more than this.
        budget_bytes: usize,
    },
    /// One block.
    Block {
        /// Which; a number means the canonical one.
        block: HashOrNumber,
    },
}

/// Blocks whose bodies are asked for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadBlocks {
    /// By hash; the store rejects more than 1,024.
    Hashes(Vec<B256>),
    /// By height, up to the canonical tip.
    Range {
        /// The lowest height.
        start: BlockNumber,
        /// How many; the store rejects more than 1,024.
        count: u64,
    },
}

/// How far the store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// The genesis block.
    pub genesis: B256,
    /// The lowest canonical block, genesis aside, from which on nothing is missing; the tip's height
    /// plus one where there is none.
    pub earliest: BlockNumber,
    /// The highest canonical block.
    pub tip: BlockNumHash,
    /// What the consensus client last said.
    pub forkchoice: Forkchoice,
    /// Whether receipts are kept of every canonical block.
    pub keeps_receipts: bool,
}

/// A block as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block.
    pub block: Block,
    /// Whether it is on the canonical chain.
    pub canonical: bool,
}

/// The answer to a [`StoreQuery`], variant for variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// How far the store goes.
    Status(StoreStatus),
    /// Header RLP, in the order asked for.
    Headers(Vec<Bytes>),
    /// The bodies up to the first that is missing.
    Bodies(Vec<Body>),
    /// The receipts up to the first block that is missing.
    Receipts(Vec<Receipts>),
    /// A body for each block asked for and not above the tip, none where it is not here or the block is
    /// not canonical; `None` where they weigh more than the budget.
    PayloadBodies(Option<Vec<Option<Body>>>),
    /// The block, if it is here whole.
    Block(Option<Box<StoredBlock>>),
}

impl Weigh for StoreBatch {
    fn weight_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.weight_bytes()).sum();
        let bodies: usize = self.bodies.iter().map(|(_, body)| body.weight_bytes()).sum();
        let receipts: usize = self.receipts.iter().map(|(_, all)| all.weight_bytes()).sum();
        let names = self.canonical.len().saturating_mul(size_of::<BlockNumHash>());
        headers.saturating_add(bodies).saturating_add(receipts).saturating_add(names)
    }
}

impl Weigh for StoreRequest {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Persist { batch, .. } => batch.weight_bytes(),
            Self::Find { hashes, .. } => hashes.len().saturating_mul(size_of::<B256>()),
            Self::Load { .. } | Self::Walk { .. } => 0,
        }
    }
}

impl Weigh for StoreOutcome {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Persisted { .. } | Self::Failed { .. } => 0,
            Self::Loaded { state, .. } => state.spans.len().saturating_mul(size_of::<Span>()),
            Self::Found { blocks, .. } => {
                blocks.iter().flatten().map(|found| found.header.weight_bytes()).sum()
            }
            Self::Walked { blocks, .. } => {
                blocks.iter().map(|found| found.header.weight_bytes()).sum()
            }
        }
    }
}

impl Weigh for StoreQuery {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Bodies { hashes, .. }
            | Self::Receipts { hashes, .. }
            | Self::PayloadBodies { blocks: PayloadBlocks::Hashes(hashes), .. } => {
                hashes.len().saturating_mul(size_of::<B256>())
            }
            Self::Status
            | Self::Headers { .. }
            | Self::PayloadBodies { blocks: PayloadBlocks::Range { .. }, .. }
            | Self::Block { .. } => 0,
        }
    }
}
