//! The actor itself, between probes, under a paused clock.

use std::{collections::BTreeSet, time::Duration};

use moorline_kit::{
    Ask, Crash, GaveUp, Limit, Port, Probe, RestartPolicy, Slot, Stop, Watchers, paused,
};
use moorline_messages::{
    ActorName, DownloadOutcome, DownloadRequest, Lifecycle, RequestId, StoreOutcome, StoreRequest,
    StoredState, TreeEvent, TreeReport, TreeRequest, TreeVerdict,
};
use tokio::sync::mpsc;

use super::rig::{at_head, grow, hash, headers, names, spec};
use crate::{Ports, TreeActor, TreeConfig, core::CANONICAL_PENDING_MAX};

const WIDE: Limit = Limit { items: 1_000, bytes: 1 << 24 };

struct Stage {
    ask: Port<Ask<TreeRequest, TreeVerdict>>,
    downloaded: Port<DownloadOutcome>,
    stored: Port<StoreOutcome>,
    stop: Port<Ask<Stop, ()>>,
    crash: Port<Crash>,
    download: Probe<TreeEvent>,
    store: Probe<StoreRequest>,
    status: Probe<TreeReport>,
    lifecycle: Probe<Lifecycle>,
    _gave_up: mpsc::UnboundedReceiver<GaveUp>,
}

fn stage(download_limit: Limit) -> Stage {
    moorline_kit::keep_panics_to_one_line();
    let slot = Slot::<TreeActor>::new(ActorName::Tree);
    let (download_port, download) = Probe::new(download_limit);
    let (store_port, store) = Probe::new(WIDE);
    let (status_port, status) = Probe::new(WIDE);
    let (neighbour, lifecycle) = Probe::new(WIDE);
    let (gave_up_sender, _gave_up) = mpsc::unbounded_channel();
    let stage = Stage {
        ask: slot.port("ask", WIDE),
        downloaded: slot.port("downloaded", WIDE),
        stored: slot.port("stored", WIDE),
        stop: slot.port("stop", WIDE),
        crash: slot.port("crash", WIDE),
        download,
        store,
        status,
        lifecycle,
        _gave_up,
    };
    let ports = Ports { download: download_port, store: store_port, status: Some(status_port) };
    let watchers = Watchers { neighbours: vec![neighbour], gave_up: gave_up_sender };
    let arbiter = actix::Arbiter::current();
    slot.start(&arbiter, RestartPolicy::default(), watchers, move || {
        TreeActor::new(TreeConfig::new(spec()), ports)
    })
    .unwrap();
    stage
}

impl Stage {
    /// The store answers a load: nothing is stored but a forkchoice.
    async fn load(&mut self, head: alloy_primitives::B256) -> RequestId {
        let StoreRequest::Load { id, from } = self.store.expect_message().await else {
            panic!("expected a load");
        };
        assert_eq!(from, ActorName::Tree);
        let state = StoredState {
            tip: spec().genesis().clone(),
            forkchoice: at_head(head),
            keeps_receipts: false,
            spans: Vec::new(),
        };
        self.stored.tell(StoreOutcome::Loaded { request: id, state }).unwrap();
        id
    }

    async fn follow(&self, head: alloy_primitives::B256) {
        let verdict = self.ask.ask(TreeRequest::ForkchoiceUpdated(at_head(head))).await;
        assert_eq!(verdict, Ok(TreeVerdict::Syncing));
    }

    async fn expect_set(&mut self, head: alloy_primitives::B256) -> RequestId {
        match self.download.expect_message().await {
            TreeEvent::Download(DownloadRequest::BlockSet { id, hashes }) => {
                assert_eq!(hashes, BTreeSet::from([head]));
                id
            }
            other => panic!("expected a set, got {other:?}"),
        }
    }

    async fn expect_canonical(&mut self) -> (RequestId, Vec<moorline_messages::BlockNumHash>) {
        loop {
            if let StoreRequest::Persist { id, batch, .. } = self.store.expect_message().await
                && !batch.canonical.is_empty()
            {
                return (id, batch.canonical);
            }
        }
    }
}

