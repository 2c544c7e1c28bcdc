//! Requests that wait for a peer.

use std::{
    collections::BTreeMap,
    iter,
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

/// Bodies, and receipts, are a few times as many bytes as headers, so each of them get one turn for
/// this many of those.
const HEADER_TURNS_PER_BLOCKS_TURN: u64 = 4;

/// Who waits first: by class, then by turn, then by arrival. In each class headers, bodies and
/// receipts take turns, so that none has to wait until another ends, however few the peers.
pub(crate) type Place = (Priority, u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) request: FetchRequest,
    /// When an outcome is owed.
    pub(crate) deadline: Instant,
    /// When it came.
    pub(crate) since: Instant,
    /// When peers that failed at it may be asked again; `None` once they may.
    last_resort_at: Option<Instant>,
}

impl Queued {
    pub(crate) const fn may_repeat(&self) -> bool {
        self.last_resort_at.is_none()
    }
}

/// One kind of one class, first come, first served.
#[derive(Debug, Default)]
struct Line {
    /// By arrival.
    waiting: BTreeMap<u64, Queued>,
    /// The turn of the first; each one behind it has the kind's next.
    turn: u64,
}

impl Line {
    /// In order, each with its turn. What is taken back leaves no gap: those behind it move up.
    fn places(&self, class: Priority, kind: Kind) -> impl Iterator<Item = (Place, &Queued)> {
        let turns = iter::successors(Some(self.turn), move |turn| Some(after_turn(kind, *turn)));
        let waiting = turns.zip(&self.waiting);
        waiting.map(move |(turn, (arrival, queued))| ((class, turn, *arrival), queued))
    }
}

const fn after_turn(kind: Kind, turn: u64) -> u64 {
    turn.saturating_add(match kind {
        Kind::Headers => 1,
        Kind::Bodies | Kind::Receipts => HEADER_TURNS_PER_BLOCKS_TURN,
    })
}

/// The waiting room: the tip first, then first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<(Priority, Kind), Line>,
    /// Where each request waits: its line, and its arrival.
    places: BTreeMap<RequestId, ((Priority, Kind), u64)>,
    arrivals: u64,
    /// The turn that a class has come to.
    served: BTreeMap<Priority, u64>,
}

impl Queue {
    /// Takes a request in, or gives it back when the room is full.
    pub(crate) fn push(&mut self, now: Instant, request: FetchRequest) -> Result<(), FetchRequest> {
        if self.len() >= QUEUED_REQUESTS_MAX {
            return Err(request);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        let budget = Duration::from_millis(request.budget_ms).min(BUDGET_MAX);
        let line_of = (request.priority, Kind::of(&request.items));
        let line = self.lines.entry(line_of).or_default();
        if line.waiting.is_empty() {
            // a kind that had none waiting goes on where the others are
            line.turn = line.turn.max(self.served.get(&request.priority).copied().unwrap_or(0));
        }
        self.places.insert(request.id, (line_of, self.arrivals));
        let last_resort_at = (!request.avoid.is_empty()).then(|| after(now, LAST_RESORT_WAIT));
        let deadline = after(now, budget);
        let queued = Queued { deadline, since: now, last_resort_at, request };
        line.waiting.insert(self.arrivals, queued);
        Ok(())
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn clear(&mut self) {
        self.lines.values_mut().for_each(|line| line.waiting.clear());
        self.places.clear();
    }

    fn waiting(&self) -> impl Iterator<Item = &Queued> {
        self.lines.values().flat_map(|line| line.waiting.values())
    }

    /// Takes out what ran out of time, and notes whose last resort has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<RequestId> {
        for queued in self.lines.values_mut().flat_map(|line| line.waiting.values_mut()) {
            queued.last_resort_at = queued.last_resort_at.filter(|at| *at > now);
        }
        let late = self.waiting().filter(|queued| queued.deadline <= now);
        let late: Vec<RequestId> = late.map(|queued| queued.request.id).collect();
        late.into_iter().filter(|id| self.remove(*id).is_some()).collect()
    }

    /// What waits behind a place, in order; all of it behind `None`.
    pub(crate) fn behind(&self, place: Option<Place>) -> impl Iterator<Item = (Place, &Queued)> {
        let classes = [Priority::Tip, Priority::History].into_iter();
        let all = classes.flat_map(|class| {
            let mut lines = Kind::ALL.map(|kind| {
                let line = self.lines.get(&(class, kind));
                line.into_iter().flat_map(move |it| it.places(class, kind)).peekable()
            });
            iter::from_fn(move || {
                let firsts = lines.iter_mut().filter_map(|line| Some((line.peek()?.0, line)));
                let (_, line) = firsts.min_by_key(|(place, _)| *place)?;
                line.next()
            })
        });
        all.skip_while(move |(it, _)| place.is_some_and(|place| *it <= place))
    }

    /// Takes out what is sent now: its kind has had its turn.
    pub(crate) fn dispatch(&mut self, id: RequestId) -> Option<Queued> {
        let ((class, kind), _) = *self.places.get(&id)?;
        let queued = self.remove(id)?;
        let line = self.lines.get_mut(&(class, kind))?;
        let served = self.served.entry(class).or_default();
        // the first's turn, though others may have passed it because nobody can take it
        *served = line.turn.max(*served);
        line.turn = after_turn(kind, line.turn);
        Some(queued)
    }

    /// Takes out what waits under this id, if anything does. Nobody's turn comes by that.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Queued> {
        let (line, arrival) = self.places.remove(&id)?;
        self.lines.get_mut(&line)?.waiting.remove(&arrival)
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.waiting().flat_map(|it| [Some(it.deadline), it.last_resort_at]).flatten().min()
    }
}
