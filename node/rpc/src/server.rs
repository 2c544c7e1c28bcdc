//! The unauthenticated port.

use std::{io, net::SocketAddr};

use jsonrpsee::{RpcModule, server::middleware::http::AuthorityError};
use moorline_http::{Answering, HttpHandle, HttpLimits, HttpPatience, HttpServer, local_hosts};
use moorline_messages::Blame;
use thiserror::Error;
use tower::ServiceBuilder;

/// What may be in memory at a time, and open. Requests take a hash and a flag, a batch of them a few more.
/// EIP-7934 holds a block to 8 MiB, which hexadecimal digits double; the rest of an answer is room for the
/// names of its fields, and for a few blocks in a batch.
const LIMITS: HttpLimits = HttpLimits {
    connections_max: 100,
    request_max_bytes: 5 << 20,
    answer_max_bytes: 64 << 20,
    batch_calls_max: 1_000,
    answers_max: 16,
};

/// The read server.
#[derive(Clone, Copy, Debug)]
pub struct RpcServer;

/// A server that stands.
pub type RpcHandle = HttpHandle;

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

impl RpcServer {
    /// Listens on `addr`, HTTP only, and serves the methods. Must be called on a tokio runtime, which
    /// then runs the connections.
    pub async fn start(
        addr: SocketAddr,
        module: RpcModule<()>,
    ) -> Result<RpcHandle, RpcServerError> {
        let hosts = local_hosts(addr).map_err(|source| RpcServerError::Host { addr, source })?;
        let gates =
            |answering, _| Answering::new(ServiceBuilder::new().layer(hosts).service(answering));
        HttpServer::start(addr, LIMITS, HttpPatience::default(), module, gates)
            .await
            .map_err(|source| RpcServerError::Listen { addr, source })
    }
}
