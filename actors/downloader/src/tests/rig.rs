//! A core over a store in memory, and peers that do as they are told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, Block, BlockNumHash, Conduct, DownloadFailure, DownloadOutcome, DownloadRequest,
    FetchCommand, FetchError, FetchItems, FetchRequest, HashOrNumber, PeerId, ProgressReport,
    RequestId, SealedHeader, Stall, StoreRequest,
};
use moorline_rules::{body::key_of, receipts::receipts_key};

pub(super) use super::world::{MemoryStore, chain, fat, hashes, head, peer, receipts_of, spec};
use crate::core::{Budget, DownloaderCore, Effect, Input};

pub(super) struct Rig {
    pub(super) core: DownloaderCore,
    pub(super) now: Instant,
    pub(super) genesis: Arc<SealedHeader>,
    pub(super) store: MemoryStore,
    pub(super) store_answers: bool,
    held: VecDeque<StoreRequest>,
    pub(super) fetches: VecDeque<FetchRequest>,
    pub(super) told: VecDeque<DownloadOutcome>,
    pub(super) reports: Vec<(PeerId, Conduct)>,
    pub(super) progress: ProgressReport,
    /// How often each body was asked for.
    pub(super) body_asks: BTreeMap<B256, u64>,
    pub(super) receipts_asks: BTreeMap<B256, u64>,
    pub(super) header_asks: u64,
    /// The height of each chunk that was asked for by number.
    pub(super) asked_by_number: Vec<u64>,
    /// Fetches that were taken back.
    pub(super) taken_back: Vec<RequestId>,
    /// What was said of standing still, and of going on.
    pub(super) stalls: Vec<Option<Stall>>,
    next_request: u64,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::over(MemoryStore::default(), 0)
    }

    /// A downloader that starts over what an earlier one stored.
    pub(super) fn over(store: MemoryStore, incarnation: u32) -> Self {
        Self::within(Budget::default(), store, incarnation)
    }

    /// A downloader within bounds of its own.
    pub(super) fn within(budget: Budget, store: MemoryStore, incarnation: u32) -> Self {
        let spec = spec();
        let genesis = Arc::clone(spec.genesis());
        let core = DownloaderCore::new(spec, budget, RequestId::first_of(incarnation));
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let mut rig = Self {
            core,
            now,
            genesis,
            store,
            store_answers: true,
            held: VecDeque::new(),
            fetches: VecDeque::new(),
            told: VecDeque::new(),
            reports: Vec::new(),
            progress: ProgressReport::default(),
            body_asks: BTreeMap::new(),
            receipts_asks: BTreeMap::new(),
            header_asks: 0,
            asked_by_number: Vec::new(),
            taken_back: Vec::new(),
            stalls: Vec::new(),
            next_request: 1,
        };
        rig.give(Input::Started);
        rig
    }

    /// The actor was rebuilt: a core that knows nothing.
    pub(super) fn restart_over(&mut self, incarnation: u32) {
        let first_id = RequestId::first_of(incarnation);
        self.core = DownloaderCore::new(spec(), Budget::default(), first_id);
        self.give(Input::Started);
    }

    /// Nothing is out, nothing is held, nothing is queued, and the books agree.
    #[track_caller]
    pub(super) fn expect_nothing_held(&mut self) {
        self.pass(Duration::from_secs(1));
        let ProgressReport { in_flight, in_flight_bytes, buffered_bytes, queued, .. } =
            self.progress;
        assert_eq!((in_flight, in_flight_bytes, buffered_bytes, queued), (0, 0, 0, 0));
    }

    pub(super) fn chain(&self, count: u64) -> Vec<Block> {
        chain(&self.genesis, count, 0)
    }

    pub(super) fn give(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Tell(outcome) => self.told.push_back(outcome),
                Effect::Fetch(request) => self.note_fetch(request),
                Effect::Report(report) => self.reports.push((report.peer, report.conduct)),
                Effect::Store(request) => self.held.push_back(request),
                Effect::Progress(report) => self.progress = report,
                Effect::Command(FetchCommand::Cancel { ids }) => {
                    self.fetches.retain(|fetch| !ids.contains(&fetch.id));
                    self.taken_back.extend(ids);
                }
                Effect::Stalled(stall) => self.stalls.push(stall.map(|(stall, _)| stall)),
            }
        }
        if self.store_answers {
            self.answer_store();
        }
    }

    fn note_fetch(&mut self, request: FetchRequest) {
        match &request.items {
            FetchItems::Headers { limit, top } => {
                assert!(*limit >= 1 && *limit <= FetchItems::MAX_HEADERS);
                self.header_asks += 1;
                if let HashOrNumber::Number(top) = top {
                    self.asked_by_number.push(*top);
                }
            }
            FetchItems::Bodies { blocks } => {
                assert!(!blocks.is_empty() && blocks.len() <= FetchItems::MAX_BODIES);
                for block in blocks {
                    *self.body_asks.entry(block.hash).or_default() += 1;
                }
            }
            FetchItems::Receipts { blocks } => {
                assert!(self.store.keeps_receipts, "receipts that nobody keeps were asked for");
                assert!(!blocks.is_empty() && blocks.len() <= FetchItems::MAX_RECEIPTS);
                for block in blocks {
                    *self.receipts_asks.entry(block.hash).or_default() += 1;
                }
            }
        }
        self.fetches.push_back(request);
    }

    pub(super) fn answer_store(&mut self) {
        while let Some(request) = self.held.pop_front() {
            let genesis = Arc::clone(&self.genesis);
            let outcome = self.store.answer(&genesis, request);
            self.give(Input::Stored(outcome));
        }
    }

    /// The store answers what it can without its disk: it writes nothing.
    pub(super) fn answer_reads(&mut self) {
        let (writes, reads) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<VecDeque<_>, _>(|request| matches!(request, StoreRequest::Persist { .. }));
        self.held = writes;
        for request in reads {
            let genesis = Arc::clone(&self.genesis);
            let outcome = self.store.answer(&genesis, request);
            self.give(Input::Stored(outcome));
        }
    }

    /// What the store was asked and has not answered.
    pub(super) fn asked_of_the_store(&self) -> impl Iterator<Item = &StoreRequest> {
        self.held.iter()
    }

    pub(super) fn lose_what_the_store_was_told(&mut self) {
        self.held.clear();
    }

    /// Lets time pass, waking the core whenever it wants to be woken.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            match self.core.next_wakeup(self.now).filter(|(at, _)| *at <= end) {
                Some((at, _)) => self.now = self.now.max(at),
                None => break,
            }
            self.give(Input::Wakeup);
        }
        self.now = end;
        self.give(Input::Wakeup);
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(super) fn ask_range(&mut self, head: B256, count: u64) -> RequestId {
        let id = self.request_id();
        self.give(Input::Request(DownloadRequest::BlockRange { id, head, count }));
        id
    }

    /// A range wanted by a later incarnation of the tree.
    pub(super) fn ask_range_as(&mut self, incarnation: u32, head: B256, count: u64) -> RequestId {
        let id = RequestId::first_of(incarnation);
        self.give(Input::Request(DownloadRequest::BlockRange { id, head, count }));
        id
    }

    pub(super) fn ask_set(&mut self, hashes: impl IntoIterator<Item = B256>) -> RequestId {
        let id = self.request_id();
        let hashes = hashes.into_iter().collect();
        self.give(Input::Request(DownloadRequest::BlockSet { id, hashes }));
        id
    }

    #[track_caller]
    pub(super) fn expect_started(&mut self, request: RequestId, target: B256) {
        let outcome = self.told.pop_front().expect("nothing was told");
        assert!(
            matches!(&outcome, DownloadOutcome::NewDownloadStarted { request: r, target: t, .. }
                if *r == request && *t == target),
            "{outcome:?}"
        );
    }

    #[track_caller]
    pub(super) fn expect_header_fetch(&mut self) -> (RequestId, HashOrNumber, u64) {
        let request = self.fetches.pop_front().expect("nothing was asked for");
        match request.items {
            FetchItems::Headers { top, limit } => (request.id, top, limit),
            _ => panic!("no headers were asked for: {request:?}"),
        }
    }

    #[track_caller]
    pub(super) fn expect_body_fetch(&mut self) -> (RequestId, Vec<BlockNumHash>) {
        let request = self.fetches.pop_front().expect("nothing was asked for");
        match request.items {
            FetchItems::Bodies { blocks } => (request.id, blocks),
            _ => panic!("no bodies were asked for: {request:?}"),
        }
    }

    #[track_caller]
    pub(super) fn expect_silence(&mut self) {
        assert!(self.told.is_empty(), "told: {:?}", self.told);
        assert!(self.fetches.is_empty(), "asked: {:?}", self.fetches);
    }

    pub(super) fn headers(&mut self, fetch: RequestId, peer: PeerId, blocks: &[&Block]) {
        let headers = blocks.iter().map(|block| Arc::clone(&block.header)).collect();
        self.give(Input::Headers { fetch, peer, headers });
    }

    pub(super) fn bodies(&mut self, fetch: RequestId, peer: PeerId, blocks: &[&Block]) {
        let bodies =
            blocks.iter().map(|block| (key_of(&block.body), Arc::clone(&block.body))).collect();
        self.give(Input::Bodies { fetch, peer, bodies });
    }

    /// The receipts of the blocks at these heights.
    pub(super) fn receipts(&mut self, fetch: RequestId, peer: PeerId, numbers: &[u64]) {
        let receipts = numbers.iter().map(|number| {
            let receipts = receipts_of(*number);
            (receipts_key(&receipts), Arc::new(receipts))
        });
        self.give(Input::Receipts { fetch, peer, receipts: receipts.collect() });
    }

    pub(super) fn failed(&mut self, fetch: RequestId, peer: PeerId, error: FetchError) {
        self.give(Input::FetchFailed { fetch, peer: Some(peer), error });
    }

    /// An honest peer's answer to one request, out of the blocks it has.
    pub(super) fn serve(&mut self, request: FetchRequest, peer: PeerId, has: &[Block]) {
        match request.items {
            FetchItems::Headers { top, limit } => {
                let top = has.iter().rposition(|block| match top {
                    HashOrNumber::Hash(hash) => block.header.hash() == hash,
                    HashOrNumber::Number(number) => block.header.number == number,
                });
                let answer: Vec<&Block> = match top {
                    Some(top) => has[..=top].iter().rev().take(limit as usize).collect(),
                    None => Vec::new(),
                };
                self.headers(request.id, peer, &answer);
            }
            FetchItems::Bodies { blocks } => {
                let answer: Vec<&Block> = blocks
                    .iter()
                    .filter_map(|wanted| has.iter().find(|b| b.header.hash() == wanted.hash))
                    .collect();
                self.bodies(request.id, peer, &answer);
            }
            FetchItems::Receipts { blocks } => {
                let has = |hash| has.iter().any(|block| block.header.hash() == hash);
                let numbers = blocks.iter().filter(|wanted| has(wanted.hash));
                let numbers: Vec<_> = numbers.map(|wanted| wanted.number).collect();
                self.receipts(request.id, peer, &numbers);
            }
        }
    }

    /// Serves a request from whichever chain has what it asks for.
    pub(super) fn serve_from_any(&mut self, request: FetchRequest, chains: &[Vec<Block>]) {
        let has = |chain: &Vec<Block>| match &request.items {
            FetchItems::Headers { top: HashOrNumber::Number(_), .. } => true,
            FetchItems::Headers { top: HashOrNumber::Hash(hash), .. } => {
                chain.iter().any(|block| block.header.hash() == *hash)
            }
            FetchItems::Bodies { blocks } | FetchItems::Receipts { blocks } => {
                chain.iter().any(|block| blocks.iter().any(|b| b.hash == block.header.hash()))
            }
        };
        let chain = chains.iter().find(|chain| has(chain)).expect("nobody has it");
        self.serve(request, peer(1), chain);
    }

    /// The oldest request for headers.
    pub(super) fn take_headers(&mut self) -> Option<FetchRequest> {
        let at = self.fetches.iter().position(is_for_headers)?;
        self.fetches.remove(at)
    }

    /// Serves headers until no more are asked for, and no bodies.
    pub(super) fn serve_headers(&mut self, peer: PeerId, has: &[Block]) {
        while let Some(fetch) = self.take_headers() {
            self.serve(fetch, peer, has);
        }
    }

    /// Serves everything that is asked until nothing more is.
    pub(super) fn serve_all(&mut self, has: &[Block]) {
        while let Some(request) = self.fetches.pop_front() {
            self.serve(request, peer(1), has);
        }
    }

    /// All blocks delivered for a request so far, checked to ascend without a gap.
    #[track_caller]
    pub(super) fn delivered(&mut self, request: RequestId) -> Vec<B256> {
        let mut hashes = Vec::new();
        let mut last: Option<Arc<SealedHeader>> = None;
        for outcome in std::mem::take(&mut self.told) {
            match outcome {
                DownloadOutcome::Blocks { request: of, blocks, .. } if of == request => {
                    for header in blocks {
                        if let Some(last) = &last {
                            assert_eq!(header.parent_hash, last.hash(), "not ascending");
                        }
                        assert!(self.store.bodies.contains(&header.hash()), "not on disk");
                        assert!(self.store.needs_no_more_receipts(&header), "no receipts on disk");
                        hashes.push(header.hash());
                        last = Some(header);
                    }
                }
                DownloadOutcome::NewDownloadStarted { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        hashes
    }

    #[track_caller]
    pub(super) fn expect_failed(&mut self, request: RequestId) -> DownloadFailure {
        let failed = self.told.iter().find_map(|outcome| match outcome {
            DownloadOutcome::Failed { request: of, reason } if *of == request => {
                Some(reason.clone())
            }
            _ => None,
        });
        let failed = failed.unwrap_or_else(|| panic!("no failure: {:?}", self.told));
        self.told.clear();
        failed
    }

    pub(super) fn restart(&mut self, actor: ActorName) {
        self.give(Input::Restarted(actor));
    }
}

pub(super) fn is_for_headers(fetch: &FetchRequest) -> bool {
    matches!(fetch.items, FetchItems::Headers { .. })
}
