//! A running session: one task that reads and decodes, one that encodes and writes, and one that
//! waits for either to end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::B256;
use moorline_messages::{
    AnnouncedRange, BlockNumHash, Body, CloseReason, DisconnectReason, FetchItems, FetchedItems,
    PeerInfo, Receipts, RequestId, SessionEvent, SessionId,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use crate::{
    Connection, ConnectionError, Message, MessageReader, MessageWriter, Timeouts,
    eth::{self, EthMessage, HeadersRequest, seal_header},
    local::{LocalChain, worth_telling},
    outstanding::{Kind, Outstanding, ReceiptsStep},
    parts::UnfinishedReceipts,
    registry::{SessionLink, Slot},
    serve::{self, ChainSource, Question},
};

/// Most requests of one peer that are served at once, until their answers are written.
pub const MAX_SERVING: usize = 4;
/// Most requests of one peer that wait to be served, beyond which we stop reading from it. While two
/// nodes ask each other for more than the network holds, both must go on reading, or neither writes.
pub const MAX_WAITING_REQUESTS: usize = 64;
/// Most requests of ours that wait to be written on one session.
pub(crate) const FETCH_QUEUE: usize = 128;
/// Most answers and pongs that wait to be written on one session.
const OUTGOING_QUEUE: usize = 16;
/// Most questions for the rest of a block's receipts that wait to be written on one session. We do not
/// stop reading for want of room: one too many is dropped, and its request runs out of time.
const ASKING_ON_QUEUE: usize = 64;
/// Most range updates of a peer in one minute. The protocol allows one in 32 blocks (EIP-7642).
const MAX_RANGE_UPDATES_PER_MINUTE: u32 = 60;

/// A message that waits to be written. What is served keeps its permit until it is.
struct Outgoing {
    message: Message,
    _serving: Option<OwnedSemaphorePermit>,
}

/// A session that is ready to begin.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) peer: PeerInfo,
    pub(crate) connection: Connection<TcpStream>,
    pub(crate) slot: Slot,
    pub(crate) chain: Arc<dyn ChainSource>,
    pub(crate) events: mpsc::Sender<SessionEvent>,
    pub(crate) unfinished: UnfinishedReceipts,
    pub(crate) local: watch::Receiver<LocalChain>,
    /// What our Status announced.
    pub(crate) told: AnnouncedRange,
    pub(crate) stop: CancellationToken,
    pub(crate) timeouts: Timeouts,
}

impl Session {
    /// Runs the session from `Opened` to `Closed`.
    pub(crate) async fn run(self) {
        let Self { id, peer, connection, mut slot, chain, events, .. } = self;
        let Self { unfinished, local, told, stop, timeouts, .. } = self;
        let version = connection.version();
        let (fetches, fetch_queue) = mpsc::channel(FETCH_QUEUE);
        let (closing, close_queue) = mpsc::channel(1);
        let introduce = Arc::new(Notify::new());
        slot.attach(id, SessionLink { fetches, closing, introduce: Arc::clone(&introduce) });
        let introduction =
            Introduction { session: id, range: Arc::new(Mutex::new(peer.range)), peer };
        introduction.say(&events).await;

        let (reader, writer) = connection.split();
        let (outgoing, outgoing_queue) = mpsc::channel(OUTGOING_QUEUE);
        let outstanding = Arc::new(Mutex::new(Outstanding::new(unfinished)));
        let (farewell, farewell_queue) = mpsc::channel(1);
        let (asking_on, asking_on_queue) = mpsc::channel(ASKING_ON_QUEUE);
        let (questions, question_queue) = mpsc::channel(MAX_WAITING_REQUESTS);
        let serving = Serving { version, chain, outgoing: outgoing.clone() };
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving.run(question_queue)));
        let reading = Reading {
            session: id,
            reader,
            events: events.clone(),
            outgoing,
            asking_on,
            questions,
            outstanding: Arc::clone(&outstanding),
            range: Arc::clone(&introduction.range),
            range_updates: RateLimit::default(),
        };
        let writing = Writing { writer, version, outstanding, told, timeouts };
        let queues = Queues {
            fetches: fetch_queue,
            asking_on: asking_on_queue,
            outgoing: outgoing_queue,
            farewell: farewell_queue,
        };
        let writing = writing.run(queues, local);
        let (verdict, ended) = oneshot::channel();
        let draining = CancellationToken::new();
        let reading = tokio::spawn(reading.run(draining.clone(), verdict));
        let reading = AbortOnDropHandle::new(reading);
        let mut halves =
            Halves { reading: ended, writing: AbortOnDropHandle::new(tokio::spawn(writing)) };
        let error = halves.end(&stop, close_queue, &introduce, &introduction, &events).await;
        draining.cancel();
        let parting = error.disconnect_reason();
        halves.end_writing(parting, farewell, timeouts.goodbye).await;
        drop(slot);
        let reason = CloseReason::from(error);
        let peer = introduction.peer.id;
        debug!(session = %id, %peer, %reason, "session closed");
        let _ = events.send(SessionEvent::Closed { session: id, peer, reason }).await;
        if parting.is_some() {
            // closing with bytes unread would take back our goodbye
            let _ = timeout(timeouts.goodbye, reading).await;
        }
    }
}

