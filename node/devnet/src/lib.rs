//! Chains that never were, and peers that serve them: for trying a node with nothing installed, and
//! for seeing what it does when peers lie.
//!
//! - [`Generator`] makes an endless chain that obeys every rule that needs no execution, the same
//!   for the same seed, through every fork from Shanghai to BPO2. Its genesis block is the same for
//!   all; [`genesis_json`] gives it in the form that clients read. [`receipts_of`] gives a block's
//!   receipts, which follow from it.
//! - [`FileChain`] keeps a chain of any length in a file that clients import; [`MemoryChain`] grows
//!   and reorganises, by itself or on top of a file.
//! - [`Peer`] serves a chain over real TCP, RLPx and eth on 127.0.0.1, honestly or in one of many
//!   wrong ways ([`Behaviour`]); [`Devnet`] starts a mix of them.
//!
//! Nothing here is secure, and nothing listens beyond loopback.

mod buffer;
mod chain;
mod devnet;
mod generator;
mod genesis;
mod peer;
mod receipt;
mod template;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use chain::{Chain, FileChain, FileChainError, MemoryChain, NotLinked, ServedChain};
pub use devnet::Devnet;
pub use generator::{Generator, Profile, UnknownProfile};
pub use genesis::{
    BLOCK_TIME_S, CHAIN_ID, FORK_SPACING_BLOCKS, GENESIS_TIME, genesis_header, genesis_json,
};
pub use peer::{Behaviour, Pace, Peer, PeerConfig, PeerStats};
pub use receipt::receipts_of;
