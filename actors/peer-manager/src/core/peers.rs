//! Who is connected, and what is remembered of them.

mod merit;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use moorline_messages::{
    AnnouncedRange, Conduct, FetchItems, PeerId, PeerInfo, PeerReport, RequestId, SessionId,
};

use self::merit::Flow;
use super::{
    after,
    flight::Flight,
    score::{Kind, Load, Meter, Sample, asked_items, first_items},
};

/// Most requests that are out to one peer. More than one hides the delay of the network; many more
/// would only wait at the peer.
pub(crate) const IN_FLIGHT_REQUESTS_MAX: usize = 4;
/// Timeouts in a row that end a session.
const TIMEOUTS_IN_A_ROW_MAX: u32 = 5;
/// A peer that owes answers and gives none for this long is dropped.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Most requests that were set aside and are not overdue before they take slots: the peer answers
/// them first, so what comes behind them waits. None with a peer that was just late.
pub(crate) const ASIDE_REQUESTS_MAX: usize = 4;
/// Most requests that one peer has not answered, set aside and overdue ones included. A peer that
/// still works through these is asked nothing more; one that does not is dropped for its silence.
pub(crate) const UNANSWERED_REQUESTS_MAX: usize = 16;
/// Peers of which something is remembered, connected ones included.
const RECORDS_MAX: usize = 1_024;
/// Judged answers that are remembered, so that each counts once. The downloader has fewer requests
/// out.
const JUDGED_MAX: usize = 4_096;
/// What is remembered of a peer from one session to the next.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) meter: Meter,
    faults: u64,
    /// Items it sent: headers, bodies, receipts.
    served: [u64; 3],
    served_bytes: u64,
    flow: Flow,
    seen: Instant,
    /// From where its last session was.
    ip: Option<IpAddr>,
}

/// A request that nobody waits for any more, but that the peer still works on.
#[derive(Clone, Copy, Debug)]
struct Late {
    id: RequestId,
    flight: Flight,
    /// The peer's time for it is over, and that has been held against it.
    is_overdue: bool,
}

/// A session in use.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) info: PeerInfo,
    since: Instant,
    in_flight: usize,
    /// What is out and somebody waits for.
    load: Load,
    /// The count of all departures when it was last asked.
    pub(super) turn: u64,
    late: VecDeque<Late>,
    timeouts_in_a_row: u32,
    /// When the newest of those was noticed.
    timed_out_at: Option<Instant>,
    /// Since when the peer owes something and sent nothing.
    pub(super) owes_since: Option<Instant>,
    /// When the time is over that it was given for the newest of what it owes.
    patience_ends: Option<Instant>,
    answered_at: Option<Instant>,
    /// Requests it got since it was of use.
    asked: u64,
    /// When it was last of use, its coming included.
    useful_at: Instant,
    /// Items it sent in this session.
    gave: u64,
}

impl Peer {
    /// A peer that just let its time pass is given one request at a time until it answers again.
    pub(super) fn is_free(&self) -> bool {
        let (slots, aside_max) = match self.timeouts_in_a_row {
            0 => (IN_FLIGHT_REQUESTS_MAX, ASIDE_REQUESTS_MAX),
            _ => (1, 0),
        };
        let aside = self.open_late().count().saturating_sub(aside_max);
        self.in_flight.saturating_add(aside) < slots
            && self.in_flight.saturating_add(self.late.len()) < UNANSWERED_REQUESTS_MAX
    }

    /// What the peer has to answer first, whether or not somebody waits for it.
    pub(super) fn ahead(&self) -> Load {
        let mut load = self.load;
        self.open_late().for_each(|late| load.add(late.flight.kind, late.flight.asked));
        load
    }

    fn open_late(&self) -> impl Iterator<Item = &Late> {
        self.late.iter().filter(|late| !late.is_overdue)
    }

    fn owes_nothing(&self) -> bool {
        self.in_flight == 0 && self.late.is_empty()
    }

