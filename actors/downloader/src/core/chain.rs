//! One download: a run of blocks under a trusted hash, from the first header asked for to the last
//! block delivered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
};

use alloy_primitives::B256;
use moorline_messages::{BlockNumHash, FoundBlock, RequestId, SealedHeader, Span};

use moorline_rules::receipts::has_no_receipts;

use super::{descent::Descent, part::PartKind};

/// Downloads up to this length follow the head of the chain.
const TIP_BLOCKS_MAX: u64 = 32;

/// Whole spans at the bottom of a download whose headers stay in memory until they are delivered.
const KEPT_FOR_DELIVERY_MAX: usize = 4;

/// What is known of the blocks of one span.
#[derive(Debug)]
enum Blocks {
    /// Nobody looked which bodies and receipts are in the store.
    Closed,
    /// The store is asked which it has, and for the headers if they are not here.
    Opening(Option<Vec<Arc<SealedHeader>>>),
    /// These are missing.
    Open { headers: Vec<Arc<SealedHeader>>, missing: BTreeSet<(BlockNumHash, PartKind)> },
    /// All is on disk. The headers are kept at hand if they are about to be delivered.
    Complete(Option<Vec<Arc<SealedHeader>>>),
    /// The store is asked for the headers, to deliver them.
    Reading,
}

/// A block of which something is not in the store.
#[derive(Debug)]
pub(super) struct Lacking {
    pub(super) header: Arc<SealedHeader>,
    pub(super) body: bool,
    pub(super) receipts: bool,
}

impl Lacking {
    fn parts(&self) -> impl Iterator<Item = (BlockNumHash, PartKind)> {
        let block = BlockNumHash::of(&self.header);
        let parts = [(self.body, PartKind::Body), (self.receipts, PartKind::Receipts)];
        parts.into_iter().filter_map(move |(lacks, kind)| lacks.then_some((block, kind)))
    }
}

/// A span as this download sees it.
#[derive(Debug)]
struct Run {
    span: Span,
    /// The lowest block of it that is wanted.
    lowest: u64,
    /// Its headers are on disk.
    is_written: bool,
    blocks: Blocks,
}

impl Run {
    /// How many blocks of it are wanted.
    const fn len(&self) -> u64 {
        self.span.top.number.saturating_add(1).saturating_sub(self.lowest)
    }
}

/// What earlier downloads are proving: it is adopted when it is there, and not asked for again.
#[derive(Debug, Default)]
pub(super) struct Claims {
    hashes: BTreeSet<B256>,
    heights: Vec<RangeInclusive<u64>>,
}

impl Claims {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(super) fn hold(&self, hash: &B256, number: Option<u64>) -> bool {
        let covers = |number| self.heights.iter().any(|heights| heights.contains(&number));
        self.hashes.contains(hash) || number.is_some_and(covers)
    }

    /// The greatest height below another that is claimed.
    pub(super) fn highest_below(&self, number: u64) -> Option<u64> {
        let tops = self.heights.iter().map(|heights| *heights.end());
        tops.filter(|top| *top < number).max()
    }
}

/// How the first blocks of a download are looked for.
#[derive(Debug)]
pub(super) enum Search {
    /// The store is asked first: the consensus client may have delivered them.
    Store(RequestId),
    /// The store has no more of it; peers are asked.
    Peers,
}

#[derive(Debug)]
pub(super) struct Chain {
    /// Its own name; the request it serves may change when the tree restarts.
    pub(super) id: RequestId,
    pub(super) request: RequestId,
    pub(super) head: B256,
    pub(super) count: u64,
    pub(super) search: Search,
    /// The block that the store was searched for last.
    pub(super) searched_for: B256,
    pub(super) descent: Descent,
    /// Descending: the head is in the first. A gap of millions of blocks has tens of thousands, so
    /// nothing that happens at every input walks them; the fields below say what a walk would.
    runs: VecDeque<Run>,
    /// Blocks in `runs`.
    known: u64,
    /// Blocks that are on disk whole, among those in `runs`.
    stored: u64,
    /// The closed ones among `runs`, by the height of their highest block.
    closed: BTreeSet<u64>,
    /// Runs that the store was asked about, by the height of their highest block.
    walks: BTreeMap<RequestId, u64>,
    /// Blocks in those of `runs` that are opening or open.
    open_blocks: u64,
    /// Runs whose headers are on their way to the disk, by the height of their highest block.
    writing: BTreeMap<u64, B256>,
    pub(super) delivered: u64,
}

impl Chain {
    pub(super) const fn new(id: RequestId, request: RequestId, head: B256, count: u64) -> Self {
        Self {
            id,
            request,
            head,
            count,
            search: Search::Store(id),
            searched_for: head,
            descent: Descent::new(head, count),
            runs: VecDeque::new(),
            known: 0,
            stored: 0,
            closed: BTreeSet::new(),
            walks: BTreeMap::new(),
            open_blocks: 0,
            writing: BTreeMap::new(),
            delivered: 0,
        }
    }

