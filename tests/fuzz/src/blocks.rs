//! Blocks in files, as the import command reads them.

use alloy_primitives::Bytes;
use moorline_devnet::{Generator, Profile};
use moorline_rules::{BlockReader, block_rlp, block_rlp_len};

use crate::Target;

/// A file of blocks.
pub(crate) const BLOCKS: Target =
    Target { name: "blocks", max_len: 4096, read: blocks, seeds: block_seeds };

fn blocks(input: &[u8]) -> bool {
    let mut reader = BlockReader::new(Bytes::copy_from_slice(input));
    let mut count = 0;
    let mut from = 0;
    while let Some(Ok(block)) = reader.next() {
        let encoded = block_rlp(block.header.inner(), &block.body);
        assert_eq!(encoded.len(), block_rlp_len(block.header.inner(), &block.body));
        assert!(from < reader.offset(), "the reader stands still");
        from = reader.offset();
        count += 1;
    }
    count > 0
}

fn block_seeds() -> Vec<Vec<u8>> {
    let blocks = Generator::new(Profile::Small, 1).take(60).step_by(6);
    let encode = |block: moorline_messages::Block| block_rlp(block.header.inner(), &block.body);
    let mut seeds: Vec<_> = blocks.map(encode).collect();
    let all = seeds[..2].concat();
    seeds.push(all);
    seeds
}
