//! The layout of the index: one tree, one byte of prefix for each kind of entry. Numbers are
//! big-endian in keys and values, so that keys sort by height.

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, Forkchoice, Span, StoreError};
use serde::{Deserialize, Serialize};

pub(crate) type Bytestring = Vec<u8>;

/// The layout described here, in a store that keeps no receipts. A change that older code cannot read raises
/// it.
pub(crate) const SCHEMA: u32 = 2;

/// The layout of a store that keeps receipts. It says so by this number alone: code that knows no receipts
/// refuses it, and there is no second entry that could say otherwise.
pub(crate) const SCHEMA_WITH_RECEIPTS: u32 = 3;

/// Heights that share an entry. Neighbours arrive together, and sled writes and keeps in memory less for
/// one long entry than for many short ones.
pub(crate) const HEIGHTS_IN_ENTRY: usize = 16;

pub(crate) const META_SCHEMA: &[u8] = b"mschema";
pub(crate) const META_CHAIN: &[u8] = b"mchain";
pub(crate) const META_TIP: &[u8] = b"mtip";
pub(crate) const META_EARLIEST: &[u8] = b"mearliest";
pub(crate) const META_FORKCHOICE: &[u8] = b"mforkchoice";
pub(crate) const META_LOG_END: &[u8] = b"mlog-end";

/// `b` sixteen heights -> the blocks known there, and where their headers lie
/// ([`crate::group::Group`]).
pub(crate) const BLOCKS: u8 = b'b';
/// `d` sixteen heights -> where the bodies of those blocks lie.
pub(crate) const BODIES: u8 = b'd';
/// `r` sixteen heights -> where the receipts of those blocks lie.
pub(crate) const RECEIPTS: u8 = b'r';
/// `n` first eight bytes of a hash -> the heights of the blocks whose hash begins so.
pub(crate) const NUMBERS: u8 = b'n';
/// `c` sixteen heights -> which of the blocks known there are canonical ([`Places`]).
pub(crate) const CANONICAL: u8 = b'c';
/// `s` number and hash of the top -> the rest of the span.
pub(crate) const SPANS: u8 = b's';

fn key(prefix: u8, parts: &[&[u8]]) -> Bytestring {
    let mut key = Vec::with_capacity(41);
    key.push(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The first of the heights that share an entry with `number`, and the place of `number` among them.
pub(crate) fn split(number: BlockNumber) -> (BlockNumber, usize) {
    let heights = u64::try_from(HEIGHTS_IN_ENTRY).unwrap_or(1);
    let place = number.checked_rem(heights).unwrap_or_default();
    (number.saturating_sub(place), usize::try_from(place).unwrap_or_default())
}

pub(crate) fn blocks(number: BlockNumber) -> Bytestring {
    key(BLOCKS, &[&split(number).0.to_be_bytes()])
}

pub(crate) fn bodies(number: BlockNumber) -> Bytestring {
    key(BODIES, &[&split(number).0.to_be_bytes()])
}

pub(crate) fn receipts(number: BlockNumber) -> Bytestring {
    key(RECEIPTS, &[&split(number).0.to_be_bytes()])
}

pub(crate) fn numbers(hash: B256) -> Bytestring {
    key(NUMBERS, &[hash.get(..8).unwrap_or_default()])
}

pub(crate) fn canonical(number: BlockNumber) -> Bytestring {
    key(CANONICAL, &[&split(number).0.to_be_bytes()])
}

pub(crate) fn span(top: BlockNumHash) -> Bytestring {
    key(SPANS, &[&top.number.to_be_bytes(), top.hash.as_slice()])
}

/// The first key of a prefix.
pub(crate) fn first_of(prefix: u8) -> Bytestring {
    vec![prefix]
}

/// The first key beyond a prefix.
pub(crate) fn end_of(prefix: u8) -> Bytestring {
    vec![prefix.saturating_add(1)]
}

/// The first key of a prefix whose number is greater than `number`.
pub(crate) fn above(prefix: u8, number: BlockNumber) -> Bytestring {
    number.checked_add(1).map_or_else(|| end_of(prefix), |next| key(prefix, &[&next.to_be_bytes()]))
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pointer {
    file: u16,
    offset: u32,
}

impl Pointer {
    /// To the record that is appended next.
    pub(crate) fn to(end: LogEnd) -> Result<Self, StoreError> {
        match (end.file.try_into(), end.offset.try_into()) {
            (Ok(file), Ok(offset)) => Ok(Self { file, offset }),
            _ => Err(StoreError::Full(format!("no room after {end:?} in the block files"))),
        }
    }

    /// Number of the file, from 1.
    pub(crate) fn file(self) -> u32 {
        u32::from(self.file)
    }

    /// Offset of the record's header, in bytes.
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset)
    }

    pub(crate) fn put(self, entry: &mut Bytestring) {
        entry.extend_from_slice(&self.file.to_be_bytes());
        entry.extend_from_slice(&self.offset.to_be_bytes());
    }
}

/// How far the record files are indexed: what lies beyond was never acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogEnd {
    /// Number of the file that is written to; zero before the first.
    pub(crate) file: u32,
    /// Length of that file, in bytes.
    pub(crate) offset: u64,
}

