//! A whole node: the actors, and the edges around them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use alloy_eip2124::ForkFilter;
use alloy_primitives::B256;
use moorline_discovery::DiscoveryError;
use moorline_downloader::Budget;
use moorline_engine_api::{EngineConfig, EngineError, EngineHandle, EngineServer, JwtSecret};
use moorline_kit::{ArbiterStopped, AskError, GaveUp, Tracer};
use moorline_messages::{Forkchoice, Lane, NodeRecord, PeerBookReport, TreeRequest, TreeVerdict};
use moorline_peer_manager::PeerManagerConfig;
use moorline_rlpx::{Network, NetworkConfig, NetworkError, NetworkHandle};
use moorline_rpc::{
    AdminPorts, EthConfig, Namespace, PeerLimits, RpcHandle, RpcServer, RpcServerError, StorePort,
    admin_module, eth_module, only,
};
use moorline_rules::ChainSpec;
use moorline_store::Disk;
use moorline_tree::{SyncTrigger, TreeConfig};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    announcing::{Standing, announce},
    bridge::{self, StoredChain},
    finding::Finding,
    metrics::{Metrics, MetricsError, MetricsHandle, Queue},
    observe::{self, Watched},
    overlook::Overlook,
    told_store::ToldStore,
    wiring::{self, Actors, Crashers, Threads, Wired},
};

pub use crate::finding::DiscoverySetup;

/// Events of sessions that may wait before the peer manager's own queue.
const SESSION_EVENTS_MAX: usize = 64;

/// Of the connections that are not with named peers, how many in a hundred the peers may open.
const INBOUND_PERCENT: usize = 60;

/// Sessions that the peer manager counts no more, and that still say goodbye.
const SESSIONS_ENDING_MAX: usize = 16;

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
    /// Peers that are let in whenever they come.
    pub trusted: Vec<NodeRecord>,
    /// Most peers, those aside. The peers may open 60 % of the connections.
    pub peers_max: usize,
    /// What an earlier peer manager wanted to know again.
    pub book: PeerBookReport,
    /// How nodes are looked for, if they are.
    pub discovery: Option<DiscoverySetup>,
    /// Where others see us, if the operator knows.
    pub external_ip: Option<IpAddr>,
    /// What a download may hold and have under way.
    pub budget: Budget,
    /// The lowest block wanted.
    pub floor: u64,
    /// What starts a download.
    pub sync_trigger: SyncTrigger,
    /// Where the Engine API listens, if anywhere, and its secret.
    pub engine: Option<(SocketAddr, JwtSecret)>,
    /// Where JSON-RPC listens, if anywhere, and what it answers.
    pub http: Option<(SocketAddr, Vec<Namespace>)>,
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
            .field("trusted", &self.trusted)
            .field("peers_max", &self.peers_max)
            .field("discovery", &self.discovery)
            .field("external_ip", &self.external_ip)
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
    /// Discovery does not start.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
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
#[derive(Clone, Debug)]
pub struct Started {
    /// By peers.
    pub enode: NodeRecord,
    /// By discovery, and the record that it tells others.
    pub discovery: Option<(SocketAddr, String)>,
    /// By a consensus client.
    pub engine: Option<SocketAddr>,
    /// By JSON-RPC clients.
    pub http: Option<SocketAddr>,
    /// By whoever gathers metrics.
    pub metrics: Option<SocketAddr>,
}

