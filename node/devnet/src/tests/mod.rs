//! The crate's promises, as tests.

mod chain;
mod generator;
mod network;
mod peer;
mod receipt;
