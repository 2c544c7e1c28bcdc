//! Real blocks, in and out again.

use std::path::Path;

use moorline_rules::{BlockReader, block_rlp};
use tempfile::TempDir;

use super::*;
use crate::Disk;

#[test]
fn what_geth_exported_is_given_back_byte_for_byte() {
    let folder =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/geth-ethtest"));
    let Ok(exported) = std::fs::read(folder.join("chain.rlp")) else {
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

/// Says once that tests are skipped, past the test runner's capture of what tests print.
fn say_skipped() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use std::io::Write;
        let text = "skipped: tests that read ../shared/data, which is not beside this checkout";
        writeln!(std::io::stderr(), "{text}").unwrap();
    });
}
