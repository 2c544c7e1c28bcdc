//! Bodies, decoded without copying: transactions are slices of the message.

use alloy_eips::eip4895::Withdrawal;
use alloy_rlp::{BufMut, Encodable, Header};
use bytes::{Bytes, BytesMut};
use moorline_messages::Body;

use super::MAX_ITEMS;
use crate::rlp::{Items, RlpError, put_list_of};

/// Most transactions in one message. A signed transaction takes some 100 bytes, so that honest
/// messages of 10 MiB stay below it; it bounds what a list of tiny items could make us allocate.
pub const MAX_TRANSACTIONS_PER_MESSAGE: usize = 131_072;
/// Most withdrawals in one message: 16 for each of 1024 blocks (EIP-4895).
pub const MAX_WITHDRAWALS_PER_MESSAGE: usize = 16_384;

/// Transaction types are below this (EIP-2718); RLP lists begin at 0xc0.
pub(super) const FIRST_NON_TYPE: u8 = 0x80;
const FIRST_LIST: u8 = 0xc0;
const EMPTY_LIST: u8 = 0xc0;

/// Items that one message may still bring.
struct Allowance {
    transactions: usize,
    withdrawals: usize,
}

pub(super) fn read_bodies(mut items: Items) -> Result<Vec<Body>, RlpError> {
    let mut bodies = Vec::with_capacity(items.count("bodies", MAX_ITEMS)?);
    let mut allowance = Allowance {
        transactions: MAX_TRANSACTIONS_PER_MESSAGE,
        withdrawals: MAX_WITHDRAWALS_PER_MESSAGE,
    };
    while !items.is_empty() {
        bodies.push(read_body(items.next_list()?, &mut allowance)?);
    }
    Ok(bodies)
}

fn read_body(mut items: Items, allowance: &mut Allowance) -> Result<Body, RlpError> {
    let transactions = read_transactions(items.next_list()?, &mut allowance.transactions)?;
    let ommers = items.next_raw_list()?.into();
    let withdrawals = if items.is_empty() {
        None
    } else {
        Some(read_withdrawals(items.next_list()?, &mut allowance.withdrawals)?)
    };
    items.end("a body")?;
    Ok(Body { transactions, ommers, withdrawals })
}

fn read_transactions(
    mut items: Items,
    allowed: &mut usize,
) -> Result<Vec<alloy_primitives::Bytes>, RlpError> {
    let count = items.count("transactions", *allowed)?;
    *allowed = allowed.saturating_sub(count);
    let mut transactions = Vec::with_capacity(count);
    while !items.is_empty() {
        transactions.push(read_transaction(&mut items)?.into());
    }
    Ok(transactions)
}

/// A legacy transaction is a list, any other a byte string that begins with its type. The two forms
/// cannot be told apart once they are plain bytes, so a string that looks like a list is refused.
fn read_transaction(items: &mut Items) -> Result<Bytes, RlpError> {
    if items.next_is_list()? {
        return items.next_raw();
    }
    let envelope = items.next_string()?;
    match envelope.first() {
        Some(kind) if *kind < FIRST_NON_TYPE => Ok(envelope),
        _ => Err(RlpError::Senseless("a transaction has no type")),
    }
}

fn read_withdrawals(mut items: Items, allowed: &mut usize) -> Result<Vec<Withdrawal>, RlpError> {
    let count = items.count("withdrawals", *allowed)?;
    *allowed = allowed.saturating_sub(count);
    let mut withdrawals = Vec::with_capacity(count);
    while !items.is_empty() {
        withdrawals.push(items.next()?);
    }
    Ok(withdrawals)
}

/// Appends a body as `BlockBodies` carries it: `[transactions, ommers]`, and withdrawals if any.
/// Ommers of no bytes at all count as none.
pub fn encode_body(body: &Body, out: &mut BytesMut) {
    put_list_of(out, |out| {
        put_list_of(out, |out| {
            for transaction in &body.transactions {
                put_enveloped(transaction, out);
            }
        });
        let none = body.ommers.is_empty();
        out.put_slice(if none { &[EMPTY_LIST] } else { &body.ommers });
        if let Some(withdrawals) = &body.withdrawals {
            withdrawals.encode(out);
        }
    });
}

/// Appends a transaction or a receipt: a legacy one as the list it is, a typed one as a byte string.
pub(super) fn put_enveloped(envelope: &[u8], out: &mut BytesMut) {
    let is_list = envelope.first().is_some_and(|first| *first >= FIRST_LIST);
    if is_list {
        out.put_slice(envelope);
    } else {
        envelope.encode(out);
    }
}

/// Size of a body in a message, for keeping answers within their budget.
pub(crate) fn encoded_length(body: &Body) -> usize {
    let transactions: usize = body.transactions.iter().map(|tx| tx.length()).sum();
    let withdrawals = body.withdrawals.as_ref().map_or(0, |list| list.length());
    let payload = transactions.saturating_add(body.ommers.len()).saturating_add(withdrawals);
    Header { list: true, payload_length: payload }.length_with_payload().saturating_add(9)
}
