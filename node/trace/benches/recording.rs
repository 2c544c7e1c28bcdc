//! What recording costs: `cargo bench -p moorline-trace`.
//!
//! A message of the downloader is told to a port and handled, 10,000 a second, which makes 20,000
//! records. Batches with and without a recorder take turns, and the difference is what recording
//! costs the actor; what it costs the writer's thread is read from Linux.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline_kit::{Inbox, Limit, Port, Tracer};
use moorline_messages::{
    ActorName, BlockNumHash, FetchItems, FetchRequest, HashOrNumber, Lane, Priority, RequestId,
};
use moorline_trace::{RecorderConfig, Recording};

const BATCH: usize = 100;
const EVERY: Duration = Duration::from_millis(10);
const SECONDS: u64 = 10;
const RECORDS_PER_MESSAGE: usize = 2;

struct Side {
    port: Port<FetchRequest>,
    inbox: Inbox<FetchRequest>,
    batches_ns: Vec<u64>,
}

impl Side {
    fn new(tracer: &Tracer) -> Self {
        let (port, inbox) = Port::channel("fetches", Limit::new(1_024, 16 << 20));
        let port = port.traced(tracer, Lane::Actor(ActorName::PeerManager));
        Self { port, inbox, batches_ns: Vec::new() }
    }

    fn batch(&mut self, runtime: &tokio::runtime::Runtime, first: u64) {
        let began = Instant::now();
        for id in first..first + BATCH as u64 {
            self.port.tell(request(id)).unwrap();
            let envelope = runtime.block_on(self.inbox.next_held()).unwrap();
            std::hint::black_box(envelope.handle(|request| request));
        }
        self.batches_ns.push(u64::try_from(began.elapsed().as_nanos()).unwrap());
    }

    fn median_ns(&mut self) -> f64 {
        self.batches_ns.sort_unstable();
        self.batches_ns[self.batches_ns.len() / 2] as f64 / BATCH as f64
    }
}

fn request(id: u64) -> FetchRequest {
    let items = match id % 4 {
        0 => FetchItems::Headers { top: HashOrNumber::Number(id + 512), limit: 512 },
        _ => FetchItems::Bodies {
            blocks: vec![BlockNumHash::new(id, B256::with_last_byte(id as u8))],
        },
    };
    FetchRequest {
        id: RequestId(id),
        items,
        priority: Priority::History,
        avoid: Vec::new(),
        budget_ms: 1_000,
    }
}

/// CPU time of a thread of this process, by its name.
fn cpu_ns(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").map(|task| task.unwrap().path());
    let named = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let stat = tasks.into_iter().find(named).map(|path| path.join("schedstat"));
    let text = stat.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        RecorderConfig { dir: Some(dir.path().to_owned()), ..RecorderConfig::new("the benchmark") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tracer, recording) = Recording::start(config).unwrap();
    let (mut off, mut on) = (Side::new(&Tracer::OFF), Side::new(&tracer));
    let began = Instant::now();
    let writer_before = cpu_ns("trace");
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        let turn = Instant::now();
        off.batch(&runtime, sent);
        on.batch(&runtime, sent);
        sent += BATCH as u64;
        std::thread::sleep(EVERY.saturating_sub(turn.elapsed()));
    }
    let elapsed_ns = began.elapsed().as_nanos() as f64;
    let writer_ns = (cpu_ns("trace") - writer_before) as f64;
    let records = (sent as usize * RECORDS_PER_MESSAGE) as f64;
    recording.stop();
    let lost = lost(dir.path());
    let (off_ns, on_ns) = (off.median_ns(), on.median_ns());
    let record_ns = (on_ns - off_ns) / RECORDS_PER_MESSAGE as f64;
    let rate = records / elapsed_ns * 1e9;
    println!("a message, told and handled: {off_ns:.0} ns unrecorded, {on_ns:.0} ns recorded");
    println!("a record costs the actor a median of {record_ns:.0} ns");
    println!(
        "at {rate:.0} records/s: {:.2} % of a core on actors' threads, {:.2} % on the writer's",
        record_ns * rate / 1e7,
        writer_ns / elapsed_ns * 100.0,
    );
    println!(
        "{lost} of {records} records lost; a record is {} bytes",
        size_of::<moorline_messages::TraceRecord>()
    );
}

fn lost(dir: &std::path::Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|file| fs::read_to_string(file.unwrap().path()));
    let lost = |text: String| -> u64 {
        let gaps = text.lines().filter(|line| line.contains("\"k\":\"gap\""));
        let n = gaps
            .filter_map(|line| line.split("\"n\":").nth(1)?.split(',').next()?.parse::<u64>().ok());
        n.sum()
    };
    files.map(|text| lost(text.unwrap())).sum()
}
