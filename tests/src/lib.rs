//! What the interplay tests have in common: chains, peers that serve them, and the binary as a child
//! process. Everything is on loopback.
// a child process lives in real time
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

mod calls;
mod child;
mod running;
pub mod torment;
mod world;

pub use calls::{forkchoice, payload};
pub use child::{Child, Finished, finish, run};
pub use running::{on_actix, wait, wait_until_synced};
pub use world::{World, peer_args};
