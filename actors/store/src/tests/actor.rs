//! The rig: a supervised store between two probes.

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy_primitives::B256;
use moorline_kit::{
    Ask, AskError, Crash, Limit, Port, Probe, Refused, RestartPolicy, Slot, Stop, Watchers, paused,
};
use moorline_messages::{
    ActorName, BlockNumHash, FoundBlock, Lifecycle, RequestId, StoreAnswer, StoreBatch, StoreError,
    StoreOutcome, StoreQuery, StoreRequest, StoredState,
};
use tempfile::TempDir;

use super::*;
use crate::{Backend, Disk, Memory, Ports, StoreActor, StoreConfig};

const PORT_ITEMS: usize = 8;

struct Rig {
    requests: Port<StoreRequest>,
    queries: Port<Ask<StoreQuery, Result<StoreAnswer, StoreError>>>,
    stop: Port<Ask<Stop, ()>>,
    crash: Port<Crash>,
    tree: Probe<StoreOutcome>,
    downloader: Probe<StoreOutcome>,
    lifecycle: Probe<Lifecycle>,
    next_id: RequestId,
}

impl Rig {
    fn new(backend: Arc<dyn Backend>) -> Self {
        // the clock stands still while a test waits for a commit, so no pause would end
        Self::with_pause(backend, Duration::ZERO)
    }

    fn with_pause(backend: Arc<dyn Backend>, commit_pause: Duration) -> Self {
        moorline_kit::keep_panics_to_one_line();
        let limit = Limit::new(64, 1 << 20);
        let slot = Slot::<StoreActor>::new(ActorName::Store);
        let (tree_port, tree) = Probe::new(limit);
        let (downloader_port, downloader) = Probe::new(limit);
        let (neighbour, lifecycle) = Probe::new(limit);
        let (gave_up, _) = tokio::sync::mpsc::unbounded_channel();
        let rig = Self {
            requests: slot.port("store.requests", Limit::new(PORT_ITEMS, 1 << 24)),
            queries: slot.port("store.queries", limit),
            stop: slot.port("store.stop", limit),
            crash: slot.port("store.crash", limit),
            tree,
            downloader,
            lifecycle,
            next_id: RequestId(1),
        };
        let watchers = Watchers { neighbours: vec![neighbour], gave_up };
        let ports = Ports { tree: tree_port, downloader: downloader_port };
        let config = StoreConfig { commit_pause, ..StoreConfig::new(backend) };
        let build = move || StoreActor::new(config, ports);
        slot.start(&actix::Arbiter::current(), RestartPolicy::default(), watchers, build).unwrap();
        rig
    }

    fn persist(&mut self, batch: StoreBatch) -> RequestId {
        let id = self.next_id.take();
        let persist = StoreRequest::Persist { id, from: ActorName::Tree, batch };
        self.requests.tell(persist).unwrap();
        id
    }

    fn load_for_downloader(&mut self) -> RequestId {
        let id = self.next_id.take();
        self.requests.tell(StoreRequest::Load { id, from: ActorName::Downloader }).unwrap();
        id
    }

    async fn expect_persisted(&mut self, request: RequestId) {
        assert_eq!(self.tree.expect_message().await, StoreOutcome::Persisted { request });
    }

    async fn expect_tip(&mut self, request: RequestId, tip: BlockNumHash) {
        match self.downloader.expect_message().await {
            StoreOutcome::Loaded { request: answered, state } => {
                assert_eq!((answered, BlockNumHash::of(&state.tip)), (request, tip));
            }
            other => panic!("expected a state, got {other:?}"),
        }
    }

    async fn expect_restarted(&mut self) {
        // a commit that waits at the gate keeps the paused clock from moving by itself
        self.expect_silence().await;
        tokio::time::advance(RestartPolicy::default().backoff_first).await;
        let restarted = self.lifecycle.expect_message().await;
        assert!(matches!(restarted, Lifecycle::Restarted { actor: ActorName::Store, .. }));
    }

    async fn expect_silence(&mut self) {
        self.tree.expect_silence().await;
        self.downloader.expect_silence().await;
    }
}

/// A store whose commits wait for a gate, and can be made to panic.
#[derive(Debug)]
struct Gated {
    store: Memory,
    open: Mutex<bool>,
    opened: Condvar,
    commits: AtomicUsize,
    running: AtomicUsize,
    overlapped: AtomicBool,
    panics: AtomicBool,
}

impl Gated {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            store: Memory::new(&genesis(), CHAIN_ID).unwrap(),
            open: Mutex::new(open),
            opened: Condvar::new(),
            commits: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            overlapped: AtomicBool::new(false),
            panics: AtomicBool::new(false),
        })
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    async fn expect_commits(&self, count: usize) {
        while self.commits() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Backend for Gated {
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.running.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        assert!(!self.panics.load(Ordering::SeqCst), "broken page");
        let verdicts = self.store.commit(batches);
        self.running.fetch_sub(1, Ordering::SeqCst);
        verdicts
    }

    fn load(&self) -> Result<StoredState, StoreError> {
        self.store.load()
    }

    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        self.store.find(hashes)
    }

    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError> {
        self.store.walk(top, limit)
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        self.store.answer(query)
    }
}

