//! The network: a listener, a dialler, and the sessions that come of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_eip2124::ForkFilter;
use alloy_primitives::{B256, U256};
use moorline_messages::{
    AnnouncedRange, CloseReason, Direction, DisconnectReason, NodeRecord, PeerId, PeerInfo,
    SessionCommand, SessionEvent, SessionId,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    ChainSource, Connection, ConnectionError, KeyError, LocalStatus, NetworkCounters, Timeouts,
    admission::Origin,
    connection,
    eth::{self, Status},
    frame::FrameError,
    listener::Listener,
    local::{self, LocalChain},
    node_id,
    p2p::Hello,
    parts::UnfinishedReceipts,
    registry::Registry,
    session::Session,
};

/// Most commands that wait for the network.
const COMMAND_QUEUE: usize = 1024;

/// How a network is set up.
#[derive(Clone)]
pub struct NetworkConfig {
    /// Secret key of this node.
    pub node_key: [u8; 32],
    /// What this node calls itself.
    pub client_id: String,
    /// Where to listen, if anywhere; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// The network's id, on public networks the chain id.
    pub network_id: u64,
    /// The genesis block.
    pub genesis: B256,
    /// The fork schedule, standing at the current head (EIP-2124).
    pub fork_filter: ForkFilter,
    /// The total difficulty at which the chain merged, which eth/68 peers are told.
    pub terminal_total_difficulty: U256,
    /// Most sessions that peers opened.
    pub max_inbound: usize,
    /// Most sessions altogether.
    pub max_sessions: usize,
    /// Most connections in the middle of a handshake that peers opened.
    pub max_pending_handshakes: usize,
    /// Shortest time between two connections from one address, and the time in which one subnet may
    /// connect [`MAX_CONNECTIONS_PER_SUBNET`](crate::MAX_CONNECTIONS_PER_SUBNET) times. Does not apply
    /// to loopback, nor to private subnets as such.
    pub inbound_throttle: Option<Duration>,
    /// The versions of eth to offer; those this crate does not speak are left out.
    pub versions: Vec<u8>,
    /// How long everything may take.
    pub timeouts: Timeouts,
}

