//! Listens for discovery and prints who is found.
//!
//!     cargo run -p moorline-discovery --example listen -- 127.0.0.1:30303 [BOOTNODE...]
//!
//! The first line is our enode, the second our ENR; then one line for each node that was found. The
//! chain is mainnet at its genesis. It ends when its standard input does.

use std::io::Read;

use moorline_discovery::{Discovery, DiscoveryConfig};
use moorline_rules::ChainSpec;
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen_addr = arguments.next().unwrap_or_else(|| "127.0.0.1:30303".to_owned()).parse()?;
    let bootnodes = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let filter = ChainSpec::mainnet().fork_filter(alloy_eip2124::Head::default());
    let (_keep, forks) = watch::channel(filter);
    let mut config = DiscoveryConfig::new(rand::random(), listen_addr, listen_addr.port(), forks);
    config.bootnodes = bootnodes;
    let mut handle = Discovery::start(config).await?;
    println!("{}\n{}", handle.enode(), handle.enr());
    let input_ends = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let mut candidates = handle.take_candidates();
    let print = async move {
        while let Some(found) = candidates.recv().await {
            println!("{:?} {}", found.via, found.record);
        }
    };
    tokio::select! {
        biased;
        _ = input_ends => {}
        () = print => {}
    }
    eprintln!("{:#?}", handle.counters());
    handle.shutdown().await;
    Ok(())
}
