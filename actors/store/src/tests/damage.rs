//! What is damaged is an error that says so, and the check names it.

use std::fs::OpenOptions;

use moorline_messages::StoreBatch;
use tempfile::TempDir;

use super::{
    disk::{first_file, flip, open, overwrite},
    *,
};
use crate::{
    Disk, Fault,
    index::{Index, Lookup},
    keys::{self, LogEnd},
    ledger::{RecordKind, RecordLog},
    records::RecordFiles,
};

#[test]
fn a_flipped_byte_in_a_body_is_an_error_and_the_check_names_the_block() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(5));
    let store = open(dir.path());
    commit(&store, canonical(&blocks));
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
    let pointer = store.stats().unwrap().blocks_bytes - 50;
    flip(&first_file(dir.path()), pointer);
    let query = StoreQuery::Block { block: HashOrNumber::Number(5) };
    assert!(matches!(store.answer(&query), Err(StoreError::Damaged(_))));
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!((report.blocks, report.fault_count), (5, 1));
    assert_eq!(report.faults[0].block, blocks[4].num_hash());
    assert!(matches!(report.faults[0].fault, Fault::Unreadable(_)), "{report:?}");
}

#[test]
fn a_flipped_byte_in_a_header_is_an_error_and_the_check_names_the_block() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
    let store = open(dir.path());
    commit(&store, canonical(&blocks[..2]));
    let offset = store.stats().unwrap().blocks_bytes;
    commit(&store, canonical(&blocks[2..]));
    // past the record's header and the stream's identifier, within the first frame
    flip(&first_file(dir.path()), offset + 40);
    assert!(matches!(store.walk(blocks[2].num_hash(), 1), Err(StoreError::Damaged(_))));
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!((report.fault_count, report.faults[0].block), (1, blocks[2].num_hash()));
    assert!(matches!(report.faults[0].fault, Fault::Unreadable(_)), "{report:?}");
}

#[test]
fn a_header_whose_frames_are_skipped_is_an_error_and_never_an_empty_one() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
    let store = open(dir.path());
    commit(&store, canonical(&blocks[..2]));
    let offset = store.stats().unwrap().blocks_bytes;
    commit(&store, canonical(&blocks[2..]));
    // the first frame's type becomes one that decoders skip
    overwrite(&first_file(dir.path()), offset + 8 + 10, &[0x80]);
    let query = StoreQuery::Headers {
        start: HashOrNumber::Number(3),
        limit: 1,
        skip: 0,
        reverse: false,
        budget_bytes: usize::MAX,
    };
    let answer = store.answer(&query);
    assert!(matches!(answer, Err(StoreError::Damaged(_))), "{answer:?}");
}

#[test]
fn a_damaged_length_does_not_decide_how_much_memory_is_taken() {
    let dir = TempDir::new().unwrap();
    let log = RecordFiles::open(dir.path(), LogEnd::default(), 1 << 30).unwrap();
    let too_long = [
        (RecordKind::Header, 5_000_u32),
        (RecordKind::Body, 68 << 20),
        (RecordKind::Receipts, 68 << 20),
    ];
    for (kind, too_long) in too_long {
        let pointer = log.append(kind, &[1; 100]).unwrap();
        log.sync().unwrap();
        let file = first_file(dir.path());
        // long enough for what the length says, without taking room
        OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 29).unwrap();
        overwrite(&file, pointer.offset() + 2, &too_long.to_le_bytes());
        let read = log.read(pointer, kind);
        let Err(StoreError::Damaged(text)) = read else { panic!("it was read") };
        assert!(text.contains(&format!("no {kind} at byte")), "{text}");
        assert!(!log.reaches(pointer, kind));
    }
}

#[test]
fn a_check_finds_pointers_past_the_end_and_bodies_that_are_another_blocks() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
    let store = open(dir.path());
    let swapped = StoreBatch {
        bodies: vec![
            (blocks[0].num_hash(), Arc::clone(&blocks[1].body)),
            (blocks[1].num_hash(), Arc::clone(&blocks[1].body)),
            (blocks[2].num_hash(), Arc::clone(&blocks[2].body)),
        ],
        ..canonical(&blocks)
    };
    commit(&store, swapped);
    let file = OpenOptions::new().write(true).open(first_file(dir.path())).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!(report.pointers, 8);
    let faults: Vec<_> = report.faults.iter().map(|f| (f.block.number, &f.fault)).collect();
    assert!(
        matches!(faults[..], [(3, Fault::Pointer), (1, Fault::Body(_)), (3, Fault::Unreadable(_))]),
        "{faults:?}"
    );
}

