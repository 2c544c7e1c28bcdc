//! Receipts on the wire: with a bloom and an envelope in eth/68, flat and without a bloom from eth/69
//! on (EIP-7642). Flat ones are slices of the message; others are made flat as they are read.

use alloy_primitives::{Address, B256, Bloom};
use alloy_rlp::{BufMut, Decodable, EMPTY_STRING_CODE};
use bytes::{Bytes, BytesMut};
use moorline_messages::Receipts;
use moorline_rules::consensus_receipt;

use super::{
    MAX_ITEMS,
    body::{FIRST_NON_TYPE, put_enveloped},
};
use crate::rlp::{Items, RlpError, put_list, put_list_of};

/// Most receipts in one message, as many as transactions.
pub const MAX_RECEIPTS_PER_MESSAGE: usize = super::MAX_TRANSACTIONS_PER_MESSAGE;
/// Most logs in one message. A log takes at least 24 bytes, and some 80 ordinarily.
pub const MAX_LOGS_PER_MESSAGE: usize = 262_144;
/// A log has at most four topics.
const MAX_TOPICS: usize = 4;

/// What a bloom, with its header, and an envelope add to a receipt in eth/68, at most.
const BLOOM_AND_ENVELOPE_BYTES: usize = 272;
/// The header of a list of any length.
const LIST_HEADER_BYTES: usize = 9;

/// What one message may still bring.
struct Allowance {
    receipts: usize,
    logs: usize,
}

pub(super) fn read_blocks(mut items: Items, version: u8) -> Result<Vec<Receipts>, RlpError> {
    let mut blocks = Vec::with_capacity(items.count("blocks' receipts", MAX_ITEMS)?);
    let mut allowance =
        Allowance { receipts: MAX_RECEIPTS_PER_MESSAGE, logs: MAX_LOGS_PER_MESSAGE };
    while !items.is_empty() {
        blocks.push(read_block(items.next_list()?, version, &mut allowance)?);
    }
    Ok(blocks)
}

fn read_block(
    mut items: Items,
    version: u8,
    allowance: &mut Allowance,
) -> Result<Receipts, RlpError> {
    let count = items.count("receipts", allowance.receipts)?;
    allowance.receipts = allowance.receipts.saturating_sub(count);
    let mut receipts = Vec::with_capacity(count);
    while !items.is_empty() {
        let receipt = if version >= 69 {
            read_flat(&mut items, allowance)?
        } else {
            read_enveloped(&mut items, allowance)?
        };
        receipts.push(receipt.into());
    }
    Ok(Receipts { items: receipts })
}

/// `[type, status or root, cumulative gas, logs]`, as it came.
fn read_flat(items: &mut Items, allowance: &mut Allowance) -> Result<Bytes, RlpError> {
    let raw = items.next_raw_list()?;
    let mut fields = Items::of_message(raw.clone())?;
    if fields.next::<u8>()? >= FIRST_NON_TYPE {
        return Err(RlpError::Senseless("a receipt's type is not that of a transaction"));
    }
    read_status(&mut fields)?;
    read_gas(&mut fields)?;
    check_logs(fields.next_list()?, allowance)?;
    fields.end("a receipt")?;
    Ok(raw)
}

fn read_enveloped(items: &mut Items, allowance: &mut Allowance) -> Result<Bytes, RlpError> {
    if items.next_is_list()? {
        return flattened(EMPTY_STRING_CODE, items.next_list()?, allowance);
    }
    let mut envelope = items.next_string()?;
    match envelope.first().copied() {
        Some(kind @ 1..FIRST_NON_TYPE) => {
            let payload = envelope.split_off(1);
            flattened(kind, Items::of_message(payload)?, allowance)
        }
        _ => Err(RlpError::Senseless("a receipt has no type")),
    }
}

/// The flat form of `[status or root, cumulative gas, bloom, logs]`. `kind` is the type's RLP.
fn flattened(kind: u8, mut fields: Items, allowance: &mut Allowance) -> Result<Bytes, RlpError> {
    let status = read_status(&mut fields)?;
    let gas = read_gas(&mut fields)?;
    // whoever proves the receipt works the bloom out from its logs
    fields.next::<Bloom>()?;
    let logs = fields.next_raw_list()?;
    fields.end("a receipt")?;
    check_logs(Items::of_message(logs.clone())?, allowance)?;
    let mut flat = BytesMut::with_capacity(logs.len().saturating_add(64));
    put_list(&[&[kind][..], &status, &gas, &logs].concat(), &mut flat);
    Ok(flat.freeze())
}

/// Empty or `01` (EIP-658), or the state root that was there before Byzantium; with its own header.
fn read_status(fields: &mut Items) -> Result<Bytes, RlpError> {
    let raw = fields.next_raw()?;
    match raw.as_ref() {
        [EMPTY_STRING_CODE] | [1] => Ok(raw),
        [0xa0, root @ ..] if root.len() == 32 => Ok(raw),
        _ => Err(RlpError::Senseless("a receipt's status is neither 0, 1 nor a root")),
    }
}

/// A number of 64 bits, with its own header.
fn read_gas(fields: &mut Items) -> Result<Bytes, RlpError> {
    let raw = fields.next_raw()?;
    let mut view: &[u8] = &raw;
    u64::decode(&mut view)?;
    Ok(raw)
}

/// Whether all logs are `[address, topics, data]`.
fn check_logs(mut items: Items, allowance: &mut Allowance) -> Result<(), RlpError> {
    let count = items.count("logs", allowance.logs)?;
    allowance.logs = allowance.logs.saturating_sub(count);
    while !items.is_empty() {
        let mut log = items.next_list()?;
        log.next::<Address>()?;
        let mut topics = log.next_list()?;
        topics.count("topics", MAX_TOPICS)?;
        while !topics.is_empty() {
            topics.next::<B256>()?;
        }
        log.next_string()?;
        log.end("a log")?;
    }
    Ok(())
}

pub(super) fn encode_blocks(blocks: &[Receipts], version: u8, out: &mut BytesMut) {
    for block in blocks {
        put_list_of(out, |out| {
            for receipt in &block.items {
                put_receipt(receipt, version, out);
            }
        });
    }
}

fn put_receipt(receipt: &[u8], version: u8, out: &mut BytesMut) {
    let consensus = if version >= 69 { None } else { consensus_receipt(receipt).ok() };
    match consensus {
        Some(consensus) => put_enveloped(&consensus, out),
        // what is no receipt has no other form either
        None => out.put_slice(receipt),
    }
}

/// Size of a receipt in a message, for keeping answers within their budget. Never too small.
pub(crate) const fn receipt_length(receipt: &[u8], version: u8) -> usize {
    let added = if version >= 69 { 0 } else { BLOOM_AND_ENVELOPE_BYTES };
    receipt.len().saturating_add(added)
}

/// Size of a block's receipts in a message, as above.
pub(crate) fn receipts_length(block: &Receipts, version: u8) -> usize {
    let lengths = block.items.iter().map(|receipt| receipt_length(receipt, version));
    lengths.fold(LIST_HEADER_BYTES, usize::saturating_add)
}
