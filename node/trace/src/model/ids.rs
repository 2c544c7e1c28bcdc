//! From the number of a message to its row.

use std::collections::BTreeMap;

/// How far the first id may be from the lowest, and the dense part's length beside what its ids account for.
const REACH: u64 = 1 << 16;

/// Places of the dense part for each id: some ids belong to no row.
const SPREAD: u64 = 16;

/// Ids are given one after another, so nearly all of them fit a list; the rest, an attacker's choice, are in a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    first: Option<u64>,
    dense: Vec<u32>,
    known: u64,
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
        let first = *self.first.get_or_insert(id.saturating_sub(REACH / 4));
        self.known = self.known.saturating_add(1);
        let room = self.known.saturating_mul(SPREAD).saturating_add(REACH);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_far_apart_take_no_room_between_them() {
        let mut ids = Ids::default();
        for row in 0..1_000_u32 {
            ids.put(u64::from(row).wrapping_mul((1 << 20) - 1), row);
        }
        assert!(ids.dense.len() < 1 << 17, "{}", ids.dense.len());
        assert!((0..1_000).all(|row| ids.get(u64::from(row) * ((1 << 20) - 1)) == Some(row)));
    }
}
