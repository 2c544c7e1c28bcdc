//! What strangers and peers cannot take from a node: places, memory, work.

use moorline_messages::SUBNET_SESSIONS_MAX;
use tokio::io::AsyncReadExt;

use super::*;
use crate::{HandshakeFailure, MAX_CONNECTIONS_PER_SUBNET, TurnedAway, listener::Listener};

fn with_timeouts(chain: &MemoryChain, timeouts: Timeouts) -> NetworkConfig {
    NetworkConfig { timeouts, ..config(chain) }
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let reading = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {} };
    timeout(Duration::from_secs(10), reading).await.expect("the connection stays open");
}

#[tokio::test]
async fn a_meeting_that_does_not_end_is_left_at_one_deadline_for_all_of_it() {
    let chain = MemoryChain::of(1);
    let long = Duration::from_secs(3600);
    let timeouts =
        Timeouts { handshake: long, meeting: Duration::from_millis(200), ..Timeouts::default() };
    let mut node = Node::with(with_timeouts(&chain, timeouts), &chain);
    let counters = node.handle.counters();
    let silent = |direction| counters.handshakes_failed(direction, HandshakeFailure::Silent);

    // one says nothing, one begins a packet, one says hello and no Status
    let addr = node.handle.local_record().addr;
    let mut mute = TcpStream::connect(addr).await.unwrap();
    let mut slow = TcpStream::connect(addr).await.unwrap();
    slow.write_all(&[1, 0x90, 4]).await.unwrap();
    let _halfway = Peer::hello(&node, &[70]).await.unwrap();
    until(|| silent(Direction::Inbound) == 3).await;
    closed(&mut mute).await;
    closed(&mut slow).await;

    // nor does anyone hold our dials
    let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let record =
        NodeRecord { addr: socket.local_addr().unwrap(), id: node_id(&random_key()).unwrap() };
    node.command(SessionCommand::Dial { node: record }).await;
    let (_held, _) = socket.accept().await.unwrap();
    assert_eq!(node.dial_failed().await, CloseReason::Silent("the meeting"));
    assert_eq!(silent(Direction::Outbound), 1);
}

#[tokio::test]
async fn beyond_the_handshakes_under_way_strangers_are_turned_away_and_places_come_back() {
    let chain = MemoryChain::of(1);
    let mut node =
        Node::with(NetworkConfig { max_pending_handshakes: 2, ..config(&chain) }, &chain);
    let counters = node.handle.counters();
    let addr = node.handle.local_record().addr;
    let first = TcpStream::connect(addr).await.unwrap();
    let _second = TcpStream::connect(addr).await.unwrap();
    let mut third = TcpStream::connect(addr).await.unwrap();
    closed(&mut third).await;
    assert_eq!(counters.turned_away(TurnedAway::Handshakes), 1);
    drop(first);
    let gone = || counters.handshakes_failed(Direction::Inbound, HandshakeFailure::Network);
    until(|| gone() == 1).await;
    // a session holds no place among the handshakes
    let (_, _one) = node.met(&chain).await;
    let (_, _other) = node.met(&chain).await;
    assert_eq!(counters.sessions_opened(Direction::Inbound), 2);
}

#[tokio::test]
async fn who_was_turned_away_for_want_of_room_may_come_again_at_once() {
    let chain = MemoryChain::of(1);
    let node = Node::with(NetworkConfig { max_pending_handshakes: 1, ..config(&chain) }, &chain);
    let counters = node.handle.counters();
    let mut listener = Listener::new(Arc::clone(&node.handle.shared));
    let first = node.admit(&mut listener, [203, 0, 113, 1]).await;
    let mut second = node.admit(&mut listener, [203, 0, 113, 2]).await;
    closed(&mut second).await;
    drop(first);
    let gone = || counters.handshakes_failed(Direction::Inbound, HandshakeFailure::Network);
    until(|| gone() == 1).await;
    let stream = node.admit(&mut listener, [203, 0, 113, 2]).await;
    Peer::hello_on(stream, &node).await.unwrap();
    assert_eq!(counters.turned_away(TurnedAway::Handshakes), 1);
}

#[tokio::test]
async fn peers_that_come_leave_slots_to_those_we_dial() {
    let chain = MemoryChain::of(1);
    let slots = NetworkConfig { max_inbound: 1, max_sessions: 2, ..config(&chain) };
    let mut node = Node::with(slots, &chain);
    let (_, _inbound) = node.met(&chain).await;
    let mut refused = Peer::hello(&node, &[70]).await.unwrap();
    let reason = ConnectionError::Remote(DisconnectReason::TooManyPeers);
    assert_eq!(refused.status(&chain).await, Err(reason));
    let other = Node::start(&chain);
    node.dial(&other).await;
    assert_eq!(node.opened().await.1.direction, Direction::Outbound);
    assert_eq!(node.handle.counters().sessions_opened(Direction::Outbound), 1);
}