#[test]
fn a_head_that_is_named_is_fetched_written_and_reported() {
    paused(async {
        let mut stage = stage(WIDE);
        stage.load(Default::default()).await;
        let chain = grow(spec().genesis(), 3, 0);
        stage.follow(hash(&chain[2])).await;
        let set = stage.expect_set(hash(&chain[2])).await;
        let tell = |request, blocks: &[_]| DownloadOutcome::Blocks {
            request,
            blocks: headers(blocks),
            remaining_blocks: 0,
        };
        stage.downloaded.tell(tell(set, &chain[2..])).unwrap();
        let event = stage.download.expect_message().await;
        let TreeEvent::Download(DownloadRequest::BlockRange { id, head, count }) = event else {
            panic!("expected a range, got {event:?}");
        };
        assert_eq!((head, count), (hash(&chain[1]), 2));
        stage.downloaded.tell(tell(id, &chain[..2])).unwrap();
        let (request, canonical) = stage.expect_canonical().await;
        assert_eq!(canonical, names(&chain));
        stage.stored.tell(StoreOutcome::Persisted { request }).unwrap();
        loop {
            let report = stage.status.expect_message().await;
            if report.synced {
                assert_eq!(report.tip, chain[2].num_hash());
                break;
            }
        }
    });
}

#[test]
fn the_clock_asks_again_without_the_consensus_client() {
    paused(async {
        let mut stage = stage(WIDE);
        stage.load(Default::default()).await;
        let chain = grow(spec().genesis(), 3, 0);
        stage.follow(hash(&chain[2])).await;
        let first = stage.expect_set(hash(&chain[2])).await;
        let asked_at = moorline_kit::now();
        tokio::time::sleep(Duration::from_millis(9_900)).await;
        stage.download.expect_silence().await;
        assert_eq!(stage.expect_set(hash(&chain[2])).await, first);
        assert!(moorline_kit::now() - asked_at >= Duration::from_millis(9_990));
    });
}

#[test]
fn after_a_panic_the_head_is_read_back_and_asked_for_by_itself() {
    paused(async {
        let mut stage = stage(WIDE);
        let chain = grow(spec().genesis(), 3, 0);
        let first = stage.load(hash(&chain[2])).await;
        let stale = stage.expect_set(hash(&chain[2])).await;
        stage.crash.tell(Crash).unwrap();
        let restarted = Lifecycle::Restarted { actor: ActorName::Tree, incarnation: 1 };
        assert_eq!(stage.lifecycle.expect_message().await, restarted);
        let second = stage.load(hash(&chain[2])).await;
        assert!(second >= RequestId::first_of(1) && second > first);
        let fresh = stage.expect_set(hash(&chain[2])).await;
        assert!(fresh > stale);
        // what was meant for the tree that panicked changes nothing
        let blocks = headers(&chain[2..]);
        let outcome = DownloadOutcome::Blocks { request: stale, blocks, remaining_blocks: 0 };
        stage.downloaded.tell(outcome).unwrap();
        stage.download.expect_silence().await;
    });
}

#[test]
fn a_question_is_answered_while_the_store_says_nothing() {
    paused(async {
        let stage = stage(WIDE);
        let chain = grow(spec().genesis(), 3, 0);
        stage.follow(hash(&chain[2])).await;
        let verdict = stage.ask.ask(TreeRequest::NewPayload(chain[0].clone())).await;
        assert_eq!(verdict, Ok(TreeVerdict::Syncing));
    });
}

#[test]
fn what_a_full_port_gave_back_is_told_later() {
    paused(async {
        let mut stage = stage(Limit { items: 1, bytes: 1 << 20 });
        stage.load(Default::default()).await;
        let chain = grow(spec().genesis(), 3, 0);
        stage.follow(hash(&chain[2])).await;
        stage.follow(hash(&chain[1])).await;
        let first = stage.expect_set(hash(&chain[2])).await;
        let cancel = TreeEvent::Download(DownloadRequest::Cancel { id: first });
        assert_eq!(stage.download.expect_message().await, cancel);
        stage.expect_set(hash(&chain[1])).await;
    });
}

