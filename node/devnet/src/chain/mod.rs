//! Chains as peers serve them.

mod file;
mod index;
mod memory;
mod served;

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use alloy_rlp::Decodable;
use moorline_messages::{
    Block, BlockNumHash, Body, HashOrNumber, Header, Receipts, SealedHeader, Weigh,
};
use tokio::sync::watch;

pub use file::{FileChain, FileChainError};
pub use memory::{MemoryChain, NotLinked};
pub use served::ServedChain;

use crate::receipts_of;

/// A chain that can be read while others extend it.
///
/// Blocks off the canonical chain are found by hash. Reads may touch the disk, for as long as a read
/// of one block takes.
pub trait Chain: Send + Sync + 'static {
    /// The genesis block's header.
    fn genesis(&self) -> &Arc<SealedHeader>;

    /// Follows the highest canonical block.
    fn watch_tip(&self) -> watch::Receiver<BlockNumHash>;

    /// The header's RLP; a number means the canonical block of that height.
    fn header(&self, at: HashOrNumber) -> Option<Bytes>;

    /// A whole block; a number means the canonical one of that height.
    fn block(&self, at: HashOrNumber) -> Option<Block>;

    /// The height of a block, if it is canonical.
    fn canonical_number(&self, hash: B256) -> Option<u64>;

    /// The highest canonical block.
    fn tip(&self) -> BlockNumHash {
        *self.watch_tip().borrow()
    }
}

/// The body that belongs to a genesis header.
fn genesis_block(genesis: &Arc<SealedHeader>) -> Block {
    let withdrawals = genesis.withdrawals_root.is_some().then(Vec::new);
    let body = Body { transactions: Vec::new(), ommers: Body::NO_OMMERS, withdrawals };
    Block { header: Arc::clone(genesis), body: Arc::new(body) }
}

/// Headers as `GetBlockHeaders` asks for them, stopping where the chain ends or the budget is spent.
pub(crate) fn headers(
    chain: &dyn Chain,
    start: HashOrNumber,
    limit: u64,
    skip: u64,
    reverse: bool,
    budget_bytes: usize,
) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut gathered_bytes = 0_usize;
    let mut at = Some(match start {
        // heights are cheaper to follow than hashes, and lead to the same blocks
        HashOrNumber::Hash(hash) => {
            chain.canonical_number(hash).map_or(start, HashOrNumber::Number)
        }
        HashOrNumber::Number(_) => start,
    });
    while let Some(next) = at {
        if found.len() as u64 >= limit || gathered_bytes >= budget_bytes {
            break;
        }
        let Some(header) = chain.header(next) else { break };
        at = match next {
            HashOrNumber::Number(number) => {
                let step = skip.saturating_add(1);
                let number =
                    if reverse { number.checked_sub(step) } else { number.checked_add(step) };
                number.map(HashOrNumber::Number)
            }
            // off the canonical chain only the way down is known
            HashOrNumber::Hash(_) if reverse && skip == 0 => parent_of(&header),
            HashOrNumber::Hash(_) => None,
        };
        gathered_bytes = gathered_bytes.saturating_add(header.len());
        found.push(header);
    }
    found
}

fn parent_of(header: &Bytes) -> Option<HashOrNumber> {
    let header = Header::decode(&mut header.as_ref()).ok()?;
    (header.number > 0).then_some(HashOrNumber::Hash(header.parent_hash))
}

/// The bodies of these blocks, up to the first that is missing and until the budget is spent.
pub(crate) fn bodies(
    blocks: impl IntoIterator<Item = Option<Block>>,
    budget_bytes: usize,
) -> Vec<Body> {
    let mut gathered_bytes = 0_usize;
    let mut bodies = Vec::new();
    for block in blocks.into_iter().map_while(|block| block) {
        if gathered_bytes >= budget_bytes {
            break;
        }
        gathered_bytes = gathered_bytes.saturating_add(block.body.weight_bytes());
        bodies.push(Arc::unwrap_or_clone(block.body));
    }
    bodies
}

/// The receipts of these blocks, up to the first that is missing or whose receipts are not known, and
/// until the budget is spent.
pub(crate) fn receipts(
    blocks: impl IntoIterator<Item = Option<Block>>,
    budget_bytes: usize,
) -> Vec<Receipts> {
    let mut gathered_bytes = 0_usize;
    let mut found = Vec::new();
    for receipts in blocks.into_iter().map_while(|block| receipts_of(&block?)) {
        // as they travel, so that an answer is full and not only nearly so
        let sizes = receipts.items.iter().map(|receipt| receipt.len());
        gathered_bytes = sizes.fold(gathered_bytes, usize::saturating_add);
        found.push(receipts);
        if gathered_bytes >= budget_bytes {
            break;
        }
    }
    found
}
