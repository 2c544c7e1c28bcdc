//! A message on its way.

use actix::Message;
use tokio::sync::OwnedSemaphorePermit;

use crate::trace::{Cause, Trail};

/// A message on its way, the place it takes up, and its trail in the trace.
#[derive(Debug)]
pub struct Envelope<M> {
    body: M,
    // freed first, so that the last record tells of a queue without it
    _permit: Permit,
    handling: Handling,
}

/// The place of a message in its port, freed when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _item: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) const fn new(
        item: OwnedSemaphorePermit,
        bytes: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { _item: item, _bytes: bytes }
    }
}

impl<M> Envelope<M> {
    pub(crate) const fn new(body: M, permit: Permit, trail: Option<Trail>) -> Self {
        Self { body, handling: Handling { trail }, _permit: permit }
    }

    /// Handles the message at once: its place is freed, and whatever `work` tells is told because of
    /// it.
    pub fn handle<R>(self, work: impl FnOnce(M) -> R) -> R {
        let (body, handling) = self.take();
        handling.enter(|| work(body))
    }

    /// Takes the message out and frees its place. Its handling ends when the second part is dropped,
    /// which is for work that goes on after the handler.
    pub fn part(self) -> (M, Handling) {
        self.handling.holds();
        self.take()
    }

    fn take(self) -> (M, Handling) {
        let Self { body, handling, _permit } = self;
        if let Some(trail) = &handling.trail {
            trail.begin();
        }
        (body, handling)
    }

    /// Takes the message out and frees its place, and that is all there is to its handling.
    pub fn open(self) -> M {
        self.take().0
    }

    /// The message itself, of one that could not be delivered.
    pub(crate) fn discard(self) -> M {
        self.body
    }

    /// Looks at the message without freeing its place.
    pub const fn peek(&self) -> &M {
        &self.body
    }

    /// Its handling, of one that keeps its place until it is dropped.
    pub fn handling(&self) -> &Handling {
        self.handling.holds();
        &self.handling
    }
}

impl<M: Send + 'static> Message for Envelope<M> {
    type Result = ();
}

/// The handling of a message, which may come in parts. Its record is written when it is dropped.
#[derive(Debug)]
pub struct Handling {
    trail: Option<Trail>,
}

impl Handling {
    fn holds(&self) {
        if let Some(trail) = &self.trail {
            trail.holds();
        }
    }

    /// Does a part of it: whatever `work` tells is told because of the message.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.trail {
            Some(trail) => trail.enter(work),
            None => work(),
        }
    }

    /// The message as a cause, for something that is told when its handling is over.
    pub fn cause(&self) -> Cause {
        self.trail.as_ref().map_or_else(Cause::here, Trail::cause)
    }
}
