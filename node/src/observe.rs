//! What the actors say of themselves, gathered for whoever watches.

use std::{collections::BTreeMap, time::Instant};

use moorline_downloader::Budget;
use moorline_kit::{GaveUp, Inbox, Limit, Port, Tracer};
use moorline_messages::{
    ActorName, CloseReason, Lane, Lifecycle, NodeRecord, PeerBookReport, PeersReport,
    ProgressReport, StoreError, TreeReport,
};
use moorline_rpc::{SyncDetail, SyncStatus};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use crate::pace::{LOOK_EVERY, Meter, Pace};

/// Reports of one kind that may wait; the newest says all that the others said.
const WAITING: Limit = Limit { items: 64, bytes: 1 << 20 };

/// Everything that was last reported.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Of the tree.
    pub tree: Option<TreeReport>,
    /// Of the downloader.
    pub progress: ProgressReport,
    /// When the last header that was missing was proved; `None` while any is missing.
    pub headers_proved_at: Option<Instant>,
    /// Of the peer manager.
    pub peers: PeersReport,
    /// When it said so. It says nothing while nothing changes.
    pub peers_at: Option<Instant>,
    /// What it wants to know again after the node's next start.
    pub book: PeerBookReport,
    /// How far a sync has come and how fast, worked out of these a few times a second.
    pub pace: Pace,
    /// How often each actor was rebuilt since the node started; those that never were are left out.
    pub restarts: BTreeMap<ActorName, u32>,
    /// Why the last dial came to nothing.
    pub dial_failure: Option<(NodeRecord, CloseReason)>,
    /// Why the last write failed; `None` once one succeeded.
    pub store_failure: Option<StoreError>,
    /// Writes that failed since the node started.
    pub store_failures: u64,
    /// The actor that panicked too often, which ends the node.
    pub gave_up: Option<GaveUp>,
}

impl Observed {
    /// The peers as they are at this time: those that are connected have been so for longer since.
    pub(crate) fn peers_now(&self, now: Instant) -> PeersReport {
        let since = self.peers_at.map_or(0, |at| now.saturating_duration_since(at).as_secs());
        let mut report = self.peers.clone();
        for peer in &mut report.peers {
            peer.connected_s = peer.connected_s.saturating_add(since);
        }
        report
    }

    /// The height of the canonical tip.
    pub fn tip(&self) -> u64 {
        self.tree.as_ref().map_or(0, |tree| tree.tip.number)
    }

    /// Fetches that peers work on; the downloader counts those that wait for a peer as well.
    pub fn in_flight(&self) -> u64 {
        self.progress.in_flight.saturating_sub(self.peers.queued)
    }

    /// The greatest height known to be wanted.
    pub fn highest(&self) -> u64 {
        let target = self.tree.as_ref().and_then(|tree| tree.target?.number).unwrap_or(0);
        target.max(self.progress.highest).max(self.tip())
    }

    /// How often actors were rebuilt since the node started, all of them together.
    pub fn total_restarts(&self) -> u32 {
        self.restarts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn time_headers(&mut self, report: &ProgressReport) {
        if report.remaining_headers > 0 {
            self.headers_proved_at = None;
        } else if self.progress.remaining_headers > 0 {
            self.headers_proved_at = Some(moorline_kit::now());
        }
    }
}

/// The ends that reports go into.
#[derive(Clone, Debug)]
pub(crate) struct Reporters {
    pub(crate) tree: Port<TreeReport>,
    pub(crate) progress: Port<ProgressReport>,
    pub(crate) peers: Port<PeersReport>,
    pub(crate) book: Port<PeerBookReport>,
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
    book: Inbox<PeerBookReport>,
    lifecycle: Inbox<Lifecycle>,
    dial_failures: mpsc::Receiver<(NodeRecord, CloseReason)>,
    gave_up: mpsc::UnboundedReceiver<GaveUp>,
}

/// Starts to gather, on the current runtime, until every reporter is gone.
pub(crate) fn start(tracer: &Tracer, budget: Budget) -> (Reporters, Watched) {
    let (tree, tree_inbox) = Port::channel("tree reports", WAITING);
    let tree = tree.traced(tracer, Lane::Node);
    let (progress, progress_inbox) = Port::channel("progress reports", WAITING);
    let progress = progress.traced(tracer, Lane::Node);
    let (peers, peers_inbox) = Port::channel("peers reports", WAITING);
    let peers = peers.traced(tracer, Lane::Node);
    let (book, book_inbox) = Port::channel("peer book", WAITING);
    let book = book.traced(tracer, Lane::Node);
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
        book: book_inbox,
        lifecycle: lifecycle_inbox,
        dial_failures: dial_failures_inbox,
        gave_up: gave_up_inbox,
    };
    tokio::spawn(gather(inboxes, all.clone(), sync, Meter::new(budget)));
    let reporters =
        Reporters { tree, progress, peers, book, lifecycle, dial_failures, sessions, all, gave_up };
    (reporters, Watched { all: all_watch, sync: sync_watch, peers: sessions_watch })
}

