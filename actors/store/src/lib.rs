//! StoreActor: keep it.
//!
//! # Role
//! Holds headers, bodies, receipts where it was founded to keep them, the canonical chain, the spans of
//! unfinished downloads and the last forkchoice, and says `Persisted` only for what a loss of power would
//! not undo.
//!
//! # Messages
//! - in: [`StoreRequest`](moorline_messages::StoreRequest) from the tree and the downloader;
//!   `Ask<StoreQuery, Result<StoreAnswer, StoreError>>` from the edges; `Lifecycle`, `Ask<Stop>`, `Crash`.
//! - out: one [`StoreOutcome`](moorline_messages::StoreOutcome) for each request, to the port of whoever
//!   the request names.
//!
//! # How it is kept
//! [`Disk`] puts headers, bodies and receipts into append-only e2store files, and what is small and is the truth
//! about what is stored into one sled tree that points into them, so that one batch is one atomic step.
//! A commit appends records, syncs their file, applies the batch, flushes sled and syncs sled's file.
//! [`Memory`] does the same with nothing behind it, for tests and simulation.
//!
//! # Invariants
//! - One commit runs at a time, across restarts too; requests that arrive meanwhile share the next one.
//!   Reads never wait for the disk behind a commit, and see each batch whole or not at all.
//! - A request keeps its place in the port until it is answered, so what waits is bounded by the port.
//! - Canonical blocks are hash-linked and have header, body and, where they are kept, receipts; from `earliest` to the tip none is
//!   missing. The tip changes in the batch that changes the canonical entries, which also drops the
//!   spans that the tip has passed.
//! - A block file may hold more than the index knows; it never holds less.
//!
//! # What a restart loses
//! Nothing. The open database is the actor's seed, and requests that were accepted but not answered are
//! taken up again; repeating a batch changes nothing.

mod actor;
mod audit;
mod backend;
mod codec;
mod config;
mod core;
mod disk;
mod group;
mod index;
mod keys;
mod ledger;
mod memory;
mod open_error;
mod ports;
mod records;
mod stage;
#[cfg(test)]
mod tests;
mod work;

pub use actor::StoreActor;
pub use audit::{BlockFault, CheckProgress, CheckReport, Fault, StoreStats};
pub use backend::{Backend, FIND_HASHES_MAX, READ_ITEMS_MAX};
pub use config::StoreConfig;
pub use disk::Disk;
pub use ledger::Blocks;
pub use memory::Memory;
pub use open_error::OpenError;
pub use ports::Ports;
