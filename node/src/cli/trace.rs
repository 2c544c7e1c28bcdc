//! The words about traces.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum, builder::FalseyValueParser};
use moorline_trace::{check::Within, follow::Key};

/// What of a run is recorded, and who may look on.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RecordArgs {
    /// Record what the actors tell one another in this directory; see moorline trace
    #[arg(long = "trace", env = "MOORLINE_TRACE", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Compress the recording by zstd
    #[arg(
        long = "trace-compress",
        env = "MOORLINE_TRACE_COMPRESS",
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) compress: bool,
    /// Show the run while it goes on, to browsers on this machine, as in 127.0.0.1:8600
    #[arg(long = "trace-listen", env = "MOORLINE_TRACE_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// What can be done with a trace.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Serve the page of a trace on this machine, or write it as one HTML file
    View {
        /// A file, a directory, or the http:// address of a node that runs with --trace-listen
        #[arg(value_name = "FILE|DIR|URL")]
        source: String,
        /// A second trace, to compare it with
        #[arg(value_name = "OTHER")]
        against: Option<PathBuf>,
        /// Where to serve the page; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
        listen: SocketAddr,
        /// Write the page to this file instead: it opens in any browser, without a network
        #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "against"])]
        out: Option<PathBuf>,
    },
    /// Look at a trace in the terminal
    Tui {
        /// A file, a directory, or the http:// address of a node that runs with --trace-listen
        #[arg(value_name = "FILE|DIR|URL")]
        source: String,
    },
    /// Count messages, and how long they waited and took
    Stats {
        #[command(flatten)]
        trace: TraceArg,
    },
    /// Look for what is lost; the exit code is 1 when something is wrong
    Check {
        #[command(flatten)]
        trace: TraceArg,
        /// What must follow what, as in 'TreeEvent::Download then DownloadOutcome in 30s', or must
        /// not, with never in place of then; may be given more than once
        #[arg(long, value_name = "RULE")]
        within: Vec<Within>,
    },
    /// Follow a block, a number, a peer or a session from its trigger to the disk
    Follow {
        /// Block hash, block number, peer (16 hex digits or enode), or session as in s12
        key: Key,
        #[command(flatten)]
        trace: TraceArg,
    },
    /// Compare two runs, message by message and block by block
    Diff {
        /// A file or a directory
        a: PathBuf,
        #[command(flatten)]
        b: TraceArg,
    },
    /// Write a trace in the form of another tool
    Export {
        /// perfetto, or otlp (as JSON)
        #[arg(value_enum)]
        form: ExportForm,
        /// A file or a directory
        #[arg(value_name = "FILE|DIR")]
        trace: PathBuf,
        /// The file to write
        out: PathBuf,
    },
}

/// A trace that is read, and how to print what is found.
#[derive(Debug, Args)]
pub(crate) struct TraceArg {
    /// A file or a directory
    #[arg(value_name = "FILE|DIR")]
    pub(crate) path: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A form that other tools read.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportForm {
    Perfetto,
    Otlp,
}
