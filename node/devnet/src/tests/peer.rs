//! Peers over real sockets: the honest serve, and each of the others does what its name says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{B256, Bytes};
use moorline_messages::{
    Blame, Block, Body, DisconnectReason, HashOrNumber, NodeRecord, Receipts, SealedHeader,
};
use moorline_rlpx::{
    Connection, ConnectionError, LocalStatus, Message, Timeouts,
    eth::{EthMessage, HeadersRequest, Status, StatusChain, seal_header},
    node_id,
    p2p::Hello,
    random_key,
};
use moorline_rules::{ChainSpec, body_matches, receipts_key};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    Behaviour, Chain, Devnet, Generator, MemoryChain, Peer, PeerConfig, Profile, genesis_header,
    genesis_json, peer::Throttle, receipts_of,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::from_genesis_json(&genesis_json()).unwrap())
}

fn blocks() -> Vec<Block> {
    Generator::new(Profile::Small, 11).take(100).collect()
}

fn chain_of(blocks: &[Block]) -> Arc<MemoryChain> {
    let chain = MemoryChain::new(Arc::new(genesis_header()));
    chain.extend(blocks.iter().cloned()).unwrap();
    Arc::new(chain)
}

/// A peer over 100 small blocks.
struct Rig {
    blocks: Vec<Block>,
    chain: Arc<MemoryChain>,
    peer: Peer,
}

impl Rig {
    async fn start(behaviour: Behaviour) -> Self {
        Self::with(|config| config.behaviour = behaviour).await
    }

    async fn with(change: impl FnOnce(&mut PeerConfig)) -> Self {
        let blocks = blocks();
        let chain = chain_of(&blocks);
        let mut config = PeerConfig::new(chain.clone(), spec());
        change(&mut config);
        Self { blocks, chain, peer: Peer::start(config).await.unwrap() }
    }

    async fn client(&self) -> Client {
        Client::connect(self.peer.record()).await.unwrap()
    }

    fn hashes(&self, from: usize, count: usize) -> Vec<B256> {
        self.blocks[from - 1..][..count].iter().map(|block| block.header.hash()).collect()
    }
}

/// Somebody at the other end.
struct Client {
    connection: Connection,
    status: Status,
}

impl Client {
    async fn connect(node: NodeRecord) -> Result<Self, ConnectionError> {
        Self::with(node, &Timeouts::default()).await
    }

    async fn with(node: NodeRecord, timeouts: &Timeouts) -> Result<Self, ConnectionError> {
        let key = random_key();
        let hello = Hello::new("a client", &[68, 69, 70], 0, node_id(&key).unwrap());
        let mut connection = Connection::connect(&node, &key, &hello, timeouts).await?;
        let spec = spec();
        let ours = LocalStatus {
            network_id: spec.chain_id(),
            genesis: spec.genesis().hash(),
            fork_id: spec.fork_id(0, spec.genesis().timestamp),
            total_difficulty: spec.terminal_total_difficulty(),
            range: moorline_messages::AnnouncedRange {
                earliest: 0,
                latest: 0,
                latest_hash: spec.genesis().hash(),
            },
            head: spec.genesis().hash(),
        };
        let status = connection.exchange_status(&ours.at(connection.version())).await?;
        Ok(Self { connection, status })
    }

    async fn send(&mut self, message: EthMessage) {
        self.connection.write(&Message::Eth(message)).await.unwrap();
    }

    async fn ask_headers(&mut self, request_id: u64, top: HashOrNumber, limit: u64) {
        let request = HeadersRequest { start: top, limit, skip: 0, reverse: true };
        self.send(EthMessage::GetBlockHeaders { request_id, request }).await;
    }

    async fn read(&mut self) -> Result<EthMessage, ConnectionError> {
        match timeout(PATIENCE, self.connection.read()).await.expect("an answer")? {
            Message::Eth(message) => Ok(message),
            Message::Disconnect(reason) => Err(ConnectionError::Remote(reason)),
            other => panic!("{other:?}"),
        }
    }

    async fn headers(&mut self, top: HashOrNumber, limit: u64) -> Vec<Arc<SealedHeader>> {
        self.ask_headers(1, top, limit).await;
        match self.read().await.unwrap() {
            EthMessage::BlockHeaders { request_id: 1, headers } => sealed(&headers),
            other => panic!("{other:?}"),
        }
    }

