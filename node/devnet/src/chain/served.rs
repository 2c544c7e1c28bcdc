//! A chain behind the devp2p edge that the node itself uses.

use std::{future::ready, pin::Pin, sync::Arc};

use alloy_primitives::{B256, Bytes};
use moorline_messages::{Body, HashOrNumber, Receipts};
use moorline_rlpx::ChainSource;

use super::{Chain, bodies, headers, receipts};

/// Serves a chain through [`moorline_rlpx::Network`], where a [`crate::Peer`] would be too plain: one
/// that dials as well, or that keeps its sessions.
#[derive(Clone)]
pub struct ServedChain(pub Arc<dyn Chain>);

impl ChainSource for ServedChain {
    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        skip: u64,
        reverse: bool,
        budget_bytes: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Bytes>> + Send + '_>> {
        Box::pin(ready(headers(self.0.as_ref(), start, limit, skip, reverse, budget_bytes)))
    }

    fn bodies(
        &self,
        hashes: Vec<B256>,
        budget_bytes: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Body>> + Send + '_>> {
        let blocks = hashes.iter().map(|hash| self.0.block(HashOrNumber::Hash(*hash)));
        Box::pin(ready(bodies(blocks, budget_bytes)))
    }
    fn receipts(
        &self,
        hashes: Vec<B256>,
        budget_bytes: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Receipts>> + Send + '_>> {
        let blocks = hashes.iter().map(|hash| self.0.block(HashOrNumber::Hash(*hash)));
        Box::pin(ready(receipts(blocks, budget_bytes)))
    }
}
