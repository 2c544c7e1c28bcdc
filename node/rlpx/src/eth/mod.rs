//! The eth protocol, versions 68, 69 and 70 (devp2p `caps/eth.md`; EIP-2481, EIP-7642, EIP-7975).
//! Bytes in, bytes out; items are slices of the message they arrived in.

mod body;
mod receipt;
mod status;

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, Sealable, keccak256};
use alloy_rlp::{Decodable, Encodable};
use bytes::BytesMut;
use moorline_messages::{AnnouncedRange, Body, HashOrNumber, Receipts, SealedHeader};
use thiserror::Error;

use crate::rlp::{Items, RlpError, list_of, put_hashes, put_list, put_list_of};

pub(crate) use body::encoded_length as body_length;
pub(crate) use receipt::{receipt_length, receipts_length};

pub use body::{MAX_TRANSACTIONS_PER_MESSAGE, MAX_WITHDRAWALS_PER_MESSAGE, encode_body};
pub use receipt::{MAX_LOGS_PER_MESSAGE, MAX_RECEIPTS_PER_MESSAGE};
pub use status::{Status, StatusChain};

/// The largest eth message, uncompressed: what geth and reth accept.
pub const MAX_MESSAGE_BYTES: usize = 10 << 20;
/// The largest `Receipts`, uncompressed: before eth/70 a block's travel whole, and geth sends more than
/// it would accept. RLPx itself allows no message beyond 16 MiB.
pub const MAX_RECEIPTS_MESSAGE_BYTES: usize = 16 << 20;
/// Most headers, bodies or blocks' receipts in one message, asked for or answered.
pub const MAX_ITEMS: usize = 1024;
/// The versions that this crate speaks, best first.
pub const VERSIONS: [u8; 3] = [70, 69, 68];

/// Message ids, before the capability's offset.
pub mod id {
    /// `Status`.
    pub const STATUS: u8 = 0x00;
    /// `NewBlockHashes`: of no use after the merge (EIP-3675).
    pub const NEW_BLOCK_HASHES: u8 = 0x01;
    /// `Transactions`.
    pub const TRANSACTIONS: u8 = 0x02;
    /// `GetBlockHeaders`.
    pub const GET_BLOCK_HEADERS: u8 = 0x03;
    /// `BlockHeaders`.
    pub const BLOCK_HEADERS: u8 = 0x04;
    /// `GetBlockBodies`.
    pub const GET_BLOCK_BODIES: u8 = 0x05;
    /// `BlockBodies`.
    pub const BLOCK_BODIES: u8 = 0x06;
    /// `NewBlock`: of no use after the merge (EIP-3675).
    pub const NEW_BLOCK: u8 = 0x07;
    /// `NewPooledTransactionHashes`.
    pub const NEW_POOLED_TRANSACTION_HASHES: u8 = 0x08;
    /// `GetPooledTransactions`.
    pub const GET_POOLED_TRANSACTIONS: u8 = 0x09;
    /// `PooledTransactions`.
    pub const POOLED_TRANSACTIONS: u8 = 0x0a;
    /// `GetReceipts`.
    pub const GET_RECEIPTS: u8 = 0x0f;
    /// `Receipts`.
    pub const RECEIPTS: u8 = 0x10;
    /// `BlockRangeUpdate`, from eth/69 on (EIP-7642).
    pub const BLOCK_RANGE_UPDATE: u8 = 0x11;
}

/// How many ids a version of eth takes up; `None` for a version that we do not speak.
pub const fn message_count(version: u8) -> Option<u8> {
    match version {
        68 => Some(17),
        69 | 70 => Some(18),
        _ => None,
    }
}

/// Whether a message with this id is news of transactions or blocks, which nobody asked for.
pub(crate) const fn is_news(id: u8) -> bool {
    matches!(
        id,
        id::NEW_BLOCK_HASHES | id::TRANSACTIONS | id::NEW_BLOCK | id::NEW_POOLED_TRANSACTION_HASHES
    )
}

/// Why an eth message is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EthError {
    /// No message of this version has this id.
    #[error("message id {id:#04x} does not exist in eth/{version}")]
    UnknownId {
        /// The id, before the capability's offset.
        id: u8,
        /// The version in use.
        version: u8,
    },
    /// A message is not what it should be.
    #[error("message {id:#04x} is wrong: {error}")]
    Message {
        /// The id, before the capability's offset.
        id: u8,
        /// What is wrong with it.
        error: RlpError,
    },
    /// A header is not what it should be.
    #[error("a header is wrong: {0}")]
    Header(RlpError),
}

