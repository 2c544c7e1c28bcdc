//! The server: where it listens, what it allows, how it ends.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use jsonrpsee::{
    RpcModule,
    server::{
        BatchRequestConfig, ServerBuilder, ServerConfig,
        middleware::http::{AuthorityError, HostFilterLayer},
        stop_channel,
    },
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tower::util::BoxCloneSyncService;

use crate::{Answering, calls::Calls, connection};

/// Names a port may be called by on this machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost:*", "127.0.0.1:*", "[::1]:*"];

/// What may be in memory and open at a time.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections; one more waits until another ends.
    pub connections_max: usize,
    /// Largest body of a request, in bytes.
    pub request_max_bytes: u32,
    /// Largest body of an answer, in bytes.
    pub answer_max_bytes: u32,
    /// Calls in one batch.
    pub batch_calls_max: u32,
    /// Answers that are made or sent. Times their largest size, this is what they may weigh.
    pub answers_max: usize,
}

/// How long a client may take, and how long it is kept waiting.
#[derive(Clone, Copy, Debug)]
pub struct HttpPatience {
    /// Over the head of its first request.
    pub head: Duration,
    /// Over the body of a request.
    pub body: Duration,
    /// For a place among the answers, before it is told to come back (HTTP status 503).
    pub room: Duration,
    /// For the answer to a request, all calls of a batch together, before it is told so (HTTP status 503).
    pub make: Duration,
    /// Over reading an answer.
    pub send: Duration,
    /// Between an answer and the end of the next request's head.
    pub idle: Duration,
}

impl Default for HttpPatience {
    /// Heads and idle connections as geth has them; the largest answer at 9 Mbit/s.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            room: Duration::from_secs(10),
            make: Duration::from_secs(120),
            send: Duration::from_secs(60),
            idle: Duration::from_secs(120),
        }
    }
}

/// A JSON-RPC server over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpServer;

/// A server that stands. Dropping it ends the server too, without waiting.
#[derive(Debug)]
pub struct HttpHandle {
    local_addr: SocketAddr,
    ended: watch::Sender<()>,
}

impl HttpServer {
    /// Listens on `addr` and serves the methods behind what `gates` puts in front of them. What the gates
    /// start lasts as long as the receiver they are given has not changed and its sender is there, and
    /// [`HttpHandle::stop`] waits until they have dropped it. Must be called on a tokio runtime, which then
    /// runs the connections.
    ///
    /// # Errors
    /// The port could not be had.
    pub async fn start(
        addr: SocketAddr,
        limits: HttpLimits,
        patience: HttpPatience,
        module: RpcModule<()>,
        gates: impl FnOnce(Answering, watch::Receiver<()>) -> Answering,
    ) -> io::Result<HttpHandle> {
        let listener = TcpListener::bind(addr).await?;
        let local_addr = listener.local_addr()?;
        let (ended, seen) = watch::channel(());
        let calls = Calls {
            inner: methods(limits, module),
            room: Arc::new(Semaphore::new(limits.answers_max)),
            request_max_bytes: limits.request_max_bytes,
            patience,
        };
        let service = gates(BoxCloneSyncService::new(calls), seen.clone());
        tokio::spawn(connection::accept(listener, limits.connections_max, service, patience, seen));
        Ok(HttpHandle { local_addr, ended })
    }
}

/// The methods as a service. jsonrpsee's own count of connections is one of requests, and says no where
/// ours waits.
fn methods(limits: HttpLimits, module: RpcModule<()>) -> Answering {
    let config = ServerConfig::builder()
        .http_only()
        .max_request_body_size(limits.request_max_bytes)
        .max_response_body_size(limits.answer_max_bytes)
        .max_connections(u32::MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(limits.batch_calls_max))
        .build();
    let (stop, _) = stop_channel();
    let builder = ServerBuilder::with_config(config).to_service_builder();
    BoxCloneSyncService::new(builder.build(module, stop))
}

impl HttpHandle {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the server: no new connections, and those that stand finish the call they are at.
    pub async fn stop(self) {
        self.ended.send_replace(());
        self.ended.closed().await;
    }
}

/// Lets requests through that call the port by a name of this machine or by the address it is bound to:
/// another name in `Host` is a web page that was rebound to it.
///
/// # Errors
/// The address is no host that a request could name.
pub fn local_hosts(addr: SocketAddr) -> Result<HostFilterLayer, AuthorityError> {
    let bound = match addr {
        SocketAddr::V4(v4) => format!("{}:*", v4.ip()),
        SocketAddr::V6(v6) => format!("[{}]:*", v6.ip()),
    };
    HostFilterLayer::new(LOCAL_HOSTS.into_iter().chain([bound.as_str()]))
}
