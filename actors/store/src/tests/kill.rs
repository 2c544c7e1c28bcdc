//! A process that writes is killed at any moment: nothing that it acknowledged is lost, and nothing
//! that it left half done is seen.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::Bytes;
use moorline_messages::{Block, Body, SealedHeader, StoreBatch};
use tempfile::TempDir;

use super::*;
use crate::Disk;

const DIR: &str = "MOORLINE_STORE_KILL_DIR";
const ROUNDS: u64 = 20;
const BLOCKS_IN_A_BATCH: usize = 3;

fn open(dir: &Path) -> Disk {
    Disk::open(dir, &genesis(), CHAIN_ID, Some(true)).unwrap()
}

/// The one block that the writer makes above `parent`.
fn next_block(parent: &SealedHeader) -> Block {
    let number = parent.number + 1;
    // bytes that do not compress, so that the block files grow
    let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let payload: Vec<u8> = (0..8_000)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .collect();
    let body = Body {
        transactions: vec![Bytes::from([vec![0x02], payload].concat())],
        ommers: Body::NO_OMMERS,
        withdrawals: None,
    };
    let roots = moorline_rules::key_of(&body);
    let header = Header {
        number,
        parent_hash: parent.hash(),
        transactions_root: roots.transactions_root,
        receipts_root: root_of(&receipts_for(number, 0)),
        ..Header::default()
    };
    Block { header: Arc::new(SealedHeader::new(header)), body: Arc::new(body) }
}

/// Not a test of its own: what the killed process runs.
#[test]
fn writer() {
    let Ok(dir) = env::var(DIR) else { return };
    let store = open(Path::new(&dir));
    let mut tip = store.load().unwrap().tip;
    loop {
        let mut batch = StoreBatch::default();
        for _ in 0..BLOCKS_IN_A_BATCH {
            let block = next_block(&tip);
            tip = Arc::clone(&block.header);
            batch.canonical.push(block.num_hash());
            batch.receipts.push((block.num_hash(), Arc::new(receipts_for(tip.number, 0))));
            batch.headers.push(block.header);
            batch.bodies.push((BlockNumHash::of(&tip), block.body));
        }
        assert_eq!(store.commit(&[&batch]), [Ok(())]);
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacked {}", tip.number).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the writer until it acknowledged `acks` batches and a little longer, kills it, and returns the
/// highest block that it acknowledged.
fn write_and_kill(dir: &Path, acks: usize, longer: Duration) -> u64 {
    let mut writer = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::kill::writer", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut acked =
        lines.by_ref().filter_map(|line| line.unwrap().strip_prefix("acked ")?.parse().ok());
    let mut highest = acked.by_ref().take(acks).last().expect("the writer ended early");
    // the moment to strike is the point of the test; whatever it is, the outcome is the same
    std::thread::sleep(longer);
    writer.kill().unwrap();
    writer.wait().unwrap();
    highest = acked.last().unwrap_or(highest);
    highest
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let dir = TempDir::new().unwrap();
    let mut before = 0;
    for round in 0..ROUNDS {
        let acks = 1 + (round as usize * 7) % 5;
        let longer = Duration::from_micros(round * 1_237 % 9_000);
        let acked = write_and_kill(dir.path(), acks, longer);
        assert!(acked > before, "round {round} made no progress");
        let store = open(dir.path());
        let tip = store.load().unwrap().tip.number;
        assert!(tip >= acked, "round {round}: block {acked} was acknowledged, the tip is {tip}");
        assert_eq!(tip % BLOCKS_IN_A_BATCH as u64, 0, "round {round}: half a batch is seen");
        let report = store.check(&mut |_| ()).unwrap();
        assert!(report.is_sound(), "round {round}: {report:?}");
        assert_eq!((report.blocks, report.receipts), (tip, tip - tip / 4));
        expect_acknowledged(&store, before, acked);
        before = tip;
    }
    println!("{ROUNDS} kills, {before} blocks, none lost");
}

/// Blocks are what the writer made of them, byte for byte.
fn expect_acknowledged(store: &Disk, from: u64, to: u64) {
    for number in from..to {
        let below = block_at(store, number).unwrap();
        assert_eq!(block_at(store, number + 1), Some(next_block(&below.header)));
    }
}
