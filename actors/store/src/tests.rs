//! The rig, and what every test shares: a chain whose headers match their bodies, with a branch.
#![allow(clippy::arithmetic_side_effects)]

mod actor;
mod core;
mod disk;
mod durable;
mod kill;
mod ledger;
mod model;
mod payload_bodies;
mod reads;
mod real_chain;

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B256, BlockNumber, Bytes};
use moorline_messages::{
    Block, BlockNumHash, Body, HashOrNumber, SealedHeader, Span, StoreAnswer, StoreBatch,
    StoreError, StoreQuery, StoreStatus,
};

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
        base_fee_per_gas: roots.withdrawals_root.map(|_| 7),
        withdrawals_root: roots.withdrawals_root,
        ..Header::default()
    };
    Block { header: Arc::new(SealedHeader::new(header)), body: Arc::new(body) }
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
