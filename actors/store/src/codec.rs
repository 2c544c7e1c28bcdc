//! Headers, bodies and receipts as they lie on disk: snappy-framed RLP, the payloads of an era1 file's
//! `CompressedHeader` and `CompressedBody` records and of an ere file's `CompressedSlimReceipts`. A body is
//! `[transactions, ommers, withdrawals?]`, a block's receipts are `[[type, status, gas, logs], ...]`.

use std::io::{self, Read, Write};

use alloy_consensus::Header as BlockHeader;
use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, Header};
use moorline_messages::{BlockNumHash, Body, Receipts, SealedHeader, StoreError};
use snap::{read::FrameDecoder, write::FrameEncoder};

/// Most bytes of RLP in one body. EIP-7934 allows a block 8 MiB; older blocks never came near it.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

/// Most bytes of RLP in one block's receipts. Each byte of a log costs 8 gas (Yellow Paper, appendix G), so
/// they come of 500 million gas or more.
pub(crate) const RECEIPTS_BYTES_MAX: usize = 64 << 20;

/// Most bytes of RLP in one header. No header of a live chain comes near this.
pub(crate) const HEADER_BYTES_MAX: usize = 4 << 10;

/// Most bytes that RLP of this length takes up once it is packed: snappy's framing leaves a chunk of 64 KiB
/// as it is where compressing gains nothing, and adds eight bytes to each.
pub(crate) const fn packed_bytes_max(rlp_bytes: usize) -> usize {
    rlp_bytes.saturating_add(rlp_bytes >> 12).saturating_add(64)
}

/// What a packer keeps of its buffer between records.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What every stream of snappy frames begins with.
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// The first byte of every RLP list, and of no EIP-2718 transaction type.
const RLP_LIST: u8 = 0xc0;

/// Encodes and compresses. It is kept from record to record, because a compressor's buffers cost more than
/// compressing a header does.
#[derive(Debug)]
pub(crate) struct Packer {
    encoder: FrameEncoder<Vec<u8>>,
    /// The encoder writes the stream's identifier once; later records are given it here.
    has_begun: bool,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self { encoder: FrameEncoder::new(Vec::new()), has_begun: false }
    }

    pub(crate) fn header(&mut self, header: &SealedHeader) -> Result<&[u8], StoreError> {
        let at = BlockNumHash::of(header);
        let rejected =
            |why: String| StoreError::Rejected(format!("the header of block {at} {why}"));
        let rlp = alloy_rlp::encode(header.inner());
        if rlp.len() > HEADER_BYTES_MAX {
            return Err(rejected(format!("is {} bytes, over {HEADER_BYTES_MAX}", rlp.len())));
        }
        if BlockHeader::decode(&mut rlp.as_slice()).as_ref() != Ok(header.inner()) {
            return Err(rejected("leaves out fields that come before others".to_owned()));
        }
        self.pack(&rlp)
    }

    pub(crate) fn body(&mut self, at: BlockNumHash, body: &Body) -> Result<&[u8], StoreError> {
        let rejected = |why: String| StoreError::Rejected(format!("the body of block {at} {why}"));
        let rlp = to_rlp(body).map_err(rejected)?;
        if rlp.len() > BODY_BYTES_MAX {
            return Err(rejected(format!("is {} bytes, over {BODY_BYTES_MAX}", rlp.len())));
        }
        self.pack(&rlp)
    }

    pub(crate) fn receipts(
        &mut self,
        at: BlockNumHash,
        receipts: &Receipts,
    ) -> Result<&[u8], StoreError> {
        let rejected =
            |why: String| StoreError::Rejected(format!("the receipts of block {at} {why}"));
        if let Some(position) = receipts.items.iter().position(|receipt| !is_receipt(receipt)) {
            return Err(rejected(format!("have a malformed one at position {position}")));
        }
        let payload_length = receipts.items.iter().map(|receipt| receipt.len()).sum();
        let header = Header { list: true, payload_length };
        if header.length_with_payload() > RECEIPTS_BYTES_MAX {
            let len = header.length_with_payload();
            return Err(rejected(format!("are {len} bytes, over {RECEIPTS_BYTES_MAX}")));
        }
        let mut rlp = Vec::with_capacity(header.length_with_payload());
        header.encode(&mut rlp);
        receipts.items.iter().for_each(|receipt| rlp.extend_from_slice(receipt));
        self.pack(&rlp)
    }

    fn pack(&mut self, rlp: &[u8]) -> Result<&[u8], StoreError> {
        let packed = self.encoder.get_mut();
        packed.clear();
        packed.shrink_to(KEPT_BYTES_MAX);
        if self.has_begun {
            packed.extend_from_slice(STREAM_IDENTIFIER);
        }
        self.has_begun = true;
        let result = self.encoder.write_all(rlp).and_then(|()| self.encoder.flush());
        result.map_err(|error| StoreError::Io(format!("cannot compress a block: {error}")))?;
        Ok(self.encoder.get_ref())
    }
}

