//! The last records, in memory.

use std::{collections::VecDeque, fs, io, path::Path};

use moorline_messages::TraceRecord;

use super::{list_bytes, segments::prune};

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

/// Writes a flight recording; names it after the moment and what it is for.
pub(super) fn write(dir: &Path, unix_ms: u128, why: &str, lines: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("flight-{unix_ms:013}-{why}.jsonl"));
    // whoever looks for it finds it whole
    let partial = path.with_extension("partial");
    fs::write(&partial, lines)?;
    fs::rename(partial, &path)?;
    prune(dir, is_flight, FLIGHTS_MAX, u64::MAX, &path);
    Ok(())
}

fn is_flight(name: &str) -> bool {
    name.starts_with("flight-") && name.ends_with(".jsonl")
}
