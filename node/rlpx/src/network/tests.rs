#![allow(clippy::arithmetic_side_effects)]

mod holding;
mod partial;
mod serving;

use std::collections::BTreeMap;

use moorline_messages::{Blame, FetchItems, FetchedItems, HashOrNumber, Receipts, RequestId};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    rig::{MemoryChain, Node, Peer, config, headers, receipts, until},
    *,
};
use crate::{
    EthMessage, MAX_SERVING, Message,
    eth::{HeadersRequest, id},
    random_key,
};

#[tokio::test]
async fn two_nodes_fetch_from_each_other_in_every_version() {
    let chain = MemoryChain::of(600);
    for version in eth::VERSIONS {
        let mut one =
            Node::with(NetworkConfig { versions: vec![version], ..config(&chain) }, &chain);
        let mut other = Node::start(&chain);
        one.dial(&other).await;
        let (outbound, peer) = one.opened().await;
        assert_eq!((peer.eth_version, peer.direction), (version, Direction::Outbound));
        assert_eq!(peer.range.is_some(), version >= 69);
        let (inbound, peer) = other.opened().await;
        assert_eq!((peer.eth_version, peer.direction), (version, Direction::Inbound));
        assert_eq!(peer.id, one.handle.local_record().id);
        assert!(peer.client.starts_with("moorline/v"));

        for (node, session) in [(&mut one, outbound), (&mut other, inbound)] {
            node.fetch(session, 5, headers(599, 512)).await;
            let (request, items, wire_bytes) = node.answered().await;
            let FetchedItems::Headers(found) = items else { panic!("not headers") };
            assert_eq!((request, found.len()), (RequestId(5), 512));
            assert!(found.windows(2).all(|pair| pair[0].parent_hash == pair[1].hash()));
            assert_eq!(found[0].hash(), chain.hash(599));
            assert!(wire_bytes > 1000);

            let blocks = (100..228).map(|number| chain.block(number)).collect();
            node.fetch(session, 6, FetchItems::Bodies { blocks }).await;
            let (request, items, _) = node.answered().await;
            let FetchedItems::Bodies(found) = items else { panic!("not bodies") };
            assert_eq!((request, found.len()), (RequestId(6), 128));
            assert_eq!(*found[27], chain.body(127));

            node.fetch(session, 7, receipts(&chain, 100..=227)).await;
            let (request, items, _) = node.answered().await;
            let FetchedItems::Receipts(found) = items else { panic!("not receipts") };
            assert_eq!((request, found.len()), (RequestId(7), 128));
            assert_eq!(*found[27], chain.receipts(127));
        }
    }
}

#[tokio::test]
async fn many_answers_wait_for_a_slow_listener_and_none_is_lost() {
    let chain = MemoryChain::of(20);
    // the rig's channel holds one event
    let mut one = Node::start(&chain);
    let mut other = Node::start(&chain);
    one.dial(&other).await;
    let (session, _) = one.opened().await;
    other.opened().await;
    for request in 0..50 {
        one.fetch(session, request, headers(10, 3)).await;
    }
    let mut answered = Vec::new();
    for _ in 0..50 {
        answered.push(one.answered().await.0.0);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_and_said_to_be() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let foreign_forks = ForkFilter::new(
        alloy_eip2124::Head { timestamp: 5, ..Default::default() },
        chain.hash(0),
        0,
        [alloy_eip2124::ForkFilterKey::Time(5)],
    );
    for (config, about) in [
        (NetworkConfig { network_id: 8, ..config(&chain) }, "network id"),
        (NetworkConfig { genesis: B256::repeat_byte(9), ..config(&chain) }, "genesis"),
        (NetworkConfig { fork_filter: foreign_forks, ..config(&chain) }, "remote"),
    ] {
        let mut stranger = Node::with(config, &chain);
        stranger.dial(&node).await;
        match stranger.dial_failed().await {
            CloseReason::OtherNetwork(text) => assert!(text.contains(about), "{text:?}"),
            // the other side judged first
            CloseReason::Remote(reason) => assert_eq!(reason, DisconnectReason::UselessPeer),
            other => panic!("{other:?}"),
        }
    }
    // nobody heard of them
    node.met(&chain).await;
}

#[tokio::test]
async fn what_does_not_authenticate_ends_the_session_and_is_held_against_nobody() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    peer.connection.write_unframed(&[0x5a; 64]).await.unwrap();
    let reason = node.closed().await;
    assert_eq!(reason.blame(), Blame::Nobody, "{reason}");
}

