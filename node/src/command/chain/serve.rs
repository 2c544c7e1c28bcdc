//! `moorline chain serve`: peers over a file of blocks.

use std::{path::Path, sync::Arc};

use eyre::{Context, Result};
use moorline_devnet::{Behaviour, Chain, Devnet, FileChain, Pace};

use crate::{config::spec_of, terminal};

/// Serves until the process is asked to end, and says then what was served.
pub(super) async fn run(chain: &str, peers: u64, port: u16, pace: Pace, file: &Path) -> Result<()> {
    let spec = Arc::new(spec_of(chain)?);
    let genesis = Arc::clone(spec.genesis());
    let path = file.to_owned();
    let opened = tokio::task::spawn_blocking(move || FileChain::open(&path, genesis)).await?;
    let blocks = opened.wrap_err_with(|| format!("cannot serve {}", file.display()))?;
    let tip = blocks.tip();
    let mix = (0..peers).map(|_| (Behaviour::Honest, pace));
    let devnet = Devnet::start_at(port, Arc::new(blocks), spec, mix).await;
    let devnet =
        devnet.wrap_err_with(|| format!("cannot listen on port {port} and those after it"))?;
    terminal::say(&format!("block {tip} and all below it are served, until Ctrl-C"));
    for record in devnet.records() {
        terminal::print(&record.to_string())?;
    }
    super::super::asked_to_end().await;
    devnet.stop();
    for (peer, stats) in devnet.peers().iter().map(|peer| (peer.record(), peer.stats())) {
        let (requests, headers) = (stats.requests, stats.headers);
        let (bodies, receipts) = (stats.bodies, stats.receipts);
        terminal::say(&format!(
            "{}: {requests} requests, {headers} headers, {bodies} bodies, {receipts} blocks' receipts",
            peer.addr
        ));
    }
    Ok(())
}
