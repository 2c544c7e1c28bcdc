//! One connection of a peer: it says hello, and then answers until somebody leaves.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy_primitives::keccak256;
use moorline_messages::{AnnouncedRange, BlockNumHash, DisconnectReason, HashOrNumber};
use moorline_rlpx::{
    Connection, ConnectionError, LocalStatus, Message, Timeouts,
    eth::{EthMessage, Status},
    node_id,
    p2p::Hello,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Behaviour, Counters, PeerConfig,
    answer::{Answer, answer},
    count,
    throttle::Throttle,
};

/// Most requests whose answers are waiting for their time; no more are read until one is sent.
const MAX_WAITING: usize = 256;

/// A range is announced again once the tip has moved this far (EIP-7642: no more than once an epoch).
const ANNOUNCE_EVERY_BLOCKS: u64 = 32;

/// How long a peer that spoke garbage waits before it closes.
const GARBAGE_LINGER: Duration = Duration::from_secs(10);

/// Serves one connection until it ends.
pub(super) async fn serve(
    mut stream: TcpStream,
    config: &PeerConfig,
    counters: &Counters,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    if config.behaviour == Behaviour::GarbageBeforeHandshake {
        stream.write_all(&garbage()).await?;
        sleep(GARBAGE_LINGER).await;
        return Ok(());
    }
    let dribbles = Arc::new(AtomicBool::new(false));
    let stream = Throttle::new(stream, Arc::clone(&dribbles));
    let hello = hello(config)?;
    let timeouts = Timeouts { write: Duration::from_secs(600), ..Timeouts::default() };
    let mut connection = Connection::accept(stream, &config.key, &hello, &timeouts).await?;
    let announced = config.chain.tip();
    let ours = status(config, announced).at(connection.version());
    let theirs = connection.exchange_status(&ours).await?;
    if !same_network(&ours, &theirs) {
        connection.disconnect(DisconnectReason::UselessPeer).await;
        return Ok(());
    }
    dribbles.store(config.behaviour == Behaviour::Dribbles, Ordering::Relaxed);
    let (waiting, free_at) = (VecDeque::new(), Instant::now());
    Session { connection, config, counters, waiting, free_at, announced, answered: 0 }.run().await
}

/// A packet of plausible size that no key decrypts.
fn garbage() -> Vec<u8> {
    let size: u16 = 400;
    let mut bytes = size.to_be_bytes().to_vec();
    let mut block = keccak256("garbage");
    while bytes.len() < usize::from(size).saturating_add(2) {
        bytes.extend_from_slice(block.as_slice());
        block = keccak256(block);
    }
    bytes
}

fn hello(config: &PeerConfig) -> Result<Hello, ConnectionError> {
    let id = node_id(&config.key).map_err(|error| ConnectionError::Breach(error.to_string()))?;
    Ok(Hello::new("moorline-devnet", &config.versions, 0, id))
}

fn range(tip: BlockNumHash) -> AnnouncedRange {
    AnnouncedRange { earliest: 0, latest: tip.number, latest_hash: tip.hash }
}

fn status(config: &PeerConfig, tip: BlockNumHash) -> LocalStatus {
    let time = config.chain.block(HashOrNumber::Hash(tip.hash)).map_or(0, |b| b.header.timestamp);
    let spec = &config.spec;
    let mut status = LocalStatus {
        network_id: spec.chain_id(),
        genesis: config.chain.genesis().hash(),
        fork_id: spec.fork_id(tip.number, time),
        total_difficulty: spec.terminal_total_difficulty(),
        range: range(tip),
        head: tip.hash,
    };
    if config.behaviour == Behaviour::OtherNetwork {
        status.network_id = status.network_id.wrapping_add(1);
        status.genesis = !status.genesis;
    }
    status
}

fn same_network(ours: &Status, theirs: &Status) -> bool {
    (ours.network_id, ours.genesis) == (theirs.network_id, theirs.genesis)
}

struct Session<'a> {
    connection: Connection<Throttle>,
    config: &'a PeerConfig,
    counters: &'a Counters,
    /// Requests and when to answer them, in the order of both: the pace is the same for all.
    waiting: VecDeque<(Instant, EthMessage)>,
    /// When the work on the last of them is done.
    free_at: Instant,
    /// The tip that the other side last heard of.
    announced: BlockNumHash,
    answered: u64,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), ConnectionError> {
        let mut tip = self.config.chain.watch_tip();
        loop {
            // not left to the timer, which wakes up to a millisecond late
            let now = Instant::now();
            let due = self.waiting.front().map(|(due, _)| *due);
            if due.is_some_and(|due| due <= now)
                && let Some((_, request)) = self.waiting.pop_front()
            {
                self.answer(&request).await?;
                if self.config.behaviour == Behaviour::DisconnectsAfter(self.answered) {
                    self.connection.disconnect(DisconnectReason::ClientQuitting).await;
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                Ok(()) = tip.changed() => {
                    let tip = *tip.borrow_and_update();
                    self.announce(tip).await?;
                }
                message = self.connection.read(), if self.waiting.len() < MAX_WAITING => {
                    match message? {
                        Message::Disconnect(_) => return Ok(()),
                        Message::Ping => self.connection.write(&Message::Pong).await?,
                        Message::Pong => {}
                        Message::Eth(message) => self.take(message),
                    }
                }
            }
        }
    }

    fn take(&mut self, message: EthMessage) {
        match message {
            EthMessage::GetBlockHeaders { .. }
            | EthMessage::GetBlockBodies { .. }
            | EthMessage::GetReceipts { .. } => count(&self.counters.requests, 1),
            EthMessage::GetPooledTransactions { .. } => {}
            _ => return,
        }
        let now = Instant::now();
        let pace = self.config.pace;
        self.free_at = self.free_at.max(now).checked_add(pace.work).unwrap_or(now);
        let due = self.free_at.checked_add(pace.delay).unwrap_or(now);
        self.waiting.push_back((due, message));
    }

    async fn answer(&mut self, request: &EthMessage) -> Result<(), ConnectionError> {
        let (chain, behaviour) = (self.config.chain.as_ref(), self.config.behaviour);
        let answer = answer(chain, behaviour, self.connection.version(), request);
        match answer {
            None => {}
            Some(Answer::Frame(content)) => self.connection.write_raw_frame(&content).await?,
            Some(Answer::Message(message)) => {
                let sent = match &message {
                    EthMessage::BlockHeaders { headers, .. } => {
                        Some((&self.counters.headers, headers.len()))
                    }
                    EthMessage::BlockBodies { bodies, .. } => {
                        Some((&self.counters.bodies, bodies.len()))
                    }
                    EthMessage::Receipts { blocks, .. } => {
                        Some((&self.counters.receipts, blocks.len()))
                    }
                    _ => None,
                };
                self.connection.write(&Message::Eth(message)).await?;
                if let Some((counter, items)) = sent {
                    count(counter, items as u64);
                }
            }
        }
        self.answered = self.answered.saturating_add(1);
        Ok(())
    }

    /// Tells the other side how far the chain goes, no oftener than it may be told.
    async fn announce(&mut self, tip: BlockNumHash) -> Result<(), ConnectionError> {
        let grown = tip.number.checked_sub(self.announced.number);
        let due = grown.is_none_or(|blocks| blocks >= ANNOUNCE_EVERY_BLOCKS)
            || self.config.chain.canonical_number(self.announced.hash).is_none();
        if self.connection.version() < 69 || !due {
            return Ok(());
        }
        self.announced = tip;
        self.connection.write(&Message::Eth(EthMessage::BlockRangeUpdate(range(tip)))).await
    }
}
