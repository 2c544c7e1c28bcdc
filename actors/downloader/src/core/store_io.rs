//! What the downloader asks of the store, and what it makes of the answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_TRANSACTIONS, EMPTY_WITHDRAWALS};
use moorline_messages::{
    ActorName, BlockNumHash, Body, DownloadFailure, FetchItems, FoundBlock, RequestId,
    SealedHeader, Span, StoreBatch, StoreOutcome, StoreRequest, StoredState, Weigh,
};
use moorline_rules::body::validate_body;

use super::{
    Chain, DownloaderCore, Effect, Search, chain::Lacking, descent::Step, part::PartKind,
    writer::later,
};

/// How long a read is given before it is repeated.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// Wait before a read that the store refused is repeated.
const READ_BACKOFF: Duration = Duration::from_secs(1);

impl DownloaderCore {
    /// Asks what is there.
    pub(super) fn load(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let id = self.loading.map_or_else(|| self.ids.take(), |(id, _)| id);
        self.loading = Some((id, later(now, READ_PATIENCE)));
        effects.push(Effect::Store(StoreRequest::Load { id, from: ActorName::Downloader }));
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        id: RequestId,
        request: StoreRequest,
        effects: &mut Vec<Effect>,
    ) {
        self.reads.insert(id, (request.clone(), later(now, READ_PATIENCE)));
        effects.push(Effect::Store(request));
    }

    pub(super) fn repeat_reads(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.loading.is_some_and(|(_, again)| again <= now) {
            self.load(now, effects);
        }
        for (request, again) in self.reads.values_mut().filter(|(_, again)| *again <= now) {
            *again = later(now, READ_PATIENCE);
            effects.push(Effect::Store(request.clone()));
        }
    }

    pub(super) fn on_stored(
        &mut self,
        now: Instant,
        outcome: StoreOutcome,
        effects: &mut Vec<Effect>,
    ) {
        match outcome {
            StoreOutcome::Persisted { request } => self.on_persisted(request),
            StoreOutcome::Loaded { request, state } => {
                self.on_loaded(now, request, state, effects);
            }
            StoreOutcome::Found { request, blocks } => {
                self.on_found(now, request, blocks, effects);
            }
            StoreOutcome::Walked { request, blocks } => {
                self.on_walked(now, request, blocks, effects);
            }
            StoreOutcome::Failed { request, .. } => self.on_refused(now, request),
        }
    }

    fn on_refused(&mut self, now: Instant, request: RequestId) {
        if self.writer.refused(now, request) {
            return;
        }
        if let Some((_, again)) = self.reads.get_mut(&request) {
            *again = later(now, READ_BACKOFF);
        }
        if let Some((_, again)) = self.loading.as_mut().filter(|(id, _)| *id == request) {
            *again = later(now, READ_BACKOFF);
        }
    }

    fn on_loaded(
        &mut self,
        now: Instant,
        request: RequestId,
        state: StoredState,
        effects: &mut Vec<Effect>,
    ) {
        if self.loading.take_if(|(id, _)| *id == request).is_none() {
            return;
        }
        self.keeps_receipts = state.keeps_receipts;
        self.linked_since_resumed = (!state.spans.is_empty()).then_some(0);
        self.spans = state.spans.into_iter().collect();
        for early in std::mem::take(&mut self.early) {
            self.on_request(now, early, effects);
        }
    }

    fn on_persisted(&mut self, request: RequestId) {
        let Some(batch) = self.writer.persisted(request) else { return };
        self.watchdog.moves(true);
        let StoreBatch { headers, bodies, receipts, spans, .. } = batch;
        self.progress.headers = self.progress.headers.saturating_add(headers.len() as u64);
        for span in spans {
            self.spans.insert(span);
            for chain in &mut self.chains {
                chain.span_stored(&span);
            }
        }
        for (block, _) in bodies {
            self.bodies.forget(&block);
            self.on_part_stored(block, PartKind::Body);
        }
        self.progress.receipts = self.progress.receipts.saturating_add(receipts.len() as u64);
        for (block, _) in receipts {
            self.receipts.forget(&block);
            self.on_part_stored(block, PartKind::Receipts);
        }
    }

