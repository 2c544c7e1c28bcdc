//! The `eth`, `net` and `web3` methods.

use std::{sync::Arc, time::Duration};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U64};
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObjectOwned, Params, error::INTERNAL_ERROR_CODE, error::INVALID_PARAMS_CODE},
};
use moorline_kit::{Ask, Port};
use moorline_messages::{
    Block, HashOrNumber, Stall, StoreAnswer, StoreError, StoreQuery, StoreStatus, StoredBlock,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::{sync::watch, time::timeout};

use crate::{RpcBlock, rpc_block};

/// How an edge asks the store.
pub type StorePort = Port<Ask<StoreQuery, Result<StoreAnswer, StoreError>>>;

/// Longest wait for an answer of the store; an RPC client is told so rather than kept waiting.
pub const STORE_WAIT: Duration = Duration::from_secs(5);

/// `safe` or `finalized` before the consensus client named one (execution-apis,
/// `schemas/block.yaml`).
const UNKNOWN_BLOCK_CODE: i32 = -39001;

/// A block that the chain has and this node has not, because it lies below where it began
/// (execution-apis, `eth/block.yaml`).
const PRUNED_HISTORY_CODE: i32 = 4444;

/// How far the node is, as whoever watches the tree and the downloader knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SyncStatus {
    /// The height of the canonical tip when this node started.
    #[serde(rename = "startingBlock", with = "alloy_serde::quantity")]
    pub starting: u64,
    /// The height of the canonical tip now.
    #[serde(rename = "currentBlock", with = "alloy_serde::quantity")]
    pub current: u64,
    /// The greatest height that the consensus client's head is known to have.
    #[serde(rename = "highestBlock", with = "alloy_serde::quantity")]
    pub highest: u64,
    /// What other clients do not tell, under a key that they do not know.
    #[serde(rename = "moorline")]
    pub detail: SyncDetail,
    /// Whether blocks are missing. Where none is, `eth_syncing` says `false` and nothing else.
    #[serde(skip)]
    pub syncing: bool,
}

/// How fast a sync goes, in plain JSON numbers: what the progress line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncDetail {
    /// Of the headers and bodies that were missing, how many percent are here.
    pub percent: f64,
    /// Headers proved in a second.
    pub headers_per_second: f64,
    /// Blocks put on disk in a second.
    pub blocks_per_second: f64,
    /// Bytes of both proved in a second.
    pub bytes_per_second: u64,
    /// Seconds left at that pace; `null` where there is none.
    pub eta_seconds: Option<u64>,
    /// Peers that are connected.
    pub peers: u64,
    /// Fetches that are out.
    pub in_flight: u64,
    /// Bytes in flight and held, of the bytes that may be.
    pub budget_used_percent: f64,
    /// Why nothing comes, in a sentence; `null` while something does.
    #[serde(serialize_with = "as_sentence")]
    pub stalled: Option<Stall>,
}

// serde passes what it serializes by reference
#[allow(clippy::ref_option)]
fn as_sentence<S: Serializer>(stall: &Option<Stall>, serializer: S) -> Result<S::Ok, S::Error> {
    match stall {
        Some(stall) => serializer.collect_str(stall),
        None => serializer.serialize_none(),
    }
}

/// What the methods answer from memory.
#[derive(Clone, Debug)]
pub struct EthConfig {
    /// The chain id (EIP-155), which is also what `net_version` says.
    pub chain_id: u64,
    /// What `web3_clientVersion` says, as `name/version/platform/compiler`.
    pub client_version: String,
}

struct Eth {
    config: EthConfig,
    store: StorePort,
    sync: watch::Receiver<SyncStatus>,
    peers: watch::Receiver<usize>,
}

/// `eth_syncing`: how far, or `false`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Syncing {
    No(bool),
    Yes(SyncStatus),
}

/// Makes the methods. `peers` is the number of open sessions. Fails only if two methods had the same
/// name.
pub fn eth_module(
    config: EthConfig,
    store: StorePort,
    sync: watch::Receiver<SyncStatus>,
    peers: watch::Receiver<usize>,
) -> Result<RpcModule<()>, RegisterMethodError> {
    let mut module = RpcModule::new(Eth { config, store, sync, peers });
    module.register_method("eth_chainId", |_, eth, _| answer(U64::from(eth.config.chain_id)))?;
    module.register_method("net_version", |_, eth, _| eth.config.chain_id.to_string())?;
    module.register_method("web3_clientVersion", |_, eth, _| eth.config.client_version.clone())?;
    module.register_method("net_peerCount", |_, eth, _| answer(U64::from(*eth.peers.borrow())))?;
    module.register_method("eth_syncing", |_, eth, _| {
        let status = *eth.sync.borrow();
        answer(if status.syncing { Syncing::Yes(status) } else { Syncing::No(false) })
    })?;
    module.register_async_method("eth_blockNumber", |_, eth, _| async move {
        eth.status().await.map(|status| U64::from(status.tip.number))
    })?;
    module.register_async_method("eth_getBlockByNumber", |params, eth, _| async move {
        let (tag, full) = block_params::<BlockNumberOrTag>(&params)?;
        let Some(block) = eth.resolve(tag).await? else { return Ok(None) };
        eth.block(block, full).await
    })?;
    module.register_async_method("eth_getBlockByHash", |params, eth, _| async move {
        let (hash, full) = block_params::<B256>(&params)?;
        eth.block(HashOrNumber::Hash(hash), full).await
    })?;
    Ok(module.remove_context())
}

