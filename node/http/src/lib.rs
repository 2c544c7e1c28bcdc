//! What the JSON-RPC edges share: an HTTP server in front of jsonrpsee that nobody can make the node wait
//! or swell with.
//!
//! - In: HTTP/1.1 requests, as many connections at a time as [`HttpLimits`] says; one more waits in the
//!   system's queue.
//! - Out: the methods of an `RpcModule`, behind the gates that an edge puts in front of them.
//!
//! Invariants:
//!
//! - A connection always has a time at which it ends, set anew when something comes of it: see
//!   [`HttpPatience`].
//! - A request is read whole, within its bound and its time, before it takes the place of an answer. An
//!   answer keeps its place until the client has read it, so that so many and no more are in memory.
//! - What a method holds [`UntilSent`] is held as long.
//!
//! Nothing is kept here, so a restart loses the calls at hand and no more.

mod answer;
mod calls;
mod connection;
mod seldom;
mod server;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use answer::UntilSent;
pub use calls::Answering;
pub use seldom::{SELDOM, Seldom};
pub use server::{HttpHandle, HttpLimits, HttpPatience, HttpServer, local_hosts};
