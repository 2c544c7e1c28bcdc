//! What the tree does, told through a rig over its core, and a few tests of the actor itself.
#![allow(clippy::arithmetic_side_effects)]

mod actor;
mod faults;
mod following;
mod forks;
mod model;
mod payloads;
mod receipts;
mod rig;
mod simulation;
