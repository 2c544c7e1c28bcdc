//! What runs when: commits one at a time and in groups, reads a bounded number at once.
//!
//! The core knows work by its ticket alone; what a ticket stands for stays with the shell. Every commit
//! costs two syncs and the rewriting of the pages on which files end, so a batch that comes right behind
//! a commit of several batches, or of one with several blocks, waits a moment for more. A commit of one
//! batch with one block is a step at the tip: what depends on it comes next and is written at once.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// A piece of work; later ones have greater tickets.
pub(crate) type Ticket = u64;

/// How much may run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Batches in one commit.
    pub(crate) commit_batches_max: usize,
    /// Bytes in one commit; a heavier batch goes alone.
    pub(crate) commit_bytes_max: usize,
    /// After a commit of several batches or blocks, batches wait so long for more.
    pub(crate) commit_pause: Duration,
    /// Bytes that need not wait for more.
    pub(crate) commit_bytes_aim: usize,
    /// Reads at once.
    pub(crate) reads_max: usize,
}

/// What the core is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A batch to write, and the most headers, bodies, blocks' receipts or names that it brings.
    Write { ticket: Ticket, weight_bytes: usize, blocks: usize },
    /// A read by an actor.
    Read { ticket: Ticket },
    /// A read by an edge, which waits until no actor wants to read.
    Query { ticket: Ticket },
    /// The commit is done.
    Committed,
    /// A read is done.
    HasRead { ticket: Ticket },
    /// The moment that was asked for has come.
    Wake,
    /// Nothing more is coming: finish.
    Stop,
}

/// What the core orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write these, in this order, in one commit.
    Commit(Vec<Ticket>),
    /// Read this.
    Read(Ticket),
    /// All that was accepted is done, and `Stop` was asked for.
    Stopped,
}

/// A batch that waits to be written.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    weight_bytes: usize,
    blocks: usize,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Core {
    bounds: Bounds,
    writes: VecDeque<Waiting>,
    waiting_bytes: usize,
    committing: bool,
    /// Whether more like the commit at hand is to be expected at once.
    expects_more: bool,
    /// The end of the pause after the last commit, if it called for one.
    paused_until: Option<Instant>,
    reads: VecDeque<Ticket>,
    queries: VecDeque<Ticket>,
    reading: BTreeSet<Ticket>,
    stopping: bool,
}

impl Core {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            writes: VecDeque::new(),
            waiting_bytes: 0,
            committing: false,
            expects_more: false,
            paused_until: None,
            reads: VecDeque::new(),
            queries: VecDeque::new(),
            reading: BTreeSet::new(),
            stopping: false,
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Write { ticket, weight_bytes, blocks } => {
                self.writes.push_back(Waiting { ticket, weight_bytes, blocks });
                self.waiting_bytes = self.waiting_bytes.saturating_add(weight_bytes);
            }
            Input::Read { ticket } => self.reads.push_back(ticket),
            Input::Query { ticket } => self.queries.push_back(ticket),
            Input::Committed => {
                self.committing = false;
                let pause_end = now.checked_add(self.bounds.commit_pause);
                self.paused_until = pause_end.filter(|_| self.expects_more);
            }
            Input::HasRead { ticket } => drop(self.reading.remove(&ticket)),
            Input::Wake => {}
            Input::Stop => self.stopping = true,
        }
        if !self.gathers(now) {
            self.start_commit(effects);
        }
        self.start_reads(effects);
        if self.stopping && !self.committing && self.reading.is_empty() {
            effects.push(Effect::Stopped);
        }
    }

    /// When it wants to be woken.
    pub(crate) fn next_wakeup(&self) -> Option<(Instant, &'static str)> {
        let waits = !self.committing && !self.writes.is_empty();
        self.paused_until.filter(|_| waits).map(|until| (until, "batches are gathered"))
    }

    /// Whether what waits should wait for more.
    fn gathers(&self, now: Instant) -> bool {
        !self.stopping
            && self.waiting_bytes < self.bounds.commit_bytes_aim
            && self.writes.len() < self.bounds.commit_batches_max
            && self.paused_until.is_some_and(|until| now < until)
    }

    fn start_commit(&mut self, effects: &mut Vec<Effect>) {
        if self.committing || self.writes.is_empty() {
            return;
        }
        let mut group = Vec::new();
        let mut group_bytes = 0_usize;
        let mut group_blocks = 0_usize;
        while let Some(next) = self.writes.front().copied() {
            let bytes = group_bytes.saturating_add(next.weight_bytes);
            let full = group.len() >= self.bounds.commit_batches_max;
            if !group.is_empty() && (full || bytes > self.bounds.commit_bytes_max) {
                break;
            }
            self.writes.pop_front();
            group.push(next.ticket);
            group_bytes = bytes;
            group_blocks = group_blocks.saturating_add(next.blocks);
        }
        self.expects_more = group.len() > 1 || group_blocks > 1;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(group_bytes);
        self.committing = true;
        effects.push(Effect::Commit(group));
    }

    fn start_reads(&mut self, effects: &mut Vec<Effect>) {
        while self.reading.len() < self.bounds.reads_max {
            let next = self.reads.pop_front().or_else(|| self.queries.pop_front());
            let Some(ticket) = next else { return };
            self.reading.insert(ticket);
            effects.push(Effect::Read(ticket));
        }
    }
}
