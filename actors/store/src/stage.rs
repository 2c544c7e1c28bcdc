//! What a group of batches will write, gathered and checked before the index learns of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, Body, Receipts, SealedHeader, Span, StoreBatch, StoreError};
use moorline_rules::has_no_receipts;

use crate::{
    codec::Packer,
    index::{Entries, Index, Lookup},
    keys::{self, Bytestring},
    ledger::{RecordKind, RecordLog, Records},
};

/// Batches on their way: looked up, they shine through to what is stored. Their records are appended
/// at once, where they count for nothing until the index says how far the log goes.
pub(crate) struct Stage<'a, I, L> {
    index: &'a I,
    log: &'a L,
    packer: &'a mut Packer,
    records: Records<'a, L>,
    keeps_receipts: Result<bool, StoreError>,
    accepted: Layer,
    /// The batch at hand; forgotten if it is rejected.
    current: Layer,
}

#[derive(Default)]
struct Layer {
    entries: Entries,
    /// By hash; they cannot be read back before the commit is done.
    headers: BTreeMap<B256, Arc<SealedHeader>>,
}

impl<I: Index, L: RecordLog> Lookup for Stage<'_, I, L> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError> {
        let staged = self.current.entries.get(key).or_else(|| self.accepted.entries.get(key));
        match staged {
            Some(value) => Ok(value.clone()),
            None => self.index.get(key),
        }
    }

    fn keeps_receipts(&self) -> Result<bool, StoreError> {
        self.keeps_receipts.clone()
    }
}

impl<'a, I: Index, L: RecordLog> Stage<'a, I, L> {
    pub(crate) fn new(index: &'a I, log: &'a L, packer: &'a mut Packer) -> Self {
        let records = Records::new(log);
        let keeps_receipts = index.keeps_receipts();
        let (accepted, current) = (Layer::default(), Layer::default());
        Self { index, log, packer, records, keeps_receipts, accepted, current }
    }

    /// Takes a batch on, whole or not at all.
    pub(crate) fn add(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        let begin = self.log.end();
        let verdict = self.stage(batch);
        let layer = std::mem::take(&mut self.current);
        if verdict.is_ok() {
            self.accepted.entries.extend(layer.entries);
            self.accepted.headers.extend(layer.headers);
        } else {
            self.log.rewind(begin);
        }
        verdict
    }

    /// What an empty store needs before it is one: the genesis block, canonical, and who we are.
    pub(crate) fn found(
        &mut self,
        genesis: &Arc<SealedHeader>,
        chain_id: u64,
        keeps_receipts: bool,
    ) -> Result<(), StoreError> {
        self.keeps_receipts = Ok(keeps_receipts);
        let at = BlockNumHash::of(genesis);
        let body = Body {
            transactions: Vec::new(),
            ommers: Body::NO_OMMERS,
            withdrawals: genesis.withdrawals_root.map(|_| Vec::new()),
        };
        self.stage_header(genesis)?;
        self.stage_body(at, &body)?;
        self.put_canonical(at)?;
        self.put(keys::META_TIP.to_vec(), keys::put_block(at));
        self.put(keys::META_EARLIEST.to_vec(), 1_u64.to_be_bytes().to_vec());
        self.put(keys::META_FORKCHOICE.to_vec(), keys::put_forkchoice(Default::default()));
        self.put(keys::META_CHAIN.to_vec(), keys::put_chain(chain_id, at.hash));
        self.put(keys::META_SCHEMA.to_vec(), keys::put_schema(keeps_receipts));
        self.accepted = std::mem::take(&mut self.current);
        Ok(())
    }

    /// All that was accepted.
    pub(crate) fn finish(self) -> Entries {
        self.accepted.entries
    }

    fn put(&mut self, key: Bytestring, value: Bytestring) {
        self.current.entries.insert(key, Some(value));
    }

    fn stage(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        for header in &batch.headers {
            self.stage_header(header)?;
        }
        for (at, body) in &batch.bodies {
            self.stage_body(*at, body)?;
        }
        if !batch.receipts.is_empty() && !self.keeps_receipts()? {
            return rejected("it brings receipts, and this store keeps none".to_owned());
        }
        for (at, receipts) in &batch.receipts {
            self.stage_receipts(*at, receipts)?;
        }
        let new_tip = self.stage_canonical(&batch.canonical)?;
        for span in &batch.spans {
            if new_tip.is_none_or(|tip| span.top.number > tip.number) {
                self.stage_span(span)?;
            }
        }
        if let Some(tip) = new_tip {
            self.drop_all(&keys::first_of(keys::SPANS), &keys::above(keys::SPANS, tip.number))?;
        }
        if let Some(forkchoice) = batch.forkchoice {
            self.put(keys::META_FORKCHOICE.to_vec(), keys::put_forkchoice(forkchoice));
        }
        Ok(())
    }

