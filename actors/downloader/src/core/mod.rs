//! The pure state machine of the downloader.
//!
//! Headers go down from a trusted hash ([`descent`]); each linked part becomes a span in the store;
//! spans are opened to see which bodies are missing ([`chain`]); bodies are matched by root
//! ([`bodies`]); what is proved is written ([`writer`]); and what is whole is delivered ascending.

mod bodies;
mod chain;
mod deliver;
mod descent;
mod requests;
mod retry;
mod spans;
mod store_io;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_messages::{
    ActorName, Body, Conduct, DownloadOutcome, DownloadRequest, FetchError, FetchRequest, PeerId,
    PeerReport, Priority, ProgressReport, RequestId, SealedHeader, StoreOutcome, StoreRequest,
    Weigh,
};
use moorline_rules::{ChainSpec, body::BodyKey};

use self::{
    bodies::Bodies,
    chain::{Chain, Search},
    descent::Ask,
    spans::Spans,
    writer::{Writer, later},
};

/// Downloads that may be under way at once; the tree asks for few.
const CHAINS_MAX: usize = 64;

/// Requests that may wait until the store said what is there.
const EARLY_REQUESTS_MAX: usize = 64;

/// Spans looked into at once, of up to 512 headers each; those of downloads that follow the head of
/// the chain are short, and come on top.
const OPEN_RUNS_MAX: usize = 12;

/// Header fetches beyond the budget for downloads that follow the head of the chain.
const TIP_HEADER_FETCHES: usize = 4;

/// Time a fetch may take, the wait for a free peer included.
const FETCH_BUDGET: Duration = Duration::from_secs(30);

/// Grace after a fetch's budget before it counts as lost on the way.
const FETCH_GRACE: Duration = Duration::from_secs(5);

/// How often progress is reported while there is any.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Wait before a tree that has no room is offered the next blocks.
const TREE_RETRY: Duration = Duration::from_millis(5);

/// Bounds of the downloader, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that the answers under way may bring, as far as they can be foreseen.
    pub in_flight_bytes: usize,
    /// Bytes that may be held on the way to the disk: unlinked headers, and what is proved.
    pub buffer_bytes: usize,
    /// Blocks whose bodies may be wanted at once.
    pub queue_items: usize,
    /// Header fetches that may be out at once.
    pub header_fetches: usize,
    /// Body fetches that may be out at once.
    pub body_fetches: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            in_flight_bytes: 48 << 20,
            buffer_bytes: 64 << 20,
            queue_items: 8_192,
            header_fetches: 32,
            body_fetches: 64,
        }
    }
}

/// What reaches the core.
#[derive(Debug)]
pub(crate) enum Input {
    /// The actor stands; the store is to be asked what is there.
    Started,
    Request(DownloadRequest),
    /// A fetch brought headers.
    Headers {
        fetch: RequestId,
        peer: PeerId,
        headers: Vec<Arc<SealedHeader>>,
    },
    /// A fetch brought bodies, each with the key computed from its bytes.
    Bodies {
        fetch: RequestId,
        peer: PeerId,
        bodies: Vec<(BodyKey, Arc<Body>)>,
    },
    /// A fetch brought nothing.
    FetchFailed {
        fetch: RequestId,
        peer: Option<PeerId>,
        error: FetchError,
    },
    Stored(StoreOutcome),
    Restarted(ActorName),
    /// Whether the tree has room for more blocks.
    TreeHasRoom(bool),
    Wakeup,
    /// The actor ends: what is proved goes to the store, and nothing more is asked for.
    Stopping,
}

/// What the core wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Tell(DownloadOutcome),
    Fetch(FetchRequest),
    Report(PeerReport),
    Store(StoreRequest),
    Progress(ProgressReport),
}

/// What a fetch is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Headers { chain: RequestId },
    Bodies,
}

#[derive(Debug)]
struct Out {
    purpose: Purpose,
    lost_at: Instant,
}

#[derive(Debug)]
pub(crate) struct DownloaderCore {
    spec: Arc<ChainSpec>,
    budget: Budget,
    ids: RequestId,
    loading: Option<(RequestId, Instant)>,
    early: VecDeque<DownloadRequest>,
    spans: Spans,
    chains: Vec<Chain>,
    /// Blocks of sets that are done, until the whole set is.
    sets: BTreeMap<RequestId, Vec<Arc<SealedHeader>>>,
    bodies: Bodies,
    writer: Writer,
    out: BTreeMap<RequestId, Out>,
    /// Reads under way in the store, to be repeated if it loses them.
    reads: BTreeMap<RequestId, (StoreRequest, Instant)>,
    tree_has_room: bool,
    progress: ProgressReport,
    told: ProgressReport,
    tell_at: Option<Instant>,
}

