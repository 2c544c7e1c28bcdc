//! What a peer says to a request, by its behaviour.

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::Decodable;
use moorline_messages::{Block, Body, HashOrNumber, Receipts};
use moorline_rlpx::{
    answer_receipts,
    eth::{EthMessage, HeadersRequest},
    frame::MAX_FRAME_BYTES,
};

use super::Behaviour;
use crate::{
    chain::{Chain, bodies, headers, receipts},
    receipts_of,
};

/// Most headers, bodies or blocks' receipts in an answer, as geth and reth have it.
const MAX_ITEMS: usize = 1024;

/// An answer takes no further item once it is this large.
const SOFT_LIMIT_BYTES: usize = moorline_rlpx::ANSWER_BYTES;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A message of eth.
    Message(EthMessage),
    /// A frame with this content, whatever it means.
    Frame(Vec<u8>),
}

/// How a peer of this behaviour answers a message in this version of eth; nothing where it has nothing
/// to say.
pub(crate) fn answer(
    chain: &dyn Chain,
    behaviour: Behaviour,
    version: u8,
    message: &EthMessage,
) -> Option<Answer> {
    let answer = match message {
        EthMessage::GetBlockHeaders { request_id, request } => {
            let headers = answer_headers(chain, behaviour, request);
            EthMessage::BlockHeaders { request_id: *request_id, headers }
        }
        EthMessage::GetBlockBodies { request_id, hashes } => {
            let bodies = answer_bodies(chain, behaviour, hashes);
            EthMessage::BlockBodies { request_id: *request_id, bodies }
        }
        EthMessage::GetReceipts { request_id, first_receipt, hashes } => {
            let blocks = blocks_with_receipts(chain, behaviour, hashes);
            answer_receipts(version, *request_id, *first_receipt, blocks)
        }
        EthMessage::GetPooledTransactions { request_id } => {
            EthMessage::NoPooledTransactions { request_id: *request_id }
        }
        _ => return None,
    };
    match behaviour {
        Behaviour::Silent => None,
        Behaviour::SnappyBomb => Some(Answer::Frame(snappy_bomb(answer.id()))),
        Behaviour::OversizeFrame => Some(Answer::Frame(oversize_frame(answer.id()))),
        _ => Some(Answer::Message(answer)),
    }
}

fn answer_headers(chain: &dyn Chain, behaviour: Behaviour, request: &HeadersRequest) -> Vec<Bytes> {
    let limit = match behaviour {
        Behaviour::ShortAnswers => request.limit.min(1),
        _ => request.limit.min(MAX_ITEMS as u64),
    };
    let HeadersRequest { start, skip, reverse, .. } = *request;
    let mut found = headers(chain, start, limit, skip, reverse, SOFT_LIMIT_BYTES);
    match behaviour {
        Behaviour::BreaksLink if found.len() > 1 => {
            let middle = found.len() / 2;
            if let Some(header) = found.get_mut(middle)
                && let Some(forged) = forge(header)
            {
                *header = forged;
            }
        }
        Behaviour::RepeatsHeaders => {
            if let Some(first) = found.first().cloned() {
                found.fill(first);
            }
        }
        _ => {}
    }
    found
}

/// The same header with another state root, and so with another hash.
fn forge(header: &Bytes) -> Option<Bytes> {
    let mut header = Header::decode(&mut header.as_ref()).ok()?;
    header.state_root = !header.state_root;
    Some(alloy_rlp::encode(&header).into())
}

fn answer_bodies(chain: &dyn Chain, behaviour: Behaviour, hashes: &[B256]) -> Vec<Body> {
    let most = match behaviour {
        Behaviour::LacksBodies => 0,
        Behaviour::ShortAnswers => 1,
        _ => MAX_ITEMS,
    };
    let blocks = hashes.iter().take(most).map(|hash| {
        let block = chain.block(HashOrNumber::Hash(*hash))?;
        match behaviour {
            Behaviour::SwapsBodies => another(chain, &block, |other| other.body != block.body),
            _ => Some(block),
        }
    });
    bodies(blocks, SOFT_LIMIT_BYTES)
}

fn blocks_with_receipts(chain: &dyn Chain, behaviour: Behaviour, hashes: &[B256]) -> Vec<Receipts> {
    let most = match behaviour {
        Behaviour::LacksBodies | Behaviour::LacksReceipts => 0,
        Behaviour::ShortAnswers => 1,
        _ => MAX_ITEMS,
    };
    let blocks = hashes.iter().take(most).map(|hash| {
        let block = chain.block(HashOrNumber::Hash(*hash))?;
        match behaviour {
            Behaviour::SwapsReceipts => {
                let ours = receipts_of(&block);
                another(chain, &block, |other| receipts_of(other) != ours)
            }
            _ => Some(block),
        }
    });
    receipts(blocks, SOFT_LIMIT_BYTES)
}

/// A block near this one that is unlike it.
fn another(chain: &dyn Chain, block: &Block, is_unlike: impl Fn(&Block) -> bool) -> Option<Block> {
    let number = block.header.number;
    let nearby = (1..=SEARCH_BLOCKS)
        .flat_map(|distance| [number.checked_sub(distance), number.checked_add(distance)]);
    nearby.flatten().filter_map(|number| chain.block(HashOrNumber::Number(number))).find(is_unlike)
}

/// How far a block unlike another is looked for; on a chain of empty blocks there is none.
const SEARCH_BLOCKS: u64 = 8;

/// A message id and a snappy block that declares 4 GiB - 1 in its preamble.
fn snappy_bomb(id: u8) -> Vec<u8> {
    let mut content = vec![wire_id(id), 0xff, 0xff, 0xff, 0xff, 0x0f];
    // runs that copy the first byte over and over, as far as they go
    content.extend([0x00, 0x00]);
    content.extend([0xfe, 0x01, 0x00].repeat(64));
    content
}

/// As much as the three bytes of a frame's size can say: one well-formed snappy literal.
fn oversize_frame(id: u8) -> Vec<u8> {
    let declared = MAX_FRAME_BYTES.saturating_sub(OVERSIZE_PREFIX_BYTES);
    let [seven_1, seven_2, seven_3, seven_4] =
        [0, 7, 14, 21].map(|shift| u8::try_from((declared >> shift) & 0x7f).unwrap_or_default());
    let [low, middle, high, ..] = declared.saturating_sub(1).to_le_bytes();
    // a literal whose length takes three bytes
    let literal = 62 << 2;
    let mut content = vec![wire_id(id), seven_1 | 0x80, seven_2 | 0x80, seven_3 | 0x80, seven_4];
    content.extend([literal, low, middle, high]);
    content.resize(MAX_FRAME_BYTES, 0);
    content
}

/// The message id, four bytes of declared length, and four of the literal's tag.
const OVERSIZE_PREFIX_BYTES: usize = 9;

fn wire_id(id: u8) -> u8 {
    // the base protocol's ids come first
    id.saturating_add(0x10)
}