    fn stage_header(&mut self, header: &Arc<SealedHeader>) -> Result<(), StoreError> {
        let at = BlockNumHash::of(header);
        let mut group = self.group(at.number)?;
        let is_new = !group.contains(at);
        let known = group.entry(at);
        if known.header.is_none() {
            let packed = self.packer.header(header)?;
            known.header = Some(self.log.append(RecordKind::Header, packed)?);
            self.put(keys::blocks(at.number), group.put_blocks());
            self.current.headers.insert(at.hash, Arc::clone(header));
        }
        if is_new { self.put_number(at) } else { Ok(()) }
    }

    fn stage_body(&mut self, at: BlockNumHash, body: &Body) -> Result<(), StoreError> {
        let key = keys::bodies(at.number);
        self.stage_record(at, RecordKind::Body, key, |packer| packer.body(at, body))
    }

    fn stage_receipts(&mut self, at: BlockNumHash, receipts: &Receipts) -> Result<(), StoreError> {
        if receipts.items.is_empty() {
            // the header says so already; a header that says otherwise wants others
            return Ok(());
        }
        let key = keys::receipts(at.number);
        self.stage_record(at, RecordKind::Receipts, key, |packer| packer.receipts(at, receipts))
    }

    /// Appends a record, unless there is one, and notes where it lies in the entry under `key`.
    fn stage_record(
        &mut self,
        at: BlockNumHash,
        kind: RecordKind,
        key: Bytestring,
        pack: impl FnOnce(&mut Packer) -> Result<&[u8], StoreError>,
    ) -> Result<(), StoreError> {
        let mut group = self.group(at.number)?;
        let is_new = !group.contains(at);
        let pointer = group.entry(at).record_mut(kind);
        if pointer.is_some() {
            return Ok(());
        }
        *pointer = Some(self.log.append(kind, pack(self.packer)?)?);
        self.put(key, group.put_pointers(kind));
        if is_new {
            self.put(keys::blocks(at.number), group.put_blocks());
            self.put_number(at)?;
        }
        Ok(())
    }

    /// Has a block found by its hash.
    fn put_number(&mut self, at: BlockNumHash) -> Result<(), StoreError> {
        let key = keys::numbers(at.hash);
        let entry = self.get(&key)?;
        let mut numbers = entry.map_or(Ok(Vec::new()), |entry| keys::get_numbers(&entry))?;
        if !numbers.contains(&at.number) {
            numbers.push(at.number);
            self.put(key, keys::put_numbers(&numbers));
        }
        Ok(())
    }

    fn header(&mut self, at: BlockNumHash) -> Result<Option<Arc<SealedHeader>>, StoreError> {
        let layers = [&self.current, &self.accepted];
        if let Some(staged) = layers.iter().find_map(|layer| layer.headers.get(&at.hash)) {
            return Ok(Some(Arc::clone(staged)).filter(|header| header.number == at.number));
        }
        match self.known(at)? {
            Some(known) => self.records.header(&known),
            None => Ok(None),
        }
    }

    fn stage_span(&mut self, span: &Span) -> Result<(), StoreError> {
        if span.bottom.number > span.top.number {
            return rejected(format!("a span goes down from {} to {}", span.top, span.bottom));
        }
        let Some(bottom) = self.header(span.bottom)? else {
            return rejected(format!("the header of a span's bottom {} is missing", span.bottom));
        };
        if self.known(span.top)?.is_none_or(|known| known.header.is_none()) {
            return rejected(format!("the header of a span's top {} is missing", span.top));
        }
        if bottom.parent_hash != span.bottom_parent {
            return rejected(format!("a span's bottom {} has another parent", span.bottom));
        }
        let key = keys::span(span.top);
        if let Some(entry) = self.get(&key)? {
            // a repeated batch must not shorten what was extended since
            if keys::get_span(&key, &entry)?.bottom.number <= span.bottom.number {
                return Ok(());
            }
        }
        self.put(key, keys::put_span(span));
        Ok(())
    }