#[tokio::test]
async fn breaches_close_the_session_and_name_themselves() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);

    let (_, mut peer) = node.met(&chain).await;
    peer.say(EthMessage::Status(Peer::local_status(&chain).at(70))).await;
    node.expect_breach("second Status").await;
    assert_eq!(peer.hear().await, Message::Disconnect(DisconnectReason::ProtocolBreach));

    let (_, mut peer) = node.met(&chain).await;
    let bomb = [0x14, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    peer.connection.write_raw_frame(&bomb).await.unwrap();
    node.expect_breach("4294967295").await;

    let (_, mut peer) = node.met(&chain).await;
    let data = vec![0; eth::MAX_MESSAGE_BYTES + 1];
    peer.connection.write_raw(id::TRANSACTIONS, &data).await.unwrap();
    node.expect_breach("10485760").await;

    let (_, mut peer) = node.met(&chain).await;
    peer.connection.write_raw(0x30, &[0xc0]).await.unwrap();
    node.expect_breach("does not exist").await;

    let (_, mut peer) = node.met(&chain).await;
    peer.say(EthMessage::BlockHeaders { request_id: 99, headers: vec![] }).await;
    node.expect_breach("never made").await;

    let (_, mut peer) = node.met(&chain).await;
    let blocks = Vec::new();
    peer.say(EthMessage::Receipts { request_id: 1, last_block_incomplete: false, blocks }).await;
    node.expect_breach("never made").await;

    let (_, mut peer) = node.met(&chain).await;
    for _ in 0..=60 {
        peer.say(EthMessage::BlockRangeUpdate(chain.range(1))).await;
    }
    for _ in 0..60 {
        assert!(matches!(node.event().await, SessionEvent::RangeUpdated { .. }));
    }
    node.expect_breach("range updates").await;
}

#[tokio::test]
async fn answers_that_break_the_rules_are_breaches() {
    let chain = MemoryChain::of(9);
    let mut node = Node::start(&chain);
    let header = |number: u64| {
        let mut raw = Vec::new();
        let header = alloy_consensus::Header { number, ..Default::default() };
        alloy_rlp::Encodable::encode(&header, &mut raw);
        alloy_primitives::Bytes::from(raw)
    };

    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, headers(9, 2)).await;
    let request_id = peer.asked().await;
    peer.say(EthMessage::BlockHeaders { request_id, headers: vec![header(1); 3] }).await;
    node.expect_breach("3 items").await;

    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, headers(9, 2)).await;
    let request_id = peer.asked().await;
    peer.say(EthMessage::BlockBodies { request_id, bodies: vec![] }).await;
    node.expect_breach("Bodies in answer to a request for Headers").await;

    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, headers(9, 2)).await;
    let request_id = peer.asked().await;
    let no_header = alloy_primitives::Bytes::from_static(&[0xc1, 0x01]);
    peer.say(EthMessage::BlockHeaders { request_id, headers: vec![no_header] }).await;
    node.expect_breach("header").await;

    // a repeated answer is only ignored
    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, headers(9, 2)).await;
    let request_id = peer.asked().await;
    for _ in 0..3 {
        peer.say(EthMessage::BlockHeaders { request_id, headers: vec![header(1)] }).await;
    }
    assert_eq!(node.answered().await.0, RequestId(1));
    node.fetch(session, 2, headers(9, 2)).await;
    let request_id = peer.asked().await;
    peer.say(EthMessage::BlockHeaders { request_id, headers: vec![] }).await;
    let (request, items, _) = node.answered().await;
    assert_eq!((request, items.is_empty()), (RequestId(2), true));
}

#[tokio::test]
async fn transaction_gossip_is_ignored_and_the_pool_is_empty() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    for gossip in
        [id::TRANSACTIONS, id::NEW_POOLED_TRANSACTION_HASHES, id::NEW_BLOCK_HASHES, id::NEW_BLOCK]
    {
        peer.connection.write_raw(gossip, &[0xde, 0xad]).await.unwrap();
    }
    peer.say(EthMessage::GetPooledTransactions { request_id: 3 }).await;
    let EthMessage::Gossip { id, data } = peer.hear_eth().await else { panic!("not the pool") };
    assert_eq!((id, data.as_ref()), (id::POOLED_TRANSACTIONS, &[0xc2, 0x03, 0xc0][..]));
}

