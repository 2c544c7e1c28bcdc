//! How the methods read the store.

use std::{sync::Arc, time::Duration};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, BlockNumber, Bytes, Sealable, keccak256};
use alloy_rlp::Decodable;
use jsonrpsee::types::ErrorObjectOwned;
use moorline_kit::{Ask, Port};
use moorline_messages::{
    Block, Body, HashOrNumber, Header, Receipts, SealedHeader, StoreAnswer, StoreError, StoreQuery,
    StoreStatus, StoredBlock,
};
use tokio::time::timeout;

use crate::errors::{
    PRUNED_HISTORY_CODE, UNKNOWN_BLOCK_CODE, error, internal, no_receipts, reorganised,
};

/// How an edge asks the store.
pub type StorePort = Port<Ask<StoreQuery, Result<StoreAnswer, StoreError>>>;

/// Longest wait for an answer of the store; an RPC client is told so rather than kept waiting.
pub const STORE_WAIT: Duration = Duration::from_secs(5);

/// Most that headers, bodies or receipts of one answer of the store may weigh.
const PART_BYTES: usize = 8 << 20;

/// Asks the store and waits.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    store: StorePort,
}

impl Reader {
    pub(crate) const fn new(store: StorePort) -> Self {
        Self { store }
    }

    pub(crate) async fn status(&self) -> Result<StoreStatus, ErrorObjectOwned> {
        match self.ask(StoreQuery::Status).await? {
            StoreAnswer::Status(status) => Ok(status),
            _ => Err(another()),
        }
    }

    /// The canonical block that is meant; `None` where it is not here or not canonical.
    pub(crate) async fn block(
        &self,
        block: impl Into<BlockId>,
    ) -> Result<Option<Block>, ErrorObjectOwned> {
        match block.into() {
            BlockId::Hash(hash) => self.canonical(HashOrNumber::Hash(hash.block_hash)).await,
            BlockId::Number(tag) => self.tagged(tag).await,
        }
    }

    /// The block that a tag or a number means. A name stands for the hash it had when it was looked up, so that
    /// no other block is given for it when the chain moves meanwhile.
    async fn tagged(&self, tag: BlockNumberOrTag) -> Result<Option<Block>, ErrorObjectOwned> {
        if let BlockNumberOrTag::Number(number) = tag {
            let found = self.canonical(HashOrNumber::Number(number)).await?;
            if found.is_none() {
                expect_history(number, &self.status().await?)?;
            }
            return Ok(found);
        }
        let status = self.status().await?;
        match tag {
            BlockNumberOrTag::Safe => self.named("safe", status.forkchoice.safe).await.map(Some),
            BlockNumberOrTag::Finalized => {
                self.named("finalized", status.forkchoice.finalized).await.map(Some)
            }
            BlockNumberOrTag::Earliest => {
                self.canonical(HashOrNumber::Number(lowest(&status))).await
            }
            _ => match self.canonical(HashOrNumber::Hash(status.tip.hash)).await? {
                Some(block) => Ok(Some(block)),
                // it was reorganised away since, and there is another
                None => {
                    let tip = self.status().await?.tip.hash;
                    self.canonical(HashOrNumber::Hash(tip)).await
                }
            },
        }
    }

    async fn canonical(&self, block: HashOrNumber) -> Result<Option<Block>, ErrorObjectOwned> {
        match self.ask(StoreQuery::Block { block }).await? {
            StoreAnswer::Block(Some(found)) => match *found {
                StoredBlock { block, canonical: true } => Ok(Some(block)),
                StoredBlock { canonical: false, .. } => Ok(None),
            },
            StoreAnswer::Block(None) => Ok(None),
            _ => Err(another()),
        }
    }

    /// A block that the consensus client named, if that is canonical here by now.
    async fn named(&self, name: &str, hash: B256) -> Result<Block, ErrorObjectOwned> {
        expect_name(name, hash)?;
        self.canonical(HashOrNumber::Hash(hash)).await?.ok_or_else(|| not_here(name, hash))
    }

