//! Where log lines go, and which.

use clap::Args;
use eyre::Result;
use tracing_subscriber::EnvFilter;

use crate::{failure::Misuse, terminal};

/// What is logged.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logging {
    /// What to log: a level (error, warn, info, debug, trace) or a filter as in
    /// `info,moorline_rlpx=debug` [default: info; demo tells its own story]
    #[arg(long, global = true, env = "MOORLINE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// Sends log lines to standard error, so that standard output is left to results.
///
/// # Errors
/// The filter is none.
pub(crate) fn start(logging: &Logging, otherwise: &str) -> Result<()> {
    let wanted = logging.log.as_deref().unwrap_or(otherwise);
    // these log their own housekeeping
    let filter = EnvFilter::try_new(format!("sled=error,discv5=error,{wanted}"))
        .map_err(|error| Misuse(format!("--log {wanted} is no filter: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(terminal::AboveTheBar::default)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    drop(lines.try_init());
    Ok(())
}
