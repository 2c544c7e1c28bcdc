//! Receipts: kept or not from the founding on, written beside the bodies, proved by a check.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use moorline_messages::{Receipts, StoreBatch, StoreError, StoreQuery};
use tempfile::TempDir;

use super::*;
use crate::{
    Disk, Fault, Memory, OpenError, READ_ITEMS_MAX,
    index::{Index, Lookup},
    keys,
};

fn keeping() -> Memory {
    Memory::keeping_receipts(&genesis(), CHAIN_ID).unwrap()
}

fn open(dir: &Path) -> Disk {
    Disk::open(dir, &genesis(), CHAIN_ID, Some(true)).unwrap()
}

fn first_file(dir: &Path) -> std::path::PathBuf {
    dir.join("blocks-000001.e2s")
}

/// Headers, bodies, receipts and names.
fn complete(blocks: &[Block]) -> StoreBatch {
    with_receipts(blocks, canonical(blocks))
}

fn only_receipts(blocks: &[Block]) -> StoreBatch {
    with_receipts(blocks, StoreBatch::default())
}

fn hashes(blocks: &[Block]) -> Vec<B256> {
    blocks.iter().map(|block| block.header.hash()).collect()
}

fn all_receipts(blocks: &[Block]) -> Vec<Receipts> {
    blocks.iter().map(receipts_of).collect()
}

fn has_receipts(store: &dyn Backend, blocks: &[Block]) -> Vec<bool> {
    let found = store.find(&hashes(blocks)).unwrap();
    found.iter().map(|found| found.as_ref().unwrap().has_receipts).collect()
}

#[test]
fn receipts_are_read_back_as_they_were_and_a_block_without_any_has_an_empty_list() {
    let (store, blocks) = (keeping(), chain(9));
    commit(&store, complete(&blocks));
    assert!(receipts_of(&blocks[3]).items.is_empty());
    assert_eq!(receipts(&store, &hashes(&blocks)), all_receipts(&blocks));
    assert_eq!(receipts(&store, &[genesis().hash()]), [Receipts::default()]);
    assert_eq!(has_receipts(&store, &blocks), [true; 9]);
    assert!(status(&store).keeps_receipts && store.load().unwrap().keeps_receipts);
}

#[test]
fn no_block_becomes_canonical_without_the_receipts_its_header_speaks_of() {
    let (store, blocks) = (keeping(), chain(8));
    expect_rejected(&store, canonical(&blocks), "the receipts of canonical block");
    let all_but_one = StoreBatch { canonical: names(&blocks), ..complete(&blocks[..6]) };
    let lacking = StoreBatch { headers: headers_of(&blocks).headers, ..all_but_one };
    expect_rejected(&store, lacking, "body");
    commit(&store, whole(&blocks));
    let only_names = StoreBatch { canonical: names(&blocks), ..StoreBatch::default() };
    expect_rejected(&store, only_names.clone(), &format!("{}", blocks[0].num_hash()));
    commit(&store, only_receipts(&blocks[..6]));
    expect_rejected(&store, only_names.clone(), &format!("{}", blocks[6].num_hash()));
    assert_eq!(status(&store).tip.number, 0);
    // the eighth has none
    commit(&store, StoreBatch { canonical: names(&blocks), ..only_receipts(&blocks[6..7]) });
    assert_eq!(status(&store).tip, blocks[7].num_hash());
}

#[test]
fn an_empty_list_does_not_stand_for_receipts_that_are_missing() {
    let (store, blocks) = (keeping(), chain(4));
    let none = |block: &Block| (block.num_hash(), Arc::new(Receipts::default()));
    commit(&store, StoreBatch { receipts: blocks.iter().map(none).collect(), ..whole(&blocks) });
    assert_eq!(has_receipts(&store, &blocks), [false, false, false, true]);
    let only_names = StoreBatch { canonical: names(&blocks), ..StoreBatch::default() };
    expect_rejected(&store, only_names, "receipts");
}