impl Started {
    /// The `enode://` address, with the port of discovery where that is another, as geth writes it.
    pub fn enode_url(&self) -> String {
        match &self.discovery {
            Some((udp, _)) if udp.port() != self.enode.addr.port() => {
                format!("{}?discport={}", self.enode, udp.port())
            }
            _ => self.enode.to_string(),
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    wired: Wired,
    watched: Watched,
    network: NetworkHandle,
    finding: Option<Finding>,
    external_ip: Option<IpAddr>,
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
        // where nobody can come, all slots are for whom we choose
        let inbound_max = config.listen.map_or(0, |_| inbound_share(config.peers_max));
        let peers = PeerManagerConfig {
            static_peers: config.peers.clone(),
            trusted_peers: config.trusted.iter().map(|node| node.id).collect(),
            peers_max: config.peers_max,
            inbound_max,
            book: config.book,
        };
        let (events_in, events_out) = mpsc::channel(SESSION_EVENTS_MAX);
        let store = Arc::new(ToldStore { disk: config.store, all: reporters.all.clone() });
        let actors = Actors { tree, budget: config.budget, peers, store };
        let (wired, session_commands) =
            wiring::wire(actors, &reporters, &config.tracer, Threads::own())?;
        let edges = Edges {
            spec: &spec,
            node_key: config.node_key,
            listen: config.listen,
            sessions_max: config.peers_max.saturating_add(SESSIONS_ENDING_MAX),
            inbound_max,
        };
        let (network, forks) =
            match edges.network(&wired.store.clone().held_by(Lane::Rlpx), events_in).await {
                Ok(started) => started,
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
        let forks_heard = forks.subscribe();
        tokio::spawn(announce(
            watched.clone(),
            wired.store.clone(),
            network.commands.clone(),
            forks,
        ));
        let limits = PeerLimits { peers_max: config.peers_max, inbound_max };
        let mut node = Self {
            wired,
            watched,
            network,
            finding: None,
            external_ip: config.external_ip,
            engine: None,
            http: None,
            metrics: None,
        };
        let edges = async {
            if let Some(setup) = config.discovery {
                node.find_peers(setup, config.node_key, config.listen, forks_heard).await?;
            }
            node.answer_calls(&spec, limits, config.listen, config.http, config.engine).await?;
            node.show_metrics(config.metrics, config.budget).await
        };
        match edges.await {
            Ok(()) => Ok(node),
            // a port in use must not leave half a node behind
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    /// Starts to look for peers.
    async fn find_peers(
        &mut self,
        setup: DiscoverySetup,
        node_key: [u8; 32],
        listen: Option<SocketAddr>,
        forks: watch::Receiver<ForkFilter>,
    ) -> Result<(), NodeError> {
        let tcp_port = listen.map_or(0, |_| self.network.local_record().addr.port());
        let found = self.wired.found.clone();
        let starting = Finding::start(setup, node_key, tcp_port, forks, found);
        // large: it holds the state of two protocols
        self.finding = Some(Box::pin(starting).await?);
        Ok(())
    }

    /// Starts the servers.
    async fn answer_calls(
        &mut self,
        spec: &Arc<ChainSpec>,
        limits: PeerLimits,
        listen: Option<SocketAddr>,
        http: Option<(SocketAddr, Vec<Namespace>)>,
        engine: Option<(SocketAddr, JwtSecret)>,
    ) -> Result<(), NodeError> {
        let (wired, watched) = (&self.wired, &self.watched);
        let eth = EthConfig { spec: Arc::clone(spec), client_version: client_version() };
        let overview = Overlook {
            watched: watched.all.clone(),
            discovery: self.finding.as_ref().map(|finding| (finding.local_addr(), finding.view())),
            record: self.started().enode,
            listening: listen.is_some(),
            network_id: spec.chain_id(),
            genesis: spec.genesis().hash(),
            limits,
        };
        let commands = wired.peer_commands.clone();
        let admin = AdminPorts { commands, overview: Arc::new(overview) };
        // one for each port, so that strangers do not take the places of the consensus client's searches
        let module = || {
            let store = wired.store.clone().held_by(Lane::Rpc);
            let (sync, peers) = (watched.sync.clone(), watched.peers.clone());
            let mut module = eth_module(eth.clone(), store, sync, peers)?;
            module.merge(admin_module(admin.clone())?)?;
            Ok::<_, NodeError>(module)
        };
        if let Some((addr, namespaces)) = http {
            self.http = Some(RpcServer::start(addr, only(module()?, &namespaces)).await?);
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
            Queue::of(&wired.found),
            Queue::of(&wired.peer_commands),
        ]);
        let watched = self.watched.all.clone();
        let unfinished = self.network.unfinished_receipts();
        let discovery = self.finding.as_ref().map(Finding::view);
        let network = self.network.counters();
        let metrics = Metrics { watched, budget, unfinished, network, queues, discovery };
        self.metrics = Some(metrics.serve(addr).await?);
        Ok(())
    }

    /// Where the node can be reached.
    pub fn started(&self) -> Started {
        Started {
            enode: reachable(self.network.local_record(), self.external_ip),
            discovery: self.finding.as_ref().map(|finding| {
                let addr = finding.local_addr();
                (addr, finding.view().enr())
            }),
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

    /// Stops against the flow: calls first, then the search for peers, the work, the sessions, and the
    /// store last.
    pub async fn stop(self) {
        let Self { wired, network, finding, engine, http, metrics, watched, .. } = self;
        if let Some(engine) = engine {
            drop(timeout(STOP_PATIENCE, engine.stop()).await);
        }
        if let Some(http) = http {
            drop(timeout(STOP_PATIENCE, http.stop()).await);
        }
        if let Some(finding) = finding {
            drop(timeout(STOP_PATIENCE, finding.stop()).await);
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

/// Of peers' connections, how many they may open: the others are kept for peers that we choose.
const fn inbound_share(peers_max: usize) -> usize {
    peers_max.saturating_mul(INBOUND_PERCENT).div_ceil(100)
}

/// A node that listens everywhere can be reached on this machine, which is all it knows of itself unless
/// the operator says more.
fn reachable(mut record: NodeRecord, external_ip: Option<IpAddr>) -> NodeRecord {
    if let Some(ip) = external_ip {
        record.addr.set_ip(ip);
    } else if record.addr.ip().is_unspecified() {
        record.addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    record
}

pub(crate) fn client_version() -> String {
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
    ) -> Result<(NetworkHandle, watch::Sender<ForkFilter>), NodeError> {
        let spec = self.spec;
        let standing = Standing::of(store).await?;
        let fork_filter = standing.fork_filter(spec);
        let (forks, _) = watch::channel(fork_filter.clone());
        let config = NetworkConfig {
            client_id: client_version(),
            listen: self.listen,
            terminal_total_difficulty: spec.terminal_total_difficulty(),
            max_sessions: self.sessions_max,
            max_inbound: self.inbound_max,
            ..NetworkConfig::new(self.node_key, spec.chain_id(), spec.genesis().hash(), fork_filter)
        };
        let chain = Arc::new(StoredChain(store.clone()));
        let network = Network::start(config, chain, events)?;
        drop(network.commands.send(standing.announcement()).await);
        Ok((network, forks))
    }
}
