//! What tests of actors need: the far end of a port, and a clock that stands still.

use std::{cell::Cell, fmt::Debug, time::Duration};

use moorline_messages::Traced;

use crate::{Envelope, Inbox, Limit, Port};

/// Longest wait for a message that a test expects. Under a paused clock it costs no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records what is told to a port.
#[derive(Debug)]
pub struct Probe<M> {
    inbox: Inbox<M>,
}

impl<M: Traced + Debug + Send + 'static> Probe<M> {
    /// A probe and the port that leads to it.
    pub fn new(limit: Limit) -> (Port<M>, Self) {
        let (port, inbox) = Port::channel("probe", limit);
        (port, Self { inbox })
    }

    /// The next message.
    ///
    /// # Panics
    /// Nothing came for ten seconds.
    #[track_caller]
    #[allow(clippy::manual_async_fn)]
    pub fn expect_message(&mut self) -> impl Future<Output = M> {
        let place = std::panic::Location::caller();
        async move {
            match tokio::time::timeout(PATIENCE, self.inbox.next()).await {
                Ok(Some(message)) => message,
                #[allow(clippy::panic)]
                Ok(None) | Err(_) => panic!("no message came, expected at {place}"),
            }
        }
    }

    /// The next message with its place in the port still taken.
    pub async fn next_held(&mut self) -> Option<Envelope<M>> {
        self.inbox.next_held().await
    }

    /// What is waiting now.
    pub fn try_next(&mut self) -> Option<M> {
        self.inbox.try_next()
    }

    /// Lets everything that is under way arrive, and fails if anything was told.
    ///
    /// # Panics
    /// Something was told.
    #[allow(clippy::panic)]
    pub async fn expect_silence(&mut self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        if let Some(message) = self.inbox.try_next() {
            panic!("expected silence, got {message:?}");
        }
    }
}

/// Runs a test on an actix system whose clock is paused: waits cost no time, work on blocking threads
/// does.
///
/// # Panics
/// The runtime cannot be built, or the test panics.
#[allow(clippy::expect_used)]
pub fn paused<F: Future<Output = ()>>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().expect("a runtime for the test")
    });
    system.block_on(test);
}

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn is_simulated() -> bool {
    SIMULATED.get()
}

/// Runs a system on one thread whose clock is paused, work for blocking threads included: the same
/// system does the same in the same order whenever it is run.
pub fn simulated<F: Future<Output = ()>>(system: F) {
    SIMULATED.set(true);
    paused(system);
    SIMULATED.set(false);
}
