//! Nothing is acknowledged that a loss of power would undo: what is appended is synced before the index
//! learns of it, and a sync that failed is never forgotten.

use std::sync::{Mutex, PoisonError};

use alloy_primitives::Bytes;
use moorline_messages::{Body, StoreBatch, StoreError};
use tempfile::TempDir;

use super::*;
use crate::{
    index::{Entries, Index, Lookup, Scan, keeps_receipts_by_schema},
    keys::{Bytestring, LogEnd, Pointer},
    ledger::{Ledger, RecordKind, RecordLog},
    memory::MapIndex,
    records::RecordFiles,
};

/// What was asked of the log and the index, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Append,
    Rewind,
    SyncLog,
    Apply,
    SyncIndex,
}

#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<Call>>>);

impl Journal {
    fn note(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
struct WatchedIndex(MapIndex, Journal);

impl Lookup for WatchedIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError> {
        self.0.get(key)
    }

    fn keeps_receipts(&self) -> Result<bool, StoreError> {
        keeps_receipts_by_schema(self)
    }
}

impl Index for WatchedIndex {
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        self.0.scan(from, to)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.0.ready()
    }

    fn apply(&self, entries: &Entries) -> Result<(), StoreError> {
        self.1.note(Call::Apply);
        self.0.apply(entries)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.1.note(Call::SyncIndex);
        self.0.sync()
    }
}

#[derive(Debug)]
struct WatchedLog {
    files: RecordFiles,
    journal: Journal,
    /// Appends that succeed before one fails.
    fails_after: Mutex<Option<usize>>,
}

impl RecordLog for WatchedLog {
    fn end(&self) -> LogEnd {
        self.files.end()
    }

    fn append(&self, kind: RecordKind, payload: &[u8]) -> Result<Pointer, StoreError> {
        self.journal.note(Call::Append);
        let mut fails_after = self.fails_after.lock().unwrap();
        if *fails_after == Some(0) {
            *fails_after = None;
            return Err(StoreError::Io("this file could not be synced".to_owned()));
        }
        *fails_after = fails_after.map(|count| count - 1);
        self.files.append(kind, payload)
    }

    fn rewind(&self, end: LogEnd) {
        self.journal.note(Call::Rewind);
        self.files.rewind(end);
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.journal.note(Call::SyncLog);
        self.files.sync()
    }

    fn read(&self, pointer: Pointer, kind: RecordKind) -> Result<Vec<u8>, StoreError> {
        self.files.read(pointer, kind)
    }

    fn reaches(&self, pointer: Pointer, kind: RecordKind) -> bool {
        self.files.reaches(pointer, kind)
    }
}

struct Rig {
    ledger: Ledger<WatchedIndex, WatchedLog>,
    journal: Journal,
    _dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let (dir, journal) = (TempDir::new().unwrap(), Journal::default());
        let files = RecordFiles::open(dir.path(), LogEnd::default(), 1 << 30).unwrap();
        let log = WatchedLog { files, journal: journal.clone(), fails_after: Mutex::new(None) };
        let index = WatchedIndex(MapIndex::default(), journal.clone());
        let ledger = Ledger::new(index, log);
        ledger.found(&genesis(), CHAIN_ID, true).unwrap();
        journal.take();
        Self { ledger, journal, _dir: dir }
    }

    fn expect_synced_in_order(&self) {
        let calls = self.journal.take();
        let last = |call| calls.iter().rposition(|other| *other == call);
        let (sync, apply) = (last(Call::SyncLog).unwrap(), last(Call::Apply).unwrap());
        assert!(last(Call::Append).is_none_or(|append| append < sync), "{calls:?}");
        assert!(last(Call::Rewind).is_none_or(|rewind| rewind < sync), "{calls:?}");
        assert!(sync < apply && apply < last(Call::SyncIndex).unwrap(), "{calls:?}");
        let applied = calls.iter().filter(|call| **call == Call::Apply).count();
        assert_eq!(applied, 1, "{calls:?}");
    }
}

