//! The downloader's behaviour, told by a rig that plays the tree, the store and the peers.
#![allow(clippy::arithmetic_side_effects)]

mod behaviour;
mod bounds;
mod fairness;
mod hostile;
mod long;
mod recovery;
mod rig;
mod shell;
