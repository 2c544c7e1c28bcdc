//! The downloader's behaviour, told by a rig that plays the tree, the store and the peers.
#![allow(clippy::arithmetic_side_effects)]

mod behaviour;
mod bounds;
mod fairness;
mod hostile;
mod long;
mod receipts;
mod recovery;
mod rig;
mod shell;
mod world;