    fn on_part_stored(&mut self, block: BlockNumHash, kind: PartKind) {
        let lacks_other = match kind.other() {
            PartKind::Body => self.bodies.wants(&block),
            PartKind::Receipts => self.receipts.wants(&block),
        };
        if !lacks_other {
            self.progress.blocks = self.progress.blocks.saturating_add(1);
        }
        for chain in &mut self.chains {
            chain.part_stored(block, kind);
        }
    }

    /// The first search of a download: does the store have its head?
    fn on_found(
        &mut self,
        now: Instant,
        request: RequestId,
        blocks: Vec<Option<FoundBlock>>,
        effects: &mut Vec<Effect>,
    ) {
        self.reads.remove(&request);
        let looked = self.chains.iter_mut().find(|chain| chain.walked_from(request).is_some());
        if let Some(chain) = looked {
            let urgent = chain.is_tip();
            if let Some(wanted) = chain.looked(request, blocks, self.keeps_receipts) {
                self.watchdog.moves(true);
                self.want(&wanted, urgent, effects);
            }
            return;
        }
        let found = blocks.into_iter().flatten().map(|found| found.header).collect();
        self.on_search(now, request, found, effects);
    }

    fn on_walked(
        &mut self,
        now: Instant,
        request: RequestId,
        blocks: Vec<FoundBlock>,
        effects: &mut Vec<Effect>,
    ) {
        self.reads.remove(&request);
        let search = |search: &Search| matches!(search, Search::Store(id) if *id == request);
        if self.chains.iter().any(|chain| search(&chain.search)) {
            let found = blocks.into_iter().map(|found| found.header).collect();
            self.on_search(now, request, found, effects);
            return;
        }
        let walked = self.chains.iter_mut().find_map(|chain| {
            let top = chain.walked_from(request)?;
            Some((chain, top))
        });
        let Some((chain, top)) = walked else { return };
        let (id, head, count, asked_by) = (chain.id, chain.head, chain.count, chain.request);
        let ascending = chain.descent.is_done();
        let urgent = chain.is_tip();
        match chain.opened(request, blocks, self.keeps_receipts) {
            Some(mut wanted) => {
                self.watchdog.moves(true);
                if ascending {
                    wanted.reverse();
                }
                self.want(&wanted, urgent, effects);
            }
            None => {
                // the store holds less than its spans said: peers are asked
                self.spans.remove(&top);
                self.drop_chains(|chain| chain.id == id, effects);
                self.begin(now, asked_by, head, count, effects);
            }
        }
    }

    /// Has what is lacking fetched, but for bodies that have nothing in them.
    fn want(&mut self, lacking: &[Lacking], urgent: bool, effects: &mut Vec<Effect>) {
        for Lacking { header, body, receipts } in lacking {
            if *receipts {
                self.receipts.want(header, urgent);
            }
            if !*body {
                continue;
            }
            let block = BlockNumHash::of(header);
            let Some(body) = empty_body(header) else {
                self.bodies.want(header, urgent);
                continue;
            };
            match validate_body(&self.spec, header, &body) {
                Ok(()) => self.writer.body(block, body),
                Err(breach) => {
                    let failure = DownloadFailure::Invalid { block, breach };
                    return self.fail_block((&block, PartKind::Body), &failure, effects);
                }
            }
        }
    }

