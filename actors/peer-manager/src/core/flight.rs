//! Requests that are out.

use std::{collections::BTreeMap, time::Instant};

use moorline_messages::{PeerId, RequestId, SessionId};

use super::score::Kind;

/// A request on its way to a peer and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) session: SessionId,
    pub(crate) peer: PeerId,
    pub(crate) kind: Kind,
    /// Items asked for.
    pub(crate) asked: u64,
    pub(crate) sent_at: Instant,
    /// Nothing else of ours was out to the peer when it left.
    pub(crate) alone: bool,
    /// When the time that the peer is given is over.
    pub(crate) patience_ends: Instant,
    /// When the outcome is owed: the former, or the end of the budget if that is earlier.
    pub(crate) deadline: Instant,
}

/// All of them, by id. At most a peer's share for each session, see `IN_FLIGHT_REQUESTS_MAX`.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    out: BTreeMap<RequestId, Flight>,
}

impl Flights {
    pub(crate) fn insert(&mut self, id: RequestId, flight: Flight) {
        self.out.insert(id, flight);
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.out.contains_key(&id)
    }

    /// Takes out the request that this session answers; another session's is not its to answer.
    pub(crate) fn answered(&mut self, session: SessionId, id: RequestId) -> Option<Flight> {
        let flight = self.out.get(&id).filter(|flight| flight.session == session)?;
        let flight = *flight;
        self.out.remove(&id);
        Some(flight)
    }

    /// Takes out what ran out of time.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(RequestId, Flight)> {
        self.take(|flight| flight.deadline <= now)
    }

    /// Takes out what was on a session that is over.
    pub(crate) fn on(&mut self, session: SessionId) -> Vec<(RequestId, Flight)> {
        self.take(|flight| flight.session == session)
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> Vec<(RequestId, Flight)> {
        self.take(|_| true)
    }

    fn take(&mut self, which: impl Fn(&Flight) -> bool) -> Vec<(RequestId, Flight)> {
        self.out.extract_if(.., |_, flight| which(flight)).collect()
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.out.values().map(|flight| flight.deadline).min()
    }
}
