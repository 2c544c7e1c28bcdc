//! A running session: one task that reads and decodes, one that encodes and writes, one that serves
//! the peer, and one that waits for either of the first two to end.

mod reading;
mod serving;
mod writing;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use moorline_messages::{
    AnnouncedRange, CloseReason, DisconnectReason, PeerInfo, SessionEvent, SessionId,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use self::{
    reading::Reading,
    serving::Serving,
    writing::{Queues, Writing},
};
use crate::{
    Connection, ConnectionError, Message, NetworkCounters, ServedKind, Timeouts,
    local::LocalChain,
    outstanding::Outstanding,
    pace::ServingPace,
    parts::UnfinishedReceipts,
    registry::{SessionLink, Slot},
    serve::ChainSource,
    tolerance::Tolerance,
};

/// Most requests of one peer that are served at once, until their answers are written: one is read
/// while another is written, and no more answers than that lie in memory for a peer that is slow.
pub const MAX_SERVING: usize = 2;
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
/// Most pings of ours without a pong. A peer that sends and does not read would otherwise keep its
/// place until the network holds no more of what we write.
const MAX_UNANSWERED_PINGS: u32 = 3;

/// A message that waits to be written. What is served, so many items of a kind, keeps its permit until
/// it is.
struct Outgoing {
    message: Message,
    served: Option<(ServedKind, usize, OwnedSemaphorePermit)>,
}

/// Whether the peer answers our pings.
#[derive(Debug, Default)]
struct Pulse {
    unanswered: AtomicU32,
    /// Whether we ourselves keep the session from reading. Meanwhile an answer may lie unread.
    suspended: AtomicBool,
}

impl Pulse {
    fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// One more ping, unless too many are unanswered.
    fn ask(&self) -> Result<(), ConnectionError> {
        if self.suspended.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.unanswered.fetch_add(1, Ordering::Relaxed) >= MAX_UNANSWERED_PINGS {
            return Err(ConnectionError::Silent("pings"));
        }
        Ok(())
    }
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
    pub(crate) counters: NetworkCounters,
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
        let Self { unfinished, counters, local, told, stop, timeouts, .. } = self;
        counters.count_opened(peer.direction);
        let version = connection.version();
        let (fetches, fetch_queue) = mpsc::channel(FETCH_QUEUE);
        let (closing, close_queue) = mpsc::channel(1);
        let introduce = Arc::new(Notify::new());
        slot.attach(id, SessionLink { fetches, closing, introduce: Arc::clone(&introduce) });
        let introduction =
            Introduction { session: id, range: Arc::new(Mutex::new(peer.range)), peer };
        introduction.say(&events).await;

        let (reader, writer) = connection.split();
        let incoming = reader.incoming();
        incoming.narrow();
        let pulse = Arc::new(Pulse::default());
        let (outgoing, outgoing_queue) = mpsc::channel(OUTGOING_QUEUE);
        let outstanding = Arc::new(Mutex::new(Outstanding::new(unfinished)));
        let (farewell, farewell_queue) = mpsc::channel(1);
        let (asking_on, asking_on_queue) = mpsc::channel(ASKING_ON_QUEUE);
        let (questions, question_queue) = mpsc::channel(MAX_WAITING_REQUESTS);
        let serving = Serving {
            version,
            chain,
            outgoing: outgoing.clone(),
            pace: ServingPace::new(Instant::now()),
            counters: counters.clone(),
        };
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
            tolerance: Tolerance::new(Instant::now()),
            pulse: Arc::clone(&pulse),
        };
        let writing =
            Writing { writer, version, outstanding, told, timeouts, pulse, incoming, counters };
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

fn writer_gone() -> ConnectionError {
    ConnectionError::Network("the connection can no longer be written to".to_owned())
}
