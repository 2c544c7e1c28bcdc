//! Real blocks, in and out again.

use std::path::Path;

use alloy_primitives::hex;
use moorline_rules::{BlockReader, block_rlp, decode_block};
use tempfile::TempDir;

use super::*;
use crate::Disk;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

#[test]
fn what_geth_exported_is_given_back_byte_for_byte() {
    let Ok(exported) = std::fs::read(Path::new(DATA).join("geth-ethtest/chain.rlp")) else {
        say_skipped();
        return;
    };
    let blocks: Vec<Block> =
        BlockReader::new(exported.clone().into()).map(|block| block.unwrap()).collect();
    assert_eq!(blocks.len(), 600);
    let dir = TempDir::new().unwrap();
    // the parent of the first block stands in for the genesis block, so the run begins above a gap
    let store = Disk::open(dir.path(), &genesis(), 1, None).unwrap();
    commit(&store, canonical(&blocks[1..]));
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!((report.blocks, report.fault_count), (599, 0), "{report:?}");
    let rlp = |block: &Block| block_rlp(&block.header, &block.body);
    let first_len = rlp(&blocks[0]).len();
    let given: Vec<u8> = store.blocks(2, 600).flat_map(|block| rlp(&block.unwrap())).collect();
    assert!(given == exported[first_len..]);
}

/// A mainnet block and its receipts without bloom.
fn mainnet(number: u64) -> Option<(Block, Receipts)> {
    let path = Path::new(DATA).join(format!("receipts/block-data-{number}.yaml"));
    let file = std::fs::read_to_string(path).ok()?;
    let field = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        hex::decode(line.trim().trim_matches('"')).unwrap()
    };
    // a block is its header and then the fields of its body
    let (header, body) = (field("header"), field("body"));
    let fields = alloy_rlp::Header::decode_bytes(&mut &body[..], true).unwrap();
    let payload = [&header[..], fields].concat();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    rlp.extend(payload);
    let receipts = field("receipts");
    let mut list = alloy_rlp::Header::decode_bytes(&mut &receipts[..], true).unwrap();
    let mut items = Vec::new();
    while !list.is_empty() {
        let mut rest = list;
        alloy_rlp::Header::decode_bytes(&mut rest, true).unwrap();
        items.push(Bytes::copy_from_slice(&list[..list.len() - rest.len()]));
        list = rest;
    }
    Some((decode_block(&mut rlp.into()).unwrap(), Receipts { items }))
}

#[test]
fn receipts_of_mainnet_are_given_back_byte_for_byte_and_proved() {
    let (Some(last), Some(first)) = (mainnet(17_034_869), mainnet(17_034_870)) else {
        say_skipped();
        return;
    };
    let (dir, all) = (TempDir::new().unwrap(), [last, first]);
    let blocks = all.each_ref().map(|(block, _)| block.clone());
    let kept: Vec<_> = all.into_iter().map(|(_, receipts)| receipts).collect();
    let named = blocks.iter().map(Block::num_hash).zip(kept.iter().cloned().map(Arc::new));
    let open = |receipts| Disk::open(dir.path(), &genesis(), 1, receipts).unwrap();
    commit(&open(Some(true)), StoreBatch { receipts: named.collect(), ..canonical(&blocks) });
    let store = open(None);
    let hashes = blocks.each_ref().map(|block| block.header.hash());
    assert!(receipts(&store, &hashes) == kept);
    assert!(kept.iter().all(|receipts| receipts.items.len() > 50));
    let report = store.check(&mut |_| ()).unwrap();
    assert_eq!((report.blocks, report.receipts, report.fault_count), (2, 2, 0), "{report:?}");
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
