//! What can go wrong, in sentences that say what to do.

use std::{io, net::SocketAddr, path::PathBuf};

use moorline_trace::ReadError;
use thiserror::Error;

/// Why a trace is not shown.
#[derive(Debug, Error)]
pub enum ViewerError {
    /// The trace cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The address is not one that a running node shows its trace at.
    #[error(
        "{url} cannot be read: give the plain http:// address of a node on this machine, such as http://127.0.0.1:9100"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers at the address.
    #[error("nothing answers at {url} ({reason}): is the node running with --trace-listen?")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What came back.
        reason: String,
    },
    /// Somebody answers at the address, and it is no trace.
    #[error(
        "{url} shows no trace (asked for /events.jsonl it answered {answer}): give the address that a node printed for --trace-listen, or that `moorline trace view` of a file printed"
    )]
    NoTrace {
        /// What was asked.
        url: String,
        /// What came back.
        answer: String,
    },
    /// The file can be read, and no line of it is a record.
    #[error(
        "{name} is no trace: none of its {lines} lines is a record; name a trace file (*.jsonl, *.jsonl.zst) or a directory of them"
    )]
    NoRecords {
        /// What was read.
        name: String,
        /// Lines that were skipped.
        lines: u64,
    },
    /// A page is written of files alone.
    #[error("a page is written of a file or a directory: that of a node is at {url}/page.html")]
    PageOfNode {
        /// The node.
        url: String,
    },
    /// The page would be served to others.
    #[error("a trace is not shown at {addr}, but to this machine alone: listen on 127.0.0.1:{port}", port = addr.port())]
    NotLoopback {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The port could not be had.
    #[error("cannot listen on {addr} for the viewer: {source}; choose another port")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("cannot start the viewer: {0}")]
    Start(io::Error),
    /// The page could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Output is not a terminal.
    #[error(
        "this is not a terminal: use `moorline trace stats`, or `moorline trace view` for the page"
    )]
    NoTerminal,
    /// A thread of the viewer panicked.
    #[error("the viewer broke, which is a fault in it: what is above says where")]
    Broken,
    /// The terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(io::Error),
}
