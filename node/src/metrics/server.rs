//! The port that metrics are read from.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use moorline_messages::Blame;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{Metrics, render};

/// Connections at a time; one more waits in the system's own queue until another ends.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last, from its first byte to its last: one request and its answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes. A body is not read.
const REQUEST_HEAD_MAX_BYTES: usize = 16 << 10;
/// Wait after the system refused to accept, which it does when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Names of this machine.
const LOCAL_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// The format's own name (OpenMetrics 1.0, text format).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why metrics are not served.
#[derive(Debug, Error)]
#[error("cannot listen on {addr} for metrics: {source}; choose another --metrics.port")]
pub struct MetricsError {
    addr: SocketAddr,
    source: io::Error,
}

impl MetricsError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// A port that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct MetricsHandle {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsHandle {
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for MetricsHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Metrics {
    /// Serves them, on the current runtime.
    pub(crate) async fn serve(self, addr: SocketAddr) -> Result<MetricsHandle, MetricsError> {
        self.serve_patiently(addr, CONNECTION_MAX).await
    }

    pub(super) async fn serve_patiently(
        self,
        addr: SocketAddr,
        patience: Duration,
    ) -> Result<MetricsHandle, MetricsError> {
        let failed = |source| MetricsError { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let shown = Shown { registry: Arc::new(self.registry()), local: addr.ip().is_loopback() };
        let router = Router::new().route("/metrics", get(show)).with_state(shown);
        let task = tokio::spawn(accept(listener, router, patience));
        Ok(MetricsHandle { addr, task })
    }
}

/// What is shown, and whether to this machine alone.
#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    local: bool,
}

async fn show(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    if shown.local && !names_this_machine(&headers) {
        let text = "metrics are for this machine: ask for them as 127.0.0.1 or localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    match render(&shown.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Another name in `Host` is a page of the web whose name was bound to this address.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| LOCAL_NAMES.contains(&host.host()))
}

/// Accepts until it is aborted, which ends the connections too.
async fn accept(listener: TcpListener, router: Router, patience: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(patience, answer(stream, router.clone())));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // a client that went away is not the server's trouble
    drop(connection.await);
}
