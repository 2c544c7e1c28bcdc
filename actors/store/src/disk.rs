//! The store on disk.
//!
//! ```text
//! lock                 locked while the store is open
//! tip.json             what the index knew last, so that one that comes back empty or older is noticed
//! index/               sled
//! blocks-000001.e2s    headers, bodies and receipts
//! ```

use std::{
    any::Any,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{
    BlockNumHash, FoundBlock, SealedHeader, StoreAnswer, StoreBatch, StoreError, StoreQuery,
    StoredState,
};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{self, CheckProgress, CheckReport, StoreStats},
    backend::Backend,
    index::{Index, Lookup, SledIndex},
    keys::{self, LogEnd},
    ledger::{Blocks, Ledger},
    open_error::OpenError,
    records::{self, FILE_BYTES_MAX, RecordFiles},
};

/// What sled may keep of its pages, in bytes on disk; in memory they take two to three times as much.
const CACHE_BYTES: u64 = 32 << 20;

/// What sled writes in one piece at most, in bytes. Where a small write hits a page-cache folio that a large
/// one made, Linux counts and writes back up to the whole; a leaf over a quarter of this would become a
/// file of its own, which sled does not sync.
const SEGMENT_BYTES: usize = 128 << 10;

/// Every store of layout 1 has it, and no other. Its index cannot even be opened: sled's segments had
/// another size.
const FIRST_FILE_OF_LAYOUT_1: &str = "bodies-000001.e2s";

/// Length of tip.json: within one sector, which is written whole or not at all.
const SIDE_FILE_BYTES: usize = 256;

/// How often a lock is tried before somebody else is said to hold it, and how long to wait between:
/// half a second in all, for a process that is just going away.
const LOCK_ATTEMPTS_MAX: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What tip.json says. The index never knows less: it is synced before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    tip: BlockNumHash,
    log_end: LogEnd,
}

/// tip.json, and what was last written to it.
#[derive(Debug)]
struct SideFile {
    file: File,
    noted: Option<Noted>,
}

impl SideFile {
    fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(dir.join("tip.json"))?;
        Ok(Self { file, noted: None })
    }

    /// Written in place and never synced: a new file for each commit would cost a page each.
    fn note(&mut self, now: Noted) -> io::Result<()> {
        if self.noted == Some(now) {
            return Ok(());
        }
        let mut text = serde_json::to_vec(&now)?;
        text.resize(SIDE_FILE_BYTES.max(text.len()), b' ');
        self.noted = None;
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
        self.noted = Some(now);
        Ok(())
    }
}

/// The store in a directory. One process at a time; dropping it closes it.
#[derive(Debug)]
pub struct Disk {
    ledger: Ledger<SledIndex, RecordFiles>,
    dir: PathBuf,
    keeps_receipts: bool,
    /// Held by the commit at hand, so that it notes what was synced and not what comes next.
    side_file: Mutex<SideFile>,
    /// Held until everything above is closed.
    _lock: File,
}

impl Disk {
    /// Opens the store in a directory, or founds one there with the genesis block alone.
    ///
    /// Whether receipts are kept is decided when a store is founded. `receipts` asks for that; `None` goes by
    /// what is there, and founds a store that keeps none.
    ///
    /// # Errors
    /// The directory is in use, foreign, founded with another choice of `receipts`, damaged, written by a
    /// newer version or out of reach.
    pub fn open(
        dir: &Path,
        genesis: &Arc<SealedHeader>,
        chain_id: u64,
        receipts: Option<bool>,
    ) -> Result<Self, OpenError> {
        let failed =
            |doing| move |error: io::Error| OpenError::of_io(dir.to_owned(), doing, &error);
        let failed_store = |error| OpenError::of_store(dir.to_owned(), error);
        fs::create_dir_all(dir).map_err(failed("create the directory"))?;
        let lock = take_lock(dir)?;
        if dir.join(FIRST_FILE_OF_LAYOUT_1).exists() {
            let (dir, known) = (dir.to_owned(), keys::SCHEMA);
            return Err(OpenError::OlderSchema { dir, found: 1, known });
        }
        let index_dir = dir.join("index");
        let db = open_sled(dir, &index_dir)?;
        let index = SledIndex::new(db, &index_dir).map_err(failed("open the index"))?;
        let founded = index.get(keys::META_SCHEMA).map_err(failed_store)?;
        let found_receipts =
            founded.as_deref().map(|schema| check_schema(dir, schema)).transpose()?;
        let end = log_end(&index).map_err(failed_store)?;
        if let Some(keeps_receipts) = found_receipts {
            check_side_file(dir, &index, end)?;
            check_identity(dir, &index, genesis, chain_id)?;
            if receipts.is_some_and(|asked| asked != keeps_receipts) {
                return Err(OpenError::OtherReceipts { dir: dir.to_owned(), keeps_receipts });
            }
        } else {
            check_unfounded(dir, genesis)?;
        }
        let log = RecordFiles::open(dir, end, FILE_BYTES_MAX).map_err(failed_store)?;
        let side_file = Mutex::new(SideFile::open(dir).map_err(failed("open tip.json"))?);
        let keeps_receipts = found_receipts.or(receipts).unwrap_or(false);
        let (ledger, dir_path) = (Ledger::new(index, log), dir.to_owned());
        let disk = Self { ledger, dir: dir_path, keeps_receipts, side_file, _lock: lock };
        if found_receipts.is_none() {
            disk.ledger.found(genesis, chain_id, keeps_receipts).map_err(failed_store)?;
        }
        // a process that was killed may have left the index unsynced, and tip.json is never ahead of it
        disk.ledger.index.sync().map_err(failed_store)?;
        sync_dirs(dir, &index_dir).map_err(failed("sync the directory"))?;
        disk.note(&mut disk.side_file()).map_err(failed("write tip.json"))?;
        Ok(disk)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it was founded to keep receipts: then no block becomes canonical without them.
    pub const fn keeps_receipts(&self) -> bool {
        self.keeps_receipts
    }

    /// Counts what is there. Reads the whole index.
    ///
    /// # Errors
    /// The disk fails, or holds what was never written.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let files = self.ledger.log.sizes()?;
        audit::stats(&self.ledger, files, self.ledger.index.size_bytes()?)
    }

