//! A rig over the core: peers, requests and answers as verbs, time in one's own hand.
#![allow(clippy::arithmetic_side_effects)]

mod actor;
mod cancelling;
mod choosing;
mod clock;
mod conduct;
mod crowd;
mod dialling;
mod finding;
mod hedging;
mod interleaving;
mod load;
mod property;
mod restart;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, B512};
use moorline_messages::{
    AnnouncedRange, BlockNumHash, Body, CloseReason, Conduct, Direction, DisconnectReason,
    FetchCommand, FetchError, FetchItems, FetchOutcome, FetchRequest, FetchedItems, HashOrNumber,
    NodeRecord, PeerBookReport, PeerCommand, PeerId, PeerInfo, PeerReport, PeersReport, Priority,
    Receipts, RequestId, SealedHeader, SessionCommand, SessionEvent, SessionId,
};

use crate::{
    PeerManagerConfig,
    core::{
        ASIDE_REQUESTS_MAX, CANCELLED_EARLY_MAX, Effect, IN_FLIGHT_REQUESTS_MAX, Input, Kind, Note,
        PeerManagerCore, UNANSWERED_REQUESTS_MAX,
    },
};

const ANNA: PeerId = peer(1);
const BERT: PeerId = peer(2);
const CARL: PeerId = peer(3);

const fn peer(number: u8) -> PeerId {
    PeerId(B512::with_last_byte(number))
}

fn node(id: PeerId) -> NodeRecord {
    NodeRecord { id, addr: address(id) }
}

fn address(id: PeerId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 30_000 + u16::from(id.0[63])))
}

fn info(id: PeerId, direction: Direction) -> PeerInfo {
    PeerInfo {
        id,
        addr: address(id),
        direction,
        client: "test/1".to_owned(),
        eth_version: 69,
        range: None,
    }
}

fn range(earliest: u64, latest: u64) -> AnnouncedRange {
    AnnouncedRange { earliest, latest, latest_hash: B256::repeat_byte(1) }
}

fn blocks(numbers: RangeInclusive<u64>) -> Vec<BlockNumHash> {
    numbers.map(|number| BlockNumHash::new(number, B256::left_padding_from(&[1]))).collect()
}

fn bodies(numbers: RangeInclusive<u64>) -> FetchItems {
    FetchItems::Bodies { blocks: blocks(numbers) }
}

fn receipts(numbers: RangeInclusive<u64>) -> FetchItems {
    FetchItems::Receipts { blocks: blocks(numbers) }
}

fn headers(top: u64, limit: u64) -> FetchItems {
    FetchItems::Headers { top: HashOrNumber::Number(top), limit }
}

/// Arbitrary items of the kind that was asked for.
fn items(like: &FetchItems, count: usize) -> FetchedItems {
    match like {
        FetchItems::Headers { .. } => {
            let header = Arc::new(SealedHeader::new_unchecked(Default::default(), B256::ZERO));
            FetchedItems::Headers(vec![header; count])
        }
        FetchItems::Bodies { .. } => {
            let body = Arc::new(Body::default());
            FetchedItems::Bodies(vec![body; count])
        }
        FetchItems::Receipts { .. } => {
            let receipts = Arc::new(Receipts::default());
            FetchedItems::Receipts(vec![receipts; count])
        }
    }
}

fn ms(time_ms: u64) -> Duration {
    Duration::from_millis(time_ms)
}

/// A request that went out.
#[derive(Clone, Debug)]
struct Asked {
    session: SessionId,
    id: RequestId,
    items: FetchItems,
}

struct Rig {
    core: PeerManagerCore,
    now: Instant,
    seen: VecDeque<Effect>,
    notes: Vec<Note>,
    reports: Vec<(Instant, PeersReport)>,
    books: Vec<(Instant, PeerBookReport)>,
    /// Whom the edge was told to let in.
    favoured: BTreeSet<PeerId>,
    trace: Vec<Effect>,
    peers: BTreeMap<SessionId, PeerId>,
    next_request: RequestId,
    next_session: u64,
}

