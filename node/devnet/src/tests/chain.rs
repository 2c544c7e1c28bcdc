//! Chains give back what was put in, from memory, from a file, and from one on top of the other.

use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use moorline_messages::{Block, BlockNumHash, HashOrNumber};
use moorline_rules::block_rlp;

use crate::{
    Chain, FileChain, FileChainError, Generator, MemoryChain, NotLinked, Profile, chain::headers,
    genesis_header,
};

const PLENTY: usize = usize::MAX;

fn blocks(profile: Profile, count: usize) -> Vec<Block> {
    Generator::new(profile, 4).take(count).collect()
}

fn in_memory(blocks: &[Block]) -> MemoryChain {
    let chain = MemoryChain::new(Arc::new(genesis_header()));
    chain.extend(blocks.iter().cloned()).unwrap();
    chain
}

/// The chain holds these blocks above its genesis, and nothing else.
fn assert_holds(chain: &dyn Chain, blocks: &[Block]) {
    assert_eq!(chain.tip(), blocks.last().unwrap().num_hash());
    for block in blocks {
        let BlockNumHash { number, hash } = block.num_hash();
        for at in [HashOrNumber::Number(number), HashOrNumber::Hash(hash)] {
            assert_eq!(chain.block(at).as_ref(), Some(block));
            assert_eq!(keccak256(chain.header(at).unwrap()), hash);
        }
        assert_eq!(chain.canonical_number(hash), Some(number));
    }
    let genesis = chain.block(HashOrNumber::Number(0)).unwrap();
    assert_eq!(genesis.header.hash(), genesis_header().hash());
    assert_eq!(chain.block(HashOrNumber::Hash(genesis.header.hash())), Some(genesis));
    assert_eq!(chain.block(HashOrNumber::Number(chain.tip().number + 1)), None);
    assert_eq!(chain.header(HashOrNumber::Hash(B256::repeat_byte(9))), None);
}

fn numbers(headers: &[alloy_primitives::Bytes]) -> Vec<u64> {
    use alloy_rlp::Decodable;
    let decode = |bytes: &alloy_primitives::Bytes| {
        moorline_messages::Header::decode(&mut bytes.as_ref()).unwrap().number
    };
    headers.iter().map(decode).collect()
}

#[test]
fn a_file_holds_what_was_generated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.rlp");
    for profile in Profile::ALL {
        let blocks = blocks(profile, 60);
        let genesis = Arc::new(genesis_header());
        let created = FileChain::create(&path, genesis.clone(), blocks.clone()).unwrap();
        assert_holds(&created, &blocks);
        let opened = FileChain::open(&path, genesis).unwrap();
        assert_holds(&opened, &blocks);
        let bytes: Vec<u8> =
            blocks.iter().flat_map(|block| block_rlp(&block.header, &block.body)).collect();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_file_that_geth_wrote_is_a_chain() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/geth-ethtest");
    let Ok(genesis) = std::fs::read_to_string(format!("{data}/genesis.json")) else {
        say_skipped();
        return;
    };
    let spec = moorline_rules::ChainSpec::from_genesis_json(&genesis).unwrap();
    let path = format!("{data}/chain.rlp");
    let chain = FileChain::open(path.as_ref(), spec.genesis().clone()).unwrap();
    assert_eq!(chain.tip().number, 600);
    let all = headers(&chain, HashOrNumber::Hash(chain.tip().hash), 1024, 0, true, PLENTY);
    assert_eq!(all.len(), 601);
}