#[test]
fn a_tree_that_stops_waits_for_what_the_store_owes() {
    paused(async {
        let mut stage = stage(WIDE);
        stage.load(Default::default()).await;
        let chain = grow(spec().genesis(), 1, 0);
        stage.ask.ask(TreeRequest::NewPayload(chain[0].clone())).await.unwrap();
        let request = stage.store.expect_message().await.id();
        let stop = stage.stop.clone();
        let stopping = actix::spawn(async move { stop.ask(Stop).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!stopping.is_finished());
        stage.stored.tell(StoreOutcome::Persisted { request }).unwrap();
        assert_eq!(stopping.await.unwrap(), Ok(()));
    });
}

#[test]
fn a_tree_that_stops_does_not_wait_for_ever() {
    paused(async {
        let mut stage = stage(WIDE);
        stage.load(Default::default()).await;
        let chain = grow(spec().genesis(), 1, 0);
        stage.ask.ask(TreeRequest::NewPayload(chain[0].clone())).await.unwrap();
        assert_eq!(stage.stop.ask(Stop).await, Ok(()));
    });
}

/// Follows a chain of this many blocks: the head is delivered, and a range is asked for.
async fn follow_range(stage: &mut Stage, chain: &[moorline_messages::Block]) -> RequestId {
    stage.load(Default::default()).await;
    let (head, below) = chain.split_last().unwrap();
    stage.follow(hash(head)).await;
    let request = stage.expect_set(hash(head)).await;
    let blocks = headers(std::slice::from_ref(head));
    stage
        .downloaded
        .tell(DownloadOutcome::Blocks { request, blocks, remaining_blocks: 0 })
        .unwrap();
    let event = stage.download.expect_message().await;
    let TreeEvent::Download(DownloadRequest::BlockRange { id, count, .. }) = event else {
        panic!("expected a range, got {event:?}");
    };
    assert_eq!(count, below.len() as u64);
    id
}

/// Delivers blocks of a range after which so many are left.
fn deliver(stage: &Stage, request: RequestId, below: &[moorline_messages::Block], after: u64) {
    let mut left = below.len() as u64 + after;
    for part in below.chunks(512) {
        left -= part.len() as u64;
        let blocks = headers(part);
        let delivery = DownloadOutcome::Blocks { request, blocks, remaining_blocks: left };
        stage.downloaded.tell(delivery).unwrap();
    }
}

#[test]
fn what_is_delivered_while_the_store_is_behind_waits_and_is_not_lost() {
    paused(async {
        let mut stage = stage(WIDE);
        let chain = grow(spec().genesis(), CANONICAL_PENDING_MAX as u64 + 3_000, 0);
        let request = follow_range(&mut stage, &chain).await;
        deliver(&stage, request, &chain[..chain.len() - 1], 0);
        let mut canonical = Vec::new();
        while canonical.len() < chain.len() {
            let (request, part) = stage.expect_canonical().await;
            if canonical.is_empty() {
                tokio::task::yield_now().await;
                let held = stage.downloaded.depth();
                assert!(held > 0, "the downloader is not slowed down");
            }
            canonical.extend(part);
            stage.stored.tell(StoreOutcome::Persisted { request }).unwrap();
        }
        assert_eq!(canonical, names(&chain));
        stage.download.expect_silence().await;
    });
}

#[test]
fn a_tree_that_stops_takes_no_more_in() {
    paused(async {
        let mut stage = stage(WIDE);
        let chain = grow(spec().genesis(), 2_000, 0);
        let id = follow_range(&mut stage, &chain).await;
        deliver(&stage, id, &chain[..512], 1_487);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stop = stage.stop.clone();
        let stopping = actix::spawn(async move { stop.ask(Stop).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        deliver(&stage, id, &chain[512..1_024], 975);
        let asked_at = moorline_kit::now();
        while let Some(request) = stage.store.try_next() {
            let request = request.id();
            drop(stage.stored.tell(StoreOutcome::Persisted { request }));
        }
        assert_eq!(stopping.await.unwrap(), Ok(()));
        assert!(moorline_kit::now() - asked_at < Duration::from_secs(1));
    });
}