/// Two blocks whose bodies do not compress: together they are written out before they are synced.
fn heavy() -> Vec<Block> {
    let mut blocks = chain(2);
    let mut noise = 1_u64;
    for block in &mut blocks {
        let bytes = (0..600_000).map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        });
        let transactions = vec![Bytes::from([vec![2], bytes.collect()].concat())];
        let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: None };
        block.body = Arc::new(body);
    }
    blocks
}

fn lacking(blocks: &[Block]) -> StoreBatch {
    StoreBatch { canonical: names(&chain(9)[8..]), ..whole(blocks) }
}

#[test]
fn records_are_synced_after_the_last_append_and_before_the_index_learns_of_them() {
    let blocks = heavy();
    let (good, bad) = (whole(&blocks[..1]), lacking(&blocks[1..]));
    for batches in [vec![&good], vec![&bad, &good], vec![&good, &bad]] {
        let rig = Rig::new();
        let verdicts = rig.ledger.commit(&batches);
        assert!(verdicts.iter().any(Result::is_ok), "{verdicts:?}");
        rig.expect_synced_in_order();
    }
    let rig = Rig::new();
    let receipts = with_receipts(&chain(3), canonical(&chain(3)));
    assert_eq!(rig.ledger.commit(&[&receipts]), [Ok(())]);
    rig.expect_synced_in_order();
}

/// Writes into this device succeed and syncs fail, so a sync that is left out shows.
fn unsyncable(dir: &TempDir) -> RecordFiles {
    let log = RecordFiles::open(dir.path(), LogEnd::default(), 4 << 20).unwrap();
    let file = dir.path().join("blocks-000001.e2s");
    std::os::unix::fs::symlink("/dev/null", file).unwrap();
    log
}

#[test]
fn what_is_kept_is_synced_even_if_it_was_written_out_with_what_is_taken_back() {
    for taken_back in [0, 600_000, 6_000_000] {
        let dir = TempDir::new().unwrap();
        let log = unsyncable(&dir);
        log.append(RecordKind::Body, &[1; 600_000]).unwrap();
        let end = log.end();
        if taken_back > 0 {
            let appended = log.append(RecordKind::Body, &vec![2; taken_back]);
            // a record that no file has room for begins another, which syncs this one
            assert_eq!(appended.is_ok(), taken_back < 4 << 20);
            log.rewind(end);
        }
        let synced = log.sync();
        assert!(matches!(synced, Err(StoreError::Io(_))), "{taken_back}: {synced:?}");
    }
}

#[test]
fn a_sync_that_failed_is_never_tried_again() {
    let dir = TempDir::new().unwrap();
    let log = unsyncable(&dir);
    let begin = log.end();
    log.append(RecordKind::Body, &[1; 10]).unwrap();
    assert!(log.sync().is_err());
    log.rewind(begin);
    // the device is gone, and a file that can be synced would be begun
    assert!(!dir.path().join("blocks-000001.e2s").exists());
    for refused in [log.append(RecordKind::Body, &[2; 10]).map(drop), log.sync()] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("start the node again"), "{error}");
    }
}

#[test]
fn a_log_that_fails_under_one_batch_fails_all_that_share_its_commit() {
    let (rig, blocks) = (Rig::new(), chain(4));
    let end = rig.ledger.log.end();
    let bad = lacking(&[]);
    let three = [&blocks[..1], &blocks[1..3], &blocks[3..]];
    let [first, second, third] = three.map(|some| with_receipts(some, canonical(some)));
    // within the second batch
    *rig.ledger.log.fails_after.lock().unwrap() = Some(4);
    let verdicts = rig.ledger.commit(&[&first, &bad, &second, &third]);
    let failed = Err(StoreError::Io("this file could not be synced".to_owned()));
    assert_eq!([&verdicts[0], &verdicts[2], &verdicts[3]], [&failed; 3]);
    assert!(matches!(verdicts[1], Err(StoreError::Rejected(_))), "{verdicts:?}");
    assert_eq!(rig.ledger.log.end(), end);
    assert!(!rig.journal.take().contains(&Call::Apply));
    assert_eq!(rig.ledger.find(&[blocks[0].header.hash()]).unwrap(), [None]);
    assert_eq!(rig.ledger.commit(&[&with_receipts(&blocks, canonical(&blocks))]), [Ok(())]);
}
