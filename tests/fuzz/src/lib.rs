//! Fuzz targets for all that comes from strangers: what is read before anybody has shown who he is,
//! every message of eth and its base protocol, everything of discovery, and the texts and files that
//! the node is started with.
//!
//! A target is a function of bytes that must return, whatever they are, within [`RUN_BYTES_MAX`] of
//! memory. It says whether the bytes were good, so that a corpus that reaches nothing is seen. Bytes
//! are often a script (`script.rs`): what comes in is made of them under keys that the target
//! knows, so that encryption, hashes and signatures keep nobody out.
//!
//! `tests/replay.rs` runs each target over its corpus, its seeds and real data; `run.sh` fuzzes.
// the targets are tests: a panic is how they fail
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod blocks;
mod discv4;
mod discv5;
mod dns;
mod eth;
mod frames;
mod gates;
mod handshake;
mod parts;
pub mod real;
mod records;
mod script;
mod stream;
mod tokens;

use std::alloc::System;

use cap::Cap;

/// Most memory that one run may have at a time, and so the largest that it may ask for at once.
pub const RUN_BYTES_MAX: usize = 32 << 20;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Something that reads bytes of strangers.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// The longest input that is tried.
    pub max_len: usize,
    /// Reads an input; says whether it was good.
    pub read: fn(&[u8]) -> bool,
    /// Inputs to begin with, some of which are good.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// Reads an input within [`RUN_BYTES_MAX`]. Beyond, allocation fails, which ends the process.
    pub fn run(&self, input: &[u8]) -> bool {
        within(RUN_BYTES_MAX, || (self.read)(input))
    }
}

/// Runs something that may have so many bytes more than there are now.
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    MEMORY.set_limit(MEMORY.allocated().saturating_add(bytes_max)).expect("memory is in use");
    let done = work();
    MEMORY.set_limit(usize::MAX).expect("there is no larger limit");
    done
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// All targets.
pub const TARGETS: &[Target] = &[
    handshake::PACKETS,
    handshake::BODIES,
    frames::ACCEPT,
    frames::FRAMES,
    frames::SNAPPY,
    eth::P2P,
    eth::ETH,
    parts::RECEIPT_PARTS,
    discv4::PACKETS,
    discv4::DATA,
    discv4::CORE,
    discv5::AUTH_DATA,
    records::RECORDS,
    records::BOOTNODES,
    dns::TEXTS,
    dns::WALK,
    gates::GATES,
    tokens::TOKENS,
    blocks::BLOCKS,
];
