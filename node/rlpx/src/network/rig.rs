//! What the tests of a network are written with: a chain in memory, and a network that reports.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloy_consensus::Header;
use alloy_eip2124::{ForkFilterKey, Head};
use alloy_primitives::{Address, Bytes, keccak256};
use alloy_rlp::Encodable;
use futures_util::future::BoxFuture;
use moorline_messages::{
    BlockNumHash, Body, FetchItems, FetchedItems, HashOrNumber, Receipts, RequestId,
};
use tokio::{net::TcpStream, sync::Semaphore};

use super::*;
use crate::{
    EthMessage, Message, random_key,
    rlp::{list_of, put_list},
    snappy,
};

/// Longer than anything here takes, and short enough to wait for when something hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A linked chain with a body and receipts for each block; serving waits until the gate lets it.
pub(super) struct MemoryChain {
    headers: Vec<Bytes>,
    numbers: BTreeMap<B256, usize>,
    bodies: Vec<Body>,
    receipts: Vec<Receipts>,
    gate: Semaphore,
    pub(super) waiting: AtomicUsize,
}

impl MemoryChain {
    pub(super) fn of(blocks: u64) -> Arc<Self> {
        Self::heavy(blocks, 16)
    }

    pub(super) fn heavy(blocks: u64, transaction_bytes: usize) -> Arc<Self> {
        let chain = Self::build(blocks, transaction_bytes, receipts_of_block);
        chain.open();
        chain
    }

    /// Blocks that have these receipts.
    pub(super) fn with_receipts(blocks: u64, receipts: impl Fn(usize) -> Receipts) -> Arc<Self> {
        let chain = Self::build(blocks, 16, receipts);
        chain.open();
        chain
    }

    pub(super) fn gated(blocks: u64) -> Arc<Self> {
        Self::build(blocks, 16, receipts_of_block)
    }

    fn build(
        blocks: u64,
        transaction_bytes: usize,
        receipts: impl Fn(usize) -> Receipts,
    ) -> Arc<Self> {
        let mut headers = Vec::new();
        let mut numbers = BTreeMap::new();
        let mut parent_hash = B256::ZERO;
        for number in 0..=blocks {
            let header = Header { parent_hash, number, timestamp: number, ..Header::default() };
            let mut raw = Vec::new();
            header.encode(&mut raw);
            parent_hash = keccak256(&raw);
            numbers.insert(parent_hash, headers.len());
            headers.push(Bytes::from(raw));
        }
        let (gate, waiting) = (Semaphore::new(0), AtomicUsize::new(0));
        let bodies = (0..headers.len()).map(|number| noise(number, transaction_bytes)).collect();
        let receipts = (0..headers.len()).map(receipts).collect();
        Arc::new(Self { headers, numbers, bodies, receipts, gate, waiting })
    }

    /// Lets everybody be served from now on.
    pub(super) fn open(&self) {
        self.gate.close();
    }

    pub(super) fn hash(&self, number: usize) -> B256 {
        keccak256(&self.headers[number])
    }

    pub(super) fn block(&self, number: u64) -> BlockNumHash {
        BlockNumHash::new(number, self.hash(usize::try_from(number).unwrap()))
    }

    pub(super) fn range(&self, latest: u64) -> AnnouncedRange {
        AnnouncedRange { earliest: 0, latest, latest_hash: self.block(latest).hash }
    }

    pub(super) fn body(&self, number: usize) -> Body {
        self.bodies[number].clone()
    }

    pub(super) fn receipts(&self, number: usize) -> Receipts {
        self.receipts[number].clone()
    }

    async fn pass_gate(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _ = self.gate.acquire().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body of one transaction that does not compress.
fn noise(number: usize, transaction_bytes: usize) -> Body {
    let mut transaction = vec![2];
    while transaction.len() < transaction_bytes {
        transaction.extend(keccak256([number, transaction.len()].map(usize::to_be_bytes).concat()));
    }
    Body {
        transactions: vec![transaction.into()],
        ommers: Body::NO_OMMERS,
        withdrawals: Some(Vec::new()),
    }
}

/// Three small receipts, different for each block.
fn receipts_of_block(number: usize) -> Receipts {
    let gas = u64::try_from(number).unwrap() * 100_000;
    Receipts { items: (1..=3).map(|count| receipt(gas + count * 21_000, 16)).collect() }
}

/// A receipt of a transaction that logged so many bytes.
pub(super) fn receipt(gas: u64, data_bytes: usize) -> Bytes {
    let log = list_of(|out| {
        Address::with_last_byte(7).encode(out);
        put_list(&[], out);
        vec![8; data_bytes].as_slice().encode(out);
    });
    let receipt = list_of(|out| {
        2_u8.encode(out);
        true.encode(out);
        gas.encode(out);
        put_list(&log, out);
    });
    receipt.freeze().into()
}

impl ChainSource for MemoryChain {
    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        skip: u64,
        reverse: bool,
        _budget_bytes: usize,
    ) -> BoxFuture<'_, Vec<Bytes>> {
        Box::pin(async move {
            self.pass_gate().await;
            let mut at = match start {
                HashOrNumber::Hash(hash) => self.numbers.get(&hash).copied(),
                HashOrNumber::Number(number) => usize::try_from(number).ok(),
            };
            let stride = usize::try_from(skip).unwrap() + 1;
            let mut found = Vec::new();
            while let Some(number) = at.filter(|at| *at < self.headers.len()) {
                found.push(self.headers[number].clone());
                if found.len() as u64 == limit {
                    break;
                }
                at = if reverse { number.checked_sub(stride) } else { number.checked_add(stride) };
            }
            found
        })
    }

