//! `moorline node`

use std::{net::SocketAddr, path::Path, sync::Arc};

use eyre::Result;
use moorline_engine_api::JwtSecret;

use crate::{
    cli::NodeArgs,
    config::Settings,
    datadir::DataDir,
    node::{Node, NodeConfig, NodeError, Started},
    peer_book::PeerBook,
    progress::{self, HeadFrom},
    recording::Recorded,
};

pub(crate) async fn run(args: NodeArgs) -> Result<()> {
    let settings = Settings::of_node(&args)?;
    let spec = Arc::new(settings.spec()?);
    let datadir = DataDir::new(&settings.datadir);
    let store = datadir.open(&settings.chain, &spec, settings.receipts)?;
    let jwt = jwt_secret(&settings.authrpc.jwtsecret, args.jwt_secret.is_some())?;
    let engine = SocketAddr::new(settings.authrpc.addr, settings.authrpc.port);
    let http = SocketAddr::new(settings.http.addr, settings.http.port);
    let discovery = settings.discovery.setup(settings.addr, settings.external_ip, None)?;
    let (mut kept, mut book) = PeerBook::open(datadir.peers());
    if discovery.is_none() {
        // only those that are named are dialled; the others are for another day
        kept.keep_back(std::mem::take(&mut book.good));
    }
    let recorded = Recorded::start(&settings.trace, &datadir.flights())?;
    let node = Node::start(NodeConfig {
        spec: Arc::clone(&spec),
        store,
        node_key: datadir.node_key()?,
        listen: Some(SocketAddr::new(settings.addr, settings.port)),
        peers: settings.peer.clone(),
        trusted: settings.trusted.clone(),
        peers_max: settings.maxpeers,
        book,
        discovery,
        external_ip: settings.external_ip,
        budget: settings.download.budget(),
        floor: 1,
        sync_trigger: settings.sync.trigger.into(),
        engine: Some((engine, jwt)),
        http: Some((http, settings.http.api.clone())),
        metrics: settings.metrics.listen(),
        tracer: recorded.tracer(),
    })
    .await?;
    let started = node.started();
    datadir.write_running(&started, &settings.authrpc.jwtsecret)?;
    say_where(&started, spec.name(), datadir.path());
    warn_of_nobody(&settings);
    let keeping = kept.keep(node.watched().all);
    let shown = progress::show(node.watched().all, HeadFrom::ConsensusClient, false);
    let mut all = node.watched().all;
    let gave_up = tokio::select! {
        biased;
        () = super::asked_to_end() => None,
        seen = all.wait_for(|seen| seen.gave_up.is_some()) => seen.ok().and_then(|seen| seen.gave_up.clone()),
    };
    drop(shown);
    tracing::info!("stopping");
    node.stop().await;
    keeping.finish().await;
    recorded.stop().await;
    gave_up.map_or(Ok(()), |gave_up| Err(NodeError::GaveUp(gave_up).into()))
}

/// Says so where nobody is looked for.
fn warn_of_nobody(settings: &Settings) {
    if !settings.peer.is_empty() {
        return;
    }
    if !settings.discovery.enabled {
        tracing::warn!("no peer is named: name one with --peer, or wait for peers to come");
    } else if !settings.discovery.knows_somebody() {
        tracing::warn!(
            "nobody is known to look for peers with: name one with --bootnode or --peer, or wait for \
             peers to come"
        );
    }
}

/// The secret from its file. One that was named must be there; the usual one is made.
fn jwt_secret(path: &Path, named: bool) -> Result<JwtSecret> {
    if named || path.exists() {
        return Ok(JwtSecret::from_file(path)?);
    }
    let secret = JwtSecret::create(path)?;
    tracing::info!(file = %path.display(), "made a secret to share with the consensus client");
    Ok(secret)
}

fn say_where(started: &Started, chain: &str, datadir: &Path) {
    tracing::info!(chain, datadir = %datadir.display(), "moorline is up");
    tracing::info!("peers reach it at {}", started.enode_url());
    if let Some((addr, enr)) = &started.discovery {
        tracing::info!("peers are looked for on UDP {addr} as {enr}");
    }
    if let Some(addr) = started.engine {
        tracing::info!("a consensus client drives it at http://{addr}");
    }
    if let Some(addr) = started.http {
        tracing::info!("JSON-RPC clients read it at http://{addr}");
    }
    super::say_where_metrics_are(started);
}
