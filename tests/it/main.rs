//! The whole of it: the binary, real sockets, real files, real and hostile peers.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod architecture;
mod bad_input;
mod commands;
mod engine;
mod hostile_peers;
mod kills;
mod panics;
mod peers;
mod receipts;
mod restarts;
mod traces;

/// The binary under test.
const MOORLINE: &str = env!("CARGO_BIN_EXE_moorline-under-test");
