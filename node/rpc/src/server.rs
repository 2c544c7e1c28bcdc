//! The unauthenticated port.

use std::{io, net::SocketAddr};

use jsonrpsee::{
    RpcModule,
    server::{
        BatchRequestConfig, ServerBuilder, ServerConfig, ServerHandle,
        middleware::http::{AuthorityError, HostFilterLayer},
    },
};
use moorline_messages::Blame;
use thiserror::Error;
use tower::ServiceBuilder;

/// Largest request, in bytes: these methods take a hash and a flag, a batch of them a few more.
const REQUEST_BODY_MAX_BYTES: u32 = 5 << 20;
/// Largest response, in bytes: EIP-7934 holds a block to 8 MiB, which hexadecimal digits double; the
/// rest is room for the names of its fields, and for a few blocks in a batch.
const RESPONSE_BODY_MAX_BYTES: u32 = 64 << 20;
/// Calls in one batch.
const BATCH_MAX_CALLS: u32 = 1_000;
/// Connections at a time.
const CONNECTIONS_MAX: u32 = 100;
/// Names this port may be called by. Another name in `Host` is a web page that was rebound to this
/// machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost:*", "127.0.0.1:*", "[::1]:*"];

/// The read server.
#[derive(Clone, Copy, Debug)]
pub struct RpcServer;

/// Why the read server does not stand.
#[derive(Debug, Error)]
pub enum RpcServerError {
    /// The port could not be had.
    #[error("cannot listen on {addr} for JSON-RPC: {source}; choose another --http.port")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The address is no host that a request could name.
    #[error("{addr} cannot be a JSON-RPC host: {source}")]
    Host {
        /// The address asked for.
        addr: SocketAddr,
        /// What is wrong with it.
        source: AuthorityError,
    },
}

impl RpcServerError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// A server that stands. Dropping it ends the server too, without waiting.
#[derive(Debug)]
pub struct RpcHandle {
    local_addr: SocketAddr,
    server: ServerHandle,
}

impl RpcServer {
    /// Listens on `addr`, HTTP only, and serves the methods. Must be called on a tokio runtime, which
    /// then runs the connections.
    pub async fn start(
        addr: SocketAddr,
        module: RpcModule<()>,
    ) -> Result<RpcHandle, RpcServerError> {
        let bound = format!("{}:*", host_of(addr));
        let hosts = HostFilterLayer::new(LOCAL_HOSTS.into_iter().chain([bound.as_str()]))
            .map_err(|source| RpcServerError::Host { addr, source })?;
        let config = ServerConfig::builder()
            .http_only()
            .max_request_body_size(REQUEST_BODY_MAX_BYTES)
            .max_response_body_size(RESPONSE_BODY_MAX_BYTES)
            .max_connections(CONNECTIONS_MAX)
            .set_batch_request_config(BatchRequestConfig::Limit(BATCH_MAX_CALLS))
            .build();
        let server = ServerBuilder::with_config(config)
            .set_http_middleware(ServiceBuilder::new().layer(hosts))
            .build(addr)
            .await
            .map_err(|source| RpcServerError::Listen { addr, source })?;
        let local_addr =
            server.local_addr().map_err(|source| RpcServerError::Listen { addr, source })?;
        Ok(RpcHandle { local_addr, server: server.start(module) })
    }
}

impl RpcHandle {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the server: no new connections, and those that stand finish the call they are at.
    pub async fn stop(self) {
        if self.server.stop().is_ok() {
            self.server.stopped().await;
        }
    }
}

fn host_of(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
