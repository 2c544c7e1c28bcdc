//! Bodies by hash and by height, with gaps.

use moorline_messages::{PayloadBlocks, Weigh};

use super::*;
use crate::Memory;

fn ask(
    backend: &dyn Backend,
    blocks: PayloadBlocks,
    budget_bytes: usize,
) -> Result<Option<Vec<Option<Body>>>, StoreError> {
    match backend.answer(&StoreQuery::PayloadBodies { blocks, budget_bytes })? {
        StoreAnswer::PayloadBodies(bodies) => Ok(bodies),
        other => panic!("{other:?}"),
    }
}

fn range(backend: &dyn Backend, start: BlockNumber, count: u64) -> Vec<Option<Body>> {
    ask(backend, PayloadBlocks::Range { start, count }, usize::MAX).unwrap().unwrap()
}

fn bodies_of(blocks: &[Block]) -> Vec<Option<Body>> {
    blocks.iter().map(|block| Some((*block.body).clone())).collect()
}

/// Five canonical blocks, and a branch above the third.
fn held() -> (Memory, Vec<Block>, Vec<Block>) {
    let (backend, blocks) = (Memory::new(&genesis(), CHAIN_ID).unwrap(), chain(5));
    let side = chain_above(&blocks[2].header, 2, 9);
    commit(&backend, canonical(&blocks));
    commit(&backend, whole(&side));
    (backend, blocks, side)
}

#[test]
fn what_is_missing_or_not_canonical_leaves_a_gap() {
    let (backend, blocks, side) = held();
    let hash = |block: &Block| block.header.hash();
    let hashes = vec![hash(&blocks[4]), B256::repeat_byte(1), hash(&side[0]), hash(&blocks[0])];
    let bodies = ask(&backend, PayloadBlocks::Hashes(hashes), usize::MAX).unwrap().unwrap();
    let body = |index: usize| Some((*blocks[index].body).clone());
    assert_eq!(bodies, [body(4), None, None, body(0)]);
}

#[test]
fn a_range_is_canonical_and_ends_at_the_tip() {
    let (backend, blocks, side) = held();
    assert_eq!(range(&backend, 2, 2), bodies_of(&blocks[1..3]));
    assert_eq!(range(&backend, 4, 1_024), bodies_of(&blocks[3..]));
    assert_eq!(range(&backend, 6, 1), []);
    assert_eq!(range(&backend, u64::MAX, 1_024), []);
    commit(&backend, StoreBatch { canonical: names(&side[..1]), ..StoreBatch::default() });
    let expected = [bodies_of(&blocks[..3]), bodies_of(&side[..1])].concat();
    assert_eq!(range(&backend, 1, 9), expected);
}

#[test]
fn below_the_lowest_block_kept_a_range_has_gaps() {
    let (backend, blocks) = (Memory::new(&genesis(), CHAIN_ID).unwrap(), chain(5));
    commit(&backend, canonical(&blocks[3..]));
    let expected = [vec![None, None], bodies_of(&blocks[3..])].concat();
    assert_eq!(range(&backend, 2, 9), expected);
}

#[test]
fn bodies_come_all_or_not_at_all_and_1024_at_most() {
    let (backend, blocks, _) = held();
    let weight: usize = blocks[1..3].iter().map(|block| block.body.weight_bytes()).sum();
    let two = PayloadBlocks::Range { start: 2, count: 2 };
    assert_eq!(ask(&backend, two.clone(), weight), Ok(Some(bodies_of(&blocks[1..3]))));
    assert_eq!(ask(&backend, two, weight - 1), Ok(None));
    for many in [
        PayloadBlocks::Range { start: 1, count: 1_025 },
        PayloadBlocks::Hashes(vec![B256::ZERO; 1_025]),
    ] {
        assert!(matches!(ask(&backend, many, usize::MAX), Err(StoreError::Rejected(_))));
    }
}