#[tokio::test]
async fn hostile_requests_for_headers_are_answered_within_their_limits() {
    let chain = MemoryChain::of(2000);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    for (start, limit, skip, reverse, expected) in [
        (HashOrNumber::Number(0), 0, 0, false, 0),
        (HashOrNumber::Number(0), u64::MAX, 0, false, 1024),
        (HashOrNumber::Number(5), u64::MAX, u64::MAX, false, 1),
        (HashOrNumber::Number(5), u64::MAX, u64::MAX, true, 1),
        (HashOrNumber::Number(5), u64::MAX, 0, true, 6),
        (HashOrNumber::Number(0), 9, 0, true, 1),
        (HashOrNumber::Number(u64::MAX), 9, 9, false, 0),
        (HashOrNumber::Number(1999), 9, 0, false, 2),
        (HashOrNumber::Hash(chain.hash(100)), 3, 49, true, 3),
        (HashOrNumber::Hash(B256::repeat_byte(1)), 3, 0, true, 0),
    ] {
        let request = HeadersRequest { start, limit, skip, reverse };
        peer.say(EthMessage::GetBlockHeaders { request_id: 0, request }).await;
        let EthMessage::BlockHeaders { request_id: 0, headers } = peer.hear_eth().await else {
            panic!("not headers")
        };
        assert_eq!(headers.len(), expected, "{request:?}");
    }
    let hashes = vec![chain.hash(3), B256::ZERO, chain.hash(4)];
    peer.say(EthMessage::GetBlockBodies { request_id: 8, hashes }).await;
    let bodies = vec![chain.body(3)];
    assert_eq!(peer.hear_eth().await, EthMessage::BlockBodies { request_id: 8, bodies });
    peer.say(EthMessage::GetReceipts {
        request_id: 9,
        first_receipt: u64::MAX,
        hashes: vec![chain.hash(3)],
    })
    .await;
    let blocks = vec![Receipts::default()];
    let nothing = EthMessage::Receipts { request_id: 9, last_block_incomplete: false, blocks };
    assert_eq!(peer.hear_eth().await, nothing);
}

#[tokio::test]
async fn a_flood_of_requests_is_served_a_few_at_a_time() {
    let chain = MemoryChain::gated(9);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let request =
        HeadersRequest { start: HashOrNumber::Number(1), limit: 1, skip: 0, reverse: false };
    for request_id in 0..40 {
        peer.say(EthMessage::GetBlockHeaders { request_id, request }).await;
    }
    let waiting = || chain.waiting.load(Ordering::SeqCst);
    until(|| waiting() == MAX_SERVING).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert!(waiting() <= MAX_SERVING);
    }
    chain.open();
    for _ in 0..40 {
        assert!(matches!(peer.hear_eth().await, EthMessage::BlockHeaders { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_ask_for_much_at_once_do_not_wait_for_each_other_for_ever() {
    const REQUESTS: u64 = 24;
    let chain = MemoryChain::heavy(4, 1 << 20);
    let (mut one, mut other) = (Node::start(&chain), Node::start(&chain));
    one.dial(&other).await;
    let (outbound, _) = one.opened().await;
    let (inbound, _) = other.opened().await;
    for request in 0..REQUESTS {
        for (node, session) in [(&one, outbound), (&other, inbound)] {
            let blocks = vec![chain.block(1), chain.block(2)];
            node.fetch(session, request, FetchItems::Bodies { blocks }).await;
        }
    }
    let all = |mut node: Node| async move {
        for _ in 0..REQUESTS {
            let (_, items, wire_bytes) = node.answered().await;
            assert!(items.len() == 2 && wire_bytes > 2 << 20);
        }
        node
    };
    tokio::join!(all(one), all(other));
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_is_let_go_and_said_to_be() {
    let chain = MemoryChain::heavy(2, 1 << 20);
    let mut config = config(&chain);
    config.timeouts.write = Duration::from_millis(100);
    let mut node = Node::with(config, &chain);
    let (_, mut peer) = node.met(&chain).await;
    // more than the network holds
    for request_id in 0..24 {
        let hashes = vec![chain.hash(1), chain.hash(2)];
        peer.say(EthMessage::GetBlockBodies { request_id, hashes }).await;
    }
    assert_eq!(node.closed().await, CloseReason::Silent("a write"));
}

#[tokio::test]
async fn garbage_before_the_handshake_troubles_nobody() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let addr = node.handle.local_record().addr;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0, 200], &[0x01, 0x50, 4]] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let _ = stream.write_all(garbage).await;
    }
    let mut flipped =
        crate::handshake::Initiator::new(&random_key(), node.handle.local_record().id)
            .unwrap()
            .auth()
            .to_vec();
    flipped[100] ^= 1;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&flipped).await.unwrap();
    node.met(&chain).await;
}

