//! A port with a waiting room.

use std::{collections::VecDeque, time::Duration};

use moorline_messages::Traced;

use crate::{Cause, Port, Refused};

/// Messages that may wait in an outlet.
const WAITING_ITEMS_MAX: usize = 4_096;

/// How long to wait before a full port is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// The sending side of an actor: tells what it can, keeps in order what a full port gave back, and
/// tells it when asked to flush.
///
/// A core limits what it has outstanding, so little ever waits here. Should the waiting room
/// overflow, the newest message is lost; the sender's slow tick makes up for it.
#[derive(Debug)]
pub struct Outlet<M: Send + 'static> {
    port: Port<M>,
    /// Each with the cause that it was told for.
    waiting: VecDeque<(Cause, M)>,
}

impl<M: Traced + Send + 'static> Outlet<M> {
    /// An outlet in front of a port.
    pub const fn new(port: Port<M>) -> Self {
        Self { port, waiting: VecDeque::new() }
    }

    /// Tells it, now or at a later flush.
    pub fn tell(&mut self, message: M) {
        self.flush();
        if !self.waiting.is_empty() {
            self.hold(message);
            return;
        }
        match self.port.tell(message) {
            Ok(()) => {}
            Err(Refused::Full(message)) => self.hold(message),
            Err(Refused::Closed(_)) => {
                tracing::debug!(port = self.port.name(), "nobody is behind the port any more");
            }
        }
    }

    fn hold(&mut self, message: M) {
        if self.waiting.len() < WAITING_ITEMS_MAX {
            self.waiting.push_back((Cause::here(), message));
        } else {
            tracing::warn!(port = self.port.name(), "the port stays full, a message is lost");
            self.port.record_refusal(&Refused::Full(message));
        }
    }

    /// Tells what waits, as far as the port has room.
    pub fn flush(&mut self) {
        while let Some((cause, message)) = self.waiting.pop_front() {
            match cause.scope(|| self.port.try_tell(message)) {
                Ok(()) => {}
                Err(Refused::Full(message)) => {
                    self.waiting.push_front((cause, message));
                    return;
                }
                Err(closed @ Refused::Closed(_)) => {
                    self.port.record_refusal(&closed);
                    while let Some((cause, message)) = self.waiting.pop_front() {
                        let closed = Refused::Closed(message);
                        cause.scope(|| self.port.record_refusal(&closed));
                    }
                }
            }
        }
    }

    /// When to flush again; `None` with nothing waiting.
    pub fn retry_in(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(RETRY)
    }
}
