//! From the number of a message to its row.

use std::collections::BTreeMap;

/// How far ahead of the highest id so far an id may be to be kept in the dense part.
const REACH: u64 = 1 << 20;

/// Ids are given one after another, so nearly all of them fit a list; the rest, an attacker's choice, are in a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    first: Option<u64>,
    dense: Vec<u32>,
    far: BTreeMap<u64, u32>,
}

const NONE: u32 = u32::MAX;

impl Ids {
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        let dense = self
            .first
            .and_then(|first| id.checked_sub(first))
            .and_then(|index| self.dense.get(usize::try_from(index).ok()?))
            .copied()
            .filter(|row| *row != NONE);
        match dense {
            None if self.far.is_empty() => None,
            None => self.far.get(&id).copied(),
            found => found,
        }
    }

    /// Notes the row of an id that was not noted before.
    pub(super) fn put(&mut self, id: u64, row: u32) {
        // records of several threads are a little out of order, so leave room below
        let first = *self.first.get_or_insert(id.saturating_sub(REACH / 64));
        let room = (self.dense.len() as u64).saturating_add(REACH);
        let index = id.checked_sub(first).filter(|index| *index < room);
        let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else {
            self.far.insert(id, row);
            return;
        };
        if index >= self.dense.len() {
            self.dense.resize(index.saturating_add(1), NONE);
        }
        if let Some(slot) = self.dense.get_mut(index) {
            *slot = row;
        }
    }
}