/// What `GetBlockHeaders` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersRequest {
    /// The first header.
    pub start: HashOrNumber,
    /// How many. Untrusted: anything from 0 to 2^64 - 1.
    pub limit: u64,
    /// How many blocks to leave out between two. Untrusted as well.
    pub skip: u64,
    /// Towards genesis instead of away from it.
    pub reverse: bool,
}

/// A message of eth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EthMessage {
    /// What network and chain a node is on. First, and once.
    Status(Status),
    /// Please send headers.
    GetBlockHeaders {
        /// Echoed by the answer.
        request_id: u64,
        /// Which.
        request: HeadersRequest,
    },
    /// Headers, each as its own RLP; [`seal_header`] decodes one.
    BlockHeaders {
        /// The request's id.
        request_id: u64,
        /// The headers.
        headers: Vec<Bytes>,
    },
    /// Please send bodies.
    GetBlockBodies {
        /// Echoed by the answer.
        request_id: u64,
        /// Of these blocks.
        hashes: Vec<B256>,
    },
    /// Bodies.
    BlockBodies {
        /// The request's id.
        request_id: u64,
        /// The bodies.
        bodies: Vec<Body>,
    },
    /// Please send receipts.
    GetReceipts {
        /// Echoed by the answer.
        request_id: u64,
        /// How many receipts of the first block to leave out. On the wire from eth/70 on (EIP-7975).
        first_receipt: u64,
        /// Of these blocks.
        hashes: Vec<B256>,
    },
    /// Receipts, block by block.
    Receipts {
        /// The request's id.
        request_id: u64,
        /// Whether the last block's list was cut short. On the wire from eth/70 on (EIP-7975).
        last_block_incomplete: bool,
        /// The receipts. Whatever the version, each is here in the flat form.
        blocks: Vec<Receipts>,
    },
    /// A node now serves another range. From eth/69 on (EIP-7642).
    BlockRangeUpdate(AnnouncedRange),
    /// Please send pool transactions. Which ones is not decoded: we have none.
    GetPooledTransactions {
        /// Echoed by the answer.
        request_id: u64,
    },
    /// The only answer we give to the above: an empty list.
    NoPooledTransactions {
        /// The request's id.
        request_id: u64,
    },
    /// News of transactions and blocks, in which we have no part, or the pool's transactions:
    /// recognised, not decoded.
    Gossip {
        /// The id, before the capability's offset.
        id: u8,
        /// The message's data. A connection leaves that of news out, since it does not expand it.
        data: Bytes,
    },
}

impl EthMessage {
    /// The message's id, before the capability's offset.
    pub const fn id(&self) -> u8 {
        match self {
            Self::Status(_) => id::STATUS,
            Self::GetBlockHeaders { .. } => id::GET_BLOCK_HEADERS,
            Self::BlockHeaders { .. } => id::BLOCK_HEADERS,
            Self::GetBlockBodies { .. } => id::GET_BLOCK_BODIES,
            Self::BlockBodies { .. } => id::BLOCK_BODIES,
            Self::GetReceipts { .. } => id::GET_RECEIPTS,
            Self::Receipts { .. } => id::RECEIPTS,
            Self::BlockRangeUpdate(_) => id::BLOCK_RANGE_UPDATE,
            Self::GetPooledTransactions { .. } => id::GET_POOLED_TRANSACTIONS,
            Self::NoPooledTransactions { .. } => id::POOLED_TRANSACTIONS,
            Self::Gossip { id, .. } => *id,
        }
    }

    /// Encodes the message's data as this version has it.
    pub fn encode(&self, version: u8) -> BytesMut {
        match self {
            Self::Status(status) => status.encode(),
            Self::GetBlockHeaders { request_id, request } => list_of(|out| {
                request_id.encode(out);
                out.extend_from_slice(&encode_headers_request(request));
            }),
            Self::BlockHeaders { request_id, headers } => list_of(|out| {
                request_id.encode(out);
                put_list(&headers.concat(), out);
            }),
            Self::GetBlockBodies { request_id, hashes } => list_of(|out| {
                request_id.encode(out);
                put_hashes(hashes, out);
            }),
            Self::BlockBodies { request_id, bodies } => list_of(|out| {
                request_id.encode(out);
                put_list_of(out, |out| bodies.iter().for_each(|body| encode_body(body, out)));
            }),
            Self::GetReceipts { request_id, first_receipt, hashes } => list_of(|out| {
                request_id.encode(out);
                if version >= 70 {
                    first_receipt.encode(out);
                }
                put_hashes(hashes, out);
            }),
            Self::Receipts { request_id, last_block_incomplete, blocks } => list_of(|out| {
                request_id.encode(out);
                if version >= 70 {
                    last_block_incomplete.encode(out);
                }
                put_list_of(out, |out| receipt::encode_blocks(blocks, version, out));
            }),
            Self::BlockRangeUpdate(range) => list_of(|out| status::encode_range(range, out)),
            Self::GetPooledTransactions { request_id }
            | Self::NoPooledTransactions { request_id } => list_of(|out| {
                request_id.encode(out);
                put_list(&[], out);
            }),
            Self::Gossip { data, .. } => BytesMut::from(data.as_ref()),
        }
    }

