//! Takes records from the actors' threads, and writes them on a thread of its own.

mod flight;
mod segments;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use moorline_kit::{Recorder, Tracer};
use moorline_messages::{TraceBlocks, TraceEvent, TraceRecord};
use thiserror::Error;

use self::writer::Writer;

/// Records that may wait for the writer's thread.
const QUEUE_RECORDS_MAX: usize = 16_384;

/// Bytes that the lists of blocks in waiting records may hold.
const QUEUE_LIST_BYTES_MAX: usize = 8 << 20;

/// How long the end of a recording may take; a disk may hang.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Orders that may wait for it.
const ORDERS_MAX: usize = 8;

/// How often the writer's thread looks. Waking it for each record would cost the actors more.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What becomes of a record when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost, and the trace says so. For nodes.
    Lose,
    /// The actor waits. For tests and simulations, which must lose nothing.
    Wait,
}

/// What is recorded, and where to.
pub struct RecorderConfig {
    /// Where the segments go; `None` keeps only the last records in memory.
    pub dir: Option<PathBuf>,
    /// Where the last records are written when an actor panics; `None` for nowhere.
    pub flights: Option<PathBuf>,
    /// Compress the segments by zstd.
    pub compress: bool,
    /// Who writes, for the header.
    pub by: String,
    /// Time is simulated: it comes with the records, and no thread's clock agrees with it.
    pub simulated: bool,
    /// What becomes of a record when the queue is full.
    pub when_full: WhenFull,
    /// Whoever looks at the run while it goes on.
    pub live: Option<Live>,
}

/// Takes whole lines at once, or refuses them: then they are missing from what is seen live. Must not
/// wait.
pub type Live = Box<dyn Fn(Vec<u8>) -> bool + Send>;

impl std::fmt::Debug for RecorderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecorderConfig")
            .field("dir", &self.dir)
            .field("flights", &self.flights)
            .field("compress", &self.compress)
            .field("simulated", &self.simulated)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

impl RecorderConfig {
    /// For a node: keeps the last records, loses rather than waits.
    pub fn new(by: impl Into<String>) -> Self {
        Self {
            dir: None,
            flights: None,
            compress: false,
            by: by.into(),
            simulated: false,
            when_full: WhenFull::Lose,
            live: None,
        }
    }
}

/// Why nothing can be recorded. This node's or its host's fault.
#[derive(Debug, Error)]
pub enum RecorderError {
    /// The place cannot be written to.
    #[error("cannot record the trace to {}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The system gives no thread.
    #[error("cannot record the trace: {0}")]
    Thread(std::io::Error),
}

/// What both ends of the queue count.
#[derive(Debug)]
struct Tally {
    /// Records that found no room, until the writer has said so, and when they were made.
    lost: AtomicU64,
    lost_since_ns: AtomicU64,
    lost_until_ns: AtomicU64,
    /// Bytes of lists in the queue.
    list_bytes: AtomicUsize,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            lost: AtomicU64::new(0),
            lost_since_ns: AtomicU64::new(u64::MAX),
            lost_until_ns: AtomicU64::new(0),
            list_bytes: AtomicUsize::new(0),
        }
    }
}

impl Tally {
    fn lose(&self, at_ns: u64) {
        self.lost_since_ns.fetch_min(at_ns, Relaxed);
        self.lost_until_ns.fetch_max(at_ns, Relaxed);
        self.lost.fetch_add(1, Relaxed);
    }

    /// What was lost since this was last asked.
    fn take_lost(&self) -> Option<TraceRecord> {
        let records = self.lost.swap(0, Relaxed);
        if records == 0 {
            return None;
        }
        let at_ns = self.lost_until_ns.load(Relaxed);
        let since_ns = self.lost_since_ns.swap(u64::MAX, Relaxed).min(at_ns);
        Some(TraceRecord { at_ns, event: TraceEvent::Gap { records, since_ns } })
    }
}

/// Bytes of a record beside its own.
fn list_bytes(record: &TraceRecord) -> usize {
    let TraceEvent::Send { key, .. } = &record.event else { return 0 };
    match &key.blocks {
        TraceBlocks::Chain { hashes, .. } => size_of_val::<[_]>(hashes),
        TraceBlocks::Runs(runs) => size_of_val::<[_]>(runs),
        _ => 0,
    }
}