/// What is said of a session when it opens, and again when somebody lost its memory.
struct Introduction {
    session: SessionId,
    peer: PeerInfo,
    /// The range that the peer announced last.
    range: Arc<Mutex<Option<AnnouncedRange>>>,
}

impl Introduction {
    async fn say(&self, events: &mpsc::Sender<SessionEvent>) {
        // whoever listened may be gone at shutdown; then there is nobody to tell
        let Ok(permit) = events.reserve().await else { return };
        let range = *self.range.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = PeerInfo { range, ..self.peer.clone() };
        debug!(session = %self.session, peer = %peer.id, client = %peer.client, "session open");
        permit.send(SessionEvent::Opened { session: self.session, peer });
    }
}

struct Halves {
    reading: oneshot::Receiver<ConnectionError>,
    writing: AbortOnDropHandle<Result<(), ConnectionError>>,
}

impl Halves {
    /// Waits for whatever ends the session.
    async fn end(
        &mut self,
        stop: &CancellationToken,
        mut closing: mpsc::Receiver<DisconnectReason>,
        introduce: &Notify,
        introduction: &Introduction,
        events: &mpsc::Sender<SessionEvent>,
    ) -> ConnectionError {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    return ConnectionError::Local(DisconnectReason::ClientQuitting);
                }
                reason = closing.recv() => {
                    return ConnectionError::Local(reason.unwrap_or(DisconnectReason::Requested));
                }
                ended = &mut self.reading => return ended.unwrap_or_else(|_| task_failed()),
                ended = &mut self.writing => {
                    let ended = ended.unwrap_or_else(|_| Err(task_failed()));
                    return ended.err().unwrap_or_else(writer_gone);
                }
                () = introduce.notified() => introduction.say(events).await,
            }
        }
    }

    /// Says goodbye where there is anything to say, and stops writing.
    async fn end_writing(
        self,
        parting: Option<DisconnectReason>,
        farewell: mpsc::Sender<DisconnectReason>,
        patience: Duration,
    ) {
        // a writer that ended first can tell nobody, and must not be waited for a second time
        if let Some(reason) = parting
            && !self.writing.is_finished()
        {
            let _ = farewell.send(reason).await;
            let _ = timeout(patience, self.writing).await;
        }
    }
}

fn task_failed() -> ConnectionError {
    ConnectionError::Network("a task of the session failed".to_owned())
}

/// How often something happened in the current minute.
#[derive(Default)]
struct RateLimit {
    since: Option<Instant>,
    count: u32,
}

impl RateLimit {
    fn admits(&mut self, now: Instant, most_per_minute: u32) -> bool {
        let minute = Duration::from_secs(60);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= minute) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= most_per_minute
    }
}

/// The half that decrypts, decompresses and decodes.
struct Reading {
    session: SessionId,
    reader: MessageReader<TcpStream>,
    events: mpsc::Sender<SessionEvent>,
    outgoing: mpsc::Sender<Outgoing>,
    asking_on: mpsc::Sender<EthMessage>,
    questions: mpsc::Sender<(u64, Question)>,
    outstanding: Arc<Mutex<Outstanding>>,
    range: Arc<Mutex<Option<AnnouncedRange>>>,
    range_updates: RateLimit,
}

impl Reading {
    /// Converses until something goes wrong or `draining` is cancelled, and then only empties the
    /// socket.
    async fn run(mut self, draining: CancellationToken, verdict: oneshot::Sender<ConnectionError>) {
        tokio::select! {
            biased;
            () = draining.cancelled() => {}
            ended = self.converse() => {
                // fails only when the session has ended for another reason
                let _ = verdict.send(ended.err().unwrap_or_else(task_failed));
            }
        }
        // nothing more comes of what came in part
        drop(self.outstanding);
        self.reader.drain().await;
    }

