//! What is on disk, compared with the chain it came from.

use eyre::{Result, bail, eyre};
use moorline_devnet::receipts_of;
use moorline_messages::{StoreAnswer, StoreQuery};
use moorline_rules::block_rlp;
use moorline_store::Backend;

use super::net::Net;
use crate::datadir::DataDir;

/// Reads every block and its receipts back and compares them byte for byte. Returns how many there were.
pub(super) fn compare(datadir: &DataDir, net: &Net) -> Result<u64> {
    let disk = datadir.open_existing()?;
    let report = disk.check(&mut |_| {})?;
    if let Some(found) = report.faults.first() {
        bail!("block {} on disk: {}", found.block, found.fault);
    }
    let tip = net.tip().number;
    let mut count = 0_u64;
    for stored in disk.blocks(1, tip) {
        let stored = stored?;
        let number = stored.header.number;
        let made = net.block(number).ok_or_else(|| eyre!("the chain has no block {number}"))?;
        if block_rlp(&stored.header, &stored.body) != block_rlp(&made.header, &made.body) {
            bail!("block {number} on disk is not that of the chain");
        }
        let query =
            StoreQuery::Receipts { hashes: vec![made.header.hash()], budget_bytes: usize::MAX };
        let receipts = receipts_of(&made).map(|receipts| vec![receipts]);
        if disk.answer(&query)? != StoreAnswer::Receipts(receipts.unwrap_or_default()) {
            bail!("the receipts of block {number} on disk are not those of the chain");
        }
        count = count.saturating_add(1);
    }
    if count != tip {
        bail!("{count} blocks are on disk, and the chain has {tip}");
    }
    Ok(count)
}
