//! Opening, and block files.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use alloy_consensus::Header;
use moorline_messages::{Forkchoice, HashOrNumber, SealedHeader, StoreBatch, StoreError};
use tempfile::TempDir;

use super::*;
use crate::{
    Disk, OpenError,
    disk::sled_config,
    index::{Entries, Index, SledIndex},
    keys::{self, LogEnd},
    ledger::{RecordKind, RecordLog},
    records::RecordFiles,
};

pub(super) fn open(dir: &Path) -> Disk {
    Disk::open(dir, &genesis(), CHAIN_ID, None).unwrap()
}

fn refusal(dir: &Path) -> OpenError {
    Disk::open(dir, &genesis(), CHAIN_ID, None).unwrap_err()
}

pub(super) fn first_file(dir: &Path) -> PathBuf {
    dir.join("blocks-000001.e2s")
}

/// A closed store with these blocks canonical.
fn filled(blocks: &[Block]) -> TempDir {
    let dir = TempDir::new().unwrap();
    commit(&open(dir.path()), canonical(blocks));
    dir
}

#[test]
fn a_store_is_reopened_as_it_was_left() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(6));
    let forkchoice = Forkchoice { head: blocks[5].header.hash(), ..Forkchoice::default() };
    let store = open(dir.path());
    commit(&store, canonical(&blocks[..3]));
    let spans = vec![span_of(&blocks[4..])];
    let unfinished = StoreBatch { spans, forkchoice: Some(forkchoice), ..headers_of(&blocks[4..]) };
    commit(&store, unfinished);
    let state = store.load().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load().unwrap(), state);
    assert_eq!(state.tip, blocks[2].header);
    assert_eq!((state.forkchoice, state.spans), (forkchoice, vec![span_of(&blocks[4..])]));
    assert_eq!(block_at(&store, 3).as_ref(), Some(&blocks[2]));
}

#[test]
fn a_directory_in_use_is_refused_and_free_once_it_is_closed() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    // refused by the store's own lock, before sled is touched
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    assert!(lock.try_lock().is_err());
    drop(store);
    open(dir.path());
}

#[test]
fn an_index_locked_by_somebody_else_is_refused() {
    let dir = filled(&chain(1));
    let _db = sled_config(&dir.path().join("index")).open().unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[test]
fn another_chains_directory_is_refused() {
    let dir = filled(&chain(1));
    let other = Arc::new(SealedHeader::new(Header::default()));
    let error = Disk::open(dir.path(), &other, CHAIN_ID, None).unwrap_err();
    assert!(matches!(error, OpenError::OtherChain { .. }), "{error}");
    let error = Disk::open(dir.path(), &genesis(), CHAIN_ID + 1, None).unwrap_err();
    assert!(matches!(error, OpenError::OtherChain { found_chain_id: CHAIN_ID, .. }), "{error}");
    open(dir.path());
}

#[test]
fn a_newer_layout_is_refused() {
    let dir = filled(&chain(1));
    let index_dir = dir.path().join("index");
    let index = SledIndex::new(sled_config(&index_dir).open().unwrap(), &index_dir).unwrap();
    let newer = (keys::SCHEMA_WITH_RECEIPTS + 1).to_be_bytes().to_vec();
    index.apply(&[(keys::META_SCHEMA.to_vec(), Some(newer))].into()).unwrap();
    index.sync().unwrap();
    drop(index);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::NewerSchema { found: 4, known: 3, .. }), "{error}");
}

#[test]
fn an_older_layout_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    // as layout 1 left it: sled's own segment size, and bodies in files of their own
    drop(sled::open(dir.path().join("index")).unwrap());
    fs::write(dir.path().join("bodies-000001.e2s"), "bodies").unwrap();
    let db = fs::read(dir.path().join("index/db")).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::OlderSchema { found: 1, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("choose another --datadir and sync again"), "{error}");
    assert_eq!(fs::read(dir.path().join("bodies-000001.e2s")).unwrap(), b"bodies");
    assert_eq!(fs::read(dir.path().join("index/db")).unwrap(), db);
}