impl DownloaderCore {
    pub(crate) fn new(spec: Arc<ChainSpec>, budget: Budget, first_id: RequestId) -> Self {
        Self {
            spec,
            budget,
            ids: first_id,
            loading: None,
            early: VecDeque::new(),
            spans: Spans::default(),
            chains: Vec::new(),
            sets: BTreeMap::new(),
            bodies: Bodies::new(),
            writer: Writer::default(),
            out: BTreeMap::new(),
            reads: BTreeMap::new(),
            tree_has_room: true,
            progress: ProgressReport::default(),
            told: ProgressReport::default(),
            tell_at: None,
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        let woken = matches!(input, Input::Wakeup);
        match input {
            Input::Started => self.load(now, effects),
            Input::Request(request) if self.is_loading() => self.keep_early(request),
            Input::Request(request) => self.on_request(now, request, effects),
            Input::Headers { fetch, peer, headers } => {
                self.on_headers(now, fetch, peer, headers, effects);
            }
            Input::Bodies { fetch, peer, bodies } => {
                self.on_bodies(now, fetch, peer, bodies, effects);
            }
            Input::FetchFailed { fetch, peer, error } => {
                self.on_fetch_failed(now, fetch, peer, error, effects);
            }
            Input::Stored(outcome) => self.on_stored(now, outcome, effects),
            Input::Restarted(actor) => self.on_restarted(now, actor),
            Input::TreeHasRoom(room) => self.tree_has_room = room,
            Input::Wakeup => self.on_wakeup(now, effects),
            Input::Stopping => {
                return effects
                    .extend(self.writer.rest(&mut self.ids).into_iter().map(Effect::Store));
            }
        }
        if !self.is_loading() {
            self.advance(effects);
            self.deliver(now, effects);
            self.open_runs(now, effects);
            self.fetch(now, effects);
        }
        self.write(now, effects);
        self.report_progress(now, woken, effects);
    }

    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let lost = self.out.values().map(|out| out.lost_at).min();
        let reads = self.reads.values().map(|(_, again)| *again).min();
        let headers = self.chains.iter().filter_map(|chain| chain.descent.next_wakeup(now)).min();
        let room = (!self.tree_has_room).then(|| later(now, TREE_RETRY));
        [
            (self.loading.map(|(_, again)| again), "the store has not said what is there"),
            (lost, "a fetch may be lost"),
            (reads, "a read may be lost"),
            (self.writer.next_wakeup(), "a write may be lost"),
            (headers, "headers may be asked for again"),
            (self.bodies.next_wakeup(), "bodies may be asked for again"),
            (room, "the tree may have room again"),
            (self.tell_at, "progress is due"),
        ]
        .into_iter()
        .filter_map(|(at, why)| at.map(|at| (at, why)))
        .min_by_key(|(at, _)| *at)
    }

    fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    fn keep_early(&mut self, request: DownloadRequest) {
        if self.early.len() < EARLY_REQUESTS_MAX {
            self.early.push_back(request);
        }
    }

    fn on_headers(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: PeerId,
        headers: Vec<Arc<SealedHeader>>,
        effects: &mut Vec<Effect>,
    ) {
        let expected = self.out.get(&fetch).map(|out| out.purpose);
        if !matches!(expected, Some(Purpose::Headers { .. })) {
            return;
        }
        if headers.is_empty() {
            let conduct = Conduct::Lacked;
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
            return self.headers_failed(now, fetch, Some(peer), true, effects);
        }
        let Some(chain) = self.chain_of_headers(fetch) else { return };
        if let Some(conduct) = chain.descent.on_headers(fetch, peer, headers) {
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
        }
    }

    fn chain_of_headers(&mut self, fetch: RequestId) -> Option<&mut Chain> {
        let Purpose::Headers { chain } = self.out.remove(&fetch)?.purpose else { return None };
        self.chains.iter_mut().find(|other| other.id == chain)
    }

    fn on_bodies(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: PeerId,
        bodies: Vec<(BodyKey, Arc<Body>)>,
        effects: &mut Vec<Effect>,
    ) {
        self.out.remove(&fetch);
        let spec = Arc::clone(&self.spec);
        let harvest = self.bodies.on_bodies(now, &spec, fetch, peer, bodies);
        if let Some(conduct) = harvest.conduct {
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
        }
        self.progress.refetched = self.progress.refetched.saturating_add(harvest.unneeded);
        for proved in harvest.proved {
            let bytes = proved.body.weight_bytes() as u64;
            self.progress.bytes = self.progress.bytes.saturating_add(bytes);
            self.writer.body(proved.block, proved.body);
        }
        for (block, failure) in harvest.failures {
            self.fail_block(&block, &failure, effects);
        }
    }

    fn on_fetch_failed(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: Option<PeerId>,
        error: FetchError,
        effects: &mut Vec<Effect>,
    ) {
        let counts = error == FetchError::TimedOut;
        match self.out.get(&fetch).map(|out| out.purpose) {
            Some(Purpose::Bodies) => {
                self.out.remove(&fetch);
                for (block, failure) in self.bodies.on_failed(now, fetch, peer, counts) {
                    self.fail_block(&block, &failure, effects);
                }
            }
            Some(Purpose::Headers { .. }) => {
                self.headers_failed(now, fetch, peer, counts, effects);
            }
            None => {}
        }
    }

