//! The supervisor that actix's own is not: it survives panics.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Supervised, dev::ContextFut};
use moorline_messages::{ActorName, Lifecycle};
use tokio::sync::mpsc;

use crate::{Port, panic_note};

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
) where
    A: Actor<Context = Context<A>> + Supervised,
{
    let mut restarts = Restarts::new(policy);
    let mut incarnation: u32 = 0;
    while let Err(mut panic) = run_to_end(&mut running).await {
        loop {
            let Some(backoff) = restarts.next_backoff(crate::now()) else {
                tracing::error!(actor = %name, %panic, "actor panicked too often, the node stops");
                drop(watchers.gave_up.send(GaveUp { actor: name, panic }));
                // a broken actor may panic once more while it is torn down
                drop(panic_note::supervised(move || drop(running)));
                return;
            };
            incarnation = incarnation.saturating_add(1);
            tracing::warn!(
                actor = %name,
                %panic,
                incarnation,
                backoff_ms = backoff.as_millis(),
                "actor panicked and is rebuilt; its queue is kept"
            );
            tokio::time::sleep(backoff).await;
            match panic_note::supervised(|| running.restart()) {
                Ok(true) => break,
                Ok(false) => return,
                Err(again) => panic = again,
            }
        }
        for neighbour in &watchers.neighbours {
            // a neighbour whose port is full finds out by its slow tick
            drop(neighbour.tell(Lifecycle::Restarted { actor: name, incarnation }));
        }
    }
}

async fn run_to_end<A>(running: &mut ContextFut<A, Context<A>>) -> Result<(), String>
where
    A: Actor<Context = Context<A>>,
{
    poll_fn(|cx| match panic_note::supervised(|| Pin::new(&mut *running).poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
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
