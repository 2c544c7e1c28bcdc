//! The authenticated port.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use jsonrpsee::{RpcModule, core::RegisterMethodError};
use moorline_http::{Answering, HttpHandle, HttpLimits, HttpPatience, HttpServer};
use moorline_messages::Blame;
use moorline_rules::ChainSpec;
use thiserror::Error;
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

/// What may be in memory at a time, and open. A consensus client opens a few connections; a batch may have as
/// many calls as geth allows. Who has the secret is trusted not to fill all places with large answers.
const LIMITS: HttpLimits = HttpLimits {
    connections_max: 64,
    request_max_bytes: BODY_MAX_BYTES,
    answer_max_bytes: BODY_MAX_BYTES,
    batch_calls_max: 2_000,
    answers_max: 64,
};

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

/// A server that stands. A call over a WebSocket that it is at when it is stopped is finished too.
pub type EngineHandle = HttpHandle;

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

        // no look at the host: what a page that was rebound to this machine lacks is the token
        let gates = |calls, ended| {
            let gates =
                ServiceBuilder::new().layer(JwtLayer::new(jwt)).layer(WebSocketLayer::new(ended));
            Answering::new(gates.service(calls))
        };
        HttpServer::start(addr, LIMITS, HttpPatience::default(), module, gates)
            .await
            .map_err(|source| EngineError::Listen { addr, source })
    }
}
