//! The pure state machine of the downloader.
//!
//! Headers go down from a trusted hash ([`descent`]); each linked part becomes a span in the store;
//! spans are opened to see which bodies and receipts are missing ([`chain`]); these are matched by root
//! ([`parts`]); what is proved is written ([`writer`]); and what is whole is delivered ascending.

mod budget;
mod chain;
mod chunk;
mod deliver;
mod descent;
mod fetching;
mod part;
mod parts;
mod ready;
mod requests;
mod retry;
mod spans;
mod store_io;
mod watchdog;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, BlockNumHash, Body, Conduct, DownloadFailure, DownloadOutcome, DownloadRequest,
    FetchCommand, FetchError, FetchRequest, PeerId, PeerReport, ProgressReport, Receipts,
    RequestId, SealedHeader, Stall, StoreOutcome, StoreRequest,
};
use moorline_rules::{ChainSpec, body::BodyKey, receipts::ReceiptsKey};

pub use self::budget::Budget;
use self::{
    chain::{Chain, Search},
    fetching::{Out, Purpose},
    part::{Part, PartKind},
    parts::{Harvest, Parts},
    spans::Spans,
    watchdog::Watchdog,
    writer::{Writer, later},
};

/// Downloads that may be under way at once; the tree asks for few.
const CHAINS_MAX: usize = 64;

/// Requests that may wait until the store said what is there.
const EARLY_REQUESTS_MAX: usize = 64;

/// Wait before a tree that has no room is offered the next blocks.
const TREE_RETRY: Duration = Duration::from_millis(5);

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
    /// A fetch brought receipts, each block's with the key computed from their bytes.
    Receipts {
        fetch: RequestId,
        peer: PeerId,
        receipts: Vec<(Option<ReceiptsKey>, Arc<Receipts>)>,
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
    Command(FetchCommand),
    Report(PeerReport),
    Store(StoreRequest),
    Progress(ProgressReport),
    /// Nothing came for so long, and why; `None` once something comes again.
    Stalled(Option<(Stall, Duration)>),
}

#[derive(Debug)]
pub(crate) struct DownloaderCore {
    spec: Arc<ChainSpec>,
    budget: Budget,
    ids: RequestId,
    loading: Option<(RequestId, Instant)>,
    early: VecDeque<DownloadRequest>,
    spans: Spans,
    /// Spans that were delivered, by their highest block; forgotten once nobody is on the way down to
    /// them.
    delivered: Vec<B256>,
    chains: Vec<Chain>,
    /// Chunks of headers that linked since a start over an unfinished download; `None` after any other.
    linked_since_resumed: Option<usize>,
    /// Blocks of sets that are done, until the whole set is.
    sets: BTreeMap<RequestId, Vec<Arc<SealedHeader>>>,
    /// Whether blocks are to have their receipts.
    keeps_receipts: bool,
    bodies: Parts<Body>,
    receipts: Parts<Receipts>,
    writer: Writer,
    out: BTreeMap<RequestId, Out>,
    /// Reads under way in the store, to be repeated if it loses them.
    reads: BTreeMap<RequestId, (StoreRequest, Instant)>,
    tree_has_room: bool,
    watchdog: Watchdog,
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
            delivered: Vec::new(),
            chains: Vec::new(),
            linked_since_resumed: None,
            sets: BTreeMap::new(),
            keeps_receipts: false,
            bodies: Parts::new(),
            receipts: Parts::new(),
            writer: Writer::default(),
            out: BTreeMap::new(),
            reads: BTreeMap::new(),
            tree_has_room: true,
            watchdog: Watchdog::default(),
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
            Input::Receipts { fetch, peer, receipts } => {
                self.on_receipts(now, fetch, peer, receipts, effects);
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
            self.advance(now, effects);
            self.deliver(now, effects);
            self.open_runs(now, effects);
            self.fetch(now, effects);
        }
        self.write(now, effects);
        self.watch(now, effects);
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
            (self.receipts.next_wakeup(), "receipts may be asked for again"),
            (room, "the tree may have room again"),
            (self.watchdog.next_wakeup(), "nothing has come for a while"),
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
            self.watchdog.judged(conduct);
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
            return self.headers_failed(now, fetch, Some(peer), true, effects);
        }
        let Some(chain) = self.chain_of_headers(fetch) else { return };
        if let Some(conduct) = chain.descent.on_headers(fetch, peer, headers) {
            self.watchdog.judged(conduct);
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
        }
    }

    fn chain_of_headers(&mut self, fetch: RequestId) -> Option<&mut Chain> {
        let Purpose::Headers { chain, .. } = self.out.remove(&fetch)?.purpose else { return None };
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
        let harvest = self.bodies.on_answer(now, &spec, fetch, peer, bodies);
        self.on_harvest(fetch, peer, &harvest, effects);
        for proved in harvest.proved {
            self.writer.body(proved.block, proved.part);
        }
        self.fail_blocks(harvest.failures, PartKind::Body, effects);
    }

    fn on_receipts(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: PeerId,
        receipts: Vec<(Option<ReceiptsKey>, Arc<Receipts>)>,
        effects: &mut Vec<Effect>,
    ) {
        self.out.remove(&fetch);
        let spec = Arc::clone(&self.spec);
        let harvest = self.receipts.on_answer(now, &spec, fetch, peer, receipts);
        self.on_harvest(fetch, peer, &harvest, effects);
        for proved in harvest.proved {
            self.writer.receipts(proved.block, proved.part);
        }
        self.fail_blocks(harvest.failures, PartKind::Receipts, effects);
    }

    /// What an answer came to, whatever it was that was asked for.
    fn on_harvest<P: Part>(
        &mut self,
        fetch: RequestId,
        peer: PeerId,
        harvest: &Harvest<P>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(conduct) = harvest.conduct {
            self.watchdog.judged(conduct);
            effects.push(Effect::Report(PeerReport { peer, request: fetch, conduct }));
        }
        self.progress.refetched = self.progress.refetched.saturating_add(harvest.unneeded);
        self.watchdog.moves(!harvest.proved.is_empty());
        let bytes: usize = harvest.proved.iter().map(|proved| proved.part.weight_bytes()).sum();
        self.progress.bytes = self.progress.bytes.saturating_add(bytes as u64);
    }

    fn fail_blocks(
        &mut self,
        failures: Vec<(BlockNumHash, DownloadFailure)>,
        kind: PartKind,
        effects: &mut Vec<Effect>,
    ) {
        for (block, failure) in failures {
            self.fail_block((&block, kind), &failure, effects);
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
        self.watchdog.failed(error);
        match self.out.get(&fetch).map(|out| out.purpose) {
            Some(Purpose::Part(kind)) => {
                self.out.remove(&fetch);
                let failures = match kind {
                    PartKind::Body => self.bodies.on_failed(now, fetch, peer, counts),
                    PartKind::Receipts => self.receipts.on_failed(now, fetch, peer, counts),
                };
                self.fail_blocks(failures, kind, effects);
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

    fn on_restarted(&mut self, now: Instant, actor: ActorName) {
        match actor {
            ActorName::PeerManager => {
                self.out.clear();
                self.bodies.forget_asked();
                self.receipts.forget_asked();
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
}
