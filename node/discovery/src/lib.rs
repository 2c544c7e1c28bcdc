//! Finding nodes: discv4, discv5 and DNS lists.
//!
//! [`Discovery::start`] listens on one UDP socket for both protocols, walks the DNS lists, and hands
//! on [`Candidate`]s: nodes whose signed record names our chain and fork (EIP-2124, EIP-868), each
//! once in a while. Nothing about them is proved but that they signed their record; whoever dials
//! one finds out the rest. Our own record is signed again whenever the fork changes.
//!
//! discv4 is a state machine of our own without I/O; discv5 is the crate of that name; DNS lists are
//! walked by a state machine over a [`TxtResolver`].
//!
//! Every datagram and every text is hostile: its size, hash and signature come first, nothing is
//! sent to who has not proved its address but a pong and a ping, and every table, queue and rate has
//! a bound. A restart loses the tables and nothing else.

mod bootnodes;
mod config;
mod counters;
mod discovery;
mod discv4;
mod dns;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod key;
mod limits;
mod net;
mod record;
#[cfg(test)]
mod tests;
mod v5;

pub use bootnodes::{preset_bootnodes, preset_dns_tree};
pub use config::{
    Bootnode, BootnodeError, Bounds, DiscoveryConfig, DiscoveryError, Mechanisms, check_dns_tree,
};
pub use counters::{DiscoveryCounters, DropReason};
pub use discovery::{Discovery, DiscoveryHandle, DiscoveryView};
pub use dns::{ResolveError, SystemResolver, TxtResolver};
pub use gate::{Candidate, Refusal, Via};