#[tokio::test]
async fn a_second_hello_is_a_breach_before_status_and_after_it() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let counters = node.handle.counters();
    let mut peer = Peer::hello(&node, &[70]).await.unwrap();
    peer.connection.write_raw_frame(&[0x80, 0x01, 0x00, 0xc0]).await.unwrap();
    let breaches = || counters.handshakes_failed(Direction::Inbound, HandshakeFailure::Breach);
    until(|| breaches() == 1).await;
    let (_, mut peer) = node.met(&chain).await;
    peer.connection.write_raw_frame(&[0x80, 0x01, 0x00, 0xc0]).await.unwrap();
    node.expect_breach("out of place").await;
}

#[tokio::test]
async fn an_address_and_a_subnet_that_connect_too_often_are_turned_away_before_the_handshake() {
    let chain = MemoryChain::of(1);
    let node = Node::start(&chain);
    let counters = node.handle.counters();
    let mut listener = Listener::new(Arc::clone(&node.handle.shared));
    let mut streams = Vec::new();
    for host in 0..20 {
        streams.push(node.admit(&mut listener, [203, 0, 113, host]).await);
    }
    let too_many = 20 - MAX_CONNECTIONS_PER_SUBNET;
    assert_eq!(counters.turned_away(TurnedAway::Subnet), too_many as u64);
    for stream in &mut streams[MAX_CONNECTIONS_PER_SUBNET..] {
        closed(stream).await;
    }
    let mut again = node.admit(&mut listener, [203, 0, 113, 0]).await;
    closed(&mut again).await;
    assert_eq!(counters.turned_away(TurnedAway::Address), 1);
    // whoever comes from elsewhere is not in their way
    let stream = node.admit(&mut listener, [198, 51, 100, 1]).await;
    let mut peer = Peer::hello_on(stream, &node).await.unwrap();
    peer.status(&chain).await.unwrap();
}

#[tokio::test]
async fn peers_of_one_subnet_get_few_of_the_slots_and_peers_of_others_the_rest() {
    let chain = MemoryChain::of(1);
    let mut node = Node::with(NetworkConfig { inbound_throttle: None, ..config(&chain) }, &chain);
    let counters = node.handle.counters();
    let mut listener = Listener::new(Arc::clone(&node.handle.shared));
    let mut peers = Vec::new();
    for host in 0..SUBNET_SESSIONS_MAX {
        let stream = node.admit(&mut listener, [203, 0, 113, host as u8]).await;
        let mut peer = Peer::hello_on(stream, &node).await.unwrap();
        peer.status(&chain).await.unwrap();
        node.opened().await;
        peers.push(peer);
    }
    let stream = node.admit(&mut listener, [203, 0, 113, 99]).await;
    let mut refused = Peer::hello_on(stream, &node).await.unwrap();
    let reason = ConnectionError::Remote(DisconnectReason::TooManyPeers);
    assert_eq!(refused.status(&chain).await, Err(reason));
    let stream = node.admit(&mut listener, [203, 0, 114, 1]).await;
    let mut other = Peer::hello_on(stream, &node).await.unwrap();
    other.status(&chain).await.unwrap();
    node.opened().await;
    let full = || counters.handshakes_failed(Direction::Inbound, HandshakeFailure::TooManyPeers);
    until(|| full() == 1).await;
}