#[test]
fn a_file_where_the_directory_should_be_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path);
        assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
    }
}

#[test]
fn an_error_is_one_sentence_that_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let _open = open(dir.path());
    let text = refusal(dir.path()).to_string();
    assert!(text.starts_with(&dir.path().display().to_string()) && text.contains("stop that"));
    assert!(!text.contains('\n'));
}

#[test]
fn an_empty_snapshot_is_put_aside_and_nothing_is_lost() {
    let blocks = chain(20);
    let dir = filled(&blocks);
    // sled writes a snapshot of what it recovered
    drop(open(dir.path()));
    let snapshots = files_named(&dir.path().join("index"), "snap.");
    assert!(!snapshots.is_empty());
    for snapshot in &snapshots {
        OpenOptions::new().write(true).open(snapshot).unwrap().set_len(0).unwrap();
    }
    let store = open(dir.path());
    assert_eq!(block_at(&store, 20).as_ref(), Some(&blocks[19]));
    assert!(!files_named(&dir.path().join("index"), "aside.snap.").is_empty());
}

#[test]
fn an_index_that_comes_back_empty_or_older_is_noticed() {
    let dir = filled(&chain(3));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");

    let fresh = TempDir::new().unwrap();
    drop(open(fresh.path()));
    fs::remove_dir_all(fresh.path().join("index")).unwrap();
    assert!(matches!(refusal(fresh.path()), OpenError::Damaged { .. }));

    let (older, newer) = (filled(&chain(2)), filled(&chain(3)));
    fs::copy(newer.path().join("tip.json"), older.path().join("tip.json")).unwrap();
    let error = refusal(older.path());
    assert!(error.to_string().contains("once its tip"), "{error}");
}

#[test]
fn an_index_older_than_the_block_files_is_refused_before_anything_is_cut_off() {
    let (dir, blocks) = (filled(&chain(2)), chain(4));
    let (index, aside) = (dir.path().join("index"), dir.path().join("aside"));
    fs::rename(&index, &aside).unwrap();
    copy_dir(&aside, &index);
    // nothing canonical moves, so the tip alone would not tell
    commit(&open(dir.path()), whole(&blocks[2..]));
    let len = fs::metadata(first_file(dir.path())).unwrap().len();
    fs::remove_dir_all(&index).unwrap();
    fs::rename(&aside, &index).unwrap();
    let error = refusal(dir.path());
    assert!(error.to_string().contains("came back older"), "{error}");
    assert_eq!(fs::metadata(first_file(dir.path())).unwrap().len(), len);
}

#[test]
fn block_files_without_an_index_are_refused_unless_they_hold_genesis_alone() {
    for (blocks, is_refused) in [(chain(2), true), (vec![], false)] {
        let dir = filled(&blocks);
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        fs::remove_file(dir.path().join("tip.json")).unwrap();
        let len = fs::metadata(first_file(dir.path())).unwrap().len();
        let opened = Disk::open(dir.path(), &genesis(), CHAIN_ID, None);
        assert_eq!(matches!(opened, Err(OpenError::Damaged { .. })), is_refused, "{opened:?}");
        assert_eq!(fs::metadata(first_file(dir.path())).unwrap().len(), len);
    }
}

#[test]
fn a_torn_side_file_says_nothing_and_is_written_anew() {
    let (dir, blocks) = (filled(&chain(2)), chain(2));
    let path = dir.path().join("tip.json");
    let whole_text = fs::read(&path).unwrap();
    for torn in [&[][..], &whole_text[..20], &[0; 300]] {
        fs::write(&path, torn).unwrap();
        assert_eq!(block_at(&open(dir.path()), 2).as_ref(), Some(&blocks[1]));
        assert_eq!(fs::read(&path).unwrap(), whole_text);
    }
}

