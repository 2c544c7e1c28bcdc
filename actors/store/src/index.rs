//! The index: an ordered map from keys to values with atomic batches, and how it is looked up.

use std::{
    collections::BTreeMap,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::OnceLock,
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, StoreError};

use crate::{
    group::{Group, Known},
    keys::{self, Bytestring, Places},
};

/// Entries to put, or to remove where the value is `None`.
pub(crate) type Entries = BTreeMap<Bytestring, Option<Bytestring>>;

/// Point reads, and what they mean.
pub(crate) trait Lookup {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError>;

    fn meta(&self, key: &'static [u8]) -> Result<Bytestring, StoreError> {
        self.get(key)?.ok_or_else(|| {
            let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default());
            StoreError::Damaged(format!("the index has lost its entry '{name}'"))
        })
    }

    /// Whether the store was founded to keep receipts.
    fn keeps_receipts(&self) -> Result<bool, StoreError>;

    fn tip(&self) -> Result<BlockNumHash, StoreError> {
        keys::get_block("the tip", &self.meta(keys::META_TIP)?)
    }

    fn earliest(&self) -> Result<BlockNumber, StoreError> {
        keys::get_u64("the earliest block", &self.meta(keys::META_EARLIEST)?)
    }

    /// The blocks known at the heights around `number`.
    fn group(&self, number: BlockNumber) -> Result<Group, StoreError> {
        let blocks = self.get(&keys::blocks(number))?;
        let bodies = self.get(&keys::bodies(number))?;
        // where none are kept, nothing is looked for
        let receipts =
            if self.keeps_receipts()? { self.get(&keys::receipts(number))? } else { None };
        Group::get(number, blocks.as_deref(), bodies.as_deref(), receipts.as_deref())
    }

    fn known(&self, at: BlockNumHash) -> Result<Option<Known>, StoreError> {
        Ok(self.group(at.number)?.find(at.hash).filter(|known| known.at == at))
    }

    fn known_by_hash(&self, hash: B256) -> Result<Option<Known>, StoreError> {
        let Some(entry) = self.get(&keys::numbers(hash))? else { return Ok(None) };
        let mut found = None;
        for number in keys::get_numbers(&entry)? {
            // a body may have come under another height than its header
            match self.known(BlockNumHash { number, hash })? {
                Some(known) if known.header.is_some() => return Ok(Some(known)),
                other => found = found.or(other),
            }
        }
        Ok(found)
    }

    /// The canonical block at a height. Entries under `earliest` are left-overs of an older run and do
    /// not count, the genesis block aside.
    fn canonical(&self, number: BlockNumber) -> Result<Option<Known>, StoreError> {
        if number != 0 && number < self.earliest()? {
            return Ok(None);
        }
        let places = self.places(number)?;
        let place = places.get(keys::split(number).1).copied().unwrap_or_default();
        if place == 0 {
            return Ok(None);
        }
        self.group(number)?.at_place(number, place).map(Some).ok_or_else(|| {
            StoreError::Damaged(format!("the canonical block at height {number} is unknown"))
        })
    }

    fn places(&self, number: BlockNumber) -> Result<Places, StoreError> {
        let entry = self.get(&keys::canonical(number))?;
        entry.map_or(Ok(Places::default()), |entry| keys::get_places(&entry))
    }

    fn canonical_hash(&self, number: BlockNumber) -> Result<Option<B256>, StoreError> {
        Ok(self.canonical(number)?.map(|known| known.at.hash))
    }
}

pub(crate) fn keeps_receipts_by_schema(index: &impl Lookup) -> Result<bool, StoreError> {
    let schema = keys::get_schema(&index.meta(keys::META_SCHEMA)?)?;
    Ok(schema == keys::SCHEMA_WITH_RECEIPTS)
}

/// A scan's entries, ascending.
pub(crate) type Scan<'a> =
    Box<dyn Iterator<Item = Result<(Bytestring, Bytestring), StoreError>> + 'a>;

/// An ordered map that can be written atomically.
pub(crate) trait Index: Lookup + Send + Sync {
    /// Entries from `from` up to, not including, `to`.
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_>;

