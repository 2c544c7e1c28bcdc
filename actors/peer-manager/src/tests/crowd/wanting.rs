//! A downloader as the core sees it: it wants the headers, bodies and receipts of a chain, from the
//! top down, with a window of requests out, and judges what comes.

use std::collections::BTreeSet;

use super::*;
use model::{Answer, Sizes};

// the downloader's own bounds, see docs/src/sync.md
const ANSWER_BYTES_AIM: u64 = 1_500_000;
const IN_FLIGHT_BYTES: u64 = 48 << 20;
const HEADER_FETCHES: usize = 32;
const PART_FETCHES: usize = 64;
const CHUNKS_MAX: usize = 48;
const AVOID_MAX: usize = 16;
pub(super) const ATTEMPTS_MAX: u32 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Retry {
    attempts: u32,
    avoid: Vec<PeerId>,
    not_before: Option<Instant>,
}

impl Retry {
    fn exclude(&mut self, peer: PeerId) {
        if !self.avoid.contains(&peer) {
            if self.avoid.len() >= AVOID_MAX {
                self.avoid.remove(0);
            }
            self.avoid.push(peer);
        }
    }

    fn again(&mut self, now: Instant, peer: Option<PeerId>, counts: bool) {
        self.attempts += u32::from(counts);
        if let Some(peer) = peer {
            self.exclude(peer);
        }
        let doublings = self.attempts.saturating_sub(1);
        let is_first = counts && doublings == 0;
        let wait_ms = if is_first { 0 } else { 100 * 2_u64.saturating_pow(doublings) };
        self.not_before = Some(now + ms(wait_ms.min(5_000)));
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ChunkState {
    Wanted,
    Asked(RequestId),
    Held { fetch: RequestId, peer: PeerId, is_of_other_branch: bool },
}

#[derive(Clone, Debug)]
struct Chunk {
    limit: u64,
    by_hash: bool,
    retry: Retry,
    state: ChunkState,
}

impl Chunk {
    fn new(limit: u64, by_hash: bool) -> Self {
        Self { limit, by_hash, retry: Retry::default(), state: ChunkState::Wanted }
    }
}

/// One kind of part of all blocks.
#[derive(Debug)]
struct Parts {
    bytes: u64,
    make: fn(Vec<BlockNumHash>) -> FetchItems,
    ready: VecDeque<u64>,
    waiting: BTreeSet<(Instant, u64)>,
    retries: Vec<Retry>,
    asked: BTreeMap<RequestId, Vec<u64>>,
    missing: u64,
}

impl Parts {
    fn new(blocks: u64, bytes: u64, make: fn(Vec<BlockNumHash>) -> FetchItems) -> Self {
        Self {
            bytes,
            make,
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            retries: vec![Retry::default(); blocks as usize + 1],
            asked: BTreeMap::new(),
            missing: blocks,
        }
    }

    fn retry(&mut self, height: u64) -> &mut Retry {
        &mut self.retries[height as usize]
    }

    fn in_flight_bytes(&self) -> u64 {
        self.asked.values().map(|heights| heights.len() as u64 * self.bytes).sum()
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, height)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, height));
            self.ready.push_front(height);
        }
    }

    /// Blocks with the same history, the oldest wish first.
    fn next(&mut self) -> Option<(Vec<u64>, Vec<PeerId>)> {
        let avoid = self.retries[*self.ready.front()? as usize].avoid.clone();
        let most = (ANSWER_BYTES_AIM / self.bytes).clamp(1, FetchItems::MAX_BODIES as u64);
        let mut heights = Vec::new();
        while (heights.len() as u64) < most
            && let Some(height) = self.ready.front().copied()
            && self.retries[height as usize].avoid == avoid
        {
            heights.push(height);
            self.ready.pop_front();
        }
        Some((heights, avoid))
    }

    fn put_back(&mut self, now: Instant, heights: &[u64], peer: Option<PeerId>, counts: bool) {
        for height in heights.iter().rev() {
            let retry = self.retry(*height);
            retry.again(now, peer, counts);
            match retry.not_before.filter(|at| *at > now) {
                Some(at) => drop(self.waiting.insert((at, *height))),
                None => self.ready.push_front(*height),
            }
        }
    }

    fn take(&mut self, now: Instant, id: RequestId, peer: PeerId, answer: &Answer) -> Conduct {
        let asked = self.asked.remove(&id).unwrap();
        if let Some(lie) = answer.lie {
            self.put_back(now, &asked, Some(peer), true);
            return lie;
        }
        let came: BTreeSet<u64> = answer.heights.iter().copied().collect();
        let Some(last) = asked.iter().rposition(|height| came.contains(height)) else {
            self.put_back(now, &asked, Some(peer), true);
            return Conduct::Lacked;
        };
        let (reached, cut) = asked.split_at(last + 1);
        self.missing -= came.len() as u64;
        for height in cut.iter().rev() {
            self.ready.push_front(*height);
        }
        let skipped: Vec<u64> = reached.iter().copied().filter(|it| !came.contains(it)).collect();
        self.put_back(now, &skipped, Some(peer), true);
        Conduct::Served
    }
}

