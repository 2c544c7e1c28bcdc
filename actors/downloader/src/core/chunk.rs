//! A part of the header phase that is asked of one peer.

use std::sync::Arc;

use moorline_messages::{PeerId, RequestId, SealedHeader, Weigh};

use super::retry::Retry;

/// How far it has come.
#[derive(Debug)]
pub(super) enum ChunkState {
    Wanted,
    Asked(RequestId),
    /// Its headers are here, linked to one another and not yet to the proved part.
    Held {
        peer: PeerId,
        fetch: RequestId,
        headers: Vec<Arc<SealedHeader>>,
        /// The peer was told about this answer already.
        is_judged: bool,
    },
}

/// Headers going down from one height.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) limit: u64,
    pub(super) by_hash: bool,
    pub(super) retry: Retry,
    pub(super) state: ChunkState,
}

impl Chunk {
    pub(super) fn new(limit: u64, by_hash: bool) -> Self {
        Self { limit, by_hash, retry: Retry::default(), state: ChunkState::Wanted }
    }
}

pub(super) fn bytes_of(headers: &[Arc<SealedHeader>]) -> usize {
    headers.iter().map(|header| header.weight_bytes()).sum()
}

/// How many headers, from the first, link to one another by parent hash.
pub(super) fn linked_prefix(headers: &[Arc<SealedHeader>]) -> usize {
    let breaks = headers.windows(2).position(|pair| match pair {
        [above, below] => above.parent_hash != below.hash(),
        _ => false,
    });
    breaks.map_or(headers.len(), |at| at.saturating_add(1))
}
