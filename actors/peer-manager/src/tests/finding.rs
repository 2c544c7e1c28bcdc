//! Peers that discovery found, and those that are remembered.

use std::net::Ipv4Addr;

use moorline_messages::{DiscoveryEvent, PeerBan, PeerOrigin};

use super::*;
use crate::core::Pool;

const MINUTE_MS: u64 = 60_000;

fn far(subnet: u8, host: u8) -> NodeRecord {
    let id = PeerId(B512::from_slice(&[[subnet; 32], [host; 32]].concat()));
    NodeRecord { id, addr: SocketAddr::from((Ipv4Addr::new(8, 8, subnet, host), 30_303)) }
}

fn session_of(node: NodeRecord, direction: Direction) -> PeerInfo {
    PeerInfo { addr: node.addr, ..info(node.id, direction) }
}

impl Rig {
    fn remembering(book: PeerBookReport) -> Self {
        Self::with(PeerManagerConfig { book, ..PeerManagerConfig::default() }, 0)
    }

    fn room_for(peers_max: usize, inbound_max: usize) -> Self {
        let config = PeerManagerConfig { peers_max, inbound_max, ..PeerManagerConfig::default() };
        Self::with(config, 0)
    }

    fn finds(&mut self, node: NodeRecord) {
        let origin = PeerOrigin::Discv4;
        self.input(Input::Discovery(DiscoveryEvent::Found { node, origin }));
    }

    #[track_caller]
    fn expect_dialled(&mut self, node: NodeRecord) {
        self.expect_command(SessionCommand::Dial { node });
    }

    fn connects(&mut self, node: NodeRecord) -> SessionId {
        self.peer_opens(session_of(node, Direction::Outbound))
    }

    fn refuses(&mut self, node: NodeRecord, reason: CloseReason) {
        self.input(Input::Session(SessionEvent::DialFailed { node, reason }));
    }

    fn lies(&mut self, node: NodeRecord) {
        self.reports(node.id, Conduct::BrokenLink);
    }

    fn told(&self) -> PeersReport {
        self.core.peers_report(self.now)
    }

    fn book(&self) -> PeerBookReport {
        self.core.book(self.now)
    }
}

fn gone() -> CloseReason {
    CloseReason::Network("connection refused".to_owned())
}

#[test]
fn nodes_that_are_found_are_dialled_one_after_another() {
    let mut rig = Rig::new();
    for host in 1..=3 {
        rig.finds(far(host, 1));
    }
    rig.expect_dialled(far(1, 1));
    rig.passes(99);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dialled(far(2, 1));
    rig.passes(100);
    rig.expect_dialled(far(3, 1));
    rig.passes(1_000);
    rig.expect_silence();
    assert_eq!((rig.told().dialling, rig.told().candidates), (3, 0));
}

#[test]
fn nobody_is_dialled_beyond_the_slots_and_one_that_comes_free_is_used() {
    let mut rig = Rig::room_for(3, 1);
    for host in 1..=3 {
        rig.finds(far(host, 1));
        rig.passes(100);
    }
    rig.expect_dialled(far(1, 1));
    rig.expect_dialled(far(2, 1));
    let first = rig.connects(far(1, 1));
    rig.connects(far(2, 1));
    rig.passes(MINUTE_MS);
    rig.expect_silence();
    rig.peer_closes(first, CloseReason::Remote(DisconnectReason::ClientQuitting));
    rig.expect_dialled(far(3, 1));
}

#[test]
fn what_fails_waits_longer_each_time_and_is_forgotten_at_last() {
    let mut rig = Rig::new();
    rig.finds(far(1, 1));
    for wait_s in [35, 70, 140, 280, 560] {
        rig.expect_dialled(far(1, 1));
        rig.refuses(far(1, 1), gone());
        rig.passes(wait_s * 1_000 - 1);
        rig.expect_silence();
        rig.passes(1);
    }
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), gone());
    rig.passes(120 * MINUTE_MS);
    rig.expect_silence();
    assert_eq!(rig.told().candidates, 0);
}

#[test]
fn a_dial_of_which_nothing_is_heard_takes_no_slot_for_ever() {
    let mut rig = Rig::room_for(1, 0);
    rig.finds(far(1, 1));
    rig.finds(far(2, 1));
    rig.expect_dialled(far(1, 1));
    rig.passes(29_999);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dialled(far(2, 1));
}