#[test]
fn a_garbled_index_is_refused_and_never_panics() {
    let dir = filled(&chain(20));
    let path = dir.path().join("index/db");
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn a_torn_tail_of_the_block_files_is_cut_off() {
    let blocks = chain(4);
    let dir = filled(&blocks[..2]);
    let whole_len = fs::metadata(first_file(dir.path())).unwrap().len();
    let mut file = OpenOptions::new().append(true).open(first_file(dir.path())).unwrap();
    file.write_all(&[0x04, 0x00, 0xff]).unwrap();
    fs::write(dir.path().join("blocks-000002.e2s"), "begun and never indexed").unwrap();
    let store = open(dir.path());
    assert_eq!(fs::metadata(first_file(dir.path())).unwrap().len(), whole_len);
    assert!(!dir.path().join("blocks-000002.e2s").exists());
    commit(&store, canonical(&blocks[2..]));
    for expected in &blocks {
        assert_eq!(block_at(&store, expected.header.number).as_ref(), Some(expected));
    }
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
}

#[test]
fn a_block_file_that_lost_its_end_is_noticed_at_open() {
    let dir = filled(&chain(4));
    let file = OpenOptions::new().write(true).open(first_file(dir.path())).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let error = refusal(dir.path());
    assert!(error.to_string().contains("blocks-000001.e2s"), "{error}");
    fs::remove_file(first_file(dir.path())).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
}

#[test]
fn blocks_whose_hashes_begin_alike_are_told_apart() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(40));
    let store = open(dir.path());
    commit(&store, canonical(&blocks));
    let (hash, other) = (blocks[1].header.hash(), blocks[32].header.hash());
    let numbers = keys::put_numbers(&[33, 2]);
    let alike: Entries = [(keys::numbers(hash), Some(numbers))].into();
    store.index().apply(&alike).unwrap();
    for (hash, expected) in [(hash, &blocks[1]), (other, &blocks[32])] {
        let (found, _) = block(&store, HashOrNumber::Hash(hash)).unwrap();
        assert_eq!(&found, expected);
    }
    let mut stranger = hash;
    stranger.0[31] ^= 1;
    assert_eq!(store.find(&[stranger]).unwrap(), [None]);
}

#[test]
fn statistics_count_what_is_there_and_a_repeated_batch_adds_nothing() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(5));
    let store = open(dir.path());
    commit(&store, canonical(&blocks[..3]));
    commit(&store, headers_of(&blocks));
    let stats = store.stats().unwrap();
    assert_eq!((stats.headers, stats.bodies, stats.canonical, stats.earliest), (6, 4, 3, 1));
    assert_eq!(stats.tip, blocks[2].num_hash());
    commit(&store, canonical(&blocks[..3]));
    assert_eq!(store.stats().unwrap().blocks_bytes, stats.blocks_bytes);
}

#[test]
fn blocks_are_streamed_ascending_as_far_as_they_are_there() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(5));
    let store = open(dir.path());
    commit(&store, canonical(&blocks));
    let stream = |from, to| store.blocks(from, to).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(stream(2, 4), blocks[1..4]);
    assert_eq!(stream(4, u64::MAX), blocks[3..]);
    assert_eq!(stream(6, 9), []);
}

fn records_in(dir: &Path, end: LogEnd) -> RecordFiles {
    RecordFiles::open(dir, end, 1_000).unwrap()
}

#[test]
fn files_are_rolled_and_every_record_is_found_again() {
    let dir = TempDir::new().unwrap();
    let log = records_in(dir.path(), LogEnd::default());
    let mut records: Vec<Vec<u8>> = (1..=40).map(|n: u8| vec![n; usize::from(n) * 10]).collect();
    // a record that no file has room for goes into one of its own
    records.push(vec![7; 5_000]);
    let mut pointers = Vec::new();
    for group in records.chunks(7) {
        pointers.extend(group.iter().map(|record| log.append(RecordKind::Body, record).unwrap()));
        log.sync().unwrap();
    }
    let log = records_in(dir.path(), log.end());
    for (pointer, record) in pointers.iter().zip(&records) {
        assert_eq!(&log.read(*pointer, RecordKind::Body).unwrap(), record);
        assert!(log.reaches(*pointer, RecordKind::Body));
        let as_header = log.read(*pointer, RecordKind::Header);
        assert!(matches!(as_header, Err(StoreError::Damaged(_))), "{as_header:?}");
        assert!(!log.reaches(*pointer, RecordKind::Header));
    }
    let sizes = log.sizes().unwrap();
    assert!(sizes.len() > 8);
    assert!(sizes.values().filter(|len| **len > 1_000).count() <= 1);
    assert!(sizes.values().all(|len| *len > 8), "no file is left empty: {sizes:?}");
}

