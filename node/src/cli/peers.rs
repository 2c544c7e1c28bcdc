//! The words about a running node's peers.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::PlaceArgs;

#[derive(Clone, Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The node's authenticated port, as in 127.0.0.1:8551 [default: as the data directory has it]
    #[arg(long, value_name = "IP:PORT", requires = "jwt", value_parser = address)]
    pub(crate) rpc: Option<SocketAddr>,
    /// File with the secret of that port [default: as the data directory has it]
    #[arg(long, value_name = "FILE")]
    pub(crate) jwt: Option<PathBuf>,
    /// Print one JSON object and exit
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the table once, on a terminal too
    #[arg(long)]
    pub(crate) once: bool,
    /// How often to look again, in seconds
    #[arg(
        long,
        default_value_t = 2,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=3_600)
    )]
    pub(crate) interval_s: u64,
}

/// With or without the scheme in front that other clients want.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    bare.replace("localhost:", "127.0.0.1:")
        .parse()
        .map_err(|_| "expected an address and a port, as in 127.0.0.1:8551".to_owned())
}
