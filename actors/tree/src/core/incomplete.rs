//! Blocks that the consensus client delivered and that lack their receipts.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, SealedHeader};

/// Blocks that are remembered; the oldest goes first.
pub(crate) const INCOMPLETE_BLOCKS_MAX: usize = 512;

/// The heights of blocks that were given to the store without their receipts, where these are kept.
#[derive(Debug, Default)]
pub(crate) struct Incomplete {
    numbers: BTreeMap<B256, BlockNumber>,
    order: VecDeque<B256>,
}

impl Incomplete {
    pub(crate) fn insert(&mut self, header: &SealedHeader) {
        let BlockNumHash { number, hash } = BlockNumHash::of(header);
        if self.numbers.insert(hash, number).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > INCOMPLETE_BLOCKS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.numbers.remove(&oldest);
            }
        }
    }

    /// The height of a block, if it is one of these.
    pub(crate) fn number(&self, hash: &B256) -> Option<BlockNumber> {
        self.numbers.get(hash).copied()
    }
}
