//! The crowd, the downloader and whoever chooses, on one virtual clock.

use std::collections::BTreeSet;

use super::*;
use moorline_messages::Blame;

use model::{Answer, Dice, Habit, Model, Sizes};
use oracle::Oracle;
use wanting::Wanting;

/// Longest run, in virtual time.
const RUN_MAX: Duration = Duration::from_secs(1_200);
/// When a peer whose session we ended comes again.
const COMES_AGAIN: Duration = Duration::from_secs(7);

/// Who chooses.
enum Chooser {
    Core(Box<PeerManagerCore>),
    Oracle(Oracle),
}

/// What happens by itself.
#[derive(Debug)]
enum Happening {
    Arrives { session: SessionId, peer: usize, id: RequestId, items: FetchItems, answer: Answer },
    Connects(usize),
    Breaks(usize, SessionId),
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) took: Duration,
    /// Bytes that were wanted and came, by peer.
    pub(super) bytes: BTreeMap<PeerId, u64>,
    pub(super) banned: BTreeSet<PeerId>,
    /// How often peers were reported as liars.
    pub(super) proofs: BTreeMap<PeerId, u64>,
    /// Peers that were asked, or had a session, after that.
    pub(super) asked_after_proof: BTreeSet<PeerId>,
    /// Bytes that came, wanted or not.
    pub(super) came_bytes: u64,
    /// The most attempts that a block took.
    pub(super) attempts: u32,
    /// The most sessions that stood at a time, of peers in the subnet of interest.
    pub(super) sybil_sessions: usize,
}

pub(super) struct World {
    now: Instant,
    start: Instant,
    chooser: Chooser,
    pub(super) peers: Vec<Model>,
    by_session: BTreeMap<SessionId, usize>,
    sizes: Sizes,
    blocks: u64,
    wanting: Wanting,
    happenings: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    next_session: u64,
    /// The answer at hand, while it is told.
    answer: Option<Answer>,
    /// What the chooser is told, in order.
    told: VecDeque<Input>,
    account: Account,
}

impl World {
    /// The core chooses, or the oracle.
    pub(super) fn of(setting: &Setting, is_core: bool) -> Self {
        let start = moorline_kit::now();
        let config = PeerManagerConfig { peers_max: 60, ..PeerManagerConfig::default() };
        let chooser = if is_core {
            Chooser::Core(Box::new(PeerManagerCore::new(config, 0)))
        } else {
            Chooser::Oracle(Oracle::default())
        };
        let mut dice = Dice::of(setting.seed);
        let peers = setting.peers.iter().zip(1_u8..).map(|((addr, speed, habit), number)| {
            let dice = Dice::of(dice.between(0..=u64::MAX - 1));
            Model::new(start, (number, *addr), *speed, *habit, dice)
        });
        let mut world = Self {
            now: start,
            start,
            chooser,
            peers: peers.collect(),
            by_session: BTreeMap::new(),
            sizes: setting.sizes,
            blocks: setting.blocks,
            wanting: Wanting::new(setting.blocks, setting.sizes),
            happenings: BTreeMap::new(),
            count: 0,
            next_session: 1,
            answer: None,
            told: VecDeque::new(),
            account: Account::default(),
        };
        world.tell(Input::Started);
        for at in 0..world.peers.len() {
            let comes = match world.peers[at].habit {
                Habit::Late(after) => start + after,
                _ => start,
            };
            world.happens(comes, Happening::Connects(at));
        }
        world
    }

    /// Until everything is here.
    pub(super) fn run(mut self) -> Account {
        while !self.wanting.is_done() {
            let took = self.now - self.start;
            assert!(took < RUN_MAX, "the sync does not end: {:?}", self.account);
            let first = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let wakeups = [self.chooser_wakeup(), self.wanting.next_wakeup(self.now)];
            let wakeup = wakeups.into_iter().flatten().min();
            let next = [first, wakeup].into_iter().flatten().min().expect("something is to come");
            self.now = self.now.max(next);
            if first == Some(next) {
                let (_, happening) = self.happenings.pop_first().unwrap();
                self.on(happening);
            } else if self.chooser_wakeup() == Some(next) {
                self.tell(Input::Wakeup);
            }
            self.want();
        }
        self.account.took = self.now - self.start;
        self.account.attempts = self.wanting.attempts();
        self.account
    }

    fn chooser_wakeup(&self) -> Option<Instant> {
        match &self.chooser {
            Chooser::Core(core) => core.next_wakeup().map(|(at, _)| at),
            Chooser::Oracle(_) => None,
        }
    }

