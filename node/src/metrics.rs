//! What the actors report, as Prometheus reads it: worked out when it is asked for, and kept nowhere.

mod finding;
mod network;
mod peers;
mod server;
mod sheet;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

use std::fmt;

use moorline_discovery::DiscoveryView;
use moorline_downloader::Budget;
use moorline_kit::Port;
use moorline_messages::{ActorName, Stall};
use moorline_rlpx::{NetworkCounters, UnfinishedReceipts};
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};
use tokio::sync::watch;

pub use self::server::MetricsError;
pub(crate) use self::server::MetricsHandle;
use self::sheet::Sheet;
use crate::observe::Observed;

/// Every reason for a stall, under the name that its label has.
const REASONS: [(Stall, &str); 6] = [
    (Stall::NoPeer, "no_peer"),
    (Stall::NoAnswer, "no_answer"),
    (Stall::Lacking, "lacking"),
    (Stall::Lies, "lies"),
    (Stall::Store, "store"),
    (Stall::Tree, "tree"),
];

/// What metrics are made of.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) watched: watch::Receiver<Observed>,
    pub(crate) budget: Budget,
    pub(crate) unfinished: UnfinishedReceipts,
    /// Of the devp2p edge.
    pub(crate) network: NetworkCounters,
    pub(crate) queues: Vec<Queue>,
    pub(crate) discovery: Option<DiscoveryView>,
}

/// A port, as far as metrics go: how much waits in it.
pub(crate) struct Queue {
    name: &'static str,
    limit: usize,
    depth: Box<dyn Fn() -> usize + Send + Sync>,
}

