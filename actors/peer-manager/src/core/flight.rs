//! Requests that are out.

use std::{
    collections::BTreeMap,
    iter,
    time::{Duration, Instant},
};

use moorline_messages::{FetchRequest, PeerId, Priority, RequestId, SessionId};

use super::{after, score::Kind};

/// A request on its way to a peer and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) session: SessionId,
    pub(crate) peer: PeerId,
    pub(crate) kind: Kind,
    /// Items asked for.
    pub(crate) asked: u64,
    /// The count of all departures: a peer answers in this order.
    pub(crate) number: u64,
    pub(crate) sent_at: Instant,
    /// The peer owed us nothing else when it left.
    pub(crate) alone: bool,
    /// When the peer usually is done with it.
    pub(crate) usual_at: Instant,
    /// When it takes longer than is usual for the peer, some margin included.
    pub(crate) unusual_at: Instant,
    /// When the time that the peer is given is over.
    pub(crate) patience_ends: Instant,
    /// When the budget ends.
    pub(crate) wanted_until: Instant,
}

impl Flight {
    /// When the outcome is owed.
    fn deadline(&self) -> Instant {
        self.patience_ends.min(self.wanted_until)
    }

    /// Whether the peer let its time pass. One that was asked late may only lack some of it.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.patience_ends <= now
    }

    /// The peer answered something: what it was asked later gets its time from now on.
    pub(crate) fn give_time(&mut self, answered: &Self, patience_ends: Instant) {
        if self.session == answered.session && self.number > answered.number {
            self.patience_ends = self.patience_ends.max(patience_ends);
        }
    }
}

/// A request that keeps a peer busy for longer than this is history's straggler: portions take a
/// second, see [`Meter::portion`](super::score::Meter::portion).
const STRAGGLES_AFTER: Duration = Duration::from_secs(2);

/// A second peer that is to be asked should the first take unusually long.
#[derive(Clone, Debug)]
pub(crate) struct Hedge {
    /// The request, the first peer among those to avoid. It is late, so whatever it is for, it goes
    /// as the tip does: to whoever is known to be fast, and not to try somebody.
    pub(crate) request: FetchRequest,
    /// Its own class.
    class: Priority,
    /// When its outcome is owed.
    pub(crate) deadline: Instant,
    /// When the first is expected to be done.
    usual_at: Instant,
    /// When to ask somebody who is done sooner than the first; `None` once that is over and only a
    /// peer is missing.
    early_at: Option<Instant>,
    /// When to ask anybody.
    late_at: Option<Instant>,
}

impl Hedge {
    /// For a request that just left.
    pub(crate) fn of(mut request: FetchRequest, deadline: Instant, first: &Flight) -> Self {
        request.avoid.push(first.peer);
        let class = std::mem::replace(&mut request.priority, Priority::Tip);
        let early_at = match class {
            Priority::Tip => first.unusual_at,
            Priority::History => after(first.sent_at, STRAGGLES_AFTER),
        };
        let (early_at, late_at) = (Some(early_at), Some(first.unusual_at.max(early_at)));
        Self { request, class, deadline, usual_at: first.usual_at, early_at, late_at }
    }

    /// By when a second peer must be done to be of use.
    pub(crate) fn done_before(&self) -> Instant {
        if self.late_at.is_none() { self.deadline } else { self.deadline.min(self.usual_at) }
    }
}

/// One flight is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) id: RequestId,
    pub(crate) flight: Flight,
    /// No other peer works on the request for anybody: its outcome is due.
    pub(crate) is_last: bool,
}

/// A request and everybody who works on it.
#[derive(Clone, Debug)]
struct Fetch {
    first: Flight,
    second: Option<Flight>,
    hedge: Hedge,
}

/// All of them, by id. At most a peer's share for each session, see `IN_FLIGHT_REQUESTS_MAX`.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    out: BTreeMap<RequestId, Fetch>,
}

impl Flights {
    /// A request left for its first peer.
    pub(crate) fn insert(&mut self, id: RequestId, flight: Flight, hedge: Hedge) {
        self.out.insert(id, Fetch { first: flight, second: None, hedge });
    }

