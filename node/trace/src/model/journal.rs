//! What changed since when, so that a viewer that holds an older version can be brought up to date.

use std::collections::VecDeque;

const MAX_STEPS: usize = 4096;
const MAX_PATCHES: usize = 1 << 18;

/// What changed since a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows from this one on are new, or may have changed in any column.
    pub first_row: usize,
    /// Hashes from this one on are new.
    pub first_hash: usize,
    /// Entries of lists from this one on are new.
    pub first_entry: usize,
    /// Older rows that were completed: their wait, busy, late, state, bad and depth after. Ascending.
    pub patched: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    version: u64,
    first_row: usize,
    first_hash: usize,
    first_entry: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    version: u64,
    /// Changes since versions before this one are forgotten.
    oldest: u64,
    steps: VecDeque<Step>,
    patches: VecDeque<(u64, u32)>,
}

impl Journal {
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Begins a version; the arguments are the lengths before it.
    pub(super) fn begin(&mut self, rows: usize, hashes: usize, entries: usize) {
        self.version = self.version.saturating_add(1);
        self.steps.push_back(Step {
            version: self.version,
            first_row: rows,
            first_hash: hashes,
            first_entry: entries,
        });
        if self.steps.len() > MAX_STEPS
            && let Some(step) = self.steps.pop_front()
        {
            self.oldest = self.oldest.max(step.version);
        }
    }

    /// A row was completed.
    pub(super) fn patched(&mut self, row: u32) {
        let Some(step) = self.steps.back() else { return };
        if row as usize >= step.first_row {
            return;
        }
        self.patches.push_back((self.version, row));
        if self.patches.len() > MAX_PATCHES
            && let Some((version, _)) = self.patches.pop_front()
        {
            self.oldest = self.oldest.max(version);
        }
    }

    /// A row changed in another way.
    pub(super) fn rewritten(&mut self, row: u32) {
        if let Some(step) = self.steps.back_mut() {
            step.first_row = step.first_row.min(row as usize);
        }
    }

    /// Forgets everything: who holds an older version must load it all again.
    pub(super) fn restart(&mut self) {
        self.version = self.version.saturating_add(1);
        self.oldest = self.version;
        self.steps.clear();
        self.patches.clear();
    }

    /// What changed since; `None` when that is forgotten, or never was.
    pub(super) fn since(&self, version: u64, now: Changes) -> Option<Changes> {
        if version < self.oldest || version > self.version {
            return None;
        }
        let mut changes = now;
        for step in self.steps.iter().rev().take_while(|step| step.version > version) {
            changes.first_row = changes.first_row.min(step.first_row);
            changes.first_hash = changes.first_hash.min(step.first_hash);
            changes.first_entry = changes.first_entry.min(step.first_entry);
        }
        let patches = self.patches.iter().rev().take_while(|(at, _)| *at > version);
        changes.patched = patches
            .map(|(_, row)| *row)
            .filter(|row| (*row as usize) < changes.first_row)
            .collect();
        changes.patched.sort_unstable();
        changes.patched.dedup();
        Some(changes)
    }
}