#[test]
fn a_store_that_keeps_none_takes_none_and_serves_none() {
    let (store, blocks) = (Memory::new(&genesis(), CHAIN_ID).unwrap(), chain(4));
    expect_rejected(&store, complete(&blocks), "keeps none");
    assert_eq!(store.find(&hashes(&blocks)).unwrap(), vec![None; 4]);
    commit(&store, canonical(&blocks));
    assert_eq!(has_receipts(&store, &blocks), [false, false, false, true]);
    assert_eq!(receipts(&store, &[blocks[3].header.hash()]), []);
    assert!(!status(&store).keeps_receipts && !store.load().unwrap().keeps_receipts);
}

#[test]
fn receipts_may_come_before_the_header_and_are_found_once_it_is_there() {
    let (store, blocks) = (keeping(), chain(3));
    commit(&store, only_receipts(&blocks));
    assert_eq!(store.find(&hashes(&blocks)).unwrap(), vec![None; 3]);
    commit(&store, headers_of(&blocks));
    let walk = store.walk(blocks[2].num_hash(), 3).unwrap();
    let halves: Vec<_> = walk.iter().map(|f| (f.has_body, f.has_receipts)).collect();
    assert_eq!(halves, [(false, true); 3]);
    commit(&store, canonical(&blocks));
    assert_eq!(receipts(&store, &hashes(&blocks)), all_receipts(&blocks));
}

#[test]
fn receipts_are_served_up_to_the_first_block_that_is_missing_within_the_budget() {
    let (store, blocks) = (keeping(), chain(7));
    commit(&store, complete(&blocks[..6]));
    let hash = |at: usize| blocks[at].header.hash();
    let some = receipts(&store, &[hash(1), hash(3), hash(6), hash(2)]);
    assert_eq!(some, [receipts_of(&blocks[1]), Receipts::default()]);
    let ask = |hashes: Vec<B256>, budget_bytes| {
        let query = StoreQuery::Receipts { hashes, budget_bytes };
        let StoreAnswer::Receipts(receipts) = store.answer(&query).unwrap() else { panic!() };
        receipts.len()
    };
    let first_bytes = moorline_messages::Weigh::weight_bytes(&receipts_of(&blocks[0]));
    assert_eq!(ask(hashes(&blocks), 0), 0);
    assert_eq!(ask(hashes(&blocks), first_bytes), 1);
    assert_eq!(ask(hashes(&blocks), first_bytes + 1), 2);
    let most = READ_ITEMS_MAX as usize;
    assert_eq!(ask(vec![hash(3); most + 1], usize::MAX), most);
    // what no head was named over may be invalid
    let branch = chain_above(&blocks[1].header, 1, 1);
    commit(&store, with_receipts(&branch, whole(&branch)));
    assert_eq!(ask(hashes(&branch), usize::MAX), 0);
}

#[test]
fn a_reorg_brings_the_receipts_of_its_branch() {
    let (store, blocks) = (keeping(), chain(6));
    commit(&store, complete(&blocks));
    let branch = chain_above(&blocks[3].header, 2, 1);
    commit(&store, complete(&branch));
    assert_ne!(receipts_of(&branch[0]), receipts_of(&blocks[4]));
    assert_eq!(receipts(&store, &hashes(&branch)), all_receipts(&branch));
    assert_eq!(receipts(&store, &hashes(&blocks[4..])), []);
    commit(&store, StoreBatch { canonical: names(&blocks[4..]), ..StoreBatch::default() });
    assert_eq!(receipts(&store, &hashes(&blocks)), all_receipts(&blocks));
}

#[test]
fn receipts_that_are_not_well_formed_or_too_many_are_rejected_rather_than_stored() {
    let (store, at) = (keeping(), chain(1)[0].num_hash());
    let with = |items: Vec<Bytes>| StoreBatch {
        receipts: vec![(at, Arc::new(Receipts { items }))],
        ..StoreBatch::default()
    };
    let good = flat(2, &[1], &[]);
    let longer = [&good[..], &[0]].concat();
    for bad in [&[][..], &[0x80], &[0xc0], &[0xc3, 1, 1, 1], &[0xc5, 1, 1, 1, 1, 1], &longer] {
        let items = vec![good.clone(), Bytes::copy_from_slice(bad)];
        expect_rejected(&store, with(items), "position 1");
    }
    let log = Log::new_unchecked(Address::ZERO, vec![], vec![0; 1 << 20].into());
    expect_rejected(
        &store,
        with(vec![flat(2, &[1], std::slice::from_ref(&log)); 64]),
        "over 67108864",
    );
    commit(&store, with(vec![flat(2, &[1], &[log]); 63]));
}

