//! Reads test data that lies beside the checkout.

use std::path::PathBuf;

use alloy_primitives::Bytes;
use moorline_messages::Block;
use serde_json::Value;

use crate::{BlockReader, ChainSpec};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// The file's content; `None`, with a line that says so, where the data is not there.
pub(crate) fn read(file: &str) -> Option<Vec<u8>> {
    let directory = PathBuf::from(DATA);
    if !directory.is_dir() {
        say_skipped();
        return None;
    }
    Some(std::fs::read(directory.join(file)).unwrap())
}

pub(crate) fn text(file: &str) -> Option<String> {
    read(file).map(|bytes| String::from_utf8(bytes).unwrap())
}

pub(crate) fn json(file: &str) -> Option<Value> {
    text(file).map(|text| serde_json::from_str(&text).unwrap())
}

/// The chain of 600 blocks and its specification.
pub(crate) struct TestChain {
    pub(crate) spec: ChainSpec,
    pub(crate) rlp: Bytes,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) fn test_chain() -> Option<TestChain> {
    let spec = ChainSpec::from_genesis_json(&text("geth-ethtest/genesis.json")?).unwrap();
    let rlp = Bytes::from(read("geth-ethtest/chain.rlp")?);
    let blocks = BlockReader::new(rlp.clone()).map(Result::unwrap).collect();
    Some(TestChain { spec, rlp, blocks })
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