    /// The height that a tag or a number means.
    pub(crate) async fn height(
        &self,
        tag: BlockNumberOrTag,
        status: &StoreStatus,
    ) -> Result<BlockNumber, ErrorObjectOwned> {
        match tag {
            BlockNumberOrTag::Number(number) => Ok(number),
            BlockNumberOrTag::Safe => self.named_height("safe", status.forkchoice.safe).await,
            BlockNumberOrTag::Finalized => {
                self.named_height("finalized", status.forkchoice.finalized).await
            }
            BlockNumberOrTag::Earliest => Ok(lowest(status)),
            _ => Ok(status.tip.number),
        }
    }

    /// The height of a block that the consensus client named, if that is canonical here by now.
    async fn named_height(&self, name: &str, hash: B256) -> Result<BlockNumber, ErrorObjectOwned> {
        expect_name(name, hash)?;
        let found = self.headers(HashOrNumber::Hash(hash), 1).await?;
        found.first().map(|header| header.number).ok_or_else(|| not_here(name, hash))
    }

    /// Canonical headers upwards, at most 1,024. Fewer where the chain ends.
    pub(crate) async fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
    ) -> Result<Vec<Arc<SealedHeader>>, ErrorObjectOwned> {
        let query =
            StoreQuery::Headers { start, limit, skip: 0, reverse: false, budget_bytes: PART_BYTES };
        let StoreAnswer::Headers(all) = self.ask(query).await? else { return Err(another()) };
        let header = |rlp: &Bytes| {
            let header = Header::decode(&mut rlp.as_ref()).map_err(internal)?;
            Ok(Arc::new(header.seal_unchecked(keccak256(rlp))))
        };
        off_thread(move || all.iter().map(header).collect()).await
    }

    /// The receipts of a block with transactions.
    pub(crate) async fn receipts(&self, block: B256) -> Result<Receipts, ErrorObjectOwned> {
        let mut some = self.some_receipts(vec![block]).await?;
        match some.pop() {
            Some(receipts) => Ok(receipts),
            None if self.status().await?.keeps_receipts => Err(reorganised()),
            None => Err(no_receipts()),
        }
    }

    /// The receipts of the first few of these blocks: as many as fit, one at least.
    pub(crate) async fn some_receipts(
        &self,
        hashes: Vec<B256>,
    ) -> Result<Vec<Receipts>, ErrorObjectOwned> {
        match self.ask(StoreQuery::Receipts { hashes, budget_bytes: PART_BYTES }).await? {
            StoreAnswer::Receipts(receipts) => Ok(receipts),
            _ => Err(another()),
        }
    }

    /// The body of a canonical block.
    pub(crate) async fn body(&self, hash: B256) -> Result<Body, ErrorObjectOwned> {
        let query = StoreQuery::Bodies { hashes: vec![hash], budget_bytes: PART_BYTES };
        match self.ask(query).await? {
            StoreAnswer::Bodies(mut bodies) => bodies.pop().ok_or_else(reorganised),
            _ => Err(another()),
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

/// Fails for a name that was not given yet.
fn expect_name(name: &str, hash: B256) -> Result<(), ErrorObjectOwned> {
    if hash.is_zero() {
        let reason = format!("{name} block not found: the consensus client named none yet");
        return Err(error(UNKNOWN_BLOCK_CODE, reason));
    }
    Ok(())
}

fn not_here(name: &str, hash: B256) -> ErrorObjectOwned {
    let reason = format!("{name} block not found: {hash} is not on the chain that is here");
    error(UNKNOWN_BLOCK_CODE, reason)
}

/// Fails for a height below the lowest block that is kept.
pub(crate) fn expect_history(
    number: BlockNumber,
    status: &StoreStatus,
) -> Result<(), ErrorObjectOwned> {
    if number < lowest(status) {
        return Err(error(PRUNED_HISTORY_CODE, "pruned history unavailable".to_owned()));
    }
    Ok(())
}

/// The lowest height from which on nothing is missing.
fn lowest(status: &StoreStatus) -> BlockNumber {
    // the genesis block is always here, and its child may be
    if status.earliest <= 1 { 0 } else { status.earliest.min(status.tip.number) }
}

fn another() -> ErrorObjectOwned {
    internal("the store answered another question")
}

/// Work that would hold up other connections.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorObjectOwned> + Send + 'static,
) -> Result<T, ErrorObjectOwned> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(internal("the answer could not be put together")),
    }
}
