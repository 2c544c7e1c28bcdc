//! Between the consensus client, the tree, and whoever acts on what the tree found missing.

use std::sync::Arc;

use alloy_primitives::{B256, BlockNumber};

use crate::{Block, BlockNumHash, DownloadRequest, Forkchoice, SealedHeader, Weigh};

/// What the consensus client asks of the tree, after the Engine API edge proved it well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeRequest {
    /// `engine_forkchoiceUpdated`: follow this head.
    ForkchoiceUpdated(Forkchoice),
    /// `engine_newPayload`: here is a block whose hash was recomputed and is right.
    NewPayload(Block),
    /// `engine_newPayload`: the edge found that a block breaks a rule whose hash is right. It is told,
    /// since the block may come in from a peer, without the part of the payload that shows it.
    BadPayload {
        /// The block's header.
        header: Arc<SealedHeader>,
        /// The rule, in a sentence.
        reason: String,
    },
}

/// What the tree makes of a [`TreeRequest`]: the honest answers of a node that does not execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeVerdict {
    /// Data for a verdict is missing; the node is getting it, or cannot judge without executing.
    Syncing,
    /// A well-formed block on a side branch whose ancestors are all here (execution-apis,
    /// `paris.md`, payload validation).
    Accepted,
    /// The configured genesis block, the only one that needs no execution.
    Valid,
    /// The block, or one below it, breaks a rule that needs no state. `latestValidHash` is null,
    /// since no ancestor was fully validated (execution-apis, `paris.md`; consensus-specs,
    /// `sync/optimistic.md`).
    Invalid {
        /// The rule, in a sentence.
        reason: String,
    },
    /// The forkchoice contradicts what is known of the chain (execution-apis, `paris.md`,
    /// forkchoiceUpdated): error -38002.
    Inconsistent {
        /// The contradiction, in a sentence.
        reason: String,
    },
}

/// What the tree tells the actors beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEvent {
    /// These blocks are missing.
    Download(DownloadRequest),
}

/// The head that the tree follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeTarget {
    /// Its hash, as the consensus client named it.
    pub hash: B256,
    /// Its height, once its header is here.
    pub number: Option<BlockNumber>,
}

/// How far the tree has come, for whoever watches. Told when it changes, at most a few times a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeReport {
    /// The canonical tip.
    pub tip: BlockNumHash,
    /// The standing target; `None` until a head was named.
    pub target: Option<TreeTarget>,
    /// The tip is the target, and everything up to it is on disk; or both are the genesis block, which is
    /// no target, since nothing is missing for it.
    pub synced: bool,
    /// The target breaks a rule, or lies above a block that does: it will never be reached.
    pub invalid: bool,
    /// The last failure on the way to the target, in a sentence; `None` once things move again.
    pub trouble: Option<String>,
}

impl Weigh for TreeReport {
    fn weight_bytes(&self) -> usize {
        self.trouble.as_ref().map_or(0, String::len)
    }
}

impl Weigh for TreeRequest {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::ForkchoiceUpdated(_) => 0,
            Self::NewPayload(block) => block.weight_bytes(),
            Self::BadPayload { header, reason } => {
                header.weight_bytes().saturating_add(reason.len())
            }
        }
    }
}

impl Weigh for TreeEvent {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Download(request) => request.weight_bytes(),
        }
    }
}
