//! Going down from a trusted hash: headers asked of many peers at once, used only once linked.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Instant};

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, Breach, Conduct, DownloadFailure, FetchItems, HashOrNumber, PeerId, RequestId,
    SealedHeader, Span,
};
use moorline_rules::MAX_EXTRA_DATA_BYTES;

use super::{
    chain::Claims,
    chunk::{Chunk, ChunkState, bytes_of, linked_prefix},
    retry::Retry,
    spans::Spans,
};

/// The key of the chunk whose height is not known before its first header is here.
const HEIGHT_UNKNOWN: u64 = u64::MAX;

/// Where the proved part ends: the next block below it.
#[derive(Clone, Copy, Debug)]
struct Frontier {
    hash: B256,
    /// Known as soon as one header is proved.
    number: Option<u64>,
    /// The block above it, which names its hash and implies its height.
    child: Option<BlockNumHash>,
}

/// A part of the chain that just became proved.
#[derive(Debug)]
pub(super) enum Step {
    /// Headers that a peer sent, descending.
    Linked(Vec<Arc<SealedHeader>>),
    /// A span that lies in the store.
    Adopted(Span),
}

/// What a peer is to be told about itself after its headers met the proved part.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) peer: PeerId,
    pub(super) fetch: RequestId,
    pub(super) conduct: Conduct,
}

/// The header phase of one download.
#[derive(Debug)]
pub(super) struct Descent {
    count: u64,
    frontier: Frontier,
    /// The lowest height wanted; known with the head's height.
    floor: Option<u64>,
    /// By the height of the chunk's highest block.
    chunks: BTreeMap<u64, Chunk>,
    held_bytes: usize,
    /// Fetches whose answers would bring what is proved already.
    superseded: Vec<RequestId>,
}

impl Descent {
    pub(super) const fn new(head: B256, count: u64) -> Self {
        let frontier = Frontier { hash: head, number: None, child: None };
        Self {
            count,
            frontier,
            floor: None,
            chunks: BTreeMap::new(),
            held_bytes: 0,
            superseded: Vec::new(),
        }
    }

    /// Whether every header down to the floor is proved.
    pub(super) fn is_done(&self) -> bool {
        matches!((self.frontier.number, self.floor), (Some(number), Some(floor)) if number < floor)
    }

    /// The lowest height wanted, once the head's height is known.
    pub(super) const fn floor(&self) -> Option<u64> {
        self.floor
    }

    /// The next block to prove.
    pub(super) const fn next(&self) -> (Option<u64>, B256) {
        (self.frontier.number, self.frontier.hash)
    }

    /// How many headers are still to be proved.
    pub(super) fn remaining(&self) -> u64 {
        match (self.frontier.number, self.floor) {
            (Some(number), Some(floor)) => number.saturating_add(1).saturating_sub(floor),
            _ => self.count,
        }
    }

    /// Plans chunks below the frontier. `covered` are heights that a stored span probably covers:
    /// asking for them by number would fetch again what is there. What others claim is waited for.
    pub(super) fn plan(
        &mut self,
        covered: impl Fn(u64) -> Option<u64>,
        claims: &Claims,
        chunks_max: usize,
    ) {
        if claims.hold(&self.frontier.hash, self.frontier.number) {
            return;
        }
        let Some((number, floor)) = self.frontier.number.zip(self.floor) else {
            // how far down it may go without running into others is known with the first header
            let most = if claims.is_empty() { FetchItems::MAX_HEADERS } else { 1 };
            let limit = self.count.min(most);
            self.chunks.entry(HEIGHT_UNKNOWN).or_insert_with(|| Chunk::new(limit, true));
            return;
        };
        if number < floor {
            return;
        }
        let covered = covered(number).max(claims.highest_below(number));
        let stop = covered.map_or(floor, |top| top.saturating_add(1).max(floor));
        if !self.chunks.contains_key(&number) {
            let limit = self.room_below(number, stop);
            // the frontier's own hash is known, so its chunk can be proved on arrival
            self.chunks.insert(number, Chunk::new(limit, true));
        }
        let mut next = self.lowest_planned();
        while next >= stop && self.chunks.len() < chunks_max {
            let limit = next.saturating_sub(stop).saturating_add(1).min(FetchItems::MAX_HEADERS);
            self.chunks.insert(next, Chunk::new(limit, false));
            let Some(below) = next.checked_sub(limit) else { break };
            next = below;
        }
    }