/// One report.
enum News {
    GaveUp(GaveUp),
    Lifecycle(Lifecycle),
    Tree(TreeReport),
    Peers(PeersReport),
    Book(PeerBookReport),
    Progress(ProgressReport),
    DialFailure(Box<(NodeRecord, CloseReason)>),
}

impl Inboxes {
    /// The next report, or `None` once every reporter is gone. Loses nothing where it is dropped.
    async fn next(&mut self) -> Option<News> {
        tokio::select! {
            biased;
            Some(gave_up) = self.gave_up.recv() => Some(News::GaveUp(gave_up)),
            Some(report) = self.lifecycle.next() => Some(News::Lifecycle(report)),
            Some(report) = self.tree.next() => Some(News::Tree(report)),
            Some(report) = self.peers.next() => Some(News::Peers(report)),
            Some(report) = self.book.next() => Some(News::Book(report)),
            Some(report) = self.progress.next() => Some(News::Progress(report)),
            Some(failure) = self.dial_failures.recv() => Some(News::DialFailure(Box::new(failure))),
            else => None,
        }
    }
}

async fn gather(
    mut inboxes: Inboxes,
    all: watch::Sender<Observed>,
    sync: watch::Sender<SyncStatus>,
    mut meter: Meter,
) {
    let mut starting = None;
    let mut totals = Totals::default();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = looks.tick() => {
                all.send_if_modified(|seen| {
                    let pace = meter.look(moorline_kit::now(), seen);
                    std::mem::replace(&mut seen.pace, pace) != pace
                });
            }
            news = inboxes.next() => {
                let Some(news) = news else { return };
                if let News::Lifecycle(Lifecycle::Restarted { actor: ActorName::Downloader, .. }) = news {
                    // what still waits was said by the one that panicked
                    while let Some(report) = inboxes.progress.try_next() {
                        totals.with(report);
                    }
                    totals.begin_anew();
                }
                // what the node is about is told together with the report that says so
                let of_the_tree = matches!(news, News::Tree(_));
                all.send_modify(|seen| {
                    note(seen, news, &mut totals);
                    if of_the_tree {
                        seen.pace = meter.look(moorline_kit::now(), seen);
                    }
                });
            }
        }
        let seen = all.borrow();
        if let Some(tree) = &seen.tree {
            starting.get_or_insert(tree.tip.number);
        }
        let status = status(&seen, starting.unwrap_or(0));
        drop(seen);
        sync.send_if_modified(|told| std::mem::replace(told, status) != status);
    }
}

fn note(seen: &mut Observed, news: News, totals: &mut Totals) {
    match news {
        News::GaveUp(gave_up) => seen.gave_up = Some(gave_up),
        News::Lifecycle(Lifecycle::Restarted { actor, .. }) => {
            let count = seen.restarts.entry(actor).or_default();
            *count = count.saturating_add(1);
        }
        News::Tree(report) => seen.tree = Some(report),
        News::Peers(report) => {
            seen.peers = report;
            seen.peers_at = Some(moorline_kit::now());
        }
        News::Book(report) => seen.book = report,
        News::Progress(report) => {
            seen.time_headers(&report);
            seen.progress = totals.with(report);
        }
        News::DialFailure(failure) => seen.dial_failure = Some(*failure),
    }
}

