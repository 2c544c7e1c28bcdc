//! The whole actor, at the ends of its ports.

use moorline_kit::{Ask, Crash, Limit, Port, Probe, RestartPolicy, Slot, Stop, Watchers, paused};
use moorline_messages::{ActorName, Lifecycle};
use tokio::sync::mpsc;

use super::*;
use crate::{PeerManagerActor, Ports};

struct Stage {
    fetch: Port<FetchRequest>,
    events: Port<SessionEvent>,
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
        events: slot.port("session-events", limit),
        stop: slot.port("stop", limit),
        crash: slot.port("crash", limit),
        fetched,
        sessions,
        peers,
        lifecycle,
        _gave_up,
    };
    let ports = Ports { fetched: fetched_port, sessions: sessions_port, peers: peers_port };
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
        assert_eq!(stage.peers.expect_message().await.peers[0].id, ANNA);
        assert_eq!(stage.peers.expect_message().await.peers[0].served_items, 2);
        stage.peers.expect_silence().await;
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
        stage.fetch.tell(fetch(8)).unwrap();
        stage.sessions.expect_silence().await;
        stage.events.tell(opened(1, ANNA)).unwrap();
        assert_eq!(stage.sessions.expect_message().await, asked(1, 8));
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
