//! Receipts in their three forms on the wire: with a bloom and an envelope in eth/68, flat and
//! without a bloom from eth/69 on (EIP-7642).

use alloy_primitives::{Bloom, Bytes, Log, logs_bloom};
use alloy_rlp::{BufMut, Encodable, Header};
use bytes::BytesMut;

use super::MAX_ITEMS;
use crate::rlp::{Items, RlpError, list_of, put_list_of};

/// Most receipts in one message, as many as transactions.
const MAX_RECEIPTS_PER_MESSAGE: usize = super::MAX_TRANSACTIONS_PER_MESSAGE;
/// Most logs in one message. A log takes at least 24 bytes, and some 80 ordinarily.
pub const MAX_LOGS_PER_MESSAGE: usize = 262_144;
/// A log has at most four topics.
const MAX_TOPICS: usize = 4;

/// What a transaction did. Its bloom follows from its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// EIP-2718 type of the transaction; 0 is legacy.
    pub tx_type: u8,
    /// The status, empty or `01` (EIP-658), or the state root that was there before Byzantium.
    pub status_or_root: Bytes,
    /// Gas used in the block up to and including this transaction.
    pub cumulative_gas_used: u64,
    /// What it logged.
    pub logs: Vec<Log>,
}

struct Allowance {
    receipts: usize,
    logs: usize,
}

pub(super) fn read_blocks(mut items: Items, version: u8) -> Result<Vec<Vec<Receipt>>, RlpError> {
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
) -> Result<Vec<Receipt>, RlpError> {
    let count = items.count("receipts", allowance.receipts)?;
    allowance.receipts = allowance.receipts.saturating_sub(count);
    let mut receipts = Vec::with_capacity(count);
    while !items.is_empty() {
        receipts.push(if version >= 69 {
            read_flat(items.next_list()?, allowance)?
        } else {
            read_enveloped(&mut items, allowance)?
        });
    }
    Ok(receipts)
}

fn read_flat(mut fields: Items, allowance: &mut Allowance) -> Result<Receipt, RlpError> {
    let receipt = Receipt {
        tx_type: fields.next()?,
        status_or_root: read_status(&mut fields)?,
        cumulative_gas_used: fields.next()?,
        logs: read_logs(fields.next_list()?, allowance)?,
    };
    fields.end("a receipt")?;
    Ok(receipt)
}

fn read_enveloped(items: &mut Items, allowance: &mut Allowance) -> Result<Receipt, RlpError> {
    if items.next_is_list()? {
        return read_with_bloom(0, items.next_list()?, allowance);
    }
    let mut envelope = items.next_string()?;
    match envelope.first().copied() {
        Some(tx_type) if tx_type < 0x80 => {
            let payload = envelope.split_off(1);
            read_with_bloom(tx_type, Items::of_message(payload)?, allowance)
        }
        _ => Err(RlpError::Senseless("a receipt has no type")),
    }
}

fn read_with_bloom(
    tx_type: u8,
    mut fields: Items,
    allowance: &mut Allowance,
) -> Result<Receipt, RlpError> {
    let status_or_root = read_status(&mut fields)?;
    let cumulative_gas_used = fields.next()?;
    let bloom: Bloom = fields.next()?;
    let logs = read_logs(fields.next_list()?, allowance)?;
    fields.end("a receipt")?;
    if bloom != logs_bloom(&logs) {
        return Err(RlpError::Senseless("a receipt's bloom does not follow from its logs"));
    }
    Ok(Receipt { tx_type, status_or_root, cumulative_gas_used, logs })
}

fn read_status(fields: &mut Items) -> Result<Bytes, RlpError> {
    let status = fields.next_string()?;
    match status.as_ref() {
        [] | [1] => Ok(status.into()),
        root if root.len() == 32 => Ok(status.into()),
        _ => Err(RlpError::Senseless("a receipt's status is neither 0, 1 nor a root")),
    }
}

fn read_logs(mut items: Items, allowance: &mut Allowance) -> Result<Vec<Log>, RlpError> {
    let count = items.count("logs", allowance.logs)?;
    allowance.logs = allowance.logs.saturating_sub(count);
    let mut logs = Vec::with_capacity(count);
    while !items.is_empty() {
        let mut fields = items.next_list()?;
        let address = fields.next()?;
        let topics = fields.next_list()?.hashes(MAX_TOPICS)?;
        let data = fields.next_string()?.into();
        fields.end("a log")?;
        logs.push(Log::new_unchecked(address, topics, data));
    }
    Ok(logs)
}

pub(super) fn encode_blocks(blocks: &[Vec<Receipt>], version: u8, out: &mut BytesMut) {
    for block in blocks {
        put_block(block, version, out);
    }
}

fn put_block(block: &[Receipt], version: u8, out: &mut BytesMut) {
    put_list_of(out, |out| {
        for receipt in block {
            put_receipt(receipt, version, out);
        }
    });
}

fn put_receipt(receipt: &Receipt, version: u8, out: &mut BytesMut) {
    if version >= 69 {
        put_list_of(out, |out| {
            receipt.tx_type.encode(out);
            receipt.status_or_root.encode(out);
            receipt.cumulative_gas_used.encode(out);
            receipt.logs.encode(out);
        });
        return;
    }
    let payload = list_of(|out| {
        receipt.status_or_root.encode(out);
        receipt.cumulative_gas_used.encode(out);
        logs_bloom(&receipt.logs).encode(out);
        receipt.logs.encode(out);
    });
    if receipt.tx_type != 0 {
        let payload_length = payload.len().saturating_add(1);
        Header { list: false, payload_length }.encode(out);
        out.put_u8(receipt.tx_type);
    }
    out.put_slice(&payload);
}

/// Size of a block's receipts in a message, for keeping answers within their budget.
pub(crate) fn encoded_length(block: &[Receipt], version: u8) -> usize {
    let mut out = BytesMut::new();
    put_block(block, version, &mut out);
    out.len()
}
