//! What the interplay tests have in common: chains, peers that serve them, and the binary as a child
//! process. Everything is on loopback.
// a child process lives in real time
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::disallowed_methods)]

mod child;
mod world;

pub use child::{Child, Finished, finish, free_port, run};
pub use world::{World, peer_args};