#[test]
fn a_damaged_file_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.rlp");
    let genesis = Arc::new(genesis_header());
    let whole: Vec<u8> = blocks(Profile::Small, 5)
        .iter()
        .flat_map(|block| block_rlp(&block.header, &block.body))
        .collect();
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        FileChain::open(&path, genesis.clone())
    };
    for cut in [1, 2, 400] {
        let error = open(&whole[..whole.len() - cut]).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
    let error = open(&[&whole[..], b"no block"].concat()).unwrap_err();
    assert!(error.to_string().contains("not a list"), "{error}");
    let error = open(&[0xfb, 0xff, 0xff, 0xff, 0xff]).unwrap_err();
    assert!(error.to_string().contains("it claims"), "{error}");
    let twice = [&whole[..], &whole[..]].concat();
    assert!(matches!(open(&twice), Err(FileChainError::NotLinked { .. })));
    let stranger = Generator::new(Profile::Small, 5).nth(5).unwrap();
    let mixed = [&whole[..], &block_rlp(&stranger.header, &stranger.body)].concat();
    let Err(FileChainError::NotLinked { block, offset, .. }) = open(&mixed) else { panic!() };
    assert_eq!((block, offset), (stranger.num_hash(), whole.len() as u64));
    assert_eq!(open(&[]).unwrap().tip().number, 0, "an empty file is a chain of the genesis block");
}

#[test]
fn headers_are_found_upwards_downwards_and_with_gaps() {
    let blocks = blocks(Profile::Empty, 30);
    let chain = in_memory(&blocks);
    let ask = |start, limit, skip, reverse| {
        numbers(&headers(&chain, start, limit, skip, reverse, PLENTY))
    };
    let hash = |number: usize| HashOrNumber::Hash(blocks[number - 1].header.hash());
    assert_eq!(ask(HashOrNumber::Number(28), 9, 0, false), [28, 29, 30]);
    assert_eq!(ask(hash(2), 9, 0, true), [2, 1, 0]);
    assert_eq!(ask(hash(10), 3, 4, true), [10, 5, 0]);
    assert_eq!(ask(HashOrNumber::Number(1), 3, 9, false), [1, 11, 21]);
    assert_eq!(ask(HashOrNumber::Number(5), 3, u64::MAX, false), [5]);
    assert_eq!(ask(HashOrNumber::Number(5), 0, 0, false), [] as [u64; 0]);
    assert_eq!(ask(HashOrNumber::Hash(B256::ZERO), 3, 0, true), [] as [u64; 0]);
    let budget = headers(&chain, HashOrNumber::Number(1), 30, 0, false, 2_000);
    assert!((3..6).contains(&budget.len()), "{} headers in 2 kB", budget.len());
}

#[test]
fn a_reorg_moves_the_tip_and_keeps_the_old_branch_by_hash() {
    let dir = tempfile::tempdir().unwrap();
    let mut generator = Generator::new(Profile::Small, 4);
    let trunk: Vec<_> = generator.by_ref().take(20).collect();
    let branch: Vec<_> = generator.fork_at(&trunk[14].header, 99).take(8).collect();
    let genesis = Arc::new(genesis_header());
    let path = dir.path().join("chain.rlp");
    let base = Arc::new(FileChain::create(&path, genesis, trunk[..18].to_vec()).unwrap());
    let chain = MemoryChain::on(base);
    assert_holds(&chain, &trunk[..18]);
    chain.extend(trunk[18..].iter().cloned()).unwrap();
    assert_holds(&chain, &trunk);

    let mut tip = chain.watch_tip();
    chain.extend(branch.iter().cloned()).unwrap();
    assert!(tip.has_changed().unwrap());
    let now: Vec<_> = trunk[..15].iter().chain(&branch).cloned().collect();
    assert_holds(&chain, &now);
    assert_eq!(tip.borrow_and_update().number, 23);

    for old in [&trunk[16], &trunk[19]] {
        let at = HashOrNumber::Hash(old.header.hash());
        assert_eq!(chain.block(at).as_ref(), Some(old), "still found by hash");
        assert_eq!(chain.canonical_number(old.header.hash()), None);
        let below = headers(&chain, at, 6, 0, true, PLENTY);
        let expected: Vec<_> = (0..6).map(|down| old.header.number - down).collect();
        assert_eq!(numbers(&below), expected);
    }
    assert_eq!(chain.extend([trunk[19].clone()]), Err(NotLinked(trunk[19].num_hash())));
}

/// Says once that tests are skipped, past the test runner's capture of what tests print.
fn say_skipped() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use std::io::Write;
        let text = "skipped: tests that read ../shared/data, which is not beside this checkout";
        writeln!(std::io::stderr(), "{text}").unwrap();
    });
}
