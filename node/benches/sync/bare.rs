//! The bare loop: one connection, one thread, nothing at the same time as anything else.
//!
//! Headers from the head down, then bodies from the bottom up. Each answer is decoded, proved and put
//! into a batch; a batch of the size that the node writes is committed, and the loop waits for the
//! disk as the store does. As many requests are out as the node gives one peer.

use std::{
    collections::VecDeque,
    mem,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_messages::{
    AnnouncedRange, BlockNumHash, Body, FetchItems, HashOrNumber, NodeRecord, SealedHeader, Span,
    StoreBatch, Weigh,
};
use moorline_rlpx::{
    Connection, LocalStatus, Message, Timeouts,
    eth::{EthMessage, HeadersRequest, VERSIONS, seal_header},
    node_id,
    p2p::Hello,
    random_key,
};
use moorline_rules::{
    ChainSpec, body_key, body_matches, key_of, validate_body, validate_header_against_parent,
    validate_header_alone,
};
use moorline_store::{Backend, Disk};

use crate::World;

/// Requests that are out at a time: as many as the peer manager gives one peer.
const IN_FLIGHT_REQUESTS: usize = 4;

/// Size at which an answer is aimed, and what a body is taken for before any was seen, as in the
/// downloader.
const ANSWER_BYTES_AIM: usize = 1_500_000;
const FIRST_GUESS_BYTES: usize = 32 << 10;

/// Size at which a batch is written, as in the downloader.
const BATCH_BYTES: usize = 2 << 20;

pub(crate) fn sync(world: &World, peer: NodeRecord, dir: &Path) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let disk = world.disk(dir);
    runtime.block_on(async {
        let began = Instant::now();
        let connection = connect(&world.spec, peer).await;
        let writer = Writer { disk: &disk, batch: StoreBatch::default(), bytes: 0 };
        let mut bare = Bare { spec: &world.spec, connection, writer, last_id: 0 };
        let headers = bare.headers(world).await;
        bare.bodies(&headers).await;
        bare.writer.commit();
        began.elapsed()
    })
}

async fn connect(spec: &ChainSpec, peer: NodeRecord) -> Connection {
    let key = random_key();
    let hello = Hello::new("bare-loop", &VERSIONS, 0, node_id(&key).unwrap());
    let mut connection =
        Connection::connect(&peer, &key, &hello, &Timeouts::default()).await.unwrap();
    let genesis = spec.genesis();
    let status = LocalStatus {
        network_id: spec.chain_id(),
        genesis: genesis.hash(),
        fork_id: spec.fork_id(0, genesis.timestamp),
        total_difficulty: spec.terminal_total_difficulty(),
        range: AnnouncedRange { earliest: 0, latest: 0, latest_hash: genesis.hash() },
        head: genesis.hash(),
    };
    connection.exchange_status(&status.at(connection.version())).await.unwrap();
    connection
}

struct Writer<'a> {
    disk: &'a Disk,
    batch: StoreBatch,
    bytes: usize,
}

impl Writer<'_> {
    fn headers(&mut self, run: &[Arc<SealedHeader>]) {
        let (top, bottom) = (&run[0], &run[run.len() - 1]);
        self.batch.spans.push(Span {
            top: BlockNumHash::of(top),
            bottom: BlockNumHash::of(bottom),
            bottom_parent: bottom.parent_hash,
        });
        self.batch.headers.extend_from_slice(run);
        self.grow(run.iter().map(|header| header.weight_bytes()).sum());
    }

    fn body(&mut self, header: &SealedHeader, body: Arc<Body>) {
        let bytes = body.weight_bytes();
        self.batch.bodies.push((BlockNumHash::of(header), body));
        self.grow(bytes);
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= BATCH_BYTES {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let batch = mem::take(&mut self.batch);
        self.bytes = 0;
        assert_eq!(self.disk.commit(&[&batch]), [Ok(())]);
    }
}

struct Bare<'a> {
    spec: &'a ChainSpec,
    connection: Connection,
    writer: Writer<'a>,
    last_id: u64,
}

