//! Where log lines go, and which.

use clap::Args;
use tracing_subscriber::EnvFilter;

/// What is logged.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logging {
    /// What to log: a level (error, warn, info, debug, trace) or a filter as in
    /// `info,moorline_rlpx=debug`
    #[arg(
        long,
        global = true,
        env = "MOORLINE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub(crate) log: String,
}

/// Sends log lines to standard error, so that standard output is left to results.
pub(crate) fn start(logging: &Logging) {
    // sled logs its own housekeeping
    let filter = EnvFilter::try_new(format!("sled=error,{}", logging.log))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    drop(lines.try_init());
}