    async fn converse(&mut self) -> Result<(), ConnectionError> {
        loop {
            let received = self.reader.read().await?;
            match received.message {
                Message::Disconnect(reason) => return Err(ConnectionError::Remote(reason)),
                Message::Ping => self.send(Message::Pong).await?,
                Message::Pong => {}
                Message::Eth(message) => self.on_eth(message, received.wire_bytes).await?,
            }
        }
    }

    async fn on_eth(
        &mut self,
        message: EthMessage,
        wire_bytes: usize,
    ) -> Result<(), ConnectionError> {
        match message {
            EthMessage::BlockHeaders { request_id, headers } => {
                let Some(request) = self.matched(request_id, Kind::Headers, headers.len())? else {
                    return Ok(());
                };
                let headers = headers.iter().map(|raw| seal_header(raw));
                let items = FetchedItems::Headers(headers.collect::<Result<_, _>>()?);
                self.tell_answer(request, items, wire_bytes).await
            }
            EthMessage::BlockBodies { request_id, bodies } => {
                let Some(request) = self.matched(request_id, Kind::Bodies, bodies.len())? else {
                    return Ok(());
                };
                let bodies = bodies.into_iter().map(Arc::<Body>::new).collect();
                self.tell_answer(request, FetchedItems::Bodies(bodies), wire_bytes).await
            }
            EthMessage::Receipts { request_id, last_block_incomplete, blocks } => {
                let step = {
                    let mut asked = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
                    asked.receipts_answered(
                        request_id,
                        blocks,
                        last_block_incomplete,
                        wire_bytes,
                        Instant::now(),
                    )?
                };
                self.on_receipts(step).await
            }
            EthMessage::GetBlockHeaders { request_id, request } => {
                self.serve(request_id, Question::Headers(request)).await
            }
            EthMessage::GetBlockBodies { request_id, hashes } => {
                self.serve(request_id, Question::Bodies(hashes)).await
            }
            EthMessage::GetReceipts { request_id, first_receipt, hashes } => {
                self.serve(request_id, Question::Receipts { first_receipt, hashes }).await
            }
            EthMessage::GetPooledTransactions { request_id } => {
                self.send(Message::Eth(EthMessage::NoPooledTransactions { request_id })).await
            }
            EthMessage::BlockRangeUpdate(range) => self.on_range(range).await,
            EthMessage::Gossip { .. } => Ok(()),
            EthMessage::Status(_) => Err(ConnectionError::Breach("a second Status".to_owned())),
            EthMessage::NoPooledTransactions { .. } => {
                Err(ConnectionError::Breach("an answer that nobody asked for".to_owned()))
            }
        }
    }

    fn matched(
        &self,
        id: u64,
        kind: Kind,
        count: usize,
    ) -> Result<Option<RequestId>, ConnectionError> {
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.answered(id, kind, count)
    }

    async fn on_receipts(&self, step: Option<ReceiptsStep>) -> Result<(), ConnectionError> {
        match step {
            None => Ok(()),
            Some(ReceiptsStep::Answered { request, blocks, wire_bytes }) => {
                let blocks = blocks.into_iter().map(Arc::<Receipts>::new).collect();
                self.tell_answer(request, FetchedItems::Receipts(blocks), wire_bytes).await
            }
            Some(ReceiptsStep::AskOn { id: request_id, block, first_receipt }) => {
                let hashes = vec![block];
                let message = EthMessage::GetReceipts { request_id, first_receipt, hashes };
                // where there is no room, the clock of the request answers for us
                let _ = self.asking_on.try_send(message);
                Ok(())
            }
        }
    }

    async fn tell_answer(
        &self,
        request: RequestId,
        items: FetchedItems,
        wire_bytes: usize,
    ) -> Result<(), ConnectionError> {
        let session = self.session;
        self.tell(SessionEvent::Answered { session, request, items, wire_bytes }).await
    }

    /// Waits while the listener is busy: then the peer waits too, since we do not read on.
    async fn tell(&self, event: SessionEvent) -> Result<(), ConnectionError> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| ConnectionError::Local(DisconnectReason::ClientQuitting))
    }

    async fn on_range(&mut self, range: AnnouncedRange) -> Result<(), ConnectionError> {
        if !self.range_updates.admits(Instant::now(), MAX_RANGE_UPDATES_PER_MINUTE) {
            return Err(ConnectionError::Breach("a flood of range updates".to_owned()));
        }
        *self.range.lock().unwrap_or_else(PoisonError::into_inner) = Some(range);
        self.tell(SessionEvent::RangeUpdated { session: self.session, range }).await
    }

    async fn send(&self, message: Message) -> Result<(), ConnectionError> {
        let outgoing = Outgoing { message, _serving: None };
        self.outgoing.send(outgoing).await.map_err(|_| writer_gone())
    }

    async fn serve(&self, request_id: u64, question: Question) -> Result<(), ConnectionError> {
        self.questions.send((request_id, question)).await.map_err(|_| task_failed())
    }
}

