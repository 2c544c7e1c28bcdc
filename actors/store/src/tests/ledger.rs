//! The rules of what is kept, on the backend in memory: [`super::model`] holds the disk to the same.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes};
use moorline_messages::{
    Body, Forkchoice, HashOrNumber, SealedHeader, StoreAnswer, StoreBatch, StoreError, StoreQuery,
};

use super::*;
use crate::{FIND_HASHES_MAX, Memory};

fn memory() -> Memory {
    Memory::new(&genesis(), CHAIN_ID).unwrap()
}

#[test]
fn a_new_store_holds_the_genesis_block_and_nothing_is_missing_above_it() {
    let store = memory();
    let state = store.load().unwrap();
    assert_eq!(
        (state.tip, state.forkchoice, state.spans),
        (genesis(), Forkchoice::default(), vec![])
    );
    let status = status(&store);
    assert_eq!((status.genesis, status.earliest), (genesis().hash(), 1));
    let (found, is_canonical) = block(&store, HashOrNumber::Hash(genesis().hash())).unwrap();
    assert!(is_canonical && found.body.transactions.is_empty() && found.body.withdrawals.is_none());
}

#[test]
fn the_genesis_body_has_withdrawals_where_its_header_has_their_root() {
    let empty = moorline_rules::key_of(&Body {
        ommers: Body::NO_OMMERS,
        withdrawals: Some(vec![]),
        ..Body::default()
    });
    let header = Header {
        base_fee_per_gas: Some(7),
        withdrawals_root: empty.withdrawals_root,
        ..Header::default()
    };
    let store = Memory::new(&SealedHeader::new(header), CHAIN_ID).unwrap();
    let found = block_at(&store, 0).unwrap();
    assert_eq!(moorline_rules::body_matches(&found.header, &found.body), Ok(()));
}

#[test]
fn what_is_persisted_is_read_back_as_it_was() {
    let (store, blocks) = (memory(), chain(4));
    commit(&store, canonical(&blocks));
    for expected in &blocks {
        assert_eq!(block_at(&store, expected.header.number).as_ref(), Some(expected));
    }
    assert_eq!(block_at(&store, 5), None);
}

#[test]
fn a_block_without_its_body_or_its_header_is_not_there() {
    let (store, blocks) = (memory(), chain(2));
    commit(&store, headers_of(&blocks[..1]));
    commit(&store, StoreBatch { headers: vec![], ..whole(&blocks[1..]) });
    let [first, second] = [blocks[0].header.hash(), blocks[1].header.hash()];
    assert_eq!(block(&store, HashOrNumber::Hash(first)), None);
    assert_eq!(block(&store, HashOrNumber::Hash(second)), None);
    let found = store.find(&[first, second, genesis().hash()]).unwrap();
    let found: Vec<_> = found.iter().map(|f| f.as_ref().map(|found| found.has_body)).collect();
    assert_eq!(found, [Some(false), None, Some(true)]);
}

#[test]
fn a_walk_goes_down_by_parent_hash_until_an_ancestor_is_unknown() {
    let (store, blocks) = (memory(), chain(6));
    commit(&store, headers_of(&blocks[1..]));
    commit(&store, whole(&blocks[3..4]));
    let walk = store.walk(blocks[5].num_hash(), 100).unwrap();
    let heights: Vec<_> = walk.iter().map(|f| (f.header.number, f.has_body)).collect();
    assert_eq!(heights, [(6, false), (5, false), (4, true), (3, false), (2, false)]);
    assert_eq!(store.walk(blocks[5].num_hash(), 2).unwrap().len(), 2);
    assert_eq!(store.walk(blocks[0].num_hash(), 2).unwrap(), []);
    assert_eq!(store.walk(BlockNumHash::of(&genesis()), 9).unwrap().len(), 1);
}

#[test]
fn more_hashes_than_allowed_are_rejected() {
    let store = memory();
    assert!(store.find(&[B256::ZERO; FIND_HASHES_MAX]).is_ok());
    let found = store.find(&[B256::ZERO; FIND_HASHES_MAX + 1]);
    assert!(matches!(found, Err(StoreError::Rejected(_))));
}