    /// Returns the new tip, if there is one.
    fn stage_canonical(
        &mut self,
        blocks: &[BlockNumHash],
    ) -> Result<Option<BlockNumHash>, StoreError> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(None) };
        let (tip, earliest) = (self.tip()?, self.earliest()?);
        let earliest = match first.number {
            0 => 1,
            number if number < earliest || number > tip.number.saturating_add(1) => number,
            _ => earliest,
        };
        let keeps_receipts = self.keeps_receipts()?;
        let mut below = self.canonical_below(*first, earliest)?;
        for block in blocks {
            self.check_canonical(*block, below, keeps_receipts)?;
            below = Some(*block);
        }
        for block in blocks {
            self.put_canonical(*block)?;
        }
        self.drop_canonical_above(last.number)?;
        self.put(keys::META_TIP.to_vec(), keys::put_block(*last));
        self.put(keys::META_EARLIEST.to_vec(), earliest.to_be_bytes().to_vec());
        Ok(Some(*last))
    }

    /// The canonical block that `first` must follow; `None` where a run begins.
    fn canonical_below(
        &self,
        first: BlockNumHash,
        earliest: BlockNumber,
    ) -> Result<Option<BlockNumHash>, StoreError> {
        let Some(number) = first.number.checked_sub(1) else {
            return match self.canonical_hash(0)? {
                Some(genesis) if genesis == first.hash => Ok(None),
                _ => rejected(format!("block {first} is not the genesis block")),
            };
        };
        if number != 0 && number < earliest {
            return Ok(None);
        }
        match self.canonical_hash(number)? {
            Some(hash) => Ok(Some(BlockNumHash { number, hash })),
            None => rejected(format!("no canonical block lies under {first}")),
        }
    }

    fn check_canonical(
        &mut self,
        block: BlockNumHash,
        below: Option<BlockNumHash>,
        keeps_receipts: bool,
    ) -> Result<(), StoreError> {
        if below.is_some_and(|below| below.number.checked_add(1) != Some(block.number)) {
            return rejected(format!("canonical block {block} does not follow the one before it"));
        }
        let Some(header) = self.header(block)? else {
            return rejected(format!("the header of canonical block {block} is missing"));
        };
        let known = self.known(block)?;
        if known.is_none_or(|known| known.body.is_none()) {
            return rejected(format!("the body of canonical block {block} is missing"));
        }
        let lacks_receipts = known.is_none_or(|known| known.receipts.is_none());
        if keeps_receipts && lacks_receipts && !has_no_receipts(&header) {
            return rejected(format!("the receipts of canonical block {block} are missing"));
        }
        if below.is_some_and(|below| below.hash != header.parent_hash) {
            return rejected(format!(
                "canonical block {block} is not a child of the one before it"
            ));
        }
        Ok(())
    }

    fn put_canonical(&mut self, at: BlockNumHash) -> Result<(), StoreError> {
        let Some(place) = self.group(at.number)?.place_of(at) else {
            return rejected(format!("too many blocks are known at the height of block {at}"));
        };
        let mut places = self.places(at.number)?;
        if let Some(kept) = places.get_mut(keys::split(at.number).1) {
            *kept = place;
        }
        self.put(keys::canonical(at.number), places.to_vec());
        Ok(())
    }

    fn drop_canonical_above(&mut self, number: BlockNumber) -> Result<(), StoreError> {
        let (first, place) = keys::split(number);
        let mut places = self.places(number)?;
        if let Some(above) = places.get_mut(place.saturating_add(1)..) {
            above.fill(0);
        }
        self.put(keys::canonical(number), places.to_vec());
        let above = keys::above(keys::CANONICAL, first);
        self.drop_all(&above, &keys::end_of(keys::CANONICAL))
    }

    /// Removes every entry from `from` up to, not including, `to`.
    fn drop_all(&mut self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        let mut doomed: BTreeSet<Bytestring> = BTreeSet::new();
        for entry in self.index.scan(from, to) {
            doomed.insert(entry?.0);
        }
        for layer in [&self.accepted, &self.current] {
            let range = layer.entries.range(from.to_vec()..to.to_vec());
            doomed.extend(range.map(|(key, _)| key.clone()));
        }
        self.current.entries.extend(doomed.into_iter().map(|key| (key, None)));
        Ok(())
    }
}

fn rejected<T>(why: String) -> Result<T, StoreError> {
    Err(StoreError::Rejected(why))
}