impl Eth {
    /// The block a tag or number means; `None` where no such block can be here.
    async fn resolve(
        &self,
        tag: BlockNumberOrTag,
    ) -> Result<Option<HashOrNumber>, ErrorObjectOwned> {
        let status = match tag {
            BlockNumberOrTag::Number(number) => return Ok(Some(HashOrNumber::Number(number))),
            BlockNumberOrTag::Earliest => return Ok(Some(HashOrNumber::Number(0))),
            _ => self.status().await?,
        };
        let (name, hash) = match tag {
            BlockNumberOrTag::Safe => ("safe", status.forkchoice.safe),
            BlockNumberOrTag::Finalized => ("finalized", status.forkchoice.finalized),
            _ => ("latest", status.tip.hash),
        };
        if hash.is_zero() {
            let reason = format!("{name} block not found: the consensus client named none yet");
            return Err(error(UNKNOWN_BLOCK_CODE, reason));
        }
        Ok(Some(HashOrNumber::Hash(hash)))
    }

    /// The canonical block, or `None` where it is not here or not canonical.
    async fn block(
        &self,
        block: HashOrNumber,
        full: bool,
    ) -> Result<Option<RpcBlock>, ErrorObjectOwned> {
        match self.ask(StoreQuery::Block { block }).await? {
            StoreAnswer::Block(Some(found)) => match *found {
                StoredBlock { block, canonical: true } => show(block, full).await.map(Some),
                StoredBlock { canonical: false, .. } => Ok(None),
            },
            StoreAnswer::Block(None) => self.why_missing(block).await.map(|()| None),
            _ => Err(internal("the store answered another question")),
        }
    }

    /// An error for a height below the lowest block that is kept; otherwise the block is unknown.
    async fn why_missing(&self, block: HashOrNumber) -> Result<(), ErrorObjectOwned> {
        let HashOrNumber::Number(number) = block else { return Ok(()) };
        let status = self.status().await?;
        if number < status.earliest.min(status.tip.number) {
            return Err(error(PRUNED_HISTORY_CODE, "pruned history unavailable".to_owned()));
        }
        Ok(())
    }

    async fn status(&self) -> Result<StoreStatus, ErrorObjectOwned> {
        match self.ask(StoreQuery::Status).await? {
            StoreAnswer::Status(status) => Ok(status),
            _ => Err(internal("the store answered another question")),
        }
    }

    async fn ask(&self, query: StoreQuery) -> Result<StoreAnswer, ErrorObjectOwned> {
        match timeout(STORE_WAIT, self.store.ask(query)).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(internal(error)),
            Ok(Err(error)) => Err(internal(format_args!("the store did not answer: {error}"))),
            Err(_) => Err(internal("the store did not answer in time")),
        }
    }
}

async fn show(block: Block, full: bool) -> Result<RpcBlock, ErrorObjectOwned> {
    if !full {
        return rpc_block(&block, false).map_err(internal);
    }
    let block = Arc::new(block);
    match tokio::task::spawn_blocking(move || rpc_block(&block, true)).await {
        Ok(shown) => shown.map_err(internal),
        Err(_) => Err(internal("the block could not be shown")),
    }
}

/// The parameters of the block getters: which block, and whether in full.
fn block_params<T: for<'a> Deserialize<'a>>(
    params: &Params<'_>,
) -> Result<(T, bool), ErrorObjectOwned> {
    params.parse::<(T, bool)>().map_err(|found| {
        let reason = found.data().map_or("", |data| data.get());
        error(INVALID_PARAMS_CODE, format!("Invalid params: {}", reason.trim_matches('"')))
    })
}

/// What needs no asking cannot fail.
const fn answer<T>(answer: T) -> Result<T, ErrorObjectOwned> {
    Ok(answer)
}

fn internal(reason: impl std::fmt::Display) -> ErrorObjectOwned {
    tracing::warn!(%reason, "a read could not be answered");
    error(INTERNAL_ERROR_CODE, reason.to_string())
}

fn error(code: i32, message: String) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, message, None)
}
