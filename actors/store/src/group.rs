//! What the index knows of the blocks at sixteen neighbouring heights, in three entries: what they are
//! and where their headers lie, where their bodies lie, and where their receipts lie. Bodies and receipts
//! come later, and their places are all that is written then.

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, StoreError};

use crate::{
    keys::{self, Bytestring, Fields, Pointer},
    ledger::RecordKind,
};

/// The low half of a block's first byte: its height above the group's first.
const HEIGHT: u8 = 0x0f;
const HAS_HEADER: u8 = 0x10;

/// A block of which something is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) at: BlockNumHash,
    pub(crate) header: Option<Pointer>,
    pub(crate) body: Option<Pointer>,
    pub(crate) receipts: Option<Pointer>,
}

impl Known {
    const fn new(at: BlockNumHash, header: Option<Pointer>) -> Self {
        Self { at, header, body: None, receipts: None }
    }

    /// Where its record of a kind lies.
    pub(crate) const fn record(&self, kind: RecordKind) -> Option<Pointer> {
        match kind {
            RecordKind::Header => self.header,
            RecordKind::Body => self.body,
            RecordKind::Receipts => self.receipts,
        }
    }

    pub(crate) const fn record_mut(&mut self, kind: RecordKind) -> &mut Option<Pointer> {
        match kind {
            RecordKind::Header => &mut self.header,
            RecordKind::Body => &mut self.body,
            RecordKind::Receipts => &mut self.receipts,
        }
    }
}

/// The blocks known at the heights that share an entry, in the order in which they were stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    blocks: Vec<Known>,
}

impl Group {
    /// Reads the entries that `number` lies in.
    pub(crate) fn get(
        number: BlockNumber,
        blocks: Option<&[u8]>,
        bodies: Option<&[u8]>,
        receipts: Option<&[u8]>,
    ) -> Result<Self, StoreError> {
        let (first, _) = keys::split(number);
        let mut group = Self { blocks: Vec::with_capacity(keys::HEIGHTS_IN_ENTRY) };
        let mut fields = Fields::new("blocks", blocks.unwrap_or_default());
        while !fields.is_empty() {
            let byte = fields.u8()?;
            let number = first.saturating_add(u64::from(byte & HEIGHT));
            let at = BlockNumHash { number, hash: fields.hash()? };
            let header = (byte & HAS_HEADER != 0).then(|| fields.pointer()).transpose()?;
            group.blocks.push(Known::new(at, header));
        }
        group.get_pointers(RecordKind::Body, first, bodies.unwrap_or_default())?;
        group.get_pointers(RecordKind::Receipts, first, receipts.unwrap_or_default())?;
        Ok(group)
    }

    /// The inverse of [`Self::put_pointers`].
    fn get_pointers(
        &mut self,
        kind: RecordKind,
        first: BlockNumber,
        entry: &[u8],
    ) -> Result<(), StoreError> {
        let mut fields = Fields::new("bodies or receipts", entry);
        while !fields.is_empty() {
            let position = usize::from(fields.u16()?);
            let pointer = fields.pointer()?;
            let Some(block) = self.blocks.get_mut(position) else {
                return Err(StoreError::Damaged(format!(
                    "the index has a {kind} record without a block at the heights from {first}"
                )));
            };
            *block.record_mut(kind) = Some(pointer);
        }
        Ok(())
    }

    /// What the blocks are and where their headers lie.
    pub(crate) fn put_blocks(&self) -> Bytestring {
        let mut entry = Bytestring::with_capacity(self.blocks.len().saturating_mul(39));
        for Known { at, header, .. } in &self.blocks {
            let height = u8::try_from(keys::split(at.number).1).unwrap_or_default();
            entry.push(height | if header.is_some() { HAS_HEADER } else { 0 });
            entry.extend_from_slice(at.hash.as_slice());
            if let Some(pointer) = header {
                pointer.put(&mut entry);
            }
        }
        entry
    }

    /// Where their bodies or receipts lie.
    pub(crate) fn put_pointers(&self, kind: RecordKind) -> Bytestring {
        let mut entry = Bytestring::with_capacity(self.blocks.len().saturating_mul(8));
        for (position, block) in (0_u16..).zip(&self.blocks) {
            if let Some(pointer) = block.record(kind) {
                entry.extend_from_slice(&position.to_be_bytes());
                pointer.put(&mut entry);
            }
        }
        entry
    }

    pub(crate) fn blocks(&self) -> &[Known] {
        &self.blocks
    }

    pub(crate) fn find(&self, hash: B256) -> Option<Known> {
        self.blocks.iter().find(|block| block.at.hash == hash).copied()
    }

    pub(crate) fn contains(&self, at: BlockNumHash) -> bool {
        self.blocks.iter().any(|block| block.at == at)
    }

    /// The block, put behind the others if it is new.
    pub(crate) fn entry(&mut self, at: BlockNumHash) -> &mut Known {
        let known = self.blocks.iter().position(|block| block.at == at);
        let place = known.unwrap_or_else(|| {
            self.blocks.push(Known::new(at, None));
            self.blocks.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "the place was just found or made")]
        &mut self.blocks[place]
    }

    fn at_height(&self, number: BlockNumber) -> impl Iterator<Item = &Known> {
        self.blocks.iter().filter(move |block| block.at.number == number)
    }

    /// Which of the blocks at its height it is: 1 for the first that was stored. No block past the
    /// 255th has a place.
    pub(crate) fn place_of(&self, at: BlockNumHash) -> Option<u8> {
        let before = self.at_height(at.number).position(|block| block.at == at)?;
        u8::try_from(before).ok()?.checked_add(1)
    }

    /// The block with a place at a height.
    pub(crate) fn at_place(&self, number: BlockNumber, place: u8) -> Option<Known> {
        let before = usize::from(place).checked_sub(1)?;
        self.at_height(number).nth(before).copied()
    }
}
