//! The shell: sockets, clock and tasks around the state machines.

#[cfg(test)]
mod tests;

use std::{
    future, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy_eip2124::{ForkFilter, ForkId};
use discv5::{Enr, Event, QueryError};
use futures_util::future::BoxFuture;
use moorline_messages::PeerId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Candidate, DiscoveryConfig, DiscoveryCounters, DiscoveryError, Via,
    counters::SharedCounters,
    discv4::{Discv4, Effect, Input, Now, wire::PACKET_BYTES_MAX},
    dns::{self, SystemResolver, TreeLink, Walk},
    gate::Gate,
    key::NodeKey,
    record::{LocalRecord, SignedRecord},
    v5::V5,
};

/// After an error of the socket, how long until it is read again; and between two looks at it.
const SOCKET_PAUSE: Duration = Duration::from_millis(10);

/// How often to look whether the socket is free, once it should be.
const SOCKET_RELEASE_TRIES: usize = 200;

/// Finding nodes.
#[derive(Debug)]
pub struct Discovery;

impl Discovery {
    /// Listens, and begins to look for nodes. It goes on until the handle is shut down or dropped.
    ///
    /// Must be called within a tokio runtime. Fails where the key is none, the address is taken, a
    /// DNS tree is misspelt, or the system names no DNS resolver.
    pub async fn start(config: DiscoveryConfig) -> Result<DiscoveryHandle, DiscoveryError> {
        let key = NodeKey::new(&config.node_key).ok_or(DiscoveryError::NodeKey)?;
        let (socket, local_addr) = listen(config.listen_addr)?;
        let record = first_record(&config, &key, local_addr)?;
        let counters = SharedCounters::default();
        let (gate, candidates) = Gate::new(
            config.fork_filter.clone(),
            key.id(),
            record.endpoint().ip,
            config.bounds,
            counters.clone(),
            Instant::now().into_std(),
        );
        let gate = Arc::new(Mutex::new(gate));
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if config.mechanisms.dns && !config.dns_trees.is_empty() {
            let dns = walk_lists(&config, gate.clone(), counters.clone(), stop.clone())?;
            tasks.push(tokio::spawn(dns));
        }
        let (told, local) = watch::channel(LocalNode::of(&record));
        let id = key.id();
        let udp =
            Udp::start(&config, key, record, socket, local_addr, gate, counters.clone(), told)
                .await?;
        tasks.push(tokio::spawn(udp.run(config.fork_filter, stop.clone())));
        Ok(DiscoveryHandle { id, local_addr, local, candidates, counters, stop, tasks })
    }
}

/// A running discovery.
#[derive(Debug)]
pub struct DiscoveryHandle {
    id: PeerId,
    local_addr: SocketAddr,
    local: watch::Receiver<LocalNode>,
    candidates: mpsc::Receiver<Candidate>,
    counters: SharedCounters,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl DiscoveryHandle {
    /// Our id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The UDP address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Our record as it is told to others now: `enr:` and base64.
    pub fn enr(&self) -> String {
        self.local.borrow().enr.clone()
    }

    /// Our `enode://` address.
    pub fn enode(&self) -> String {
        self.local.borrow().enode.clone()
    }

    #[cfg(test)]
    pub(crate) fn local_node(&self) -> watch::Receiver<LocalNode> {
        self.local.clone()
    }

    /// The next node that was found. None once discovery has ended.
    pub async fn candidate(&mut self) -> Option<Candidate> {
        self.candidates.recv().await
    }

    /// The queue of nodes found, for who waits for other things too. Afterwards `candidate` gives
    /// none.
    pub fn take_candidates(&mut self) -> mpsc::Receiver<Candidate> {
        let (_, none) = mpsc::channel(1);
        std::mem::replace(&mut self.candidates, none)
    }

    /// What was counted so far.
    pub fn counters(&self) -> DiscoveryCounters {
        self.counters.lock().clone()
    }

    /// What can be asked without the handle.
    pub fn view(&self) -> DiscoveryView {
        DiscoveryView { local: self.local.clone(), counters: self.counters.clone() }
    }

    /// Ends it and waits until the socket is free.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                warn!(%error, "a task of discovery did not end well");
            }
        }
    }
}

