//! Lost memories, and the same inputs twice.

use moorline_messages::{ActorName, Lifecycle};

use super::*;

fn restarted(actor: ActorName) -> Input {
    Input::Lifecycle(Lifecycle::Restarted { actor, incarnation: 1 })
}

#[test]
fn after_a_restart_sessions_introduce_themselves_before_anybody_is_dialled() {
    let static_peers = vec![node(ANNA), node(BERT)];
    let config = PeerManagerConfig { static_peers, ..PeerManagerConfig::default() };
    let mut rig = Rig::with(config, 1);
    rig.passes(999);
    rig.peer_connects(ANNA);
    rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    // asked for by the incarnation before
    let stale = Asked { id: RequestId(77), ..asked.clone() };
    rig.answers_after(0, &stale, 1);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dial(BERT);
    rig.expect_silence();
    rig.answers_after(0, &asked, 1);
    rig.expect_answer(asked.id, ANNA);
}

#[test]
fn an_introduction_of_a_known_session_changes_only_its_description() {
    let mut rig = Rig::new();
    let session = rig.peer_connects(ANNA);
    let id = rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    let peer = PeerInfo { range: Some(range(5, 9)), ..info(ANNA, Direction::Outbound) };
    rig.input(Input::Session(SessionEvent::Opened { session, peer }));
    rig.fetch(bodies(4..=4));
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(id, ANNA);
    rig.expect_silence();
}

#[test]
fn a_downloader_without_memory_is_owed_nothing() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    for number in 1..=6 {
        rig.fetch(bodies(number..=number));
    }
    let asked: Vec<Asked> = (1..=4).map(|_| rig.expect_asked(ANNA)).collect();
    rig.input(restarted(ActorName::Downloader));
    rig.answers_after(10, &asked[0], 1);
    rig.expect_silence();
    let id = rig.fetch(bodies(9..=9));
    let again = rig.expect_asked(ANNA);
    rig.answers_after(10, &again, 1);
    rig.expect_answer(id, ANNA);
    rig.passes(100_000);
    rig.expect_silence();
}

#[test]
fn other_restarts_change_nothing() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    rig.input(restarted(ActorName::Tree));
    rig.input(restarted(ActorName::Store));
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(asked.id, ANNA);
}

#[test]
fn an_answer_of_another_session_is_not_taken() {
    let mut rig = Rig::new();
    rig.peer_connects(ANNA);
    let other = rig.peer_connects(BERT);
    rig.fetch(bodies(1..=1));
    let asked = rig.expect_asked(ANNA);
    rig.answers_after(10, &Asked { session: other, ..asked.clone() }, 1);
    rig.expect_silence();
    rig.answers_after(10, &asked, 1);
    rig.expect_answer(asked.id, ANNA);
}

#[test]
fn a_stop_says_goodbye_to_everybody() {
    let mut rig = Rig::naming(&[CARL]);
    rig.expect_dial(CARL);
    let sessions = [rig.peer_connects(ANNA), rig.peer_connects(BERT)];
    rig.input(Input::Stop);
    for session in sessions {
        rig.expect_disconnect(session, DisconnectReason::ClientQuitting);
    }
    rig.expect_silence();
}
