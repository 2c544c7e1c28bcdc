//! What the actor needs of whatever keeps the data.

use std::fmt;

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, FoundBlock, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoredState,
};

/// Most hashes in one [`Backend::find`]; more are rejected.
pub const FIND_HASHES_MAX: usize = 1_024;

/// Most items that any other read gathers; a greater limit is cut down to it.
pub const READ_ITEMS_MAX: u64 = 1_024;

/// Keeps blocks. Every call may block on a disk, so the actor makes them from blocking threads; all
/// of them may be made at once.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Writes batches in order, each of them whole or not at all, and returns one verdict for each.
    ///
    /// When it returns, accepted batches survive a loss of power. A batch that is rejected does not
    /// hold up the others; a failure of the disk fails all that were not rejected.
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>>;

    /// What is there?
    ///
    /// # Errors
    /// The disk fails, or holds what was never written.
    fn load(&self) -> Result<StoredState, StoreError>;

    /// Are these blocks there? One entry for each hash, in order.
    ///
    /// # Errors
    /// As [`Self::load`]; and more than [`FIND_HASHES_MAX`] hashes are rejected.
    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError>;

    /// The stored headers from `top` downwards by parent hash, at most [`READ_ITEMS_MAX`].
    ///
    /// # Errors
    /// As [`Self::load`].
    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError>;

    /// Answers an edge.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError>;
}