    fn lands(&mut self, flight: &Flight) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.load.remove(flight.kind, flight.asked);
    }

    /// What ran out of time just now, and for each whether it is a step of its own: what was out
    /// together when the first of it was late is one step.
    fn time_out(&mut self, now: Instant) -> Vec<(Flight, bool)> {
        let mut overdue = Vec::new();
        for late in &mut self.late {
            if late.is_overdue || !late.flight.is_overdue(now) {
                continue;
            }
            late.is_overdue = true;
            let is_step = self.timed_out_at.is_none_or(|at| late.flight.sent_at >= at);
            if is_step {
                self.timed_out_at = Some(now);
                self.timeouts_in_a_row = self.timeouts_in_a_row.saturating_add(1);
            }
            overdue.push((late.flight, is_step));
        }
        overdue
    }
}

/// All sessions in use, by session and by peer.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(super) sessions: BTreeMap<SessionId, Peer>,
    by_id: BTreeMap<PeerId, SessionId>,
    pub(super) records: BTreeMap<PeerId, Record>,
    /// Answers that were judged, the oldest request first.
    judged: BTreeSet<(RequestId, PeerId)>,
    departures: u64,
}

impl Peers {
    pub(crate) fn session_of(&self, peer: PeerId) -> Option<SessionId> {
        self.by_id.get(&peer).copied()
    }

    /// From where a peer had its last session.
    pub(crate) fn last_ip(&self, peer: PeerId) -> Option<IpAddr> {
        self.records.get(&peer).and_then(|record| record.ip)
    }