#[tokio::test]
async fn a_second_connection_of_a_peer_is_refused() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let secret = random_key();
    let mut first = Peer::hello_as(&node, &[69], &secret).await.unwrap();
    first.status(&chain).await.unwrap();
    node.opened().await;
    let mut second = Peer::hello_as(&node, &[69], &secret).await.unwrap();
    let refused = second.status(&chain).await;
    assert_eq!(refused, Err(ConnectionError::Remote(DisconnectReason::AlreadyConnected)));

    let mut dialler = Node::start(&chain);
    dialler.dial(&node).await;
    dialler.opened().await;
    node.opened().await;
    dialler.dial(&node).await;
    let already = CloseReason::Local(DisconnectReason::AlreadyConnected);
    assert_eq!(dialler.dial_failed().await, already);
}

#[tokio::test]
async fn peers_beyond_the_slots_are_told_that_there_are_too_many() {
    let chain = MemoryChain::of(1);
    let mut node = Node::with(NetworkConfig { max_inbound: 1, ..config(&chain) }, &chain);
    let (session, _first) = node.met(&chain).await;
    let mut second = Peer::hello(&node, &[69]).await.unwrap();
    let refused = second.status(&chain).await;
    assert_eq!(refused, Err(ConnectionError::Remote(DisconnectReason::TooManyPeers)));
    let reason = DisconnectReason::UselessPeer;
    node.command(SessionCommand::Disconnect { session, reason }).await;
    assert_eq!(node.closed().await, CloseReason::Local(reason));
    node.met(&chain).await;
}

#[tokio::test]
async fn a_node_does_not_dial_itself() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let own = node.handle.local_record();
    node.command(SessionCommand::Dial { node: own }).await;
    let selfish = CloseReason::Local(DisconnectReason::SelfConnection);
    assert_eq!(node.dial_failed().await, selfish);
}

#[tokio::test]
async fn a_dial_into_the_void_fails_with_a_reason() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let other = Node::start(&chain);
    let record = other.handle.local_record();
    other.handle.shutdown().await;
    node.command(SessionCommand::Dial { node: record }).await;
    assert!(matches!(node.dial_failed().await, CloseReason::Network(_)));

    // somebody else answers there
    let other = Node::start(&chain);
    let id = node_id(&random_key()).unwrap();
    let record = NodeRecord { id, ..other.handle.local_record() };
    node.command(SessionCommand::Dial { node: record }).await;
    assert!(matches!(node.dial_failed().await, CloseReason::Network(_)));
}

#[tokio::test]
async fn ranges_are_announced_to_new_peers_at_once_and_to_old_ones_after_32_blocks() {
    let chain = MemoryChain::of(200);
    let mut node = Node::start(&chain);
    let (_, mut old) = node.met(&chain).await;
    let announce = |latest| announcement(&chain, latest, latest);
    for latest in [10, 31, 40, 60, 39] {
        node.command(announce(latest)).await;
        until(|| node.handle.shared.local.borrow().range.latest == latest).await;
    }
    // 31 is too little, 40 is not; 60 is too little again, and 39 takes something back
    assert_eq!(old.hear_eth().await, EthMessage::BlockRangeUpdate(chain.range(40)));
    assert_eq!(old.hear_eth().await, EthMessage::BlockRangeUpdate(chain.range(39)));

    node.command(announce(100)).await;
    until(|| node.handle.shared.local.borrow().range.latest == 100).await;
    let mut new = Peer::hello(&node, &[69]).await.unwrap();
    let status = new.status(&chain).await.unwrap();
    assert_eq!(status.range(), Some(chain.range(100)));
    // block 100 lies past the fork at 60
    assert_ne!(status.fork_id, Peer::local_status(&chain).fork_id);
    assert_eq!(status.fork_id.next, 0);
    node.opened().await;

    let mut oldest = Peer::hello(&node, &[68]).await.unwrap();
    let status = oldest.status(&chain).await.unwrap();
    let head = chain.range(100).latest_hash;
    assert_eq!(status.chain, eth::StatusChain::Head { total_difficulty: U256::ZERO, head });
}