impl std::fmt::Debug for NetworkConfig {
    /// Everything that may be shown, which the key may not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkConfig")
            .field("client_id", &self.client_id)
            .field("listen", &self.listen)
            .field("network_id", &self.network_id)
            .field("genesis", &self.genesis)
            .field("max_inbound", &self.max_inbound)
            .field("max_sessions", &self.max_sessions)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl NetworkConfig {
    /// Usual settings: a free port on 127.0.0.1, 50 sessions of which peers may open 30, all
    /// versions of eth.
    pub fn new(
        node_key: [u8; 32],
        network_id: u64,
        genesis: B256,
        fork_filter: ForkFilter,
    ) -> Self {
        Self {
            node_key,
            client_id: concat!("moorline/v", env!("CARGO_PKG_VERSION")).to_owned(),
            listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
            network_id,
            genesis,
            fork_filter,
            terminal_total_difficulty: U256::ZERO,
            max_inbound: 30,
            max_sessions: 50,
            max_pending_handshakes: 50,
            inbound_throttle: Some(Duration::from_secs(30)),
            versions: eth::VERSIONS.to_vec(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Why a network cannot start.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The node key is no key.
    #[error("the node key is not usable: {0}; delete the key file to have a new one made")]
    Key(#[from] KeyError),
    /// The listener's address cannot be had.
    #[error("cannot listen on {addr}: {error}; choose another port, or stop whatever uses it")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Nothing in `versions` is known.
    #[error("none of the eth versions asked for is spoken here; 68, 69 and 70 are")]
    Versions,
}

/// The devp2p edge.
#[derive(Debug)]
pub struct Network;

impl Network {
    /// Starts to listen and to take commands. Must be called within a tokio runtime.
    pub fn start(
        config: NetworkConfig,
        chain: Arc<dyn ChainSource>,
        events: mpsc::Sender<SessionEvent>,
    ) -> Result<NetworkHandle, NetworkError> {
        let id = node_id(&config.node_key)?;
        let mut versions = config.versions.clone();
        versions.retain(|version| eth::message_count(*version).is_some());
        if versions.is_empty() {
            return Err(NetworkError::Versions);
        }
        let socket = config.listen.map(bind).transpose()?;
        let addr = socket.as_ref().map_or((Ipv4Addr::UNSPECIFIED, 0).into(), |(_, addr)| *addr);
        let range = AnnouncedRange { earliest: 0, latest: 0, latest_hash: config.genesis };
        let initial =
            LocalChain { range, head: config.genesis, fork_filter: config.fork_filter.clone() };
        let (local_sender, local) = watch::channel(initial);
        let (announce, announced) = watch::channel((range, config.genesis));
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let shared = Arc::new(Shared {
            hello: Hello::new(&config.client_id, &versions, addr.port(), id),
            registry: Arc::new(Registry::new(id, config.max_inbound, config.max_sessions)),
            config,
            chain: Arc::clone(&chain),
            events,
            unfinished: UnfinishedReceipts::default(),
            counters: NetworkCounters::default(),
            local,
            next_session: AtomicU64::new(1),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.spawn(local::follow(chain, announced, local_sender, shared.stop.clone()));
        shared.spawn(obey(Arc::clone(&shared), command_queue, announce));
        if let Some((socket, _)) = socket {
            shared.spawn(Listener::new(Arc::clone(&shared)).run(socket));
        }
        let record = NodeRecord { id, addr };
        debug!(%record, "devp2p network started");
        Ok(NetworkHandle { commands, record, shared })
    }
}

fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), NetworkError> {
    let listening = std::net::TcpListener::bind(addr).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        Ok((TcpListener::from_std(socket)?, addr))
    });
    listening.map_err(|error| NetworkError::Listen { addr, error })
}

/// A running network.
#[derive(Debug)]
pub struct NetworkHandle {
    /// Where commands go.
    pub commands: mpsc::Sender<SessionCommand>,
    record: NodeRecord,
    shared: Arc<Shared>,
}

impl NetworkHandle {
    /// Where this node can be reached. Without a listener the address is 0.0.0.0:0.
    pub const fn local_record(&self) -> NodeRecord {
        self.record
    }

    /// What is kept of blocks whose receipts have come in part. Outlives the network.
    pub fn unfinished_receipts(&self) -> UnfinishedReceipts {
        self.shared.unfinished.clone()
    }

    /// What it counts. Outlives the network.
    pub fn counters(&self) -> NetworkCounters {
        self.shared.counters.clone()
    }

    /// Says goodbye to all peers. Takes no longer than [`Timeouts::goodbye`].
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if timeout(self.shared.config.timeouts.goodbye, self.shared.tasks.wait()).await.is_err() {
            debug!("some sessions did not end in time");
        }
    }
}

impl Drop for NetworkHandle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel();
    }
}

/// What listener, dialler and sessions have in common.
pub(crate) struct Shared {
    pub(crate) config: NetworkConfig,
    pub(crate) hello: Hello,
    pub(crate) stop: CancellationToken,
    pub(crate) counters: NetworkCounters,
    chain: Arc<dyn ChainSource>,
    events: mpsc::Sender<SessionEvent>,
    unfinished: UnfinishedReceipts,
    local: watch::Receiver<LocalChain>,
    registry: Arc<Registry>,
    next_session: AtomicU64,
    /// Ends what is left once the time for goodbyes is over.
    kill: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("id", &self.hello.id).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => {}
                () = work => {}
            }
        });
    }

    async fn tell(&self, event: SessionEvent) {
        // whoever listened may be gone at shutdown; then there is nobody to tell
        let _ = self.events.send(event).await;
    }

    fn local_status(&self) -> LocalStatus {
        let local = self.local.borrow();
        LocalStatus {
            network_id: self.config.network_id,
            genesis: self.config.genesis,
            fork_id: local.fork_filter.current(),
            total_difficulty: self.config.terminal_total_difficulty,
            range: local.range,
            head: local.head,
        }
    }

    /// Whether this Status is of our network.
    fn judge(&self, status: &Status) -> Result<(), ConnectionError> {
        let elsewhere = |text: String| Err(ConnectionError::OtherNetwork(text));
        if status.network_id != self.config.network_id {
            let ours = self.config.network_id;
            return elsewhere(format!("its network id is {}, ours {ours}", status.network_id));
        }
        if status.genesis != self.config.genesis {
            let ours = self.config.genesis;
            return elsewhere(format!("its genesis is {}, ours {ours}", status.genesis));
        }
        let judged = self.local.borrow().fork_filter.validate(status.fork_id);
        judged.or_else(|error| elsewhere(error.to_string()))
    }

    /// Takes a connection on which hello was said to where a session can begin.
    pub(crate) async fn establish(
        &self,
        mut connection: Connection<TcpStream>,
        addr: SocketAddr,
        direction: Direction,
        deadline: Instant,
    ) -> Result<Session, ConnectionError> {
        let peer = connection.peer().id;
        let origin = (direction == Direction::Inbound).then(|| Origin::of(addr.ip()));
        let claimed = self.registry.claim(peer, origin).map_err(ConnectionError::Local);
        let local = self.local_status();
        let met = async {
            let slot = claimed?;
            let ours = local.at(connection.version());
            let status = by(deadline, connection.exchange_status(&ours)).await?;
            self.judge(&status)?;
            slot.settle().map_err(ConnectionError::Local)?;
            Ok((slot, status))
        };
        let (slot, status) = match met.await {
            Ok(met) => met,
            Err(error) => {
                if let Some(reason) = ConnectionError::disconnect_reason(&error) {
                    connection.disconnect(reason).await;
                }
                return Err(error);
            }
        };
        let peer = PeerInfo {
            id: peer,
            addr,
            direction,
            client: connection.peer().client.clone(),
            eth_version: connection.version(),
            range: status.range(),
        };
        Ok(Session {
            id: SessionId(self.next_session.fetch_add(1, Ordering::Relaxed)),
            peer,
            connection,
            slot,
            chain: Arc::clone(&self.chain),
            events: self.events.clone(),
            unfinished: self.unfinished.clone(),
            counters: self.counters.clone(),
            local: self.local.clone(),
            told: local.range,
            stop: self.stop.clone(),
            timeouts: self.config.timeouts,
        })
    }

    async fn dial(&self, node: NodeRecord) {
        let session = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                Err(ConnectionError::Local(DisconnectReason::ClientQuitting))
            }
            session = self.try_dial(node) => session,
        };
        match session {
            Ok(session) => session.run().await,
            Err(error) => {
                debug!(%node, %error, "dial failed");
                self.counters.count_failed(Direction::Outbound, &error);
                let reason = reason_of_dial(error);
                self.tell(SessionEvent::DialFailed { node, reason }).await;
            }
        }
    }

    async fn try_dial(&self, node: NodeRecord) -> Result<Session, ConnectionError> {
        if node.id == self.own_id() {
            return Err(ConnectionError::Local(DisconnectReason::SelfConnection));
        }
        let _dial = self.registry.begin_dial(node.id).map_err(ConnectionError::Local)?;
        let (key, timeouts) = (&self.config.node_key, &self.config.timeouts);
        let stream = connection::connect(node.addr, timeouts).await?;
        let deadline = timeouts.meeting_deadline();
        let initiating = Connection::initiate(stream, node.id, key, &self.hello, timeouts);
        let connection = by(deadline, initiating).await?;
        self.establish(connection, node.addr, Direction::Outbound, deadline).await
    }

    const fn own_id(&self) -> PeerId {
        self.hello.id
    }
}

