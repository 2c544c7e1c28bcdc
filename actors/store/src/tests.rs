//! The rig, and what every test shares: a chain whose headers match their bodies, with a branch.
#![allow(clippy::arithmetic_side_effects)]

mod actor;
mod core;
mod damage;
mod disk;
mod durable;
mod kill;
mod ledger;
mod model;
mod payload_bodies;
mod reads;
mod real_chain;
mod receipts;

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, BlockNumber, Bytes, Log};
use alloy_rlp::Encodable;
use moorline_messages::{
    Block, BlockNumHash, Body, HashOrNumber, Receipts, SealedHeader, Span, StoreAnswer, StoreBatch,
    StoreError, StoreQuery, StoreStatus,
};
use moorline_rules::{consensus_receipt, receipts_root};

use crate::Backend;

const CHAIN_ID: u64 = 7;

fn genesis() -> Arc<SealedHeader> {
    Arc::new(SealedHeader::new(Header { extra_data: "tests".into(), ..Header::default() }))
}

/// A block above `parent`; another `salt` makes another block.
fn child_of(parent: &SealedHeader, salt: u8) -> Block {
    let number = parent.number + 1;
    // one transaction of each form: legacy, typed, and one that fills more than a snappy block
    let body = Body {
        transactions: vec![
            Bytes::from(vec![0xc2, salt & 0x7f, 0x01]),
            Bytes::from(vec![0x02, salt, number as u8]),
            Bytes::from([vec![0x03], vec![number as u8; 70_000]].concat()),
        ],
        ommers: Body::NO_OMMERS,
        withdrawals: (number > 2).then(Vec::new),
    };
    let roots = moorline_rules::key_of(&body);
    let header = Header {
        number,
        parent_hash: parent.hash(),
        transactions_root: roots.transactions_root,
        ommers_hash: roots.ommers_hash,
        receipts_root: root_of(&receipts_for(number, salt)),
        base_fee_per_gas: roots.withdrawals_root.map(|_| 7),
        withdrawals_root: roots.withdrawals_root,
        ..Header::default()
    };
    Block { header: Arc::new(SealedHeader::new(header)), body: Arc::new(body) }
}

/// The receipts of a block that [`child_of`] made. Every fourth has none, whatever its transactions.
fn receipts_of(block: &Block) -> Receipts {
    receipts_for(block.header.number, block.body.transactions[1][1])
}

fn receipts_for(number: BlockNumber, salt: u8) -> Receipts {
    if number.is_multiple_of(4) {
        return Receipts::default();
    }
    let log = |topics: u8| {
        let topics = (0..topics).map(B256::repeat_byte).collect();
        let data = vec![number as u8 ^ salt; 40];
        Log::new_unchecked(Address::repeat_byte(salt), topics, data.into())
    };
    let items = vec![flat(0, &[1], &[]), flat(2, &[], &[log(0), log(4)]), flat(3, &[1], &[log(1)])];
    Receipts { items }
}

/// A receipt without bloom; a legacy one has type 0.
fn flat(kind: u8, status: &[u8], logs: &[Log]) -> Bytes {
    let mut fields = Vec::new();
    kind.encode(&mut fields);
    status.encode(&mut fields);
    21_000_u64.encode(&mut fields);
    logs.to_vec().encode(&mut fields);
    let mut receipt = Vec::new();
    alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut receipt);
    receipt.extend(fields);
    receipt.into()
}

fn root_of(receipts: &Receipts) -> B256 {
    let encoded = receipts.items.iter().map(|receipt| consensus_receipt(receipt).unwrap());
    receipts_root(&encoded.collect::<Vec<_>>())
}

/// The batch, and the receipts of these blocks.
fn with_receipts(blocks: &[Block], batch: StoreBatch) -> StoreBatch {
    let all = blocks.iter().map(|block| (block.num_hash(), Arc::new(receipts_of(block))));
    let receipts = all.filter(|(_, receipts)| !receipts.items.is_empty()).collect();
    StoreBatch { receipts, ..batch }
}

/// `count` blocks above `parent`, ascending.
fn chain_above(parent: &SealedHeader, count: usize, salt: u8) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..count {
        let block = child_of(blocks.last().map_or(parent, |block| &block.header), salt);
        blocks.push(block);
    }
    blocks
}

fn chain(count: usize) -> Vec<Block> {
    chain_above(&genesis(), count, 0)
}

fn headers_of(blocks: &[Block]) -> StoreBatch {
    StoreBatch {
        headers: blocks.iter().map(|block| Arc::clone(&block.header)).collect(),
        ..StoreBatch::default()
    }
}

fn whole(blocks: &[Block]) -> StoreBatch {
    StoreBatch {
        bodies: blocks.iter().map(|block| (block.num_hash(), Arc::clone(&block.body))).collect(),
        ..headers_of(blocks)
    }
}

fn canonical(blocks: &[Block]) -> StoreBatch {
    StoreBatch { canonical: names(blocks), ..whole(blocks) }
}

fn names(blocks: &[Block]) -> Vec<BlockNumHash> {
    blocks.iter().map(Block::num_hash).collect()
}

fn span_of(blocks: &[Block]) -> Span {
    let (bottom, top) = (&blocks[0], blocks.last().unwrap());
    Span {
        top: top.num_hash(),
        bottom: bottom.num_hash(),
        bottom_parent: bottom.header.parent_hash,
    }
}

#[track_caller]
fn commit(backend: &dyn Backend, batch: StoreBatch) {
    assert_eq!(backend.commit(&[&batch]), [Ok(())]);
}

#[track_caller]
fn expect_rejected(backend: &dyn Backend, batch: StoreBatch, why: &str) {
    match backend.commit(&[&batch]).as_slice() {
        [Err(StoreError::Rejected(text))] => assert!(text.contains(why), "{text}"),
        other => panic!("expected a rejection, got {other:?}"),
    }
}

fn status(backend: &dyn Backend) -> StoreStatus {
    match backend.answer(&StoreQuery::Status).unwrap() {
        StoreAnswer::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

/// The canonical block at a height, whole.
fn block_at(backend: &dyn Backend, number: BlockNumber) -> Option<Block> {
    block(backend, HashOrNumber::Number(number)).map(|(block, _)| block)
}

/// A block and whether it is canonical.
fn block(backend: &dyn Backend, block: HashOrNumber) -> Option<(Block, bool)> {
    match backend.answer(&StoreQuery::Block { block }).unwrap() {
        StoreAnswer::Block(found) => found.map(|found| (found.block, found.canonical)),
        other => panic!("{other:?}"),
    }
}

/// The canonical chain's hashes from genesis to where it ends.
fn canonical_hashes(backend: &dyn Backend, from: BlockNumber) -> Vec<B256> {
    let query = StoreQuery::Headers {
        start: HashOrNumber::Number(from),
        limit: 1_024,
        skip: 0,
        reverse: false,
        budget_bytes: usize::MAX,
    };
    match backend.answer(&query).unwrap() {
        StoreAnswer::Headers(headers) => headers.iter().map(alloy_primitives::keccak256).collect(),
        other => panic!("{other:?}"),
    }
}

/// Receipts as they are served.
fn receipts(backend: &dyn Backend, hashes: &[B256]) -> Vec<Receipts> {
    let query = StoreQuery::Receipts { hashes: hashes.to_vec(), budget_bytes: usize::MAX };
    match backend.answer(&query).unwrap() {
        StoreAnswer::Receipts(receipts) => receipts,
        other => panic!("{other:?}"),
    }
}
