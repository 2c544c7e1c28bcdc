//! Moorline, put together: the four actors, the edges around them, and the command line.
//!
//! [`Node`] is the composition: slots first, ports between them, then each actor on its arbiter. The
//! commands in `command` each do one job with it or with the store it leaves behind.
//!
//! A restart of the process loses connections and calls at hand, and nothing else: the store holds the
//! chain, the forkchoice and the record of every unfinished download.

mod announcing;
mod bridge;
mod budget_bytes;
mod cli;
mod command;
mod config;
mod datadir;
mod failure;
mod finding;
mod logging;
mod metrics;
mod node;
mod observe;
mod overlook;
mod pace;
mod peer_book;
mod progress;
mod recording;
mod summary;
mod terminal;
mod told_store;
mod whole_file;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

pub use moorline_downloader::Budget;
pub use moorline_kit::keep_panics_to_one_line;

pub use crate::{
    metrics::MetricsError,
    node::{DiscoverySetup, Node, NodeConfig, NodeError, Started},
    observe::{Observed, Watched},
    pace::{Pace, Phase},
    wiring::Crashers,
};

/// Exit code of a command that failed.
const FAILED: u8 = 1;

/// Exit code of a command that was used wrongly, as `clap` has it.
const USED_WRONGLY: u8 = 2;

/// Runs the command line. The exit code is 0 when done, 1 when failed, 2 when used wrongly.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are asked for, and go to standard output
            let asked = !error.use_stderr();
            drop(error.print());
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USED_WRONGLY) };
        }
    };
    let demo = matches!(cli.command, cli::Command::Demo(_));
    let outcome = logging::start(&cli.logging, if demo { "error" } else { "info" });
    keep_panics_to_one_line();
    match outcome.and_then(|()| command::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::say(&format!("error: {}", failure::sentence(&error)));
            ExitCode::from(if failure::is_misuse(&error) { USED_WRONGLY } else { FAILED })
        }
    }
}