#[test]
fn a_node_of_another_network_is_not_tried_again_within_the_hour() {
    let mut rig = Rig::new();
    rig.finds(far(1, 1));
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), CloseReason::OtherNetwork("genesis".to_owned()));
    rig.passes(60 * MINUTE_MS - 1);
    rig.expect_silence();
    rig.passes(1);
    rig.expect_dialled(far(1, 1));
}

#[test]
fn one_neighbourhood_gets_no_more_than_its_share_of_the_sessions() {
    let mut rig = Rig::new();
    for host in 1..=20 {
        rig.finds(far(1, host));
    }
    rig.passes(10_000);
    for host in 1..=4 {
        rig.expect_dialled(far(1, host));
        rig.connects(far(1, host));
    }
    rig.passes(MINUTE_MS);
    rig.expect_silence();
    let fifth = rig.peer_opens(session_of(far(1, 99), Direction::Inbound));
    rig.expect_disconnect(fifth, DisconnectReason::TooManyPeers);
    rig.peer_opens(session_of(far(2, 1), Direction::Inbound));
    rig.expect_silence();
}

#[test]
fn one_address_gets_two_sessions_and_a_local_network_as_many_as_it_likes() {
    let mut rig = Rig::new();
    let same = |byte: u8| {
        let id = PeerId(B512::repeat_byte(byte));
        PeerInfo { addr: far(1, 1).addr, ..info(id, Direction::Inbound) }
    };
    rig.peer_opens(same(1));
    rig.peer_opens(same(2));
    rig.expect_silence();
    let third = rig.peer_opens(same(3));
    rig.expect_disconnect(third, DisconnectReason::TooManyPeers);
    for byte in 10..=20 {
        rig.peer_opens(info(PeerId(B512::repeat_byte(byte)), Direction::Inbound));
    }
    rig.expect_silence();
}

#[test]
fn a_liar_is_banned_with_its_address_and_longer_each_time() {
    let mut rig = Rig::new();
    for (wait_ms, other) in [(600_000, BERT), (1_200_000, CARL)] {
        let session = rig.peer_opens(session_of(far(1, 1), Direction::Inbound));
        rig.expect_silence();
        rig.lies(far(1, 1));
        rig.expect_disconnect(session, DisconnectReason::ProtocolBreach);
        let neighbour = NodeRecord { id: other, addr: far(1, 1).addr };
        let second = rig.peer_opens(session_of(neighbour, Direction::Inbound));
        rig.expect_disconnect(second, DisconnectReason::UselessPeer);
        rig.finds(neighbour);
        rig.finds(far(1, 1));
        rig.passes(wait_ms - 1);
        rig.expect_silence();
        assert_eq!(rig.told().banned, 1);
        rig.passes(1);
        rig.expect_dialled(neighbour);
        rig.refuses(neighbour, CloseReason::OtherNetwork("genesis".to_owned()));
        assert_eq!(rig.told().banned, 0);
    }
}

#[test]
fn nobody_else_suffers_for_a_liar_on_a_local_network() {
    for local in ["127.0.0.1:1", "[::1]:1", "192.168.1.7:1"] {
        let addr = local.parse().unwrap();
        let mut rig = Rig::new();
        let liar = rig.peer_opens(PeerInfo { addr, ..info(ANNA, Direction::Inbound) });
        rig.reports(ANNA, Conduct::BrokenLink);
        rig.expect_disconnect(liar, DisconnectReason::ProtocolBreach);
        rig.peer_opens(PeerInfo { addr, ..info(BERT, Direction::Inbound) });
        rig.expect_silence();
        assert_eq!(rig.book().bans[0].ip, None, "{local}");
    }
}

#[test]
fn bans_and_good_peers_outlive_a_restart() {
    let mut rig = Rig::new();
    rig.finds(far(1, 1));
    rig.finds(far(2, 1));
    rig.passes(100);
    rig.expect_dialled(far(1, 1));
    rig.expect_dialled(far(2, 1));
    rig.connects(far(1, 1));
    let liar = rig.connects(far(2, 1));
    rig.fetch_avoiding(bodies(1..=2), &[far(2, 1).id]);
    let asked = rig.expect_asked(far(1, 1).id);
    rig.answers_after(10, &asked, 2);
    rig.expect_effect();
    rig.lies(far(2, 1));
    rig.expect_disconnect(liar, DisconnectReason::ProtocolBreach);
    rig.passes(10_000);
    let (_, told) = rig.books.last().cloned().unwrap();
    assert_eq!(told.good, [far(1, 1)]);

    let mut next = Rig::remembering(rig.book());
    next.expect_dialled(far(1, 1));
    let session = next.peer_opens(session_of(far(2, 1), Direction::Inbound));
    next.expect_disconnect(session, DisconnectReason::UselessPeer);
    next.connects(far(1, 1));
    assert_eq!(next.told().peers[0].origin, PeerOrigin::Remembered);
    next.passes(590_000);
    next.peer_opens(session_of(far(2, 1), Direction::Inbound));
    next.expect_silence();
}

