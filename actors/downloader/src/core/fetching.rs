//! What is asked of peers, within the budget, and taken back when nobody wants it any more.

use std::time::{Duration, Instant};

use moorline_messages::{
    ActorName, BlockNumHash, FetchCommand, FetchItems, FetchRequest, Priority, RequestId,
    SealedHeader, StoreRequest,
};

use super::{
    DownloaderCore, Effect,
    chain::{Chain, Claims, Search},
    descent::Ask,
    part::{Part, PartKind},
    parts::Parts,
    writer::later,
};

/// Fetches of each kind beyond the budget for downloads that follow the head of the chain.
const TIP_FETCHES: usize = 4;

/// Bytes in flight, and bytes held, beyond the budget for the same.
const TIP_BYTES: usize = 8 << 20;

/// Time a fetch may take, the wait for a free peer included.
const FETCH_BUDGET: Duration = Duration::from_secs(30);

/// Grace after a fetch's budget before it counts as lost on the way.
const FETCH_GRACE: Duration = Duration::from_secs(5);

/// Chunks of headers that may be asked for or held at once, of up to 512 each. How many bytes they may
/// hold is the budget's business.
const CHUNKS_MAX: usize = 48;

/// Chunks that come one by one after a start over an unfinished download.
const CHUNKS_ONE_BY_ONE: usize = 3;

/// What a header takes in memory; extra data aside, they are all alike.
const HEADER_BYTES: usize = size_of::<SealedHeader>();

/// What one answer to a request for headers takes.
const CHUNK_BYTES: usize = (FetchItems::MAX_HEADERS as usize).saturating_mul(HEADER_BYTES);

/// What a fetch is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Headers {
        chain: RequestId,
        /// What the answer will probably bring.
        bytes: usize,
    },
    Part(PartKind),
}

/// A fetch whose outcome is owed.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) purpose: Purpose,
    pub(super) lost_at: Instant,
}

/// A bound, and what is on top of it for downloads that follow the head of the chain.
const fn bound(budget: usize, tip: usize, goes_first: bool) -> usize {
    if goes_first { budget.saturating_add(tip) } else { budget }
}

const fn priority(goes_first: bool) -> Priority {
    if goes_first { Priority::Tip } else { Priority::History }
}

impl DownloaderCore {
    /// Sends out what may go, tip first.
    pub(super) fn fetch(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.take_back_superseded(effects);
        let parts_out = self.bodies.asked_fetches().saturating_add(self.receipts.asked_fetches());
        let mut headers_out = self.out.len().saturating_sub(parts_out);
        for at in 0..self.chains.len() {
            let goes_first = self.chains.get(at).is_some_and(Chain::is_tip);
            let slots = bound(self.budget.header_fetches, TIP_FETCHES, goes_first);
            if headers_out >= slots || self.search_span(now, at, effects) {
                continue;
            }
            let claims = self.claims_before(at);
            if !self.may_ask(at, &claims) {
                continue;
            }
            while headers_out < slots && self.has_room_for_headers(now, at) {
                let next = self.next_header_fetch(now, at, &claims);
                let Some((ask, purpose, priority)) = next else { break };
                headers_out = headers_out.saturating_add(1);
                self.send(now, ask, purpose, priority, effects);
            }
        }
        self.bodies.wake(now);
        self.receipts.wake(now);
        // the kind of which less is under way goes first, so that blocks become whole from one end
        loop {
            let receipts_first = self.receipts.expected_bytes() < self.bodies.expected_bytes();
            let kinds = if receipts_first {
                [PartKind::Receipts, PartKind::Body]
            } else {
                [PartKind::Body, PartKind::Receipts]
            };
            let asked = kinds.into_iter().any(|kind| match kind {
                PartKind::Body => self.fetch_part(now, |core| &mut core.bodies, effects),
                PartKind::Receipts => self.fetch_part(now, |core| &mut core.receipts, effects),
            });
            if !asked {
                return;
            }
        }
    }