#[test]
fn a_check_finds_headers_that_changed_and_links_that_broke() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(5));
    let store = open(dir.path());
    commit(&store, canonical(&blocks));
    let stranger = chain_above(&blocks[0].header, 2, 3);
    commit(&store, whole(&stranger));
    let mut group = store.index().group(0).unwrap();
    // block 4 is given the header of the stranger at height 3
    let other = group.find(stranger[1].header.hash()).unwrap().header;
    group.entry(blocks[3].num_hash()).header = other;
    let mut places = [1; keys::HEIGHTS_IN_ENTRY];
    (places[1], places[3]) = (0, 2);
    let entries = [
        (keys::blocks(0), Some(group.put_blocks())),
        (keys::canonical(0), Some(places.to_vec())),
        (keys::numbers(blocks[4].header.hash()), None),
    ];
    store.index().apply(&entries.into()).unwrap();
    let report = store.check(&mut |_| ()).unwrap();
    let faults: Vec<_> = report.faults.iter().map(|f| (f.block.number, &f.fault)).collect();
    assert_eq!(
        faults,
        [
            (1, &Fault::Gap),
            (3, &Fault::Link(stranger[0].header.hash())),
            (4, &Fault::HeaderHash(stranger[1].header.hash())),
            (5, &Fault::Number),
        ]
    );
    assert!(!report.is_sound());
}

#[test]
fn a_check_reads_genesis_and_what_is_not_canonical() {
    let blocks = chain(2);
    let branch = chain_above(&blocks[0].header, 1, 5);
    // where each record begins: genesis right behind the version, the branch behind the chain
    let (dir, mut offsets) = (TempDir::new().unwrap(), vec![8]);
    let store = open(dir.path());
    let end = |store: &Disk| store.stats().unwrap().blocks_bytes;
    commit(&store, canonical(&blocks));
    offsets.push(end(&store));
    commit(&store, headers_of(&branch));
    offsets.push(end(&store));
    commit(&store, whole(&branch));
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
    let at = [BlockNumHash::of(&genesis()), branch[0].num_hash(), branch[0].num_hash()];
    for (offset, at) in offsets.into_iter().zip(at) {
        flip(&first_file(dir.path()), offset + 40);
        let report = store.check(&mut |_| ()).unwrap();
        assert_eq!((report.blocks, report.fault_count, report.faults[0].block), (2, 1, at));
        assert!(matches!(report.faults[0].fault, Fault::Unreadable(_)), "{report:?}");
        flip(&first_file(dir.path()), offset + 40);
    }
    // a header that reads well and is another block's
    let mut group = store.index().group(2).unwrap();
    group.entry(branch[0].num_hash()).header = group.find(blocks[0].header.hash()).unwrap().header;
    store.index().apply(&[(keys::blocks(2), Some(group.put_blocks()))].into()).unwrap();
    let report = store.check(&mut |_| ()).unwrap();
    let expected = Fault::HeaderHash(blocks[0].header.hash());
    assert_eq!((report.fault_count, &report.faults[0].fault), (1, &expected));
}

#[test]
fn a_check_goes_on_past_entries_of_the_index_that_make_no_sense() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(40));
    let store = open(dir.path());
    commit(&store, canonical(&blocks));
    let mut places = store.index().places(16).unwrap();
    places[4] = 9;
    let short = store.index().get(&keys::blocks(32)).unwrap().unwrap()[1..].to_vec();
    let entries = [(keys::canonical(16), Some(places.to_vec())), (keys::blocks(32), Some(short))];
    store.index().apply(&entries.into()).unwrap();
    let report = store.check(&mut |_| ()).unwrap();
    let heights: Vec<_> = report.faults.iter().map(|fault| fault.block.number).collect();
    // the group is named once, then each of its heights up to the tip
    assert_eq!(heights[0], 32);
    assert_eq!(heights[heights.len() - 9..], [32, 33, 34, 35, 36, 37, 38, 39, 40]);
    assert_eq!(heights[1..heights.len() - 9], [20]);
    // nothing canonical is read through what is damaged
    assert_eq!(report.blocks, 30);
    // the place of genesis itself
    let none = [0; keys::HEIGHTS_IN_ENTRY].to_vec();
    store.index().apply(&[(keys::canonical(0), Some(none[1..].to_vec()))].into()).unwrap();
    assert!(store.check(&mut |_| ()).unwrap().fault_count > report.fault_count);
}