#[test]
fn a_remembered_peer_that_is_away_is_remembered_further_until_it_failed_often() {
    let book = PeerBookReport { good: vec![far(1, 1)], bans: Vec::new() };
    let mut rig = Rig::remembering(book.clone());
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), gone());
    assert_eq!(rig.book(), book);
    for _ in 0..5 {
        rig.passes(30 * MINUTE_MS);
        rig.expect_dialled(far(1, 1));
        rig.refuses(far(1, 1), gone());
    }
    assert_eq!(rig.book(), PeerBookReport::default());
}

#[test]
fn a_ban_that_was_written_with_nonsense_is_no_longer_than_any_other() {
    let ban = PeerBan { peer: ANNA, ip: Some([127, 0, 0, 1].into()), left_ms: u64::MAX, times: 1 };
    let mut rig = Rig::remembering(PeerBookReport { good: Vec::new(), bans: vec![ban] });
    rig.peer_opens(info(BERT, Direction::Inbound));
    rig.expect_silence();
    rig.passes(24 * 60 * MINUTE_MS);
    rig.peer_opens(info(ANNA, Direction::Inbound));
    rig.expect_silence();
}

#[test]
fn a_flood_of_names_does_not_wash_out_what_nobody_tried_yet() {
    let mut rig = Rig::room_for(0, 0);
    for number in 0..3_000_u32 {
        let id = PeerId(B512::from_slice(&[number.to_be_bytes(); 16].concat()));
        let [_, _, b, c] = number.to_be_bytes();
        rig.finds(NodeRecord { id, addr: SocketAddr::from(([9, b, c, 1], 30_303)) });
    }
    assert_eq!(rig.told().candidates, 2_048);
}

#[test]
fn nodes_that_are_always_full_keep_nobody_else_out() {
    let (mut pool, now) = (Pool::default(), moorline_kit::now());
    let named = |number: u32| {
        let id = PeerId(B512::from_slice(&[number.to_be_bytes(); 16].concat()));
        let [_, _, b, c] = number.to_be_bytes();
        NodeRecord { id, addr: SocketAddr::from(([9, b, c, 1], 30_303)) }
    };
    (0..2_048).for_each(|number| pool.found(named(number), PeerOrigin::Discv4, now));
    for times in 0..4 {
        pool.found(named(3_000 + times), PeerOrigin::Discv4, now);
        assert_eq!(pool.get(named(3_000 + times).id), None, "full {times} times");
        pool.lost(now, named(7).id, Duration::ZERO, false);
    }
    pool.found(named(4_000), PeerOrigin::Discv4, now);
    assert!(pool.get(named(4_000).id).is_some());
    assert_eq!(pool.get(named(7).id), None);
}

#[test]
fn a_node_does_not_move_into_a_neighbourhood_that_had_its_share() {
    let (mut pool, now) = (Pool::default(), moorline_kit::now());
    (1..=32).for_each(|host| pool.found(far(1, host), PeerOrigin::Discv4, now));
    pool.found(far(2, 1), PeerOrigin::Discv4, now);
    let there = |host| NodeRecord { addr: far(1, host).addr, ..far(2, 1) };
    pool.found(there(99), PeerOrigin::Discv4, now);
    assert_eq!(pool.get(far(2, 1).id).map(|(node, _)| node), Some(far(2, 1)));
    let moved = NodeRecord { addr: far(1, 99).addr, ..far(1, 1) };
    pool.found(moved, PeerOrigin::Discv4, now);
    assert_eq!(pool.get(moved.id).map(|(node, _)| node), Some(moved), "within it it may");
}

#[test]
fn names_in_one_neighbourhood_are_no_more_candidates_than_its_share() {
    let mut rig = Rig::room_for(0, 0);
    (1..=100).for_each(|host| rig.finds(far(1, host)));
    rig.finds(far(2, 1));
    assert_eq!(rig.told().candidates, 33);
}