#[test]
fn a_reorg_replaces_from_its_first_height_upwards() {
    let (store, blocks) = (memory(), chain(8));
    commit(&store, canonical(&blocks));
    let branch = chain_above(&blocks[3].header, 2, 1);
    commit(&store, canonical(&branch));
    assert_eq!(status(&store).tip, branch[1].num_hash());
    assert_eq!(block_at(&store, 5).as_ref(), Some(&branch[0]));
    assert_eq!(block_at(&store, 7), None);
    let (old, is_canonical) = block(&store, HashOrNumber::Hash(blocks[6].header.hash())).unwrap();
    assert_eq!((&old, is_canonical), (&blocks[6], false));
    commit(&store, StoreBatch { canonical: names(&blocks[4..]), ..StoreBatch::default() });
    assert_eq!(status(&store).tip, blocks[7].num_hash());
}

#[test]
fn half_a_block_or_a_broken_run_never_becomes_canonical() {
    let (store, blocks) = (memory(), chain(6));
    let only = |blocks: &[Block]| StoreBatch { canonical: names(blocks), ..Default::default() };
    expect_rejected(&store, only(&blocks[..1]), "header");
    commit(&store, headers_of(&blocks));
    expect_rejected(&store, only(&blocks[..1]), "body");
    commit(&store, whole(&blocks));
    let gap = [blocks[0].clone(), blocks[2].clone()];
    expect_rejected(&store, only(&gap), "does not follow");
    let descending = [blocks[1].clone(), blocks[0].clone()];
    expect_rejected(&store, only(&descending), "does not follow");
    commit(&store, only(&blocks[..4]));
    let stranger = chain_above(&blocks[0].header, 2, 9);
    commit(&store, whole(&stranger));
    expect_rejected(&store, only(&stranger[1..]), "not a child");
    expect_rejected(&store, only(&[stranger[0].clone(), blocks[2].clone()]), "not a child");
    assert_eq!(status(&store).tip, blocks[3].num_hash());
    assert_eq!(canonical_hashes(&store, 0).len(), 5);
}

#[test]
fn a_rejected_batch_leaves_nothing_behind_and_holds_nobody_up() {
    let (store, blocks) = (memory(), chain(3));
    let bad = StoreBatch { canonical: names(&blocks[2..]), ..headers_of(&blocks[..2]) };
    let verdicts = store.commit(&[&bad, &canonical(&blocks[..1]), &canonical(&blocks[1..])]);
    assert!(matches!(verdicts[..], [Err(StoreError::Rejected(_)), Ok(()), Ok(())]), "{verdicts:?}");
    let store = memory();
    assert!(store.commit(&[&bad])[0].is_err());
    assert_eq!(store.find(&[blocks[0].header.hash()]).unwrap(), [None]);
}

#[test]
fn a_run_need_not_begin_at_one_and_may_grow_downwards_later() {
    let (store, blocks) = (memory(), chain(9));
    commit(&store, canonical(&blocks[4..]));
    assert_eq!((status(&store).earliest, status(&store).tip.number), (5, 9));
    assert_eq!(block_at(&store, 4), None);
    assert_eq!(block_at(&store, 0).unwrap().header, genesis());
    commit(&store, canonical(&blocks));
    assert_eq!(status(&store).earliest, 1);
    assert_eq!(canonical_hashes(&store, 0).len(), 10);
}

#[test]
fn a_run_above_a_gap_hides_what_lies_under_the_gap() {
    let (store, blocks) = (memory(), chain(9));
    commit(&store, canonical(&blocks[..3]));
    commit(&store, canonical(&blocks[6..]));
    assert_eq!(status(&store).earliest, 7);
    assert_eq!(block_at(&store, 2), None);
    let (_, is_canonical) = block(&store, HashOrNumber::Hash(blocks[1].header.hash())).unwrap();
    assert!(!is_canonical);
}