    /// Everybody who is connected.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &PeerInfo> {
        self.sessions.values().map(|peer| &peer.info)
    }

    pub(crate) fn count(&self, which: impl Fn(&PeerInfo) -> bool) -> usize {
        self.infos().filter(|info| which(info)).count()
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// Takes a session into use; a known one only has its description renewed.
    pub(crate) fn open(&mut self, now: Instant, session: SessionId, info: PeerInfo) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.info = info;
            return;
        }
        self.by_id.insert(info.id, session);
        self.record(now, info.id).ip = Some(info.addr.ip());
        let peer = Peer {
            info,
            since: now,
            in_flight: 0,
            load: Load::default(),
            turn: 0,
            late: VecDeque::new(),
            timeouts_in_a_row: 0,
            timed_out_at: None,
            owes_since: None,
            patience_ends: None,
            answered_at: None,
            asked: 0,
            useful_at: now,
            gave: 0,
        };
        self.sessions.insert(session, peer);
    }

    pub(crate) fn close(&mut self, now: Instant, session: SessionId) -> Option<Peer> {
        let peer = self.sessions.remove(&session)?;
        self.by_id.remove(&peer.info.id);
        self.record(now, peer.info.id).seen = now;
        Some(peer)
    }

    pub(crate) fn announce(&mut self, session: SessionId, range: AnnouncedRange) {
        if let Some(peer) = self.sessions.get_mut(&session) {
            peer.info.range = Some(range);
        }
    }

    fn record(&mut self, now: Instant, peer: PeerId) -> &mut Record {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&peer) {
            let gone = self.records.iter().filter(|(id, _)| !self.by_id.contains_key(id));
            // a flood of strangers must not wash out who served
            let worth = |record: &Record| record.served_items() > 0;
            let oldest = gone.min_by_key(|(id, it)| (worth(it), it.seen, **id)).map(|(id, _)| *id);
            oldest.and_then(|id| self.records.remove(&id));
        }
        self.records.entry(peer).or_insert_with(|| Record {
            meter: Meter::default(),
            faults: 0,
            served: [0; 3],
            served_bytes: 0,
            flow: Flow::default(),
            seen: now,
            ip: None,
        })
    }

    /// Whether any session could take one more request.
    pub(crate) fn any_free(&self) -> bool {
        self.sessions.values().any(Peer::is_free)
    }

    /// The first of these items, as many as this peer should be asked for at once. The rest counts as
    /// left out, and is asked for again.
    pub(crate) fn portion(&self, session: SessionId, items: &FetchItems) -> Option<FetchItems> {
        let meter = &self.records.get(&self.sessions.get(&session)?.info.id)?.meter;
        Some(first_items(items, meter.portion(Kind::of(items), asked_items(items))))
    }

    /// A request leaves for a peer. `wanted_until` is when its outcome is owed at the latest.
    pub(crate) fn depart(
        &mut self,
        now: Instant,
        session: SessionId,
        items: &FetchItems,
        wanted_until: Instant,
    ) -> Option<Flight> {
        let peer = self.sessions.get_mut(&session)?;
        let meter = self.records.get(&peer.info.id)?.meter;
        let (kind, asked) = (Kind::of(items), asked_items(items));
        let patience_ends = after(now, meter.timeout(kind, asked));
        // it cannot be late with this while it is in time with what it answers first
        let patience_ends = peer.patience_ends.map_or(patience_ends, |it| it.max(patience_ends));
        self.departures = self.departures.saturating_add(1);
        let flight = Flight {
            session,
            peer: peer.info.id,
            kind,
            asked,
            number: self.departures,
            sent_at: now,
            alone: peer.owes_nothing(),
            usual_at: after(now, meter.usual(kind, asked, peer.ahead()).unwrap_or_default()),
            unusual_at: after(now, meter.unusual(kind, asked, peer.ahead())),
            patience_ends,
            wanted_until,
        };
        peer.patience_ends = Some(patience_ends);
        peer.turn = self.departures;
        peer.asked = peer.asked.saturating_add(1);
        peer.in_flight = peer.in_flight.saturating_add(1);
        peer.load.add(kind, asked);
        peer.owes_since.get_or_insert(now);
        Some(flight)
    }

    /// Holds against peers what they let their time pass for, whether or not somebody still waits for
    /// it: a budget that ends early, or a faster peer, must not hide one that hangs. Says how many
    /// answers did not come.
    pub(crate) fn time_out(&mut self, now: Instant) -> u64 {
        let mut overdue = Vec::new();
        for peer in self.sessions.values_mut() {
            overdue.extend(peer.time_out(now));
        }
        for (flight, is_step) in &overdue {
            let record = self.record(now, flight.peer);
            record.faults = record.faults.saturating_add(1);
            if *is_step {
                record.meter.timed_out(now, flight.kind);
            }
        }
        u64::try_from(overdue.len()).unwrap_or(u64::MAX)
    }

    /// Nobody waits for this request any more, but the peer still works on it. Its time goes on.
    pub(crate) fn set_aside(&mut self, id: RequestId, flight: Flight) {
        let Some(peer) = self.sessions.get_mut(&flight.session) else { return };
        peer.lands(&flight);
        peer.late.push_back(Late { id, flight, is_overdue: false });
    }

    /// Takes out a request that was set aside, if that is what a peer just answered.
    pub(crate) fn late_answer(&mut self, session: SessionId, id: RequestId) -> Option<Flight> {
        let peer = self.sessions.get_mut(&session)?;
        let place = peer.late.iter().position(|late| late.id == id)?;
        peer.late.remove(place).map(|late| late.flight)
    }

    /// A request that somebody waits for came back.
    pub(crate) fn land(&mut self, flight: &Flight) {
        if let Some(peer) = self.sessions.get_mut(&flight.session) {
            peer.lands(flight);
        }
    }

    /// Learns from an answer, in time or late. Says whether it is the first of any use in its
    /// session.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        flight: &Flight,
        got: u64,
        wire_bytes: usize,
    ) -> bool {
        let Some(peer) = self.sessions.get_mut(&flight.session) else { return false };
        let is_first = peer.gave == 0 && got > 0;
        peer.gave = peer.gave.saturating_add(got);
        let free_since = peer.answered_at.map_or(flight.sent_at, |at| at.max(flight.sent_at));
        let worked = (!flight.alone).then(|| now.saturating_duration_since(free_since));
        peer.answered_at = Some(now);
        peer.timeouts_in_a_row = 0;
        // peers answer in order: what was asked earlier and is still open never comes
        peer.late.retain(|late| late.flight.sent_at >= flight.sent_at);
        let owes = !peer.owes_nothing();
        peer.owes_since = owes.then_some(now);
        peer.patience_ends = peer.patience_ends.filter(|_| owes);
        let took = now.saturating_duration_since(flight.sent_at);
        let record = self.record(now, flight.peer);
        record
            .meter
            .observe(flight.kind, Sample { at: now, took, worked, asked: flight.asked, got });
        if let Some(served) = record.served.get_mut(flight.kind as usize) {
            *served = served.saturating_add(got);
        }
        let bytes = u64::try_from(wire_bytes).unwrap_or(u64::MAX);
        record.served_bytes = record.served_bytes.saturating_add(bytes);
        record.flow.add(now, wire_bytes);
        is_first
    }

    /// A peer answers in order: its time for what it was asked after this begins now.
    pub(crate) fn give_time<'a>(
        &'a mut self,
        now: Instant,
        answered: &Flight,
        awaited: impl Iterator<Item = &'a mut Flight>,
    ) {
        let Some(peer) = self.sessions.get_mut(&answered.session) else { return };
        let Some(record) = self.records.get(&answered.peer) else { return };
        let open = peer.late.iter_mut().filter(|late| !late.is_overdue);
        for flight in awaited.chain(open.map(|late| &mut late.flight)) {
            let patience = record.meter.timeout(flight.kind, flight.asked);
            flight.give_time(answered, after(now, patience));
            if flight.session == answered.session {
                peer.patience_ends = peer.patience_ends.max(Some(flight.patience_ends));
            }
        }
    }

    /// Takes note of a judgement on a peer, wherever it is now. Says whether it is the first one on
    /// this answer: another counts nothing.
    pub(crate) fn judged(&mut self, now: Instant, report: PeerReport) -> bool {
        if !self.judged.insert((report.request, report.peer)) {
            return false;
        }
        if self.judged.len() > JUDGED_MAX {
            self.judged.pop_first();
        }
        if report.conduct == Conduct::Served
            && let Some(peer) =
                self.by_id.get(&report.peer).and_then(|it| self.sessions.get_mut(it))
        {
            (peer.asked, peer.useful_at) = (0, now);
        }
        let Some(record) = self.records.get_mut(&report.peer) else { return true };
        match report.conduct {
            Conduct::Served => record.meter.served(now),
            Conduct::Lacked => record.meter.lacked(now),
            Conduct::OtherBranch => record.meter.misled(now),
            Conduct::WrongAnchor
            | Conduct::BrokenLink
            | Conduct::UnaskedBody
            | Conduct::UnaskedReceipts
            | Conduct::TooMany => {
                record.faults = record.faults.saturating_add(1);
                record.meter.lied(now);
            }
        }
        true
    }

    /// Sessions of which no answer can be expected any more.
    pub(crate) fn silent(&self, now: Instant) -> Vec<SessionId> {
        let silent = |peer: &Peer| {
            peer.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW_MAX
                || peer.owes_since.is_some_and(|since| after(since, SILENCE_MAX) <= now)
        };
        self.sessions.iter().filter(|(_, peer)| silent(peer)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let ends = |peer: &Peer| {
            let silence_ends = peer.owes_since.map(|since| after(since, SILENCE_MAX));
            [silence_ends, peer.open_late().map(|late| late.flight.patience_ends).min()]
        };
        self.sessions.values().flat_map(ends).flatten().min()
    }
}
