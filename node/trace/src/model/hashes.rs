//! Hashes of blocks, each once, and what is known of the blocks.

use std::collections::HashMap;

use super::Columns;

const UNKNOWN: u32 = u32::MAX;
const NO_NUMBER: u64 = u64::MAX;

#[derive(Clone, Debug, Default)]
pub(super) struct Hashes {
    all: Vec<[u8; 32]>,
    // only looked up, never gone through: its order is random
    index: HashMap<[u8; 32], u32>,
    numbers: Vec<u64>,
    parents: Vec<u32>,
}

impl Hashes {
    pub(super) fn all(&self) -> &[[u8; 32]] {
        &self.all
    }

    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<u32> {
        self.index.get(hash).copied()
    }

    pub(super) fn put(&mut self, hash: &[u8; 32]) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(UNKNOWN);
        let index = *self.index.entry(*hash).or_insert(next);
        if index == next {
            self.all.push(*hash);
            self.numbers.push(NO_NUMBER);
            self.parents.push(UNKNOWN);
        }
        index
    }

    pub(super) fn number(&self, index: u32) -> Option<u64> {
        self.numbers.get(index as usize).copied().filter(|number| *number != NO_NUMBER)
    }

    pub(super) fn parent(&self, index: u32) -> Option<u32> {
        self.parents.get(index as usize).copied().filter(|parent| *parent != UNKNOWN)
    }

    /// Notes the number of a block; the first that was told stays.
    pub(super) fn learn_number(&mut self, index: u32, number: u64) {
        if let Some(known) = self.numbers.get_mut(index as usize)
            && *known == NO_NUMBER
        {
            *known = number;
        }
    }

    /// Notes the parent of a block; the first that was told stays.
    pub(super) fn learn_parent(&mut self, index: u32, parent: u32) {
        if let Some(known) = self.parents.get_mut(index as usize)
            && *known == UNKNOWN
        {
            *known = parent;
        }
    }

    /// Forgets hashes that no row has, and gives the others new numbers.
    pub(super) fn keep_only(&mut self, columns: &mut Columns) {
        let old = std::mem::take(self);
        let mut moved = vec![UNKNOWN; old.all.len()];
        for place in columns.hash.iter_mut().chain(&mut columns.list_hash) {
            let Some(index) = place.checked_sub(1) else { continue };
            let (Some(hash), Some(to)) =
                (old.all.get(index as usize), moved.get_mut(index as usize))
            else {
                continue;
            };
            if *to == UNKNOWN {
                *to = self.put(hash);
            }
            *place = to.saturating_add(1);
        }
        for (index, to) in (0_u32..).zip(&moved) {
            if *to == UNKNOWN {
                continue;
            }
            if let Some(number) = old.number(index) {
                self.learn_number(*to, number);
            }
            let parent = old.parent(index).and_then(|parent| moved.get(parent as usize));
            if let Some(parent) = parent.copied().filter(|parent| *parent != UNKNOWN) {
                self.learn_parent(*to, parent);
            }
        }
    }
}