    /// Asks for the next parts of a kind, if there is room; says whether it did.
    fn fetch_part<P: Part>(
        &mut self,
        now: Instant,
        of: impl Fn(&mut Self) -> &mut Parts<P>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(urgent) = of(self).next_is_urgent() else { return false };
        let slots = bound(self.budget.body_fetches, TIP_FETCHES, urgent);
        if of(self).asked_fetches() >= slots || !self.has_room_for_parts(urgent) {
            return false;
        }
        let room = self.flight_room(urgent).saturating_sub(self.in_flight_bytes());
        let next = self.ids;
        let Some((ask, urgent)) = of(self).next_fetch(next, room) else { return false };
        self.send(now, ask, Purpose::Part(P::KIND), priority(urgent), effects);
        true
    }

    /// Where what comes next may lie inside a stored span, the store is searched before peers are asked.
    fn search_span(&mut self, now: Instant, at: usize, effects: &mut Vec<Effect>) -> bool {
        let Some(chain) = self.chains.get_mut(at) else { return false };
        let (Some(number), hash) = chain.descent.next() else { return false };
        let is_new = chain.searched_for != hash && matches!(chain.search, Search::Peers);
        if !is_new || chain.descent.is_done() || !self.spans.pass(number) {
            return false;
        }
        let id = self.ids.take();
        chain.searched_for = hash;
        chain.search = Search::Store(id);
        let limit = chain.descent.remaining().min(FetchItems::MAX_HEADERS);
        let (from, top) = (ActorName::Downloader, BlockNumHash::new(number, hash));
        self.read(now, id, StoreRequest::Walk { id, from, top, limit }, effects);
        true
    }

    /// Whether a download is past its search in the store, and not waiting for an earlier one.
    fn may_ask(&self, at: usize, claims: &Claims) -> bool {
        self.chains.get(at).is_some_and(|chain| {
            let (number, hash) = chain.descent.next();
            matches!(chain.search, Search::Peers) && !claims.hold(&hash, number)
        })
    }

    fn next_header_fetch(
        &mut self,
        now: Instant,
        at: usize,
        claims: &Claims,
    ) -> Option<(Ask, Purpose, Priority)> {
        let (spans, chunks_max) = (&self.spans, self.chunks_max());
        let chain = self.chains.get_mut(at)?;
        chain.descent.plan(|frontier| spans.highest_below(frontier), claims, chunks_max);
        let ask = chain.descent.next_fetch(now, self.ids)?;
        let bytes = match &ask.items {
            FetchItems::Headers { limit, .. } => {
                usize::try_from(*limit).unwrap_or(usize::MAX).saturating_mul(HEADER_BYTES)
            }
            FetchItems::Bodies { .. } | FetchItems::Receipts { .. } => 0,
        };
        let purpose = Purpose::Headers { chain: chain.id, bytes };
        Some((ask, purpose, priority(chain.is_tip())))
    }

    /// Chunks of headers that may be under way at once. What does not link yet is lost with the process, so
    /// one that goes on where another ended begins with those that can be proved on arrival.
    fn chunks_max(&self) -> usize {
        let linked = self.linked_since_resumed;
        linked.map_or(CHUNKS_MAX, |linked| {
            linked.saturating_sub(CHUNKS_ONE_BY_ONE).clamp(1, CHUNKS_MAX)
        })
    }

