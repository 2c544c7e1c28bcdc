//! The actor itself, run by the kit, with probes for neighbours.

use std::{sync::Arc, time::Duration};

use moorline_kit::{Crash, Limit, Port, Probe, RestartPolicy, Slot, Watchers, paused};
use moorline_messages::{
    ActorName, DownloadOutcome, DownloadRequest, FetchCommand, FetchItems, FetchOutcome,
    FetchRequest, FetchedItems, Lifecycle, PeerReport, RequestId, StoreOutcome, StoreRequest,
    StoredState, TreeEvent,
};
use tokio::sync::mpsc;

use super::rig::{chain, head, peer, spec};
use crate::{Budget, DownloaderActor, DownloaderConfig, Ports};

const WIDE: Limit = Limit { items: 1_000, bytes: 1 << 24 };

struct Rig {
    tree: Port<TreeEvent>,
    fetched: Port<FetchOutcome>,
    stored: Port<StoreOutcome>,
    crash: Port<Crash>,
    outcomes: Probe<DownloadOutcome>,
    fetches: Probe<FetchRequest>,
    commands: Probe<FetchCommand>,
    _reports: Probe<PeerReport>,
    store: Probe<StoreRequest>,
    lifecycle: Probe<Lifecycle>,
    _gave_up: mpsc::UnboundedReceiver<moorline_kit::GaveUp>,
}

fn downloader() -> Rig {
    moorline_kit::keep_panics_to_one_line();
    let slot = Slot::<DownloaderActor>::new(ActorName::Downloader);
    let (outcomes, outcomes_probe) = Probe::new(WIDE);
    let (fetches, fetches_probe) = Probe::new(WIDE);
    let (commands, commands_probe) = Probe::new(WIDE);
    let (reports, reports_probe) = Probe::new(WIDE);
    let (store, store_probe) = Probe::new(WIDE);
    let (progress, _) = Probe::new(WIDE);
    let (neighbour, lifecycle) = Probe::new(WIDE);
    let (gave_up, gave_up_receiver) = mpsc::unbounded_channel();
    let rig = Rig {
        tree: slot.port("tree", WIDE),
        fetched: slot.port("fetched", WIDE),
        stored: slot.port("stored", WIDE),
        crash: slot.port("crash", WIDE),
        outcomes: outcomes_probe,
        fetches: fetches_probe,
        commands: commands_probe,
        _reports: reports_probe,
        store: store_probe,
        lifecycle,
        _gave_up: gave_up_receiver,
    };
    let ports = Ports { outcomes, fetches, commands, reports, store, progress };
    let config = DownloaderConfig { spec: spec(), budget: Budget::default() };
    let watchers = Watchers { neighbours: vec![neighbour], gave_up };
    slot.start(&actix_rt::Arbiter::current(), RestartPolicy::default(), watchers, move || {
        DownloaderActor::new(config, ports)
    })
    .unwrap();
    rig
}

impl Rig {
    async fn load(&mut self) {
        let StoreRequest::Load { id, from } = self.store.expect_message().await else {
            panic!("expected a load")
        };
        assert_eq!(from, ActorName::Downloader);
        let state = StoredState {
            tip: Arc::clone(spec().genesis()),
            forkchoice: Default::default(),
            keeps_receipts: false,
            spans: Vec::new(),
        };
        self.stored.tell(StoreOutcome::Loaded { request: id, state }).unwrap();
    }

    fn want(&self, id: u64, hash: alloy_primitives::B256) {
        let hashes = [hash].into_iter().collect();
        let request = DownloadRequest::BlockSet { id: RequestId(id), hashes };
        self.tree.tell(TreeEvent::Download(request)).unwrap();
    }

    async fn find_nothing(&mut self) {
        let StoreRequest::Find { id, hashes, .. } = self.store.expect_message().await else {
            panic!("expected a find")
        };
        let blocks = vec![None; hashes.len()];
        self.stored.tell(StoreOutcome::Found { request: id, blocks }).unwrap();
    }
}

#[test]
fn an_order_given_before_the_store_has_answered_is_kept() {
    paused(async {
        let mut rig = downloader();
        let blocks = chain(spec().genesis(), 3, 0);
        rig.want(1, head(&blocks));
        rig.load().await;
        rig.find_nothing().await;
        let fetch = rig.fetches.expect_message().await;
        assert!(matches!(fetch.items, FetchItems::Headers { limit: 1, .. }));
        let headers = vec![Arc::clone(&blocks[2].header)];
        rig.fetched
            .tell(FetchOutcome {
                id: fetch.id,
                peer: Some(peer(1)),
                result: Ok(FetchedItems::Headers(headers)),
            })
            .unwrap();
        assert!(matches!(rig.store.expect_message().await, StoreRequest::Find { .. }));
        assert!(matches!(rig.store.expect_message().await, StoreRequest::Persist { .. }));
    });
}

#[test]
fn after_a_crash_it_loads_again_and_ids_of_the_dead_mean_nothing() {
    paused(async {
        let mut rig = downloader();
        let blocks = chain(spec().genesis(), 3, 0);
        rig.load().await;
        rig.want(1, head(&blocks));
        rig.find_nothing().await;
        let before = rig.fetches.expect_message().await;

        rig.crash.tell(Crash).unwrap();
        tokio::time::sleep(Duration::from_millis(101)).await;
        let restarted = Lifecycle::Restarted { actor: ActorName::Downloader, incarnation: 1 };
        assert_eq!(rig.lifecycle.expect_message().await, restarted);
        rig.load().await;

        // the answer to the dead one's fetch is not taken for its own
        let headers = vec![Arc::clone(&blocks[2].header)];
        rig.fetched
            .tell(FetchOutcome {
                id: before.id,
                peer: Some(peer(1)),
                result: Ok(FetchedItems::Headers(headers)),
            })
            .unwrap();
        rig.store.expect_silence().await;

        rig.want(2, head(&blocks));
        rig.find_nothing().await;
        let after = rig.fetches.expect_message().await;
        assert_ne!(before.id, after.id);
        assert!(matches!(
            rig.outcomes.expect_message().await,
            DownloadOutcome::NewDownloadStarted { request: RequestId(1), .. }
        ));
    });
}

#[test]
fn what_was_asked_for_a_cancelled_order_is_taken_back() {
    paused(async {
        let mut rig = downloader();
        let blocks = chain(spec().genesis(), 3, 0);
        rig.load().await;
        rig.want(1, head(&blocks));
        rig.find_nothing().await;
        let fetch = rig.fetches.expect_message().await;
        let cancel = DownloadRequest::Cancel { id: RequestId(1) };
        rig.tree.tell(TreeEvent::Download(cancel)).unwrap();
        let taken_back = FetchCommand::Cancel { ids: vec![fetch.id] };
        assert_eq!(rig.commands.expect_message().await, taken_back);
    });
}
