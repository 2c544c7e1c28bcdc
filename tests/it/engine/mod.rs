//! A consensus client drives a whole node over HTTP: what hive's engine suites ask of a client that need
//! no execution. Requirements are named by their number in `docs/src/conformance.md`.

mod bodies;
mod forkchoices;
mod heads;
mod payloads;
mod rig;
mod triggers;
