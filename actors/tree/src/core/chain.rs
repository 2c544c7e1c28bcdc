//! The headers that connect to the genesis block, as far as they are worth remembering.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, SealedHeader};

/// Canonical headers kept below the tip; forks deeper than this cannot be followed.
pub(crate) const WINDOW_HEADERS_MAX: usize = 8_192;

/// Connected headers kept off the canonical chain.
pub(crate) const SIDE_HEADERS_MAX: usize = 8_192;

/// A window of the canonical chain, and the branches that leave it.
#[derive(Debug)]
pub(crate) struct Chain {
    genesis: Arc<SealedHeader>,
    tip: Arc<SealedHeader>,
    headers: BTreeMap<B256, Arc<SealedHeader>>,
    canonical: BTreeMap<BlockNumber, B256>,
    sides: BTreeSet<(BlockNumber, B256)>,
    /// The block that was connected without a parent, because nothing below it is wanted.
    anchor: Option<B256>,
}

impl Chain {
    pub(crate) fn new(genesis: Arc<SealedHeader>, tip: Arc<SealedHeader>) -> Self {
        let mut chain = Self {
            genesis: Arc::clone(&genesis),
            tip: Arc::clone(&tip),
            headers: BTreeMap::new(),
            canonical: BTreeMap::new(),
            sides: BTreeSet::new(),
            anchor: None,
        };
        chain.canonize(genesis);
        chain.canonize(tip);
        chain
    }

    pub(crate) const fn tip(&self) -> &Arc<SealedHeader> {
        &self.tip
    }

    pub(crate) fn is_at_genesis(&self) -> bool {
        self.tip.hash() == self.genesis.hash()
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<&Arc<SealedHeader>> {
        self.headers.get(hash)
    }

    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.headers.contains_key(hash)
    }

    pub(crate) fn is_canonical(&self, header: &SealedHeader) -> bool {
        self.canonical.get(&header.number) == Some(&header.hash())
    }

    /// The canonical block of a height, if it is in the window.
    pub(crate) fn canonical_at(&self, number: BlockNumber) -> Option<B256> {
        self.canonical.get(&number).copied()
    }

    /// The lowest header of the window, genesis aside; `None` at genesis.
    pub(crate) fn window_bottom(&self) -> Option<&Arc<SealedHeader>> {
        let (_, hash) = self.canonical.range(1..).next()?;
        self.headers.get(hash)
    }

    /// Whether a header at this height has its parent below a window that reaches no further down: it
    /// cannot be connected any more.
    pub(crate) fn is_out_of_reach(&self, number: BlockNumber) -> bool {
        !self.has_room_below() && self.window_bottom().is_some_and(|bottom| number <= bottom.number)
    }

    /// Whether the window can reach further down.
    pub(crate) fn has_room_below(&self) -> bool {
        self.canonical.len() < WINDOW_HEADERS_MAX
    }

    /// Lengthens the window downwards. What does not link is left out.
    pub(crate) fn extend_down(&mut self, descending: impl IntoIterator<Item = Arc<SealedHeader>>) {
        for header in descending {
            let Some(bottom) = self.window_bottom() else { return };
            if header.hash() == bottom.parent_hash && header.number > 0 && self.has_room_below() {
                self.sides.remove(&(header.number, header.hash()));
                self.canonize(header);
            }
        }
    }

    /// Adds a header whose parent is here, off the canonical chain for now.
    pub(crate) fn connect(&mut self, header: Arc<SealedHeader>) {
        if self.contains(&header.hash()) {
            return;
        }
        self.sides.insert((header.number, header.hash()));
        self.headers.insert(header.hash(), header);
        self.prune_sides();
    }

    /// Adds a header without its parent: the lowest block anybody wants.
    pub(crate) fn connect_anchor(&mut self, header: Arc<SealedHeader>) {
        self.anchor = Some(header.hash());
        self.connect(header);
    }

    /// The canonical block that this connected block's branch leaves the chain at.
    pub(crate) fn branch_root(&self, hash: &B256) -> Option<&Arc<SealedHeader>> {
        let mut header = self.headers.get(hash)?;
        while !self.is_canonical(header) {
            header = self.headers.get(&header.parent_hash)?;
        }
        Some(header)
    }

    /// Makes a connected block the tip. Gives the names that are canonical now and were not, ascending
    /// from the common ancestor; the block itself when it was canonical below the tip. `None` if its
    /// branch is no longer known down to the canonical chain.
    pub(crate) fn set_tip(&mut self, hash: &B256) -> Option<Vec<BlockNumHash>> {
        let tip = Arc::clone(self.headers.get(hash)?);
        let mut branch = Vec::new();
        let mut header = &tip;
        let ancestor = loop {
            if self.is_canonical(header) {
                break header.number;
            }
            branch.push(Arc::clone(header));
            if self.anchor == Some(header.hash()) {
                break 0;
            }
            header = self.headers.get(&header.parent_hash)?;
        };
        if tip.hash() == self.tip.hash() {
            return Some(Vec::new());
        }
        let above = self.canonical.split_off(&ancestor.saturating_add(1));
        self.sides.extend(above);
        branch.reverse();
        let mut names: Vec<_> = branch.iter().map(|header| BlockNumHash::of(header)).collect();
        if names.is_empty() {
            names.push(BlockNumHash::of(&tip));
        }
        for header in branch {
            self.sides.remove(&(header.number, header.hash()));
            self.canonize(header);
        }
        self.tip = tip;
        self.prune_window();
        self.prune_sides();
        Some(names)
    }

    /// Forgets a block beside the canonical chain and everything above it. Gives what was forgotten.
    pub(crate) fn cut(&mut self, block: BlockNumHash) -> BTreeSet<B256> {
        let mut cut = BTreeSet::new();
        let from = (block.number, B256::ZERO);
        let upwards: Vec<_> = self.sides.range(from..).copied().collect();
        for (number, hash) in upwards {
            let is_above = |header: &Arc<SealedHeader>| cut.contains(&header.parent_hash);
            if hash == block.hash || self.headers.get(&hash).is_some_and(is_above) {
                self.sides.remove(&(number, hash));
                self.headers.remove(&hash);
                cut.insert(hash);
            }
        }
        cut
    }

    /// Forgets every branch beside the canonical chain.
    pub(crate) fn forget_sides(&mut self) {
        for (_, hash) in std::mem::take(&mut self.sides) {
            self.headers.remove(&hash);
        }
    }

    fn canonize(&mut self, header: Arc<SealedHeader>) {
        self.canonical.insert(header.number, header.hash());
        self.headers.insert(header.hash(), header);
    }

    fn prune_window(&mut self) {
        while self.canonical.len() > WINDOW_HEADERS_MAX {
            let Some(lowest) = self.canonical.range(1..).next().map(|(number, _)| *number) else {
                return;
            };
            if let Some(hash) = self.canonical.remove(&lowest) {
                self.headers.remove(&hash);
            }
        }
    }

    fn prune_sides(&mut self) {
        while self.sides.len() > SIDE_HEADERS_MAX {
            if let Some((_, hash)) = self.sides.pop_first() {
                self.headers.remove(&hash);
            }
        }
    }
}