#[test]
fn the_choice_is_made_at_the_founding_and_another_is_refused() {
    for (founded, keeps) in [(None, false), (Some(false), false), (Some(true), true)] {
        let dir = TempDir::new().unwrap();
        let open = |receipts| Disk::open(dir.path(), &genesis(), CHAIN_ID, receipts);
        assert_eq!(open(founded).unwrap().keeps_receipts(), keeps);
        for same in [None, Some(keeps)] {
            assert_eq!(open(same).unwrap().keeps_receipts(), keeps);
        }
        let error = open(Some(!keeps)).unwrap_err();
        assert!(
            matches!(error, OpenError::OtherReceipts { keeps_receipts, .. } if keeps_receipts == keeps),
            "{error}"
        );
        let (text, with) = (error.to_string(), if keeps { "with" } else { "without" });
        assert!(text.contains(&format!("was founded {with} receipts, and cannot")), "{text}");
        let advice = format!(": choose another --datadir, or go on {with} them");
        assert!(text.ends_with(&advice), "{text}");
    }
}

#[test]
fn a_store_without_receipts_is_of_layout_2_as_ever_and_one_with_them_of_layout_3() {
    for (keeps, schema) in [(false, [0, 0, 0, 2]), (true, [0, 0, 0, 3])] {
        let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
        let store = Disk::open(dir.path(), &genesis(), CHAIN_ID, Some(keeps)).unwrap();
        commit(&store, if keeps { complete(&blocks) } else { canonical(&blocks) });
        let index = store.index();
        assert_eq!(index.get(keys::META_SCHEMA).unwrap().unwrap(), schema);
        let of_receipts =
            index.scan(&keys::first_of(keys::RECEIPTS), &keys::end_of(keys::RECEIPTS)).count();
        assert_eq!(of_receipts, usize::from(keeps));
        let stats = store.stats().unwrap();
        assert_eq!((stats.keeps_receipts, stats.receipts), (keeps, if keeps { 3 } else { 0 }));
    }
}

#[test]
fn receipts_are_there_after_a_reopening_and_are_not_written_twice() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(20));
    commit(&open(dir.path()), complete(&blocks));
    let store = open(dir.path());
    assert_eq!(receipts(&store, &hashes(&blocks)), all_receipts(&blocks));
    let stats = store.stats().unwrap();
    assert_eq!((stats.bodies, stats.receipts), (21, 15));
    commit(&store, complete(&blocks));
    assert_eq!(store.stats().unwrap(), stats);
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!((report.blocks, report.receipts, report.pointers), (20, 15, 21 + 21 + 15));
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn receipts_that_a_crash_cut_off_are_not_there_and_are_taken_again() {
    let (dir, newer, blocks) = (TempDir::new().unwrap(), TempDir::new().unwrap(), chain(3));
    for dir in [&dir, &newer] {
        commit(&open(dir.path()), whole(&blocks));
    }
    let len = fs::metadata(first_file(dir.path())).unwrap().len();
    commit(&open(newer.path()), only_receipts(&blocks));
    let appended = fs::read(first_file(newer.path())).unwrap()[len as usize..].to_vec();
    assert_eq!(appended[..2], [0x0a, 0]);
    // as if the power had gone before the index was written: whole records, and one that is torn
    for cut in [appended.len(), appended.len() - 5, 3] {
        let mut file = OpenOptions::new().append(true).open(first_file(dir.path())).unwrap();
        file.write_all(&appended[..cut]).unwrap();
        let store = open(dir.path());
        assert_eq!(fs::metadata(first_file(dir.path())).unwrap().len(), len);
        assert_eq!(has_receipts(&store, &blocks), [false; 3]);
    }
    let store = open(dir.path());
    commit(&store, complete(&blocks));
    assert_eq!(receipts(&store, &hashes(&blocks)), all_receipts(&blocks));
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
}

