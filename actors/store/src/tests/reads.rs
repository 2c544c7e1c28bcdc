//! A read that waits for the disk holds up no commit.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use moorline_messages::{HashOrNumber, StoreError, StoreQuery};

use super::*;
use crate::{
    keys::{LogEnd, Pointer},
    ledger::{Ledger, RecordKind, RecordLog},
    memory::{MapIndex, RecordList},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Records whose reading can be held up.
struct SlowLog {
    records: RecordList,
    held: AtomicBool,
    reading: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl RecordLog for SlowLog {
    fn end(&self) -> LogEnd {
        self.records.end()
    }

    fn append(&self, kind: RecordKind, payload: &[u8]) -> Result<Pointer, StoreError> {
        self.records.append(kind, payload)
    }

    fn rewind(&self, end: LogEnd) {
        self.records.rewind(end);
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.records.sync()
    }

    fn read(&self, pointer: Pointer, kind: RecordKind) -> Result<Vec<u8>, StoreError> {
        if self.held.swap(false, Ordering::SeqCst) {
            self.reading.send(()).unwrap();
            self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        self.records.read(pointer, kind)
    }

    fn reaches(&self, pointer: Pointer, kind: RecordKind) -> bool {
        self.records.reaches(pointer, kind)
    }
}

type Slow = Ledger<MapIndex, SlowLog>;

/// Commits while a read waits for its first record.
fn expect_commit_beside(read: impl FnOnce(&Slow, &[Block]) -> usize + Send) {
    let ((reading, is_reading), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let log = SlowLog {
        records: RecordList::default(),
        held: AtomicBool::new(false),
        reading,
        go_on: Mutex::new(may_go_on),
    };
    let (ledger, blocks) = (Ledger::new(MapIndex::default(), log), chain(4));
    ledger.found(&genesis(), CHAIN_ID, true).unwrap();
    let three = with_receipts(&blocks[..3], canonical(&blocks[..3]));
    assert_eq!(ledger.commit(&[&three]), [Ok(())]);
    ledger.log.held.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let (ledger, blocks) = (&ledger, &blocks);
        let read = scope.spawn(move || read(ledger, blocks));
        is_reading.recv_timeout(PATIENCE).unwrap();
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || done.send(ledger.commit(&[&whole(&blocks[3..])])));
        let committed = is_done.recv_timeout(PATIENCE / 4);
        go_on.send(()).unwrap();
        assert_eq!(committed, Ok(vec![Ok(())]), "the commit waited for the read");
        assert_eq!(read.join().unwrap(), 3);
    });
}

#[test]
fn a_commit_does_not_wait_for_a_find() {
    expect_commit_beside(|ledger, blocks| {
        let hashes: Vec<_> = blocks[..3].iter().map(|block| block.header.hash()).collect();
        ledger.find(&hashes).unwrap().iter().flatten().count()
    });
}

#[test]
fn a_commit_does_not_wait_for_a_walk() {
    expect_commit_beside(|ledger, blocks| ledger.walk(blocks[2].num_hash(), 3).unwrap().len());
}

#[test]
fn a_commit_does_not_wait_for_headers() {
    expect_commit_beside(|ledger, _| {
        let query = StoreQuery::Headers {
            start: HashOrNumber::Number(1),
            limit: 9,
            skip: 0,
            reverse: false,
            budget_bytes: usize::MAX,
        };
        match ledger.answer(&query).unwrap() {
            StoreAnswer::Headers(headers) => headers.len(),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_commit_does_not_wait_for_receipts() {
    expect_commit_beside(|ledger, blocks| {
        let hashes = blocks.iter().map(|block| block.header.hash()).collect();
        match ledger.answer(&StoreQuery::Receipts { hashes, budget_bytes: usize::MAX }).unwrap() {
            StoreAnswer::Receipts(receipts) => receipts.len(),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_commit_does_not_wait_for_a_load() {
    expect_commit_beside(|ledger, _| ledger.load().unwrap().tip.number as usize);
}