    fn happens(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), happening);
    }

    fn on(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { session, peer, id, items, answer } => {
                if self.peers[peer].session == Some(session) {
                    let arrived = super::items(&items, answer.count);
                    let wire_bytes = answer.bytes as usize;
                    self.account.came_bytes += answer.bytes;
                    self.answer = Some(answer);
                    let event =
                        SessionEvent::Answered { session, request: id, items: arrived, wire_bytes };
                    self.tell(Input::Session(event));
                    self.answer = None;
                }
            }
            Happening::Connects(at) => self.connect(at),
            Happening::Breaks(at, session) => {
                if self.peers[at].session == Some(session) {
                    self.close(at, CloseReason::Network("reset".to_owned()));
                    if let Habit::Flapping(after) = self.peers[at].habit {
                        self.happens(self.now + after, Happening::Connects(at));
                    }
                }
            }
        }
    }

    fn connect(&mut self, at: usize) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.by_session.insert(session, at);
        let (now, peer) = (self.now, &mut self.peers[at]);
        peer.session = Some(session);
        peer.free_at = now;
        if let Habit::Flapping(after) = peer.habit {
            peer.breaks_at = Some(now + after);
            self.happens(now + after, Happening::Breaks(at, session));
        }
        let peer = self.peers[at].info(self.blocks);
        self.tell(Input::Session(SessionEvent::Opened { session, peer }));
        let stand = self.peers.iter().filter(|peer| peer.session.is_some() && is_sybil(peer.addr));
        self.account.sybil_sessions = self.account.sybil_sessions.max(stand.count());
    }

    fn close(&mut self, at: usize, reason: CloseReason) {
        let Some(session) = self.peers[at].session.take() else { return };
        let peer = self.peers[at].id;
        self.tell(Input::Session(SessionEvent::Closed { session, peer, reason }));
    }

    fn want(&mut self) {
        for request in self.wanting.fetches(self.now) {
            self.tell(Input::Fetch(request));
        }
    }

    /// Tells the chooser, and then what comes of that, in order.
    fn tell(&mut self, input: Input) {
        self.told.push_back(input);
        if self.told.len() > 1 {
            return;
        }
        while let Some(input) = self.told.front().cloned() {
            self.step(input);
            self.told.pop_front();
        }
    }

    fn step(&mut self, input: Input) {
        let proof = match &input {
            Input::Report(report) if report.conduct.blame() == Blame::Peer => Some(report.peer),
            _ => None,
        };
        let mut effects = Vec::new();
        match &mut self.chooser {
            Chooser::Core(core) => core.handle(self.now, input, &mut effects),
            Chooser::Oracle(oracle) => {
                oracle.handle(self.now, input, &mut self.peers, self.sizes, &mut effects);
            }
        }
        for effect in effects {
            match effect {
                Effect::Command(SessionCommand::Fetch { session, request, items }) => {
                    self.ask(session, request, items);
                }
                Effect::Command(SessionCommand::Disconnect { session, reason }) => {
                    let at = self.by_session[&session];
                    self.close(at, CloseReason::Local(reason));
                    self.happens(self.now + COMES_AGAIN, Happening::Connects(at));
                }
                Effect::Outcome(outcome) => self.hear(outcome),
                Effect::Note(Note::Banned { peer, .. }) => drop(self.account.banned.insert(peer)),
                _ => {}
            }
        }
        if let Some(liar) = proof.filter(|_| matches!(self.chooser, Chooser::Core(_))) {
            *self.account.proofs.entry(liar).or_default() += 1;
            if self.peers.iter().any(|peer| peer.id == liar && peer.session.is_some()) {
                self.account.asked_after_proof.insert(liar);
            }
        }
    }

    fn ask(&mut self, session: SessionId, id: RequestId, items: FetchItems) {
        let at = self.by_session[&session];
        let peer = &mut self.peers[at];
        if self.account.proofs.contains_key(&peer.id) {
            self.account.asked_after_proof.insert(peer.id);
        }
        if peer.session != Some(session) {
            return;
        }
        if let Some((arrives, answer)) = peer.answer(self.now, &items, self.sizes) {
            self.happens(arrives, Happening::Arrives { session, peer: at, id, items, answer });
        }
    }

    fn hear(&mut self, outcome: FetchOutcome) {
        let FetchOutcome { id, peer, result } = outcome;
        match result {
            Ok(_) => {
                let (peer, answer) = (peer.unwrap(), self.answer.take().unwrap());
                for report in self.wanting.answered(self.now, id, peer, &answer) {
                    if report.conduct == Conduct::Served {
                        *self.account.bytes.entry(peer).or_default() += answer.bytes;
                    }
                    self.tell(Input::Report(report));
                }
            }
            Err(error) => self.wanting.failed(self.now, id, peer, error),
        }
    }
}
