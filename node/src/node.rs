//! A whole node: the actors, and the edges around them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alloy_primitives::B256;
use moorline_downloader::Budget;
use moorline_engine_api::{EngineConfig, EngineError, EngineHandle, EngineServer, JwtSecret};
use moorline_kit::{ArbiterStopped, AskError, GaveUp, Tracer};
use moorline_messages::{
    AnnouncedRange, Forkchoice, Lane, NodeRecord, SessionCommand, StoreAnswer, StoreQuery,
    TreeRequest, TreeVerdict,
};
use moorline_peer_manager::PeerManagerConfig;
use moorline_rlpx::{Network, NetworkConfig, NetworkError, NetworkHandle};
use moorline_rpc::{EthConfig, RpcHandle, RpcServer, RpcServerError, StorePort, eth_module};
use moorline_rules::ChainSpec;
use moorline_store::Disk;
use moorline_tree::{SyncTrigger, TreeConfig};
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    bridge::{self, StoredChain},
    metrics::{Metrics, MetricsError, MetricsHandle, Queue},
    observe::{self, Watched},
    told_store::ToldStore,
    wiring::{self, Actors, Crashers, Threads, Wired},
};

/// Events of sessions that may wait before the peer manager's own queue.
const SESSION_EVENTS_MAX: usize = 64;

/// How long actors may take to finish what they promised.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// What `web3_clientVersion` says, and what peers are told.
pub(crate) const CLIENT: &str = concat!("moorline/v", env!("CARGO_PKG_VERSION"));

/// How a node is set up.
pub struct NodeConfig {
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The chain on disk, open.
    pub store: Arc<Disk>,
    /// This node's secp256k1 key.
    pub node_key: [u8; 32],
    /// Where to listen for peers, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Peers to stay connected to.
    pub peers: Vec<NodeRecord>,
    /// Most peers.
    pub peers_max: usize,
    /// What a download may hold and have under way.
    pub budget: Budget,
    /// The lowest block wanted.
    pub floor: u64,
    /// What starts a download.
    pub sync_trigger: SyncTrigger,
    /// Where the Engine API listens, if anywhere, and its secret.
    pub engine: Option<(SocketAddr, JwtSecret)>,
    /// Where JSON-RPC listens, if anywhere.
    pub http: Option<SocketAddr>,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Where the trace of everything that is told goes.
    pub tracer: Tracer,
}