/// What is served up to `latest`, on a chain that goes on to `tip`.
fn announcement(chain: &MemoryChain, latest: u64, tip: u64) -> SessionCommand {
    SessionCommand::AnnounceRange { range: chain.range(latest), tip: chain.block(tip) }
}

#[tokio::test]
async fn the_fork_and_the_head_follow_the_tip_where_less_is_served() {
    let chain = MemoryChain::of(200);
    let node = Node::start(&chain);
    node.command(announcement(&chain, 0, 100)).await;
    until(|| node.handle.shared.local.borrow().head == chain.block(100).hash).await;
    let mut new = Peer::hello(&node, &[69]).await.unwrap();
    let status = new.status(&chain).await.unwrap();
    assert_eq!(status.range(), Some(chain.range(0)));
    // block 100 lies past the fork at 60
    assert_ne!(status.fork_id, Peer::local_status(&chain).fork_id);
    let mut old = Peer::hello(&node, &[68]).await.unwrap();
    let head = chain.block(100).hash;
    let expected = eth::StatusChain::Head { total_difficulty: U256::ZERO, head };
    assert_eq!(old.status(&chain).await.unwrap().chain, expected);
}

#[tokio::test]
async fn a_listener_that_lost_its_memory_is_introduced_to_everybody_again() {
    let chain = MemoryChain::of(9);
    let mut node = Node::start(&chain);
    let (first, mut peer) = node.met(&chain).await;
    let (second, _other) = node.met(&chain).await;
    peer.say(EthMessage::BlockRangeUpdate(chain.range(9))).await;
    assert!(matches!(node.event().await, SessionEvent::RangeUpdated { .. }));
    node.command(SessionCommand::Introduce).await;
    let mut again = BTreeMap::from([node.opened().await, node.opened().await]);
    assert_eq!(again.remove(&first).unwrap().range, Some(chain.range(9)));
    assert_eq!(again.remove(&second).unwrap().range, Some(chain.range(0)));
}

#[tokio::test]
async fn a_peer_that_leaves_is_heard() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, peer) = node.met(&chain).await;
    peer.connection.disconnect(DisconnectReason::TooManyPeers).await;
    assert_eq!(node.closed().await, CloseReason::Remote(DisconnectReason::TooManyPeers));
    let (_, peer) = node.met(&chain).await;
    drop(peer);
    assert!(matches!(node.closed().await, CloseReason::Network(_)));
}

#[tokio::test]
async fn shutdown_says_goodbye_to_everybody() {
    let chain = MemoryChain::of(1);
    let mut node = Node::start(&chain);
    let (_, mut first) = node.met(&chain).await;
    let (_, mut second) = node.met(&chain).await;
    let record = node.handle.local_record();
    let listening = tokio::spawn(async move {
        let mut reasons = Vec::new();
        while let Some(event) = node.events.recv().await {
            reasons.push(event);
        }
        reasons
    });
    let hearing = tokio::spawn(async move { [first.hear().await, second.hear().await] });
    node.handle.shutdown().await;
    let quitting = Message::Disconnect(DisconnectReason::ClientQuitting);
    assert_eq!(hearing.await.unwrap(), [quitting.clone(), quitting]);
    let said = listening.await.unwrap();
    assert_eq!(said.len(), 2);
    let local = CloseReason::Local(DisconnectReason::ClientQuitting);
    for event in said {
        assert!(matches!(event, SessionEvent::Closed { reason, .. } if reason == local));
    }
    assert!(TcpStream::connect(record.addr).await.is_err());
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let chain = MemoryChain::of(1);
    let node = Node::start(&chain);
    let start = |config: NetworkConfig| {
        let source: Arc<dyn ChainSource> = chain.clone();
        Network::start(config, source, mpsc::channel(1).0).unwrap_err().to_string()
    };
    let taken = NetworkConfig { listen: Some(node.handle.local_record().addr), ..config(&chain) };
    assert!(start(taken).contains("choose another port"));
    assert!(start(NetworkConfig { node_key: [0; 32], ..config(&chain) }).contains("node key"));
    assert!(
        start(NetworkConfig { versions: vec![67], ..config(&chain) }).contains("68, 69 and 70")
    );
}
