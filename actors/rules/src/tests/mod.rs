//! The rules against real blocks, the field's own vectors, and arbitrary bytes.

mod arbitrary;
mod breaches;
mod chain;
pub(crate) mod data;
mod genesis;
mod mainnet;
mod payloads;
mod receipts;
mod transactions;
