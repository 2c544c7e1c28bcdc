//! What the index knows of the blocks at sixteen neighbouring heights: one entry.

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, StoreError};

use crate::keys::{self, Bytestring, Fields, Pointer};

/// The low half of a block's first byte: its height above the group's first.
const PLACE: u8 = 0x0f;
const HAS_HEADER: u8 = 0x10;
const HAS_BODY: u8 = 0x20;

/// A block of which the header, the body or both are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) at: BlockNumHash,
    pub(crate) header: Option<Pointer>,
    pub(crate) body: Option<Pointer>,
}

/// The blocks known at the heights that share an entry, in the order in which they were stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    blocks: Vec<Known>,
}

impl Group {
    /// Reads the entry that `number` lies in.
    pub(crate) fn get(number: BlockNumber, entry: Option<&[u8]>) -> Result<Self, StoreError> {
        let (first, _) = keys::split(number);
        let mut fields = Fields::new("blocks", entry.unwrap_or_default());
        let mut blocks = Vec::with_capacity(keys::HEIGHTS_IN_ENTRY);
        while !fields.is_empty() {
            let flags = fields.u8()?;
            let number = first.saturating_add(u64::from(flags & PLACE));
            let at = BlockNumHash { number, hash: fields.hash()? };
            let mut pointer = |flag| (flags & flag != 0).then(|| fields.pointer()).transpose();
            blocks.push(Known { at, header: pointer(HAS_HEADER)?, body: pointer(HAS_BODY)? });
        }
        Ok(Self { blocks })
    }

    pub(crate) fn put(&self) -> Bytestring {
        let mut entry = Bytestring::with_capacity(self.blocks.len().saturating_mul(45));
        for Known { at, header, body } in &self.blocks {
            let place = u8::try_from(keys::split(at.number).1).unwrap_or_default();
            let flag = |pointer: &Option<Pointer>, flag| if pointer.is_some() { flag } else { 0 };
            entry.push(place | flag(header, HAS_HEADER) | flag(body, HAS_BODY));
            entry.extend_from_slice(at.hash.as_slice());
            for pointer in [header, body].into_iter().flatten() {
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

    /// The block, put behind the others if it is new.
    pub(crate) fn entry(&mut self, at: BlockNumHash) -> &mut Known {
        let known = self.blocks.iter().position(|block| block.at == at);
        let place = known.unwrap_or_else(|| {
            self.blocks.push(Known { at, header: None, body: None });
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
