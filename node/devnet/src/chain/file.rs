//! A chain in a file, of any length, with little of it in memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use alloy_primitives::{B256, Bytes, keccak256};
use moorline_messages::{Block, BlockNumHash, HashOrNumber, SealedHeader};
use moorline_rules::{block_rlp, decode_block};
use thiserror::Error;
use tokio::sync::watch;

use super::{Chain, genesis_block, index::Index};

/// No block is larger: EIP-7934 allows 8 MiB.
const MAX_BLOCK_BYTES: usize = 32 << 20;

/// Enough to hold any header; most of what follows it is read only when asked for.
const HEADER_READ_BYTES: usize = 1024;

/// Why a chain file cannot be used.
#[derive(Debug, Error)]
pub enum FileChainError {
    /// The file cannot be read or written.
    #[error("the chain file cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// What begins here is not a block.
    #[error("there is no block at byte {offset} of the chain file: {reason}")]
    Malformed {
        /// Offset in the file, in bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A block is not the child of the one before it; the first must follow the genesis block.
    #[error("block {block} at byte {offset} of the chain file does not follow {parent}")]
    NotLinked {
        /// The block.
        block: BlockNumHash,
        /// Its offset in the file, in bytes.
        offset: u64,
        /// The block before it.
        parent: BlockNumHash,
    },
}

/// RLP blocks one after another, genesis left out, as the clients' import commands read them.
///
/// Memory holds 20 bytes for each block.
#[derive(Debug)]
pub struct FileChain {
    file: File,
    genesis: Arc<SealedHeader>,
    index: Index,
    tip: watch::Sender<BlockNumHash>,
}

impl FileChain {
    /// Writes the blocks to a new file, and serves them from there. They must follow `genesis`.
    pub fn create(
        path: &Path,
        genesis: Arc<SealedHeader>,
        blocks: impl IntoIterator<Item = Block>,
    ) -> Result<Self, FileChainError> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut chain = Self::empty(file, genesis);
        let mut tip = chain.tip();
        let mut out = BufWriter::with_capacity(1 << 20, &chain.file);
        for block in blocks {
            let bytes = block_rlp(&block.header, &block.body);
            tip = append(&mut chain.index, tip, &block.header, bytes.len())?;
            out.write_all(&bytes)?;
        }
        out.flush()?;
        drop(out);
        Ok(chain.ready(tip))
    }

    /// Reads a file once from end to end, to learn where its blocks are. Proves that they link to
    /// one another and to `genesis`, and nothing else.
    pub fn open(path: &Path, genesis: Arc<SealedHeader>) -> Result<Self, FileChainError> {
        let mut chain = Self::empty(File::open(path)?, genesis);
        let mut reader = BufReader::with_capacity(1 << 20, &chain.file);
        let mut tip = chain.tip();
        loop {
            let offset = chain.index.end();
            let Some(bytes) = read_block(&mut reader, offset)? else { break };
            let size = bytes.len();
            let block = decode_block(&mut bytes.into())
                .map_err(|error| malformed(offset, error.to_string()))?;
            tip = append(&mut chain.index, tip, &block.header, size)?;
        }
        Ok(chain.ready(tip))
    }

    fn empty(file: File, genesis: Arc<SealedHeader>) -> Self {
        let (tip, _) = watch::channel(BlockNumHash::of(&genesis));
        Self { file, genesis, index: Index::new(), tip }
    }

    fn ready(mut self, tip: BlockNumHash) -> Self {
        self.index.sort();
        self.tip.send_replace(tip);
        self
    }

    /// The first bytes of the block at a position, at most `limit` of them.
    fn read(&self, position: u64, limit: usize) -> Option<Bytes> {
        let (offset, size) = self.index.range(position)?;
        let mut bytes = vec![0; size.min(limit)];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Some(bytes.into()),
            Err(error) => {
                tracing::warn!(%error, offset, "a block of the chain file cannot be read");
                None
            }
        }
    }

    fn header_at(&self, position: u64) -> Option<Bytes> {
        let bytes = self.read(position, HEADER_READ_BYTES)?;
        let start = list_sizes(&bytes)?.0;
        let (prefix, payload) = list_sizes(bytes.get(start..)?)?;
        let end = start.checked_add(prefix)?.checked_add(payload)?;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// The position of the block with this hash; the genesis block's child is at
    /// position 0.
    fn position(&self, hash: &B256) -> Option<u64> {
        self.index.candidates(hash).find(|position| {
            self.header_at(*position).is_some_and(|header| keccak256(header) == *hash)
        })
    }
}

