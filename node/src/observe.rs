//! What the actors say of themselves, gathered for whoever watches.

use moorline_kit::{GaveUp, Inbox, Limit, Port, Tracer};
use moorline_messages::{
    ActorName, CloseReason, Lane, Lifecycle, NodeRecord, PeersReport, ProgressReport, StoreError,
    TreeReport,
};
use moorline_rpc::SyncStatus;
use tokio::sync::{mpsc, watch};

/// Reports of one kind that may wait; the newest says all that the others said.
const WAITING: Limit = Limit { items: 64, bytes: 1 << 20 };

/// Everything that was last reported.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Of the tree.
    pub tree: Option<TreeReport>,
    /// Of the downloader.
    pub progress: ProgressReport,
    /// Of the peer manager.
    pub peers: PeersReport,
    /// How often actors were rebuilt since the node started.
    pub restarts: u32,
    /// Why the last dial came to nothing.
    pub dial_failure: Option<(NodeRecord, CloseReason)>,
    /// Why the last write failed; `None` once one succeeded.
    pub store_failure: Option<StoreError>,
    /// The actor that panicked too often, which ends the node.
    pub gave_up: Option<GaveUp>,
}

impl Observed {
    /// The height of the canonical tip.
    pub fn tip(&self) -> u64 {
        self.tree.as_ref().map_or(0, |tree| tree.tip.number)
    }

    /// The greatest height known to be wanted.
    pub fn highest(&self) -> u64 {
        let target = self.tree.as_ref().and_then(|tree| tree.target?.number).unwrap_or(0);
        target.max(self.progress.highest).max(self.tip())
    }
}

/// The ends that reports go into.
#[derive(Clone, Debug)]
pub(crate) struct Reporters {
    pub(crate) tree: Port<TreeReport>,
    pub(crate) progress: Port<ProgressReport>,
    pub(crate) peers: Port<PeersReport>,
    pub(crate) lifecycle: Port<Lifecycle>,
    pub(crate) dial_failures: mpsc::Sender<(NodeRecord, CloseReason)>,
    pub(crate) sessions: watch::Sender<usize>,
    pub(crate) all: watch::Sender<Observed>,
    pub(crate) gave_up: mpsc::UnboundedSender<GaveUp>,
}

/// The ends that can be watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Everything.
    pub all: watch::Receiver<Observed>,
    /// What `eth_syncing` says.
    pub sync: watch::Receiver<SyncStatus>,
    /// How many sessions stand.
    pub peers: watch::Receiver<usize>,
}

struct Inboxes {
    tree: Inbox<TreeReport>,
    progress: Inbox<ProgressReport>,
    peers: Inbox<PeersReport>,
    lifecycle: Inbox<Lifecycle>,
    dial_failures: mpsc::Receiver<(NodeRecord, CloseReason)>,
    gave_up: mpsc::UnboundedReceiver<GaveUp>,
}

/// Starts to gather, on the current runtime, until every reporter is gone.
pub(crate) fn start(tracer: &Tracer) -> (Reporters, Watched) {
    let (tree, tree_inbox) = Port::channel("tree reports", WAITING);
    let tree = tree.traced(tracer, Lane::Node);
    let (progress, progress_inbox) = Port::channel("progress reports", WAITING);
    let progress = progress.traced(tracer, Lane::Node);
    let (peers, peers_inbox) = Port::channel("peers reports", WAITING);
    let peers = peers.traced(tracer, Lane::Node);
    let (lifecycle, lifecycle_inbox) = Port::channel("lifecycle", WAITING);
    let lifecycle = lifecycle.traced(tracer, Lane::Node);
    let (dial_failures, dial_failures_inbox) = mpsc::channel(WAITING.items);
    let (gave_up, gave_up_inbox) = mpsc::unbounded_channel();
    let (all, all_watch) = watch::channel(Observed::default());
    let (sync, sync_watch) = watch::channel(SyncStatus::default());
    let (sessions, sessions_watch) = watch::channel(0);
    let inboxes = Inboxes {
        tree: tree_inbox,
        progress: progress_inbox,
        peers: peers_inbox,
        lifecycle: lifecycle_inbox,
        dial_failures: dial_failures_inbox,
        gave_up: gave_up_inbox,
    };
    tokio::spawn(gather(inboxes, all.clone(), sync));
    let reporters =
        Reporters { tree, progress, peers, lifecycle, dial_failures, sessions, all, gave_up };
    (reporters, Watched { all: all_watch, sync: sync_watch, peers: sessions_watch })
}

