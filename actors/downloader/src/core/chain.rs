//! One download: a run of blocks under a trusted hash, from the first header asked for to the last
//! block delivered.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use alloy_primitives::B256;
use moorline_messages::{BlockNumHash, FoundBlock, RequestId, SealedHeader, Span};

use super::descent::Descent;

/// Downloads up to this length follow the head of the chain.
const TIP_BLOCKS_MAX: u64 = 32;

/// Whole spans at the bottom of a download whose headers stay in memory until they are delivered.
const KEPT_FOR_DELIVERY_MAX: usize = 4;

/// What is known of the blocks of one span.
#[derive(Debug)]
pub(super) enum Blocks {
    /// Headers are on their way to the disk.
    Writing,
    /// Headers lie in the store; nobody looked which bodies do.
    Closed,
    /// The store is asked for headers, and for which bodies it has.
    Opening(RequestId),
    /// These bodies are missing.
    Open { headers: Vec<Arc<SealedHeader>>, missing: BTreeSet<BlockNumHash> },
    /// All is on disk. The headers are kept at hand if they are about to be delivered.
    Complete(Option<Vec<Arc<SealedHeader>>>),
    /// The store is asked for the headers, to deliver them.
    Reading(RequestId),
}

/// A span as this download sees it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) span: Span,
    /// The lowest block of it that is wanted.
    pub(super) lowest: u64,
    pub(super) blocks: Blocks,
}

impl Run {
    /// How many blocks of it are wanted.
    pub(super) const fn len(&self) -> u64 {
        self.span.top.number.saturating_add(1).saturating_sub(self.lowest)
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
    pub(super) descent: Descent,
    /// Descending: the head is in the first.
    pub(super) runs: VecDeque<Run>,
    /// Blocks whose header and body are on disk, among those in `runs`.
    stored: u64,
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
            descent: Descent::new(head, count),
            runs: VecDeque::new(),
            stored: 0,
            delivered: 0,
        }
    }

    pub(super) fn add_run(&mut self, span: Span, blocks: Blocks) {
        let lowest = span.bottom.number.max(self.descent.floor().unwrap_or(0));
        self.runs.push_back(Run { span, lowest, blocks });
    }

    /// Whether it follows the head of the chain, and goes first.
    pub(super) const fn is_tip(&self) -> bool {
        self.count <= TIP_BLOCKS_MAX
    }

    /// Blocks that are not on disk yet.
    pub(super) fn remaining(&self) -> u64 {
        let known: u64 = self.runs.iter().map(Run::len).sum();
        known.saturating_add(self.descent.remaining()).saturating_sub(self.stored)
    }

    /// Blocks that are not delivered yet.
    pub(super) fn undelivered(&self) -> u64 {
        let known: u64 = self.runs.iter().map(Run::len).sum();
        known.saturating_add(self.descent.remaining())
    }

    /// The height the download leads to, once known.
    pub(super) fn highest(&self) -> u64 {
        self.runs.front().map_or(0, |run| run.span.top.number)
    }

    /// The next span to look into: from the bottom once the headers are all here, since delivery
    /// begins there; from the top before.
    pub(super) fn next_closed(&mut self) -> Option<(bool, &mut Run)> {
        let ascending = self.descent.is_done();
        let closed = |run: &&mut Run| matches!(run.blocks, Blocks::Closed);
        let run = if ascending {
            self.runs.iter_mut().rev().find(closed)
        } else {
            self.runs.iter_mut().find(closed)
        };
        run.map(|run| (ascending, run))
    }

    /// How many spans have their headers in memory, or will soon.
    pub(super) fn open_runs(&self) -> usize {
        let open = |run: &&Run| {
            matches!(
                run.blocks,
                Blocks::Opening(_) | Blocks::Open { .. } | Blocks::Complete(Some(_))
            )
        };
        self.runs.iter().filter(open).count()
    }

    /// Whether the headers of the span at this position will be delivered soon enough to be kept.
    fn is_next_out(&self, position: usize) -> bool {
        let below = self.runs.len().saturating_sub(position).saturating_sub(1);
        self.descent.is_done() && below < KEPT_FOR_DELIVERY_MAX
    }

    /// The header of a span reached the disk.
    pub(super) fn span_stored(&mut self, top: BlockNumHash) {
        for run in self.runs.iter_mut().filter(|run| run.span.top == top) {
            if matches!(run.blocks, Blocks::Writing) {
                run.blocks = Blocks::Closed;
            }
        }
    }

    /// The store's answer to `Opening` or `Reading`. Returns the headers whose bodies are to be
    /// fetched, or `None` if the store knows less than it said.
    pub(super) fn opened(
        &mut self,
        walk: RequestId,
        found: Vec<FoundBlock>,
    ) -> Option<Vec<Arc<SealedHeader>>> {
        let position = self.runs.iter().position(
            |run| matches!(run.blocks, Blocks::Opening(id) | Blocks::Reading(id) if id == walk),
        )?;
        let keep = self.is_next_out(position);
        let run = self.runs.get_mut(position)?;
        if found.len() as u64 != run.len() {
            return None;
        }
        let reading = matches!(run.blocks, Blocks::Reading(_));
        let wanted: Vec<_> =
            found.iter().filter(|f| !f.has_body).map(|f| Arc::clone(&f.header)).collect();
        let headers: Vec<_> = found.into_iter().map(|f| f.header).collect();
        if !reading {
            let here = run.len().saturating_sub(wanted.len() as u64);
            self.stored = self.stored.saturating_add(here);
        }
        run.blocks = if wanted.is_empty() {
            Blocks::Complete(keep.then_some(headers))
        } else {
            let missing = wanted.iter().map(|header| BlockNumHash::of(header)).collect();
            Blocks::Open { headers, missing }
        };
        Some(wanted)
    }

    /// A body reached the disk.
    pub(super) fn body_stored(&mut self, block: &BlockNumHash) {
        let at = self.runs.partition_point(|run| run.lowest > block.number);
        let keep = self.is_next_out(at);
        let Some(run) = self.runs.get_mut(at) else { return };
        let Blocks::Open { headers, missing } = &mut run.blocks else { return };
        if !missing.remove(block) {
            return;
        }
        self.stored = self.stored.saturating_add(1);
        if missing.is_empty() {
            let headers = std::mem::take(headers);
            run.blocks = Blocks::Complete(keep.then_some(headers));
        }
    }

    /// Whether this download still waits for a body.
    pub(super) fn misses(&self, block: &BlockNumHash) -> bool {
        let at = self.runs.partition_point(|run| run.lowest > block.number);
        match self.runs.get(at).map(|run| &run.blocks) {
            Some(Blocks::Open { missing, .. }) => missing.contains(block),
            _ => false,
        }
    }

    /// The lowest undelivered span, once every header is proved and all of it is on disk.
    pub(super) fn deliverable(&mut self) -> Option<&mut Run> {
        if !self.descent.is_done() {
            return None;
        }
        self.runs.back_mut().filter(|run| matches!(run.blocks, Blocks::Complete(_)))
    }

    /// Takes the lowest span out for delivery, ascending.
    pub(super) fn take_delivery(&mut self) -> Option<(Span, Vec<Arc<SealedHeader>>)> {
        let run = self.deliverable()?;
        let Blocks::Complete(Some(headers)) = &mut run.blocks else { return None };
        let mut headers = std::mem::take(headers);
        headers.reverse();
        let count = headers.len() as u64;
        let span = self.runs.pop_back()?.span;
        self.stored = self.stored.saturating_sub(count);
        self.delivered = self.delivered.saturating_add(count);
        Some((span, headers))
    }
}