#[test]
fn the_tip_may_go_back_to_genesis_and_to_no_other_block_of_height_zero() {
    let (store, blocks) = (memory(), chain(3));
    commit(&store, canonical(&blocks));
    let zero = |header: &SealedHeader| StoreBatch {
        canonical: vec![BlockNumHash::of(header)],
        ..StoreBatch::default()
    };
    let impostor = SealedHeader::new(Header::default());
    expect_rejected(&store, zero(&impostor), "not the genesis block");
    commit(&store, zero(&genesis()));
    assert_eq!((status(&store).tip.number, status(&store).earliest), (0, 1));
    assert_eq!(canonical_hashes(&store, 0).len(), 1);
}

#[test]
fn the_batch_that_moves_the_tip_drops_the_spans_it_passed() {
    let (store, blocks) = (memory(), chain(9));
    let (low, high) = (span_of(&blocks[1..4]), span_of(&blocks[6..8]));
    commit(&store, StoreBatch { spans: vec![low, high], ..headers_of(&blocks) });
    let mut spans = store.load().unwrap().spans;
    spans.sort();
    assert_eq!(spans, [low, high]);
    let spent = span_of(&blocks[..2]);
    commit(&store, StoreBatch { spans: vec![spent], ..canonical(&blocks[..4]) });
    assert_eq!(store.load().unwrap().spans, [high]);
}

#[test]
fn a_span_grows_downwards_and_an_old_batch_repeated_does_not_shrink_it() {
    let (store, blocks) = (memory(), chain(9));
    let (short, long) = (span_of(&blocks[6..]), span_of(&blocks[3..]));
    commit(&store, StoreBatch { spans: vec![short], ..headers_of(&blocks) });
    commit(&store, StoreBatch { spans: vec![long], ..StoreBatch::default() });
    commit(&store, StoreBatch { spans: vec![short], ..headers_of(&blocks) });
    assert_eq!(store.load().unwrap().spans, [long]);
}

#[test]
fn a_span_that_its_headers_do_not_bear_out_is_rejected() {
    let (store, blocks) = (memory(), chain(4));
    let span = span_of(&blocks[1..]);
    let with = |span| StoreBatch { spans: vec![span], ..StoreBatch::default() };
    expect_rejected(&store, with(span), "bottom");
    commit(&store, headers_of(&blocks[..3]));
    expect_rejected(&store, with(span), "top");
    commit(&store, headers_of(&blocks));
    expect_rejected(&store, with(Span { bottom_parent: B256::ZERO, ..span }), "parent");
    expect_rejected(&store, with(Span { top: span.bottom, bottom: span.top, ..span }), "down");
}

#[test]
fn headers_are_served_as_peers_ask_for_them() {
    let (store, blocks) = (memory(), chain(9));
    commit(&store, canonical(&blocks));
    let ask = |start, limit, skip, reverse, budget_bytes| {
        let query = StoreQuery::Headers { start, limit, skip, reverse, budget_bytes };
        let StoreAnswer::Headers(headers) = store.answer(&query).unwrap() else { panic!() };
        let number = |rlp: &Bytes| {
            <Header as alloy_rlp::Decodable>::decode(&mut rlp.as_ref()).unwrap().number
        };
        headers.iter().map(number).collect::<Vec<_>>()
    };
    let number = HashOrNumber::Number;
    assert_eq!(ask(number(2), 3, 0, false, usize::MAX), [2, 3, 4]);
    assert_eq!(ask(number(2), 3, 2, false, usize::MAX), [2, 5, 8]);
    assert_eq!(ask(number(5), 9, 1, true, usize::MAX), [5, 3, 1]);
    assert_eq!(ask(HashOrNumber::Hash(blocks[7].header.hash()), 9, 0, false, usize::MAX), [8, 9]);
    let first_bytes = alloy_rlp::encode(blocks[0].header.inner()).len();
    assert_eq!(ask(number(1), 9, 0, false, first_bytes), [1]);
    assert_eq!(ask(number(1), 9, 0, false, first_bytes + 1), [1, 2]);
    assert!(ask(number(1), 9, 0, false, 0).is_empty());
    assert_eq!(ask(number(3), 9, u64::MAX, false, usize::MAX), [3]);
    assert_eq!(ask(number(3), 9, u64::MAX, true, usize::MAX), [3]);
    let branch = chain_above(&blocks[3].header, 1, 1);
    commit(&store, whole(&branch));
    assert!(ask(HashOrNumber::Hash(branch[0].header.hash()), 9, 0, true, usize::MAX).is_empty());
}

