//! Headers that are here and do not connect yet.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{SealedHeader, Weigh};

/// Headers that wait for their parents.
pub(crate) const BUFFER_HEADERS_MAX: usize = 4_096;

/// What those headers may weigh together.
pub(crate) const BUFFER_BYTES_MAX: usize = 8 << 20;

/// A header that waits for its parent.
#[derive(Clone, Debug)]
pub(crate) struct Buffered {
    pub(crate) header: Arc<SealedHeader>,
    /// Whether it is proved to lie under a head that the consensus client named.
    pub(crate) followed: bool,
}

/// Disconnected headers. The highest one, which is the farthest from connecting, goes first when
/// there are too many.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    headers: BTreeMap<B256, Buffered>,
    by_parent: BTreeSet<(B256, B256)>,
    by_number: BTreeSet<(BlockNumber, B256)>,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn get(&self, hash: &B256) -> Option<&Arc<SealedHeader>> {
        self.headers.get(hash).map(|buffered| &buffered.header)
    }

    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.headers.contains_key(hash)
    }

    /// Adds a header, or remembers that a header which is here is followed too.
    pub(crate) fn insert(&mut self, header: Arc<SealedHeader>, followed: bool) {
        let hash = header.hash();
        if let Some(here) = self.headers.get_mut(&hash) {
            here.followed |= followed;
            return;
        }
        self.by_parent.insert((header.parent_hash, hash));
        self.by_number.insert((header.number, hash));
        self.bytes = self.bytes.saturating_add(header.weight_bytes());
        self.headers.insert(hash, Buffered { header, followed });
        while self.headers.len() > BUFFER_HEADERS_MAX || self.bytes > BUFFER_BYTES_MAX {
            let Some((_, farthest)) = self.by_number.last().copied() else { return };
            self.remove(&farthest);
        }
    }

    /// Takes out the headers whose parent this is.
    pub(crate) fn take_children(&mut self, parent: &B256) -> Vec<Buffered> {
        let children: Vec<B256> = self.children(parent).collect();
        children.iter().filter_map(|child| self.remove(child)).collect()
    }

    /// Takes out everything above a block.
    pub(crate) fn take_descendants(&mut self, block: &B256) -> Vec<Arc<SealedHeader>> {
        let mut descendants = Vec::new();
        let mut parents = VecDeque::from([*block]);
        while let Some(parent) = parents.pop_front() {
            for child in self.take_children(&parent) {
                parents.push_back(child.header.hash());
                descendants.push(child.header);
            }
        }
        descendants
    }

    /// Takes one header out.
    pub(crate) fn remove(&mut self, hash: &B256) -> Option<Buffered> {
        let buffered = self.headers.remove(hash)?;
        self.by_parent.remove(&(buffered.header.parent_hash, *hash));
        self.by_number.remove(&(buffered.header.number, *hash));
        self.bytes = self.bytes.saturating_sub(buffered.header.weight_bytes());
        Some(buffered)
    }

    /// The lowest header of the run that ends in this one.
    pub(crate) fn lowest_below(&self, top: &Arc<SealedHeader>) -> Arc<SealedHeader> {
        let mut lowest = top;
        while let Some(parent) = self.headers.get(&lowest.parent_hash) {
            lowest = &parent.header;
        }
        Arc::clone(lowest)
    }

    /// The parents that headers wait for, and that are not here themselves.
    pub(crate) fn missing_parents(&self) -> BTreeSet<B256> {
        let parents = self.by_parent.iter().map(|(parent, _)| *parent);
        parents.filter(|parent| !self.contains(parent)).collect()
    }

    /// Forgets what is followed: the head above it was given up.
    pub(crate) fn unfollow(&mut self) {
        for buffered in self.headers.values_mut() {
            buffered.followed = false;
        }
    }

    fn children(&self, parent: &B256) -> impl Iterator<Item = B256> + '_ {
        let range = (*parent, B256::ZERO)..=(*parent, B256::repeat_byte(0xff));
        self.by_parent.range(range).map(|(_, child)| *child)
    }
}