    /// A request left for a second peer, too.
    pub(crate) fn double(&mut self, id: RequestId, flight: Flight) {
        if let Some(fetch) = self.out.get_mut(&id) {
            fetch.second = Some(flight);
            fetch.hedge.request.avoid.push(flight.peer);
        }
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.out.contains_key(&id)
    }

    /// Ends the flight that this session answers; another session's is not its to answer.
    pub(crate) fn answered(&mut self, session: SessionId, id: RequestId) -> Option<Ended> {
        self.end(id, |flight| flight.session == session)
    }

    /// Takes out a request. Returns who still worked on it.
    pub(crate) fn remove(&mut self, id: RequestId) -> impl Iterator<Item = Flight> + use<> {
        self.out.remove(&id).into_iter().flat_map(|it| [Some(it.first), it.second]).flatten()
    }

    /// Ends what ran out of time.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Ended> {
        self.end_all(|flight| flight.deadline() <= now)
    }

    /// Ends what was on a session that is over.
    pub(crate) fn on(&mut self, session: SessionId) -> Vec<Ended> {
        self.end_all(|flight| flight.session == session)
    }

    /// Everything that is out, for a look at its clock.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        let flights = |fetch| {
            let Fetch { first, second, .. }: &mut Fetch = fetch;
            iter::once(first).chain(second)
        };
        self.out.values_mut().flat_map(flights)
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> Vec<(RequestId, Flight)> {
        let ids: Vec<RequestId> = self.out.keys().copied().collect();
        let flights = |id| self.remove(id).map(move |flight| (id, flight));
        ids.into_iter().flat_map(flights).collect()
    }

    fn end_all(&mut self, which: impl Fn(&Flight) -> bool) -> Vec<Ended> {
        let meant =
            |fetch: &Fetch| which(&fetch.first) || fetch.second.as_ref().is_some_and(&which);
        let fetches = self.out.iter().filter(|(_, fetch)| meant(fetch));
        // both of a pair may be meant
        let ends: Vec<RequestId> = fetches.flat_map(|(id, _)| [*id, *id]).collect();
        ends.into_iter().filter_map(|id| self.end(id, &which)).collect()
    }

    fn end(&mut self, id: RequestId, which: impl Fn(&Flight) -> bool) -> Option<Ended> {
        let fetch = self.out.get_mut(&id)?;
        if let Some(flight) = fetch.second.take_if(|flight| which(flight)) {
            return Some(Ended { id, flight, is_last: false });
        }
        let flight = fetch.first;
        if !which(&flight) {
            return None;
        }
        match fetch.second.take() {
            Some(second) => fetch.first = second,
            None => {
                self.out.remove(&id);
            }
        }
        Some(Ended { id, flight, is_last: !self.contains(id) })
    }

    /// Notes for whom a second peer is to be asked from now on.
    pub(crate) fn look_at_clock(&mut self, now: Instant) {
        for hedge in self.out.values_mut().map(|fetch| &mut fetch.hedge) {
            hedge.early_at = hedge.early_at.filter(|at| *at > now);
            hedge.late_at = hedge.late_at.filter(|at| *at > now);
        }
    }

    /// The requests of a class for which a second peer is to be asked.
    pub(crate) fn hedges(&self, now: Instant, class: Priority) -> impl Iterator<Item = &Hedge> {
        let alone = self.out.values().filter(|fetch| fetch.second.is_none());
        let due = move |hedge: &&Hedge| {
            hedge.early_at.is_none() && hedge.class == class && hedge.done_before() > now
        };
        alone.map(|fetch| &fetch.hedge).filter(due)
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let wakeup = |fetch: &Fetch| {
            let hedge_at = fetch.hedge.early_at.or(fetch.hedge.late_at);
            [Some(fetch.first.deadline()), fetch.second.as_ref().map(Flight::deadline), hedge_at]
        };
        self.out.values().flat_map(wakeup).flatten().min()
    }
}
