//! The store itself, over any index and any place for bodies.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use alloy_primitives::{B256, BlockNumber, Bytes};
use moorline_messages::{
    Block, BlockNumHash, Body, Forkchoice, FoundBlock, HashOrNumber, SealedHeader, StoreAnswer,
    StoreBatch, StoreError, StoreQuery, StoreStatus, StoredBlock, StoredState, Weigh,
};

use crate::{
    backend::{FIND_HASHES_MAX, READ_ITEMS_MAX},
    codec,
    index::Index,
    keys::{self, BodiesEnd, BodyPointer},
    stage::{Layer, Stage},
};

/// Where packed bodies go.
pub(crate) trait BodyLog: Send + Sync {
    /// Appends records and makes them survive a loss of power.
    fn append(&self, records: &[Vec<u8>]) -> Result<Vec<BodyPointer>, StoreError>;

    /// How far it has been written.
    fn end(&self) -> BodiesEnd;

    /// One record's payload.
    fn read(&self, pointer: BodyPointer) -> Result<Vec<u8>, StoreError>;
}

/// The rules of what is kept, the same for every backend.
#[derive(Debug)]
pub(crate) struct Ledger<I, L> {
    pub(crate) index: I,
    pub(crate) bodies: L,
    /// Held for writing only while a batch goes into the index's memory, so that a read sees a
    /// batch whole or not at all, and never waits for a disk behind one.
    view: RwLock<()>,
    committing: Mutex<()>,
}

impl<I: Index, L: BodyLog> Ledger<I, L> {
    pub(crate) const fn new(index: I, bodies: L) -> Self {
        Self { index, bodies, view: RwLock::new(()), committing: Mutex::new(()) }
    }

    /// Writes the genesis block and the chain's identity into an empty index.
    pub(crate) fn found(&self, genesis: &SealedHeader, chain_id: u64) -> Result<(), StoreError> {
        let body = Body {
            transactions: Vec::new(),
            ommers: Body::NO_OMMERS,
            withdrawals: genesis.withdrawals_root.map(|_| Vec::new()),
        };
        let mut stage = Stage::new(&self.index);
        stage.found(genesis, chain_id, codec::pack(BlockNumHash::of(genesis), &body)?)?;
        self.write(stage.finish())
    }