    /// What the store had under the frontier; with nothing more there, peers are asked.
    fn on_search(
        &mut self,
        now: Instant,
        request: RequestId,
        found: Vec<Arc<SealedHeader>>,
        effects: &mut Vec<Effect>,
    ) {
        let search = |search: &Search| matches!(search, Search::Store(id) if *id == request);
        let Some(chain) = self.chains.iter_mut().find(|chain| search(&chain.search)) else {
            return;
        };
        // a span is the quicker way to what is stored
        let next_in_span = |hash| self.spans.contains(&hash);
        let step = if next_in_span(chain.descent.next().1) {
            Ok(None)
        } else {
            chain.descent.link_stored(found)
        };
        let (id, asked_by) = (chain.id, chain.request);
        match step {
            Ok(Some(Step::Linked(headers))) => {
                let next = chain.descent.next();
                let done = chain.descent.is_done();
                let walk = next.0.filter(|_| !done && !next_in_span(next.1));
                let Some(number) = walk else {
                    chain.search = Search::Peers;
                    return self.keep(now, id, headers, effects);
                };
                let walk = self.ids.take();
                chain.search = Search::Store(walk);
                let limit = chain.descent.remaining().min(FetchItems::MAX_HEADERS);
                self.keep(now, id, headers, effects);
                let top = BlockNumHash::new(number, next.1);
                let from = ActorName::Downloader;
                self.read(now, walk, StoreRequest::Walk { id: walk, from, top, limit }, effects);
            }
            Ok(_) => chain.search = Search::Peers,
            Err(reason) => self.fail(asked_by, reason, effects),
        }
    }

    /// Makes a span of headers that were proved, and writes both. If there is room in the queue, the
    /// store is asked meanwhile which of their bodies it has: the consensus client delivers some.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        chain: RequestId,
        headers: Vec<Arc<SealedHeader>>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return };
        let span = Span {
            top: BlockNumHash::of(first),
            bottom: BlockNumHash::of(last),
            bottom_parent: last.parent_hash,
        };
        let bytes: usize = headers.iter().map(|header| header.weight_bytes()).sum();
        self.progress.bytes = self.progress.bytes.saturating_add(bytes as u64);
        self.writer.headers(&headers, span);
        let has_room = self.may_open(span.len());
        let id = self.ids.take();
        let hashes: Vec<_> = headers.iter().map(|header| header.hash()).collect();
        let Some(chain) = self.chains.iter_mut().find(|other| other.id == chain) else { return };
        if !has_room && !chain.is_tip() {
            return chain.add_written(span, None);
        }
        chain.add_written(span, Some((id, headers)));
        let from = ActorName::Downloader;
        self.read(now, id, StoreRequest::Find { id, from, hashes }, effects);
    }

    /// Whether so many blocks more may be looked into. What does not fit at all is looked into when
    /// nothing else is.
    fn may_open(&self, blocks: u64) -> bool {
        let open: u64 = self.chains.iter().map(Chain::open_blocks).sum();
        open == 0 || open.saturating_add(blocks) <= self.budget.queue_items as u64
    }

    /// Looks into stored spans, as many as memory allows.
    pub(super) fn open_runs(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for at in 0..self.chains.len() {
            loop {
                let has_room = self.may_open(FetchItems::MAX_HEADERS);
                let Some(chain) = self.chains.get_mut(at).filter(|chain| chain.has_closed()) else {
                    break;
                };
                if !has_room && !chain.is_tip() {
                    return;
                }
                let id = self.ids.take();
                let Some((top, limit)) = chain.open_next(id) else { break };
                let from = ActorName::Downloader;
                self.read(now, id, StoreRequest::Walk { id, from, top, limit }, effects);
            }
        }
    }

    pub(super) fn write(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while let Some(request) = self.writer.next_batch(now, &mut self.ids) {
            effects.push(Effect::Store(request));
        }
    }
}

/// The body of a block that has nothing in it: nobody needs to be asked.
fn empty_body(header: &SealedHeader) -> Option<Arc<Body>> {
    let withdrawals = match header.withdrawals_root {
        None => None,
        Some(root) if root == EMPTY_WITHDRAWALS => Some(Vec::new()),
        Some(_) => return None,
    };
    let empty = header.transactions_root == EMPTY_TRANSACTIONS
        && header.ommers_hash == EMPTY_OMMER_ROOT_HASH;
    let body = Body { transactions: Vec::new(), ommers: Body::NO_OMMERS, withdrawals };
    empty.then(|| Arc::new(body))
}
