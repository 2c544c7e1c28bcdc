//! Peers: real TCP listeners on loopback that speak real RLPx and eth.

mod answer;
mod behaviour;
mod session;
mod throttle;

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moorline_messages::NodeRecord;
use moorline_rlpx::{eth::VERSIONS, node_id};
use moorline_rules::ChainSpec;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, task::JoinSet, time::sleep};

use crate::Chain;

pub use behaviour::Behaviour;
#[cfg(test)]
pub(crate) use throttle::Throttle;

/// Most connections that a peer keeps at once.
const MAX_CONNECTIONS: usize = 64;

/// Before the next connection is accepted, after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer's answers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// What the way takes, there and back: requests that come meanwhile are not held up by it.
    pub delay: Duration,
    /// What the peer works on each answer, on one after another, as clients do that serve a peer's
    /// requests in turn.
    pub work: Duration,
}

impl From<Duration> for Pace {
    /// A peer that is far away and works fast.
    fn from(delay: Duration) -> Self {
        Self { delay, work: Duration::ZERO }
    }
}

/// Everything that makes a peer.
#[derive(Clone)]
pub struct PeerConfig {
    /// What it serves.
    pub chain: Arc<dyn Chain>,
    /// The rules of that chain, for its fork id.
    pub spec: Arc<ChainSpec>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// How long its answers take.
    pub pace: Pace,
    /// The versions of eth that it speaks.
    pub versions: Vec<u8>,
    /// Its secp256k1 key, and so its node id.
    pub key: [u8; 32],
    /// The TCP port it listens on; 0 takes a free one.
    pub port: u16,
}

impl PeerConfig {
    /// A peer that behaves well, answers at once and speaks every version of eth we know, under a
    /// random key.
    pub fn new(chain: Arc<dyn Chain>, spec: Arc<ChainSpec>) -> Self {
        Self {
            chain,
            spec,
            behaviour: Behaviour::Honest,
            pace: Pace::default(),
            versions: VERSIONS.to_vec(),
            key: moorline_rlpx::random_key(),
            port: 0,
        }
    }
}

/// What a peer has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// TCP connections that it accepted.
    pub connections: u64,
    /// Of those, how many are open now.
    pub open: u64,
    /// Requests for headers, bodies and receipts that it got.
    pub requests: u64,
    /// Headers that it sent, forged and repeated ones included.
    pub headers: u64,
    /// Bodies that it sent.
    pub bodies: u64,
    /// Blocks whose receipts it sent, all or some of them.
    pub receipts: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    headers: AtomicU64,
    bodies: AtomicU64,
    receipts: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A peer that is running. Dropping it stops it.
#[derive(Debug)]
pub struct Peer {
    record: NodeRecord,
    behaviour: Behaviour,
    pace: Pace,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

impl Peer {
    /// Starts a peer on 127.0.0.1, on the current tokio runtime.
    pub async fn start(config: PeerConfig) -> io::Result<Self> {
        let id = node_id(&config.key).map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let record = NodeRecord { id, addr: listener.local_addr()? };
        let counters = Arc::new(Counters::default());
        let (behaviour, pace) = (config.behaviour, config.pace);
        let accepting = tokio::spawn(accept(listener, Arc::new(config), Arc::clone(&counters)));
        Ok(Self { record, behaviour, pace, counters, accepting })
    }

    /// Starts an honest peer.
    pub async fn honest(
        chain: Arc<dyn Chain>,
        spec: Arc<ChainSpec>,
        delay: Duration,
    ) -> io::Result<Self> {
        Self::start(PeerConfig { pace: delay.into(), ..PeerConfig::new(chain, spec) }).await
    }

    /// Where to dial it.
    pub const fn record(&self) -> NodeRecord {
        self.record
    }

    /// How it behaves.
    pub const fn behaviour(&self) -> Behaviour {
        self.behaviour
    }

    /// How long its answers take.
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// What it has done so far.
    pub fn stats(&self) -> PeerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerStats {
            connections: read(&self.counters.connections),
            open: read(&self.counters.open),
            requests: read(&self.counters.requests),
            headers: read(&self.counters.headers),
            bodies: read(&self.counters.bodies),
            receipts: read(&self.counters.receipts),
        }
    }

    /// Closes its port and every connection, without a goodbye. Its counters stay readable.
    pub fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts a connection as open for as long as it lives, aborted or not.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        count(&counters.connections, 1);
        count(&counters.open, 1);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, config: Arc<PeerConfig>, counters: Arc<Counters>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // dropped with this task, and every connection with it
    let mut sessions = JoinSet::new();
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // a caller that gave up, or no file to spare: neither ends the others' sessions
                tracing::debug!(%error, "a devnet peer cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = Open::new(Arc::clone(&counters));
        let config = Arc::clone(&config);
        sessions.spawn(async move {
            let ended = session::serve(stream, &config, &open.0).await;
            tracing::debug!(%from, behaviour = %config.behaviour, ?ended, "a devnet peer's session is over");
            drop((open, slot));
        });
        while sessions.try_join_next().is_some() {}
    }
}
