//! The whole actor, at the ends of its ports.

use moorline_kit::{Ask, Crash, Limit, Port, Probe, RestartPolicy, Slot, Stop, Watchers, paused};
use moorline_messages::{ActorName, Lifecycle};
use tokio::sync::mpsc;

use super::*;
use crate::{PeerManagerActor, Ports};

struct Stage {
    fetch: Port<FetchRequest>,
    command: Port<FetchCommand>,
    events: Port<SessionEvent>,
    reports: Port<PeerReport>,
    orders: Port<PeerCommand>,
    stop: Port<Ask<Stop, ()>>,
    crash: Port<Crash>,
    fetched: Probe<FetchOutcome>,
    sessions: Probe<SessionCommand>,
    peers: Probe<PeersReport>,
    lifecycle: Probe<Lifecycle>,
    _gave_up: mpsc::UnboundedReceiver<moorline_kit::GaveUp>,
}

fn stage(static_peers: Vec<NodeRecord>, sessions_items: usize) -> Stage {
    moorline_kit::keep_panics_to_one_line();
    let limit = Limit::new(100, 1_000_000);
    let slot = Slot::<PeerManagerActor>::new(ActorName::PeerManager);
    let (fetched_port, fetched) = Probe::new(limit);
    let (sessions_port, sessions) = Probe::new(Limit::new(sessions_items, 1_000_000));
    let (peers_port, peers) = Probe::new(limit);
    let (neighbour, lifecycle) = Probe::new(limit);
    let (gave_up, _gave_up) = mpsc::unbounded_channel();
    let stage = Stage {
        fetch: slot.port("fetch", limit),
        command: slot.port("command", limit),
        events: slot.port("session-events", limit),
        reports: slot.port("reports", limit),
        orders: slot.port("orders", limit),
        stop: slot.port("stop", limit),
        crash: slot.port("crash", limit),
        fetched,
        sessions,
        peers,
        lifecycle,
        _gave_up,
    };
    let (book, _) = Port::channel("book", Limit::new(1, 1 << 20));
    let ports = Ports { fetched: fetched_port, sessions: sessions_port, peers: peers_port, book };
    let config = PeerManagerConfig { static_peers, ..PeerManagerConfig::default() };
    let watchers = Watchers { neighbours: vec![neighbour], gave_up };
    let build = move || PeerManagerActor::new(config, ports);
    slot.start(&actix_rt::Arbiter::current(), RestartPolicy::default(), watchers, build).unwrap();
    stage
}

fn fetch(id: u64) -> FetchRequest {
    FetchRequest {
        id: RequestId(id),
        items: bodies(1..=2),
        priority: Priority::History,
        avoid: Vec::new(),
        budget_ms: 3_000,
    }
}

fn favours(peers: &[PeerId]) -> SessionCommand {
    SessionCommand::Favour { peers: peers.iter().copied().collect() }
}

fn opened(session: u64, id: PeerId) -> SessionEvent {
    let peer = info(id, Direction::Outbound);
    SessionEvent::Opened { session: SessionId(session), peer }
}

fn asked(session: u64, id: u64) -> SessionCommand {
    SessionCommand::Fetch {
        session: SessionId(session),
        request: RequestId(id),
        items: bodies(1..=2),
    }
}

#[test]
fn a_request_travels_to_a_peer_and_back() {
    paused(async {
        let mut stage = stage(vec![node(ANNA)], 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        assert_eq!(stage.sessions.expect_message().await, favours(&[ANNA]));
        let dial = SessionCommand::Dial { node: node(ANNA) };
        assert_eq!(stage.sessions.expect_message().await, dial);
        stage.events.tell(opened(1, ANNA)).unwrap();
        stage.fetch.tell(fetch(7)).unwrap();
        assert_eq!(stage.sessions.expect_message().await, asked(1, 7));
        let answer = items(&bodies(1..=2), 2);
        stage
            .events
            .tell(SessionEvent::Answered {
                session: SessionId(1),
                request: RequestId(7),
                items: answer.clone(),
                wire_bytes: 10,
            })
            .unwrap();
        let outcome = FetchOutcome { id: RequestId(7), peer: Some(ANNA), result: Ok(answer) };
        assert_eq!(stage.fetched.expect_message().await, outcome);
        assert_eq!(stage.peers.expect_message().await.dialling, 1);
        let report = stage.peers.expect_message().await;
        assert_eq!(
            (report.dialling, report.peers[0].id, report.peers[0].served_items),
            (0, ANNA, 2)
        );
        stage.peers.expect_silence().await;
    });
}

fn answered(session: u64, id: u64) -> SessionEvent {
    SessionEvent::Answered {
        session: SessionId(session),
        request: RequestId(id),
        items: items(&bodies(1..=2), 2),
        wire_bytes: 10,
    }
}

#[test]
fn a_cancelled_request_makes_room_for_others_and_comes_to_nothing() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        stage.events.tell(opened(1, ANNA)).unwrap();
        for id in 1..=6 {
            stage.fetch.tell(fetch(id)).unwrap();
        }
        for id in 1..=4 {
            assert_eq!(stage.sessions.expect_message().await, asked(1, id));
        }
        let ids = vec![RequestId(2), RequestId(5), RequestId(77)];
        stage.command.tell(FetchCommand::Cancel { ids }).unwrap();
        assert_eq!(stage.sessions.expect_message().await, asked(1, 6));
        for id in [2, 6] {
            stage.events.tell(answered(1, id)).unwrap();
        }
        assert_eq!(stage.fetched.expect_message().await.id, RequestId(6));
        // the budgets of all end
        let rest = [1, 3, 4].map(RequestId);
        for id in rest {
            assert_eq!(stage.fetched.expect_message().await.id, id);
        }
        stage.fetched.expect_silence().await;
    });
}