impl Bare<'_> {
    async fn ask(&mut self, message: impl FnOnce(u64) -> EthMessage) {
        self.last_id += 1;
        self.connection.write(&Message::Eth(message(self.last_id))).await.unwrap();
    }

    async fn answer(&mut self) -> EthMessage {
        loop {
            match self.connection.read().await.unwrap() {
                Message::Eth(message) => return message,
                Message::Ping => self.connection.write(&Message::Pong).await.unwrap(),
                other => panic!("the peer says {other:?}"),
            }
        }
    }

    async fn ask_headers(&mut self, start: HashOrNumber, limit: u64) {
        let request = HeadersRequest { start, limit, skip: 0, reverse: true };
        self.ask(|request_id| EthMessage::GetBlockHeaders { request_id, request }).await;
    }

    /// All headers, from the head down to the child of the genesis block, proved.
    async fn headers(&mut self, world: &World) -> Vec<Arc<SealedHeader>> {
        let most = FetchItems::MAX_HEADERS;
        self.ask_headers(HashOrNumber::Hash(world.head), most.min(world.blocks)).await;
        let mut proved: Vec<Arc<SealedHeader>> = Vec::new();
        let (mut next, mut out) = (world.blocks.saturating_sub(most), 1);
        while out > 0 {
            let EthMessage::BlockHeaders { headers, .. } = self.answer().await else {
                panic!("not headers")
            };
            out -= 1;
            while next > 0 && out < IN_FLIGHT_REQUESTS {
                self.ask_headers(HashOrNumber::Number(next), most.min(next)).await;
                next = next.saturating_sub(most);
                out += 1;
            }
            let first = proved.len();
            for raw in headers {
                let header = seal_header(&raw).unwrap();
                validate_header_alone(self.spec, &header).unwrap();
                match proved.last() {
                    Some(child) => {
                        validate_header_against_parent(self.spec, child, &header).unwrap();
                    }
                    None => assert_eq!(header.hash(), world.head),
                }
                proved.push(header);
            }
            self.writer.headers(&proved[first..]);
        }
        let lowest = proved.last().unwrap();
        validate_header_against_parent(self.spec, lowest, self.spec.genesis()).unwrap();
        assert_eq!(proved.len() as u64, world.blocks);
        proved
    }

    /// All bodies, from the lowest block up; each block becomes canonical in the batch that has its
    /// body.
    async fn bodies(&mut self, headers: &[Arc<SealedHeader>]) {
        let empty = Body {
            transactions: Vec::new(),
            ommers: Body::NO_OMMERS,
            withdrawals: Some(Vec::new()),
        };
        let (empty_key, empty) = (key_of(&empty), Arc::new(empty));
        let mut wanted: VecDeque<&Arc<SealedHeader>> = headers.iter().rev().collect();
        let mut out: VecDeque<Vec<&Arc<SealedHeader>>> = VecDeque::new();
        let mut here = Here::new(headers.len());
        let (mut seen_bytes, mut seen) = (0_usize, 0_usize);
        loop {
            while !wanted.is_empty() && out.len() < IN_FLIGHT_REQUESTS {
                let mean_bytes = seen_bytes.checked_div(seen).unwrap_or(FIRST_GUESS_BYTES);
                let most = (ANSWER_BYTES_AIM / mean_bytes).clamp(1, FetchItems::MAX_BODIES);
                let mut asked = Vec::new();
                while asked.len() < most
                    && let Some(header) = wanted.pop_front()
                {
                    if body_key(header) == empty_key {
                        here.put(header, &mut self.writer.batch.canonical);
                        self.writer.body(header, Arc::clone(&empty));
                    } else {
                        asked.push(header);
                    }
                }
                if !asked.is_empty() {
                    let hashes = asked.iter().map(|header| header.hash()).collect();
                    self.ask(|request_id| EthMessage::GetBlockBodies { request_id, hashes }).await;
                    out.push_back(asked);
                }
            }
            let Some(mut asked) = out.pop_front() else { return };
            let EthMessage::BlockBodies { bodies, .. } = self.answer().await else {
                panic!("not bodies")
            };
            assert!(!bodies.is_empty(), "a body is nowhere");
            // an answer ends early where it grows too large
            for header in asked.split_off(bodies.len()).into_iter().rev() {
                wanted.push_front(header);
            }
            for (header, body) in asked.into_iter().zip(bodies) {
                body_matches(header, &body).unwrap();
                validate_body(self.spec, header, &body).unwrap();
                seen_bytes += body.weight_bytes();
                seen += 1;
                here.put(header, &mut self.writer.batch.canonical);
                self.writer.body(header, Arc::new(body));
            }
        }
    }
}

/// Which bodies are here.
struct Here {
    by_height: Vec<Option<BlockNumHash>>,
    next: usize,
}

impl Here {
    fn new(blocks: usize) -> Self {
        Self { by_height: vec![None; blocks + 1], next: 1 }
    }

    /// Adds a block, and makes canonical whatever is now without a gap.
    fn put(&mut self, header: &SealedHeader, canonical: &mut Vec<BlockNumHash>) {
        self.by_height[header.number as usize] = Some(BlockNumHash::of(header));
        while let Some(Some(block)) = self.by_height.get(self.next) {
            canonical.push(*block);
            self.next += 1;
        }
    }
}