    /// The height below the lowest chunk.
    fn lowest_planned(&self) -> u64 {
        let lowest = self.chunks.first_key_value();
        lowest.map_or(0, |(top, chunk)| top.saturating_sub(chunk.limit))
    }

    /// How long a chunk that starts at `top` may be without running into the one below it.
    fn room_below(&self, top: u64, floor: u64) -> u64 {
        let below = self.chunks.range(..top).next_back();
        let bottom = below.map_or(floor, |(next, _)| next.saturating_add(1));
        top.saturating_sub(bottom).saturating_add(1).min(FetchItems::MAX_HEADERS)
    }

    /// The next chunk to ask for, highest first.
    pub(super) fn next_fetch(&mut self, now: Instant, fetch: RequestId) -> Option<Ask> {
        let frontier = self.frontier;
        let ready =
            |chunk: &Chunk| matches!(chunk.state, ChunkState::Wanted) && chunk.retry.is_due(now);
        let (top, chunk) = self.chunks.iter_mut().rev().find(|(_, chunk)| ready(chunk))?;
        let top = if chunk.by_hash {
            HashOrNumber::Hash(frontier.hash)
        } else {
            HashOrNumber::Number(*top)
        };
        chunk.state = ChunkState::Asked(fetch);
        let items = FetchItems::Headers { top, limit: chunk.limit };
        Some(Ask { items, avoid: chunk.retry.avoid() })
    }

    /// Whether what comes next is neither here nor asked for, and may be asked for now.
    pub(super) fn lacks_next(&self, now: Instant) -> bool {
        let top = self.frontier.number.unwrap_or(HEIGHT_UNKNOWN);
        let is_ready =
            |chunk: &Chunk| matches!(chunk.state, ChunkState::Wanted) && chunk.retry.is_due(now);
        !self.is_done() && self.chunks.get(&top).is_none_or(is_ready)
    }

