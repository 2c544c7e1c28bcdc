//! One module per command.

mod chain;
mod db;
mod demo;
mod node;
mod peers;
mod show;
mod sync;
mod trace;

use eyre::{Result, eyre};

use crate::{
    cli::{Cli, Command, ConfigCommand},
    node::Started,
};

/// Threads that run sessions, servers and proofs.
const WORKERS_MIN: usize = 2;

pub(crate) fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Node(args) => on_actix(node::run(args)),
        Command::Sync(args) => on_actix(sync::run(args)),
        Command::Demo(args) => on_actix(demo::run(args)),
        Command::Chain(command) => chain::run(command),
        Command::Db(command) => db::run(command),
        Command::Trace(command) => trace::run(command),
        Command::Peers(args) => on_actix(peers::run(args)),
        Command::Config(ConfigCommand::Show(args)) => show::run(&args),
    }
}

/// Runs a command on an actix system over a multi-threaded runtime: actors on their arbiters,
/// everything else on the workers.
fn on_actix(command: impl Future<Output = Result<()>>) -> Result<()> {
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(WORKERS_MIN))
        .enable_all()
        .build()
        .map_err(|error| eyre!("cannot start: {error}"))?;
    let mut runtime = Some(runtime);
    // actix takes the runtime once
    let system = actix_rt::System::with_tokio_rt(|| match runtime.take() {
        Some(runtime) => runtime,
        None => unreachable!("actix asks for its runtime once"),
    });
    system.block_on(command)
}

fn say_where_metrics_are(started: &Started) {
    if let Some(addr) = started.metrics {
        tracing::info!("metrics are at http://{addr}/metrics");
    }
}

/// Completes when the process is asked to end: by Ctrl-C, a service manager, or a terminal that is
/// closed.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let asked = (signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    match asked {
        (Ok(mut terminate), Ok(mut hangup)) => tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        _ => drop(tokio::signal::ctrl_c().await),
    }
}
