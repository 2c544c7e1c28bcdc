//! Who is connected to whom. Reads like the picture in `docs/src/architecture.md`.

use std::sync::Arc;

use crate::{metrics::Queue, observe::Reporters};
use actix_rt::{Arbiter, ArbiterHandle};
use moorline_downloader::{Budget, DownloaderActor, DownloaderConfig};
use moorline_engine_api::TreePort;
use moorline_kit::{
    ArbiterStopped, Ask, AskError, Crash, Inbox, Limit, Port, RestartPolicy, Slot, Stop, Tracer,
    Watchers,
};
use moorline_messages::{
    ActorName, DiscoveryEvent, Lane, Lifecycle, PeerCommand, SessionCommand, SessionEvent,
};
use moorline_peer_manager::{PeerManagerActor, PeerManagerConfig};
use moorline_rpc::StorePort;
use moorline_store::{Backend, StoreActor, StoreConfig};
use moorline_tree::{TreeActor, TreeConfig};

/// Bound of queues whose messages are small.
const SMALL: Limit = Limit { items: 1_024, bytes: 16 << 20 };
/// Bound of queues that carry blocks.
const BLOCKS: Limit = Limit { items: 512, bytes: 128 << 20 };
/// Bound of deliveries to the tree, which wait there while the disk is behind.
const DELIVERIES: Limit = Limit { items: 64, bytes: 16 << 20 };
/// Bound of queues for orders and news of actors.
const ORDERS: Limit = Limit { items: 16, bytes: 1 };

/// How the four actors are set up.
#[derive(Debug)]
pub(crate) struct Actors {
    pub(crate) tree: TreeConfig,
    pub(crate) budget: Budget,
    pub(crate) peers: PeerManagerConfig,
    pub(crate) store: Arc<dyn Backend>,
}

/// What the edges hold of the actors.
#[derive(Debug)]
pub(crate) struct Wired {
    pub(crate) tree: TreePort,
    pub(crate) store: StorePort,
    pub(crate) session_events: Port<SessionEvent>,
    /// Nodes that discovery found.
    pub(crate) found: Port<DiscoveryEvent>,
    /// What the operator orders while the node runs.
    pub(crate) peer_commands: Port<PeerCommand>,
    pub(crate) crashers: Crashers,
    pub(crate) stops: Stops,
    /// The ports between the actors, for whoever measures how much waits in them.
    pub(crate) queues: Vec<Queue>,
    /// Dropping an arbiter's owner does not end it; stopping it does.
    arbiters: Vec<Arbiter>,
}

/// Orders an actor to panic: how a demonstration shows what supervision is worth.
#[derive(Clone, Debug)]
pub struct Crashers([(ActorName, Port<Crash>); 4]);

impl Crashers {
    /// Makes one actor panic. Returns whether the order was taken.
    pub fn crash(&self, actor: ActorName) -> bool {
        let port = self.0.iter().find(|(name, _)| *name == actor);
        port.is_some_and(|(_, port)| port.tell(Crash).is_ok())
    }
}

type StopPort = Port<Ask<Stop, ()>>;

/// The order in which actors stop: against the flow, the store last.
#[derive(Debug)]
pub(crate) struct Stops {
    tree: StopPort,
    downloader: StopPort,
    peer_manager: StopPort,
    store: StopPort,
}

impl Stops {
    /// Stops whoever makes work, then whoever does it. The store is told apart, after the sessions
    /// are closed.
    pub(crate) async fn stop_workers(&self) {
        for worker in [&self.tree, &self.downloader, &self.peer_manager] {
            // one that was given up has nothing left to finish, and the others still have
            worker.ask(Stop).await.ok();
        }
    }

    pub(crate) async fn stop_store(&self) -> Result<(), AskError> {
        self.store.ask(Stop).await
    }
}

impl Wired {
    /// Ends the arbiters' threads, once the actors have stopped.
    pub(crate) fn end(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            drop(arbiter.join());
        }
    }
}

/// Where the actors run.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Of the actors in the order of [`ActorName::ALL`].
    handles: [ArbiterHandle; 4],
    arbiters: Vec<Arbiter>,
}

impl Threads {
    /// Each on a thread of its own.
    pub(crate) fn own() -> Self {
        let arbiters = ActorName::ALL.map(|_| Arbiter::new());
        Self { handles: arbiters.each_ref().map(Arbiter::handle), arbiters: arbiters.into() }
    }
}

