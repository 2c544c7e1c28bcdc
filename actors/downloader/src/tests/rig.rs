//! A core, a made-up chain, a store in memory, and peers that do as they are told.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_TRANSACTIONS};
use alloy_primitives::{Address, B256, B512, Sealable};
use moorline_messages::{
    ActorName, Block, BlockNumHash, Body, Conduct, DownloadFailure, DownloadOutcome,
    DownloadRequest, FetchCommand, FetchError, FetchItems, FetchRequest, FoundBlock, HashOrNumber,
    Header, PeerId, ProgressReport, RequestId, SealedHeader, Span, Stall, StoreOutcome,
    StoreRequest, StoredState,
};
use moorline_rules::{
    ChainSpec,
    body::{key_of, withdrawals_root},
};

use crate::core::{Budget, DownloaderCore, Effect, Input};

pub(super) fn spec() -> Arc<ChainSpec> {
    let genesis = r#"{"config":{"chainId":7,"homesteadBlock":0,"eip150Block":0,"eip155Block":0,
        "eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0,
        "istanbulBlock":0,"berlinBlock":0,"londonBlock":0,"terminalTotalDifficulty":0,
        "shanghaiTime":0},"nonce":"0x0","timestamp":"0x0","extraData":"0x","gasLimit":"0x1c9c380",
        "difficulty":"0x0","mixHash":"0x0000000000000000000000000000000000000000000000000000000000000000",
        "coinbase":"0x0000000000000000000000000000000000000000","alloc":{}}"#;
    Arc::new(ChainSpec::from_genesis_json(genesis).unwrap())
}

/// A chain whose every body is different: one withdrawal, of the block's own amount.
pub(super) fn chain(parent: &SealedHeader, count: u64, salt: u64) -> Vec<Block> {
    blocks(parent, count, salt, 1)
}

/// A chain whose bodies have many withdrawals each.
pub(super) fn fat(parent: &SealedHeader, count: u64, withdrawals: usize) -> Vec<Block> {
    blocks(parent, count, 0, withdrawals)
}

fn blocks(parent: &SealedHeader, count: u64, salt: u64, withdrawals: usize) -> Vec<Block> {
    let mut parent = parent.clone();
    let mut blocks = Vec::new();
    for _ in 0..count {
        let number = parent.number + 1;
        let withdrawal = alloy_withdrawal(number, salt);
        let body = Body {
            transactions: Vec::new(),
            ommers: Body::NO_OMMERS,
            withdrawals: Some(vec![withdrawal; withdrawals]),
        };
        let header = Header {
            parent_hash: parent.hash(),
            number,
            timestamp: parent.timestamp + 12,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            transactions_root: EMPTY_TRANSACTIONS,
            withdrawals_root: body.withdrawals.as_deref().map(withdrawals_root),
            ..Header::default()
        };
        parent = header.seal_slow();
        blocks.push(Block { header: Arc::new(parent.clone()), body: Arc::new(body) });
    }
    blocks
}

fn alloy_withdrawal(number: u64, salt: u64) -> alloy_eips::eip4895::Withdrawal {
    alloy_eips::eip4895::Withdrawal {
        index: number,
        validator_index: salt,
        address: Address::ZERO,
        amount: number,
    }
}

pub(super) fn peer(number: u8) -> PeerId {
    PeerId(B512::repeat_byte(number))
}

/// The store, as far as the downloader sees it.
#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) headers: BTreeMap<B256, Arc<SealedHeader>>,
    pub(super) bodies: BTreeSet<B256>,
    pub(super) spans: Vec<Span>,
    pub(super) written_twice: u64,
    pub(super) headers_written_twice: u64,
}

impl MemoryStore {
    pub(super) fn put(&mut self, block: &Block) {
        self.headers.insert(block.header.hash(), Arc::clone(&block.header));
        self.bodies.insert(block.header.hash());
    }

    fn found(&self, hash: &B256) -> Option<FoundBlock> {
        let header = Arc::clone(self.headers.get(hash)?);
        Some(FoundBlock { header, has_body: self.bodies.contains(hash) })
    }

    fn answer(&mut self, tip: &Arc<SealedHeader>, request: StoreRequest) -> StoreOutcome {
        match request {
            StoreRequest::Persist { id, batch, .. } => {
                for header in batch.headers {
                    let before = self.headers.insert(header.hash(), header);
                    self.headers_written_twice += u64::from(before.is_some());
                }
                for (block, _) in batch.bodies {
                    assert!(
                        self.headers.contains_key(&block.hash),
                        "a body came before its header"
                    );
                    if !self.bodies.insert(block.hash) {
                        self.written_twice += 1;
                    }
                }
                self.spans.extend(batch.spans);
                StoreOutcome::Persisted { request: id }
            }
            StoreRequest::Load { id, .. } => StoreOutcome::Loaded {
                request: id,
                state: StoredState {
                    tip: Arc::clone(tip),
                    forkchoice: Default::default(),
                    spans: self.spans.clone(),
                },
            },
            StoreRequest::Find { id, hashes, .. } => StoreOutcome::Found {
                request: id,
                blocks: hashes.iter().map(|hash| self.found(hash)).collect(),
            },
            StoreRequest::Walk { id, top, limit, .. } => {
                let mut blocks = Vec::new();
                let mut next = top.hash;
                while let Some(found) = self.found(&next).filter(|_| (blocks.len() as u64) < limit)
                {
                    next = found.header.parent_hash;
                    blocks.push(found);
                }
                StoreOutcome::Walked { request: id, blocks }
            }
        }
    }
}

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
            FetchItems::Bodies { .. } => panic!("bodies were asked for: {request:?}"),
        }
    }

    #[track_caller]
    pub(super) fn expect_body_fetch(&mut self) -> (RequestId, Vec<BlockNumHash>) {
        let request = self.fetches.pop_front().expect("nothing was asked for");
        match request.items {
            FetchItems::Bodies { blocks } => (request.id, blocks),
            FetchItems::Headers { .. } => panic!("headers were asked for: {request:?}"),
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
        }
    }

    /// Serves a request from whichever chain has what it asks for.
    pub(super) fn serve_from_any(&mut self, request: FetchRequest, chains: &[Vec<Block>]) {
        let has = |chain: &Vec<Block>| match &request.items {
            FetchItems::Headers { top: HashOrNumber::Number(_), .. } => true,
            FetchItems::Headers { top: HashOrNumber::Hash(hash), .. } => {
                chain.iter().any(|block| block.header.hash() == *hash)
            }
            FetchItems::Bodies { blocks } => {
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

pub(super) fn hashes(blocks: &[Block]) -> Vec<B256> {
    blocks.iter().map(|block| block.header.hash()).collect()
}

pub(super) fn head(blocks: &[Block]) -> B256 {
    blocks.last().unwrap().header.hash()
}

pub(super) fn is_for_headers(fetch: &FetchRequest) -> bool {
    matches!(fetch.items, FetchItems::Headers { .. })
}
