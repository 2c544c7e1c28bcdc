//! Where each block of a chain file begins, and which block has which hash.

use alloy_primitives::B256;

/// The start of every block and the first bytes of every hash: 20 bytes for each block.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Offsets in the file, in bytes, ascending; one more than there are blocks.
    starts: Vec<u64>,
    /// The first eight bytes of each hash with the block's position, sorted.
    positions: Vec<(u64, u32)>,
}

fn prefix(hash: &B256) -> u64 {
    hash.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { starts: vec![0], positions: Vec::new() }
    }

    /// How many blocks there are.
    pub(crate) fn len(&self) -> u64 {
        self.positions.len() as u64
    }

    /// Where the next block will begin.
    pub(crate) fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Adds a block of `size` bytes at the end. [`Index::sort`] must follow before anybody looks.
    pub(crate) fn push(&mut self, hash: &B256, size: usize) {
        // a file of 2^32 blocks would take 3 TB, so positions fit
        let position = u32::try_from(self.positions.len()).unwrap_or(u32::MAX);
        self.positions.push((prefix(hash), position));
        self.starts.push(self.end().saturating_add(size as u64));
    }

    pub(crate) fn sort(&mut self) {
        self.positions.sort_unstable();
    }

    /// Where the block at a position lies: its offset and its size.
    pub(crate) fn range(&self, position: u64) -> Option<(u64, usize)> {
        let position = usize::try_from(position).ok()?;
        let (start, end) = (self.starts.get(position)?, self.starts.get(position.checked_add(1)?)?);
        Some((*start, usize::try_from(end.checked_sub(*start)?).ok()?))
    }

    /// Positions of the blocks whose hash may be this one: almost always one or none.
    pub(crate) fn candidates(&self, hash: &B256) -> impl Iterator<Item = u64> + '_ {
        let wanted = prefix(hash);
        let first = self.positions.partition_point(|(prefix, _)| *prefix < wanted);
        let from = self.positions.iter().skip(first);
        from.take_while(move |(prefix, _)| *prefix == wanted).map(|(_, at)| u64::from(*at))
    }
}