    /// No headers came of a fetch: an empty answer, or none.
    fn headers_failed(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: Option<PeerId>,
        counts: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(chain) = self.chain_of_headers(fetch) else { return };
        let request = chain.request;
        let failed = chain.descent.on_failed(now, fetch, peer, counts);
        if let std::ops::ControlFlow::Break(reason) = failed {
            self.fail(request, reason, effects);
        }
    }

    /// Sends out what may go, tip first.
    fn fetch(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let mut headers_out = self.out.len().saturating_sub(self.bodies.asked_fetches());
        for at in 0..self.chains.len() {
            let goes_first = self.chains.get(at).is_some_and(Chain::is_tip);
            let slots = if goes_first { TIP_HEADER_FETCHES } else { 0 };
            let slots = self.budget.header_fetches.saturating_add(slots);
            while headers_out < slots && self.has_buffer_room() {
                let Some((ask, purpose, priority)) = self.next_header_fetch(at, now) else { break };
                headers_out = headers_out.saturating_add(1);
                self.send(now, ask, purpose, priority, effects);
            }
        }
        self.bodies.wake(now);
        while self.bodies.asked_fetches() < self.budget.body_fetches && self.has_buffer_room() {
            let Some((ask, urgent)) = self.bodies.next_fetch(self.ids) else { break };
            let priority = if urgent { Priority::Tip } else { Priority::History };
            self.send(now, ask, Purpose::Bodies, priority, effects);
        }
    }

    fn next_header_fetch(&mut self, at: usize, now: Instant) -> Option<(Ask, Purpose, Priority)> {
        let spans = &self.spans;
        let chain = self.chains.get_mut(at)?;
        if !matches!(chain.search, Search::Peers) {
            return None;
        }
        chain.descent.plan(|frontier| spans.highest_below(frontier));
        let ask = chain.descent.next_fetch(now, self.ids)?;
        let purpose = Purpose::Headers { chain: chain.id };
        Some((ask, purpose, if chain.is_tip() { Priority::Tip } else { Priority::History }))
    }

    fn send(
        &mut self,
        now: Instant,
        ask: Ask,
        purpose: Purpose,
        priority: Priority,
        effects: &mut Vec<Effect>,
    ) {
        let id = self.ids.take();
        let lost_at = later(now, FETCH_BUDGET.saturating_add(FETCH_GRACE));
        self.out.insert(id, Out { purpose, lost_at });
        effects.push(Effect::Fetch(FetchRequest {
            id,
            items: ask.items,
            priority,
            avoid: ask.avoid,
            budget_ms: u64::try_from(FETCH_BUDGET.as_millis()).unwrap_or(u64::MAX),
        }));
    }

    /// A slow disk slows intake: nothing more is fetched while too much waits to be written.
    fn has_buffer_room(&self) -> bool {
        let held = self.writer.buffered_bytes().saturating_add(self.bodies.expected_bytes());
        held < self.budget.buffer_bytes
    }

    fn on_restarted(&mut self, now: Instant, actor: ActorName) {
        match actor {
            ActorName::PeerManager => {
                self.out.clear();
                self.bodies.forget_asked();
                for chain in &mut self.chains {
                    chain.descent.forget_asked();
                }
            }
            ActorName::Store => {
                self.writer.hurry(now);
                for (_, again) in self.reads.values_mut() {
                    *again = now;
                }
                if let Some((_, again)) = &mut self.loading {
                    *again = now;
                }
            }
            // a tree that restarted asks again by itself
            ActorName::Tree | ActorName::Downloader => {}
        }
    }

    fn on_wakeup(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let lost = self.out.iter().filter(|(_, out)| out.lost_at <= now);
        let lost: Vec<_> = lost.map(|(id, _)| *id).collect();
        for fetch in lost {
            self.on_fetch_failed(now, fetch, None, FetchError::NoPeer, effects);
        }
        self.repeat_reads(now, effects);
        effects.extend(self.writer.overdue(now).into_iter().map(Effect::Store));
    }

    fn report_progress(&mut self, now: Instant, woken: bool, effects: &mut Vec<Effect>) {
        match self.tell_at {
            None if woken => return,
            None => self.tell_at = Some(later(now, PROGRESS_EVERY)),
            Some(at) if at <= now => self.tell_at = None,
            Some(_) => {}
        }
        if self.tell_at.is_some() {
            return;
        }
        self.progress.remaining_blocks = self.chains.iter().map(Chain::remaining).sum();
        self.progress.highest = self.chains.iter().map(Chain::highest).max().unwrap_or(0);
        self.progress.in_flight = self.out.len() as u64;
        self.progress.buffered_bytes = self.writer.buffered_bytes() as u64;
        if self.progress != self.told {
            self.told = self.progress;
            effects.push(Effect::Progress(self.progress));
        }
    }
}
