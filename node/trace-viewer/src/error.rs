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
    /// The page would be served to others.
    #[error("{addr} is not an address of this machine alone: choose one such as 127.0.0.1:{port}", port = addr.port())]
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
    /// The terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(io::Error),
}
