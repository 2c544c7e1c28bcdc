//! The words about traces.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

/// What of a run is recorded, and who may look on.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RecordArgs {
    /// Record what the actors tell one another in this directory; see moorline trace
    #[arg(long = "trace", env = "MOORLINE_TRACE", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Compress the recording by zstd
    #[arg(long = "trace-compress", env = "MOORLINE_TRACE_COMPRESS")]
    pub(crate) compress: bool,
    /// Show the run while it goes on, to browsers on this machine, as in 127.0.0.1:8600
    #[arg(long = "trace-listen", env = "MOORLINE_TRACE_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}
