//! The authenticated port.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    server::{
        BatchRequestConfig, ServerBuilder, ServerConfig, ServerHandle,
        middleware::http::{AuthorityError, HostFilterLayer},
    },
};
use moorline_messages::Blame;
use moorline_rules::ChainSpec;
use thiserror::Error;
use tokio::sync::watch;
use tower::ServiceBuilder;

use crate::{
    JwtSecret, StorePort, TreePort,
    auth::JwtLayer,
    bodies::Bodies,
    methods::{EngineMethods, TREE_WAIT},
    websocket::WebSocketLayer,
};

/// Largest request and response, in bytes; what geth and reth allow on this port.
pub(crate) const BODY_MAX_BYTES: u32 = 128 << 20;
/// Calls in one batch; what geth allows.
const BATCH_MAX_CALLS: u32 = 2_000;
/// Connections at a time. A consensus client opens a few.
const CONNECTIONS_MAX: u32 = 64;
/// Names this port may be called by. Another name in `Host` is a web page that was rebound to this
/// machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost:*", "127.0.0.1:*", "[::1]:*"];

/// The Engine API server.
#[derive(Clone, Copy, Debug)]
pub struct EngineServer;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where to listen; port 8551 by custom, 0 for any.
    pub addr: SocketAddr,
    /// What tokens are signed with.
    pub jwt: JwtSecret,
    /// Longest wait for a verdict of the tree; [`TREE_WAIT`] unless there is a reason.
    pub tree_wait: Duration,
}

impl EngineConfig {
    /// The usual setup.
    pub const fn new(addr: SocketAddr, jwt: JwtSecret) -> Self {
        Self { addr, jwt, tree_wait: TREE_WAIT }
    }
}

/// Why the server does not stand.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The port could not be had.
    #[error("cannot listen on {addr} for the Engine API: {source}; choose another --authrpc.port")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The address is no host that a request could name.
    #[error("{addr} cannot be an Engine API host: {source}")]
    Host {
        /// The address asked for.
        addr: SocketAddr,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// Two methods have the same name.
    #[error("the Engine API cannot be put together: {0}")]
    Methods(#[from] RegisterMethodError),
}

impl EngineError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// A server that stands. Dropping it ends the server too, without waiting.
#[derive(Debug)]
pub struct EngineHandle {
    local_addr: SocketAddr,
    server: ServerHandle,
    /// WebSocket connections last as long as this.
    _sockets: watch::Sender<()>,
}

impl EngineServer {
    /// Listens, and serves the `engine` methods and those in `eth`. Must be called on a tokio
    /// runtime, which then runs the connections.
    pub async fn start(
        config: EngineConfig,
        tree: TreePort,
        store: StorePort,
        spec: Arc<ChainSpec>,
        eth: RpcModule<()>,
    ) -> Result<EngineHandle, EngineError> {
        let EngineConfig { addr, jwt, tree_wait } = config;
        let bodies = Bodies::new(store);
        let mut module = EngineMethods { tree, tree_wait, spec, bodies }.into_module()?;
        module.merge(eth)?;

        let bound = format!("{}:*", host_of(addr));
        let hosts = HostFilterLayer::new(LOCAL_HOSTS.into_iter().chain([bound.as_str()]))
            .map_err(|source| EngineError::Host { addr, source })?;
        // WebSocket messages come to it as HTTP requests, in order
        let limits = ServerConfig::builder()
            .http_only()
            .max_request_body_size(BODY_MAX_BYTES)
            .max_response_body_size(BODY_MAX_BYTES)
            .max_connections(CONNECTIONS_MAX)
            .set_batch_request_config(BatchRequestConfig::Limit(BATCH_MAX_CALLS))
            .build();
        let (_sockets, ended) = watch::channel(());
        let gates = ServiceBuilder::new()
            .layer(hosts)
            .layer(JwtLayer::new(jwt))
            .layer(WebSocketLayer::new(ended));
        let server = ServerBuilder::with_config(limits)
            .set_http_middleware(gates)
            .build(addr)
            .await
            .map_err(|source| EngineError::Listen { addr, source })?;
        let local_addr =
            server.local_addr().map_err(|source| EngineError::Listen { addr, source })?;
        Ok(EngineHandle { local_addr, server: server.start(module), _sockets })
    }
}

impl EngineHandle {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the server: no new connections, and those that stand finish the call they are at.
    pub async fn stop(self) {
        let Self { server, _sockets: sockets, .. } = self;
        drop(sockets);
        if server.stop().is_ok() {
            server.stopped().await;
        }
    }
}

fn host_of(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
