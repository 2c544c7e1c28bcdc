//! The store itself, over any index and any place for records.

mod payload_bodies;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use alloy_primitives::{B256, BlockNumber, Bytes};
use moorline_messages::{
    Block, BlockNumHash, Body, Forkchoice, FoundBlock, HashOrNumber, Receipts, SealedHeader,
    StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreStatus, StoredBlock, StoredState, Weigh,
};
use moorline_rules::has_no_receipts;

use crate::{
    backend::{FIND_HASHES_MAX, READ_ITEMS_MAX},
    codec::{Packer, Unpacker},
    group::Known,
    index::{Entries, Index},
    keys::{self, LogEnd, Pointer},
    stage::Stage,
};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Header,
    Body,
    Receipts,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Receipts => "receipts",
        })
    }
}

/// Where packed headers, bodies and receipts go. One commit at a time writes.
pub(crate) trait RecordLog: Send + Sync {
    /// How far it has been appended to.
    fn end(&self) -> LogEnd;

    /// Appends a record, which may be read once it is synced.
    fn append(&self, kind: RecordKind, payload: &[u8]) -> Result<Pointer, StoreError>;

    /// Forgets what was appended after `end`.
    fn rewind(&self, end: LogEnd);

    /// Makes everything that was appended survive a loss of power.
    fn sync(&self) -> Result<(), StoreError>;

    /// One record's payload.
    fn read(&self, pointer: Pointer, kind: RecordKind) -> Result<Vec<u8>, StoreError>;

    /// Whether a record of this kind lies there from end to end.
    fn reaches(&self, pointer: Pointer, kind: RecordKind) -> bool;
}

/// Reads records, one after another.
pub(crate) struct Records<'a, L> {
    log: &'a L,
    unpacker: Unpacker,
}

impl<'a, L: RecordLog> Records<'a, L> {
    pub(crate) fn new(log: &'a L) -> Self {
        Self { log, unpacker: Unpacker::new() }
    }

    pub(crate) fn header(
        &mut self,
        known: &Known,
    ) -> Result<Option<Arc<SealedHeader>>, StoreError> {
        let Some(pointer) = known.header else { return Ok(None) };
        let packed = self.log.read(pointer, RecordKind::Header)?;
        let header = self
            .unpacker
            .header(packed)
            .map_err(|why| unreadable(RecordKind::Header, known.at, &why))?;
        Ok(Some(Arc::new(SealedHeader::new_unchecked(header, known.at.hash))))
    }

    fn header_rlp(&mut self, known: &Known) -> Result<Bytes, StoreError> {
        let Some(pointer) = known.header else {
            return Err(StoreError::Damaged(format!("the header of {} is missing", known.at)));
        };
        let packed = self.log.read(pointer, RecordKind::Header)?;
        let rlp = self.unpacker.header_rlp(packed);
        rlp.map(Bytes::from).map_err(|why| unreadable(RecordKind::Header, known.at, &why))
    }

    pub(crate) fn body(&mut self, known: &Known) -> Result<Option<Body>, StoreError> {
        let Some(pointer) = known.body else { return Ok(None) };
        let packed = self.log.read(pointer, RecordKind::Body)?;
        let body = self.unpacker.body(packed);
        body.map(Some).map_err(|why| unreadable(RecordKind::Body, known.at, &why))
    }

    /// The receipts as stored.
    pub(crate) fn receipts(&mut self, known: &Known) -> Result<Option<Receipts>, StoreError> {
        let Some(pointer) = known.receipts else { return Ok(None) };
        let packed = self.log.read(pointer, RecordKind::Receipts)?;
        let receipts = self.unpacker.receipts(packed);
        receipts.map(Some).map_err(|why| unreadable(RecordKind::Receipts, known.at, &why))
    }

    /// The receipts as stored, or an empty list where the header says that there are none.
    fn receipts_or_empty(&mut self, known: &Known) -> Result<Option<Receipts>, StoreError> {
        if known.receipts.is_some() {
            return self.receipts(known);
        }
        let header = self.header(known)?;
        Ok(header.filter(|header| has_no_receipts(header)).map(|_| Receipts::default()))
    }
}

fn unreadable(kind: RecordKind, at: BlockNumHash, why: &str) -> StoreError {
    StoreError::Damaged(format!("the {kind} of block {at} cannot be read back: {why}"))
}

/// The rules of what is kept, the same for every backend.
#[derive(Debug)]
pub(crate) struct Ledger<I, L> {
    pub(crate) index: I,
    pub(crate) log: L,
    /// Held for writing only while a batch goes into the index's memory, so that a read sees a batch
    /// whole or not at all, and never waits for a disk behind one. Records are never moved or removed, so
    /// they are read without it.
    view: RwLock<()>,
    /// Held by the commit at hand.
    committing: Mutex<Packer>,
}

