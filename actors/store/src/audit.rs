//! Counting and checking what is stored, for the command line.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, Receipts, SealedHeader, Span, StoreError, StoreStatus};
use moorline_rules::{has_no_receipts, receipts_key};
use serde::Serialize;
use thiserror::Error;

use crate::{
    group::{Group, Known},
    index::Index,
    keys,
    ledger::{Ledger, RecordKind, RecordLog, Records},
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
    /// Whether receipts are kept of every canonical block.
    pub keeps_receipts: bool,
    /// Blocks whose receipts are stored, canonical or not; blocks that have none are not among them.
    pub receipts: u64,
    /// Blocks from `earliest` to the tip.
    pub canonical: u64,
    /// Downloads that did not connect yet.
    pub spans: Vec<Span>,
    /// Length of each file of headers, bodies and receipts, in bytes, by its number.
    pub block_files: BTreeMap<u32, u64>,
    /// Length of all these files, in bytes.
    pub blocks_bytes: u64,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Canonical blocks that were read back, genesis aside.
    pub blocks: u64,
    /// Canonical blocks whose receipts were read back; blocks that have none are not among them.
    pub receipts: u64,
    /// Headers, bodies and blocks' receipts that were looked for, canonical or not.
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
    /// The block. Its hash is zero where no block is known at that height.
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
    /// The block is not found by its hash.
    #[error("the block is not found by its hash")]
    Number,
    /// The block is not a child of the canonical block below it.
    #[error("the parent is {0}, which is not the canonical block below")]
    Link(B256),
    /// The body is missing.
    #[error("the body is missing")]
    NoBody,
    /// The body does not match the header.
    #[error("{0}")]
    Body(String),
    /// The receipts are missing.
    #[error("the receipts are missing")]
    NoReceipts,
    /// The receipts do not match the header.
    #[error("the receipts are not those that the header commits to")]
    Receipts,
    /// Something cannot be read back: a checksum is wrong, a file too short.
    #[error("{0}")]
    Unreadable(String),
    /// Something is said to lie where no record of its kind lies.
    #[error("the index points to a record that is not there")]
    Pointer,
}

pub(crate) fn stats<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    block_files: BTreeMap<u32, u64>,
    index_bytes: u64,
) -> Result<StoreStats, StoreError> {
    let StoreStatus { tip, earliest, keeps_receipts, .. } = ledger.status()?;
    let (mut headers, mut bodies, mut receipts) = (0_u64, 0_u64, 0_u64);
    for_each_group(ledger, |_, group| {
        for known in group?.blocks() {
            headers = headers.saturating_add(u64::from(known.header.is_some()));
            bodies = bodies.saturating_add(u64::from(known.body.is_some()));
            receipts = receipts.saturating_add(u64::from(known.receipts.is_some()));
        }
        Ok(())
    })?;
    Ok(StoreStats {
        tip,
        earliest,
        headers,
        bodies,
        keeps_receipts,
        receipts,
        canonical: tip.number.saturating_add(1).saturating_sub(earliest),
        spans: ledger.load()?.spans,
        blocks_bytes: block_files.values().copied().fold(0, u64::saturating_add),
        block_files,
        index_bytes,
    })
}

/// Every group that the index holds, by its lowest height; what cannot be read is for `each` to judge.
fn for_each_group<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    mut each: impl FnMut(BlockNumber, Result<Group, StoreError>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let from = keys::first_of(keys::BLOCKS);
    for entry in ledger.index.scan(&from, &keys::end_of(keys::BLOCKS)) {
        let (key, _) = entry?;
        let number = keys::Fields::of_key("blocks", &key).u64()?;
        each(number, ledger.index.group(number))?;
    }
    Ok(())
}

pub(crate) fn check<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    progress: &mut dyn FnMut(CheckProgress),
) -> Result<CheckReport, StoreError> {
    let (tip, earliest) = (ledger.index.tip()?, ledger.index.earliest()?.max(1));
    let mut report = CheckReport::default();
    check_records(ledger, tip, &mut report)?;
    let total = tip.number.saturating_add(1).saturating_sub(earliest);
    let mut records = Records::new(&ledger.log);
    let genesis = check_height(ledger, &mut records, 0, None, &mut report);
    let mut below = genesis.filter(|_| earliest == 1);
    for number in earliest..=tip.number {
        below = check_height(ledger, &mut records, number, below, &mut report);
        if below.is_some() {
            report.blocks = report.blocks.saturating_add(1);
            progress(CheckProgress { done: report.blocks, total });
        }
    }
    Ok(report)
}

