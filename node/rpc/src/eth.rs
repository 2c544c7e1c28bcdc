//! The `eth`, `net` and `web3` methods.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes, U64};
use alloy_rlp::encode;
use alloy_rpc_types_eth::Filter;
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObjectOwned, Params},
};
use moorline_messages::{Block, Receipts, Stall};
use moorline_rules::{ChainSpec, block_rlp};
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::watch;

use crate::{
    BlockError, RpcBlock, RpcReceipt, RpcTransaction, StorePort,
    errors::{internal, invalid_params, unsupported},
    logs::LogSearch,
    reader::{Reader, off_thread},
    receipt, rpc_block, rpc_receipts, rpc_transaction,
};

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
    /// The chain: its id (EIP-155) is also what `net_version` says, and its blob schedule prices blobs.
    pub spec: Arc<ChainSpec>,
    /// What `web3_clientVersion` says, as `name/version/platform/compiler`.
    pub client_version: String,
}

struct Eth {
    config: EthConfig,
    reader: Reader,
    logs: LogSearch,
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

type Found<T> = Result<Option<T>, ErrorObjectOwned>;

/// Methods that need the state, which comes of executing blocks.
const WITHOUT_STATE: [&str; 9] = [
    "eth_call",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_getBalance",
    "eth_getCode",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getTransactionCount",
    "eth_simulateV1",
];

/// Methods that need a pool of transactions.
const WITHOUT_POOL: [&str; 2] = ["eth_sendRawTransaction", "eth_sendTransaction"];

/// Makes the methods, for one port: its searches for logs have places of their own. `peers` is the number of
/// open sessions. Fails only if two methods had the same name.
pub fn eth_module(
    config: EthConfig,
    store: StorePort,
    sync: watch::Receiver<SyncStatus>,
    peers: watch::Receiver<usize>,
) -> Result<RpcModule<()>, RegisterMethodError> {
    let reader = Reader::new(store);
    let logs = LogSearch::new(reader.clone());
    let mut module = RpcModule::new(Eth { config, reader, logs, sync, peers });
    register_memory(&mut module)?;
    register_blocks(&mut module)?;
    register_receipts(&mut module)?;
    for (names, lacking) in
        [(WITHOUT_STATE.as_slice(), "state"), (&WITHOUT_POOL, "pool of transactions")]
    {
        for name in names.iter().copied() {
            module.register_method(name, move |_, _, _| {
                let reason = format!("{name} is not supported: this node keeps no {lacking}");
                Err::<(), _>(unsupported(reason))
            })?;
        }
    }
    Ok(module.remove_context())
}

/// What needs no asking, and cannot fail.
fn register_memory(module: &mut RpcModule<Eth>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_chainId", |_, eth, _| {
        answer(U64::from(eth.config.spec.chain_id()))
    })?;
    module.register_method("net_version", |_, eth, _| eth.config.spec.chain_id().to_string())?;
    module.register_method("web3_clientVersion", |_, eth, _| eth.config.client_version.clone())?;
    module.register_method("net_peerCount", |_, eth, _| answer(U64::from(*eth.peers.borrow())))?;
    module.register_method("eth_syncing", |_, eth, _| {
        let status = *eth.sync.borrow();
        answer(if status.syncing { Syncing::Yes(status) } else { Syncing::No(false) })
    })?;
    Ok(())
}