    /// Adds headers that are on their way to the disk. With `look`, a question to the store is under way
    /// what it has of their blocks.
    pub(super) fn add_written(
        &mut self,
        span: Span,
        look: Option<(RequestId, Vec<Arc<SealedHeader>>)>,
    ) {
        self.writing.insert(span.top.number, span.top.hash);
        let Some((id, headers)) = look else {
            return self.add_run(span, false, Blocks::Closed);
        };
        self.walks.insert(id, span.top.number);
        self.open_blocks = self.open_blocks.saturating_add(headers.len() as u64);
        self.add_run(span, false, Blocks::Opening(Some(headers)));
    }

    /// Adds headers that lie in the store.
    pub(super) fn add_stored(&mut self, span: Span) {
        self.add_run(span, true, Blocks::Closed);
        self.closed.insert(span.top.number);
    }

    fn add_run(&mut self, span: Span, is_written: bool, blocks: Blocks) {
        let lowest = span.bottom.number.max(self.descent.floor().unwrap_or(0));
        let run = Run { span, lowest, is_written, blocks };
        self.known = self.known.saturating_add(run.len());
        self.runs.push_back(run);
    }

    /// Where the run with this height is, or would be.
    fn position(&self, number: u64) -> usize {
        self.runs.partition_point(|run| run.lowest > number)
    }

    /// Whether it follows the head of the chain, and goes first.
    pub(super) const fn is_tip(&self) -> bool {
        self.count <= TIP_BLOCKS_MAX
    }

    /// Whether every header is proved and every block delivered.
    pub(super) fn is_over(&self) -> bool {
        self.descent.is_done() && self.runs.is_empty()
    }

    /// Blocks that are not on disk yet.
    pub(super) fn remaining(&self) -> u64 {
        self.undelivered().saturating_sub(self.stored)
    }

    /// Blocks that are not delivered yet.
    pub(super) fn undelivered(&self) -> u64 {
        self.known.saturating_add(self.descent.remaining())
    }

    /// The height the download leads to, once known.
    pub(super) fn highest(&self) -> u64 {
        self.runs.front().map_or(0, |run| run.span.top.number)
    }

    /// Blocks of spans that are being looked into.
    pub(super) const fn open_blocks(&self) -> u64 {
        self.open_blocks
    }

    /// What it is proving, and what it proved and has not written yet, by hash and by height. Others
    /// that want the same wait for it.
    pub(super) fn claim(&self, claims: &mut Claims) {
        let (number, hash) = self.descent.next();
        let bottom = self.descent.floor();
        if !self.descent.is_done() {
            claims.hashes.insert(hash);
        }
        claims.hashes.extend(self.writing.values());
        let top = self.writing.last_key_value().map(|(top, _)| *top).or(number);
        if let (Some(top), Some(bottom)) = (top, bottom)
            && top >= bottom
        {
            claims.heights.push(bottom..=top);
        }
    }

    /// Whether there is a span to look into.
    pub(super) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The next span to look into, by this walk: from the bottom once the headers are all here, since
    /// delivery begins there; from the top before. Says where the walk begins and how long it is.
    pub(super) fn open_next(&mut self, walk: RequestId) -> Option<(BlockNumHash, u64)> {
        let ascending = self.descent.is_done();
        let next = if ascending { self.closed.pop_first() } else { self.closed.pop_last() };
        let top = next?;
        let at = self.position(top);
        let run = self.runs.get_mut(at)?;
        run.blocks = Blocks::Opening(None);
        self.open_blocks = self.open_blocks.saturating_add(run.len());
        self.walks.insert(walk, top);
        Some((run.span.top, run.len()))
    }

    /// Whether the headers of the span at this position will be delivered soon enough to be kept.
    fn is_next_out(&self, position: usize) -> bool {
        let below = self.runs.len().saturating_sub(position).saturating_sub(1);
        self.descent.is_done() && below < KEPT_FOR_DELIVERY_MAX
    }

    /// The headers of a span reached the disk.
    pub(super) fn span_stored(&mut self, span: &Span) {
        if self.writing.get(&span.top.number) == Some(&span.top.hash) {
            self.writing.remove(&span.top.number);
        }
        let at = self.position(span.top.number);
        let Some(run) = self.runs.get_mut(at).filter(|run| run.span == *span) else { return };
        if !run.is_written && matches!(run.blocks, Blocks::Closed) {
            self.closed.insert(span.top.number);
        }
        run.is_written = true;
    }

    /// The highest block of the run that this walk looks into.
    pub(super) fn walked_from(&self, walk: RequestId) -> Option<B256> {
        let at = self.position(*self.walks.get(&walk)?);
        self.runs.get(at).map(|run| run.span.top.hash)
    }

