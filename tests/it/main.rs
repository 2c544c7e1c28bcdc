//! The whole of it: the binary, real sockets, real files, real and hostile peers.
#![allow(clippy::arithmetic_side_effects, missing_docs)]

mod architecture;
mod bad_input;
mod commands;
mod hostile_peers;
mod panics;
mod restarts;

/// The binary under test.
const MOORLINE: &str = env!("CARGO_BIN_EXE_moorline-under-test");