#[test]
fn bodies_are_served_up_to_the_first_that_is_missing_within_the_budget() {
    let (store, blocks) = (memory(), chain(5));
    commit(&store, canonical(&blocks[..4]));
    let hashes: Vec<_> = blocks.iter().map(|block| block.header.hash()).collect();
    let ask = |hashes: &[B256], budget_bytes| {
        let query = StoreQuery::Bodies { hashes: hashes.to_vec(), budget_bytes };
        let StoreAnswer::Bodies(bodies) = store.answer(&query).unwrap() else { panic!() };
        bodies
    };
    assert_eq!(ask(&[hashes[1], hashes[4], hashes[2]], usize::MAX), [(*blocks[1].body).clone()]);
    assert_eq!(ask(&hashes, usize::MAX).len(), 4);
    assert_eq!(ask(&hashes, 70_000).len(), 1);
    assert_eq!(ask(&hashes, 75_000).len(), 2);
    // a stored block that no head was named over may be invalid
    let branch = chain_above(&blocks[1].header, 1, 1);
    commit(&store, whole(&branch));
    assert!(ask(&[branch[0].header.hash()], usize::MAX).is_empty());
}

#[test]
fn a_body_that_is_not_well_formed_is_rejected_rather_than_stored() {
    let (store, blocks) = (memory(), chain(1));
    let at = blocks[0].num_hash();
    let with = |body: Body| StoreBatch { bodies: vec![(at, Arc::new(body))], ..Default::default() };
    let ommers = Body::NO_OMMERS;
    expect_rejected(&store, with(Body::default()), "ommers");
    for transaction in [&[0xff_u8][..], &[0xc1], &[0xc0, 0x00]] {
        let transactions = vec![Bytes::copy_from_slice(transaction)];
        let body = Body { transactions, ommers: ommers.clone(), withdrawals: None };
        expect_rejected(&store, with(body), "position 0");
    }
    let header = Header { extra_data: vec![0; 5_000].into(), number: 1, ..Header::default() };
    let header = Arc::new(SealedHeader::new(header));
    expect_rejected(&store, StoreBatch { headers: vec![header], ..Default::default() }, "header");
}

#[test]
fn a_header_that_its_own_encoding_does_not_give_back_is_rejected() {
    let store = memory();
    // a later fork's field without the earlier ones moves up when it is decoded
    let header = Header { withdrawals_root: Some(B256::ZERO), number: 1, ..Header::default() };
    let headers = vec![Arc::new(SealedHeader::new(header))];
    expect_rejected(&store, StoreBatch { headers, ..StoreBatch::default() }, "header");
}

#[test]
fn odd_transactions_survive_the_round_trip() {
    let (store, blocks) = (memory(), chain(1));
    let transactions: Vec<Bytes> =
        [&[][..], &[0x00], &[0x7f], &[0x80], &[0xbf, 0x01], &[0xc0], &[0x01; 60], &[0x02; 300]]
            .map(Bytes::copy_from_slice)
            .to_vec();
    let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: None };
    let bodies = vec![(blocks[0].num_hash(), Arc::new(body.clone()))];
    commit(&store, StoreBatch { bodies, ..headers_of(&blocks) });
    let (found, _) = block(&store, HashOrNumber::Hash(blocks[0].header.hash())).unwrap();
    assert_eq!(*found.body, body);
}

#[test]
fn a_write_that_fails_leaves_nothing_and_the_next_one_succeeds() {
    let (store, blocks) = (memory(), chain(2));
    let full = StoreError::Full("no room".to_owned());
    store.fail_writes(Some(full.clone()));
    assert_eq!(store.commit(&[&canonical(&blocks)]), [Err(full)]);
    store.fail_writes(None);
    assert_eq!(store.find(&[blocks[0].header.hash()]).unwrap(), [None]);
    assert_eq!(status(&store).tip.number, 0);
    commit(&store, canonical(&blocks));
    assert_eq!(block_at(&store, 2).as_ref(), Some(&blocks[1]));
}
