//! Takes records from the actors' threads, and writes them on a thread of its own.

mod flight;
mod segments;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use moorline_kit::{Recorder, Tracer};
use moorline_messages::TraceRecord;
use thiserror::Error;

use self::writer::Writer;

/// Records that may wait for the writer's thread.
const QUEUE_RECORDS_MAX: usize = 16_384;

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
}

/// Records that found no room, until the writer has said so.
#[derive(Debug, Default)]
struct Lost {
    records: AtomicU64,
    since_ns: AtomicU64,
    until_ns: AtomicU64,
}

impl Lost {
    fn add(&self, at_ns: u64) {
        if self.records.fetch_add(1, Relaxed) == 0 {
            self.since_ns.store(at_ns, Relaxed);
        }
        self.until_ns.fetch_max(at_ns, Relaxed);
    }
}

struct Queue {
    records: Sender<TraceRecord>,
    lost: Arc<Lost>,
    when_full: WhenFull,
}

impl Recorder for Queue {
    fn record(&self, record: TraceRecord) {
        match self.when_full {
            // once the writer has stopped there is nothing to record for
            WhenFull::Wait => drop(self.records.send(record)),
            WhenFull::Lose => {
                if let Err(TrySendError::Full(record)) = self.records.try_send(record) {
                    self.lost.add(record.at_ns);
                }
            }
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
}

impl Recording {
    /// Starts the writer's thread. The run's time begins now.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn start(config: RecorderConfig) -> Result<(Tracer, Self), RecorderError> {
        let (records, queue) = bounded(QUEUE_RECORDS_MAX);
        let (orders, ordered) = bounded(ORDERS_MAX);
        let lost = Arc::new(Lost::default());
        let when_full = config.when_full;
        let tracer = Tracer::new(Queue { records, lost: Arc::clone(&lost), when_full });
        let t0 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let writer = Writer::new(config, t0, &tracer)?;
        let thread = std::thread::Builder::new()
            .name("trace".to_owned())
            .spawn(move || write(writer, &queue, &ordered, &lost))
            .map_err(|error| RecorderError::Io { path: PathBuf::from("a thread"), error })?;
        Ok((tracer, Self { orders, thread: Some(thread) }))
    }

    /// Whoever may have the last records written down.
    pub fn flight_recorder(&self) -> FlightRecorder {
        FlightRecorder(self.orders.clone())
    }

    /// Writes what is in the queue, and ends. Blocks until that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.orders.send(Order::Stop).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
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
        if self.thread.is_some() {
            self.end();
        }
    }
}

fn write(
    mut writer: Writer,
    queue: &Receiver<TraceRecord>,
    ordered: &Receiver<Order>,
    lost: &Lost,
) {
    loop {
        // a channel that is waited on spins first, every time
        std::thread::sleep(LOOK_EVERY);
        let order = ordered.try_recv();
        take_waiting(&mut writer, queue, lost);
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

fn take_waiting(writer: &mut Writer, queue: &Receiver<TraceRecord>, lost: &Lost) {
    // as many as wait now: more may come for ever
    for record in queue.try_iter().take(QUEUE_RECORDS_MAX) {
        writer.take(record);
    }
    let records = lost.records.swap(0, Relaxed);
    if records > 0 {
        writer.lost(records, lost.since_ns.load(Relaxed), lost.until_ns.load(Relaxed));
    }
}

#[cfg(test)]
mod tests;
