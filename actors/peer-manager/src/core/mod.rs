//! From whom? The state machine: time and messages in, messages out.

mod ban;
mod choose;
mod dial;
mod early;
mod flight;
mod neighbours;
mod note;
mod peers;
mod pool;
mod queue;
mod score;
mod sessions;
mod telling;

use std::time::{Duration, Instant};

use moorline_messages::{
    ActorName, Blame, Conduct, DisconnectReason, DiscoveryEvent, FetchCommand, FetchError,
    FetchItems, FetchOutcome, FetchRequest, FetchedItems, Lifecycle, PeerBookReport, PeerCommand,
    PeerCounts, PeerId, PeerOrigin, PeerReport, PeersReport, Priority, RequestId, SessionCommand,
    SessionEvent, SessionId,
};

use ban::Bans;
use choose::{Choice, Terms};
use dial::Dials;
#[cfg(test)]
pub(crate) use early::CANCELLED_EARLY_MAX;
use early::CancelledEarly;
use flight::{Ended, Flights, Hedge};
pub(crate) use note::Note;
use peers::Peers;
#[cfg(test)]
pub(crate) use peers::{ASIDE_REQUESTS_MAX, IN_FLIGHT_REQUESTS_MAX, UNANSWERED_REQUESTS_MAX};
use pool::CANDIDATES_MAX;
pub(crate) use pool::Pool;
use queue::{Place, Queue};
#[cfg(test)]
pub(crate) use score::Kind;
use telling::Telling;

use crate::PeerManagerConfig;

/// After a restart, how long sessions that still stand have to introduce themselves before those
/// that the operator named are dialled.
const INTRODUCTION_WAIT: Duration = Duration::from_secs(1);

/// What reaches the core.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The actor stands, for the first time or again.
    Started,
    /// The downloader wants something.
    Fetch(FetchRequest),
    /// The downloader changed its mind about requests.
    Command(FetchCommand),
    /// The downloader judged an answer.
    Report(PeerReport),
    /// The edge has news.
    Session(SessionEvent),
    /// A node was found.
    Discovery(DiscoveryEvent),
    /// The operator orders something.
    Operator(PeerCommand),
    /// A neighbour lost its memory.
    Lifecycle(Lifecycle),
    /// The moment that `next_wakeup` named has come.
    Wakeup,
    /// The node ends.
    Stop,
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// To the downloader.
    Outcome(FetchOutcome),
    /// To the devp2p edge.
    Command(SessionCommand),
    /// To whoever watches.
    Peers(PeersReport),
    /// To whoever keeps it for the next start.
    Book(PeerBookReport),
    /// To the log.
    Note(Note),
}

/// A moment later. Time does not overflow for any wait that is bounded.
fn after(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait).unwrap_or(at)
}

/// What outlives a peer manager.
#[derive(Debug)]
pub(crate) struct Handover {
    pool: Pool,
    counts: PeerCounts,
}

/// See the crate's own description.
#[derive(Debug)]
pub(crate) struct PeerManagerCore {
    config: PeerManagerConfig,
    incarnation: u32,
    peers: Peers,
    queue: Queue,
    flights: Flights,
    early: CancelledEarly,
    dials: Dials,
    pool: Pool,
    bans: Bans,
    /// When to see whether a held request should go to somebody else.
    look_again_at: Option<Instant>,
    /// When a useless peer last had to make room.
    replaced_at: Option<Instant>,
    telling: Telling,
}

