//! Engine API edge: how a consensus client drives the node, as JSON-RPC over HTTP or a WebSocket with a
//! JWT (execution-apis, `src/engine`).
//!
//! - In: `engine_newPayloadV1` to `V5`, `engine_forkchoiceUpdatedV1` to `V4`,
//!   `engine_getPayloadBodiesByHashV1` and `V2`, `engine_getPayloadBodiesByRangeV1` and `V2`,
//!   `engine_exchangeCapabilities`, `engine_getClientVersionV1`; `engine_getPayload` and
//!   `engine_getBlobs`, which have nothing to give; and the read methods that the specification wants
//!   on the same port, which the node hands in.
//! - Out: `TreeRequest` to the tree, as an `Ask` that waits at most [`TREE_WAIT`]; `StoreQuery` to the
//!   store for bodies.
//!
//! Invariants:
//!
//! - A request without a good token ends in HTTP status 401 before any of its body is read. Over a
//!   WebSocket the request that opens it is the only one that has a token.
//! - Parameters are checked first (-32602), then the fork (-38005), then what needs no ancestor: block
//!   hash, transactions, blob hashes, access list. Only a block that passed them all reaches the tree; of
//!   one whose hash is right and which breaks a rule the tree is told, since it may come in from a peer.
//! - `VALID` is said for the genesis block alone, whatever the tree says: nothing is executed here.
//! - A tree that is silent, restarting or gone gives `SYNCING`, since an error would make the
//!   consensus client refuse the block (consensus-specs, `sync/optimistic.md`).
//! - Forkchoice updates enter the tree's queue in the order in which they arrive. The messages of a
//!   WebSocket are answered one after another.
//!
//! [`EngineClient`] is the other side, for commands that play the consensus client.
//!
//! Nothing is kept here, so a restart loses the calls at hand and no more.

mod access_list;
mod auth;
mod bodies;
mod client;
mod errors;
mod forkchoice;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod jwt;
mod methods;
mod params;
mod payload;
mod server;
mod status;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
mod unsupported;
mod websocket;

pub use bodies::StorePort;
pub use client::{EngineClient, EngineClientError};
pub use jwt::{JwtSecret, JwtSecretError, TokenError};
pub use methods::{TREE_WAIT, TreePort};
pub use server::{EngineConfig, EngineError, EngineHandle, EngineServer};