    /// What downloads that began earlier are proving: nothing of it is asked for a second time.
    fn claims_before(&self, at: usize) -> Claims {
        let mut claims = Claims::default();
        if let Some(chain) = self.chains.get(at) {
            let earlier = self.chains.iter().filter(|other| other.id < chain.id);
            earlier.for_each(|other| other.claim(&mut claims));
        }
        claims
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

    /// Bytes that the answers under way will probably bring.
    pub(super) fn in_flight_bytes(&self) -> usize {
        self.header_bytes_out()
            .saturating_add(self.bodies.expected_bytes())
            .saturating_add(self.receipts.expected_bytes())
    }

    fn header_bytes_out(&self) -> usize {
        let bytes = self.out.values().map(|out| match out.purpose {
            Purpose::Headers { bytes, .. } => bytes,
            Purpose::Part(_) => 0,
        });
        bytes.sum()
    }

    /// Bytes on their way from peers to the disk.
    pub(super) fn buffered_bytes(&self) -> usize {
        let held: usize = self.chains.iter().map(|chain| chain.descent.held_bytes()).sum();
        held.saturating_add(self.writer.buffered_bytes())
    }

    const fn flight_room(&self, goes_first: bool) -> usize {
        bound(self.budget.in_flight_bytes, TIP_BYTES, goes_first)
    }

    fn may_fly(&self, goes_first: bool) -> bool {
        self.in_flight_bytes() < self.flight_room(goes_first)
    }

    const fn buffer_room(&self, goes_first: bool) -> usize {
        bound(self.budget.buffer_bytes, TIP_BYTES, goes_first)
    }

    /// A slow disk slows intake: nothing more is fetched while too much waits to be written.
    fn has_room_for_parts(&self, urgent: bool) -> bool {
        self.may_fly(urgent) && self.buffered_bytes() < self.buffer_room(urgent)
    }

    /// Headers may have to wait for others before they can be written, so room is kept for all that
    /// are under way. What comes next is let in at the cost of what is farthest from it, else nothing
    /// could ever move.
    fn has_room_for_headers(&mut self, now: Instant, at: usize) -> bool {
        let Some(chain) = self.chains.get(at) else { return false };
        let (goes_first, lacks_next) = (chain.is_tip(), chain.descent.lacks_next(now));
        if !self.may_fly(goes_first) {
            return false;
        }
        let room = self.buffer_room(goes_first);
        if self.buffered_bytes().saturating_add(self.header_bytes_out()) < room {
            return true;
        }
        // no eviction hurries a slow disk
        if !lacks_next || self.writer.buffered_bytes() >= room {
            return false;
        }
        while self.buffered_bytes().saturating_add(CHUNK_BYTES) > room {
            // the longest download reaches farthest down
            let evicted = self.chains.iter_mut().rev().find_map(|chain| chain.descent.evict());
            let Some(headers) = evicted else { break };
            self.progress.evicted = self.progress.evicted.saturating_add(headers);
        }
        true
    }

    /// Takes back header fetches that other headers made needless.
    fn take_back_superseded(&mut self, effects: &mut Vec<Effect>) {
        let mut ids = Vec::new();
        for chain in &mut self.chains {
            ids.extend(chain.descent.take_superseded());
        }
        self.take_back(ids, effects);
    }

    /// Takes back every fetch that no download needs any more: the queued and the sent.
    pub(super) fn take_back_needless(&mut self, effects: &mut Vec<Effect>) {
        let chains = &self.chains;
        let misses =
            |block: &BlockNumHash, kind| chains.iter().any(|chain| chain.misses(*block, kind));
        self.bodies.retain(|block| misses(block, PartKind::Body));
        self.receipts.retain(|block| misses(block, PartKind::Receipts));
        let mut ids = self.bodies.forget_needless();
        ids.extend(self.receipts.forget_needless());
        ids.extend(self.orphaned_header_fetches());
        self.take_back(ids, effects);
    }

    /// Takes back the header fetches of downloads that are gone.
    pub(super) fn take_back_orphaned(&mut self, effects: &mut Vec<Effect>) {
        let ids = self.orphaned_header_fetches();
        self.take_back(ids, effects);
    }

    fn orphaned_header_fetches(&self) -> Vec<RequestId> {
        let orphaned = |(id, out): (&RequestId, &Out)| match out.purpose {
            Purpose::Headers { chain, .. } => {
                (!self.chains.iter().any(|other| other.id == chain)).then_some(*id)
            }
            Purpose::Part(_) => None,
        };
        self.out.iter().filter_map(orphaned).collect()
    }

    fn take_back(&mut self, mut ids: Vec<RequestId>, effects: &mut Vec<Effect>) {
        ids.retain(|id| self.out.remove(id).is_some());
        if !ids.is_empty() {
            effects.push(Effect::Command(FetchCommand::Cancel { ids }));
        }
    }
}
