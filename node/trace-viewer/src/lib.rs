//! The viewer of traces: a page and a terminal.
//!
//! It reads what `moorline-trace` reads: a file, a directory, or what a running node serves, and goes on while that
//! grows. It is read-only, it serves to this machine alone, and whatever a trace holds, it shows and does not obey.

mod assets;
pub mod columns;
mod error;
pub mod page;
mod server;
mod snapshot;
mod source;
pub mod text;
mod tui;
mod watched;

pub use error::ViewerError;
pub use server::{LiveSender, Serving, ViewArgs, may_show_at, serve_live, view};
pub use snapshot::{SNAPSHOT_ROWS_MAX, Snapshot, SnapshotArgs, snapshot};
pub use source::{Source, watch};
pub use tui::{TuiArgs, tui};
pub use watched::{LIVE_ROWS_MAX, Look, Watched};
