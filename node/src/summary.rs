//! The one JSON object that scripts rely on.

use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use moorline_messages::BlockNumHash;
use serde::Serialize;

use crate::observe::Observed;

/// What `sync --json` and `demo --json` print.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) ok: bool,
    pub(crate) head: Head,
    /// The lowest block held, from which on nothing is missing.
    pub(crate) first: u64,
    /// Blocks held, from `first` to the head.
    pub(crate) blocks: u64,
    /// Whether the store keeps receipts.
    pub(crate) keeps_receipts: bool,
    /// Blocks with transactions whose receipts this run proved.
    pub(crate) receipts: u64,
    /// Bodies and receipts that arrived although they were already here.
    pub(crate) refetched: u64,
    pub(crate) headers_per_s: f64,
    pub(crate) blocks_per_s: f64,
    /// Bytes of headers, bodies and receipts proved by this run.
    pub(crate) bytes: u64,
    pub(crate) elapsed_ms: u64,
    /// Until the last header was proved, where any was missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers_elapsed_ms: Option<u64>,
    pub(crate) peak_rss_bytes: u64,
    /// Bytes that this process sent to the disk.
    pub(crate) written_bytes: u64,
    /// Peers connected at the end.
    pub(crate) peers: u64,
    /// Actors rebuilt after a panic.
    pub(crate) restarts: u32,
    /// `None` where it is gone when this is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datadir: Option<PathBuf>,
    /// Where the run was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) survived: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

impl Summary {
    /// What a run came to.
    pub(crate) fn new(
        seen: &Observed,
        head: BlockNumHash,
        first: u64,
        peers: usize,
        elapsed: std::time::Duration,
        datadir: &Path,
    ) -> Self {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let per_second = |count: u64| round(count as f64 / seconds);
        Self {
            ok: true,
            head: Head { number: head.number, hash: head.hash },
            first,
            blocks: head.number.saturating_add(1).saturating_sub(first),
            keeps_receipts: false,
            receipts: seen.progress.receipts,
            refetched: seen.progress.refetched,
            headers_per_s: per_second(seen.progress.headers),
            blocks_per_s: per_second(seen.progress.blocks),
            bytes: seen.progress.bytes,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            headers_elapsed_ms: None,
            peak_rss_bytes: peak_rss_bytes(),
            written_bytes: written_bytes(),
            peers: peers as u64,
            restarts: seen.total_restarts(),
            datadir: Some(datadir.to_owned()),
            trace: None,
            survived: Vec::new(),
        }
    }
}

impl Summary {
    /// Adds what an earlier run over the same directory did.
    pub(crate) fn add_run(&mut self, earlier: &Observed) {
        let seconds = (self.elapsed_ms as f64 / 1_000.0).max(0.001);
        let add = |rate: f64, count: u64| round(rate + count as f64 / seconds);
        self.headers_per_s = add(self.headers_per_s, earlier.progress.headers);
        self.blocks_per_s = add(self.blocks_per_s, earlier.progress.blocks);
        self.bytes = self.bytes.saturating_add(earlier.progress.bytes);
        self.receipts = self.receipts.saturating_add(earlier.progress.receipts);
        self.refetched = self.refetched.saturating_add(earlier.progress.refetched);
        self.restarts = self.restarts.saturating_add(earlier.total_restarts());
    }
}

fn round(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// The most memory this process had resident, as Linux counts it; zero elsewhere.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// What this process sent to the disk, as Linux counts it; zero elsewhere.
fn written_bytes() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counts.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}