fn writer_gone() -> ConnectionError {
    ConnectionError::Network("the connection can no longer be written to".to_owned())
}

/// Answers the peer's requests, a few at a time.
struct Serving {
    version: u8,
    chain: Arc<dyn ChainSource>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Serving {
    async fn run(self, mut questions: mpsc::Receiver<(u64, Question)>) {
        let slots = Arc::new(Semaphore::new(MAX_SERVING));
        // whatever is under way ends with the session
        let mut answers = JoinSet::new();
        while let Some((request_id, question)) = questions.recv().await {
            while answers.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (chain, outgoing, version) =
                (Arc::clone(&self.chain), self.outgoing.clone(), self.version);
            answers.spawn(async move {
                let answer = serve::answer(chain.as_ref(), version, request_id, question).await;
                let message = Message::Eth(answer);
                // fails only when the session is over, and the answer with it
                let _ = outgoing.send(Outgoing { message, _serving: Some(slot) }).await;
            });
        }
    }
}

/// What waits to be written.
struct Queues {
    fetches: mpsc::Receiver<(RequestId, FetchItems)>,
    asking_on: mpsc::Receiver<EthMessage>,
    outgoing: mpsc::Receiver<Outgoing>,
    farewell: mpsc::Receiver<DisconnectReason>,
}

/// The half that encodes, compresses and encrypts.
struct Writing {
    writer: MessageWriter<TcpStream>,
    version: u8,
    outstanding: Arc<Mutex<Outstanding>>,
    told: AnnouncedRange,
    timeouts: Timeouts,
}

impl Writing {
    async fn run(
        mut self,
        mut queues: Queues,
        mut local: watch::Receiver<LocalChain>,
    ) -> Result<(), ConnectionError> {
        let period = self.timeouts.ping_interval;
        let first = Instant::now().checked_add(period).unwrap_or_else(Instant::now);
        let mut pings = interval_at(first, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(reason) = queues.farewell.recv() => {
                    self.writer.disconnect(reason).await;
                    return Ok(());
                }
                _ = pings.tick() => {
                    self.outstanding().forget_overdue_parts(Instant::now());
                    self.writer.write(&Message::Ping).await?;
                }
                Some(next) = queues.asking_on.recv() => self.writer.write(&Message::Eth(next)).await?,
                Some((request, items)) = queues.fetches.recv() => self.ask(request, items).await?,
                Some(next) = queues.outgoing.recv() => self.writer.write(&next.message).await?,
                Ok(()) = local.changed(), if self.version >= 69 => {
                    let range = local.borrow_and_update().range;
                    self.tell_range(range).await?;
                }
            }
        }
    }

    fn outstanding(&self) -> MutexGuard<'_, Outstanding> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&mut self, request: RequestId, items: FetchItems) -> Result<(), ConnectionError> {
        let request_id = self.outstanding().ask(request, &items);
        let message = match items {
            FetchItems::Headers { top, limit } => {
                let request = HeadersRequest { start: top, limit, skip: 0, reverse: true };
                EthMessage::GetBlockHeaders { request_id, request }
            }
            FetchItems::Bodies { blocks } => {
                EthMessage::GetBlockBodies { request_id, hashes: hashes_of(&blocks) }
            }
            FetchItems::Receipts { blocks } => {
                EthMessage::GetReceipts { request_id, first_receipt: 0, hashes: hashes_of(&blocks) }
            }
        };
        self.writer.write(&Message::Eth(message)).await
    }

    async fn tell_range(&mut self, range: AnnouncedRange) -> Result<(), ConnectionError> {
        if !worth_telling(&self.told, &range) {
            return Ok(());
        }
        self.told = range;
        self.writer.write(&Message::Eth(EthMessage::BlockRangeUpdate(range))).await
    }
}

fn hashes_of(blocks: &[BlockNumHash]) -> Vec<B256> {
    blocks.iter().map(|block| block.hash).take(eth::MAX_ITEMS).collect()
}