/// Work of a meeting, which has to be over by then.
pub(crate) async fn by<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    timeout_at(deadline, work).await.map_err(|_| ConnectionError::Silent("the meeting"))?
}

/// Why a dial came to nothing. Whoever did not prove to be the node that was dialled may be anybody, whom
/// a record of somebody else's only named: it is not for the node to answer for.
fn reason_of_dial(error: ConnectionError) -> CloseReason {
    match error {
        ConnectionError::Handshake(_) | ConnectionError::Frame(FrameError::Mac) => {
            let why = "whoever answers there does not prove to be the node that was dialled";
            CloseReason::Network(why.to_owned())
        }
        error => CloseReason::from(error),
    }
}

/// Carries out commands until nobody can send any, or the network stops.
async fn obey(
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<SessionCommand>,
    announce: watch::Sender<(AnnouncedRange, B256)>,
) {
    loop {
        let command = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            command = commands.recv() => command,
        };
        match command {
            None => return,
            Some(SessionCommand::Dial { node }) => {
                let dialler = Arc::clone(&shared);
                shared.spawn(async move { dialler.dial(node).await });
            }
            Some(SessionCommand::Fetch { session, request, items }) => {
                // a session that is over says, or said, so itself
                let Some(link) = shared.registry.link(session) else { continue };
                if link.fetches.try_send((request, items)).is_err() {
                    let _ = link.closing.try_send(DisconnectReason::PingTimeout);
                }
            }
            Some(SessionCommand::Disconnect { session, reason }) => {
                if let Some(link) = shared.registry.link(session) {
                    // full means that it is closing already
                    let _ = link.closing.try_send(reason);
                }
            }
            Some(SessionCommand::AnnounceRange { range, tip }) => {
                announce.send_replace((range, tip.hash));
            }
            Some(SessionCommand::Favour { peers }) => shared.registry.favour(peers),
            Some(SessionCommand::Introduce) => shared.registry.introduce_all(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod rig;
#[cfg(test)]
mod tests;