impl Chain for FileChain {
    fn genesis(&self) -> &Arc<SealedHeader> {
        &self.genesis
    }

    fn watch_tip(&self) -> watch::Receiver<BlockNumHash> {
        self.tip.subscribe()
    }

    fn header(&self, at: HashOrNumber) -> Option<Bytes> {
        match self.locate(at)? {
            Place::Genesis => Some(alloy_rlp::encode(self.genesis.inner()).into()),
            Place::File(position) => self.header_at(position),
        }
    }

    fn block(&self, at: HashOrNumber) -> Option<Block> {
        match self.locate(at)? {
            Place::Genesis => Some(genesis_block(&self.genesis)),
            Place::File(position) => decode_block(&mut self.read(position, usize::MAX)?).ok(),
        }
    }

    fn canonical_number(&self, hash: B256) -> Option<u64> {
        match self.locate(HashOrNumber::Hash(hash))? {
            Place::Genesis => Some(self.genesis.number),
            Place::File(position) => self.first_number().checked_add(position),
        }
    }
}

/// Where a block is.
enum Place {
    Genesis,
    File(u64),
}

impl FileChain {
    fn first_number(&self) -> u64 {
        self.genesis.number.saturating_add(1)
    }

    fn locate(&self, at: HashOrNumber) -> Option<Place> {
        match at {
            HashOrNumber::Hash(hash) if hash == self.genesis.hash() => Some(Place::Genesis),
            HashOrNumber::Hash(hash) => self.position(&hash).map(Place::File),
            HashOrNumber::Number(number) if number == self.genesis.number => Some(Place::Genesis),
            HashOrNumber::Number(number) => {
                let position = number.checked_sub(self.first_number())?;
                (position < self.index.len()).then_some(Place::File(position))
            }
        }
    }
}

fn malformed(offset: u64, reason: impl Into<String>) -> FileChainError {
    FileChainError::Malformed { offset, reason: reason.into() }
}

/// Indexes the block that follows `tip`, which it becomes.
fn append(
    index: &mut Index,
    tip: BlockNumHash,
    header: &SealedHeader,
    size: usize,
) -> Result<BlockNumHash, FileChainError> {
    let block = BlockNumHash::of(header);
    if header.parent_hash != tip.hash || Some(header.number) != tip.number.checked_add(1) {
        return Err(FileChainError::NotLinked { block, offset: index.end(), parent: tip });
    }
    index.push(&block.hash, size);
    Ok(block)
}

/// The sizes of a list's prefix and of its payload, of which `bytes` may hold only the beginning.
fn list_sizes(bytes: &[u8]) -> Option<(usize, usize)> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0xc0..=0xf7 => Some((1, usize::from(first.checked_sub(0xc0)?))),
        0xf8.. => {
            let length = usize::from(first.checked_sub(0xf7)?);
            let digits = rest.get(..length)?.iter();
            let payload = digits.fold(0_usize, |size, digit| {
                size.saturating_mul(256).saturating_add(usize::from(*digit))
            });
            Some((length.saturating_add(1), payload))
        }
        _ => None,
    }
}

/// The next block's bytes, or nothing at the end of the file.
fn read_block(reader: &mut impl BufRead, offset: u64) -> Result<Option<Vec<u8>>, FileChainError> {
    let ahead = reader.fill_buf()?;
    let Some(first) = ahead.first() else { return Ok(None) };
    // one byte, and as many more as a long list's size takes
    let prefix = usize::from(first.saturating_sub(0xf7)).saturating_add(1);
    let mut bytes = vec![0; prefix];
    reader.read_exact(&mut bytes).map_err(|_| malformed(offset, "it is cut short"))?;
    let size = list_sizes(&bytes).map_or(0, |(prefix, payload)| prefix.saturating_add(payload));
    if size == 0 {
        return Err(malformed(offset, "it is not a list"));
    }
    if size > MAX_BLOCK_BYTES {
        return Err(malformed(offset, format!("it claims {size} bytes")));
    }
    let missing = size.saturating_sub(prefix) as u64;
    reader.by_ref().take(missing).read_to_end(&mut bytes)?;
    if bytes.len() < size {
        return Err(malformed(offset, "it is cut short"));
    }
    Ok(Some(bytes))
}