    /// Decodes the data of the message with this id, as this version has it.
    pub fn decode(version: u8, id: u8, data: Bytes) -> Result<Self, EthError> {
        if message_count(version).is_none_or(|count| id >= count) {
            return Err(EthError::UnknownId { id, version });
        }
        match id {
            id::POOLED_TRANSACTIONS => return Ok(Self::Gossip { id, data }),
            id if is_news(id) => return Ok(Self::Gossip { id, data }),
            0x0b..=0x0e => return Err(EthError::UnknownId { id, version }),
            _ => {}
        }
        let read = Items::of_message(data.0).and_then(|items| Self::read(version, id, items));
        read.map_err(|error| EthError::Message { id, error })
    }

    fn read(version: u8, id: u8, mut items: Items) -> Result<Self, RlpError> {
        if id == id::STATUS {
            return Ok(Self::Status(Status::read(version, items)?));
        }
        if id == id::BLOCK_RANGE_UPDATE {
            let range = status::read_range(&mut items)?;
            items.end("the range")?;
            return Ok(Self::BlockRangeUpdate(range));
        }
        let request_id = items.next()?;
        let message = match id {
            id::GET_BLOCK_HEADERS => {
                Self::GetBlockHeaders { request_id, request: read_headers_request(&mut items)? }
            }
            id::BLOCK_HEADERS => {
                Self::BlockHeaders { request_id, headers: read_headers(items.next_list()?)? }
            }
            id::GET_BLOCK_BODIES => {
                Self::GetBlockBodies { request_id, hashes: items.next_list()?.hashes(MAX_ITEMS)? }
            }
            id::BLOCK_BODIES => {
                Self::BlockBodies { request_id, bodies: body::read_bodies(items.next_list()?)? }
            }
            id::GET_RECEIPTS => {
                let first_receipt = if version >= 70 { items.next()? } else { 0 };
                let hashes = items.next_list()?.hashes(MAX_ITEMS)?;
                Self::GetReceipts { request_id, first_receipt, hashes }
            }
            id::RECEIPTS => {
                let last_block_incomplete = version >= 70 && items.next()?;
                let blocks = receipt::read_blocks(items.next_list()?, version)?;
                Self::Receipts { request_id, last_block_incomplete, blocks }
            }
            _ => {
                items.next_list()?;
                Self::GetPooledTransactions { request_id }
            }
        };
        items.end("the message's items")?;
        Ok(message)
    }
}

fn encode_headers_request(request: &HeadersRequest) -> BytesMut {
    list_of(|out| {
        match request.start {
            HashOrNumber::Hash(hash) => hash.encode(out),
            HashOrNumber::Number(number) => number.encode(out),
        }
        request.limit.encode(out);
        request.skip.encode(out);
        request.reverse.encode(out);
    })
}

fn read_headers_request(items: &mut Items) -> Result<HeadersRequest, RlpError> {
    let mut items = items.next_list()?;
    // a hash takes 33 bytes with its prefix, a number at most nine
    let start = items.next_raw()?;
    let start = if start.len() == 33 {
        HashOrNumber::Hash(B256::decode(&mut start.as_ref())?)
    } else {
        HashOrNumber::Number(u64::decode(&mut start.as_ref())?)
    };
    let request =
        HeadersRequest { start, limit: items.next()?, skip: items.next()?, reverse: items.next()? };
    items.end("the request")?;
    Ok(request)
}

fn read_headers(mut items: Items) -> Result<Vec<Bytes>, RlpError> {
    let mut headers = Vec::with_capacity(items.count("headers", MAX_ITEMS)?);
    while !items.is_empty() {
        headers.push(items.next_raw_list()?.into());
    }
    Ok(headers)
}

/// Decodes a header and seals it with the hash of its bytes as they arrived. Bytes that no known
/// field accounts for are refused.
pub fn seal_header(raw: &[u8]) -> Result<Arc<SealedHeader>, EthError> {
    let mut view = raw;
    let header = Header::decode(&mut view).map_err(|error| EthError::Header(error.into()))?;
    if !view.is_empty() {
        return Err(EthError::Header(RlpError::Trailing("a header")));
    }
    Ok(Arc::new(header.seal_unchecked(keccak256(raw))))
}

#[cfg(test)]
mod tests;