impl std::fmt::Debug for NodeConfig {
    /// Everything that may be shown, which the key may not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeConfig")
            .field("listen", &self.listen)
            .field("peers", &self.peers)
            .field("peers_max", &self.peers_max)
            .field("budget", &self.budget)
            .field("floor", &self.floor)
            .field("sync_trigger", &self.sync_trigger)
            .field("engine", &self.engine)
            .field("http", &self.http)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// Why a node does not start, or stops.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The devp2p edge does not start.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The Engine API does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The JSON-RPC server does not start.
    #[error(transparent)]
    Rpc(#[from] RpcServerError),
    /// The metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The methods cannot be put together.
    #[error("the JSON-RPC methods cannot be put together: {0}")]
    Methods(#[from] jsonrpsee::core::RegisterMethodError),
    /// A thread for actors ended.
    #[error(transparent)]
    Arbiter(#[from] ArbiterStopped),
    /// An actor does not answer.
    #[error("an actor does not answer: {0}")]
    Ask(#[from] AskError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] moorline_messages::StoreError),
    /// An actor panicked too often.
    #[error("the {} failed again and again ({}); this is a defect, please report it", .0.actor, .0.panic)]
    GaveUp(GaveUp),
}

/// Where a started node can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// By peers.
    pub enode: NodeRecord,
    /// By a consensus client.
    pub engine: Option<SocketAddr>,
    /// By JSON-RPC clients.
    pub http: Option<SocketAddr>,
    /// By whoever gathers metrics.
    pub metrics: Option<SocketAddr>,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    wired: Wired,
    watched: Watched,
    network: NetworkHandle,
    engine: Option<EngineHandle>,
    http: Option<RpcHandle>,
    metrics: Option<MetricsHandle>,
}

impl Node {
    /// Starts everything. Must be called on an actix system over a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// A port is in use, or the node key is not usable.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let (reporters, watched) = observe::start(&config.tracer, config.budget);
        let spec = Arc::clone(&config.spec);
        let tree = TreeConfig {
            spec: Arc::clone(&spec),
            sync_trigger: config.sync_trigger,
            floor: config.floor,
        };
        let peers = PeerManagerConfig {
            static_peers: config.peers.clone(),
            peers_max: config.peers_max,
            ..PeerManagerConfig::default()
        };
        // peers that the operator named count towards neither bound
        let sessions_max = config.peers_max.saturating_add(config.peers.len());
        let inbound_max = peers.inbound_max;
        let (events_in, events_out) = mpsc::channel(SESSION_EVENTS_MAX);
        let store = Arc::new(ToldStore { disk: config.store, all: reporters.all.clone() });
        let actors = Actors { tree, budget: config.budget, peers, store };
        let (wired, session_commands) =
            wiring::wire(actors, &reporters, &config.tracer, Threads::own())?;
        let edges = Edges {
            spec: &spec,
            node_key: config.node_key,
            listen: config.listen,
            sessions_max,
            inbound_max,
        };
        let network = match edges.network(&wired.store.clone().held_by(Lane::Rlpx), events_in).await
        {
            Ok(network) => network,
            Err(error) => {
                stop_actors(wired, None).await;
                return Err(error);
            }
        };
        let asked = bridge::Asked::default();
        let commands = network.commands.clone();
        tokio::spawn(bridge::commands(session_commands, commands, asked.clone()));
        let session_events = wired.session_events.clone();
        tokio::spawn(bridge::events(
            events_out,
            session_events,
            reporters.dial_failures,
            reporters.sessions,
            asked,
        ));
        tokio::spawn(announce(watched.clone(), wired.store.clone(), network.commands.clone()));
        let mut node = Self { wired, watched, network, engine: None, http: None, metrics: None };
        let started = match node.answer_calls(&spec, config.http, config.engine).await {
            Ok(()) => node.show_metrics(config.metrics, config.budget).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(()) => Ok(node),
            // a port in use must not leave half a node behind
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    /// Starts the servers.
    async fn answer_calls(
        &mut self,
        spec: &Arc<ChainSpec>,
        http: Option<SocketAddr>,
        engine: Option<(SocketAddr, JwtSecret)>,
    ) -> Result<(), NodeError> {
        let (wired, watched) = (&self.wired, &self.watched);
        let eth = EthConfig { spec: Arc::clone(spec), client_version: client_version() };
        // one for each port, so that strangers do not take the places of the consensus client's searches
        let module = || {
            let store = wired.store.clone().held_by(Lane::Rpc);
            eth_module(eth.clone(), store, watched.sync.clone(), watched.peers.clone())
        };
        if let Some(addr) = http {
            self.http = Some(RpcServer::start(addr, module()?).await?);
        }
        if let Some((addr, jwt)) = engine {
            let (config, tree) = (EngineConfig::new(addr, jwt), wired.tree.clone());
            let store = wired.store.clone().held_by(Lane::EngineApi);
            let spec = Arc::clone(spec);
            self.engine = Some(EngineServer::start(config, tree, store, spec, module()?).await?);
        }
        Ok(())
    }

    /// Starts to serve metrics.
    async fn show_metrics(
        &mut self,
        addr: Option<SocketAddr>,
        budget: Budget,
    ) -> Result<(), NodeError> {
        let Some(addr) = addr else { return Ok(()) };
        let wired = &mut self.wired;
        let mut queues = std::mem::take(&mut wired.queues);
        queues.extend([
            Queue::of(&wired.tree),
            Queue::of(&wired.store),
            Queue::of(&wired.session_events),
        ]);
        let watched = self.watched.all.clone();
        let unfinished = self.network.unfinished_receipts();
        let metrics = Metrics { watched, budget, unfinished, queues };
        self.metrics = Some(metrics.serve(addr).await?);
        Ok(())
    }

    /// Where the node can be reached.
    pub fn started(&self) -> Started {
        Started {
            enode: reachable(self.network.local_record()),
            engine: self.engine.as_ref().map(EngineHandle::local_addr),
            http: self.http.as_ref().map(RpcHandle::local_addr),
            metrics: self.metrics.as_ref().map(MetricsHandle::local_addr),
        }
    }

    /// What its actors report.
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// How to make its actors panic.
    pub fn crashers(&self) -> Crashers {
        self.wired.crashers.clone()
    }

    /// Follows a head as if a consensus client had named it.
    ///
    /// # Errors
    /// The tree has stopped.
    pub async fn follow(&self, head: B256) -> Result<TreeVerdict, NodeError> {
        let forkchoice = Forkchoice { head, ..Forkchoice::default() };
        let tree = self.wired.tree.clone().held_by(Lane::Node);
        loop {
            match tree.ask(TreeRequest::ForkchoiceUpdated(forkchoice)).await {
                Ok(verdict) => return Ok(verdict),
                // the tree was rebuilt meanwhile
                Err(AskError::Dropped) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stops against the flow: calls first, then the work, the sessions, and the store last.
    pub async fn stop(self) {
        let Self { wired, network, engine, http, metrics, watched } = self;
        if let Some(engine) = engine {
            drop(timeout(STOP_PATIENCE, engine.stop()).await);
        }
        if let Some(http) = http {
            drop(timeout(STOP_PATIENCE, http.stop()).await);
        }
        stop_actors(wired, Some(network)).await;
        drop((metrics, watched));
    }
}

/// Stops the work, the sessions, and the store last.
async fn stop_actors(wired: Wired, network: Option<NetworkHandle>) {
    if timeout(STOP_PATIENCE, wired.stops.stop_workers()).await.is_err() {
        tracing::warn!("the actors did not stop in time");
    }
    if let Some(network) = network {
        network.shutdown().await;
    }
    match timeout(STOP_PATIENCE, wired.stops.stop_store()).await {
        Ok(Ok(())) => tracing::debug!("everything is on disk"),
        Ok(Err(_)) | Err(_) => tracing::warn!("the store did not confirm that it stopped"),
    }
    drop(tokio::task::spawn_blocking(move || wired.end()).await);
}

/// A node that listens everywhere can be reached on this machine, which is all it knows of itself.
fn reachable(mut record: NodeRecord) -> NodeRecord {
    if record.addr.ip().is_unspecified() {
        record.addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    record
}

fn client_version() -> String {
    format!("{CLIENT}/{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

struct Edges<'a> {
    spec: &'a ChainSpec,
    node_key: [u8; 32],
    listen: Option<SocketAddr>,
    sessions_max: usize,
    inbound_max: usize,
}

impl Edges<'_> {
    async fn network(
        &self,
        store: &StorePort,
        events: mpsc::Sender<moorline_messages::SessionEvent>,
    ) -> Result<NetworkHandle, NodeError> {
        let spec = self.spec;
        let genesis = spec.genesis();
        let range = stored_range(store).await?;
        let mut fork_filter = spec.fork_filter(alloy_eip2124_head(0, genesis.timestamp));
        if let Some((tip, timestamp)) = tip_time(store, range.latest).await? {
            fork_filter.set_head(alloy_eip2124_head(tip, timestamp));
        }
        let config = NetworkConfig {
            client_id: client_version(),
            listen: self.listen,
            terminal_total_difficulty: spec.terminal_total_difficulty(),
            max_sessions: self.sessions_max,
            max_inbound: self.inbound_max,
            ..NetworkConfig::new(self.node_key, spec.chain_id(), genesis.hash(), fork_filter)
        };
        let chain = Arc::new(StoredChain(store.clone()));
        let network = Network::start(config, chain, events)?;
        drop(network.commands.send(SessionCommand::AnnounceRange(range)).await);
        Ok(network)
    }
}

fn alloy_eip2124_head(number: u64, timestamp: u64) -> alloy_eip2124::Head {
    alloy_eip2124::Head { number, timestamp, ..alloy_eip2124::Head::default() }
}

async fn tip_time(store: &StorePort, number: u64) -> Result<Option<(u64, u64)>, NodeError> {
    let block = moorline_messages::HashOrNumber::Number(number);
    match store.ask(StoreQuery::Block { block }).await?? {
        StoreAnswer::Block(Some(found)) => Ok(Some((number, found.block.header.timestamp))),
        _ => Ok(None),
    }
}

async fn stored_range(store: &StorePort) -> Result<AnnouncedRange, NodeError> {
    match store.ask(StoreQuery::Status).await?? {
        StoreAnswer::Status(status) => Ok(AnnouncedRange {
            earliest: status.earliest.min(status.tip.number),
            latest: status.tip.number,
            latest_hash: status.tip.hash,
        }),
        _ => Ok(AnnouncedRange::default()),
    }
}

/// Tells the sessions what can be served, whenever the tip has moved.
async fn announce(mut watched: Watched, store: StorePort, commands: mpsc::Sender<SessionCommand>) {
    let mut told = None;
    while watched.all.changed().await.is_ok() {
        let tip = watched.all.borrow_and_update().tree.as_ref().map(|tree| tree.tip);
        if tip.is_none() || tip == told {
            continue;
        }
        // the tree may be ahead of the disk, and peers are told only of what is on it
        let Ok(range) = stored_range(&store).await else { continue };
        told = Some(moorline_messages::BlockNumHash::new(range.latest, range.latest_hash));
        if commands.send(SessionCommand::AnnounceRange(range)).await.is_err() {
            return;
        }
    }
}