/// Everything that is wanted.
#[derive(Debug)]
pub(super) struct Wanting {
    /// The highest block without a proved header.
    frontier: u64,
    chunks: BTreeMap<u64, Chunk>,
    kinds: [Parts; 2],
    headers_out: usize,
    next: RequestId,
}

impl Wanting {
    pub(super) fn new(blocks: u64, sizes: Sizes) -> Self {
        let bodies = Parts::new(blocks, sizes.body, |blocks| FetchItems::Bodies { blocks });
        let receipts = Parts::new(blocks, sizes.receipts, |blocks| FetchItems::Receipts { blocks });
        Self {
            frontier: blocks,
            chunks: BTreeMap::new(),
            kinds: [bodies, receipts],
            headers_out: 0,
            next: RequestId(1),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.frontier == 0 && self.kinds.iter().all(|parts| parts.missing == 0)
    }

    /// The most attempts that any block took.
    pub(super) fn attempts(&self) -> u32 {
        let retries = self.kinds.iter().flat_map(|parts| &parts.retries);
        retries.map(|retry| retry.attempts).max().unwrap_or(0)
    }

    /// When something that failed may be asked for again.
    pub(super) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let wanted = self.chunks.values().filter(|chunk| chunk.state == ChunkState::Wanted);
        let chunks = wanted.filter_map(|chunk| chunk.retry.not_before).filter(|at| *at > now);
        let parts = self.kinds.iter().filter_map(|parts| Some(parts.waiting.first()?.0));
        chunks.chain(parts).min()
    }

    /// What may be asked for now.
    pub(super) fn fetches(&mut self, now: Instant) -> Vec<FetchRequest> {
        let mut requests = Vec::new();
        self.plan();
        while self.headers_out < HEADER_FETCHES
            && let Some((items, avoid)) = self.next_chunk(now)
        {
            self.headers_out += 1;
            requests.push(self.request(items, avoid));
        }
        for parts in &mut self.kinds {
            parts.wake(now);
        }
        loop {
            let bytes = self.kinds.each_ref().map(Parts::in_flight_bytes);
            let order = if bytes[1] < bytes[0] { [1, 0] } else { [0, 1] };
            let has_room = bytes[0] + bytes[1] < IN_FLIGHT_BYTES;
            let id = self.next;
            let asked = order.into_iter().find_map(|kind| {
                let parts = &mut self.kinds[kind];
                if !has_room || parts.asked.len() >= PART_FETCHES {
                    return None;
                }
                let (heights, avoid) = parts.next()?;
                let blocks = heights.iter().map(|it| BlockNumHash::new(*it, B256::ZERO)).collect();
                parts.asked.insert(id, heights);
                Some(((parts.make)(blocks), avoid))
            });
            let Some((items, avoid)) = asked else { return requests };
            requests.push(self.request(items, avoid));
        }
    }

    fn request(&mut self, items: FetchItems, avoid: Vec<PeerId>) -> FetchRequest {
        let (id, priority) = (self.next.take(), Priority::History);
        FetchRequest { id, items, priority, avoid, budget_ms: 30_000 }
    }