impl Rig {
    /// Nobody to dial.
    fn new() -> Self {
        Self::with(PeerManagerConfig::default(), 0)
    }

    fn with(config: PeerManagerConfig, incarnation: u32) -> Self {
        Self::starting(moorline_kit::now(), config, incarnation)
    }

    fn starting(now: Instant, config: PeerManagerConfig, incarnation: u32) -> Self {
        let mut rig = Self {
            core: PeerManagerCore::new(config, incarnation),
            now,
            seen: VecDeque::new(),
            notes: Vec::new(),
            reports: Vec::new(),
            books: Vec::new(),
            favoured: BTreeSet::new(),
            trace: Vec::new(),
            peers: BTreeMap::new(),
            next_request: RequestId(1),
            next_session: 1,
        };
        rig.input(Input::Started);
        rig.expect_command(SessionCommand::Introduce);
        rig
    }

    /// These are dialled.
    fn naming(peers: &[PeerId]) -> Self {
        let static_peers = peers.iter().map(|id| node(*id)).collect();
        Self::with(PeerManagerConfig { static_peers, ..PeerManagerConfig::default() }, 0)
    }

    fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        self.trace.extend(effects.iter().cloned());
        for effect in effects {
            match effect {
                Effect::Note(note) => self.notes.push(note),
                Effect::Peers(report) => self.reports.push((self.now, report)),
                Effect::Book(book) => self.books.push((self.now, book)),
                Effect::Command(SessionCommand::Favour { peers }) => self.favoured = peers,
                Effect::Outcome(_) | Effect::Command(_) => self.seen.push_back(effect),
            }
        }
    }

    /// Time passes, and the core is woken whenever it wants to be.
    fn passes(&mut self, time_ms: u64) {
        let end = self.now + ms(time_ms);
        while let Some((at, reason)) = self.core.next_wakeup()
            && at <= end
        {
            assert!(at > self.now || at == end, "woken without end: {reason}");
            self.now = at;
            self.input(Input::Wakeup);
            if at == end {
                break;
            }
        }
        self.now = end;
    }

    fn peer_opens(&mut self, info: PeerInfo) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.peers.insert(session, info.id);
        self.input(Input::Session(SessionEvent::Opened { session, peer: info }));
        session
    }

    fn peer_connects(&mut self, id: PeerId) -> SessionId {
        self.peer_opens(info(id, Direction::Outbound))
    }

    fn peer_connects_with(&mut self, id: PeerId, range: AnnouncedRange) -> SessionId {
        self.peer_opens(PeerInfo { range: Some(range), ..info(id, Direction::Outbound) })
    }

    fn peer_closes(&mut self, session: SessionId, reason: CloseReason) {
        let peer = self.peers[&session];
        self.input(Input::Session(SessionEvent::Closed { session, peer, reason }));
    }

    fn dial_fails(&mut self, id: PeerId, reason: CloseReason) {
        self.input(Input::Session(SessionEvent::DialFailed { node: node(id), reason }));
    }

    fn request(&mut self, items: FetchItems) -> FetchRequest {
        FetchRequest {
            id: self.next_request.take(),
            items,
            priority: Priority::History,
            avoid: Vec::new(),
            budget_ms: 60_000,
        }
    }

    fn fetch(&mut self, items: FetchItems) -> RequestId {
        let request = self.request(items);
        self.send(request)
    }

    fn fetch_tip(&mut self, items: FetchItems) -> RequestId {
        let request = FetchRequest { priority: Priority::Tip, ..self.request(items) };
        self.send(request)
    }

    fn fetch_avoiding(&mut self, items: FetchItems, avoid: &[PeerId]) -> RequestId {
        let request = FetchRequest { avoid: avoid.to_vec(), ..self.request(items) };
        self.send(request)
    }

    fn fetch_within(&mut self, items: FetchItems, budget_ms: u64) -> RequestId {
        let request = FetchRequest { budget_ms, ..self.request(items) };
        self.send(request)
    }

    fn send(&mut self, request: FetchRequest) -> RequestId {
        let id = request.id;
        self.input(Input::Fetch(request));
        id
    }

    fn cancel(&mut self, ids: &[RequestId]) {
        self.input(Input::Command(FetchCommand::Cancel { ids: ids.to_vec() }));
    }

    fn answers_after(&mut self, time_ms: u64, asked: &Asked, count: usize) {
        self.passes(time_ms);
        self.input(Input::Session(SessionEvent::Answered {
            session: asked.session,
            request: asked.id,
            items: items(&asked.items, count),
            wire_bytes: 1_000,
        }));
    }

    /// Gives a peer a measured speed: two bodies after this time.
    fn measure(&mut self, id: PeerId, time_ms: u64) {
        let others: Vec<PeerId> = self.peers.values().copied().filter(|it| *it != id).collect();
        let request = self.fetch_avoiding(bodies(1..=2), &others);
        let asked = self.expect_asked(id);
        self.answers_after(time_ms, &asked, 2);
        self.expect_answer(request, id);
    }

    /// What is out to this peer, as told to whoever watches.
    fn in_flight(&self, id: PeerId) -> u64 {
        let peers = self.core.peers_report(self.now).peers;
        peers.iter().find(|peer| peer.id == id).map_or(0, |peer| peer.in_flight)
    }

    fn faults(&self, id: PeerId) -> u64 {
        let peers = self.core.peers_report(self.now).peers;
        peers.iter().find(|peer| peer.id == id).map_or(0, |peer| peer.faults)
    }

    fn delay_ms(&self, id: PeerId) -> Option<u64> {
        let peers = self.core.peers_report(self.now).peers;
        peers.iter().find(|peer| peer.id == id).and_then(|peer| peer.delay_ms)
    }

    /// About an answer that was not reported on before.
    fn reports(&mut self, peer: PeerId, conduct: Conduct) {
        let request = self.next_request.take();
        self.reports_on(request, peer, conduct);
    }

    fn reports_on(&mut self, request: RequestId, peer: PeerId, conduct: Conduct) {
        self.input(Input::Report(PeerReport { peer, request, conduct }));
    }

    #[track_caller]
    fn expect_effect(&mut self) -> Effect {
        self.seen.pop_front().expect("the core did something")
    }

    #[track_caller]
    fn expect_asked(&mut self, peer: PeerId) -> Asked {
        match self.expect_effect() {
            Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                assert_eq!(self.peers[&session], peer, "another peer was asked");
                Asked { session, id: request, items }
            }
            other => panic!("expected {peer} to be asked, got {other:?}"),
        }
    }

    #[track_caller]
    fn expect_command(&mut self, expected: SessionCommand) {
        assert_eq!(self.expect_effect(), Effect::Command(expected));
    }

    #[track_caller]
    fn expect_dial(&mut self, id: PeerId) {
        self.expect_command(SessionCommand::Dial { node: node(id) });
    }

    #[track_caller]
    fn expect_disconnect(&mut self, session: SessionId, reason: DisconnectReason) {
        self.expect_command(SessionCommand::Disconnect { session, reason });
    }

    #[track_caller]
    fn expect_answer(&mut self, request: RequestId, from: PeerId) {
        match self.expect_effect() {
            Effect::Outcome(FetchOutcome { id, peer, result: Ok(_) }) => {
                assert_eq!((id, peer), (request, Some(from)));
            }
            other => panic!("expected the answer to {request}, got {other:?}"),
        }
    }

    #[track_caller]
    fn expect_failure(&mut self, id: RequestId, peer: Option<PeerId>, error: FetchError) {
        let outcome = FetchOutcome { id, peer, result: Err(error) };
        assert_eq!(self.expect_effect(), Effect::Outcome(outcome));
    }

    #[track_caller]
    fn expect_silence(&self) {
        assert_eq!(self.seen, [], "expected silence");
    }
}
