//! TreeActor: what is missing?
//!
//! Keeps the chain that the consensus client names connected to the chain on disk, and asks for what
//! lies between.
//!
//! | in | from | what it does |
//! |---|---|---|
//! | [`TreeRequest`](moorline_messages::TreeRequest), asked | the Engine API | answered at once, whatever is still missing |
//! | [`DownloadOutcome`](moorline_messages::DownloadOutcome) | the downloader | judged against parents, connected, made canonical |
//! | [`StoreOutcome`](moorline_messages::StoreOutcome) | the store | what is there; what is safe on disk |
//! | [`Lifecycle`](moorline_messages::Lifecycle) | supervisors | what a neighbour forgot is asked again |
//!
//! Out go [`TreeEvent::Download`](moorline_messages::TreeEvent::Download) to the downloader,
//! [`StoreRequest`](moorline_messages::StoreRequest) to the store, and
//! [`TreeReport`](moorline_messages::TreeReport) to whoever watches.
//!
//! Invariants:
//! - The standing target is the last head that the consensus client named. It is asked for once, and
//!   again by the tree's own clock, until it is reached, replaced or found invalid.
//! - A block becomes canonical only under a named head, only connected, only in ascending batches
//!   without gaps; the tip rises from the bottom while the rest is still on its way.
//! - Where the store keeps receipts, a payload of the consensus client is not the whole block: it is judged
//!   and stored, and comes in by the downloader, with its receipts, once it lies under a named head.
//! - Nothing is called valid but the genesis block; what breaks a rule is invalid and so is what lies
//!   above it (`latestValidHash` null).
//! - When the store fails, memory is read anew rather than left to run ahead of the disk.
//! - Every map has a bound. Of the headers that do not connect, the farthest is dropped first.
//!
//! A restart loses what is buffered, side branches and verdicts. The tip and the forkchoice are read
//! back from the store, and the head that was last named becomes the target again by itself.

mod actor;
mod config;
mod core;
mod ports;
#[cfg(test)]
mod tests;

pub use actor::TreeActor;
pub use config::{SyncTrigger, TreeConfig};
pub use ports::Ports;