/// Builds the four actors, and the inbox of what they order of the devp2p edge. Must be called on an
/// actix system.
pub(crate) fn wire(
    config: Actors,
    reporters: &Reporters,
    tracer: &Tracer,
    threads: Threads,
) -> Result<(Wired, Inbox<SessionCommand>), ArbiterStopped> {
    let tree = Slot::<TreeActor>::traced(ActorName::Tree, tracer.clone());
    let downloader = Slot::<DownloaderActor>::traced(ActorName::Downloader, tracer.clone());
    let peer_manager = Slot::<PeerManagerActor>::traced(ActorName::PeerManager, tracer.clone());
    let store = Slot::<StoreActor>::traced(ActorName::Store, tracer.clone());
    let (sessions, session_commands) = Port::channel("session commands", SMALL);
    let sessions = sessions.traced(tracer, Lane::Rlpx);

    let tree_ports = moorline_tree::Ports {
        download: downloader.port("downloads", SMALL),
        store: store.port("store requests of the tree", BLOCKS),
        status: Some(reporters.tree.clone()),
    };
    let downloader_ports = moorline_downloader::Ports {
        outcomes: tree.port("download outcomes", DELIVERIES),
        fetches: peer_manager.port("fetches", SMALL),
        commands: peer_manager.port("fetch commands", SMALL),
        reports: peer_manager.port("peer reports", SMALL),
        store: store.port("store requests of the downloader", BLOCKS),
        progress: reporters.progress.clone(),
    };
    let peer_manager_ports = moorline_peer_manager::Ports {
        fetched: downloader.port("fetched", BLOCKS),
        sessions,
        peers: reporters.peers.clone(),
        book: reporters.book.clone(),
    };
    let store_ports = moorline_store::Ports {
        tree: tree.port("store outcomes for the tree", BLOCKS),
        downloader: downloader.port("store outcomes for the downloader", BLOCKS),
    };

    let queues = vec![
        Queue::of(&tree_ports.download),
        Queue::of(&tree_ports.store),
        Queue::of(&downloader_ports.outcomes),
        Queue::of(&downloader_ports.fetches),
        Queue::of(&downloader_ports.commands),
        Queue::of(&downloader_ports.reports),
        Queue::of(&downloader_ports.store),
        Queue::of(&peer_manager_ports.fetched),
        Queue::of(&store_ports.tree),
        Queue::of(&store_ports.downloader),
    ];

    let news = |neighbours: Vec<Port<Lifecycle>>| Watchers {
        neighbours: [neighbours, vec![reporters.lifecycle.clone()]].concat(),
        gave_up: reporters.gave_up.clone(),
    };
    let news_of_tree = news(vec![downloader.port("news", ORDERS)]);
    let news_of_downloader =
        news(vec![tree.port("news", ORDERS), peer_manager.port("news", ORDERS)]);
    let news_of_peer_manager = news(vec![downloader.port("news", ORDERS)]);
    let news_of_store = news(vec![tree.port("news", ORDERS), downloader.port("news", ORDERS)]);

    let wired = Wired {
        tree: tree.port("consensus client", BLOCKS).held_by(Lane::EngineApi),
        store: store.port("store queries", SMALL),
        session_events: peer_manager.port("session events", BLOCKS).held_by(Lane::Rlpx),
        found: peer_manager.port("nodes found", SMALL).held_by(Lane::Rlpx),
        peer_commands: peer_manager.port("peer commands", ORDERS).held_by(Lane::Rpc),
        crashers: Crashers([
            (ActorName::Tree, tree.port("orders", ORDERS)),
            (ActorName::Downloader, downloader.port("orders", ORDERS)),
            (ActorName::PeerManager, peer_manager.port("orders", ORDERS)),
            (ActorName::Store, store.port("orders", ORDERS)),
        ]),
        stops: Stops {
            tree: tree.port("stop", ORDERS),
            downloader: downloader.port("stop", ORDERS),
            peer_manager: peer_manager.port("stop", ORDERS),
            store: store.port("stop", ORDERS),
        },
        queues,
        arbiters: threads.arbiters,
    };
    let [for_tree, for_downloader, for_peer_manager, for_store] = &threads.handles;

    let policy = RestartPolicy::default();
    let Actors { tree: tree_config, budget, peers, store: backend } = config;
    let spec = Arc::clone(&tree_config.spec);
    store.start(for_store, policy, news_of_store, move || {
        StoreActor::new(StoreConfig::new(backend), store_ports)
    })?;
    peer_manager.start(for_peer_manager, policy, news_of_peer_manager, move || {
        PeerManagerActor::new(peers, peer_manager_ports)
    })?;
    downloader.start(for_downloader, policy, news_of_downloader, move || {
        DownloaderActor::new(DownloaderConfig { spec, budget }, downloader_ports)
    })?;
    tree.start(for_tree, policy, news_of_tree, move || TreeActor::new(tree_config, tree_ports))?;
    Ok((wired, session_commands))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod situations;