    /// Reads every canonical block back, genesis included, and checks it: links, hashes, checksums and
    /// roots; of every other block, the header's hash and the other records' checksums. `progress` is called after
    /// each canonical block.
    ///
    /// # Errors
    /// The index cannot be read at all. Faults of single blocks are in the report.
    pub fn check(
        &self,
        progress: &mut dyn FnMut(CheckProgress),
    ) -> Result<CheckReport, StoreError> {
        audit::check(&self.ledger, progress)
    }

    /// The canonical blocks from `from` to `to`, both included, as far as they are there.
    pub fn blocks(&self, from: BlockNumber, to: BlockNumber) -> Blocks<'_> {
        Blocks::new(&self.ledger, from, to)
    }

    #[cfg(test)]
    pub(crate) const fn index(&self) -> &SledIndex {
        &self.ledger.index
    }

    fn side_file(&self) -> MutexGuard<'_, SideFile> {
        self.side_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, side_file: &mut SideFile) -> io::Result<()> {
        let tip = self.ledger.index.tip().map_err(io::Error::other)?;
        let log_end = log_end(&self.ledger.index).map_err(io::Error::other)?;
        side_file.note(Noted { tip, log_end })
    }
}

impl Backend for Disk {
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        let mut side_file = self.side_file();
        let verdicts = self.ledger.commit(batches);
        if verdicts.iter().any(Result::is_ok)
            && let Err(error) = self.note(&mut side_file)
        {
            tracing::warn!(%error, "cannot write tip.json, which only guards against a lost index");
        }
        verdicts
    }

    fn load(&self) -> Result<StoredState, StoreError> {
        self.ledger.load()
    }

    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        self.ledger.find(hashes)
    }

    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError> {
        self.ledger.walk(top, limit)
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        self.ledger.answer(query)
    }
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::of_io(dir.to_owned(), "open the lock file", &error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let lock = options.open(dir.join("lock")).map_err(failed)?;
    let mut attempts = 0_u32;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if attempts >= LOCK_ATTEMPTS_MAX => {
                return Err(OpenError::Locked { dir: dir.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {
                attempts = attempts.saturating_add(1);
                thread::sleep(LOCK_PAUSE);
            }
        }
    }
}

/// Opens sled, which panics on some damage and refuses to open over a torn snapshot although its log
/// is whole: then the snapshot is put aside and it is tried once more.
fn open_sled(dir: &Path, index_dir: &Path) -> Result<sled::Db, OpenError> {
    let refusal = match try_unlocked(index_dir) {
        Ok(db) => return Ok(db),
        Err(Refusal::Locked) => return Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(Refusal::Io(error)) => {
            return Err(OpenError::of_io(dir.to_owned(), "open the index", &error));
        }
        Err(Refusal::Damaged(detail)) => detail,
    };
    let damaged = |detail| OpenError::Damaged { dir: dir.to_owned(), detail };
    match set_snapshots_aside(index_dir) {
        Ok(0) => return Err(damaged(refusal)),
        Ok(_) => tracing::warn!(%refusal, "the index's snapshot is put aside and rebuilt"),
        Err(error) => return Err(damaged(format!("{refusal}; its snapshot stays: {error}"))),
    }
    try_unlocked(index_dir).map_err(|again| match again {
        Refusal::Locked => OpenError::Locked { dir: dir.to_owned() },
        Refusal::Io(error) => damaged(error.to_string()),
        Refusal::Damaged(detail) => damaged(detail),
    })
}

enum Refusal {
    Locked,
    Io(io::Error),
    Damaged(String),
}

/// Waits a moment for sled's own lock: threads of a database that was dropped may still hold it.
fn try_unlocked(index_dir: &Path) -> Result<sled::Db, Refusal> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match try_sled(index_dir) {
            Err(Refusal::Locked) => thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    try_sled(index_dir)
}

pub(crate) fn sled_config(index_dir: &Path) -> sled::Config {
    sled::Config::new()
        .path(index_dir)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        // nothing is ever acknowledged by sled's own timer
        .flush_every_ms(None)
}

fn try_sled(index_dir: &Path) -> Result<sled::Db, Refusal> {
    let config = sled_config(index_dir);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
            Err(Refusal::Locked)
        }
        Ok(Err(sled::Error::Io(error))) => Err(Refusal::Io(error)),
        Ok(Err(error)) => Err(Refusal::Damaged(format!("its index cannot be read: {error}"))),
        Err(panic) => {
            Err(Refusal::Damaged(format!("its index cannot be read: {}", first_line(&*panic))))
        }
    }
}