/// Undoes what a [`Packer`] did; a `String` says what is wrong with the bytes. Snappy's checksums are
/// verified. It is kept from record to record for its buffers' sake.
pub(crate) struct Unpacker {
    decoder: FrameDecoder<io::Cursor<Vec<u8>>>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self { decoder: FrameDecoder::new(io::Cursor::default()) }
    }

    /// A header's RLP.
    pub(crate) fn header_rlp(&mut self, packed: Vec<u8>) -> Result<Vec<u8>, String> {
        let rlp = self.unpack(packed, HEADER_BYTES_MAX)?;
        // frames of a reserved type are skipped, so what is left may be nothing at all
        if is_one_list(&rlp) { Ok(rlp) } else { Err("it is not one RLP list".to_owned()) }
    }

    pub(crate) fn header(&mut self, packed: Vec<u8>) -> Result<BlockHeader, String> {
        let rlp = self.header_rlp(packed)?;
        BlockHeader::decode(&mut rlp.as_slice()).map_err(|error| error.to_string())
    }

    pub(crate) fn body(&mut self, packed: Vec<u8>) -> Result<Body, String> {
        let rlp = self.unpack(packed, BODY_BYTES_MAX)?;
        from_rlp(&rlp.into()).map_err(|error| error.to_string())
    }

    pub(crate) fn receipts(&mut self, packed: Vec<u8>) -> Result<Receipts, String> {
        let rlp = Bytes::from(self.unpack(packed, RECEIPTS_BYTES_MAX)?);
        receipts_from_rlp(&rlp).map_err(|error| error.to_string())
    }

    fn unpack(&mut self, packed: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, String> {
        if !packed.starts_with(STREAM_IDENTIFIER) {
            return Err("it is no stream of snappy frames".to_owned());
        }
        let mut rlp = Vec::new();
        *self.decoder.get_mut() = io::Cursor::new(packed);
        let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let result = (&mut self.decoder).take(most).read_to_end(&mut rlp);
        if result.is_err() || rlp.len() > bytes_max {
            // what is left in it must not get into the next record
            *self = Self::new();
        }
        result.map_err(|error| error.to_string())?;
        if rlp.len() > bytes_max {
            return Err(format!("it unpacks to more than {bytes_max} bytes"));
        }
        Ok(rlp)
    }
}

fn to_rlp(body: &Body) -> Result<Vec<u8>, String> {
    for (position, transaction) in body.transactions.iter().enumerate() {
        if transaction.first() >= Some(&RLP_LIST) && !is_one_list(transaction) {
            return Err(format!("has a malformed transaction at position {position}"));
        }
    }
    if !is_one_list(&body.ommers) {
        return Err("has ommers that are no RLP list".to_owned());
    }
    let transactions_len: usize = body.transactions.iter().map(transaction_len).sum();
    let transactions = Header { list: true, payload_length: transactions_len };
    let payload_length = transactions
        .length_with_payload()
        .saturating_add(body.ommers.len())
        .saturating_add(body.withdrawals.as_ref().map_or(0, Encodable::length));
    let mut rlp = Vec::with_capacity(payload_length.saturating_add(9));
    Header { list: true, payload_length }.encode(&mut rlp);
    transactions.encode(&mut rlp);
    for transaction in &body.transactions {
        if is_legacy(transaction) {
            rlp.extend_from_slice(transaction);
        } else {
            transaction.encode(&mut rlp);
        }
    }
    rlp.extend_from_slice(&body.ommers);
    if let Some(withdrawals) = &body.withdrawals {
        withdrawals.encode(&mut rlp);
    }
    Ok(rlp)
}