struct Queue {
    records: Sender<TraceRecord>,
    tally: Arc<Tally>,
    when_full: WhenFull,
}

impl Recorder for Queue {
    fn record(&self, record: TraceRecord) {
        let bytes = list_bytes(&record);
        let before = if bytes > 0 { self.tally.list_bytes.fetch_add(bytes, Relaxed) } else { 0 };
        // once the writer has stopped there is nothing to record for
        if self.when_full == WhenFull::Wait {
            self.records.send(record).ok();
            return;
        }
        let fits = before.saturating_add(bytes) <= QUEUE_LIST_BYTES_MAX;
        let at_ns = record.at_ns;
        let refused = match fits {
            true => matches!(self.records.try_send(record), Err(TrySendError::Full(_))),
            false => true,
        };
        if refused {
            self.tally.list_bytes.fetch_sub(bytes, Relaxed);
            self.tally.lose(at_ns);
        }
    }
}

#[derive(Debug)]
enum Order {
    Flight,
    Stop,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl Recording {
    /// Starts the writer's thread. The run's time begins now.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn start(config: RecorderConfig) -> Result<(Tracer, Self), RecorderError> {
        let (records, queue) = bounded(QUEUE_RECORDS_MAX);
        let (orders, ordered) = bounded(ORDERS_MAX);
        let (ends, ended) = bounded(1);
        let tally = Arc::new(Tally::default());
        let when_full = config.when_full;
        let tracer = Tracer::new(Queue { records, tally: Arc::clone(&tally), when_full });
        let t0 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let writer = Writer::new(config, t0, &tracer)?;
        let thread = std::thread::Builder::new()
            .name("trace".to_owned())
            .spawn(move || {
                // dropped at the end, also after a panic
                let _ends = ends;
                write(writer, &queue, &ordered, &tally);
            })
            .map_err(RecorderError::Thread)?;
        Ok((tracer, Self { orders, thread: Some(thread), ended }))
    }

    /// Whoever may have the last records written down.
    pub fn flight_recorder(&self) -> FlightRecorder {
        FlightRecorder(self.orders.clone())
    }

    /// Writes what is in the queue, and ends. Blocks until that is done, 10 s at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.orders.send_timeout(Order::Stop, STOP_PATIENCE).ok();
        match self.ended.recv_timeout(STOP_PATIENCE) {
            Err(RecvTimeoutError::Disconnected) if thread.join().is_err() => {
                tracing::error!("the trace's writer panicked, and the end of the trace is missing");
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the trace could not be written in time, and its end is missing");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Has the last records written down.
#[derive(Clone, Debug)]
pub struct FlightRecorder(Sender<Order>);

impl FlightRecorder {
    /// Writes them, as a panic does, as soon as the writer looks.
    pub fn write(&self) {
        // an order that waits already does the same
        self.0.try_send(Order::Flight).ok();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(
    mut writer: Writer,
    queue: &Receiver<TraceRecord>,
    ordered: &Receiver<Order>,
    tally: &Tally,
) {
    loop {
        // a channel that is waited on spins first, every time
        std::thread::sleep(LOOK_EVERY);
        let order = ordered.try_recv();
        take_waiting(&mut writer, queue, tally);
        writer.look_for_slow_handlings();
        writer.flush();
        match order {
            Ok(Order::Flight) => writer.write_flight("signal"),
            Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                writer.finish();
                return;
            }
            Err(TryRecvError::Empty) => {}
        }
    }
}

fn take_waiting(writer: &mut Writer, queue: &Receiver<TraceRecord>, tally: &Tally) {
    // as many as wait now: more may come for ever
    for record in queue.try_iter().take(QUEUE_RECORDS_MAX) {
        tally.list_bytes.fetch_sub(list_bytes(&record), Relaxed);
        writer.take(record);
    }
    if let Some(gap) = tally.take_lost() {
        writer.take(gap);
    }
}

#[cfg(test)]
mod tests;