async fn gather(
    mut inboxes: Inboxes,
    all: watch::Sender<Observed>,
    sync: watch::Sender<SyncStatus>,
) {
    let mut starting = None;
    let mut totals = Totals::default();
    loop {
        tokio::select! {
            biased;
            Some(gave_up) = inboxes.gave_up.recv() => {
                all.send_modify(|seen| seen.gave_up = Some(gave_up));
            }
            Some(report) = inboxes.lifecycle.next() => {
                let Lifecycle::Restarted { actor, .. } = report;
                if actor == ActorName::Downloader {
                    // what still waits was said by the one that panicked
                    while let Some(report) = inboxes.progress.try_next() {
                        totals.with(report);
                    }
                    totals.begin_anew();
                }
                all.send_modify(|seen| seen.restarts = seen.restarts.saturating_add(1));
            }
            Some(report) = inboxes.tree.next() => {
                starting.get_or_insert(report.tip.number);
                all.send_modify(|seen| seen.tree = Some(report));
            }
            Some(report) = inboxes.peers.next() => {
                all.send_modify(|seen| seen.peers = report);
            }
            Some(report) = inboxes.progress.next() => {
                let total = totals.with(report);
                all.send_modify(|seen| seen.progress = total);
            }
            Some(failure) = inboxes.dial_failures.recv() => {
                all.send_modify(|seen| seen.dial_failure = Some(failure));
            }
            else => return,
        }
        let seen = all.borrow();
        let (current, highest) = (seen.tip(), seen.highest());
        let synced = seen.tree.as_ref().is_some_and(|tree| tree.synced);
        drop(seen);
        sync.send_replace(SyncStatus {
            starting: starting.unwrap_or(0),
            current,
            highest,
            syncing: !synced,
        });
    }
}

/// Totals of a downloader that counts from zero again whenever it is rebuilt.
#[derive(Debug, Default)]
struct Totals {
    earlier: ProgressReport,
    last: ProgressReport,
}

impl Totals {
    fn with(&mut self, report: ProgressReport) -> ProgressReport {
        self.last = report;
        add(self.earlier, report)
    }

    fn begin_anew(&mut self) {
        self.earlier = add(self.earlier, self.last);
        self.last = ProgressReport::default();
    }
}

/// Adds up what is a total, and keeps what is a state of `now`.
fn add(before: ProgressReport, now: ProgressReport) -> ProgressReport {
    ProgressReport {
        headers: before.headers.saturating_add(now.headers),
        blocks: before.blocks.saturating_add(now.blocks),
        bytes: before.bytes.saturating_add(now.bytes),
        refetched: before.refetched.saturating_add(now.refetched),
        ..now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_downloader_that_counts_from_zero_again_takes_nothing_off_the_totals() {
        let (reporters, mut watched) = start(&Tracer::OFF);
        let report = |blocks| ProgressReport { blocks, ..ProgressReport::default() };
        let restarted = Lifecycle::Restarted { actor: ActorName::Downloader, incarnation: 1 };
        reporters.progress.tell(report(10)).unwrap();
        reporters.lifecycle.tell(restarted).unwrap();
        watched.all.wait_for(|seen| seen.restarts == 1).await.unwrap();
        // it has passed the old count by the time it is heard of again
        reporters.progress.tell(report(25)).unwrap();
        let seen = watched.all.wait_for(|seen| seen.progress.blocks >= 25).await.unwrap();
        assert_eq!(seen.progress.blocks, 35);
    }
}