fn is_legacy(transaction: &Bytes) -> bool {
    transaction.first() >= Some(&RLP_LIST)
}

fn transaction_len(transaction: &Bytes) -> usize {
    if is_legacy(transaction) { transaction.len() } else { transaction.length() }
}

/// Whether the bytes are one RLP list from end to end.
fn is_one_list(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    Header::decode(&mut rest).is_ok_and(|header| header.list && header.payload_length == rest.len())
}

/// Whether the bytes are one list of four items, as eth/69 has receipts (EIP-7642).
fn is_receipt(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let Ok(mut fields) = Header::decode_bytes(&mut rest, true) else { return false };
    let has_four = (0..4).all(|_| take_item(&mut fields).is_ok());
    has_four && fields.is_empty() && rest.is_empty()
}

fn from_rlp(rlp: &Bytes) -> alloy_rlp::Result<Body> {
    let mut rest: &[u8] = rlp;
    let mut fields = Header::decode_bytes(&mut rest, true)?;
    let mut list = Header::decode_bytes(&mut fields, true)?;
    let mut transactions = Vec::new();
    while !list.is_empty() {
        transactions.push(rlp.slice_ref(take_transaction(&mut list)?));
    }
    let ommers = rlp.slice_ref(take_item(&mut fields)?);
    let withdrawals = if fields.is_empty() { None } else { Some(Decodable::decode(&mut fields)?) };
    if !fields.is_empty() || !rest.is_empty() {
        return Err(alloy_rlp::Error::UnexpectedLength);
    }
    Ok(Body { transactions, ommers, withdrawals })
}

fn receipts_from_rlp(rlp: &Bytes) -> alloy_rlp::Result<Receipts> {
    let mut rest: &[u8] = rlp;
    let mut list = Header::decode_bytes(&mut rest, true)?;
    let mut items = Vec::new();
    while !list.is_empty() {
        let receipt = take_item(&mut list)?;
        if !is_receipt(receipt) {
            return Err(alloy_rlp::Error::Custom("a receipt is not a list of four"));
        }
        items.push(rlp.slice_ref(receipt));
    }
    if rest.is_empty() { Ok(Receipts { items }) } else { Err(alloy_rlp::Error::UnexpectedLength) }
}

/// The next item with its RLP header when it is a list, without when it is a string.
fn take_transaction<'a>(list: &mut &'a [u8]) -> alloy_rlp::Result<&'a [u8]> {
    let is_list = list.first() >= Some(&RLP_LIST);
    if is_list { take_item(list) } else { Header::decode_bytes(list, false) }
}

/// The next item with its RLP header.
fn take_item<'a>(list: &mut &'a [u8]) -> alloy_rlp::Result<&'a [u8]> {
    let whole = *list;
    let mut rest = whole;
    let header = Header::decode(&mut rest)?;
    let header_len = whole.len().saturating_sub(rest.len());
    let (item, after) = whole
        .split_at_checked(header_len.saturating_add(header.payload_length))
        .ok_or(alloy_rlp::Error::InputTooShort)?;
    *list = after;
    Ok(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compress_stays_within_the_bound_for_packed_records() {
        let mut packer = Packer::new();
        for len in [0, 1, 100, 4_096, 65_535, 65_536, 65_537, 1_000_000] {
            let mut noise = 1_u64;
            let bytes = (0..len).map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            });
            let packed = packer.pack(&bytes.collect::<Vec<u8>>()).unwrap().len();
            assert!(packed <= packed_bytes_max(len), "{len} bytes take {packed}");
        }
    }
}
