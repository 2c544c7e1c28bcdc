//! Read edge: what ordinary Ethereum clients ask over JSON-RPC.
//!
//! [`eth_module`] makes the methods, [`RpcServer`] serves them on a port of their own; the Engine API
//! edge serves the same methods beside its own, as execution-apis demands of it.
//!
//! - In: `eth_chainId`, `eth_blockNumber`, `eth_syncing`, `eth_getBlockByNumber`,
//!   `eth_getBlockByHash`, `net_version`, `net_peerCount`, `web3_clientVersion`.
//! - Out: `StoreQuery` to the store, as an `Ask`; each waits at most [`STORE_WAIT`].
//!
//! Invariants: only canonical blocks are shown, since a stored side block may not have been judged
//! yet and an invalid block must not be shown at all; `latest` is the highest block that is here
//! gap-free, not the head that the consensus client named. Senders are recovered off the async
//! threads. Nothing is kept here, so a restart loses nothing.

mod block;
mod eth;
mod server;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use block::{BlockError, RpcBlock, rpc_block};
pub use eth::{EthConfig, STORE_WAIT, StorePort, SyncDetail, SyncStatus, eth_module};
pub use server::{RpcHandle, RpcServer, RpcServerError};