    fn bodies(&self, hashes: Vec<B256>, _budget_bytes: usize) -> BoxFuture<'_, Vec<Body>> {
        Box::pin(async move {
            self.pass_gate().await;
            let numbers = hashes.iter().map_while(|hash| self.numbers.get(hash));
            numbers.map(|number| self.body(*number)).collect()
        })
    }

    fn receipts(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Receipts>> {
        Box::pin(async move {
            self.pass_gate().await;
            let mut gathered_bytes = 0;
            let numbers = hashes.iter().map_while(|hash| self.numbers.get(hash));
            let within_budget = numbers.map_while(|number| {
                let room = gathered_bytes < budget_bytes;
                let block = self.receipts(*number);
                gathered_bytes += block.items.iter().map(|receipt| receipt.len()).sum::<usize>();
                room.then_some(block)
            });
            within_budget.collect()
        })
    }
}

/// A network on loopback and what it says.
pub(super) struct Node {
    pub(super) handle: NetworkHandle,
    pub(super) events: mpsc::Receiver<SessionEvent>,
}

pub(super) fn fork_filter(genesis: B256) -> ForkFilter {
    ForkFilter::new(Head::default(), genesis, 0, [ForkFilterKey::Time(60)])
}

pub(super) fn config(chain: &MemoryChain) -> NetworkConfig {
    let genesis = chain.hash(0);
    NetworkConfig::new(random_key(), 7, genesis, fork_filter(genesis))
}

impl Node {
    pub(super) fn start(chain: &Arc<MemoryChain>) -> Self {
        Self::with(config(chain), chain)
    }

    pub(super) fn with(config: NetworkConfig, chain: &Arc<MemoryChain>) -> Self {
        let (sender, events) = mpsc::channel(1);
        let source: Arc<dyn ChainSource> = chain.clone();
        Self { handle: Network::start(config, source, sender).unwrap(), events }
    }

    pub(super) async fn command(&self, command: SessionCommand) {
        self.handle.commands.send(command).await.unwrap();
    }

    pub(super) async fn dial(&self, other: &Self) {
        self.command(SessionCommand::Dial { node: other.handle.local_record() }).await;
    }

    pub(super) async fn event(&mut self) -> SessionEvent {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event.expect("no event came").expect("the network is gone")
    }

    pub(super) async fn opened(&mut self) -> (SessionId, PeerInfo) {
        match self.event().await {
            SessionEvent::Opened { session, peer } => (session, peer),
            other => panic!("expected Opened, got {other:?}"),
        }
    }

    pub(super) async fn closed(&mut self) -> CloseReason {
        match self.event().await {
            SessionEvent::Closed { reason, .. } => reason,
            other => panic!("expected Closed, got {other:?}"),
        }
    }

    pub(super) async fn expect_breach(&mut self, about: &str) {
        match self.closed().await {
            CloseReason::Breach(text) => assert!(text.contains(about), "{text:?}"),
            other => panic!("expected a breach, got {other:?}"),
        }
    }

    pub(super) async fn dial_failed(&mut self) -> CloseReason {
        match self.event().await {
            SessionEvent::DialFailed { reason, .. } => reason,
            other => panic!("expected DialFailed, got {other:?}"),
        }
    }

    pub(super) async fn fetch(&self, session: SessionId, request: u64, items: FetchItems) {
        let request = RequestId(request);
        self.command(SessionCommand::Fetch { session, request, items }).await;
    }

    pub(super) async fn answered(&mut self) -> (RequestId, FetchedItems, usize) {
        match self.event().await {
            SessionEvent::Answered { request, items, wire_bytes, .. } => {
                (request, items, wire_bytes)
            }
            other => panic!("expected Answered, got {other:?}"),
        }
    }