    pub(crate) fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stage = Stage::new(&self.index);
        let mut verdicts: Vec<_> = batches.iter().map(|batch| stage.add(batch)).collect();
        if let Err(error) = self.write(stage.finish()) {
            for verdict in &mut verdicts {
                if verdict.is_ok() {
                    *verdict = Err(error.clone());
                }
            }
        }
        verdicts
    }

    /// Bodies first: an index entry never points at what is not on disk.
    fn write(&self, layer: Layer) -> Result<(), StoreError> {
        let Layer { mut entries, bodies } = layer;
        if !bodies.is_empty() {
            let (hashes, records): (Vec<B256>, Vec<Vec<u8>>) = bodies.into_iter().unzip();
            let pointers = self.bodies.append(&records)?;
            for (hash, pointer) in hashes.into_iter().zip(pointers) {
                entries.insert(keys::body(hash), Some(keys::put_pointer(pointer)));
            }
            let end = keys::put_bodies_end(self.bodies.end());
            entries.insert(keys::META_BODIES_END.to_vec(), Some(end));
        }
        {
            let _alone = self.view.write().unwrap_or_else(PoisonError::into_inner);
            self.index.apply(&entries)?;
        }
        self.index.sync()
    }

    fn view(&self) -> RwLockReadGuard<'_, ()> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn load(&self) -> Result<StoredState, StoreError> {
        let _view = self.view();
        let tip = self.index.tip()?;
        let Some(tip) = self.index.header(tip)? else {
            return Err(StoreError::Damaged(format!("the header of the tip {tip} is missing")));
        };
        let from = keys::first_of(keys::SPANS);
        let spans = self.index.scan(&from, &keys::end_of(keys::SPANS)).map(|entry| {
            let (key, value) = entry?;
            keys::get_span(&key, &value)
        });
        let spans = spans.collect::<Result<_, _>>()?;
        Ok(StoredState { tip, forkchoice: self.forkchoice()?, spans })
    }

    pub(crate) fn status(&self) -> Result<StoreStatus, StoreError> {
        let _view = self.view();
        let Some(genesis) = self.index.canonical_hash(0)? else {
            return Err(StoreError::Damaged("the genesis block is missing".to_owned()));
        };
        Ok(StoreStatus {
            genesis,
            earliest: self.index.earliest()?,
            tip: self.index.tip()?,
            forkchoice: self.forkchoice()?,
        })
    }

    fn forkchoice(&self) -> Result<Forkchoice, StoreError> {
        keys::get_forkchoice(&self.index.meta(keys::META_FORKCHOICE)?)
    }

    pub(crate) fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        if hashes.len() > FIND_HASHES_MAX {
            return Err(StoreError::Rejected(format!(
                "{} blocks were asked about at once, and {FIND_HASHES_MAX} are allowed",
                hashes.len()
            )));
        }
        let _view = self.view();
        hashes
            .iter()
            .map(|hash| match self.index.header_by_hash(*hash)? {
                Some(header) => self.found_block(header).map(Some),
                None => Ok(None),
            })
            .collect()
    }

    fn found_block(&self, header: Arc<SealedHeader>) -> Result<FoundBlock, StoreError> {
        let has_body = self.pointer(header.hash())?.is_some();
        Ok(FoundBlock { header, has_body })
    }

    pub(crate) fn walk(
        &self,
        top: BlockNumHash,
        limit: u64,
    ) -> Result<Vec<FoundBlock>, StoreError> {
        let _view = self.view();
        let mut found = Vec::new();
        let mut next = Some(top);
        for _ in 0..limit.min(READ_ITEMS_MAX) {
            let Some(at) = next else { break };
            let Some(header) = self.index.header(at)? else { break };
            next = at.number.checked_sub(1).map(|n| BlockNumHash::new(n, header.parent_hash));
            found.push(self.found_block(header)?);
        }
        Ok(found)
    }

    pub(crate) fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        match query {
            StoreQuery::Status => self.status().map(StoreAnswer::Status),
            StoreQuery::Headers { start, limit, skip, reverse, budget_bytes } => self
                .headers(*start, *limit, step(*skip, *reverse), *budget_bytes)
                .map(StoreAnswer::Headers),
            StoreQuery::Bodies { hashes, budget_bytes } => {
                self.bodies(hashes, *budget_bytes).map(StoreAnswer::Bodies)
            }
            StoreQuery::Block { block } => {
                Ok(StoreAnswer::Block(self.block(*block)?.map(Box::new)))
            }
        }
    }

    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        step: impl Fn(BlockNumber) -> Option<BlockNumber>,
        budget_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let _view = self.view();
        let mut next = match start {
            HashOrNumber::Number(number) => Some(number),
            HashOrNumber::Hash(hash) => self.canonical_number(hash)?,
        };
        let mut headers = Vec::new();
        let mut gathered_bytes = 0_usize;
        for _ in 0..limit.min(READ_ITEMS_MAX) {
            let Some(number) = next.filter(|_| gathered_bytes < budget_bytes) else { break };
            let Some(hash) = self.index.canonical_hash(number)? else { break };
            let at = BlockNumHash { number, hash };
            let Some(rlp) = self.index.get(&keys::header(at))? else {
                return Err(StoreError::Damaged(format!("the header of {at} is missing")));
            };
            gathered_bytes = gathered_bytes.saturating_add(rlp.len());
            headers.push(rlp.into());
            next = step(number);
        }
        Ok(headers)
    }

    /// The number of a block, if it is canonical.
    fn canonical_number(&self, hash: B256) -> Result<Option<BlockNumber>, StoreError> {
        let Some(number) = self.index.number_of(hash)? else { return Ok(None) };
        Ok((self.index.canonical_hash(number)? == Some(hash)).then_some(number))
    }

    fn bodies(&self, hashes: &[B256], budget_bytes: usize) -> Result<Vec<Body>, StoreError> {
        let most = usize::try_from(READ_ITEMS_MAX).unwrap_or(usize::MAX);
        let mut bodies = Vec::new();
        let mut gathered_bytes = 0_usize;
        for hash in hashes.iter().take(most) {
            if gathered_bytes >= budget_bytes {
                break;
            }
            // what no head has been named over may be invalid, and is not handed on
            if self.canonical_number(*hash)?.is_none() {
                break;
            }
            let Some(body) = self.body(*hash)? else { break };
            gathered_bytes = gathered_bytes.saturating_add(body.weight_bytes());
            bodies.push(body);
        }
        Ok(bodies)
    }

    fn block(&self, block: HashOrNumber) -> Result<Option<StoredBlock>, StoreError> {
        let (header, canonical) = {
            let _view = self.view();
            let hash = match block {
                HashOrNumber::Hash(hash) => Some(hash),
                HashOrNumber::Number(number) => self.index.canonical_hash(number)?,
            };
            let Some(hash) = hash else { return Ok(None) };
            let Some(header) = self.index.header_by_hash(hash)? else { return Ok(None) };
            (header, self.canonical_number(hash)?.is_some())
        };
        let Some(body) = self.body(header.hash())? else { return Ok(None) };
        Ok(Some(StoredBlock { block: Block { header, body: Arc::new(body) }, canonical }))
    }

    pub(crate) fn pointer(&self, hash: B256) -> Result<Option<BodyPointer>, StoreError> {
        self.index.get(&keys::body(hash))?.map(|entry| keys::get_pointer(&entry)).transpose()
    }

    /// Bodies are never moved or removed, so this needs no view.
    pub(crate) fn body(&self, hash: B256) -> Result<Option<Body>, StoreError> {
        let Some(pointer) = self.pointer(hash)? else { return Ok(None) };
        codec::unpack(&self.bodies.read(pointer)?).map(Some).map_err(|error| {
            StoreError::Damaged(format!("the body of block {hash} cannot be read back: {error}"))
        })
    }
}

/// How `GetBlockHeaders` goes from one height to the next.
fn step(skip: u64, reverse: bool) -> impl Fn(BlockNumber) -> Option<BlockNumber> {
    move |number| {
        let stride = skip.checked_add(1)?;
        if reverse { number.checked_sub(stride) } else { number.checked_add(stride) }
    }
}

/// Canonical blocks, ascending; made by [`Disk::blocks`](crate::Disk::blocks).
pub struct Blocks<'a> {
    read: Box<dyn Fn(BlockNumber) -> Result<Option<Block>, StoreError> + 'a>,
    rest: std::ops::RangeInclusive<BlockNumber>,
}

impl std::fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl<'a> Blocks<'a> {
    pub(crate) fn new<I: Index, L: BodyLog>(
        ledger: &'a Ledger<I, L>,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Self {
        let read = move |number| {
            Ok(ledger.block(HashOrNumber::Number(number))?.map(|stored| stored.block))
        };
        Self { read: Box::new(read), rest: from..=to }
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<Block, StoreError>;

    /// Ends at the first height that has no canonical block.
    fn next(&mut self) -> Option<Self::Item> {
        let number = self.rest.next()?;
        (self.read)(number).transpose()
    }
}
