//! Generated blocks obey the rules, by the rules' own judgement.

use std::collections::BTreeSet;

use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use moorline_messages::{Block, SealedHeader};
use moorline_rules::{
    ChainSpec, block_rlp, body_matches, decode_block, validate_body,
    validate_header_against_parent, validate_header_alone,
};

use crate::{FORK_SPACING_BLOCKS, Generator, Profile, genesis_header, genesis_json};

fn spec() -> ChainSpec {
    ChainSpec::from_genesis_json(&genesis_json()).unwrap()
}

fn assert_valid(spec: &ChainSpec, parent: &SealedHeader, block: &Block) {
    validate_header_alone(spec, &block.header).unwrap();
    validate_header_against_parent(spec, &block.header, parent).unwrap();
    body_matches(&block.header, &block.body).unwrap();
    validate_body(spec, &block.header, &block.body).unwrap();
}

fn transactions(block: &Block) -> Vec<TxEnvelope> {
    let decode = |bytes: &alloy_primitives::Bytes| TxEnvelope::decode_2718_exact(bytes).unwrap();
    block.body.transactions.iter().map(decode).collect()
}

#[test]
fn the_genesis_json_stands_for_the_genesis_header() {
    let spec = spec();
    spec.check_schedule().unwrap();
    assert_eq!(spec.genesis().hash(), genesis_header().hash());
    assert!(spec.is_merged_from_genesis());
    assert_eq!(spec.warnings(), &[] as &[String]);
}

#[test]
fn no_fork_hash_begins_with_a_zero_byte() {
    let spec = spec();
    let head = Generator::new(Profile::Empty, 1).take(100);
    let hashes: BTreeSet<_> = head
        .map(|block| spec.fork_id(block.header.number, block.header.timestamp).hash.0)
        .collect();
    assert_eq!(hashes.len(), 6, "Shanghai to BPO2");
    assert!(hashes.iter().all(|hash| hash[0] != 0), "{hashes:02x?}");
}

#[test]
fn every_block_of_every_profile_obeys_every_rule() {
    let spec = spec();
    for (profile, count) in [(Profile::Mainnet, 200), (Profile::Small, 600), (Profile::Empty, 600)]
    {
        let mut parent = genesis_header();
        for block in Generator::new(profile, 7).take(count) {
            assert_valid(&spec, &parent, &block);
            parent = SealedHeader::clone(&block.header);
        }
        assert_eq!(parent.number, count as u64);
    }
}

#[test]
fn a_mainnet_chain_has_the_size_the_types_and_the_blobs_of_mainnet() {
    let spec = spec();
    let blocks: Vec<_> = Generator::new(Profile::Mainnet, 3).take(300).collect();
    let mut types = BTreeSet::new();
    let mut nonces = BTreeSet::new();
    let mut fullest = 0;
    for block in &blocks {
        for tx in transactions(block) {
            types.insert(u8::from(tx.tx_type()));
            assert!(nonces.insert(tx.nonce()), "every transaction is a different one");
            assert!(tx.signature().normalize_s().is_none(), "s is in its lower half (EIP-2)");
        }
        assert_eq!(block.body.withdrawals.as_ref().unwrap().len(), 16);
        let schedule = spec.blob_params(block.header.timestamp);
        if let Some(params) = schedule {
            let used = block.header.blob_gas_used.unwrap();
            fullest += usize::from(used == params.max_blob_gas_per_block());
        }
    }
    assert_eq!(types, BTreeSet::from([0, 1, 2, 3, 4]));
    assert!(fullest > 5, "{fullest} blocks carry as many blobs as the schedule allows");
    let bytes: usize = blocks.iter().map(|b| block_rlp(&b.header, &b.body).len()).sum();
    let (mean_bytes, mean_txs) = (bytes / blocks.len(), nonces.len() / blocks.len());
    println!("{mean_bytes} bytes and {mean_txs} transactions in a mean block");
    assert!((70_000..110_000).contains(&mean_bytes), "{mean_bytes} bytes");
    assert!((150..250).contains(&mean_txs), "{mean_txs} transactions");
}

#[test]
fn forks_begin_where_they_are_announced() {
    let blocks: Vec<_> = Generator::new(Profile::Small, 1).take(40).collect();
    let at = |number: u64| &blocks[number as usize - 1].header;
    assert_eq!(at(FORK_SPACING_BLOCKS - 1).excess_blob_gas, None);
    assert_eq!(at(FORK_SPACING_BLOCKS).excess_blob_gas, Some(0));
    assert_eq!(at(2 * FORK_SPACING_BLOCKS - 1).requests_hash, None);
    assert!(at(2 * FORK_SPACING_BLOCKS).requests_hash.is_some());
}

#[test]
fn a_small_block_is_about_a_kilobyte() {
    let blocks: Vec<_> = Generator::new(Profile::Small, 1).take(500).collect();
    let bytes: usize = blocks.iter().map(|b| block_rlp(&b.header, &b.body).len()).sum();
    assert!((700..1500).contains(&(bytes / 500)), "{} bytes", bytes / 500);
}

#[test]
fn a_seed_names_one_chain() {
    for profile in Profile::ALL {
        let hashes = |seed| {
            let blocks = Generator::new(profile, seed).take(60);
            blocks.map(|block| block.header.hash()).collect::<Vec<_>>()
        };
        assert_eq!(hashes(5), hashes(5));
        assert_ne!(hashes(5), hashes(6));
    }
}

#[test]
fn a_branch_leaves_the_chain_at_the_block_it_was_told() {
    let spec = spec();
    let mut generator = Generator::new(Profile::Small, 9);
    let blocks: Vec<_> = generator.by_ref().take(20).collect();
    let parent = &blocks[9].header;
    let branch: Vec<_> = generator.fork_at(parent, 77).take(15).collect();
    assert_eq!(branch[0].header.parent_hash, parent.hash());
    assert_ne!(branch[0].header.hash(), blocks[10].header.hash());
    let mut below = SealedHeader::clone(parent);
    for block in &branch {
        assert_valid(&spec, &below, block);
        below = SealedHeader::clone(&block.header);
    }
    let again: Vec<_> = generator.fork_at(parent, 77).take(15).collect();
    assert_eq!(again, branch);
}

#[test]
fn blocks_survive_rlp() {
    for profile in Profile::ALL {
        for block in Generator::new(profile, 2).take(90) {
            let bytes = block_rlp(&block.header, &block.body);
            let mut rest = bytes.into();
            assert_eq!(decode_block(&mut rest).unwrap(), block);
            assert!(rest.is_empty());
        }
    }
}