    /// What the store found of a run's blocks, each by its hash. Returns what is to be fetched.
    pub(super) fn looked(
        &mut self,
        look: RequestId,
        found: Vec<Option<FoundBlock>>,
        with_receipts: bool,
    ) -> Option<Vec<Lacking>> {
        let at = self.position(*self.walks.get(&look)?);
        let run = self.runs.get_mut(at)?;
        let Blocks::Opening(headers) = &mut run.blocks else { return None };
        let headers = headers.take()?;
        let found = headers.into_iter().zip(found.into_iter().chain(std::iter::repeat(None)));
        let found = found.map(|(header, found)| {
            let nothing = FoundBlock { header, has_body: false, has_receipts: false };
            found.unwrap_or(nothing)
        });
        self.opened(look, found.collect(), with_receipts)
    }

    /// The store's answer to a walk. Returns what is to be fetched, or `None` if the store knows less
    /// than it said.
    pub(super) fn opened(
        &mut self,
        walk: RequestId,
        found: Vec<FoundBlock>,
        with_receipts: bool,
    ) -> Option<Vec<Lacking>> {
        let top = self.walks.remove(&walk)?;
        let position = self.position(top);
        let keep = self.is_next_out(position);
        let run = self.runs.get_mut(position)?;
        if found.len() as u64 != run.len() {
            return None;
        }
        let lacking = found.iter().map(|found| Lacking {
            header: Arc::clone(&found.header),
            body: !found.has_body,
            receipts: with_receipts && !found.has_receipts && !has_no_receipts(&found.header),
        });
        let wanted: Vec<_> = lacking.filter(|lacking| lacking.body || lacking.receipts).collect();
        let headers: Vec<_> = found.into_iter().map(|f| f.header).collect();
        if matches!(run.blocks, Blocks::Opening(_)) {
            let here = run.len().saturating_sub(wanted.len() as u64);
            self.stored = self.stored.saturating_add(here);
            if wanted.is_empty() {
                self.open_blocks = self.open_blocks.saturating_sub(run.len());
            }
        }
        run.blocks = if wanted.is_empty() {
            Blocks::Complete(keep.then_some(headers))
        } else {
            let missing = wanted.iter().flat_map(Lacking::parts).collect();
            Blocks::Open { headers, missing }
        };
        Some(wanted)
    }

    /// A part reached the disk.
    pub(super) fn part_stored(&mut self, block: BlockNumHash, kind: PartKind) {
        let at = self.position(block.number);
        let keep = self.is_next_out(at);
        let Some(run) = self.runs.get_mut(at) else { return };
        let Blocks::Open { headers, missing } = &mut run.blocks else { return };
        if !missing.remove(&(block, kind)) || missing.contains(&(block, kind.other())) {
            return;
        }
        self.stored = self.stored.saturating_add(1);
        if missing.is_empty() {
            let headers = std::mem::take(headers);
            run.blocks = Blocks::Complete(keep.then_some(headers));
            self.open_blocks = self.open_blocks.saturating_sub(run.len());
        }
    }

    /// Whether this download still waits for a part.
    pub(super) fn misses(&self, block: BlockNumHash, kind: PartKind) -> bool {
        match self.runs.get(self.position(block.number)).map(|run| &run.blocks) {
            Some(Blocks::Open { missing, .. }) => missing.contains(&(block, kind)),
            _ => false,
        }
    }

    /// The lowest undelivered span, once every header is proved and all of it is on disk.
    fn deliverable(&mut self) -> Option<&mut Run> {
        if !self.descent.is_done() {
            return None;
        }
        let is_whole = |run: &&mut Run| run.is_written && matches!(run.blocks, Blocks::Complete(_));
        self.runs.back_mut().filter(is_whole)
    }

    /// Takes the lowest span out for delivery, ascending.
    pub(super) fn take_delivery(&mut self) -> Option<(Span, Vec<Arc<SealedHeader>>)> {
        let run = self.deliverable()?;
        let Blocks::Complete(Some(headers)) = &mut run.blocks else { return None };
        let mut headers = std::mem::take(headers);
        headers.reverse();
        let count = headers.len() as u64;
        let span = self.runs.pop_back()?.span;
        self.known = self.known.saturating_sub(count);
        self.stored = self.stored.saturating_sub(count);
        self.delivered = self.delivered.saturating_add(count);
        Some((span, headers))
    }

    /// Whether the lowest span is whole, but its headers are not in memory.
    pub(super) fn must_read(&mut self) -> bool {
        self.deliverable().is_some()
    }

    /// Has this walk read the headers of the lowest span. Says where it begins and how long it is.
    pub(super) fn read_next(&mut self, walk: RequestId) -> Option<(BlockNumHash, u64)> {
        let run = self.deliverable()?;
        run.blocks = Blocks::Reading;
        let (top, len) = (run.span.top, run.len());
        self.walks.insert(walk, top.number);
        Some((top, len))
    }
}