pub(crate) fn first_line(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Renames sled's snapshot files so that it rebuilds them from its log; returns how many there were.
fn set_snapshots_aside(index_dir: &Path) -> io::Result<usize> {
    let mut moved = 0_usize;
    for entry in fs::read_dir(index_dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            fs::rename(entry.path(), index_dir.join(format!("aside.{name}")))?;
            moved = moved.saturating_add(1);
        }
    }
    Ok(moved)
}

/// The index may be newer than the side file, never older.
fn check_side_file(dir: &Path, index: &SledIndex, end: LogEnd) -> Result<(), OpenError> {
    let Ok(text) = fs::read(dir.join("tip.json")) else { return Ok(()) };
    let damaged = |detail| Err(OpenError::Damaged { dir: dir.to_owned(), detail });
    // it is written without fsync, so a loss of power may leave it torn: then it says nothing
    let Ok(Noted { tip, log_end }) = serde_json::from_slice(&text) else { return Ok(()) };
    match index.known(tip) {
        Ok(Some(_)) if end < log_end => damaged(format!(
            "its index came back older: it knows block file {} up to byte {}, and once knew file {} up to \
             byte {}",
            end.file, end.offset, log_end.file, log_end.offset
        )),
        Ok(Some(_)) => Ok(()),
        Ok(None) => damaged(format!("its index came back without block {tip}, once its tip")),
        Err(error) => Err(OpenError::of_store(dir.to_owned(), error)),
    }
}

/// A store whose founding was interrupted may have left the genesis block's records, and no more.
fn check_unfounded(dir: &Path, genesis: &SealedHeader) -> Result<(), OpenError> {
    let block_bytes: u64 = match records::list(dir) {
        Ok(files) => files.values().copied().fold(0, u64::saturating_add),
        Err(error) => return Err(OpenError::of_io(dir.to_owned(), "list the block files", &error)),
    };
    let written = fs::read(dir.join("tip.json")).is_ok_and(|text| !text.is_empty());
    if written || block_bytes > records::founding_bytes_max(genesis) {
        let detail = "its index came back empty".to_owned();
        return Err(OpenError::Damaged { dir: dir.to_owned(), detail });
    }
    Ok(())
}

/// How far the index knows the record files; an empty one knows none.
fn log_end(index: &SledIndex) -> Result<LogEnd, StoreError> {
    let entry = index.get(keys::META_LOG_END)?;
    entry.map_or(Ok(LogEnd::default()), |entry| keys::get_log_end(&entry))
}

/// Whether receipts are kept, which the layout says.
fn check_schema(dir: &Path, schema: &[u8]) -> Result<bool, OpenError> {
    let found = keys::get_schema(schema);
    let dir = dir.to_owned();
    match found.map_err(|error| OpenError::of_store(dir.clone(), error))? {
        keys::SCHEMA => Ok(false),
        keys::SCHEMA_WITH_RECEIPTS => Ok(true),
        found if found < keys::SCHEMA => {
            Err(OpenError::OlderSchema { dir, found, known: keys::SCHEMA })
        }
        found => Err(OpenError::NewerSchema { dir, found, known: keys::SCHEMA_WITH_RECEIPTS }),
    }
}

fn check_identity(
    dir: &Path,
    index: &SledIndex,
    genesis: &SealedHeader,
    chain_id: u64,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::of_store(dir.to_owned(), error);
    let chain = index.meta(keys::META_CHAIN).map_err(failed)?;
    let mut chain = keys::Fields::new("the chain", &chain);
    let found_chain_id = chain.u64().map_err(failed)?;
    let found = chain.hash().map_err(failed)?;
    if (found_chain_id, found) != (chain_id, genesis.hash()) {
        return Err(OpenError::OtherChain {
            dir: dir.to_owned(),
            found_chain_id,
            found,
            expected_chain_id: chain_id,
            expected: genesis.hash(),
        });
    }
    Ok(())
}

/// A new directory's entries have to survive a loss of power as well, and whoever founded the store may
/// have been killed before it synced them.
fn sync_dirs(dir: &Path, index_dir: &Path) -> io::Result<()> {
    File::open(index_dir)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    dir.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