#[test]
fn persisted_is_said_once_a_copy_of_the_files_holds_the_blocks() {
    paused(async {
        let (dir, blocks) = (TempDir::new().unwrap(), chain(4));
        let disk = Disk::open(dir.path(), &genesis(), CHAIN_ID, None).unwrap();
        let mut rig = Rig::new(Arc::new(disk));
        let id = rig.persist(canonical(&blocks));
        rig.expect_persisted(id).await;
        let copy = TempDir::new().unwrap();
        copy_files(dir.path(), copy.path());
        let found = Disk::open(copy.path(), &genesis(), CHAIN_ID, None).unwrap();
        for expected in &blocks {
            assert_eq!(block_at(&found, expected.header.number).as_ref(), Some(expected));
        }
        rig.expect_silence().await;
    });
}

#[test]
fn every_request_is_answered_to_whoever_it_names() {
    paused(async {
        let (backend, blocks) = (Gated::new(true), chain(3));
        let mut rig = Rig::new(backend);
        let id = rig.persist(canonical(&blocks));
        rig.expect_persisted(id).await;
        let id = rig.load_for_downloader();
        rig.expect_tip(id, blocks[2].num_hash()).await;

        let from = ActorName::Downloader;
        let (id, hashes) = (RequestId(70), vec![blocks[1].header.hash(), B256::ZERO]);
        rig.requests.tell(StoreRequest::Find { id, from, hashes }).unwrap();
        let there = |block: &Block| FoundBlock {
            header: Arc::clone(&block.header),
            has_body: true,
            has_receipts: false,
        };
        let found =
            StoreOutcome::Found { request: id, blocks: vec![Some(there(&blocks[1])), None] };
        assert_eq!(rig.downloader.expect_message().await, found);

        let (id, top, limit) = (RequestId(71), blocks[2].num_hash(), 2);
        rig.requests.tell(StoreRequest::Walk { id, from, top, limit }).unwrap();
        let down = vec![there(&blocks[2]), there(&blocks[1])];
        let walked = StoreOutcome::Walked { request: id, blocks: down };
        assert_eq!(rig.downloader.expect_message().await, walked);

        let answer = rig.queries.ask(StoreQuery::Status).await.unwrap().unwrap();
        assert!(matches!(answer, StoreAnswer::Status(s) if s.tip == blocks[2].num_hash()));
        rig.expect_silence().await;
    });
}

#[test]
fn writes_share_a_commit_and_reads_do_not_wait_for_it() {
    paused(async {
        let (backend, blocks) = (Gated::new(false), chain(4));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        let first = rig.persist(canonical(&blocks[..1]));
        backend.expect_commits(1).await;
        let rest: Vec<_> = (1..4).map(|n| rig.persist(canonical(&blocks[n..=n]))).collect();
        let load = rig.load_for_downloader();
        rig.expect_tip(load, BlockNumHash::of(&genesis())).await;
        rig.expect_silence().await;
        backend.open();
        rig.expect_persisted(first).await;
        for id in rest {
            rig.expect_persisted(id).await;
        }
        assert_eq!(backend.commits(), 2);
        assert_eq!(status(&*backend).tip, blocks[3].num_hash());
    });
}

#[test]
fn a_batch_behind_a_shared_commit_is_written_once_the_pause_is_over() {
    paused(async {
        let (backend, blocks) = (Gated::new(false), chain(4));
        let pause = StoreConfig::new(Arc::clone(&backend) as _).commit_pause;
        let mut rig = Rig::with_pause(Arc::clone(&backend) as _, pause);
        let shared = [0, 1, 2].map(|n| rig.persist(canonical(&blocks[n..=n])));
        backend.expect_commits(1).await;
        backend.open();
        for id in shared {
            rig.expect_persisted(id).await;
        }
        let began = moorline_kit::now();
        let commits = backend.commits();
        let behind = rig.persist(canonical(&blocks[3..]));
        rig.expect_silence().await;
        assert_eq!(backend.commits(), commits, "it did not wait for more");
        // nothing else arrives, so only the alarm can get it written
        rig.expect_persisted(behind).await;
        assert!(moorline_kit::now().duration_since(began) <= pause);
    });
}