/// What a discovery says of itself, for whoever watches. Outlives it.
#[derive(Clone, Debug)]
pub struct DiscoveryView {
    local: watch::Receiver<LocalNode>,
    counters: SharedCounters,
}

impl DiscoveryView {
    /// Our record as it is told to others now: `enr:` and base64.
    pub fn enr(&self) -> String {
        self.local.borrow().enr.clone()
    }

    /// Our `enode://` address.
    pub fn enode(&self) -> String {
        self.local.borrow().enode.clone()
    }

    /// What was counted so far.
    pub fn counters(&self) -> DiscoveryCounters {
        self.counters.lock().clone()
    }
}

impl Drop for DiscoveryHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What we say of ourselves, as text.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode {
    enr: String,
    enode: String,
}

impl LocalNode {
    fn of(record: &LocalRecord) -> Self {
        Self { enr: record.text(), enode: record.enode() }
    }
}

fn listen(addr: SocketAddr) -> Result<(Arc<UdpSocket>, SocketAddr), DiscoveryError> {
    let failed = |source| DiscoveryError::Listen { addr, source };
    let socket = bind(addr).map_err(failed)?;
    let local_addr = socket.local_addr().map_err(failed)?;
    Ok((Arc::new(socket), local_addr))
}

/// An IPv6 socket takes IPv6 only: addresses mapped into it would be other ones to discv5.
fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

fn first_record(
    config: &DiscoveryConfig,
    key: &NodeKey,
    local_addr: SocketAddr,
) -> Result<LocalRecord, DiscoveryError> {
    let particular = Some(local_addr.ip()).filter(|ip| !ip.is_unspecified());
    let fork_id = config.fork_filter.borrow().current();
    // greater than that of any earlier run, without remembering one (as geth has it)
    let seq = u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX);
    let ip = config.external_ip.or(particular);
    LocalRecord::new(key.clone(), ip, local_addr.port(), config.tcp_port, fork_id, seq)
}