fn register_blocks(module: &mut RpcModule<Eth>) -> Result<(), RegisterMethodError> {
    module.register_async_method("eth_blockNumber", |_, eth, _| async move {
        eth.reader.status().await.map(|status| U64::from(status.tip.number))
    })?;
    module.register_async_method("eth_getBlockByNumber", |params, eth, _| async move {
        let (tag, full) = read::<(BlockNumberOrTag, bool)>(&params)?;
        eth.block(tag, full).await
    })?;
    module.register_async_method("eth_getBlockByHash", |params, eth, _| async move {
        let (hash, full) = read::<(B256, bool)>(&params)?;
        eth.block(hash, full).await
    })?;
    module.register_async_method(
        "eth_getBlockTransactionCountByNumber",
        |params, eth, _| async move {
            let (tag,) = read::<(BlockNumberOrTag,)>(&params)?;
            eth.transaction_count(tag).await
        },
    )?;
    module.register_async_method(
        "eth_getBlockTransactionCountByHash",
        |params, eth, _| async move {
            let (hash,) = read::<(B256,)>(&params)?;
            eth.transaction_count(hash).await
        },
    )?;
    module.register_async_method(
        "eth_getTransactionByBlockNumberAndIndex",
        |params, eth, _| async move {
            let (tag, index) = read::<(BlockNumberOrTag, U64)>(&params)?;
            eth.transaction(tag, index).await
        },
    )?;
    module.register_async_method(
        "eth_getTransactionByBlockHashAndIndex",
        |params, eth, _| async move {
            let (hash, index) = read::<(B256, U64)>(&params)?;
            eth.transaction(hash, index).await
        },
    )?;
    module.register_async_method("debug_getRawHeader", |params, eth, _| async move {
        let (id,) = read::<(BlockId,)>(&params)?;
        let block = eth.reader.block(id).await?;
        Ok::<_, ErrorObjectOwned>(block.map(|block| Bytes::from(encode(block.header.inner()))))
    })?;
    module.register_async_method("debug_getRawBlock", |params, eth, _| async move {
        let (id,) = read::<(BlockId,)>(&params)?;
        let block = eth.reader.block(id).await?;
        let raw = |block: Block| Bytes::from(block_rlp(&block.header, &block.body));
        Ok::<_, ErrorObjectOwned>(block.map(raw))
    })?;
    Ok(())
}

fn register_receipts(module: &mut RpcModule<Eth>) -> Result<(), RegisterMethodError> {
    module.register_async_method("eth_getLogs", |params, eth, _| async move {
        let (filter,) = read::<(Filter,)>(&params)?;
        eth.logs.find(filter).await
    })?;
    module.register_async_method("eth_getBlockReceipts", |params, eth, _| async move {
        let (id,) = read::<(BlockId,)>(&params)?;
        eth.receipts(id).await
    })?;
    module.register_async_method("debug_getRawReceipts", |params, eth, _| async move {
        let (id,) = read::<(BlockId,)>(&params)?;
        let Some((_, receipts)) = eth.block_and_receipts(id).await? else { return Ok(None) };
        receipt::encoded(&receipts).map(Some).map_err(internal)
    })?;
    Ok(())
}

impl Eth {
    async fn block(&self, id: impl Into<BlockId>, full: bool) -> Found<RpcBlock> {
        let Some(block) = self.reader.block(id).await? else { return Ok(None) };
        if !full {
            return rpc_block(&block, false).map(Some).map_err(internal);
        }
        show(block, |block| rpc_block(block, true)).await.map(Some)
    }

    async fn transaction_count(&self, id: impl Into<BlockId>) -> Found<U64> {
        let block = self.reader.block(id).await?;
        Ok(block.map(|block| U64::from(block.body.transactions.len())))
    }

    async fn transaction(&self, id: impl Into<BlockId>, index: U64) -> Found<RpcTransaction> {
        let Some(block) = self.reader.block(id).await? else { return Ok(None) };
        let index = usize::try_from(index.to::<u64>()).unwrap_or(usize::MAX);
        show(block, move |block| rpc_transaction(block, index)).await
    }

    async fn receipts(&self, id: BlockId) -> Found<Vec<RpcReceipt>> {
        let Some((block, receipts)) = self.block_and_receipts(id).await? else { return Ok(None) };
        let blobs = self.config.spec.blob_params(block.header.timestamp);
        show(block, move |block| rpc_receipts(block, &receipts, blobs.as_ref())).await.map(Some)
    }

    async fn block_and_receipts(&self, id: BlockId) -> Found<(Block, Receipts)> {
        let Some(block) = self.reader.block(id).await? else { return Ok(None) };
        let receipts = if block.body.transactions.is_empty() {
            Receipts::default()
        } else {
            self.reader.receipts(block.header.hash()).await?
        };
        Ok(Some((block, receipts)))
    }
}

/// Puts an answer together that needs senders, off the async threads.
async fn show<T: Send + 'static>(
    block: Block,
    shown: impl FnOnce(&Block) -> Result<T, BlockError> + Send + 'static,
) -> Result<T, ErrorObjectOwned> {
    off_thread(move || shown(&block).map_err(internal)).await
}

/// Reads the parameters, all of them and no more.
fn read<T: for<'a> Deserialize<'a>>(params: &Params<'_>) -> Result<T, ErrorObjectOwned> {
    params.parse::<T>().map_err(|found| {
        let reason = found.data().map_or("", |data| data.get());
        invalid_params(reason.trim_matches('"'))
    })
}

/// What needs no asking cannot fail.
const fn answer<T>(answer: T) -> Result<T, ErrorObjectOwned> {
    Ok(answer)
}