#[test]
fn what_is_taken_back_leaves_no_trace_whether_it_was_written_or_not() {
    for (before, len) in [(10, 100), (10, 3_000), (10, 2 << 20), (990, 100)] {
        let dir = TempDir::new().unwrap();
        let log = records_in(dir.path(), LogEnd::default());
        let append = |record: Vec<u8>| log.append(RecordKind::Body, &record).unwrap();
        let first = append(vec![1; before]);
        let end = log.end();
        let _ = append(vec![2; len]);
        let _ = append(vec![2; len]);
        log.rewind(end);
        assert_eq!(log.end(), end);
        let second = append(vec![3; 20]);
        log.sync().unwrap();
        let log = records_in(dir.path(), log.end());
        assert_eq!(log.read(first, RecordKind::Body).unwrap(), vec![1; before]);
        assert_eq!(log.read(second, RecordKind::Body).unwrap(), [3; 20]);
        let bytes: u64 = log.sizes().unwrap().values().sum();
        let files = log.end().file as usize;
        assert_eq!(bytes as usize, before + 20 + 16 + files * 8);
    }
}

#[test]
fn a_full_disk_is_told_apart_and_nothing_moves() {
    let dir = TempDir::new().unwrap();
    let log = records_in(dir.path(), LogEnd::default());
    // this device answers every write with ENOSPC
    std::os::unix::fs::symlink("/dev/full", first_file(dir.path())).unwrap();
    log.append(RecordKind::Body, &[1; 10]).unwrap();
    let refused = log.sync();
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    log.rewind(LogEnd::default());
    let pointer = log.append(RecordKind::Body, &[2; 10]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.read(pointer, RecordKind::Body).unwrap(), [2; 10]);
}

#[test]
fn a_block_file_is_a_sequence_of_e2store_records() {
    let dir = filled(&chain(3));
    let bytes = fs::read(first_file(dir.path())).unwrap();
    assert_eq!(bytes[..8], [0x65, 0x32, 0, 0, 0, 0, 0, 0]);
    let (mut rest, mut kinds) = (&bytes[8..], Vec::new());
    while let [kind, 0, _, _, _, _, 0, 0] = rest[..8] {
        let len = u32::from_le_bytes(rest[2..6].try_into().unwrap()) as usize;
        // every snappy frame stream begins with this chunk
        assert_eq!(rest[8..18], *b"\xff\x06\x00\x00sNaPpY");
        rest = &rest[8 + len..];
        kinds.push(kind);
        if rest.is_empty() {
            break;
        }
    }
    // genesis, then a batch of three blocks: its headers, then its bodies
    assert_eq!(kinds, [3, 4, 3, 3, 3, 4, 4, 4]);
}

#[test]
fn a_rejected_batch_takes_its_records_with_it() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(4));
    let store = open(dir.path());
    let bytes = store.stats().unwrap().blocks_bytes;
    let gap = vec![blocks[0].num_hash(), blocks[2].num_hash()];
    let bad = StoreBatch { canonical: gap, ..whole(&blocks) };
    expect_rejected(&store, bad.clone(), "does not follow");
    assert_eq!(store.stats().unwrap().blocks_bytes, bytes);
    let verdicts = store.commit(&[&canonical(&blocks[..1]), &bad, &canonical(&blocks[1..])]);
    assert!(matches!(verdicts[..], [Ok(()), Err(_), Ok(())]), "{verdicts:?}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load().unwrap().tip, blocks[3].header);
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
}

pub(super) fn flip(path: &Path, at: u64) {
    let byte = fs::read(path).unwrap()[at as usize];
    overwrite(path, at, &[byte ^ 1]);
}

pub(super) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn files_named(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}
