//! A chain that grows and reorganises while it is served.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use alloy_primitives::{B256, Bytes};
use moorline_messages::{Block, BlockNumHash, HashOrNumber, SealedHeader};
use thiserror::Error;
use tokio::sync::watch;

use super::{Chain, genesis_block};

/// A block's parent is not on the canonical chain, so that it cannot be added.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("block {0} does not follow a canonical block")]
pub struct NotLinked(pub BlockNumHash);

/// Blocks in memory, by themselves or on top of another chain that no longer changes.
///
/// Everything added stays in memory, reorganised away or not: it is for the last blocks of a long
/// chain, or for all of a short one.
pub struct MemoryChain {
    genesis: Arc<SealedHeader>,
    base: Option<Arc<dyn Chain>>,
    added: RwLock<Added>,
    tip: watch::Sender<BlockNumHash>,
}

struct Added {
    blocks: BTreeMap<B256, Block>,
    canonical: BTreeMap<u64, B256>,
    /// The highest block of the base that is still canonical.
    base_tip: u64,
}

impl MemoryChain {
    /// A chain of the genesis block alone.
    pub fn new(genesis: Arc<SealedHeader>) -> Self {
        let tip = BlockNumHash::of(&genesis);
        Self::with(genesis, None, tip)
    }

    /// A chain that goes on where `base` ends.
    pub fn on(base: Arc<dyn Chain>) -> Self {
        let (genesis, tip) = (Arc::clone(base.genesis()), base.tip());
        Self::with(genesis, Some(base), tip)
    }

    fn with(genesis: Arc<SealedHeader>, base: Option<Arc<dyn Chain>>, tip: BlockNumHash) -> Self {
        let added =
            Added { blocks: BTreeMap::new(), canonical: BTreeMap::new(), base_tip: tip.number };
        Self { genesis, base, added: RwLock::new(added), tip: watch::channel(tip).0 }
    }

    /// Makes the blocks canonical. The first must be the child of a canonical block, whose
    /// descendants it replaces; each of the others, the child of the one before it.
    pub fn extend(&self, blocks: impl IntoIterator<Item = Block>) -> Result<(), NotLinked> {
        for block in blocks {
            let tip = block.num_hash();
            let parent = self.canonical_number(block.header.parent_hash);
            if parent.and_then(|number| number.checked_add(1)) != Some(tip.number) {
                return Err(NotLinked(tip));
            }
            let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
            added.base_tip = added.base_tip.min(tip.number.saturating_sub(1));
            // what it replaces is still found by hash, as a block of a side branch
            let _replaced = added.canonical.split_off(&tip.number);
            added.canonical.insert(tip.number, tip.hash);
            added.blocks.insert(tip.hash, block);
            drop(added);
            self.tip.send_replace(tip);
        }
        Ok(())
    }

    fn added(&self) -> RwLockReadGuard<'_, Added> {
        self.added.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block among those added, or where else to look for it.
    fn look_up(&self, at: HashOrNumber) -> Result<Block, Option<HashOrNumber>> {
        let added = self.added();
        let hash = match at {
            HashOrNumber::Hash(hash) => Some(hash),
            HashOrNumber::Number(number) if number <= added.base_tip => None,
            HashOrNumber::Number(number) => Some(*added.canonical.get(&number).ok_or(None)?),
        };
        hash.and_then(|hash| added.blocks.get(&hash).cloned()).ok_or(Some(at))
    }

    fn is_genesis(&self, at: HashOrNumber) -> bool {
        match at {
            HashOrNumber::Hash(hash) => hash == self.genesis.hash(),
            HashOrNumber::Number(number) => number == self.genesis.number,
        }
    }
}

impl Chain for MemoryChain {
    fn genesis(&self) -> &Arc<SealedHeader> {
        &self.genesis
    }

    fn watch_tip(&self) -> watch::Receiver<BlockNumHash> {
        self.tip.subscribe()
    }

    fn header(&self, at: HashOrNumber) -> Option<Bytes> {
        match self.look_up(at) {
            Ok(block) => Some(alloy_rlp::encode(block.header.inner()).into()),
            Err(elsewhere) => match (elsewhere?, &self.base) {
                (at, Some(base)) => base.header(at),
                (at, None) => {
                    self.is_genesis(at).then(|| alloy_rlp::encode(self.genesis.inner()).into())
                }
            },
        }
    }

    fn block(&self, at: HashOrNumber) -> Option<Block> {
        match self.look_up(at) {
            Ok(block) => Some(block),
            Err(elsewhere) => match (elsewhere?, &self.base) {
                (at, Some(base)) => base.block(at),
                (at, None) => self.is_genesis(at).then(|| genesis_block(&self.genesis)),
            },
        }
    }

    fn canonical_number(&self, hash: B256) -> Option<u64> {
        let added = self.added();
        if let Some(block) = added.blocks.get(&hash) {
            let number = block.header.number;
            return (added.canonical.get(&number) == Some(&hash)).then_some(number);
        }
        let number = match &self.base {
            Some(base) => base.canonical_number(hash)?,
            None => self.is_genesis(HashOrNumber::Hash(hash)).then_some(self.genesis.number)?,
        };
        (number <= added.base_tip).then_some(number)
    }
}

impl std::fmt::Debug for MemoryChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryChain").field("tip", &self.tip()).finish_non_exhaustive()
    }
}