    /// Bytes of headers that wait to be linked.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Drops the held chunk that is farthest from the proved part; it will be asked for again. Returns
    /// how many headers that were.
    pub(super) fn evict(&mut self) -> Option<u64> {
        let held = |chunk: &Chunk| matches!(chunk.state, ChunkState::Held { .. });
        let chunk = self.chunks.values_mut().find(|chunk| held(chunk))?;
        let state = std::mem::replace(&mut chunk.state, ChunkState::Wanted);
        let ChunkState::Held { headers, .. } = state else { return None };
        self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&headers));
        Some(headers.len() as u64)
    }

    /// Fetches whose answers nobody needs any more.
    pub(super) fn take_superseded(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.superseded)
    }

    /// When a chunk that failed may be asked for again. One that is due already waits for a free slot,
    /// which no clock brings.
    pub(super) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let wanted = self.chunks.values().filter(|chunk| matches!(chunk.state, ChunkState::Wanted));
        wanted.filter_map(|chunk| chunk.retry.due_at()).filter(|at| *at > now).min()
    }

    /// A fetch brought nothing. Returns the failure once everybody was asked often enough.
    pub(super) fn on_failed(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: Option<PeerId>,
        counts: bool,
    ) -> ControlFlow<DownloadFailure> {
        let frontier = self.frontier;
        let Some((top, chunk)) = self.asked_as(fetch) else { return ControlFlow::Continue(()) };
        chunk.state = ChunkState::Wanted;
        chunk.retry.again(now, peer, counts);
        let at_frontier = frontier.number.is_none_or(|number| number == top);
        if at_frontier && !chunk.by_hash {
            // by hash, whoever has our branch can answer, whatever branch it calls canonical
            chunk.by_hash = true;
            chunk.retry = Retry::default();
            return ControlFlow::Continue(());
        }
        if at_frontier && chunk.retry.is_exhausted() {
            let attempts = chunk.retry.attempts();
            return ControlFlow::Break(DownloadFailure::Unobtainable {
                hash: frontier.hash,
                attempts,
            });
        }
        ControlFlow::Continue(())
    }

    /// Forgets that anything was asked for: the peer manager lost it. Costs no attempt.
    pub(super) fn forget_asked(&mut self) {
        for chunk in self.chunks.values_mut() {
            if matches!(chunk.state, ChunkState::Asked(_)) {
                chunk.state = ChunkState::Wanted;
            }
        }
    }

    /// Takes an answer in, and says at once what can be said of it without the proved part.
    pub(super) fn on_headers(
        &mut self,
        fetch: RequestId,
        peer: PeerId,
        mut headers: Vec<Arc<SealedHeader>>,
    ) -> Option<Conduct> {
        let frontier = self.frontier;
        let (top, chunk) = self.asked_as(fetch)?;
        let fits = headers.first().is_some_and(|first| {
            if chunk.by_hash { first.hash() == frontier.hash } else { first.number == top }
        });
        // only what is proved may be larger than any header of a live chain
        let lean = |header: &Arc<SealedHeader>| header.extra_data.len() <= MAX_EXTRA_DATA_BYTES;
        if !chunk.by_hash && !headers.iter().all(lean) {
            chunk.state = ChunkState::Wanted;
            chunk.retry.exclude(peer);
            return Some(Conduct::OtherBranch);
        }
        let linked = linked_prefix(&headers);
        let conduct = if headers.len() as u64 > chunk.limit {
            Some(Conduct::TooMany)
        } else if !fits {
            Some(Conduct::WrongAnchor)
        } else if linked < headers.len() {
            Some(Conduct::BrokenLink)
        } else {
            None
        };
        if !fits || conduct == Some(Conduct::TooMany) {
            chunk.state = ChunkState::Wanted;
            chunk.retry.exclude(peer);
            return conduct;
        }
        headers.truncate(linked);
        let limit = chunk.limit;
        let arrived = headers.len() as u64;
        let bytes = bytes_of(&headers);
        chunk.limit = arrived;
        chunk.state = ChunkState::Held { peer, fetch, headers, is_judged: conduct.is_some() };
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if arrived < limit && top != HEIGHT_UNKNOWN {
            self.keep_asking_below(top, arrived, limit, peer, conduct.is_some());
        }
        conduct
    }

    /// Plans the part of a chunk that a partial answer left out.
    fn keep_asking_below(&mut self, top: u64, arrived: u64, limit: u64, peer: PeerId, bad: bool) {
        let mut rest = Chunk::new(limit.saturating_sub(arrived), false);
        if bad {
            rest.retry.exclude(peer);
        }
        if let Some(below) = top.checked_sub(arrived) {
            self.chunks.insert(below, rest);
        }
    }

    fn asked_as(&mut self, fetch: RequestId) -> Option<(u64, &mut Chunk)> {
        self.chunks
            .iter_mut()
            .find(|(_, chunk)| matches!(chunk.state, ChunkState::Asked(id) if id == fetch))
            .map(|(top, chunk)| (*top, chunk))
    }

    /// Moves the frontier down by one part, if the next part is here.
    ///
    /// # Errors
    /// The chain under the trusted head is not what was asked for, or breaks a rule.
    pub(super) fn advance(
        &mut self,
        spans: &Spans,
        judgements: &mut Vec<Judgement>,
    ) -> Result<Option<Step>, DownloadFailure> {
        if self.is_done() {
            return Ok(None);
        }
        if let Some(span) = spans.get(&self.frontier.hash) {
            let span = *span;
            self.enter(span.top)?;
            self.leave(span.bottom, span.bottom_parent)?;
            return Ok(Some(Step::Adopted(span)));
        }
        let Some(headers) = self.take_held(judgements) else { return Ok(None) };
        self.link(headers).map(Some)
    }

    /// Takes headers that the store already had, descending from the frontier.
    pub(super) fn link_stored(
        &mut self,
        headers: Vec<Arc<SealedHeader>>,
    ) -> Result<Option<Step>, DownloadFailure> {
        let fits = headers.first().is_some_and(|first| first.hash() == self.frontier.hash);
        if !fits || linked_prefix(&headers) < headers.len() {
            return Ok(None);
        }
        self.link(headers).map(Some)
    }

    /// The headers of the frontier's chunk, if they lead on from the proved part.
    fn take_held(&mut self, judgements: &mut Vec<Judgement>) -> Option<Vec<Arc<SealedHeader>>> {
        let top = self.frontier.number.unwrap_or(HEIGHT_UNKNOWN);
        let chunk = self.chunks.get_mut(&top)?;
        if !matches!(chunk.state, ChunkState::Held { .. }) {
            return None;
        }
        let held = std::mem::replace(&mut chunk.state, ChunkState::Wanted);
        let ChunkState::Held { peer, fetch, headers, is_judged } = held else { return None };
        self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&headers));
        let leads_on = headers.first().is_some_and(|first| first.hash() == self.frontier.hash);
        let conduct = if leads_on { Conduct::Served } else { Conduct::OtherBranch };
        if !is_judged {
            judgements.push(Judgement { peer, fetch, conduct });
        }
        if leads_on {
            self.chunks.remove(&top);
            return Some(headers);
        }
        self.ask_by_hash(top, peer);
        None
    }

    /// Whoever follows our branch can be told by hash. What was split off an answer from another
    /// branch goes along, else one peer could make the chunk as small as it likes.
    fn ask_by_hash(&mut self, top: u64, not: PeerId) {
        let floor = self.floor.unwrap_or(0);
        let lowest = top.saturating_add(1).saturating_sub(FetchItems::MAX_HEADERS).max(floor);
        let below = self.chunks.split_off(&top.saturating_add(1));
        let inside = self.chunks.split_off(&lowest);
        self.chunks.extend(below);
        self.drop_chunks(inside);
        let mut chunk = Chunk::new(self.room_below(top, floor), true);
        chunk.retry.exclude(not);
        self.chunks.insert(top, chunk);
    }

    fn drop_chunks(&mut self, chunks: BTreeMap<u64, Chunk>) {
        for chunk in chunks.into_values() {
            match chunk.state {
                ChunkState::Wanted => {}
                ChunkState::Asked(fetch) => self.superseded.push(fetch),
                ChunkState::Held { headers, .. } => {
                    self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&headers));
                }
            }
        }
    }

    fn link(&mut self, mut headers: Vec<Arc<SealedHeader>>) -> Result<Step, DownloadFailure> {
        if let Some(first) = headers.first() {
            self.enter(BlockNumHash::of(first))?;
        }
        let mut above: Option<BlockNumHash> = None;
        for header in &headers {
            let block = BlockNumHash::of(header);
            if let Some(child) =
                above.filter(|child| Some(block.number) != child.number.checked_sub(1))
            {
                let breach = Breach::Number { found: child.number, parent: block.number };
                return Err(DownloadFailure::Invalid { block: child, breach });
            }
            above = Some(block);
        }
        let floor = self.floor.unwrap_or(0);
        headers.retain(|header| header.number >= floor);
        if let Some(last) = headers.last() {
            let (bottom, parent) = (BlockNumHash::of(last), last.parent_hash);
            self.leave(bottom, parent)?;
        }
        Ok(Step::Linked(headers))
    }

    /// Checks the height of the next proved block; the first one's sets the floor.
    fn enter(&mut self, block: BlockNumHash) -> Result<(), DownloadFailure> {
        match self.frontier.number {
            Some(expected) if expected != block.number => {
                let breach =
                    Breach::Number { found: expected.saturating_add(1), parent: block.number };
                // the block below is what its hash says; it is the one above that lies about it
                let liar = self.frontier.child.unwrap_or(block);
                return Err(DownloadFailure::Invalid { block: liar, breach });
            }
            Some(_) => {}
            None => {
                self.floor = Some(block.number.saturating_add(1).saturating_sub(self.count).max(1));
            }
        }
        if block.number == 0 {
            return Err(DownloadFailure::TooShort { block, missing: self.remaining() });
        }
        Ok(())
    }

    /// Puts the frontier below a proved part, and drops chunks that lie inside it.
    fn leave(&mut self, bottom: BlockNumHash, parent: B256) -> Result<(), DownloadFailure> {
        let Some(number) = bottom.number.checked_sub(1) else {
            return Err(DownloadFailure::TooShort { block: bottom, missing: self.remaining() });
        };
        self.frontier = Frontier { hash: parent, number: Some(number), child: Some(bottom) };
        let floor = self.floor.unwrap_or(0);
        let first = if number < floor { 0 } else { number.saturating_add(1) };
        let mut passed = self.chunks.split_off(&first);
        if let Some((top, mut chunk)) = passed.pop_first() {
            if self.trim(number, top, &mut chunk) {
                self.chunks.insert(number, chunk);
            } else {
                passed.insert(top, chunk);
            }
        }
        self.drop_chunks(passed);
        Ok(())
    }

    /// Leaves of a held chunk what lies at a height and below, if anything does.
    fn trim(&mut self, number: u64, top: u64, chunk: &mut Chunk) -> bool {
        let proved = usize::try_from(top.saturating_sub(number)).unwrap_or(usize::MAX);
        let ChunkState::Held { headers, .. } = &mut chunk.state else { return false };
        if proved >= headers.len() {
            return false;
        }
        let gone: Vec<_> = headers.drain(..proved).collect();
        chunk.limit = headers.len() as u64;
        self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&gone));
        true
    }
}

/// A header request that is ready to go.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) items: FetchItems,
    pub(super) avoid: Vec<PeerId>,
}