    fn plan(&mut self) {
        if self.frontier > 0 && !self.chunks.contains_key(&self.frontier) {
            let limit = self.frontier.min(FetchItems::MAX_HEADERS);
            self.chunks.insert(self.frontier, Chunk::new(limit, true));
        }
        let lowest = self.chunks.first_key_value();
        let mut next = lowest.map_or(0, |(top, chunk)| top - chunk.limit);
        while next > 0 && self.chunks.len() < CHUNKS_MAX {
            let limit = next.min(FetchItems::MAX_HEADERS);
            self.chunks.insert(next, Chunk::new(limit, false));
            next -= limit;
        }
    }

    fn next_chunk(&mut self, now: Instant) -> Option<(FetchItems, Vec<PeerId>)> {
        let id = self.next;
        let is_ready = |chunk: &Chunk| {
            chunk.state == ChunkState::Wanted && chunk.retry.not_before.is_none_or(|at| at <= now)
        };
        let (top, chunk) = self.chunks.iter_mut().rev().find(|(_, chunk)| is_ready(chunk))?;
        chunk.state = ChunkState::Asked(id);
        let top =
            if chunk.by_hash { HashOrNumber::Hash(B256::ZERO) } else { HashOrNumber::Number(*top) };
        Some((FetchItems::Headers { top, limit: chunk.limit }, chunk.retry.avoid.clone()))
    }

    fn asked_chunk(&mut self, id: RequestId) -> Option<(u64, &mut Chunk)> {
        let mut chunks = self.chunks.iter_mut();
        let found = chunks.find(|(_, chunk)| chunk.state == ChunkState::Asked(id));
        found.map(|(top, chunk)| (*top, chunk))
    }

    /// Nothing came.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        id: RequestId,
        peer: Option<PeerId>,
        error: FetchError,
    ) {
        let counts = error == FetchError::TimedOut;
        for parts in &mut self.kinds {
            if let Some(asked) = parts.asked.remove(&id) {
                return parts.put_back(now, &asked, peer, counts);
            }
        }
        let frontier = self.frontier;
        if let Some((top, chunk)) = self.asked_chunk(id) {
            chunk.state = ChunkState::Wanted;
            chunk.retry.again(now, peer, counts);
            chunk.by_hash |= top == frontier;
            self.headers_out -= 1;
        }
    }

    /// An answer came. Says what is to be reported, now that it is known.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        id: RequestId,
        peer: PeerId,
        answer: &Answer,
    ) -> Vec<PeerReport> {
        let report = |conduct| PeerReport { peer, request: id, conduct };
        let kind = self.kinds.iter().position(|parts| parts.asked.contains_key(&id));
        if let Some(kind) = kind {
            return vec![report(self.kinds[kind].take(now, id, peer, answer))];
        }
        let Some((top, chunk)) = self.asked_chunk(id) else { return Vec::new() };
        let mut reports = Vec::new();
        let came = answer.count as u64;
        if let Some(lie) = answer.lie {
            chunk.state = ChunkState::Wanted;
            chunk.retry.exclude(peer);
            reports.push(report(lie));
        } else if came == 0 {
            chunk.state = ChunkState::Wanted;
            chunk.retry.again(now, Some(peer), true);
            reports.push(report(Conduct::Lacked));
        } else {
            let is_of_other_branch = answer.is_of_other_branch;
            let rest = chunk.limit - came;
            chunk.limit = came;
            chunk.state = ChunkState::Held { fetch: id, peer, is_of_other_branch };
            if rest > 0 {
                self.chunks.insert(top - came, Chunk::new(rest, false));
            }
        }
        self.headers_out -= 1;
        self.advance(&mut reports);
        reports
    }

    /// Proves what is held, as far as it goes down from the frontier.
    fn advance(&mut self, reports: &mut Vec<PeerReport>) {
        while let Some(chunk) = self.chunks.get_mut(&self.frontier)
            && let ChunkState::Held { fetch, peer, is_of_other_branch } = chunk.state
        {
            if is_of_other_branch {
                chunk.state = ChunkState::Wanted;
                chunk.by_hash = true;
                chunk.retry.exclude(peer);
                reports.push(PeerReport { peer, request: fetch, conduct: Conduct::OtherBranch });
                return;
            }
            let bottom = self.frontier - chunk.limit;
            for parts in &mut self.kinds {
                parts.ready.extend((bottom + 1..=self.frontier).rev());
            }
            self.chunks.remove(&self.frontier);
            self.frontier = bottom;
            reports.push(PeerReport { peer, request: fetch, conduct: Conduct::Served });
        }
    }
}
