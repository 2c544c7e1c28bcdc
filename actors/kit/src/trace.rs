//! The seam at which everything that is told leaves a record.
//!
//! A thread knows what is being handled on it; a port asks, and so knows the cause of whatever it is
//! told. With [`Tracer::OFF`] none of this is done.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use moorline_messages::{
    ActorName, Lane, RefusedBecause, TraceEvent, TraceId, TracePort, TraceRecord, Traced,
};
use tokio::sync::Semaphore;

use crate::Limit;

/// Takes records. Called on actors' threads, so it must neither wait nor compute.
pub trait Recorder: Send + Sync + 'static {
    /// Takes one.
    fn record(&self, record: TraceRecord);
}

/// Where records go, if anywhere. Clones go to the same place.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Run>>);

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Tracer(on)" } else { "Tracer(off)" })
    }
}

/// One run of a traced system.
struct Run {
    recorder: Box<dyn Recorder>,
    began: Instant,
    next_id: AtomicU64,
    next_port: AtomicU32,
    busy: Arc<BusyLanes>,
}

impl Run {
    fn now_ns(&self) -> u64 {
        let since = crate::now().saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    fn record(&self, at_ns: u64, event: TraceEvent) {
        self.recorder.record(TraceRecord { at_ns, event });
    }
}

impl Tracer {
    /// Records nothing.
    pub const OFF: Self = Self(None);

    /// Begins a run: time counts from now, by the clock of [`crate::now`].
    pub fn new(recorder: impl Recorder) -> Self {
        Self(Some(Arc::new(Run {
            recorder: Box::new(recorder),
            began: crate::now(),
            next_id: AtomicU64::new(1),
            next_port: AtomicU32::new(0),
            busy: Arc::default(),
        })))
    }

    /// When the run began; `None` with nothing recorded.
    pub fn began(&self) -> Option<Instant> {
        self.0.as_ref().map(|run| run.began)
    }

    /// What each lane is busy with, for whoever looks from another thread.
    pub fn busy_lanes(&self) -> Option<Arc<BusyLanes>> {
        self.0.as_ref().map(|run| Arc::clone(&run.busy))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A new id that is its own root.
    pub(crate) fn take_root(&self) -> TraceId {
        self.0.as_ref().map_or(TraceId::NONE, |run| {
            let id = run.take_id();
            TraceId { id, root: id }
        })
    }

    pub(crate) fn tell(&self, event: TraceEvent) {
        if let Some(run) = &self.0 {
            run.record(run.now_ns(), event);
        }
    }

    pub(crate) fn port(
        &self,
        name: &'static str,
        to: Lane,
        limit: Limit,
        items: &Arc<Semaphore>,
    ) -> Option<Arc<TracedPort>> {
        let run = self.0.as_ref()?;
        let number = run.next_port.fetch_add(1, Relaxed);
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let port = TracePort { number, name, to, items: limit.items, bytes: limit.bytes };
        run.record(run.now_ns(), TraceEvent::Port(port));
        let items = Arc::clone(items);
        Some(Arc::new(TracedPort { run: Arc::clone(run), number, to, limit: limit.items, items }))
    }
}

/// What the actor of each lane is handling at this moment.
#[derive(Debug, Default)]
pub struct BusyLanes([BusyLane; Lane::ALL.len()]);

#[derive(Debug, Default)]
struct BusyLane {
    id: AtomicU64,
    since_ns: AtomicU64,
}

impl BusyLanes {
    /// Every lane that handles something: the id of what it handles, and since when, in nanoseconds
    /// of the run.
    pub fn look(&self) -> impl Iterator<Item = (Lane, u64, u64)> {
        Lane::ALL.into_iter().zip(&self.0).filter_map(|(lane, busy)| {
            let (id, since_ns) = (busy.id.load(Relaxed), busy.since_ns.load(Relaxed));
            // one that changed in between is not slow
            let still = busy.id.load(Relaxed) == id;
            (id != 0 && since_ns != 0 && still).then_some((lane, id, since_ns))
        })
    }

    /// Returns what it was busy with before.
    fn set(&self, lane: Lane, (id, since_ns): (u64, u64)) -> (u64, u64) {
        match self.0.get(lane.index()) {
            Some(busy) => (busy.id.swap(id, Relaxed), busy.since_ns.swap(since_ns, Relaxed)),
            None => (0, 0),
        }
    }
}

/// What is being handled on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    lane: Option<Lane>,
    id: TraceId,
    /// What a clock began is not held against whoever set the clock before it.
    by_clock: bool,
}

impl Cause {
    const NONE: Self = Self { lane: None, id: TraceId::NONE, by_clock: false };