fn walk_lists(
    config: &DiscoveryConfig,
    gate: Arc<Mutex<Gate>>,
    counters: SharedCounters,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static + use<>, DiscoveryError> {
    let link =
        |text: &String| text.parse::<TreeLink>().map_err(|_| DiscoveryError::DnsTree(text.clone()));
    let links = config.dns_trees.iter().map(link).collect::<Result<Vec<_>, _>>()?;
    let resolver = match &config.resolver {
        Some(resolver) => resolver.clone(),
        None => Arc::new(SystemResolver::new()?),
    };
    let bounds = config.bounds;
    let now = Instant::now().into_std();
    let walk = Walk::new(links, bounds.dns_recheck_every, rand::random(), now);
    Ok(dns::run(walk, resolver, gate, counters, bounds.dns_requests_per_second, stop))
}

/// Both protocols on the socket.
struct Udp {
    socket: Arc<UdpSocket>,
    record: LocalRecord,
    discv4: Option<Discv4>,
    v5: Option<V5>,
    /// Bootnodes known by `enode://` alone: discv5 learns their records from discv4.
    bootnodes: Vec<PeerId>,
    lookup: Option<BoxFuture<'static, Result<Vec<Enr>, QueryError>>>,
    lookup_at: Instant,
    lookup_every: Duration,
    gate: Arc<Mutex<Gate>>,
    counters: SharedCounters,
    told: watch::Sender<LocalNode>,
}

impl Udp {
    #[allow(clippy::too_many_arguments)]
    async fn start(
        config: &DiscoveryConfig,
        key: NodeKey,
        record: LocalRecord,
        socket: Arc<UdpSocket>,
        local_addr: SocketAddr,
        gate: Arc<Mutex<Gate>>,
        counters: SharedCounters,
        told: watch::Sender<LocalNode>,
    ) -> Result<Self, DiscoveryError> {
        let bounds = &config.bounds;
        let v5 = if config.mechanisms.discv5 {
            let address_is_set = config.external_ip.is_some();
            let v5 = V5::start(&key, &record, local_addr, address_is_set, socket.clone(), bounds);
            let v5 = v5.await?;
            config.bootnodes.iter().filter_map(|node| node.record()).for_each(|node| v5.add(node));
            Some(v5)
        } else {
            None
        };
        let discv4 = config.mechanisms.discv4.then(|| {
            let seeds = config.bootnodes.iter().filter_map(|node| node.seed()).collect();
            Discv4::new(key, &record, seeds, local_addr.is_ipv6(), bounds, rand::random(), now())
        });
        let by_enode = config.bootnodes.iter().filter(|node| node.record().is_none());
        Ok(Self {
            socket,
            record,
            discv4,
            v5,
            bootnodes: by_enode.map(|node| node.id()).collect(),
            lookup: None,
            lookup_at: Instant::now(),
            lookup_every: bounds.lookup_pause(),
            gate,
            counters,
            told,
        })
    }

    async fn run(mut self, mut forks: watch::Receiver<ForkFilter>, stop: CancellationToken) {
        // one byte more than a packet may have, to see that one is too long
        let mut buffer = [0; PACKET_BYTES_MAX + 1];
        let mut forks_end = false;
        loop {
            let wakeup = self.next_wakeup();
            let has_socket = self.v5.is_none();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(wakeup) => self.woken().await,
                changed = forks.changed(), if !forks_end => match changed {
                    Ok(()) => {
                        let fork_id = forks.borrow_and_update().current();
                        self.fork_changed(fork_id).await;
                    }
                    Err(_) => forks_end = true,
                },
                event = next_event(&mut self.v5) => self.event(event).await,
                found = finished(&mut self.lookup) => self.looked_up(found),
                received = self.socket.recv_from(&mut buffer), if has_socket => {
                    self.received(received, &buffer).await;
                }
            }
        }
        if let Some(v5) = &mut self.v5 {
            v5.shutdown();
        }
        self.v5 = None;
        // the tasks of discv5 hold the socket until they have seen that it is over
        for _ in 0..SOCKET_RELEASE_TRIES {
            if Arc::strong_count(&self.socket) == 1 {
                return;
            }
            tokio::time::sleep(SOCKET_PAUSE).await;
        }
        warn!("discv5 still holds the discovery socket");
    }

    async fn received(&mut self, received: io::Result<(usize, SocketAddr)>, buffer: &[u8]) {
        match received {
            Ok((length, from)) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                self.step(Input::Datagram { from, bytes }).await;
            }
            // what an earlier datagram of ours met, such as a closed port
            Err(error) => {
                debug!(%error, "the discovery socket reports an error");
                tokio::time::sleep(SOCKET_PAUSE).await;
            }
        }
    }

    fn next_wakeup(&self) -> Instant {
        let discv4 = self.discv4.as_ref().map(|discv4| Instant::from_std(discv4.next_wakeup()));
        let v5 = (self.v5.is_some() && self.lookup.is_none()).then_some(self.lookup_at);
        let idle = Instant::now().checked_add(self.lookup_every).unwrap_or(self.lookup_at);
        discv4.into_iter().chain(v5).fold(idle, Instant::min)
    }

    async fn woken(&mut self) {
        if let Some(v5) = &self.v5 {
            if self.lookup.is_none() && self.lookup_at <= Instant::now() {
                self.lookup = Some(v5.lookup());
            }
            self.counters.lock().discv5_table_nodes = v5.table_nodes();
        }
        self.step(Input::Wakeup).await;
    }

    fn looked_up(&mut self, found: Result<Vec<Enr>, QueryError>) {
        self.lookup = None;
        let now = Instant::now();
        self.lookup_at = now.checked_add(self.lookup_every).unwrap_or(now);
        match found {
            Ok(found) => found.into_iter().for_each(|enr| self.offer(enr, None)),
            Err(error) => debug!(%error, "a lookup of discv5 ended early"),
        }
    }

    async fn event(&mut self, event: Option<Event>) {
        match event {
            // discv5 has the socket and gives back what it does not know
            Some(Event::UnrecognizedFrame(frame)) => {
                let input = Input::Datagram { from: frame.src_address, bytes: &frame.packet };
                self.step(input).await;
            }
            Some(Event::Discovered(enr)) => self.offer(enr, None),
            Some(Event::SessionEstablished(enr, from)) => self.offer(enr, Some(from.ip())),
            Some(Event::SocketUpdated(seen_at)) => {
                self.gate().seen_from_outside_at(seen_at.ip());
                if let Some(v5) = &self.v5 {
                    self.record.adopt(v5.local_enr());
                    self.record_changed().await;
                }
            }
            Some(_) => {}
            None => {
                warn!("discv5 has ended; discv4 goes on alone");
                self.v5 = None;
                self.lookup = None;
            }
        }
    }

    fn offer(&self, enr: Enr, seen_at: Option<IpAddr>) {
        if let Some(record) = SignedRecord::new(enr) {
            self.offer_record(&record, seen_at, Via::Discv5);
        }
    }

    fn offer_record(&self, record: &SignedRecord, seen_at: Option<IpAddr>, via: Via) {
        self.gate().offer(record, seen_at, via, Instant::now().into_std());
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fork_changed(&mut self, fork_id: ForkId) {
        let signed = match &self.v5 {
            Some(v5) => v5.sign_again(&mut self.record, fork_id),
            None => self.record.set_fork_id(fork_id),
        };
        match signed {
            Ok(true) => self.record_changed().await,
            Ok(false) => {}
            Err(error) => warn!(%error, "the record keeps its old fork"),
        }
    }

    async fn record_changed(&mut self) {
        self.told.send_replace(LocalNode::of(&self.record));
        let record = self.record.clone();
        self.step(Input::Record(&record)).await;
    }

    async fn step(&mut self, input: Input<'_>) {
        let Some(discv4) = &mut self.discv4 else { return };
        let came = u64::from(matches!(input, Input::Datagram { .. }));
        let mut effects = Vec::new();
        discv4.handle(now(), input, &mut effects);
        let mut sent = 0_u64;
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => {
                    sent = sent.saturating_add(1);
                    if let Err(error) = self.socket.send_to(&bytes, to).await {
                        debug!(%to, %error, "a datagram could not be sent");
                    }
                }
                Effect::Found { record, ip } => {
                    if let Some(v5) = &self.v5
                        && self.bootnodes.contains(&record.id())
                    {
                        v5.add(&record);
                    }
                    self.offer_record(&record, Some(ip), Via::Discv4);
                }
            }
        }
        let Some(discv4) = &self.discv4 else { return };
        let mut counters = self.counters.lock();
        counters.discv4_packets_in = counters.discv4_packets_in.saturating_add(came);
        counters.discv4_packets_out = counters.discv4_packets_out.saturating_add(sent);
        counters.discv4_table_nodes = discv4.table_nodes();
        counters.dropped.clone_from(discv4.drops().all());
    }
}

async fn next_event(v5: &mut Option<V5>) -> Option<Event> {
    match v5 {
        Some(v5) => v5.events.recv().await,
        None => future::pending().await,
    }
}

async fn finished(
    lookup: &mut Option<BoxFuture<'static, Result<Vec<Enr>, QueryError>>>,
) -> Result<Vec<Enr>, QueryError> {
    match lookup {
        Some(lookup) => lookup.await,
        None => future::pending().await,
    }
}

fn now() -> Now {
    Now { at: Instant::now().into_std(), unix_s: since_epoch().as_secs() }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
