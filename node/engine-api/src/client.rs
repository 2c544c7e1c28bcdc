//! The other side of the port: what a consensus client does, for commands that play one.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use moorline_messages::Blame;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::JwtSecret;

/// Longest wait for an answer: what the specification gives most methods.
const ANSWER_WAIT: Duration = Duration::from_secs(8);
/// Largest answer that is read, in bytes.
const ANSWER_MAX_BYTES: u64 = 128 << 20;

/// Calls an Engine API with a fresh token and a connection of its own each time, as rarely as
/// consensus clients do: once or twice in a slot.
#[derive(Clone, Debug)]
pub struct EngineClient {
    addr: SocketAddr,
    jwt: JwtSecret,
}

/// Why a call has no result.
#[derive(Debug, Error)]
pub enum EngineClientError {
    /// The connection failed.
    #[error("the Engine API at {addr} cannot be reached: {source}")]
    Connection {
        /// Who was called.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No answer came in the time the specification gives.
    #[error("the Engine API did not answer {method} within {waited_ms} ms")]
    TimedOut {
        /// The method called.
        method: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u128,
    },
    /// The answer is not HTTP status 200: 401 for a wrong secret.
    #[error("the Engine API refused the request with HTTP status {status}: {body}")]
    Refused {
        /// The status code.
        status: u16,
        /// What it said.
        body: String,
    },
    /// The answer is no JSON-RPC over HTTP.
    #[error("the Engine API answered with something that is not JSON-RPC")]
    Malformed,
    /// The method failed.
    #[error("{method} failed with code {code}: {message}")]
    Rpc {
        /// The method called.
        method: String,
        /// The error's code (execution-apis, `engine/common.md`).
        code: i64,
        /// What it said.
        message: String,
    },
}

impl EngineClientError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Connection { .. } | Self::TimedOut { .. } => Blame::Nobody,
            Self::Refused { .. } | Self::Malformed | Self::Rpc { .. } => Blame::Peer,
        }
    }
}

impl EngineClient {
    /// A client of the server at `addr`.
    pub const fn new(addr: SocketAddr, jwt: JwtSecret) -> Self {
        Self { addr, jwt }
    }

    /// Calls a method; the `result` of its answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, EngineClientError> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = match timeout(ANSWER_WAIT, self.post(&request.to_string())).await {
            Ok(answer) => answer
                .map_err(|source| EngineClientError::Connection { addr: self.addr, source })?,
            Err(_) => {
                let waited_ms = ANSWER_WAIT.as_millis();
                return Err(EngineClientError::TimedOut { method: method.to_owned(), waited_ms });
            }
        };
        result_of(method, body_of(&answer)?)
    }

    /// HTTP/1.0, so that the answer is neither chunked nor followed by another.
    async fn post(&self, body: &str) -> io::Result<Vec<u8>> {
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            self.jwt.token(SystemTime::now()),
            body.len()
        );
        let mut stream = TcpStream::connect(self.addr).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// The body of an HTTP answer of status 200.
fn body_of(answer: &[u8]) -> Result<&str, EngineClientError> {
    let answer = std::str::from_utf8(answer).map_err(|_| EngineClientError::Malformed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(EngineClientError::Malformed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(200) => Ok(body),
        Some(status) => Err(EngineClientError::Refused { status, body: body.to_owned() }),
        None => Err(EngineClientError::Malformed),
    }
}

fn result_of(method: &str, body: &str) -> Result<Value, EngineClientError> {
    let mut answer: Value = serde_json::from_str(body).map_err(|_| EngineClientError::Malformed)?;
    if let Some(error) = answer.get("error") {
        return Err(EngineClientError::Rpc {
            method: method.to_owned(),
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
        });
    }
    answer.get_mut("result").map(Value::take).ok_or(EngineClientError::Malformed)
}