#[test]
fn the_tip_goes_to_a_second_peer_by_the_clock_and_the_first_answer_is_the_outcome() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        stage.events.tell(opened(1, ANNA)).unwrap();
        stage.events.tell(opened(2, BERT)).unwrap();
        let start = moorline_kit::now();
        stage.fetch.tell(FetchRequest { priority: Priority::Tip, ..fetch(7) }).unwrap();
        assert_eq!(stage.sessions.expect_message().await, asked(1, 7));
        assert_eq!(stage.sessions.expect_message().await, asked(2, 7));
        let took = moorline_kit::now() - start;
        assert!((ms(1_000)..ms(1_010)).contains(&took), "{took:?}");
        stage.events.tell(answered(2, 7)).unwrap();
        let outcome = stage.fetched.expect_message().await;
        assert_eq!((outcome.id, outcome.peer), (RequestId(7), Some(BERT)));
        stage.events.tell(answered(1, 7)).unwrap();
        stage.fetched.expect_silence().await;
    });
}

#[test]
fn the_clock_runs_without_messages() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        let start = moorline_kit::now();
        stage.fetch.tell(fetch(7)).unwrap();
        let outcome =
            FetchOutcome { id: RequestId(7), peer: None, result: Err(FetchError::NoPeer) };
        assert_eq!(stage.fetched.expect_message().await, outcome);
        let took = moorline_kit::now() - start;
        assert!((ms(3_000)..ms(3_010)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_full_port_delays_commands_and_loses_none() {
    paused(async {
        let mut stage = stage(vec![node(ANNA), node(BERT), node(CARL)], 1);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        assert_eq!(stage.sessions.expect_message().await, favours(&[ANNA, BERT, CARL]));
        for id in [ANNA, BERT, CARL] {
            let dial = SessionCommand::Dial { node: node(id) };
            assert_eq!(stage.sessions.expect_message().await, dial);
        }
    });
}

#[test]
fn a_crash_costs_the_memory_and_the_sessions_are_learnt_again() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        stage.events.tell(opened(1, ANNA)).unwrap();
        stage.crash.tell(Crash).unwrap();
        let restarted = Lifecycle::Restarted { actor: ActorName::PeerManager, incarnation: 1 };
        assert_eq!(stage.lifecycle.expect_message().await, restarted);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        // the edge may hold to an older list
        assert_eq!(stage.sessions.expect_message().await, favours(&[]));
        stage.fetch.tell(fetch(8)).unwrap();
        stage.sessions.expect_silence().await;
        stage.events.tell(opened(1, ANNA)).unwrap();
        assert_eq!(stage.sessions.expect_message().await, asked(1, 8));
    });
}

#[test]
fn neither_bans_nor_counts_nor_what_the_operator_ordered_are_lost_by_a_crash() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        stage.events.tell(opened(1, ANNA)).unwrap();
        let lied = PeerReport { peer: ANNA, request: RequestId(1), conduct: Conduct::BrokenLink };
        stage.reports.tell(lied).unwrap();
        let reason = DisconnectReason::ProtocolBreach;
        let ended = SessionCommand::Disconnect { session: SessionId(1), reason };
        assert_eq!(stage.sessions.expect_message().await, ended);
        stage.orders.tell(PeerCommand::Add { node: node(BERT) }).unwrap();
        assert_eq!(stage.sessions.expect_message().await, favours(&[BERT]));
        let dial = SessionCommand::Dial { node: node(BERT) };
        assert_eq!(stage.sessions.expect_message().await, dial);
        stage.crash.tell(Crash).unwrap();
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        assert_eq!(stage.sessions.expect_message().await, favours(&[BERT]));
        stage.events.tell(opened(2, ANNA)).unwrap();
        let reason = DisconnectReason::UselessPeer;
        let refused = SessionCommand::Disconnect { session: SessionId(2), reason };
        assert_eq!(stage.sessions.expect_message().await, refused);
        assert_eq!(stage.sessions.expect_message().await, dial);
        let report = std::iter::from_fn(|| stage.peers.try_next()).last().unwrap();
        assert_eq!((report.counts.bans, report.counts.refused), (1, 1));
    });
}

#[test]
fn a_stop_is_answered_after_the_goodbyes() {
    paused(async {
        let mut stage = stage(Vec::new(), 100);
        assert_eq!(stage.sessions.expect_message().await, SessionCommand::Introduce);
        stage.events.tell(opened(1, ANNA)).unwrap();
        stage.stop.ask(Stop).await.unwrap();
        let goodbye = SessionCommand::Disconnect {
            session: SessionId(1),
            reason: DisconnectReason::ClientQuitting,
        };
        assert_eq!(stage.sessions.try_next(), Some(goodbye));
    });
}