    async fn bodies(&mut self, hashes: &[B256]) -> Vec<Body> {
        self.send(EthMessage::GetBlockBodies { request_id: 2, hashes: hashes.to_vec() }).await;
        match self.read().await.unwrap() {
            EthMessage::BlockBodies { request_id: 2, bodies } => bodies,
            other => panic!("{other:?}"),
        }
    }

    /// Blocks' receipts, and whether those of the last were cut off.
    async fn receipts(&mut self, first_receipt: u64, hashes: &[B256]) -> (Vec<Receipts>, bool) {
        let hashes = hashes.to_vec();
        self.send(EthMessage::GetReceipts { request_id: 3, first_receipt, hashes }).await;
        match self.read().await.unwrap() {
            EthMessage::Receipts { request_id: 3, last_block_incomplete, blocks } => {
                (blocks, last_block_incomplete)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing but a pong comes, although a request is out.
    async fn expect_silence(&mut self) {
        self.connection.write(&Message::Ping).await.unwrap();
        let message = timeout(PATIENCE, self.connection.read()).await.unwrap().unwrap();
        assert_eq!(message, Message::Pong);
    }
}

fn sealed(headers: &[Bytes]) -> Vec<Arc<SealedHeader>> {
    headers.iter().map(|raw| seal_header(raw).unwrap()).collect()
}

fn links(headers: &[Arc<SealedHeader>]) -> bool {
    headers.windows(2).all(|pair| pair[0].parent_hash == pair[1].hash())
}

/// Waits for something that other tasks bring about.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn an_honest_peer_serves_headers_bodies_and_receipts() {
    for version in [68, 69, 70] {
        let rig = Rig::with(|config| config.versions = vec![version]).await;
        let mut client = rig.client().await;
        let tip = rig.chain.tip();
        assert_eq!(client.connection.version(), version);
        let (number, time) = (tip.number, rig.blocks[99].header.timestamp);
        assert_eq!(client.status.fork_id, spec().fork_id(number, time));
        match client.status.chain {
            StatusChain::Head { head, .. } => assert_eq!(head, tip.hash),
            StatusChain::Range(range) => assert_eq!(range.latest_hash, tip.hash),
        }

        let headers = client.headers(HashOrNumber::Hash(tip.hash), 512).await;
        assert_eq!(headers.len(), 101, "down to genesis");
        assert_eq!(headers[0].hash(), tip.hash);
        assert!(links(&headers));
        assert_eq!(client.headers(HashOrNumber::Number(7), 1).await[0].number, 7);

        let bodies = client.bodies(&rig.hashes(1, 100)).await;
        assert_eq!(bodies.len(), 100);
        for (block, body) in rig.blocks.iter().zip(&bodies) {
            body_matches(&block.header, body).unwrap();
        }
        let unknown = [rig.hashes(1, 2), vec![B256::ZERO], rig.hashes(3, 1)].concat();
        assert_eq!(client.bodies(&unknown).await.len(), 2, "up to the first that is missing");
        let (receipts, is_cut) = client.receipts(0, &rig.hashes(1, 100)).await;
        assert_eq!((receipts.len(), is_cut), (100, false));
        for (block, receipts) in rig.blocks.iter().zip(&receipts) {
            assert_eq!(Some(receipts), receipts_of(block).as_ref(), "eth/{version}");
        }
        assert_eq!(client.receipts(0, &unknown).await.0.len(), 2);
        let stats = rig.peer.stats();
        assert_eq!((stats.connections, stats.open, stats.requests), (1, 1, 6));
        assert_eq!((stats.headers, stats.bodies, stats.receipts), (102, 102, 102));
    }
}

#[tokio::test]
async fn answers_of_a_slow_peer_overlap() {
    let delay = Duration::from_millis(200);
    let rig = Rig::with(|config| config.pace = delay.into()).await;
    let mut client = rig.client().await;
    let started = Instant::now();
    for id in 0..20 {
        client.ask_headers(id, HashOrNumber::Number(id), 1).await;
    }
    for id in 0..20 {
        match client.read().await.unwrap() {
            EthMessage::BlockHeaders { request_id, .. } => assert_eq!(request_id, id),
            other => panic!("{other:?}"),
        }
    }
    assert!(started.elapsed() >= delay);
    assert!(started.elapsed() < delay * 10, "{:?} for 20 answers", started.elapsed());
}

#[tokio::test]
async fn a_peer_that_works_long_on_each_answer_gives_one_after_another() {
    let work = Duration::from_millis(50);
    let rig = Rig::with(|config| config.pace.work = work).await;
    let mut client = rig.client().await;
    let started = Instant::now();
    for id in 0..4 {
        client.ask_headers(id, HashOrNumber::Number(id), 1).await;
    }
    for id in 0..4 {
        client.read().await.unwrap();
        assert!(started.elapsed() >= work * u32::try_from(id + 1).unwrap());
    }
}

#[tokio::test]
async fn large_answers_are_cut_at_two_mebibytes() {
    let blocks: Vec<_> = Generator::new(Profile::Mainnet, 2).take(60).collect();
    let peer = Peer::honest(chain_of(&blocks), spec(), Duration::ZERO).await.unwrap();
    let mut client = Client::connect(peer.record()).await.unwrap();
    let hashes: Vec<_> = blocks.iter().map(|block| block.header.hash()).collect();
    let bodies = client.bodies(&hashes).await;
    assert!((18..40).contains(&bodies.len()), "{} bodies", bodies.len());
    for (block, body) in blocks.iter().zip(&bodies) {
        assert_eq!(&*block.body, body);
    }
}

#[tokio::test]
async fn receipts_are_cut_at_two_mebibytes_and_go_on_from_there_in_eth_70() {
    let blocks: Vec<_> = Generator::new(Profile::Mainnet, 2).take(80).collect();
    let peer = Peer::honest(chain_of(&blocks), spec(), Duration::ZERO).await.unwrap();
    let mut client = Client::connect(peer.record()).await.unwrap();
    let hashes: Vec<_> = blocks.iter().map(|block| block.header.hash()).collect();
    let whole = |index: usize| receipts_of(&blocks[index]).unwrap();
    let (mut found, is_cut) = client.receipts(0, &hashes).await;
    assert!(is_cut && (25..60).contains(&found.len()), "{} blocks", found.len());
    let mut last = found.pop().unwrap();
    for (index, receipts) in found.iter().enumerate() {
        assert_eq!(*receipts, whole(index));
    }
    let first = last.items.len() as u64;
    let (rest, is_cut) = client.receipts(first, &hashes[found.len()..=found.len()]).await;
    assert!(!is_cut);
    last.items.extend(rest.into_iter().flat_map(|block| block.items));
    assert_eq!(last, whole(found.len()));
}

#[tokio::test]
async fn a_peer_without_receipts_has_bodies() {
    let rig = Rig::start(Behaviour::LacksReceipts).await;
    let mut client = rig.client().await;
    assert_eq!(client.receipts(0, &rig.hashes(1, 5)).await, (vec![], false));
    assert_eq!(client.bodies(&rig.hashes(1, 5)).await.len(), 5);
}

#[tokio::test]
async fn a_peer_that_swaps_receipts_sends_none_that_was_asked_for() {
    let rig = Rig::start(Behaviour::SwapsReceipts).await;
    let mut client = rig.client().await;
    let (receipts, _) = client.receipts(0, &rig.hashes(40, 9)).await;
    assert_eq!(receipts.len(), 9);
    for (block, receipts) in rig.blocks[39..48].iter().zip(&receipts) {
        assert_ne!(receipts_key(receipts).unwrap().root, block.header.receipts_root);
    }
    assert_eq!(client.bodies(&rig.hashes(1, 1)).await, [Body::clone(&rig.blocks[0].body)]);
}

#[tokio::test]
async fn a_growing_chain_is_served_and_announced_every_32_blocks_or_when_it_turns() {
    let mut generator = Generator::new(Profile::Empty, 1);
    let blocks: Vec<_> = generator.by_ref().take(60).collect();
    let chain = chain_of(&blocks[..10]);
    let peer = Peer::honest(chain.clone(), spec(), Duration::ZERO).await.unwrap();
    let mut client = Client::connect(peer.record()).await.unwrap();
    chain.extend(blocks[10..41].iter().cloned()).unwrap();
    let top = HashOrNumber::Hash(blocks[40].header.hash());
    assert_eq!(client.headers(top, 1).await.len(), 1, "served before it is announced");
    chain.extend(blocks[41..43].iter().cloned()).unwrap();
    let EthMessage::BlockRangeUpdate(range) = client.read().await.unwrap() else { panic!() };
    assert!((42..=43).contains(&range.latest), "{range:?}");

    // higher than what was announced, but by less than 32 blocks, and on another branch
    let branch: Vec<_> = generator.fork_at(&blocks[30].header, 5).take(14).collect();
    chain.extend(branch.iter().cloned()).unwrap();
    let EthMessage::BlockRangeUpdate(range) = client.read().await.unwrap() else { panic!() };
    assert_eq!((range.latest, range.latest_hash), (45, branch[13].header.hash()));
}

#[tokio::test]
async fn a_peer_without_bodies_says_so() {
    let rig = Rig::start(Behaviour::LacksBodies).await;
    let mut client = rig.client().await;
    assert_eq!(client.bodies(&rig.hashes(1, 5)).await, []);
    assert_eq!(client.receipts(0, &rig.hashes(1, 5)).await, (vec![], false));
    assert_eq!(client.headers(HashOrNumber::Number(50), 5).await.len(), 5);
}

#[tokio::test]
async fn a_peer_of_short_answers_sends_one_item() {
    let rig = Rig::start(Behaviour::ShortAnswers).await;
    let mut client = rig.client().await;
    let bodies = client.bodies(&rig.hashes(40, 9)).await;
    assert_eq!(bodies, [Body::clone(&rig.blocks[39].body)]);
    assert_eq!(client.receipts(0, &rig.hashes(40, 9)).await.0.len(), 1);
    assert_eq!(client.headers(HashOrNumber::Number(50), 5).await.len(), 1);
}

#[tokio::test]
async fn a_peer_that_swaps_bodies_sends_none_that_was_asked_for() {
    let rig = Rig::start(Behaviour::SwapsBodies).await;
    let mut client = rig.client().await;
    let bodies = client.bodies(&rig.hashes(40, 9)).await;
    assert_eq!(bodies.len(), 9);
    for (block, body) in rig.blocks[39..48].iter().zip(&bodies) {
        assert!(body_matches(&block.header, body).is_err());
    }
}

#[tokio::test]
async fn a_peer_that_breaks_links_forges_a_header_in_the_middle() {
    let rig = Rig::start(Behaviour::BreaksLink).await;
    let mut client = rig.client().await;
    let top = rig.blocks[49].header.hash();
    let headers = client.headers(HashOrNumber::Hash(top), 9).await;
    assert_eq!(headers.len(), 9);
    assert_eq!(headers[0].hash(), top, "it begins as it should");
    assert!(!links(&headers));
    let numbers: Vec<_> = headers.iter().map(|header| header.number).collect();
    assert_eq!(numbers, (42..=50).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_peer_that_repeats_sends_one_header_over_and_over() {
    let rig = Rig::start(Behaviour::RepeatsHeaders).await;
    let mut client = rig.client().await;
    let headers = client.headers(HashOrNumber::Number(50), 9).await;
    assert_eq!(headers.len(), 9);
    assert!(headers.iter().all(|header| header.number == 50));
}

#[tokio::test]
async fn bombs_and_oversize_frames_are_breaches() {
    for (behaviour, sign) in
        [(Behaviour::SnappyBomb, "4294967295"), (Behaviour::OversizeFrame, "16777")]
    {
        let rig = Rig::start(behaviour).await;
        let mut client = rig.client().await;
        client.ask_headers(1, HashOrNumber::Number(50), 9).await;
        let error = client.read().await.unwrap_err();
        assert_eq!(error.blame(), Blame::Peer, "{behaviour}: {error}");
        assert!(error.to_string().contains(sign), "{behaviour}: {error}");
    }
}

#[tokio::test]
async fn garbage_comes_in_place_of_a_handshake() {
    let rig = Rig::start(Behaviour::GarbageBeforeHandshake).await;
    let error = Client::connect(rig.peer.record()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ConnectionError::Handshake(_)), "{error}");
}

#[tokio::test]
async fn a_peer_that_disconnects_answers_first_and_takes_new_connections() {
    let rig = Rig::start(Behaviour::DisconnectsAfter(2)).await;
    for _ in 0..2 {
        let mut client = rig.client().await;
        assert_eq!(client.headers(HashOrNumber::Number(5), 2).await.len(), 2);
        assert_eq!(client.bodies(&rig.hashes(1, 5)).await.len(), 5);
        let error = client.read().await.unwrap_err();
        assert_eq!(error, ConnectionError::Remote(DisconnectReason::ClientQuitting));
    }
    assert_eq!(rig.peer.stats().connections, 2);
}

#[tokio::test]
async fn a_silent_peer_answers_pings_alone() {
    let rig = Rig::start(Behaviour::Silent).await;
    let mut client = rig.client().await;
    client.ask_headers(1, HashOrNumber::Number(5), 2).await;
    client.expect_silence().await;
    assert_eq!(rig.peer.stats().requests, 1);
}

#[tokio::test]
async fn a_peer_that_dribbles_is_too_slow_for_a_frame() {
    let rig = Rig::start(Behaviour::Dribbles).await;
    let timeouts = Timeouts {
        idle: Duration::from_secs(2),
        minimum_bytes_per_s: u64::MAX,
        ..Timeouts::default()
    };
    let mut client = Client::with(rig.peer.record(), &timeouts).await.unwrap();
    client.ask_headers(1, HashOrNumber::Number(5), 4).await;
    assert_eq!(client.read().await, Err(ConnectionError::Silent("the session")));
}

#[tokio::test(start_paused = true)]
async fn a_dribbling_stream_takes_a_second_for_ten_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    let dribbles = Arc::new(AtomicBool::new(false));
    let mut throttle = Throttle::new(stream, Arc::clone(&dribbles));
    let started = Instant::now();
    throttle.write_all(&[7; 1000]).await.unwrap();
    assert!(started.elapsed().is_zero(), "{:?}", started.elapsed());
    dribbles.store(true, Ordering::Relaxed);
    throttle.write_all(&[8; 101]).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 10);
    let mut arrived = [0; 1101];
    other.read_exact(&mut arrived).await.unwrap();
    assert_eq!(arrived[1000..], [8; 101]);
}

#[tokio::test]
async fn a_peer_of_another_network_says_so() {
    let rig = Rig::start(Behaviour::OtherNetwork).await;
    let mut client = rig.client().await;
    assert_ne!(client.status.network_id, spec().chain_id());
    assert_ne!(client.status.genesis, genesis_header().hash());
    let error = client.read().await.unwrap_err();
    assert_eq!(error, ConnectionError::Remote(DisconnectReason::UselessPeer));
}

#[tokio::test]
async fn stopping_closes_the_port_and_every_connection() {
    let rig = Rig::start(Behaviour::Honest).await;
    let mut client = rig.client().await;
    eventually("the connection is open", || rig.peer.stats().open == 1).await;
    rig.peer.stop();
    assert!(matches!(client.read().await, Err(ConnectionError::Network(_))));
    eventually("no connection is open", || rig.peer.stats().open == 0).await;
    assert!(TcpStream::connect(rig.peer.record().addr).await.is_err());
}

#[tokio::test]
async fn a_peer_outlives_whoever_speaks_no_rlpx() {
    let rig = Rig::start(Behaviour::Honest).await;
    let mut stranger = TcpStream::connect(rig.peer.record().addr).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stranger.read_to_end(&mut rest)).await.unwrap();
    assert!(closed.is_err() || rest.is_empty(), "{} bytes", rest.len());
    let mut client = rig.client().await;
    assert_eq!(client.headers(HashOrNumber::Number(5), 2).await.len(), 2);
}

#[tokio::test]
async fn a_devnet_is_a_mix_of_peers_with_lasting_names() {
    let chain = chain_of(&blocks());
    let mix = Behaviour::ALL.map(|behaviour| (behaviour, Duration::ZERO));
    let devnet = Devnet::start(chain.clone(), spec(), mix).await.unwrap();
    let again = Devnet::start(chain, spec(), mix).await.unwrap();
    let ids = |devnet: &Devnet| devnet.records().iter().map(|node| node.id).collect::<Vec<_>>();
    assert_eq!(ids(&devnet), ids(&again));
    assert_eq!(devnet.peers().len(), Behaviour::ALL.len());
    for peer in devnet.peers() {
        assert!(peer.record().addr.ip().is_loopback());
        let reachable = Client::connect(peer.record()).await.is_ok();
        assert_eq!(reachable, peer.behaviour() != Behaviour::GarbageBeforeHandshake);
    }
    devnet.stop();
}
