//! What a model is asked.

use std::collections::BTreeMap;

use super::{ACTORS, Changes, Columns, Mark, Model, PortInfo};
use crate::{
    batch::{Skipped, UnexplainedGap},
    line::Header,
};

impl Model {
    /// The first header that was read; empty before.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The rows.
    pub const fn columns(&self) -> &Columns {
        &self.columns
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// Names of the lanes, the actors first.
    pub fn lanes(&self) -> &[String] {
        self.lanes.all()
    }

    /// How many of the lanes, from the first, are actors.
    pub const fn actors(&self) -> usize {
        ACTORS
    }

    /// Names of the messages and reasons of the timers.
    pub fn types(&self) -> &[String] {
        self.types.all()
    }

    /// Name of a row's message.
    pub fn type_name(&self, row: usize) -> &str {
        let index = self.columns.type_.get(row).copied().unwrap_or_default();
        self.types.all().get(usize::from(index)).map_or("", String::as_str)
    }

    /// Name of a lane; empty for [`super::NO_LANE`].
    pub fn lane_name(&self, lane: u8) -> &str {
        self.lanes.all().get(usize::from(lane)).map_or("", String::as_str)
    }

    /// A row's note; empty when it has none.
    pub fn note(&self, row: usize) -> &str {
        let index = self.columns.note.get(row).copied().unwrap_or_default();
        let index = (index as usize).checked_sub(1);
        index.and_then(|index| self.notes.all().get(index)).map_or("", String::as_str)
    }

    /// The notes, each once.
    pub fn notes(&self) -> &[String] {
        self.notes.all()
    }

    /// First 64 bits of the ids of the peers.
    pub fn peers(&self) -> &[u64] {
        &self.peers
    }

    /// The ports, by their numbers.
    pub const fn ports(&self) -> &BTreeMap<u16, PortInfo> {
        &self.ports
    }

    /// The hashes, each once.
    pub fn hashes(&self) -> &[[u8; 32]] {
        self.hashes.all()
    }

    /// Index of a hash, if the trace has it.
    pub fn hash_index(&self, hash: &[u8; 32]) -> Option<u32> {
        self.hashes.get(hash)
    }

    /// Number of the block with the hash of that index, if some row has both.
    pub fn number_of(&self, hash_index: u32) -> Option<u64> {
        self.hashes.number(hash_index)
    }

    /// Index of the parent's hash, if some row has both in a run.
    pub fn parent_of(&self, hash_index: u32) -> Option<u32> {
        self.hashes.parent(hash_index)
    }

    /// Panics, restarts, gaps and the like, in order of time.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What was skipped, by its kind.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Records that are missing and no `gap` says so.
    pub fn unexplained_gaps(&self) -> &[UnexplainedGap] {
        &self.gaps
    }

    /// The row of a message.
    pub fn row_of(&self, id: u64) -> Option<usize> {
        self.ids.get(id).map(|row| row as usize)
    }

    /// The row that a mark is about.
    pub fn mark_row(&self, mark: &Mark) -> Option<usize> {
        if mark.id == 0 { None } else { self.row_of(mark.id) }
    }

    /// Counts what has changed: every batch that holds anything makes a version.
    pub const fn version(&self) -> u64 {
        self.journal.version()
    }

    /// Counts how often rows were renumbered: changes of an older generation mean nothing.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many of the oldest rows were forgotten.
    pub const fn trimmed_rows(&self) -> u64 {
        self.trimmed_rows
    }

    /// Time of the latest record, in nanoseconds since the run began.
    pub const fn last_ns(&self) -> u64 {
        self.last_t
    }

    /// What changed since a version of this generation; `None` when all must be loaded again.
    pub fn changes_since(&self, version: u64) -> Option<Changes> {
        let now = Changes {
            first_row: self.rows(),
            first_hash: self.hashes.all().len(),
            first_entry: self.columns.list_hash.len(),
            patched: Vec::new(),
        };
        self.journal.since(version, now)
    }
}
