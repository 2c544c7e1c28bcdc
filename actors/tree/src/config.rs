//! How a tree is set up.

use std::sync::Arc;

use alloy_primitives::BlockNumber;
use moorline_rules::ChainSpec;

/// What starts a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncTrigger {
    /// Only a head that the consensus client names.
    #[default]
    Forkchoice,
    /// That, and a payload whose parent is missing while no head is being pursued.
    ForkchoiceAndPayload,
}

/// How a tree is set up.
#[derive(Clone, Debug)]
pub struct TreeConfig {
    /// The chain's rules and its genesis block.
    pub spec: Arc<ChainSpec>,
    /// What starts a download.
    pub sync_trigger: SyncTrigger,
    /// The lowest block wanted, 1 for all of them. A greater one stands without its parent in a store
    /// that holds nothing but the genesis block.
    pub floor: BlockNumber,
}

impl TreeConfig {
    /// The usual set-up: heads start downloads, and every block is wanted.
    pub const fn new(spec: Arc<ChainSpec>) -> Self {
        Self { spec, sync_trigger: SyncTrigger::Forkchoice, floor: 1 }
    }
}
