//! Receipts that follow from a block are the ones that its header commits to.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::B256;
use moorline_messages::{Block, Receipts};
use moorline_rules::{ChainSpec, receipts_key, validate_receipts};

use crate::{Generator, Profile, genesis_header, genesis_json, receipts_of};

/// Type, status and cumulative gas of a receipt, and how many bytes of logs it has.
fn fields(receipt: &[u8]) -> (u8, bool, u64, usize) {
    use alloy_rlp::{Decodable, Header};
    let mut fields = Header::decode_bytes(&mut &receipt[..], true).unwrap();
    let kind = u8::decode(&mut fields).unwrap();
    let status = bool::decode(&mut fields).unwrap();
    let gas = u64::decode(&mut fields).unwrap();
    (kind, status, gas, Header::decode_bytes(&mut fields, true).unwrap().len())
}

/// A block with another state root, as if somebody else had made it.
fn by_somebody_else(block: &Block) -> Block {
    let mut header = block.header.inner().clone();
    header.state_root = B256::repeat_byte(7);
    Block {
        header: Arc::new(alloy_primitives::Sealable::seal_slow(header)),
        body: Arc::clone(&block.body),
    }
}

#[test]
fn receipts_are_those_of_the_header_in_every_profile() {
    let spec = ChainSpec::from_genesis_json(&genesis_json()).unwrap();
    for (profile, count) in [(Profile::Mainnet, 120), (Profile::Small, 400), (Profile::Empty, 20)] {
        for block in Generator::new(profile, 4).take(count) {
            let receipts = receipts_of(&block).unwrap();
            assert_eq!(receipts.items.len(), block.body.transactions.len());
            let key = receipts_key(&receipts).unwrap();
            assert_eq!(key.root, block.header.receipts_root);
            assert_eq!(validate_receipts(&spec, &block.header, &key), Ok(()));
            let mut before = 0;
            for (receipt, transaction) in receipts.items.iter().zip(&block.body.transactions) {
                let (kind, is_success, gas, _) = fields(receipt);
                let expected = Some(transaction[0]).filter(|kind| *kind < 0x80).unwrap_or(0);
                assert_eq!((kind, is_success), (expected, true));
                assert!(gas >= before + 21_000, "{gas} after {before}");
                before = gas;
            }
            assert_eq!(before, block.header.gas_used, "gas adds up");
        }
    }
}

#[test]
fn receipts_of_a_mainnet_block_are_as_many_bytes_as_there() {
    let blocks: Vec<_> = Generator::new(Profile::Mainnet, 3).take(200).collect();
    let all: Vec<_> = blocks.iter().map(|block| receipts_of(block).unwrap()).collect();
    let sizes = all.iter().flat_map(|receipts| &receipts.items).map(|receipt| fields(receipt).3);
    let sizes: Vec<_> = sizes.collect();
    let mean = sizes.iter().sum::<usize>() / blocks.len();
    println!("{mean} bytes of logs in a mean block");
    assert!((40_000..60_000).contains(&mean), "{mean} bytes");
    assert!(sizes.iter().filter(|size| **size == 0).count() > sizes.len() / 5, "transfers");
    assert!(sizes.iter().any(|size| *size > 1_500), "some log much");
    let roots: BTreeSet<_> = blocks.iter().map(|block| block.header.receipts_root).collect();
    assert_eq!(roots.len(), blocks.len());
}

#[test]
fn receipts_of_small_blocks_are_few_bytes() {
    let blocks: Vec<_> = Generator::new(Profile::Small, 3).take(500).collect();
    let bytes = |block| receipts_of(block).unwrap().items.iter().map(|it| it.len()).sum::<usize>();
    let mean = blocks.iter().map(bytes).sum::<usize>() / blocks.len();
    assert!((100..400).contains(&mean), "{mean} bytes");
}

#[test]
fn nothing_is_known_of_receipts_that_were_made_elsewhere() {
    let block = Generator::new(Profile::Mainnet, 3).next().unwrap();
    assert_eq!(receipts_of(&by_somebody_else(&block)), None);
    // but a block without transactions has none, whoever made it
    let empty = Generator::new(Profile::Empty, 3).next().unwrap();
    assert_eq!(receipts_of(&by_somebody_else(&empty)), Some(Receipts::default()));
    let body = Arc::clone(&empty.body);
    let genesis = Block { header: Arc::new(genesis_header()), body };
    assert_eq!(receipts_of(&genesis), Some(Receipts::default()));
}