    /// Whether writing makes sense at all.
    fn ready(&self) -> Result<(), StoreError>;

    /// Writes all entries or none.
    fn apply(&self, entries: &Entries) -> Result<(), StoreError>;

    /// Makes everything that was applied survive a loss of power.
    fn sync(&self) -> Result<(), StoreError>;
}

/// sled, with the fsync that its flush leaves out.
#[derive(Debug)]
pub(crate) struct SledIndex {
    db: sled::Db,
    /// sled's log, opened a second time: syncing any handle syncs the file.
    file: File,
    /// Set once a write failed: what sled holds in memory may then not be what is on disk.
    broken: OnceLock<StoreError>,
    /// Decided when the store was founded, and asked at every look-up.
    keeps_receipts: OnceLock<bool>,
}

impl SledIndex {
    /// `dir` is the directory that sled was opened in.
    pub(crate) fn new(db: sled::Db, dir: &Path) -> std::io::Result<Self> {
        let file = File::open(dir.join("db"))?;
        Ok(Self { db, file, broken: OnceLock::new(), keeps_receipts: OnceLock::new() })
    }

    pub(crate) fn size_bytes(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(sled_error)
    }

    fn breaking<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            drop(self.broken.set(lasting(error)));
        }
        result
    }
}

impl Lookup for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError> {
        self.db.get(key).map(|value| value.map(|value| value.to_vec())).map_err(sled_error)
    }

    fn keeps_receipts(&self) -> Result<bool, StoreError> {
        if let Some(keeps_receipts) = self.keeps_receipts.get() {
            return Ok(*keeps_receipts);
        }
        let keeps_receipts = keeps_receipts_by_schema(self)?;
        Ok(*self.keeps_receipts.get_or_init(|| keeps_receipts))
    }
}

impl Index for SledIndex {
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        Box::new(self.db.range(from..to).map(|entry| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(sled_error)
        }))
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.broken.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn apply(&self, entries: &Entries) -> Result<(), StoreError> {
        self.ready()?;
        let mut batch = sled::Batch::default();
        for (key, value) in entries {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.breaking(unwinding(|| self.db.apply_batch(batch)))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.ready()?;
        self.breaking(unwinding(|| self.db.flush()))?;
        // sled's flush writes the log but never calls fsync on Linux
        self.breaking(self.file.sync_all().map_err(|error| io_error("sync the index", &error)))
    }
}

/// What every write is told after one that failed for good.
pub(crate) fn lasting(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(text) => {
            StoreError::Full(format!("{text}; make room and start the node again"))
        }
        other => StoreError::Io(format!("{other}; start the node again")),
    }
}

/// Calls into sled, where a panic is a failure like any other: what it was writing may be half done.
fn unwinding<T>(write: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(result) => result.map_err(sled_error),
        Err(panic) => Err(StoreError::Damaged(format!(
            "the database broke off: {}",
            crate::disk::first_line(&*panic)
        ))),
    }
}

/// An operating system's error, told apart by what the reader can do about it.
pub(crate) fn io_error(doing: &str, error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let text = format!("cannot {doing}: {error}");
    match error.kind() {
        StorageFull | QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Io(text),
    }
}

pub(crate) fn sled_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => io_error("use the index", &error),
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
            StoreError::Damaged(format!("the index is unreadable: {error}"))
        }
        other => StoreError::Io(format!("the index refuses: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_after_a_write_that_panicked() {
        let dir = tempfile::TempDir::new().unwrap();
        let index = SledIndex::new(sled::open(dir.path()).unwrap(), dir.path()).unwrap();
        let error = index.breaking(unwinding::<()>(|| panic!("broken page"))).unwrap_err();
        assert!(error.to_string().contains("broken page"), "{error}");
        let error = index.apply(&Entries::from([(vec![1], Some(vec![2]))])).unwrap_err();
        assert!(error.to_string().contains("start the node again"), "{error}");
        assert_eq!(index.get(&[1]).unwrap(), None);
    }
}