/// For each of the heights that share an entry, which of the blocks known there is canonical: 1 for the
/// first that was stored, zero for none.
pub(crate) type Places = [u8; HEIGHTS_IN_ENTRY];

pub(crate) fn put_schema(keeps_receipts: bool) -> Bytestring {
    let schema = if keeps_receipts { SCHEMA_WITH_RECEIPTS } else { SCHEMA };
    schema.to_be_bytes().to_vec()
}

pub(crate) fn put_log_end(end: LogEnd) -> Bytestring {
    [&end.file.to_be_bytes()[..], &end.offset.to_be_bytes()].concat()
}

pub(crate) fn put_numbers(numbers: &[BlockNumber]) -> Bytestring {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

pub(crate) fn put_block(at: BlockNumHash) -> Bytestring {
    [&at.number.to_be_bytes()[..], at.hash.as_slice()].concat()
}

pub(crate) fn put_forkchoice(forkchoice: Forkchoice) -> Bytestring {
    let Forkchoice { head, safe, finalized } = forkchoice;
    [head.as_slice(), safe.as_slice(), finalized.as_slice()].concat()
}

pub(crate) fn put_chain(chain_id: u64, genesis: B256) -> Bytestring {
    [&chain_id.to_be_bytes()[..], genesis.as_slice()].concat()
}

/// What a span's key leaves out.
pub(crate) fn put_span(span: &Span) -> Bytestring {
    let mut value = put_block(span.bottom);
    value.extend_from_slice(span.bottom_parent.as_slice());
    value
}

/// Reads fixed-width fields off an entry; `Damaged` where it is too short or too long.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(what: &'static str, entry: &'a [u8]) -> Self {
        Self { what, rest: entry }
    }

    /// The fields of a key, after its prefix.
    pub(crate) fn of_key(what: &'static str, key: &'a [u8]) -> Self {
        Self { what, rest: key.get(1..).unwrap_or_default() }
    }

    fn damaged(&self) -> StoreError {
        StoreError::Damaged(format!("the index entry for {} has the wrong length", self.what))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*field)
    }

    /// Whether everything has been read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, StoreError> {
        self.take().map(u8::from_be_bytes)
    }

    pub(crate) fn pointer(&mut self) -> Result<Pointer, StoreError> {
        Ok(Pointer { file: self.u16()?, offset: self.u32()? })
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StoreError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StoreError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn hash(&mut self) -> Result<B256, StoreError> {
        self.take().map(B256::new)
    }

    pub(crate) fn block(&mut self) -> Result<BlockNumHash, StoreError> {
        Ok(BlockNumHash { number: self.u64()?, hash: self.hash()? })
    }

    /// Ends the reading: nothing may be left over.
    pub(crate) fn done<T>(self, value: T) -> Result<T, StoreError> {
        if self.rest.is_empty() { Ok(value) } else { Err(self.damaged()) }
    }
}

pub(crate) fn get_schema(entry: &[u8]) -> Result<u32, StoreError> {
    let mut fields = Fields::new("the layout", entry);
    let value = fields.u32()?;
    fields.done(value)
}

pub(crate) fn get_u64(what: &'static str, entry: &[u8]) -> Result<u64, StoreError> {
    let mut fields = Fields::new(what, entry);
    let value = fields.u64()?;
    fields.done(value)
}

pub(crate) fn get_block(what: &'static str, entry: &[u8]) -> Result<BlockNumHash, StoreError> {
    let mut fields = Fields::new(what, entry);
    let value = fields.block()?;
    fields.done(value)
}

pub(crate) fn get_log_end(entry: &[u8]) -> Result<LogEnd, StoreError> {
    let mut fields = Fields::new("the end of the block files", entry);
    let value = LogEnd { file: fields.u32()?, offset: fields.u64()? };
    fields.done(value)
}

pub(crate) fn get_numbers(entry: &[u8]) -> Result<Vec<BlockNumber>, StoreError> {
    let mut fields = Fields::new("a block's number", entry);
    let mut numbers = Vec::with_capacity(1);
    while !fields.is_empty() {
        numbers.push(fields.u64()?);
    }
    Ok(numbers)
}

pub(crate) fn get_places(entry: &[u8]) -> Result<Places, StoreError> {
    let mut fields = Fields::new("canonical blocks", entry);
    let value = fields.take()?;
    fields.done(value)
}

pub(crate) fn get_forkchoice(entry: &[u8]) -> Result<Forkchoice, StoreError> {
    let mut fields = Fields::new("the forkchoice", entry);
    let value =
        Forkchoice { head: fields.hash()?, safe: fields.hash()?, finalized: fields.hash()? };
    fields.done(value)
}

pub(crate) fn get_span(key: &[u8], entry: &[u8]) -> Result<Span, StoreError> {
    let mut of_key = Fields::of_key("a span", key);
    let top = of_key.block()?;
    let mut fields = Fields::new("a span", entry);
    let span = Span { top, bottom: fields.block()?, bottom_parent: fields.hash()? };
    fields.done(of_key.done(span)?)
}
