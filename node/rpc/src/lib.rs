//! Read edge: what ordinary Ethereum clients ask over JSON-RPC.
//!
//! [`eth_module`] makes the methods, [`RpcServer`] serves them on a port of their own; the Engine API
//! edge serves the same methods beside its own, as execution-apis demands of it. Each port has a module of
//! its own, and so places of its own for searches.
//!
//! - In: `eth_chainId`, `eth_blockNumber`, `eth_syncing`, `net_version`, `net_peerCount`,
//!   `web3_clientVersion`; blocks and their transactions by number, tag or hash; where the store keeps
//!   receipts, `eth_getBlockReceipts`, `eth_getLogs` and `debug_getRawReceipts`. What would need state or
//!   a pool of transactions says so.
//! - From the operator: [`admin_module`], the `admin` methods as geth has them, and `net_listening`. [`only`]
//!   leaves out the namespaces that a port should not have.
//! - Out: `PeerCommand` to the peer manager; `StoreQuery` to the store, as an `Ask`; each waits at most [`STORE_WAIT`].
//!
//! Invariants: only canonical blocks are shown, since a stored side block may not have been judged
//! yet and an invalid block must not be shown at all; `latest` is the highest block that is here
//! gap-free, not the head that the consensus client named; `safe` and `finalized` are what it named, once
//! that is canonical here. A search for logs is bounded in blocks, logs, bytes and time. Senders are recovered off the async
//! threads. Nothing is kept here, so a restart loses nothing.

mod admin;
mod block;
mod errors;
mod eth;
mod logs;
mod namespaces;
mod reader;
mod receipt;
mod server;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use admin::{
    AdminPeer, AdminPorts, NodeFacts, NodeInfo, NodePeers, Overview, PeerDetail, PeerLimits,
    admin_module,
};
pub use block::{
    BlockError, BlockTransaction, RpcBlock, RpcTransaction, rpc_block, rpc_transaction,
};
pub use eth::{EthConfig, SyncDetail, SyncStatus, eth_module};
pub use namespaces::{Namespace, UnknownNamespace, only};
pub use reader::{STORE_WAIT, StorePort};
pub use receipt::{RpcReceipt, rpc_receipts};
pub use server::{RpcHandle, RpcServer, RpcServerError};