#[tokio::test]
async fn who_answers_no_ping_is_let_go_and_who_answers_stays() {
    let chain = MemoryChain::of(1);
    let timeouts = Timeouts { ping_interval: Duration::from_millis(20), ..Timeouts::default() };
    let mut node = Node::with(with_timeouts(&chain, timeouts), &chain);
    let (_, mut peer) = node.met(&chain).await;
    let mut pings = 0;
    while pings < 10 {
        if peer.connection.read().await.unwrap() == Message::Ping {
            pings += 1;
            peer.connection.write(&Message::Pong).await.unwrap();
        }
    }
    // it goes on talking, which is no answer
    let talking = tokio::spawn(async move {
        while peer.connection.write_raw(id::TRANSACTIONS, &[0xc0]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(node.closed().await, CloseReason::Silent("pings"));
    talking.abort();
}

#[tokio::test]
async fn who_is_in_the_middle_of_a_long_answer_owes_no_pong() {
    let chain = MemoryChain::heavy(1, 1 << 20);
    let timeouts = Timeouts { ping_interval: Duration::from_millis(20), ..Timeouts::default() };
    let mut node = Node::with(with_timeouts(&chain, timeouts), &chain);
    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, FetchItems::Bodies { blocks: vec![chain.block(1)] }).await;
    let request_id = peer.asked().await;
    let answer = EthMessage::BlockBodies { request_id, bodies: vec![chain.body(1)] };
    let wire = peer.frame_of(&answer);
    let (begin, rest) = wire.split_at(wire.len() / 2);
    peer.connection.write_unframed(begin).await.unwrap();
    for _ in 0..8 {
        assert_eq!(peer.connection.read().await, Ok(Message::Ping));
    }
    peer.connection.write_unframed(rest).await.unwrap();
    assert_eq!(node.answered().await.0, RequestId(1));
}

#[tokio::test]
async fn a_flood_of_pings_is_a_breach_and_a_handful_is_answered() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    for _ in 0..10 {
        peer.connection.write(&Message::Ping).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(peer.connection.read().await, Ok(Message::Pong));
    }
    for _ in 0..200 {
        // the last ones may find nobody any more
        let _ = peer.connection.write(&Message::Ping).await;
    }
    node.expect_breach("pings").await;
}

#[tokio::test]
async fn a_peer_that_was_asked_nothing_cannot_fill_our_memory() {
    let chain = MemoryChain::heavy(2, 3 << 20);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let wire = peer.connection.encode_frame(&vec![0x12; (2 << 20) + 1]).unwrap();
    // what its header promises is enough
    peer.connection.write_unframed(&wire[..32]).await.unwrap();
    node.expect_breach("2097152 are allowed").await;

    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, FetchItems::Bodies { blocks: vec![chain.block(1)] }).await;
    let request_id = peer.asked().await;
    peer.say(EthMessage::BlockBodies { request_id, bodies: vec![chain.body(1)] }).await;
    let (request, items, wire_bytes) = node.answered().await;
    assert_eq!((request, items.len()), (RequestId(1), 1));
    assert!(wire_bytes > 3 << 20);
}

#[tokio::test]
async fn news_of_transactions_do_not_come_faster_than_their_share() {
    let chain = MemoryChain::heavy(1, 1 << 20);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let noise = chain.body(1).transactions[0].clone();
    let started = tokio::time::Instant::now();
    for _ in 0..18 {
        peer.connection.write_raw(id::TRANSACTIONS, &noise).await.unwrap();
    }
    peer.say(EthMessage::GetPooledTransactions { request_id: 3 }).await;
    assert!(matches!(peer.hear_eth().await, EthMessage::Gossip { .. }));
    // 18 MiB, of which 16 come at once and 4 in a second
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_no_honest_peer_says_of_its_range_is_a_breach() {
    let chain = MemoryChain::of(200);
    let mut node = Node::start(&chain);
    let hash = chain.hash(8);
    for (range, about) in [
        (AnnouncedRange { earliest: 10, latest: 8, latest_hash: hash }, "above its latest"),
        (AnnouncedRange { earliest: 1, latest: 8, latest_hash: B256::ZERO }, "without the hash"),
    ] {
        let (_, mut peer) = node.met(&chain).await;
        peer.say(EthMessage::BlockRangeUpdate(range)).await;
        node.expect_breach(about).await;
        assert_eq!(peer.hear().await, Message::Disconnect(DisconnectReason::ProtocolBreach));
    }
    // eth/68 has no such message
    let mut peer = Peer::hello(&node, &[68]).await.unwrap();
    peer.status(&chain).await.unwrap();
    node.opened().await;
    peer.say(EthMessage::BlockRangeUpdate(chain.range(9))).await;
    node.expect_breach("does not exist in eth/68").await;
}

#[tokio::test]
async fn a_peer_that_syncs_fast_may_say_so_every_32_blocks() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let at = |step: u64| AnnouncedRange {
        earliest: 0,
        latest: step * 32,
        latest_hash: B256::repeat_byte(1),
    };
    for step in 1..=100 {
        peer.say(EthMessage::BlockRangeUpdate(at(step))).await;
    }
    for step in 1..=100 {
        let SessionEvent::RangeUpdated { range, .. } = node.event().await else {
            panic!("not a range")
        };
        assert_eq!(range, at(step));
    }
}

#[tokio::test]
async fn transactions_that_nobody_asked_for_are_a_breach() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    peer.connection.write_raw(id::POOLED_TRANSACTIONS, &[0xc2, 0x03, 0xc0]).await.unwrap();
    node.expect_breach("nobody asked for").await;
}