    /// Of whatever is being handled on this thread.
    pub fn here() -> Self {
        HERE.get()
    }

    /// Runs something in whose trace this is the cause.
    pub fn scope<R>(self, work: impl FnOnce() -> R) -> R {
        let _back = Back(HERE.replace(self));
        work()
    }
}

impl Cause {
    /// Like [`Self::scope`], for something that waits.
    pub async fn during<F: Future>(self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| self.scope(|| work.as_mut().poll(cx))).await
    }
}

/// Puts back what was there, also when what runs in between panics.
struct Back(Cause);

impl Drop for Back {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

thread_local! {
    static HERE: Cell<Cause> = const { Cell::new(Cause::NONE) };
    static TRACER: RefCell<Tracer> = const { RefCell::new(Tracer::OFF) };
    static STRUCK: Cell<u64> = const { Cell::new(0) };
}

/// Runs a step of an actor: whatever it tells is told by it.
pub(crate) fn on_lane<R>(
    tracer: &Tracer,
    actor: ActorName,
    id: TraceId,
    step: impl FnOnce() -> R,
) -> R {
    if !tracer.is_on() {
        return step();
    }
    let before = TRACER.replace(tracer.clone());
    let here = Cause { lane: Some(actor.into()), id, by_clock: false };
    let result = here.scope(step);
    TRACER.replace(before);
    result
}

/// The id of what was being handled when this thread last panicked; 0 for nothing.
pub(crate) fn struck() -> u64 {
    STRUCK.take()
}

/// A timer rings: a record of it, and of how long what it rings for took.
pub(crate) fn ring<R>(set_by: Cause, reason: &'static str, work: impl FnOnce() -> R) -> R {
    let tracer = TRACER.with_borrow(Clone::clone);
    let (Some(run), Some(lane)) = (tracer.0, HERE.get().lane) else { return work() };
    let id = run.take_id();
    let root = if set_by.by_clock || set_by.id.root == 0 { id } else { set_by.id.root };
    let timer = TraceId { id, root };
    let began_ns = run.now_ns();
    run.record(began_ns, TraceEvent::Timer { to: lane, reason, timer, cause: set_by.id.id });
    let _rings = Rings { inside: Inside::new(&run, lane, timer, true, began_ns), reason };
    work()
}

/// While a timer rings. Its record is written at the end, also of a panic.
struct Rings<'a> {
    inside: Inside<'a>,
    reason: &'static str,
}

impl Drop for Rings<'_> {
    fn drop(&mut self) {
        let Inside { run, lane, id, since_ns, .. } = self.inside;
        let busy_ns = self.inside.elapsed_ns();
        let done = TraceEvent::Done {
            to: lane,
            label: self.reason,
            id,
            port: None,
            depth: 0,
            wait_ns: 0,
            busy_ns,
            async_ns: 0,
            panicked: std::thread::panicking(),
        };
        run.record(since_ns.saturating_add(busy_ns), done);
    }
}

/// A port, as its records name it.
#[derive(Clone)]
pub(crate) struct TracedPort {
    run: Arc<Run>,
    number: u16,
    to: Lane,
    limit: usize,
    items: Arc<Semaphore>,
}

impl TracedPort {
    fn depth(&self) -> u32 {
        let depth = self.limit.saturating_sub(self.items.available_permits());
        u32::try_from(depth).unwrap_or(u32::MAX)
    }

    /// Records that a message is told, by whom is told by the thread, or else by `outside`.
    pub(crate) fn sent<M: Traced>(self: &Arc<Self>, outside: Lane, message: &M) -> Trail {
        let here = HERE.get();
        let id = self.run.take_id();
        let root = if here.id.root == 0 { id } else { here.id.root };
        let label = message.label();
        let sent_ns = self.run.now_ns();
        self.run.record(
            sent_ns,
            TraceEvent::Send {
                from: here.lane.unwrap_or(outside),
                to: self.to,
                label,
                message: TraceId { id, root },
                cause: here.id.id,
                port: self.number,
                depth: self.depth(),
                bytes: message.weight_bytes() as u64,
                key: message.key(),
                note: message.note().map(short),
                trouble: message.is_trouble(),
            },
        );
        Trail {
            port: Arc::clone(self),
            label,
            id: TraceId { id, root },
            sent_ns,
            entered_ns: AtomicU64::new(0),
            left_ns: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
        }
    }

    pub(crate) fn refused<M: Traced>(&self, outside: Lane, message: &M, because: RefusedBecause) {
        let here = HERE.get();
        self.run.record(
            self.run.now_ns(),
            TraceEvent::Refuse {
                from: here.lane.unwrap_or(outside),
                to: self.to,
                label: message.label(),
                cause: here.id.id,
                port: self.number,
                depth: self.depth(),
                because,
            },
        );
    }
}

