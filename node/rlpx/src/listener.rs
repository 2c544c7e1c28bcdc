//! Connections that peers open. Nothing is known of them, so little is spent on them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use moorline_messages::Direction;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use crate::{
    Connection, ConnectionError, TurnedAway,
    admission::{Origin, Throttle},
    network::{Shared, by},
    session::Session,
};

/// Pause after the system refuses us a connection, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

    /// Takes a connection, or closes it.
    pub(crate) fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        let permit = match self.permit(addr) {
            Ok(permit) => permit,
            Err(why) => {
                debug!(%addr, reason = why.label(), "a connection was turned away");
                self.shared.counters.count_turned_away(why);
                return;
            }
        };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            match meet(&shared, stream, addr, permit).await {
                Ok(session) => session.run().await,
                Err(error) => {
                    debug!(%addr, %error, "no session came of a connection");
                    shared.counters.count_failed(Direction::Inbound, &error);
                }
            }
        });
    }

    /// Leave to shake hands.
    fn permit(&mut self, addr: SocketAddr) -> Result<OwnedSemaphorePermit, TurnedAway> {
        // first, so that whoever is turned away for want of room may try again at once
        let permit = Arc::clone(&self.handshakes).try_acquire_owned();
        let permit = permit.map_err(|_| TurnedAway::Handshakes)?;
        self.throttle.admit(Origin::of(addr.ip()), Instant::now())?;
        Ok(permit)
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
        let deadline = timeouts.meeting_deadline();
        let accepting = Connection::accept(stream, key, &shared.hello, timeouts);
        let connection = by(deadline, accepting).await?;
        shared.establish(connection, addr, Direction::Inbound, deadline).await
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {
            Err(ConnectionError::Local(moorline_messages::DisconnectReason::ClientQuitting))
        }
        met = meeting => met,
    }
}
