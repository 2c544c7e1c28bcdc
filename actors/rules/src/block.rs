//! Blocks as RLP, in the form that geth's `export` writes and `import` reads: the header, the
//! transactions, the ommers and, from Shanghai on, the withdrawals (EIP-4895).

use std::sync::Arc;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, length_of_length};
use moorline_messages::{Blame, Block, Body, Header};
use thiserror::Error;

use crate::rlp::{end, is_list, take_item, take_list, take_string};

/// Bytes that are not a block.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no block at byte {offset}: {error}")]
pub struct BlockRlpError {
    /// Where the block should begin, in bytes from the start.
    pub offset: usize,
    /// What is wrong there.
    pub error: alloy_rlp::Error,
}

impl BlockRlpError {
    /// Whose fault it was: the file on this node is damaged, cut short, or no chain at all.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// Encodes a block, header and body put together as they are.
pub fn block_rlp(header: &Header, body: &Body) -> Vec<u8> {
    let mut out = Vec::with_capacity(block_rlp_len(header, body));
    list_header(block_payload_len(header, body)).encode(&mut out);
    header.encode(&mut out);
    list_header(transactions_payload_len(body)).encode(&mut out);
    for tx in &body.transactions {
        if is_list(tx) {
            out.extend_from_slice(tx);
        } else {
            tx.encode(&mut out);
        }
    }
    out.extend_from_slice(&body.ommers);
    if let Some(withdrawals) = &body.withdrawals {
        withdrawals.encode(&mut out);
    }
    out
}

/// The length of [`block_rlp`] in bytes, without encoding anything.
pub fn block_rlp_len(header: &Header, body: &Body) -> usize {
    with_list_header(block_payload_len(header, body))
}

fn block_payload_len(header: &Header, body: &Body) -> usize {
    let withdrawals = body.withdrawals.as_ref().map_or(0, Encodable::length);
    header
        .length()
        .saturating_add(with_list_header(transactions_payload_len(body)))
        .saturating_add(body.ommers.len())
        .saturating_add(withdrawals)
}

fn transactions_payload_len(body: &Body) -> usize {
    body.transactions
        .iter()
        .map(|tx| if is_list(tx) { tx.len() } else { tx.length() })
        .fold(0, usize::saturating_add)
}

const fn list_header(payload_length: usize) -> alloy_rlp::Header {
    alloy_rlp::Header { list: true, payload_length }
}

const fn with_list_header(payload_length: usize) -> usize {
    payload_length.saturating_add(length_of_length(payload_length))
}

/// Takes one block off the front. Its transactions and ommers are slices of `bytes`, not copies.
pub fn decode_block(bytes: &mut Bytes) -> alloy_rlp::Result<Block> {
    let mut rest: &[u8] = bytes;
    let mut fields = take_list(&mut rest)?;
    let header = Header::decode_sealed(&mut fields)?;
    let body = decode_body(&mut fields, bytes)?;
    let after = bytes.slice_ref(rest);
    *bytes = after;
    Ok(Block { header: Arc::new(header), body: Arc::new(body) })
}

/// Reads what follows the header, up to the end of the block.
fn decode_body(fields: &mut &[u8], owner: &Bytes) -> alloy_rlp::Result<Body> {
    let mut list = take_list(fields)?;
    let mut transactions = Vec::new();
    while !list.is_empty() {
        transactions.push(owner.slice_ref(take_transaction(&mut list)?));
    }
    if !is_list(fields) {
        return Err(alloy_rlp::Error::UnexpectedString);
    }
    let ommers = owner.slice_ref(take_item(fields)?);
    let withdrawals =
        if fields.is_empty() { None } else { Some(Vec::<Withdrawal>::decode(fields)?) };
    end(fields)?;
    Ok(Body { transactions, ommers, withdrawals })
}

/// A legacy transaction is a list and stands for itself; a typed one is the content of a string
/// (EIP-2718), whose first byte is below that of any list.
fn take_transaction<'a>(list: &mut &'a [u8]) -> alloy_rlp::Result<&'a [u8]> {
    if is_list(list) {
        return take_item(list);
    }
    let tx = take_string(list)?;
    if tx.is_empty() || is_list(tx) {
        return Err(alloy_rlp::Error::UnexpectedString);
    }
    Ok(tx)
}

/// Reads blocks one after another, as in `chain.rlp`. The blocks are slices of the input. After an
/// error it is at its end.
#[derive(Clone, Debug)]
pub struct BlockReader {
    rest: Bytes,
    offset: usize,
}

impl BlockReader {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// Where the next block begins, in bytes from the start.
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl Iterator for BlockReader {
    type Item = Result<Block, BlockRlpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest.len();
        match decode_block(&mut self.rest) {
            Ok(block) => {
                let taken = before.saturating_sub(self.rest.len());
                self.offset = self.offset.saturating_add(taken);
                Some(Ok(block))
            }
            Err(error) => {
                self.rest = Bytes::new();
                Some(Err(BlockRlpError { offset: self.offset, error }))
            }
        }
    }
}