#[test]
fn a_node_that_was_full_gets_its_turn_in_a_flood_of_new_names() {
    let mut rig = Rig::new();
    rig.finds(far(1, 1));
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), CloseReason::Remote(DisconnectReason::TooManyPeers));
    for subnet in 2..=250 {
        rig.finds(far(subnet, 1));
    }
    // nobody answers: dials to them end after half a minute, sixteen at a time
    rig.passes(65_000);
    let dialled: Vec<_> = rig.seen.drain(..).collect();
    let again = Effect::Command(SessionCommand::Dial { node: far(1, 1) });
    assert!(dialled.contains(&again), "{} dials", dialled.len());
}

#[test]
fn a_wrong_answer_of_a_dialled_port_bans_nobodys_address() {
    let mut rig = Rig::new();
    rig.finds(far(1, 1));
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), CloseReason::Breach("garbage".to_owned()));
    assert_eq!(rig.book().bans[0].ip, None);
    rig.peer_opens(session_of(NodeRecord { id: BERT, addr: far(1, 1).addr }, Direction::Inbound));
    rig.expect_silence();
}

#[test]
fn whoever_the_operator_names_is_free_of_earlier_bans() {
    let ban = PeerBan { peer: ANNA, ip: None, left_ms: 600_000, times: 1 };
    let book = PeerBookReport { good: Vec::new(), bans: vec![ban] };
    let mut rig = Rig::remembering(book);
    rig.input(Input::Operator(PeerCommand::Add { node: node(ANNA) }));
    rig.expect_dial(ANNA);
    rig.peer_connects(ANNA);
    rig.expect_silence();
    assert_eq!(rig.favoured, BTreeSet::from([ANNA]));
}

#[test]
fn a_peer_that_gave_nothing_makes_room_for_one_that_waits() {
    let mut rig = Rig::room_for(1, 0);
    rig.finds(far(1, 1));
    rig.expect_dialled(far(1, 1));
    let idle = rig.connects(far(1, 1));
    rig.finds(far(2, 1));
    rig.passes(10 * MINUTE_MS);
    rig.expect_silence();
    for _ in 0..4 {
        rig.fetch(bodies(1..=2));
        let asked = rig.expect_asked(far(1, 1).id);
        rig.answers_after(10, &asked, 0);
        rig.expect_effect();
        rig.reports(far(1, 1).id, Conduct::Lacked);
    }
    rig.finds(far(3, 1));
    rig.expect_disconnect(idle, DisconnectReason::UselessPeer);
    rig.expect_dialled(far(2, 1));
}

#[test]
fn the_operator_adds_removes_and_trusts_peers_while_it_runs() {
    let mut rig = Rig::room_for(0, 0);
    rig.input(Input::Operator(PeerCommand::Add { node: node(ANNA) }));
    rig.expect_dial(ANNA);
    let session = rig.peer_connects(ANNA);
    assert_eq!(rig.told().peers[0].origin, PeerOrigin::Static);
    rig.input(Input::Operator(PeerCommand::Remove { peer: ANNA }));
    rig.expect_disconnect(session, DisconnectReason::Requested);
    rig.passes(10 * MINUTE_MS);
    rig.expect_silence();
    let session = rig.peer_opens(info(BERT, Direction::Inbound));
    rig.expect_disconnect(session, DisconnectReason::TooManyPeers);
    rig.input(Input::Operator(PeerCommand::Trust { peer: BERT }));
    rig.peer_opens(info(BERT, Direction::Inbound));
    rig.expect_silence();
    assert_eq!(rig.told().peers[0].origin, PeerOrigin::Trusted);
    rig.input(Input::Operator(PeerCommand::Distrust { peer: BERT }));
    assert_eq!(rig.told().peers[0].origin, PeerOrigin::Inbound);
}

#[test]
fn what_happened_is_counted() {
    let mut rig = Rig::room_for(1, 0);
    rig.finds(far(1, 1));
    rig.expect_dialled(far(1, 1));
    rig.refuses(far(1, 1), gone());
    let session = rig.peer_opens(session_of(far(2, 2), Direction::Inbound));
    rig.expect_disconnect(session, DisconnectReason::TooManyPeers);
    let counts = rig.told().counts;
    assert_eq!((counts.dials, counts.dial_failures, counts.refused), (1, 1, 1));
}
