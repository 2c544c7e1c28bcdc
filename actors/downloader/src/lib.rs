//! DownloaderActor: fetch it, prove it.
//!
//! Told which blocks are missing under a trusted hash, it gets them from whichever peers the peer
//! manager chooses, proves every byte, has the store keep it, and tells the tree.
//!
//! | in | from |
//! |---|---|
//! | [`TreeEvent::Download`](moorline_messages::TreeEvent) | the tree |
//! | [`FetchOutcome`](moorline_messages::FetchOutcome) | the peer manager |
//! | [`StoreOutcome`](moorline_messages::StoreOutcome) | the store |
//! | [`Lifecycle`](moorline_messages::Lifecycle) | the supervisors of its neighbours |
//!
//! | out | to |
//! |---|---|
//! | [`DownloadOutcome`](moorline_messages::DownloadOutcome) | the tree |
//! | [`FetchRequest`](moorline_messages::FetchRequest), [`FetchCommand`](moorline_messages::FetchCommand), [`PeerReport`](moorline_messages::PeerReport) | the peer manager |
//! | [`StoreRequest`](moorline_messages::StoreRequest) | the store |
//! | [`ProgressReport`](moorline_messages::ProgressReport) | whoever watches |
//!
//! Invariants:
//! - A header is used only once it hash-links to a hash that the tree named. A body, or
//!   a block's receipts, are used only once their roots are those of such a header. Position in an answer
//!   means nothing.
//! - Receipts are asked for where the store keeps them, and then no block is delivered without.
//! - Neither is asked for before its header is proved. No body, no receipts, and no header whose height is
//!   known, are asked for twice at the same time, whichever downloads want it.
//! - Blocks are delivered ascending, each once per request, and only when they are on disk.
//! - What is in flight, what is on its way to the disk and what is queued each stay within the
//!   [`Budget`], however long the chain. What nobody wants any more is taken back.
//! - When nothing comes for a while it says why: [`Stall`](moorline_messages::Stall).
//!
//! A restart loses what was in flight and nothing else: proved headers lie in the store as spans, and
//! bodies and receipts beside them. The tree asks again, and the store says what is there.

mod actor;
mod core;
mod ports;
#[cfg(test)]
mod tests;

pub use crate::{
    actor::{DownloaderActor, DownloaderConfig},
    core::Budget,
    ports::Ports,
};