/// Longest note, in characters.
const NOTE_MAX: usize = 200;

pub(crate) fn short(note: Cow<'static, str>) -> Cow<'static, str> {
    match note.char_indices().nth(NOTE_MAX) {
        Some((end, _)) => note.get(..end).unwrap_or_default().to_owned().into(),
        None => note,
    }
}

/// What becomes of one message. Its last record is written when it is dropped.
pub(crate) struct Trail {
    port: Arc<TracedPort>,
    label: &'static str,
    id: TraceId,
    sent_ns: u64,
    /// When its handling began; 0 before.
    entered_ns: AtomicU64,
    /// When a part of its handling last ended.
    left_ns: AtomicU64,
    busy_ns: AtomicU64,
    panicked: AtomicBool,
    /// It goes on after the handler, so its end is not that of its last part.
    goes_on: AtomicBool,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("label", &self.label).field("id", &self.id).finish()
    }
}

impl Trail {
    /// As a cause of something that is told later.
    pub(crate) fn cause(&self) -> Cause {
        Cause { lane: Some(self.port.to), id: self.id, by_clock: false }
    }

    /// Notes that somebody holds on to it.
    pub(crate) fn holds(&self) {
        self.goes_on.store(true, Relaxed);
    }

    /// Notes that its handling has begun, if that is not known.
    pub(crate) fn begin(&self) {
        if self.entered_ns.load(Relaxed) == 0 {
            self.begin_at(self.port.run.now_ns());
        }
    }

    fn begin_at(&self, at_ns: u64) {
        // only the first beginning counts
        self.entered_ns.compare_exchange(0, at_ns.max(1), Relaxed, Relaxed).ok();
    }

    /// Handles it, or a part of it, on this thread.
    pub(crate) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let run = &self.port.run;
        let now_ns = run.now_ns();
        self.begin_at(now_ns);
        let _part =
            Part { trail: self, inside: Inside::new(run, self.port.to, self.id, false, now_ns) };
        work()
    }

    fn last_record(&self) -> (u64, TraceEvent) {
        let run = &self.port.run;
        let (to, label, id, port) = (self.port.to, self.label, self.id.id, self.port.number);
        let depth = self.port.depth();
        let entered_ns = self.entered_ns.load(Relaxed);
        if entered_ns == 0 {
            let now_ns = run.now_ns();
            let wait_ns = now_ns.saturating_sub(self.sent_ns);
            return (now_ns, TraceEvent::Drop { to, label, id, port, depth, wait_ns });
        }
        let busy_ns = self.busy_ns.load(Relaxed);
        let left_ns = self.left_ns.load(Relaxed);
        // what was handled in one go has no end beyond that
        let in_one_go = left_ns != 0 && !self.goes_on.load(Relaxed);
        let now_ns = if in_one_go { left_ns } else { run.now_ns() };
        let done = TraceEvent::Done {
            to,
            label,
            id,
            port: Some(port),
            depth,
            wait_ns: entered_ns.saturating_sub(self.sent_ns),
            busy_ns,
            async_ns: now_ns.saturating_sub(entered_ns).saturating_sub(busy_ns),
            panicked: self.panicked.load(Relaxed),
        };
        (now_ns, done)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let (at_ns, event) = self.last_record();
        self.port.run.record(at_ns, event);
    }
}

/// A part of the handling of a message.
struct Part<'a> {
    trail: &'a Trail,
    inside: Inside<'a>,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let busy_ns = self.inside.elapsed_ns();
        self.trail.busy_ns.fetch_add(busy_ns, Relaxed);
        self.trail.left_ns.store(self.inside.since_ns.saturating_add(busy_ns), Relaxed);
        if std::thread::panicking() {
            self.trail.panicked.store(true, Relaxed);
        }
    }
}

/// Inside the handling of something.
struct Inside<'a> {
    run: &'a Run,
    lane: Lane,
    id: u64,
    since_ns: u64,
    before: Cause,
    busy_before: (u64, u64),
}

impl<'a> Inside<'a> {
    fn new(run: &'a Run, lane: Lane, id: TraceId, by_clock: bool, since_ns: u64) -> Self {
        let before = HERE.replace(Cause { lane: Some(lane), id, by_clock });
        let busy_before = run.busy.set(lane, (id.id, since_ns));
        Self { run, lane, id: id.id, since_ns, before, busy_before }
    }

    fn elapsed_ns(&self) -> u64 {
        self.run.now_ns().saturating_sub(self.since_ns)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && STRUCK.get() == 0 {
            STRUCK.set(self.id);
        }
        HERE.set(self.before);
        self.run.busy.set(self.lane, self.busy_before);
    }
}
