//! The last records, in memory.

use std::{collections::VecDeque, fs, io, path::Path};

use moorline_messages::{TraceBlocks, TraceEvent, TraceRecord};

use super::segments::delete_oldest;

/// Records kept.
const RING_RECORDS_MAX: usize = 16_384;

/// Bytes that lists of blocks in kept records may hold.
const RING_LIST_BYTES_MAX: usize = 8 << 20;

/// Flight recordings kept in a directory.
const FLIGHTS_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Ring {
    records: VecDeque<(u64, TraceRecord)>,
    list_bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, q: u64, record: TraceRecord) {
        self.list_bytes = self.list_bytes.saturating_add(list_bytes(&record));
        self.records.push_back((q, record));
        while self.records.len() > RING_RECORDS_MAX || self.list_bytes > RING_LIST_BYTES_MAX {
            let Some((_, oldest)) = self.records.pop_front() else { return };
            self.list_bytes = self.list_bytes.saturating_sub(list_bytes(&oldest));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u64, TraceRecord)> {
        self.records.iter()
    }
}

fn list_bytes(record: &TraceRecord) -> usize {
    let TraceEvent::Send { key, .. } = &record.event else { return 0 };
    match &key.blocks {
        TraceBlocks::Chain { hashes, .. } => size_of_val::<[_]>(hashes),
        TraceBlocks::Runs(runs) => size_of_val::<[_]>(runs),
        _ => 0,
    }
}

/// Writes a flight recording; names it after the moment and what it is for.
pub(super) fn write(dir: &Path, unix_ms: u128, why: &str, lines: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(format!("flight-{unix_ms:013}-{why}.jsonl")), lines)?;
    delete_oldest(dir, is_flight, FLIGHTS_MAX)
}

fn is_flight(name: &str) -> bool {
    name.starts_with("flight-") && name.ends_with(".jsonl")
}