#[test]
fn a_flipped_byte_in_receipts_is_an_error_and_the_check_names_the_block() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
    let branch = chain_above(&blocks[1].header, 1, 1);
    let store = open(dir.path());
    let mut ends = Vec::new();
    for batch in [complete(&blocks), with_receipts(&branch, whole(&branch))] {
        commit(&store, batch);
        ends.push(store.stats().unwrap().blocks_bytes);
    }
    // receipts are what comes last in a batch's records
    for (end, block) in ends.into_iter().zip([&blocks[2], &branch[0]]) {
        flip(&first_file(dir.path()), end - 9);
        let report = store.check(&mut |_| ()).unwrap();
        assert_eq!((report.fault_count, report.faults[0].block), (1, block.num_hash()));
        assert!(matches!(report.faults[0].fault, Fault::Unreadable(_)), "{report:?}");
        flip(&first_file(dir.path()), end - 9);
    }
    assert!(store.check(&mut |_| ()).unwrap().is_sound());
    let end = store.stats().unwrap().blocks_bytes;
    commit(&store, StoreBatch { canonical: names(&branch), ..StoreBatch::default() });
    flip(&first_file(dir.path()), end - 9);
    let query = StoreQuery::Receipts { hashes: hashes(&branch), budget_bytes: usize::MAX };
    let answer = store.answer(&query);
    assert!(matches!(answer, Err(StoreError::Damaged(_))), "{answer:?}");
}

#[test]
fn a_check_finds_receipts_that_are_missing_or_another_blocks() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(7));
    let store = open(dir.path());
    let mut swapped = complete(&blocks);
    // the first has the second's, the fourth has the second's and should have none
    swapped.receipts[0].1 = Arc::new(receipts_of(&blocks[1]));
    swapped.receipts.push((blocks[3].num_hash(), Arc::new(receipts_of(&blocks[1]))));
    // the fifth has one that is of no known type
    let odd = Receipts { items: vec![Bytes::from_static(&[0xc4, 0xc0, 1, 1, 0xc0])] };
    let position = swapped.receipts.iter().position(|(at, _)| at.number == 5).unwrap();
    swapped.receipts[position].1 = Arc::new(odd);
    commit(&store, swapped);
    let mut group = store.index().group(0).unwrap();
    group.entry(blocks[6].num_hash()).receipts = None;
    let entry = group.put_pointers(crate::ledger::RecordKind::Receipts);
    store.index().apply(&[(keys::receipts(0), Some(entry))].into()).unwrap();
    // what is not there is not served, and is not taken for none
    assert_eq!(receipts(&store, &hashes(&blocks[5..])).len(), 1);
    let report = store.check(&mut |_| ()).unwrap();
    let faults: Vec<_> =
        report.faults.iter().map(|f| (f.block.number, f.fault.to_string())).collect();
    let others = "the receipts are not those that the header commits to";
    let missing = "the receipts are missing";
    let expected = [(1, others), (4, others), (5, others), (7, missing)];
    assert_eq!(faults, expected.map(|(number, fault)| (number, fault.to_owned())));
    assert_eq!(report.receipts, 3);
}

#[test]
fn receipts_without_a_block_are_an_index_that_makes_no_sense() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(3));
    let store = open(dir.path());
    commit(&store, complete(&blocks));
    let mut entry = store.index().get(&keys::receipts(0)).unwrap().unwrap();
    entry[1] = 9;
    store.index().apply(&[(keys::receipts(0), Some(entry))].into()).unwrap();
    let found = store.find(&hashes(&blocks[..1]));
    assert!(matches!(&found, Err(StoreError::Damaged(text)) if text.contains("receipts")));
}

#[test]
fn receipts_lie_in_e2store_records_of_their_own_type() {
    let (dir, blocks) = (TempDir::new().unwrap(), chain(2));
    commit(&open(dir.path()), complete(&blocks));
    let bytes = fs::read(first_file(dir.path())).unwrap();
    let (mut rest, mut kinds) = (&bytes[..], Vec::new());
    while let [kind, second, a, b, c, d, 0, 0, after @ ..] = rest {
        kinds.push([*kind, *second]);
        rest = &after[u32::from_le_bytes([*a, *b, *c, *d]) as usize..];
    }
    assert!(rest.is_empty());
    let expected = [0x6532, 0x0300, 0x0400, 0x0300, 0x0300, 0x0400, 0x0400, 0x0a00, 0x0a00_u16];
    assert_eq!(kinds, expected.map(u16::to_be_bytes));
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}
