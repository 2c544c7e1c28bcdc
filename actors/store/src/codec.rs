//! Bodies as they lie on disk: snappy-framed RLP of `[transactions, ommers, withdrawals?]`, the payload
//! of an era1 file's `CompressedBody` record.

use std::io::{Read, Write};

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, Header};
use moorline_messages::{BlockNumHash, Body, StoreError};

/// Most bytes of RLP in one body. EIP-7934 allows a block 8 MiB; older blocks never came near it.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

/// The first byte of every RLP list, and of no EIP-2718 transaction type.
const RLP_LIST: u8 = 0xc0;

/// Encodes and compresses a body.
pub(crate) fn pack(at: BlockNumHash, body: &Body) -> Result<Vec<u8>, StoreError> {
    let unfit = |why: String| StoreError::Rejected(format!("the body of block {at} {why}"));
    let rlp = to_rlp(body).map_err(unfit)?;
    if rlp.len() > BODY_BYTES_MAX {
        return Err(unfit(format!("is {} bytes, over {BODY_BYTES_MAX}", rlp.len())));
    }
    let mut encoder = snap::write::FrameEncoder::new(Vec::with_capacity(rlp.len()));
    encoder
        .write_all(&rlp)
        .map_err(|error| error.to_string())
        .and_then(|()| encoder.into_inner().map_err(|error| error.to_string()))
        .map_err(|error| StoreError::Io(format!("cannot compress the body of block {at}: {error}")))
}

/// Undoes [`pack`]; a `String` says what is wrong with the bytes. Snappy's checksums are verified.
pub(crate) fn unpack(packed: &[u8]) -> Result<Body, String> {
    let mut rlp = Vec::new();
    let most = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    snap::read::FrameDecoder::new(packed)
        .take(most)
        .read_to_end(&mut rlp)
        .map_err(|error| error.to_string())?;
    if rlp.len() > BODY_BYTES_MAX {
        return Err(format!("it unpacks to more than {BODY_BYTES_MAX} bytes"));
    }
    from_rlp(&rlp.into()).map_err(|error| error.to_string())
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