/// What `eth_syncing` says of it.
fn status(seen: &Observed, starting: u64) -> SyncStatus {
    let pace = &seen.pace;
    let tenths = |number: f64| (number * 10.0).round() / 10.0;
    let detail = SyncDetail {
        percent: tenths(pace.percent),
        headers_per_second: tenths(pace.headers_per_s),
        blocks_per_second: tenths(pace.blocks_per_s),
        bytes_per_second: pace.bytes_per_s as u64,
        eta_seconds: pace.eta.map(|left| left.as_secs()),
        peers: seen.peers.peers.len() as u64,
        in_flight: seen.in_flight(),
        budget_used_percent: tenths(pace.budget_used_percent),
        stalled: pace.stalled,
    };
    let synced = seen.tree.as_ref().is_some_and(|tree| tree.synced);
    SyncStatus { starting, current: seen.tip(), highest: seen.highest(), detail, syncing: !synced }
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
        evicted: before.evicted.saturating_add(now.evicted),
        ..now
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use moorline_messages::{BlockNumHash, TreeTarget};

    use super::*;
    use crate::pace::Phase;

    #[tokio::test(start_paused = true)]
    async fn a_named_head_and_the_rates_are_seen_wherever_they_are_told() {
        let (reporters, mut watched) = start(&Tracer::OFF, Budget::default());
        let target = TreeTarget { hash: alloy_primitives::B256::ZERO, number: Some(1_000) };
        let tree = TreeReport {
            tip: BlockNumHash::default(),
            target: Some(target),
            synced: false,
            invalid: false,
            trouble: None,
        };
        reporters.tree.tell(tree).unwrap();
        let seen = watched.all.wait_for(|seen| seen.tree.is_some()).await.unwrap().clone();
        assert_eq!(seen.pace.phase, Phase::Syncing, "never one without the other");
        for second in 1..=4_u64 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let progress = ProgressReport {
                headers: 100 * second,
                blocks: 100 * second,
                remaining_headers: 1_000 - 100 * second,
                remaining_blocks: 1_000 - 100 * second,
                ..ProgressReport::default()
            };
            reporters.progress.tell(progress).unwrap();
        }
        tokio::time::sleep(LOOK_EVERY * 2).await;
        let pace = watched.all.borrow().pace;
        let told = *watched.sync.borrow();
        assert_eq!(pace.percent, 40.0);
        assert!((80.0..=100.0).contains(&pace.blocks_per_s), "{pace:?}");
        assert!(told.syncing);
        assert_eq!(told.detail.percent, pace.percent);
        assert!((told.detail.blocks_per_second - pace.blocks_per_s).abs() < 0.1);
        assert_eq!(told.detail.eta_seconds, pace.eta.map(|left| left.as_secs()));
        assert!(told.detail.eta_seconds.is_some());
    }

    #[tokio::test]
    async fn a_downloader_that_counts_from_zero_again_takes_nothing_off_the_totals() {
        let (reporters, mut watched) = start(&Tracer::OFF, Budget::default());
        let report = |blocks| ProgressReport {
            headers: blocks + 1,
            blocks,
            bytes: blocks + 2,
            refetched: blocks + 3,
            evicted: blocks + 4,
            in_flight: blocks,
            ..ProgressReport::default()
        };
        let restarted = Lifecycle::Restarted { actor: ActorName::Downloader, incarnation: 1 };
        reporters.progress.tell(report(10)).unwrap();
        reporters.lifecycle.tell(restarted).unwrap();
        watched.all.wait_for(|seen| seen.total_restarts() == 1).await.unwrap();
        // it has passed the old count by the time it is heard of again
        reporters.progress.tell(report(25)).unwrap();
        let seen = watched.all.wait_for(|seen| seen.progress.blocks >= 25).await.unwrap();
        let expected = ProgressReport {
            headers: 37,
            blocks: 35,
            bytes: 39,
            refetched: 41,
            evicted: 43,
            in_flight: 25,
            ..ProgressReport::default()
        };
        assert_eq!(seen.progress, expected);
        assert_eq!(seen.restarts, BTreeMap::from([(ActorName::Downloader, 1)]));
    }
    #[test]
    fn headers_are_proved_when_the_last_of_them_is() {
        let (mut seen, mut totals) = (Observed::default(), Totals::default());
        let mut proved_after = |remaining_headers| {
            let report = ProgressReport { remaining_headers, ..ProgressReport::default() };
            note(&mut seen, News::Progress(report), &mut totals);
            seen.headers_proved_at
        };
        assert_eq!(proved_after(0), None, "none was missing");
        assert_eq!(proved_after(1), None);
        assert!(proved_after(0).is_some());
        assert_eq!(proved_after(99), None, "those under the head are missing");
        let all = proved_after(0);
        assert!(all.is_some());
        assert_eq!(proved_after(0), all, "the bodies take longer");
    }
}
