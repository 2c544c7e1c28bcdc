//! Bounded ways in.

use std::{fmt, sync::Arc};

use actix::Recipient;
use moorline_messages::{Lane, RefusedBecause, Traced};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    Tracer,
    envelope::{Envelope, Permit},
    trace::TracedPort,
};

/// How much may wait in a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Messages.
    pub items: usize,
    /// Bytes, as [`moorline_messages::Weigh`] counts them. A single heavier message is let through alone.
    pub bytes: usize,
}

impl Limit {
    /// A limit in items and bytes; neither is less than one, nor more than a semaphore can count.
    pub fn new(items: usize, bytes: usize) -> Self {
        let most = u32::MAX as usize >> 3;
        Self { items: items.clamp(1, most), bytes: bytes.clamp(1, most) }
    }
}

/// A message that could not be told, given back.
#[derive(Debug, Error)]
pub enum Refused<M> {
    /// The port is full. Try again later.
    #[error("the port is full")]
    Full(M),
    /// Nobody is behind the port any more.
    #[error("the port is closed")]
    Closed(M),
}

impl<M> Refused<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

enum Sink<M: Send + 'static> {
    Actor(Recipient<Envelope<M>>),
    Channel(mpsc::UnboundedSender<Envelope<M>>),
}

/// A bounded way to tell somebody something. Clones share the bound.
pub struct Port<M: Send + 'static> {
    name: &'static str,
    sink: Arc<Sink<M>>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limit: Limit,
    /// Who speaks, in a trace, when no actor does.
    outside: Lane,
    trace: Option<Arc<TracedPort>>,
}

impl<M: Send + 'static> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            sink: Arc::clone(&self.sink),
            items: Arc::clone(&self.items),
            bytes: Arc::clone(&self.bytes),
            limit: self.limit,
            outside: self.outside,
            trace: self.trace.clone(),
        }
    }
}

impl<M: Send + 'static> fmt::Debug for Port<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("name", &self.name).field("depth", &self.depth()).finish()
    }
}

impl<M: Traced + Send + 'static> Port<M> {
    /// A port that leads to an actor.
    pub(crate) fn to_actor(
        name: &'static str,
        recipient: Recipient<Envelope<M>>,
        limit: Limit,
        (tracer, to): (&Tracer, Lane),
    ) -> Self {
        let port = Self::with_sink(name, Sink::Actor(recipient), limit);
        port.traced(tracer, to)
    }

    /// A port that leads to whoever holds the inbox: an edge's task, or a test.
    pub fn channel(name: &'static str, limit: Limit) -> (Self, Inbox<M>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self::with_sink(name, Sink::Channel(sender), limit), Inbox { receiver })
    }

    fn with_sink(name: &'static str, sink: Sink<M>, limit: Limit) -> Self {
        let limit = Limit::new(limit.items, limit.bytes);
        Self {
            name,
            sink: Arc::new(sink),
            items: Arc::new(Semaphore::new(limit.items)),
            bytes: Arc::new(Semaphore::new(limit.bytes)),
            limit,
            outside: Lane::Node,
            trace: None,
        }
    }

    /// The same port, whose traffic is recorded as going to `to`.
    #[must_use]
    pub fn traced(mut self, tracer: &Tracer, to: Lane) -> Self {
        self.trace = tracer.port(self.name, to, self.limit, &self.items);
        self
    }

    /// The same port, in the hands of somebody outside: in a trace, what no actor says comes from
    /// there.
    #[must_use]
    pub const fn held_by(mut self, outside: Lane) -> Self {
        self.outside = outside;
        self
    }

    /// Tells it now or gives it back.
    pub fn tell(&self, message: M) -> Result<(), Refused<M>> {
        self.try_tell(message).inspect_err(|refused| self.record_refusal(refused))
    }

    /// Tells it now or gives it back, and leaves no record of the latter: for whoever tries again.
    pub(crate) fn try_tell(&self, message: M) -> Result<(), Refused<M>> {
        if self.is_closed() {
            return Err(Refused::Closed(message));
        }
        let Ok(item) = Arc::clone(&self.items).try_acquire_owned() else {
            return Err(Refused::Full(message));
        };
        let bytes = match self.weigh(&message) {
            0 => None,
            weight => match Arc::clone(&self.bytes).try_acquire_many_owned(weight) {
                Ok(permit) => Some(permit),
                Err(_) => return Err(Refused::Full(message)),
            },
        };
        self.deliver(message, Permit::new(item, bytes))
    }

    /// Records that a message was given back, or lost while it waited to be told again.
    pub(crate) fn record_refusal(&self, refused: &Refused<M>) {
        let Some(trace) = &self.trace else { return };
        match refused {
            Refused::Full(message) => trace.refused(self.outside, message, RefusedBecause::Full),
            Refused::Closed(message) => {
                trace.refused(self.outside, message, RefusedBecause::Closed);
            }
        }
    }

    /// Tells it as soon as there is room. For edges and tests; actors never wait.
    pub async fn send(&self, message: M) -> Result<(), Refused<M>> {
        let Ok(item) = Arc::clone(&self.items).acquire_owned().await else {
            return Err(Refused::Closed(message));
        };
        let bytes = match self.weigh(&message) {
            0 => None,
            weight => match Arc::clone(&self.bytes).acquire_many_owned(weight).await {
                Ok(permit) => Some(permit),
                Err(_) => return Err(Refused::Closed(message)),
            },
        };
        self.deliver(message, Permit::new(item, bytes))
    }

    fn weigh(&self, message: &M) -> u32 {
        u32::try_from(message.weight_bytes().min(self.limit.bytes)).unwrap_or(u32::MAX)
    }

    fn deliver(&self, body: M, permit: Permit) -> Result<(), Refused<M>> {
        if self.is_closed() {
            return Err(Refused::Closed(body));
        }
        let trail = self.trace.as_ref().map(|trace| trace.sent(self.outside, &body));
        let envelope = Envelope::new(body, permit, trail);
        match &*self.sink {
            // the permit in hand is the bound that actix's own do_send lacks
            #[allow(clippy::disallowed_methods)]
            Sink::Actor(recipient) => {
                recipient.do_send(envelope);
                Ok(())
            }
            Sink::Channel(sender) => {
                sender.send(envelope).map_err(|error| Refused::Closed(error.0.discard()))
            }
        }
    }
}

impl<M: Send + 'static> Port<M> {
    /// The name given at creation, for logs and metrics.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Messages that wait.
    pub fn depth(&self) -> usize {
        self.limit.items.saturating_sub(self.items.available_permits())
    }

    /// The bound.
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether nobody is behind the port any more.
    pub fn is_closed(&self) -> bool {
        match &*self.sink {
            Sink::Actor(recipient) => !recipient.connected(),
            Sink::Channel(sender) => sender.is_closed(),
        }
    }
}

/// The far end of a port that leads to no actor.
#[derive(Debug)]
pub struct Inbox<M> {
    receiver: mpsc::UnboundedReceiver<Envelope<M>>,
}

impl<M> Inbox<M> {
    /// The next message, or `None` once every port is gone. Its place is freed.
    pub async fn next(&mut self) -> Option<M> {
        self.receiver.recv().await.map(Envelope::open)
    }

    /// The next message with its place still taken: a consumer that is slow on purpose.
    pub async fn next_held(&mut self) -> Option<Envelope<M>> {
        self.receiver.recv().await
    }

    /// The next message if one is waiting.
    pub fn try_next(&mut self) -> Option<M> {
        self.receiver.try_recv().ok().map(Envelope::open)
    }
}
