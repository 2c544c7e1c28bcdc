//! What writing blocks costs: `cargo bench -p moorline-store --bench commit`.
//!
//! Generated blocks are stored the way a sync stores them: headers from the top down, bodies from the
//! bottom up, and the canonical chain behind the bodies, each in commits of their own. What Linux
//! counts as written is set against the blocks' own bytes. Then the headers are walked, before and after
//! the store was closed, since a node that starts again walks them all.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_devnet::{Generator, Profile, genesis_header};
use moorline_messages::{Block, Span, StoreBatch, Weigh};
use moorline_rules::block_rlp;
use moorline_store::{Backend, Disk};
use tempfile::TempDir;

const CASES: [(Profile, usize, usize); 4] = [
    (Profile::Small, 100_000, 2 << 20),
    (Profile::Small, 60_000, 64 << 10),
    (Profile::Mainnet, 1_000, 2 << 20),
    (Profile::Mainnet, 1_000, 64 << 10),
];

/// Blocks that become canonical in one batch, and headers of one walk.
const STEP_BLOCKS: usize = 512;

fn main() {
    println!(
        "{:<8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>7} {:>7} {:>7} {:>7} {:>10} {:>10}",
        "blocks",
        "batch",
        "commits",
        "blocks/s",
        "MB/s",
        "written",
        "wchar",
        "files",
        "index",
        "RSS",
        "walk",
        "walk cold"
    );
    for (profile, count, batch_bytes) in CASES {
        let blocks: Vec<Block> = Generator::new(profile, 1).take(count).collect();
        run(profile, &blocks, batch_bytes);
    }
}

fn run(profile: Profile, blocks: &[Block], batch_bytes: usize) {
    let dir = TempDir::new().unwrap();
    let genesis = Arc::new(genesis_header());
    let store = Disk::open(dir.path(), &genesis, 1, None).unwrap();
    let bytes: usize = blocks.iter().map(|block| block_rlp(&block.header, &block.body).len()).sum();
    let (io, rss, began) = (io_bytes(), rss_bytes(), Instant::now());
    let mut commits = 0;
    let mut commit = |batch: StoreBatch| {
        assert_eq!(store.commit(&[&batch]), [Ok(())]);
        commits += 1;
    };
    write_headers(blocks, batch_bytes, &mut commit);
    write_bodies(blocks, batch_bytes, &mut commit);
    let took = began.elapsed();
    let (io_after, rss_after) = (io_bytes(), rss_bytes());
    let walk = walk(&store, blocks);
    let stats = store.stats().unwrap();
    drop(store);
    let store = Disk::open(dir.path(), &genesis, 1, None).unwrap();
    let walk_cold = self::walk(&store, blocks);
    let per_byte = |written: u64| written as f64 / bytes as f64;
    println!(
        "{:<8} {:>7}k {:>8} {:>9.0} {:>9.1} {:>8.2} {:>7.2} {:>7.2} {:>7.2} {:>6}M {:>8.0}us {:>8.0}us",
        profile.as_str(),
        batch_bytes >> 10,
        commits,
        blocks.len() as f64 / took.as_secs_f64(),
        bytes as f64 / took.as_secs_f64() / 1e6,
        per_byte(io_after.0 - io.0),
        per_byte(io_after.1 - io.1),
        per_byte(stats.blocks_bytes),
        per_byte(stats.index_bytes),
        rss_after.saturating_sub(rss) >> 20,
        walk.as_secs_f64() * 1e6,
        walk_cold.as_secs_f64() * 1e6,
    );
}

/// From the top down, each batch with its span.
fn write_headers(blocks: &[Block], batch_bytes: usize, commit: &mut impl FnMut(StoreBatch)) {
    let mut batch = StoreBatch::default();
    let mut bytes = 0;
    for block in blocks.iter().rev() {
        bytes += block.header.weight_bytes();
        batch.headers.push(Arc::clone(&block.header));
        if bytes >= batch_bytes || block.header.number == 1 {
            let span = Span {
                top: blocks.last().unwrap().num_hash(),
                bottom: block.num_hash(),
                bottom_parent: block.header.parent_hash,
            };
            batch.spans.push(span);
            commit(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
}

/// From the bottom up, with the canonical chain behind them.
fn write_bodies(blocks: &[Block], batch_bytes: usize, commit: &mut impl FnMut(StoreBatch)) {
    let mut batch = StoreBatch::default();
    let (mut bytes, mut stored, mut canonical) = (0, 0, 0);
    for block in blocks {
        bytes += block.body.weight_bytes();
        batch.bodies.push((block.num_hash(), Arc::clone(&block.body)));
        let is_last = block.header.number == blocks.len() as u64;
        if bytes >= batch_bytes || is_last {
            stored += batch.bodies.len();
            commit(std::mem::take(&mut batch));
            bytes = 0;
        }
        while stored - canonical >= STEP_BLOCKS || (is_last && canonical < stored) {
            let end = stored.min(canonical + STEP_BLOCKS);
            let names = blocks[canonical..end].iter().map(Block::num_hash).collect();
            commit(StoreBatch { canonical: names, ..StoreBatch::default() });
            canonical = end;
        }
    }
}

/// The mean of walks over the whole chain.
fn walk(store: &Disk, blocks: &[Block]) -> Duration {
    let tops = blocks.rchunks(STEP_BLOCKS).map(|chunk| chunk.last().unwrap().num_hash());
    let began = Instant::now();
    let mut walks = 0;
    for top in tops {
        assert!(!store.walk(top, STEP_BLOCKS as u64).unwrap().is_empty());
        walks += 1;
    }
    began.elapsed() / walks
}

/// What this process sent to the disk, and what it handed to the kernel.
fn io_bytes() -> (u64, u64) {
    let text = fs::read_to_string("/proc/self/io").expect("Linux");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (field("write_bytes:"), field("wchar:"))
}

fn rss_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