impl Queue {
    pub(crate) fn of<M: Send + 'static>(port: &Port<M>) -> Self {
        let (name, limit, port) = (port.name(), port.limit().items, port.clone());
        Self { name, limit, depth: Box::new(move || port.depth()) }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All of it, in the OpenMetrics text format.
fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

impl Metrics {
    fn registry(self) -> Registry {
        let mut registry = Registry::with_prefix("moorline");
        registry.register_collector(Box::new(self));
        registry
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // a copy: whoever reports must not wait until it is written
        let seen = self.watched.borrow().clone();
        let mut sheet = Sheet(encoder);
        chain(&mut sheet, &seen)?;
        work(&mut sheet, &seen)?;
        pace(&mut sheet, &seen)?;
        budgets(&mut sheet, &seen, self.budget)?;
        unfinished(&mut sheet, &self.unfinished)?;
        troubles(&mut sheet, &seen)?;
        peers::peers(&mut sheet, &seen.peers)?;
        network::network(&mut sheet, &self.network)?;
        if let Some(discovery) = &self.discovery {
            finding::discovery(&mut sheet, &discovery.counters())?;
        }
        queues(&mut sheet, &self.queues)
    }
}

fn chain(sheet: &mut Sheet<'_>, seen: &Observed) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    sheet.gauges("build_info", "Always 1; the label names the version", [(version, 1_u64)])?;
    sheet.gauge("tip_block", "Height of the canonical tip", seen.tip())?;
    sheet.gauge("highest_block", "Greatest height known to be wanted", seen.highest())?;
    let tree = seen.tree.as_ref();
    if let Some(number) = tree.and_then(|tree| tree.target?.number) {
        sheet.gauge("target_block", "Height of the head that is followed", number)?;
    }
    let synced = tree.is_some_and(|tree| tree.synced);
    sheet.gauge("synced", "Whether the tip is the target and on disk", u64::from(synced))?;
    let invalid = tree.is_some_and(|tree| tree.invalid);
    sheet.gauge("target_invalid", "Whether the target breaks a rule", u64::from(invalid))
}

fn work(sheet: &mut Sheet<'_>, seen: &Observed) -> fmt::Result {
    let progress = &seen.progress;
    sheet.counter("headers", "Headers proved and on disk", progress.headers)?;
    sheet.counter("blocks", "Blocks proved and on disk", progress.blocks)?;
    let help = "Blocks whose receipts are proved and on disk";
    sheet.counter("receipts", help, progress.receipts)?;
    sheet.counter(
        "proved_bytes",
        "Bytes of headers, bodies and receipts proved",
        progress.bytes,
    )?;
    let help = "Bodies and receipts that arrived although they were already here";
    sheet.counter("refetched_blocks", help, progress.refetched)?;
    let help = "Held headers that were dropped to make room and asked for again";
    sheet.counter("evicted_headers", help, progress.evicted)?;
    let help = "Headers that still have to be proved";
    sheet.gauge("remaining_headers", help, progress.remaining_headers)?;
    sheet.gauge("remaining_blocks", "Blocks still missing", progress.remaining_blocks)?;
    sheet.gauge("fetches_in_flight", "Fetches that peers work on", seen.in_flight())?;
    sheet.gauge("fetches_queued", "Fetches that wait for a peer", seen.peers.queued)
}

fn pace(sheet: &mut Sheet<'_>, seen: &Observed) -> fmt::Result {
    let pace = &seen.pace;
    let help = "Part of the headers and bodies of this sync that is here, 0 to 1";
    sheet.gauge("progress_ratio", help, pace.percent / 100.0)?;
    sheet.gauge(
        "headers_per_second",
        "Headers proved and put on disk, of late",
        pace.headers_per_s,
    )?;
    sheet.gauge("blocks_per_second", "Blocks put on disk, of late", pace.blocks_per_s)?;
    sheet.gauge("bytes_per_second", "Bytes proved, of late", pace.bytes_per_s)?;
    if let Some(left) = pace.eta {
        sheet.gauge("eta_seconds", "Time left at this pace", left.as_secs_f64())?;
    }
    Ok(())
}

fn budgets(sheet: &mut Sheet<'_>, seen: &Observed, budget: Budget) -> fmt::Result {
    let progress = &seen.progress;
    let help = "Bytes that the answers under way will probably bring";
    sheet.gauge("in_flight_bytes", help, progress.in_flight_bytes)?;
    let help = "Bytes that the answers under way may bring";
    sheet.gauge("in_flight_limit_bytes", help, budget.in_flight_bytes as u64)?;
    let help = "Bytes held on their way to the disk";
    sheet.gauge("buffered_bytes", help, progress.buffered_bytes)?;
    let help = "Bytes that may be held on their way to the disk";
    sheet.gauge("buffered_limit_bytes", help, budget.buffer_bytes as u64)?;
    let help = "Blocks whose bodies or receipts are wanted, whichever are more";
    sheet.gauge("queued_blocks", help, progress.queued)?;
    let help = "Blocks whose bodies and receipts may be wanted at once";
    sheet.gauge("queued_limit_blocks", help, budget.queue_items as u64)?;
    let help = "Bytes in flight and held, of those that may be; a single large answer may pass 1";
    sheet.gauge("budget_used_ratio", help, seen.pace.budget_used_percent / 100.0)
}

fn unfinished(sheet: &mut Sheet<'_>, unfinished: &UnfinishedReceipts) -> fmt::Result {
    let help = "Bytes kept of blocks whose receipts have come in part";
    sheet.gauge("unfinished_receipts_bytes", help, unfinished.bytes() as u64)?;
    let help = "Bytes that may be kept of blocks whose receipts have come in part";
    sheet.gauge("unfinished_receipts_limit_bytes", help, UnfinishedReceipts::BYTES_MAX as u64)
}

fn troubles(sheet: &mut Sheet<'_>, seen: &Observed) -> fmt::Result {
    let stalled = seen.pace.stalled;
    let rows =
        REASONS.map(|(stall, reason)| ([("reason", reason)], u64::from(stalled == Some(stall))));
    sheet.gauges("stalled", "Whether nothing comes, for this reason", rows)?;
    let help = "How long ago a header, a block or a byte last came; 0 where nothing is missing";
    sheet.gauge("idle_seconds", help, seen.pace.idle.as_secs())?;
    let rows = ActorName::ALL.map(|actor| {
        let count = seen.restarts.get(&actor).copied().unwrap_or(0);
        ([("actor", actor.as_str())], u64::from(count))
    });
    sheet.counters("actor_restarts", "Actors rebuilt after a panic", rows)?;
    sheet.counter("store_failures", "Writes to the store that failed", seen.store_failures)?;
    let failing = u64::from(seen.store_failure.is_some());
    sheet.gauge("store_failing", "Whether the last write to the store failed", failing)
}

fn queues(sheet: &mut Sheet<'_>, queues: &[Queue]) -> fmt::Result {
    let depths = queues.iter().map(|queue| ([("port", queue.name)], (queue.depth)() as u64));
    sheet.gauges("port_waiting_messages", "Messages that wait in a port", depths)?;
    let limits = queues.iter().map(|queue| ([("port", queue.name)], queue.limit as u64));
    sheet.gauges("port_limit_messages", "Messages that may wait in a port", limits)
}
