//! Connections that peers open. Nothing is known of them, so little is spent on them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use moorline_messages::Direction;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use crate::{Connection, ConnectionError, network::Shared, session::Session};

/// Pause after the system refuses us a connection, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most addresses remembered by the throttle; while it is full, unknown ones are turned away.
const MAX_THROTTLED: usize = 4096;

pub(crate) struct Listener {
    shared: Arc<Shared>,
    handshakes: Arc<Semaphore>,
    throttle: Throttle,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let handshakes = Arc::new(Semaphore::new(shared.config.max_pending_handshakes));
        let throttle = Throttle::new(shared.config.inbound_throttle);
        Self { shared, handshakes, throttle }
    }

    pub(crate) async fn run(mut self, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => self.admit(stream, addr),
                Err(error) => {
                    warn!(%error, "cannot take a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        if !self.throttle.admits(addr.ip(), Instant::now()) {
            debug!(%addr, "turned away: connects too often");
            return;
        }
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            debug!(%addr, "turned away: too many handshakes under way");
            return;
        };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            match meet(&shared, stream, addr, permit).await {
                Ok(session) => session.run().await,
                Err(error) => debug!(%addr, %error, "no session came of a connection"),
            }
        });
    }
}

/// Shakes hands with whoever connected; the permit comes free at the end of it.
async fn meet(
    shared: &Shared,
    stream: TcpStream,
    addr: SocketAddr,
    _permit: OwnedSemaphorePermit,
) -> Result<Session, ConnectionError> {
    let meeting = async {
        stream.set_nodelay(true)?;
        let (key, timeouts) = (&shared.config.node_key, &shared.config.timeouts);
        let connection = Connection::accept(stream, key, &shared.hello, timeouts).await?;
        shared.establish(connection, addr, Direction::Inbound).await
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {
            Err(ConnectionError::Local(moorline_messages::DisconnectReason::ClientQuitting))
        }
        met = meeting => met,
    }
}

/// Keeps one address from connecting all the time.
struct Throttle {
    period: Option<Duration>,
    seen: BTreeMap<IpAddr, Instant>,
}

impl Throttle {
    fn new(period: Option<Duration>) -> Self {
        Self { period, seen: BTreeMap::new() }
    }

    fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        let ip = ip.to_canonical();
        let Some(period) = self.period else { return true };
        if ip.is_loopback() {
            return true;
        }
        let recent = |seen: &Instant| now.saturating_duration_since(*seen) < period;
        if self.seen.get(&ip).is_some_and(recent) {
            return false;
        }
        if self.seen.len() >= MAX_THROTTLED {
            self.seen.retain(|_, seen| recent(seen));
        }
        let room = self.seen.len() < MAX_THROTTLED;
        if room {
            self.seen.insert(ip, now);
        }
        room
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_may_connect_once_in_a_period_and_loopback_always() {
        let period = Duration::from_secs(30);
        let mut throttle = Throttle::new(Some(period));
        let start = Instant::now();
        let stranger = IpAddr::from([192, 0, 2, 1]);
        assert!(throttle.admits(stranger, start));
        assert!(!throttle.admits(stranger, start + Duration::from_secs(29)));
        assert!(throttle.admits(stranger, start + period));
        for _ in 0..3 {
            assert!(throttle.admits(Ipv4Addr::LOCALHOST.into(), start));
        }
    }

    #[test]
    fn the_throttle_forgets_nobody_early_and_grows_no_further_than_its_bound() {
        let mut throttle = Throttle::new(Some(Duration::from_secs(30)));
        let start = Instant::now();
        let turned_away = (0..4200_u32)
            .filter(|at| !throttle.admits(Ipv4Addr::from(0x0b00_0000 + at).into(), start))
            .count();
        assert_eq!(turned_away, 4200 - MAX_THROTTLED);
    }
}
