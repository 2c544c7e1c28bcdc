//! Counting and checking what is stored, for the command line.

use std::collections::BTreeMap;

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, Span, StoreError, StoreStatus};
use serde::Serialize;
use thiserror::Error;

use crate::{
    bodies::record_end,
    index::Index,
    keys,
    ledger::{BodyLog, Ledger},
};

/// Most faults that a report lists; the rest is counted.
const FAULTS_MAX: usize = 100;

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    /// The highest canonical block.
    pub tip: BlockNumHash,
    /// The lowest canonical block, genesis aside, from which on nothing is missing.
    pub earliest: BlockNumber,
    /// Headers, canonical or not.
    pub headers: u64,
    /// Bodies, canonical or not.
    pub bodies: u64,
    /// Blocks from `earliest` to the tip.
    pub canonical: u64,
    /// Downloads that did not connect yet.
    pub spans: Vec<Span>,
    /// Length of each body file, in bytes, by its number.
    pub body_files: BTreeMap<u32, u64>,
    /// Length of all body files, in bytes.
    pub bodies_bytes: u64,
    /// What sled takes up on disk, in bytes.
    pub index_bytes: u64,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckProgress {
    /// Blocks checked.
    pub done: u64,
    /// Blocks to check.
    pub total: u64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Canonical blocks that were read back.
    pub blocks: u64,
    /// Body pointers that were followed, canonical or not.
    pub pointers: u64,
    /// Faults found.
    pub fault_count: u64,
    /// The first hundred of them.
    pub faults: Vec<BlockFault>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.fault_count == 0
    }

    fn add(&mut self, block: BlockNumHash, fault: Fault) {
        self.fault_count = self.fault_count.saturating_add(1);
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(BlockFault { block, fault });
        }
    }
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockFault {
    /// The block. Its hash is zero where no block is known at that height; its number is zero where a
    /// body has no header.
    pub block: BlockNumHash,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a stored block.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No canonical block is known at this height.
    #[error("no canonical block at this height")]
    Gap,
    /// The header is missing.
    #[error("the header is missing")]
    NoHeader,
    /// The header's bytes hash to something else.
    #[error("the header hashes to {0}")]
    HeaderHash(B256),
    /// The block is not a child of the canonical block below it.
    #[error("the parent is {0}, which is not the canonical block below")]
    Link(B256),
    /// The body is missing.
    #[error("the body is missing")]
    NoBody,
    /// The body does not match the header.
    #[error("{0}")]
    Body(String),
    /// Something cannot be read back: a checksum is wrong, a file too short.
    #[error("{0}")]
    Unreadable(String),
    /// A body is said to lie where no body file reaches.
    #[error("the body's pointer leads outside of the body files")]
    Pointer,
}

pub(crate) fn stats<I: Index, L: BodyLog>(
    ledger: &Ledger<I, L>,
    body_files: BTreeMap<u32, u64>,
    index_bytes: u64,
) -> Result<StoreStats, StoreError> {
    let StoreStatus { tip, earliest, .. } = ledger.status()?;
    let count = |prefix| {
        let entries = ledger.index.scan(&keys::first_of(prefix), &keys::end_of(prefix));
        entries.map(|entry| entry.map(|_| 1_u64)).sum::<Result<u64, _>>()
    };
    Ok(StoreStats {
        tip,
        earliest,
        headers: count(keys::HEADERS)?,
        bodies: count(keys::BODIES)?,
        canonical: tip.number.saturating_add(1).saturating_sub(earliest),
        spans: ledger.load()?.spans,
        bodies_bytes: body_files.values().copied().fold(0, u64::saturating_add),
        body_files,
        index_bytes,
    })
}

pub(crate) fn check<I: Index, L: BodyLog>(
    ledger: &Ledger<I, L>,
    files: &BTreeMap<u32, u64>,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, StoreError> {
    let StoreStatus { tip, earliest, .. } = ledger.status()?;
    let mut report = CheckReport { blocks: 0, pointers: 0, fault_count: 0, faults: Vec::new() };
    check_pointers(ledger, files, &mut report)?;
    let total = tip.number.saturating_add(1).saturating_sub(earliest);
    let mut below = match earliest {
        1 => ledger.index.canonical_hash(0)?,
        _ => None,
    };
    for number in earliest..=tip.number {
        let Some(hash) = ledger.index.canonical_hash(number)? else {
            report.add(BlockNumHash::new(number, B256::ZERO), Fault::Gap);
            below = None;
            continue;
        };
        let block = BlockNumHash { number, hash };
        if let Err(fault) = check_block(ledger, block, below) {
            report.add(block, fault);
        }
        below = Some(hash);
        report.blocks = report.blocks.saturating_add(1);
        progress(CheckProgress { done: report.blocks, total });
    }
    Ok(report)
}

fn check_block<I: Index, L: BodyLog>(
    ledger: &Ledger<I, L>,
    block: BlockNumHash,
    below: Option<B256>,
) -> Result<(), Fault> {
    let unreadable = |error: StoreError| Fault::Unreadable(error.to_string());
    let header = ledger.index.header(block).map_err(unreadable)?.ok_or(Fault::NoHeader)?;
    let hash = header.hash_slow();
    if hash != block.hash {
        return Err(Fault::HeaderHash(hash));
    }
    if below.is_some_and(|below| below != header.parent_hash) {
        return Err(Fault::Link(header.parent_hash));
    }
    let body = ledger.body(block.hash).map_err(unreadable)?.ok_or(Fault::NoBody)?;
    moorline_rules::body_matches(&header, &body).map_err(|error| Fault::Body(error.to_string()))
}

/// Every pointer must lead into a file.
fn check_pointers<I: Index, L: BodyLog>(
    ledger: &Ledger<I, L>,
    files: &BTreeMap<u32, u64>,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let from = keys::first_of(keys::BODIES);
    for entry in ledger.index.scan(&from, &keys::end_of(keys::BODIES)) {
        let (key, value) = entry?;
        let mut key = keys::Fields::of_key("a body", &key);
        let hash = key.hash()?;
        let pointer = keys::get_pointer(&value)?;
        report.pointers = report.pointers.saturating_add(1);
        let number = ledger.index.number_of(hash)?;
        let block = BlockNumHash::new(number.unwrap_or_default(), hash);
        if files.get(&pointer.file).is_none_or(|len| record_end(pointer) > *len) {
            report.add(block, Fault::Pointer);
        }
    }
    Ok(())
}
