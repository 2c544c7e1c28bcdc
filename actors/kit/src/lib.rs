//! How any actor is run.
//!
//! actix gives mailboxes, addresses and arbiters. This crate adds what it leaves out:
//!
//! - [`Port`]: the only way to tell an actor something. It has a bound in items and in bytes that
//!   survives clones, and a full port gives the message back.
//! - [`Slot`]: addresses first, actors second. All slots are made, their ports handed round, and then
//!   each actor is built whole on its arbiter, so cycles need neither options nor setters.
//! - The supervisor behind [`Slot::start`]: a panic in any handler, timer or spawned future costs
//!   the message at hand. Address and queue survive, the state is rebuilt by
//!   [`actix::Supervised::restarting`], restarts back off, and past a limit the node is told to stop.
//! - [`Ask`], for edges and tests; [`Stop`], which is acknowledged; [`Crash`], which is not.
//! - [`Alarm`] and [`Outlet`]: the two things every shell needs beside its core, one timer and a place
//!   for what a full port gave back.
//! - [`Tracer`]: every message that is told, handled, dropped or refused, every timer, panic and restart
//!   leaves a record with its cause, in one place: the port and its [`Envelope`].
//! - [`off_thread()`]: work that would hold up an actor's thread.
//! - `Probe`, `paused` and `simulated` (feature `testing`): the far end of a port, held by a test, and a clock that
//!   stands still.
//!
//! Invariants: no message enters a mailbox but through a port; a permit is released when its message
//! is opened or dropped, whichever comes first.

mod alarm;
mod ask;
mod control;
mod envelope;
mod off_thread;
mod outlet;
mod panic_note;
mod port;
#[cfg(any(test, feature = "testing"))]
mod probe;
mod slot;
mod supervise;
#[cfg(test)]
mod tests;
mod trace;

pub use alarm::Alarm;
pub use ask::{Ask, AskError, Replier};
pub use control::{Crash, Stop};
pub use envelope::{Envelope, Handling};
pub use off_thread::{Panicked, off_thread};
pub use outlet::Outlet;
pub use panic_note::keep_panics_to_one_line;
pub use port::{Inbox, Limit, Port, Refused};
#[cfg(any(test, feature = "testing"))]
pub use probe::{Probe, paused, simulated};
pub use slot::{ArbiterStopped, Slot};
pub use supervise::{GaveUp, RestartPolicy, Watchers};
pub use trace::{BusyLanes, Cause, Recorder, Tracer};

/// The time, as every shell tells it to its core. Follows tokio's clock, so a test that pauses that
/// clock controls this one.
pub fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// When to try a full port again, and why, as [`Alarm::set`] takes it.
pub fn retry_at(wait: std::time::Duration) -> Option<(std::time::Instant, &'static str)> {
    now().checked_add(wait).map(|at| (at, "a full port is tried again"))
}
