//! A trace that one thread reads while others look at it.

use std::{
    mem,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use moorline_trace::{Model, batch::Batch};
use tokio::sync::watch;

use crate::error::ViewerError;

/// Rows of a running node that are kept.
pub const LIVE_ROWS_MAX: usize = 250_000;
/// Rows beyond them that may gather before the oldest are forgotten, since forgetting renumbers all.
const LIVE_ROWS_SLACK: usize = 125_000;
/// Generations of one reading; a reading that begins anew goes on after them.
const GENERATIONS: u64 = 1 << 32;

/// A trace that grows while it is looked at.
#[derive(Debug)]
pub struct Watched {
    source: String,
    held: RwLock<Held>,
    live: AtomicBool,
    keep_rows: Option<usize>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Held {
    model: Model,
    reading: u64,
    said: Option<String>,
}

/// A look at the trace, during which it does not change.
pub struct Look<'a>(RwLockReadGuard<'a, Held>);

impl Look<'_> {
    /// The trace.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// What there is to say of the source, such as that it is gone; nothing when it is as it should be.
    pub fn said(&self) -> Option<&str> {
        self.0.said.as_deref()
    }

    /// Counts how often rows were renumbered or all was read anew.
    pub fn generation(&self) -> u64 {
        self.0.reading.saturating_mul(GENERATIONS).saturating_add(self.0.model.generation())
    }
}

impl Watched {
    /// Begins with what was read already. `keep_rows` bounds a trace that may grow without end.
    pub fn new(source: &str, model: Model, live: bool, keep_rows: Option<usize>) -> Self {
        Self {
            source: source.to_owned(),
            held: RwLock::new(Held { model, reading: 0, said: None }),
            live: AtomicBool::new(live),
            keep_rows,
            changed: watch::Sender::new(0),
        }
    }

    /// What is being looked at.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether more may come.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Says that nothing more will come.
    pub fn end(&self) {
        self.live.store(false, Ordering::Relaxed);
        self.tell();
    }

    /// Looks at the trace; it waits meanwhile, so make it short.
    pub fn look(&self) -> Look<'_> {
        // a panic elsewhere leaves a model that is at worst incomplete
        Look(self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what was read.
    pub fn absorb(&self, batch: &Batch) {
        if batch.is_empty() {
            return;
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.model.absorb(batch);
        if let Some(keep) = self.keep_rows
            && held.model.rows() > keep.saturating_add(LIVE_ROWS_SLACK)
        {
            held.model.trim(keep);
        }
        drop(held);
        self.tell();
    }

    /// Forgets all, since it is read anew.
    pub fn restart(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.reading = held.reading.saturating_add(1);
        let _old = mem::take(&mut held.model);
        drop(held);
        self.tell();
    }

    /// Says how the source is.
    pub(crate) fn say(&self, said: Option<String>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.said != said {
            held.said = said;
            drop(held);
            self.tell();
        }
    }

    /// Fails when all that could be read of it is no trace.
    pub(crate) fn is_a_trace(&self) -> Result<(), ViewerError> {
        is_a_trace(&self.source, self.look().model())
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.saturating_add(1));
    }

    /// Tells of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Fails when there were lines, and none was a record.
pub(crate) fn is_a_trace(name: &str, model: &Model) -> Result<(), ViewerError> {
    let lines = model.skipped().iter().map(|skipped| skipped.count).sum();
    if model.header().run.is_empty() && model.version() > 0 && lines > 0 && model.rows() == 0 {
        return Err(ViewerError::NoRecords { name: name.to_owned(), lines });
    }
    Ok(())
}