impl PeerManagerCore {
    pub(crate) fn new(config: PeerManagerConfig, incarnation: u32) -> Self {
        Self {
            config,
            incarnation,
            peers: Peers::default(),
            queue: Queue::default(),
            flights: Flights::default(),
            early: CancelledEarly::default(),
            dials: Dials::default(),
            pool: Pool::default(),
            bans: Bans::default(),
            look_again_at: None,
            replaced_at: None,
            telling: Telling::default(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Started => self.start(now, effects),
            Input::Fetch(request) => self.enqueue(now, request, effects),
            Input::Command(FetchCommand::Cancel { ids }) => self.cancel(&ids),
            Input::Report(report) => self.judge(now, report, effects),
            Input::Session(event) => self.session(now, event, effects),
            Input::Lifecycle(Lifecycle::Restarted { actor: ActorName::Downloader, .. }) => {
                self.forget_requests();
            }
            Input::Discovery(DiscoveryEvent::Found { node, origin }) => {
                self.found(now, node, origin);
            }
            Input::Operator(command) => self.obey(now, command, effects),
            Input::Lifecycle(Lifecycle::Restarted { .. }) | Input::Wakeup => {}
            Input::Stop => return self.say_goodbye(now, effects),
        }
        self.expire(now, effects);
        self.dispatch(now, effects);
        self.dial(now, effects);
        self.tell(now, effects);
    }

    /// When the core wants to be woken, and why.
    pub(crate) fn next_wakeup(&self) -> Option<(Instant, &'static str)> {
        [
            (self.queue.next_wakeup(), "a request waits"),
            (self.flights.next_wakeup(), "an answer is due"),
            (self.look_again_at, "a request is held for a busy peer"),
            (self.peers.next_wakeup(), "a peer is silent"),
            (self.dials.next_wakeup(), "a peer is to be dialled"),
            (self.pool.next_wakeup(), "a node that was found is to be dialled"),
            (self.telling.next_wakeup(), "the peers changed"),
        ]
        .into_iter()
        .filter_map(|(at, reason)| Some((at?, reason)))
        .min()
    }

    fn start(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let wait = if self.incarnation == 0 { Duration::ZERO } else { INTRODUCTION_WAIT };
        self.dials = Dials::new(&self.config.static_peers, after(now, wait));
        self.bans = Bans::remembered(now, &self.config.book.bans, |peer| {
            self.config.named().any(|named| named == peer)
        });
        self.pool.begin_anew(after(now, wait));
        for node in self.config.book.good.iter().take(CANDIDATES_MAX) {
            self.pool.found(*node, PeerOrigin::Remembered, after(now, wait));
        }
        effects.push(Effect::Command(SessionCommand::Introduce));
        // the edge may hold to a list of before the restart
        if self.incarnation > 0 || self.config.named().next().is_some() {
            self.favour(effects);
        }
    }

    /// What another peer manager goes on with: whom it knows, and what was counted.
    pub(crate) fn hand_over(&mut self, now: Instant) -> (PeerBookReport, Handover) {
        (
            self.book(now),
            Handover { pool: std::mem::take(&mut self.pool), counts: self.telling.counts() },
        )
    }

    /// Goes on where another one ended.
    pub(crate) fn going_on(mut self, Handover { pool, counts }: Handover) -> Self {
        self.pool = pool;
        self.telling = Telling::from(counts);
        self
    }

    fn enqueue(&mut self, now: Instant, request: FetchRequest, effects: &mut Vec<Effect>) {
        if self.holds(request.id) || self.early.came(request.id) {
            return;
        }
        self.telling.peers_changed();
        if let Err(request) = self.queue.push(now, request) {
            effects.push(fails(request.id, None, FetchError::NoPeer));
        }
    }

    /// Whether an outcome of this request is owed.
    pub(crate) fn holds(&self, id: RequestId) -> bool {
        self.queue.contains(id) || self.flights.contains(id)
    }

    /// Nobody waits for these any longer; whoever works on them still has something to teach.
    fn cancel(&mut self, ids: &[RequestId]) {
        self.telling.peers_changed();
        for id in ids {
            self.queue.remove(*id);
            self.set_aside(*id);
            self.early.cancelled(*id);
        }
    }

    fn judge(&mut self, now: Instant, report: PeerReport, effects: &mut Vec<Effect>) {
        self.telling.peers_changed();
        if !self.peers.judged(now, report) {
            return;
        }
        if report.conduct.blame() == Blame::Peer {
            let why = format!("{:?} in the answer to request {}", report.conduct, report.request);
            self.ban(now, report.peer, why, effects);
            if let Some(session) = self.peers.session_of(report.peer) {
                self.disconnect(now, session, DisconnectReason::ProtocolBreach, effects);
            }
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        session: SessionId,
        id: RequestId,
        items: FetchedItems,
        wire_bytes: usize,
        effects: &mut Vec<Effect>,
    ) {
        let awaited = self.flights.answered(session, id);
        if let Some(ended) = &awaited {
            self.peers.land(&ended.flight);
        }
        let flight = awaited.map(|ended| ended.flight);
        // an answer that nobody asked for here was asked for before a restart
        let Some(flight) = flight.or_else(|| self.peers.late_answer(session, id)) else { return };
        self.telling.peers_changed();
        let got = u64::try_from(items.len()).unwrap_or(u64::MAX);
        if self.peers.answered(now, &flight, got, wire_bytes) {
            self.telling.book_changed();
        }
        self.peers.give_time(now, &flight, self.flights.all_mut());
        let Some(ended) = awaited else { return };
        if items.is_empty() && !ended.is_last {
            // the downloader does not see this answer, and cannot judge it
            let (peer, conduct) = (flight.peer, Conduct::Lacked);
            self.peers.judged(now, PeerReport { peer, request: id, conduct });
            return;
        }
        self.set_aside(id);
        let peer = Some(flight.peer);
        effects.push(Effect::Outcome(FetchOutcome { id, peer, result: Ok(items) }));
    }

    /// Whoever works on this request does so for nobody.
    fn set_aside(&mut self, id: RequestId) {
        for flight in self.flights.remove(id) {
            self.peers.set_aside(id, flight);
        }
    }

    /// The downloader lost its memory: nobody waits for what it asked.
    fn forget_requests(&mut self) {
        self.telling.peers_changed();
        self.queue.clear();
        for (id, flight) in self.flights.drain() {
            self.peers.set_aside(id, flight);
        }
    }

    fn expire(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for id in self.queue.expire(now) {
            self.telling.peers_changed();
            effects.push(fails(id, None, FetchError::NoPeer));
        }
        for ended in self.flights.expire(now) {
            self.telling.peers_changed();
            self.peers.set_aside(ended.id, ended.flight);
            effects.extend(if ended.flight.is_overdue(now) {
                last_fails(&ended, FetchError::TimedOut)
            } else {
                // it left the queue too late: the peer had no fair chance
                ended.is_last.then(|| fails(ended.id, None, FetchError::NoPeer))
            });
        }
        self.flights.look_at_clock(now);
        let timeouts = self.peers.time_out(now);
        if timeouts > 0 {
            self.telling.peers_changed();
            self.telling.count(|counts| &mut counts.timeouts, timeouts);
        }
        for session in self.peers.silent(now) {
            self.disconnect(now, session, DisconnectReason::PingTimeout, effects);
        }
    }

    /// Gives waiting requests to peers, in order, as far as peers are free.
    fn dispatch(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.look_again_at = None;
        self.hedge(now, Priority::Tip, effects);
        let mut from: Option<Place> = None;
        while self.peers.any_free()
            && let Some((place, request, session)) = self.next_match(now, from)
        {
            from = Some(place);
            let Some(queued) = self.queue.dispatch(request) else { return };
            let (deadline, wanted) = (queued.deadline, queued.request);
            let Some(items) = self.peers.portion(session, &wanted.items) else { return };
            let Some(flight) = self.peers.depart(now, session, &items, deadline) else { return };
            let hedge = Hedge::of(wanted, deadline, &flight);
            self.flights.insert(request, flight, hedge);
            effects.push(Effect::Command(SessionCommand::Fetch { session, request, items }));
        }
        self.hedge(now, Priority::History, effects);
    }

    /// Asks second peers for what takes the first unusually long. Those of the tip are the oldest of
    /// their class, so they go before what waits; those of history go after it.
    fn hedge(&mut self, now: Instant, class: Priority, effects: &mut Vec<Effect>) {
        while self.peers.any_free()
            && let Some((request, items, deadline, session)) = self.next_hedge(now, class)
        {
            let Some(items) = self.peers.portion(session, &items) else { return };
            let Some(flight) = self.peers.depart(now, session, &items, deadline) else { return };
            self.flights.double(request, flight);
            effects.push(Effect::Command(SessionCommand::Fetch { session, request, items }));
        }
    }

    fn next_hedge(
        &mut self,
        now: Instant,
        class: Priority,
    ) -> Option<(RequestId, FetchItems, Instant, SessionId)> {
        let mut held_until = None;
        let found = self.flights.hedges(now, class).find_map(|hedge| {
            let may_try = class == Priority::Tip;
            let done_before = Some(hedge.done_before());
            let terms = Terms { may_repeat: false, may_try, done_before };
            let choice = self.peers.choose(now, &hedge.request, terms);
            let session = chosen(choice, &mut held_until)?;
            Some((hedge.request.id, hedge.request.items.clone(), hedge.deadline, session))
        });
        self.look_again_at = [self.look_again_at, held_until].into_iter().flatten().min();
        found
    }

    /// The first request behind `from` that somebody can take now. Those before it found nobody, and
    /// peers only get busier.
    fn next_match(
        &mut self,
        now: Instant,
        from: Option<Place>,
    ) -> Option<(Place, RequestId, SessionId)> {
        let mut held_until = None;
        let found = self.queue.behind(from).find_map(|(place, queued)| {
            let request = &queued.request;
            // with its whole budget ahead it is worth a try, else the slowest would never be asked
            let done_before = (queued.since < now).then_some(queued.deadline);
            let terms = Terms { may_repeat: queued.may_repeat(), may_try: true, done_before };
            let choice = self.peers.choose(now, request, terms);
            Some((place, request.id, chosen(choice, &mut held_until)?))
        });
        self.look_again_at = [self.look_again_at, held_until].into_iter().flatten().min();
        found
    }

    fn say_goodbye(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Book(self.book(now)));
        for session in self.peers.sessions() {
            self.disconnect(now, session, DisconnectReason::ClientQuitting, effects);
        }
    }
}

/// Whom to ask now; else `held_until` is brought forward if the request is held for somebody.
fn chosen(choice: Choice, held_until: &mut Option<Instant>) -> Option<SessionId> {
    match choice {
        Choice::Ask(session) => return Some(session),
        Choice::Hold(end) => *held_until = Some(held_until.map_or(end, |at| at.min(end))),
        Choice::Nobody => {}
    }
    None
}

fn last_fails(ended: &Ended, error: FetchError) -> Option<Effect> {
    ended.is_last.then(|| fails(ended.id, Some(ended.flight.peer), error))
}

const fn fails(id: RequestId, peer: Option<PeerId>, error: FetchError) -> Effect {
    Effect::Outcome(FetchOutcome { id, peer, result: Err(error) })
}
