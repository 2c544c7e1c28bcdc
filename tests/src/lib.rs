//! What the interplay tests have in common: chains, peers that serve them, and the binary as a child
//! process. Everything is on loopback.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc)]

mod child;
mod world;

pub use child::{Child, Finished, finish, free_port, run};
pub use world::{World, peer_args};