    /// Has a listener take a connection as one that came from this address. Returns the other end.
    pub(super) async fn admit(&self, listener: &mut Listener, from: [u8; 4]) -> TcpStream {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let dialling = TcpStream::connect(socket.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialling, socket.accept());
        listener.admit(accepted.unwrap().0, (from, 30303).into());
        dialled.unwrap()
    }

    /// Connects as a peer that says whatever the test wants.
    pub(super) async fn meet(&self, chain: &MemoryChain) -> Peer {
        let mut peer = Peer::hello(self, &[70]).await.unwrap();
        peer.status(chain).await.unwrap();
        peer
    }

    /// The same, once the node has said `Opened`.
    pub(super) async fn met(&mut self, chain: &MemoryChain) -> (SessionId, Peer) {
        let peer = self.meet(chain).await;
        (self.opened().await.0, peer)
    }
}

/// A peer driven by hand.
pub(super) struct Peer {
    pub(super) connection: Connection<TcpStream>,
}

impl Peer {
    pub(super) async fn hello(node: &Node, versions: &[u8]) -> Result<Self, ConnectionError> {
        Self::hello_as(node, versions, &random_key()).await
    }

    pub(super) async fn hello_as(
        node: &Node,
        versions: &[u8],
        secret: &[u8; 32],
    ) -> Result<Self, ConnectionError> {
        let hello = Hello::new("by hand", versions, 0, node_id(secret).unwrap());
        let record = node.handle.local_record();
        let connection = Connection::connect(&record, secret, &hello, &Timeouts::default()).await?;
        Ok(Self { connection })
    }

    /// Says hello on a connection that stands.
    pub(super) async fn hello_on(stream: TcpStream, node: &Node) -> Result<Self, ConnectionError> {
        let secret = random_key();
        let hello = Hello::new("by hand", &[70], 0, node_id(&secret).unwrap());
        let remote = node.handle.local_record().id;
        let timeouts = Timeouts::default();
        let connection = Connection::initiate(stream, remote, &secret, &hello, &timeouts).await?;
        Ok(Self { connection })
    }

    pub(super) fn local_status(chain: &MemoryChain) -> LocalStatus {
        LocalStatus {
            network_id: 7,
            genesis: chain.hash(0),
            fork_id: fork_filter(chain.hash(0)).current(),
            total_difficulty: U256::ZERO,
            range: chain.range(0),
            head: chain.hash(0),
        }
    }

    pub(super) async fn status(&mut self, chain: &MemoryChain) -> Result<Status, ConnectionError> {
        let ours = Self::local_status(chain).at(self.connection.version());
        self.connection.exchange_status(&ours).await
    }

    pub(super) async fn say(&mut self, message: EthMessage) {
        self.connection.write(&Message::Eth(message)).await.unwrap();
    }

    /// The bytes of a message on the wire, to be sent in pieces.
    pub(super) fn frame_of(&mut self, message: &EthMessage) -> Vec<u8> {
        let data = message.encode(self.connection.version());
        let mut content = vec![0x10 + message.id()];
        content.extend(snappy::compress(&mut snap::raw::Encoder::new(), &data).unwrap());
        self.connection.encode_frame(&content).unwrap().to_vec()
    }

    /// The next message that is neither ping nor pong.
    pub(super) async fn hear(&mut self) -> Message {
        loop {
            let read = timeout(PATIENCE, self.connection.read()).await;
            match read.expect("nothing was said").expect("the connection ended") {
                Message::Ping | Message::Pong => {}
                other => return other,
            }
        }
    }

    pub(super) async fn hear_eth(&mut self) -> EthMessage {
        match self.hear().await {
            Message::Eth(message) => message,
            other => panic!("expected a message of eth, got {other:?}"),
        }
    }

    /// Waits for the node's own request, of which the id is returned.
    pub(super) async fn asked(&mut self) -> u64 {
        match self.hear_eth().await {
            EthMessage::GetBlockHeaders { request_id, .. }
            | EthMessage::GetBlockBodies { request_id, .. }
            | EthMessage::GetReceipts { request_id, .. } => request_id,
            other => panic!("expected a request, got {other:?}"),
        }
    }
}

pub(super) fn headers(top: u64, limit: u64) -> FetchItems {
    FetchItems::Headers { top: HashOrNumber::Number(top), limit }
}

pub(super) fn receipts(chain: &MemoryChain, numbers: RangeInclusive<u64>) -> FetchItems {
    FetchItems::Receipts { blocks: numbers.map(|number| chain.block(number)).collect() }
}

/// Waits for a condition that another task brings about.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the condition never came true");
}
