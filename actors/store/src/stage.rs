//! What a group of batches will write, gathered and checked before anything is written.

use std::collections::BTreeSet;

use alloy_consensus::Header;
use alloy_primitives::{B256, BlockNumber};
use alloy_rlp::Decodable;
use moorline_messages::{BlockNumHash, SealedHeader, Span, StoreBatch, StoreError};

use crate::{
    codec,
    index::{Entries, Index, Lookup},
    keys::{self, Bytestring},
};

/// Most bytes of RLP in one header. sled moves a leaf of 16 entries out of its cache's account at
/// 128 KiB; no header of a live chain comes near this.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// Batches on their way: looked up, they shine through to what is stored.
pub(crate) struct Stage<'a, I> {
    index: &'a I,
    accepted: Layer,
    /// The batch at hand; forgotten if it is rejected.
    current: Layer,
}

/// Entries and packed bodies to write.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) entries: Entries,
    /// In the order in which they came. Their index entries are empty until they have a place.
    pub(crate) bodies: Vec<(B256, Vec<u8>)>,
}

impl<I: Index> Lookup for Stage<'_, I> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError> {
        let staged = self.current.entries.get(key).or_else(|| self.accepted.entries.get(key));
        match staged {
            Some(value) => Ok(value.clone()),
            None => self.index.get(key),
        }
    }
}

impl<'a, I: Index> Stage<'a, I> {
    pub(crate) fn new(index: &'a I) -> Self {
        Self { index, accepted: Layer::default(), current: Layer::default() }
    }

    /// Takes a batch on, whole or not at all.
    pub(crate) fn add(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        let verdict = self.stage(batch);
        let layer = std::mem::take(&mut self.current);
        if verdict.is_ok() {
            self.accepted.entries.extend(layer.entries);
            self.accepted.bodies.extend(layer.bodies);
        }
        verdict
    }

    /// What an empty store needs before it is one: the genesis block, canonical, and who we are.
    pub(crate) fn found(
        &mut self,
        genesis: &SealedHeader,
        chain_id: u64,
        body: Vec<u8>,
    ) -> Result<(), StoreError> {
        let at = BlockNumHash::of(genesis);
        self.stage_header(genesis)?;
        self.stage_body(at.hash, body);
        self.put(keys::canonical(0), at.hash.to_vec());
        self.put(keys::META_TIP.to_vec(), keys::put_block(at));
        self.put(keys::META_EARLIEST.to_vec(), 1_u64.to_be_bytes().to_vec());
        self.put(keys::META_FORKCHOICE.to_vec(), keys::put_forkchoice(Default::default()));
        self.put(keys::META_CHAIN.to_vec(), keys::put_chain(chain_id, at.hash));
        self.put(keys::META_SCHEMA.to_vec(), keys::SCHEMA.to_be_bytes().to_vec());
        self.accepted = std::mem::take(&mut self.current);
        Ok(())
    }

    /// All that was accepted.
    pub(crate) fn finish(self) -> Layer {
        self.accepted
    }

    fn put(&mut self, key: Bytestring, value: Bytestring) {
        self.current.entries.insert(key, Some(value));
    }

    fn has_body(&self, hash: B256) -> Result<bool, StoreError> {
        Ok(self.get(&keys::body(hash))?.is_some())
    }

    fn stage_body(&mut self, hash: B256, packed: Vec<u8>) {
        self.put(keys::body(hash), Bytestring::new());
        self.current.bodies.push((hash, packed));
    }

    fn stage(&mut self, batch: &StoreBatch) -> Result<(), StoreError> {
        for header in &batch.headers {
            self.stage_header(header)?;
        }
        for (at, body) in &batch.bodies {
            if !self.has_body(at.hash)? {
                self.stage_body(at.hash, codec::pack(*at, body)?);
            }
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

    fn stage_header(&mut self, header: &SealedHeader) -> Result<(), StoreError> {
        let at = BlockNumHash::of(header);
        if self.get(&keys::number(at.hash))?.is_some() {
            return Ok(());
        }
        let rlp = alloy_rlp::encode(header.inner());
        if rlp.len() > HEADER_BYTES_MAX {
            return rejected(format!(
                "the header of block {at} is {} bytes, over {HEADER_BYTES_MAX}",
                rlp.len()
            ));
        }
        if Header::decode(&mut rlp.as_slice()).as_ref() != Ok(header.inner()) {
            return rejected(format!(
                "the header of block {at} leaves out fields that come before others"
            ));
        }
        self.put(keys::header(at), rlp);
        self.put(keys::number(at.hash), at.number.to_be_bytes().to_vec());
        Ok(())
    }

    fn stage_span(&mut self, span: &Span) -> Result<(), StoreError> {
        if span.bottom.number > span.top.number {
            return rejected(format!("a span goes down from {} to {}", span.top, span.bottom));
        }
        let Some(bottom) = self.header(span.bottom)? else {
            return rejected(format!("the header of a span's bottom {} is missing", span.bottom));
        };
        if self.number_of(span.top.hash)? != Some(span.top.number) {
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
        let mut below = self.canonical_below(*first, earliest)?;
        for block in blocks {
            self.check_canonical(*block, below)?;
            below = Some(*block);
        }
        for block in blocks {
            self.put(keys::canonical(block.number), block.hash.to_vec());
        }
        let above = keys::above(keys::CANONICAL, last.number);
        self.drop_all(&above, &keys::end_of(keys::CANONICAL))?;
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
        &self,
        block: BlockNumHash,
        below: Option<BlockNumHash>,
    ) -> Result<(), StoreError> {
        if below.is_some_and(|below| below.number.checked_add(1) != Some(block.number)) {
            return rejected(format!("canonical block {block} does not follow the one before it"));
        }
        let Some(header) = self.header(block)? else {
            return rejected(format!("the header of canonical block {block} is missing"));
        };
        if !self.has_body(block.hash)? {
            return rejected(format!("the body of canonical block {block} is missing"));
        }
        if below.is_some_and(|below| below.hash != header.parent_hash) {
            return rejected(format!(
                "canonical block {block} is not a child of the one before it"
            ));
        }
        Ok(())
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
