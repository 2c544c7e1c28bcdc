//! The supervisor that actix's own is not: it survives panics.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Supervised, dev::ContextFut};
use moorline_messages::{ActorName, Lifecycle, TraceEvent, TraceId};
use tokio::sync::mpsc;

use crate::{Port, Tracer, panic_note, trace};

/// How often and how fast an actor is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Wait before the first restart; doubled for each further one.
    pub backoff_first: Duration,
    /// Longest wait before a restart.
    pub backoff_max: Duration,
    /// Restarts allowed within the window.
    pub restarts_max: usize,
    /// The window. An actor that stood for this long starts again at the first wait.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            restarts_max: 5,
            window: Duration::from_secs(60),
        }
    }
}

/// An actor panicked too often, and the node must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// Which actor.
    pub actor: ActorName,
    /// The last panic, in one line.
    pub panic: String,
}

/// Who is told what becomes of an actor.
#[derive(Clone, Debug)]
pub struct Watchers {
    /// Told of every restart, so that they ask again for what they still want.
    pub neighbours: Vec<Port<Lifecycle>>,
    /// Told once if the actor is given up.
    pub gave_up: mpsc::UnboundedSender<GaveUp>,
}

/// Runs an actor until it stops by itself or is given up.
pub(crate) async fn supervise<A>(
    name: ActorName,
    mut running: ContextFut<A, Context<A>>,
    policy: RestartPolicy,
    watchers: Watchers,
    tracer: Tracer,
) where
    A: Actor<Context = Context<A>> + Supervised,
{
    let mut restarts = Restarts::new(policy);
    let mut life = Life { name, incarnation: 0, tracer };
    let mut first_cause = life.started();
    while let Err(mut panic) = life.run_to_end(&mut running, first_cause).await {
        loop {
            life.panicked(&panic);
            let Some(backoff) = restarts.next_backoff(crate::now()) else {
                tracing::error!(actor = %name, %panic, "actor panicked too often, the node stops");
                drop(watchers.gave_up.send(GaveUp { actor: name, panic }));
                // a broken actor may panic once more while it is torn down
                drop(panic_note::supervised(move || drop(running)));
                return;
            };
            life.incarnation = life.incarnation.saturating_add(1);
            tracing::warn!(
                actor = %name,
                %panic,
                incarnation = life.incarnation,
                backoff_ms = backoff.as_millis(),
                "actor panicked and is rebuilt; its queue is kept"
            );
            tokio::time::sleep(backoff).await;
            first_cause = life.restarts(backoff);
            match life.step(first_cause, || running.restart()) {
                Ok(true) => break,
                Ok(false) => return,
                Err(again) => panic = again,
            }
        }
        let restarted = Lifecycle::Restarted { actor: name, incarnation: life.incarnation };
        trace::on_lane(&life.tracer, name, first_cause, || {
            for neighbour in &watchers.neighbours {
                // a neighbour whose port is full finds out by its slow tick
                drop(neighbour.tell(restarted));
            }
        });
    }
    life.stopped();
}

/// An actor's life, as the trace tells it.
struct Life {
    name: ActorName,
    incarnation: u32,
    tracer: Tracer,
}

impl Life {
    fn started(&self) -> TraceId {
        let id = self.tracer.take_root();
        self.tracer.tell(TraceEvent::Start { actor: self.name, id: id.id });
        id
    }

    fn restarts(&self, backoff: Duration) -> TraceId {
        let id = self.tracer.take_root();
        self.tracer.tell(TraceEvent::Restart {
            actor: self.name,
            incarnation: self.incarnation,
            id: id.id,
            backoff_ns: u64::try_from(backoff.as_nanos()).unwrap_or(u64::MAX),
        });
        id
    }

    fn panicked(&self, panic: &str) {
        self.tracer.tell(TraceEvent::Panic {
            actor: self.name,
            incarnation: self.incarnation,
            id: trace::struck(),
            note: trace::short(panic.to_owned().into()).into(),
        });
    }

    fn stopped(&self) {
        let incarnation = self.incarnation;
        self.tracer.tell(TraceEvent::Stop { actor: self.name, incarnation });
    }

    /// A step of the actor outside of any message, as far as is known before it.
    fn step<T>(&self, cause: TraceId, step: impl FnOnce() -> T) -> Result<T, String> {
        trace::on_lane(&self.tracer, self.name, cause, || panic_note::supervised(step))
    }

    /// Polls until the actor stops or panics. What it says in the first poll, it says because it
    /// (re)started.
    async fn run_to_end<A>(
        &self,
        running: &mut ContextFut<A, Context<A>>,
        first_cause: TraceId,
    ) -> Result<(), String>
    where
        A: Actor<Context = Context<A>>,
    {
        let mut cause = first_cause;
        poll_fn(|cx| {
            match self.step(std::mem::replace(&mut cause, TraceId::NONE), || {
                Pin::new(&mut *running).poll(cx)
            }) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await
    }
}

struct Restarts {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
}

impl Restarts {
    const fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// The wait before the next restart, or `None` when there were too many.
    fn next_backoff(&mut self, now: Instant) -> Option<Duration> {
        let window = self.policy.window;
        while self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.policy.restarts_max {
            return None;
        }
        let doublings = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        self.recent.push_back(now);
        let factor = 2_u32.saturating_pow(doublings);
        Some(self.policy.backoff_first.saturating_mul(factor).min(self.policy.backoff_max))
    }
}