impl<I: Index, L: RecordLog> Ledger<I, L> {
    pub(crate) fn new(index: I, log: L) -> Self {
        Self { index, log, view: RwLock::new(()), committing: Mutex::new(Packer::new()) }
    }

    /// Writes the genesis block and what the store is into an empty index.
    pub(crate) fn found(
        &self,
        genesis: &SealedHeader,
        chain_id: u64,
        keeps_receipts: bool,
    ) -> Result<(), StoreError> {
        let mut packer = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stage = Stage::new(&self.index, &self.log, &mut packer);
        stage.found(&Arc::new(genesis.clone()), chain_id, keeps_receipts)?;
        self.write(LogEnd::default(), stage.finish())
    }

    pub(crate) fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        let mut packer = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = self.log.end();
        let mut stage = Stage::new(&self.index, &self.log, &mut packer);
        let (mut verdicts, mut failure) = (Vec::with_capacity(batches.len()), None);
        for batch in batches {
            let verdict = match &failure {
                None => stage.add(batch),
                Some(error) => Err(StoreError::clone(error)),
            };
            if let Err(error) = &verdict
                && !matches!(error, StoreError::Rejected(_))
            {
                failure.get_or_insert_with(|| error.clone());
            }
            verdicts.push(verdict);
        }
        let written = match failure {
            None => self.write(begin, stage.finish()),
            Some(error) => {
                // what was staged before may lie in a file that failed
                self.log.rewind(begin);
                Err(error)
            }
        };
        if let Err(error) = written {
            for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
                *verdict = Err(error.clone());
            }
        }
        verdicts
    }

    /// Records first: an index entry never points at what is not on disk.
    fn write(&self, begin: LogEnd, mut entries: Entries) -> Result<(), StoreError> {
        let ready = self.index.ready().and_then(|()| self.log.sync());
        if ready.is_err() {
            // only before the index is touched: later it may know them, whatever it says
            self.log.rewind(begin);
            return ready;
        }
        let end = self.log.end();
        if end != begin {
            entries.insert(keys::META_LOG_END.to_vec(), Some(keys::put_log_end(end)));
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
        let (tip, known, forkchoice, spans) = {
            let _view = self.view();
            let tip = self.index.tip()?;
            let from = keys::first_of(keys::SPANS);
            let spans = self.index.scan(&from, &keys::end_of(keys::SPANS)).map(|entry| {
                let (key, value) = entry?;
                keys::get_span(&key, &value)
            });
            let spans = spans.collect::<Result<_, _>>()?;
            (tip, self.index.known(tip)?, self.forkchoice()?, spans)
        };
        let header = known.map(|known| Records::new(&self.log).header(&known)).transpose()?;
        let Some(tip) = header.flatten() else {
            return Err(StoreError::Damaged(format!("the header of the tip {tip} is missing")));
        };
        let keeps_receipts = self.index.keeps_receipts()?;
        Ok(StoredState { tip, forkchoice, keeps_receipts, spans })
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
            keeps_receipts: self.index.keeps_receipts()?,
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
        let known: Vec<_> = {
            let _view = self.view();
            let known = hashes.iter().map(|hash| self.index.known_by_hash(*hash));
            known.collect::<Result<_, _>>()?
        };
        let mut records = Records::new(&self.log);
        let found = |known: Option<Known>| match known {
            Some(known) => found_block(&mut records, &known),
            None => Ok(None),
        };
        known.into_iter().map(found).collect()
    }

    pub(crate) fn walk(
        &self,
        top: BlockNumHash,
        limit: u64,
    ) -> Result<Vec<FoundBlock>, StoreError> {
        let mut records = Records::new(&self.log);
        let mut found = Vec::new();
        let mut next = Some(top);
        for _ in 0..limit.min(READ_ITEMS_MAX) {
            let Some(at) = next else { break };
            let known = {
                let _view = self.view();
                self.index.known(at)?
            };
            let Some(known) = known else { break };
            let Some(block) = found_block(&mut records, &known)? else { break };
            let parent_hash = block.header.parent_hash;
            next = at.number.checked_sub(1).map(|n| BlockNumHash::new(n, parent_hash));
            found.push(block);
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
            StoreQuery::PayloadBodies { blocks, budget_bytes } => {
                self.payload_bodies(blocks, *budget_bytes).map(StoreAnswer::PayloadBodies)
            }
            StoreQuery::Receipts { hashes, budget_bytes } => {
                self.receipts(hashes, *budget_bytes).map(StoreAnswer::Receipts)
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
        let known = self.canonical_from(start, limit.min(READ_ITEMS_MAX), step)?;
        let mut records = Records::new(&self.log);
        let mut headers = Vec::new();
        let mut gathered_bytes = 0_usize;
        for known in known {
            if gathered_bytes >= budget_bytes {
                break;
            }
            let rlp = records.header_rlp(&known)?;
            gathered_bytes = gathered_bytes.saturating_add(rlp.len());
            headers.push(rlp);
        }
        Ok(headers)
    }

    /// Canonical blocks step by step, up to the first height that has none.
    fn canonical_from(
        &self,
        start: HashOrNumber,
        limit: u64,
        step: impl Fn(BlockNumber) -> Option<BlockNumber>,
    ) -> Result<Vec<Known>, StoreError> {
        let _view = self.view();
        let mut next = match start {
            HashOrNumber::Number(number) => Some(number),
            HashOrNumber::Hash(hash) => self.canonical_number(hash)?,
        };
        let mut found = Vec::new();
        for _ in 0..limit {
            let Some(number) = next else { break };
            let Some(known) = self.index.canonical(number)? else { break };
            found.push(known);
            next = step(number);
        }
        Ok(found)
    }

    /// The number of a block, if it is canonical.
    fn canonical_number(&self, hash: B256) -> Result<Option<BlockNumber>, StoreError> {
        let Some(known) = self.index.known_by_hash(hash)? else { return Ok(None) };
        Ok(self.is_canonical(&known)?.then_some(known.at.number))
    }

    fn is_canonical(&self, known: &Known) -> Result<bool, StoreError> {
        Ok(self.index.canonical_hash(known.at.number)? == Some(known.at.hash))
    }

    fn bodies(&self, hashes: &[B256], budget_bytes: usize) -> Result<Vec<Body>, StoreError> {
        let mut records = Records::new(&self.log);
        self.gather(hashes, budget_bytes, |known| records.body(known))
    }

    fn receipts(&self, hashes: &[B256], budget_bytes: usize) -> Result<Vec<Receipts>, StoreError> {
        if !self.index.keeps_receipts()? {
            return Ok(Vec::new());
        }
        let mut records = Records::new(&self.log);
        self.gather(hashes, budget_bytes, |known| records.receipts_or_empty(known))
    }

    /// Something of canonical blocks, up to the first that is missing or lacks it.
    fn gather<T: Weigh>(
        &self,
        hashes: &[B256],
        budget_bytes: usize,
        mut read: impl FnMut(&Known) -> Result<Option<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let most = usize::try_from(READ_ITEMS_MAX).unwrap_or(usize::MAX);
        let mut gathered = Vec::new();
        let mut gathered_bytes = 0_usize;
        for hash in hashes.iter().take(most) {
            if gathered_bytes >= budget_bytes {
                break;
            }
            let known = {
                let _view = self.view();
                let Some(known) = self.index.known_by_hash(*hash)? else { break };
                // what no head has been named over may be invalid, and is not handed on
                if !self.is_canonical(&known)? {
                    break;
                }
                known
            };
            let Some(item) = read(&known)? else { break };
            gathered_bytes = gathered_bytes.saturating_add(item.weight_bytes());
            gathered.push(item);
        }
        Ok(gathered)
    }

    fn block(&self, block: HashOrNumber) -> Result<Option<StoredBlock>, StoreError> {
        let (known, canonical) = {
            let _view = self.view();
            let known = match block {
                HashOrNumber::Hash(hash) => self.index.known_by_hash(hash)?,
                HashOrNumber::Number(number) => self.index.canonical(number)?,
            };
            let Some(known) = known else { return Ok(None) };
            (known, self.is_canonical(&known)?)
        };
        let mut records = Records::new(&self.log);
        let Some(header) = records.header(&known)? else { return Ok(None) };
        let Some(body) = records.body(&known)? else { return Ok(None) };
        Ok(Some(StoredBlock { block: Block { header, body: Arc::new(body) }, canonical }))
    }
}

fn found_block<L: RecordLog>(
    records: &mut Records<'_, L>,
    known: &Known,
) -> Result<Option<FoundBlock>, StoreError> {
    let header = records.header(known)?;
    Ok(header.map(|header| FoundBlock {
        has_body: known.body.is_some(),
        has_receipts: known.receipts.is_some() || has_no_receipts(&header),
        header,
    }))
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
    pub(crate) fn new<I: Index, L: RecordLog>(
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
