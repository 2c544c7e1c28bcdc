//! The devp2p edge: RLPx connections, and eth/68 to eth/70 on them.
//!
//! [`Network`] listens, dials and keeps sessions. It takes `SessionCommand`s and says
//! `SessionEvent`s, and it answers peers from a [`ChainSource`]. Nothing that a session hands on is
//! proved but the headers' own hashes; whoever asked proves it.
//!
//! Underneath, [`ecies`], [`handshake`], [`frame`], [`snappy`], [`p2p`] and [`eth`] turn bytes into
//! values and back, without I/O, clock or task; [`Connection`] drives them over a stream.
//!
//! Every byte is hostile until the handshake ends, and every message after it: lengths and counts
//! are checked before anything is allocated for them, nothing recurses, and every wait and queue has
//! a bound. A restart loses the connections and nothing else.

mod admission;
mod connection;
mod counters;
pub mod ecies;
mod error;
pub mod eth;
pub mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod handshake;
mod key;
mod listener;
mod local;
mod network;
mod outstanding;
pub mod p2p;
mod pace;
mod parts;
mod registry;
mod rlp;
mod serve;
mod session;
pub mod snappy;
#[cfg(test)]
mod testdata;
mod timeouts;
mod tolerance;
mod wire;

pub use admission::MAX_CONNECTIONS_PER_SUBNET;
pub use connection::{Connection, LocalStatus};
pub use counters::{HandshakeFailure, NetworkCounters, Served, ServedKind, TurnedAway};
pub use error::ConnectionError;
pub use eth::EthMessage;
pub use key::{KeyError, node_id, random_key};
pub use network::{Network, NetworkConfig, NetworkError, NetworkHandle};
pub use pace::{
    SERVED_BYTES_BURST, SERVED_BYTES_PER_S, SERVED_REQUESTS_BURST, SERVED_REQUESTS_PER_S,
};
pub use parts::UnfinishedReceipts;
pub use rlp::RlpError;
pub use serve::{ANSWER_BYTES, ChainSource, answer_receipts};
pub use session::{MAX_SERVING, MAX_WAITING_REQUESTS};
pub use timeouts::Timeouts;
pub use wire::{Message, MessageReader, MessageWriter, Received};