#[test]
fn receipts_of_several_blocks_are_a_batch_that_more_is_expected_behind() {
    paused(async {
        let backend = Arc::new(Memory::keeping_receipts(&genesis(), CHAIN_ID).unwrap());
        let pause = StoreConfig::new(Arc::clone(&backend) as _).commit_pause;
        let (mut rig, blocks) = (Rig::with_pause(backend, pause), chain(3));
        let several = rig.persist(with_receipts(&blocks[..2], StoreBatch::default()));
        rig.expect_persisted(several).await;
        let began = moorline_kit::now();
        let behind = rig.persist(with_receipts(&blocks[2..], StoreBatch::default()));
        rig.expect_persisted(behind).await;
        // the clock moves only for somebody who waits for it
        assert!(moorline_kit::now() > began, "it did not wait for more");
    });
}

#[test]
fn a_request_keeps_its_place_in_the_port_until_it_is_answered() {
    paused(async {
        let (backend, blocks) = (Gated::new(false), chain(1));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        let ids: Vec<_> = (0..PORT_ITEMS).map(|_| rig.persist(canonical(&blocks))).collect();
        rig.expect_silence().await;
        let load = StoreRequest::Load { id: RequestId(90), from: ActorName::Tree };
        let Err(Refused::Full(load)) = rig.requests.tell(load) else { panic!("there was room") };
        backend.open();
        for id in ids {
            rig.expect_persisted(id).await;
        }
        rig.requests.tell(load).unwrap();
        assert!(matches!(rig.tree.expect_message().await, StoreOutcome::Loaded { .. }));
    });
}

#[test]
fn after_a_crash_data_is_kept_and_what_was_accepted_is_answered_once() {
    paused(async {
        let (backend, blocks) = (Gated::new(true), chain(3));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        let before = rig.persist(canonical(&blocks[..1]));
        rig.expect_persisted(before).await;

        *backend.open.lock().unwrap() = false;
        let in_flight = rig.persist(canonical(&blocks[1..2]));
        backend.expect_commits(2).await;
        let waiting = rig.persist(canonical(&blocks[2..]));
        rig.crash.tell(Crash).unwrap();
        let queued = rig.load_for_downloader();
        rig.expect_restarted().await;
        rig.expect_tip(queued, blocks[0].num_hash()).await;
        backend.open();
        rig.expect_persisted(in_flight).await;
        rig.expect_persisted(waiting).await;
        let after = rig.load_for_downloader();
        rig.expect_tip(after, blocks[2].num_hash()).await;
        rig.expect_silence().await;
        assert!(!backend.overlapped.load(Ordering::SeqCst), "an orphan ran beside a later commit");
    });
}

#[test]
fn a_failed_write_is_told_and_the_store_goes_on() {
    paused(async {
        let (backend, blocks) = (Gated::new(true), chain(2));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        let full = StoreError::Full("no room".to_owned());
        backend.store.fail_writes(Some(full.clone()));
        let request = rig.persist(canonical(&blocks));
        let failed = StoreOutcome::Failed { request, error: full };
        assert_eq!(rig.tree.expect_message().await, failed);
        backend.store.fail_writes(None);
        let id = rig.load_for_downloader();
        rig.expect_tip(id, BlockNumHash::of(&genesis())).await;
        let id = rig.persist(canonical(&blocks));
        rig.expect_persisted(id).await;
    });
}

#[test]
fn a_database_that_panics_fails_the_request_and_not_the_actor() {
    paused(async {
        let (backend, blocks) = (Gated::new(true), chain(2));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        backend.panics.store(true, Ordering::SeqCst);
        let request = rig.persist(canonical(&blocks));
        match rig.tree.expect_message().await {
            StoreOutcome::Failed { request: answered, error: StoreError::Damaged(text) } => {
                assert_eq!(answered, request);
                assert!(text.contains("broken page"), "{text}");
            }
            other => panic!("expected a failure, got {other:?}"),
        }
        backend.panics.store(false, Ordering::SeqCst);
        let id = rig.persist(canonical(&blocks));
        rig.expect_persisted(id).await;
        rig.lifecycle.expect_silence().await;
    });
}

#[test]
fn a_stop_is_answered_after_everything_accepted_is_written_and_told() {
    paused(async {
        let (backend, blocks) = (Gated::new(false), chain(2));
        let mut rig = Rig::new(Arc::clone(&backend) as _);
        let first = rig.persist(canonical(&blocks[..1]));
        backend.expect_commits(1).await;
        let second = rig.persist(canonical(&blocks[1..]));
        let stop = rig.stop.clone();
        let stopped = actix::spawn(async move { stop.ask(Stop).await });
        rig.expect_silence().await;
        assert!(!stopped.is_finished());
        backend.open();
        stopped.await.unwrap().unwrap();
        let told = [first, second].map(|request| Some(StoreOutcome::Persisted { request }));
        assert_eq!([rig.tree.try_next(), rig.tree.try_next()], told);
        assert_eq!(status(&*backend).tip, blocks[1].num_hash());
        assert_eq!(rig.stop.ask(Stop).await, Err(AskError::Closed));
    });
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
