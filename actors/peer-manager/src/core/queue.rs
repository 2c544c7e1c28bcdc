//! Requests that wait for a peer.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, Instant},
};

use moorline_messages::{FetchRequest, Priority, RequestId};

use super::{after, score::Kind};

/// Most requests that wait; one more is answered at once with `NoPeer`.
pub(crate) const QUEUED_REQUESTS_MAX: usize = 4_096;
/// Longest budget that is believed.
const BUDGET_MAX: Duration = Duration::from_secs(3_600);
/// How long a request waits for somebody new before it goes to a peer that failed at it. Keeps a
/// request that nobody can serve from running in a circle as fast as the machine allows.
const LAST_RESORT_WAIT: Duration = Duration::from_millis(100);

/// Bodies are a few times as many bytes as headers, so they get one turn for this many of those.
const HEADER_TURNS_PER_BODY_TURN: u64 = 4;

/// Who waits first: by class, then by turn, then by arrival. In each class headers and bodies take
/// turns, so that neither has to wait until the other ends, however few the peers.
pub(crate) type Place = (Priority, u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) request: FetchRequest,
    /// When an outcome is owed.
    pub(crate) deadline: Instant,
    /// When peers that failed at it may be asked again; `None` once they may.
    last_resort_at: Option<Instant>,
}

impl Queued {
    pub(crate) const fn may_repeat(&self) -> bool {
        self.last_resort_at.is_none()
    }
}

/// The waiting room: the tip first, then first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Queued>,
    places: BTreeMap<RequestId, Place>,
    arrivals: u64,
    /// The next turn of each kind of a class.
    turns: BTreeMap<(Priority, Kind), u64>,
    /// The turn of a class that was served last.
    served: BTreeMap<Priority, u64>,
}

impl Queue {
    /// Takes a request in, or gives it back when the room is full.
    pub(crate) fn push(&mut self, now: Instant, request: FetchRequest) -> Result<(), FetchRequest> {
        if self.waiting.len() >= QUEUED_REQUESTS_MAX {
            return Err(request);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        let budget = Duration::from_millis(request.budget_ms).min(BUDGET_MAX);
        let place = (request.priority, self.turn(&request), self.arrivals);
        self.places.insert(request.id, place);
        let last_resort_at = (!request.avoid.is_empty()).then(|| after(now, LAST_RESORT_WAIT));
        let queued = Queued { deadline: after(now, budget), last_resort_at, request };
        self.waiting.insert(place, queued);
        Ok(())
    }

    /// The next turn of its kind; one that has none waiting goes on where the others are.
    fn turn(&mut self, request: &FetchRequest) -> u64 {
        let kind = Kind::of(&request.items);
        let served = self.served.get(&request.priority).copied().unwrap_or(0);
        let next = self.turns.entry((request.priority, kind)).or_default();
        let turn = served.max(*next);
        let length = match kind {
            Kind::Headers => 1,
            Kind::Bodies => HEADER_TURNS_PER_BODY_TURN,
        };
        *next = turn.saturating_add(length);
        turn
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.places.clear();
    }

    /// Takes out what ran out of time, and notes whose last resort has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<RequestId> {
        for queued in self.waiting.values_mut() {
            queued.last_resort_at = queued.last_resort_at.filter(|at| *at > now);
        }
        let late: Vec<Place> = self
            .waiting
            .iter()
            .filter(|(_, queued)| queued.deadline <= now)
            .map(|(place, _)| *place)
            .collect();
        late.into_iter().filter_map(|place| self.take(place)).map(|it| it.request.id).collect()
    }

    /// What waits behind a place, in order; all of it behind `None`.
    pub(crate) fn behind(&self, place: Option<Place>) -> impl Iterator<Item = (&Place, &Queued)> {
        let start = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.waiting.range((start, Bound::Unbounded))
    }

    pub(crate) fn take(&mut self, place: Place) -> Option<Queued> {
        let queued = self.waiting.remove(&place)?;
        self.places.remove(&queued.request.id);
        let (class, turn, _) = place;
        let served = self.served.entry(class).or_default();
        *served = turn.max(*served);
        Some(queued)
    }

    /// Takes out what waits under this id, if anything does.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Queued> {
        let place = self.places.get(&id)?;
        self.take(*place)
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.waiting.values().flat_map(|it| [Some(it.deadline), it.last_resort_at]).flatten().min()
    }
}