/// The hash of the canonical block at a height, if there is one.
fn check_height<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    records: &mut Records<'_, L>,
    number: BlockNumber,
    below: Option<B256>,
    report: &mut CheckReport,
) -> Option<B256> {
    let nameless = BlockNumHash::new(number, B256::ZERO);
    match ledger.index.canonical(number) {
        Err(error) => report.add(nameless, unreadable(error)),
        Ok(None) => report.add(nameless, Fault::Gap),
        Ok(Some(known)) => {
            match check_block(ledger, records, &known, below) {
                Ok(has_receipts) => {
                    report.receipts = report.receipts.saturating_add(u64::from(has_receipts));
                }
                Err(fault) => report.add(known.at, fault),
            }
            return Some(known.at.hash);
        }
    }
    None
}

fn unreadable(error: StoreError) -> Fault {
    Fault::Unreadable(error.to_string())
}

/// The header, read back and hashed.
fn check_header<L: RecordLog>(
    records: &mut Records<'_, L>,
    known: &Known,
) -> Result<Arc<SealedHeader>, Fault> {
    let header = records.header(known).map_err(unreadable)?.ok_or(Fault::NoHeader)?;
    match header.hash_slow() {
        hash if hash == known.at.hash => Ok(header),
        hash => Err(Fault::HeaderHash(hash)),
    }
}

/// Whether receipts of it are stored; they are then its own.
fn check_block<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    records: &mut Records<'_, L>,
    known: &Known,
    below: Option<B256>,
) -> Result<bool, Fault> {
    let header = check_header(records, known)?;
    if below.is_some_and(|below| below != header.parent_hash) {
        return Err(Fault::Link(header.parent_hash));
    }
    if ledger.index.known_by_hash(known.at.hash).map_err(unreadable)?.as_ref() != Some(known) {
        return Err(Fault::Number);
    }
    let body = records.body(known).map_err(unreadable)?.ok_or(Fault::NoBody)?;
    moorline_rules::body_matches(&header, &body).map_err(|error| Fault::Body(error.to_string()))?;
    if !ledger.index.keeps_receipts().map_err(unreadable)? {
        return Ok(false);
    }
    match records.receipts(known).map_err(unreadable)? {
        Some(receipts) => check_receipts(&header, &receipts).map(|()| true),
        None if has_no_receipts(&header) => Ok(false),
        None => Err(Fault::NoReceipts),
    }
}

/// Their root is enough: bloom and gas were compared before they were written.
fn check_receipts(header: &SealedHeader, receipts: &Receipts) -> Result<(), Fault> {
    let found = receipts_key(receipts).map(|key| key.root);
    if found == Some(header.receipts_root) { Ok(()) } else { Err(Fault::Receipts) }
}

/// Every pointer must lead to a record of its kind, and what is not canonical must read back: what is
/// canonical is read on the way up the chain.
fn check_records<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    tip: BlockNumHash,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let mut records = Records::new(&ledger.log);
    for_each_group(ledger, |number, group| {
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                report.add(BlockNumHash::new(number, B256::ZERO), unreadable(error));
                return Ok(());
            }
        };
        for known in group.blocks() {
            let is_whole = check_pointers(ledger, known, report);
            let canonical = ledger.index.canonical(known.at.number);
            let is_canonical = known.at.number <= tip.number
                && canonical.is_ok_and(|canonical| canonical.as_ref() == Some(known));
            if is_whole && !is_canonical {
                check_stray(&mut records, known, report);
            }
        }
        Ok(())
    })
}

/// Whether its records are where they are said to be.
fn check_pointers<I: Index, L: RecordLog>(
    ledger: &Ledger<I, L>,
    known: &Known,
    report: &mut CheckReport,
) -> bool {
    let mut is_whole = true;
    for kind in [RecordKind::Header, RecordKind::Body, RecordKind::Receipts] {
        let Some(pointer) = known.record(kind) else { continue };
        report.pointers = report.pointers.saturating_add(1);
        if !ledger.log.reaches(pointer, kind) {
            report.add(known.at, Fault::Pointer);
            is_whole = false;
        }
    }
    is_whole
}

/// What is stored and not canonical, or not yet.
fn check_stray<L: RecordLog>(
    records: &mut Records<'_, L>,
    known: &Known,
    report: &mut CheckReport,
) {
    if known.header.is_some()
        && let Err(fault) = check_header(records, known)
    {
        report.add(known.at, fault);
    }
    if let Err(error) = records.body(known) {
        report.add(known.at, unreadable(error));
    }
    if let Err(error) = records.receipts(known) {
        report.add(known.at, unreadable(error));
    }
}
