//! What peers ask of us, within the limits that keep serving cheap.

use alloy_primitives::{B256, Bytes};
use futures_util::future::BoxFuture;
use moorline_messages::{Body, HashOrNumber, Receipts};

use crate::{
    ServedKind,
    eth::{
        self, EthMessage, HeadersRequest, MAX_ITEMS, MAX_MESSAGE_BYTES, body_length,
        receipt_length, receipts_length,
    },
};

/// An answer stops growing once it is this large, as it does in geth and reth.
pub const ANSWER_BYTES: usize = 2 << 20;

/// Room that request id and list headers take in an answer.
const ENVELOPE_BYTES: usize = 64;

/// Where answers come from. A failure is an empty answer: a peer is owed nothing.
pub trait ChainSource: Send + Sync {
    /// RLP of canonical headers: at most `limit` from `start` on, leaving out `skip` between two,
    /// away from genesis unless `reverse`, up to the first that is missing, and until
    /// `budget_bytes` are gathered. `limit` is 1 to 1024, and by number no step leaves the range of
    /// a u64; by hash, the source has to take care of that itself.
    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        skip: u64,
        reverse: bool,
        budget_bytes: usize,
    ) -> BoxFuture<'_, Vec<Bytes>>;

    /// Bodies of at most 1024 blocks, in the order asked for, up to the first that is missing, and
    /// until `budget_bytes` are gathered.
    fn bodies(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Body>>;

    /// Receipts of at most 1024 blocks, as with bodies. A block without transactions has its empty
    /// list. A node that keeps none serves none.
    fn receipts(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Receipts>>;
}

/// What a peer may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Headers(HeadersRequest),
    Bodies(Vec<B256>),
    Receipts { first_receipt: u64, hashes: Vec<B256> },
    PooledTransactions,
}

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) message: EthMessage,
    pub(crate) kind: ServedKind,
    /// Headers, bodies or blocks in it.
    pub(crate) items: usize,
    /// What was read for it, whether it went into the answer or not.
    pub(crate) read_bytes: usize,
}

/// Answers a question in this version of eth.
pub(crate) async fn answer(
    chain: &dyn ChainSource,
    version: u8,
    request_id: u64,
    question: Question,
) -> Answer {
    match question {
        Question::PooledTransactions => {
            let message = EthMessage::NoPooledTransactions { request_id };
            Answer { message, kind: ServedKind::PooledTransactions, items: 0, read_bytes: 0 }
        }
        Question::Headers(request) => {
            let headers = match sensible(request) {
                None => Vec::new(),
                Some(HeadersRequest { start, limit, skip, reverse }) => {
                    let mut headers =
                        chain.headers(start, limit, skip, reverse, ANSWER_BYTES).await;
                    headers.truncate(usize::try_from(limit).unwrap_or(MAX_ITEMS));
                    headers
                }
            };
            let read_bytes = sum(&headers, |raw| raw.len());
            let headers = fitting(headers, |raw| raw.len());
            let items = headers.len();
            let message = EthMessage::BlockHeaders { request_id, headers };
            Answer { message, kind: ServedKind::Headers, items, read_bytes }
        }
        Question::Bodies(hashes) => {
            let asked = hashes.len();
            let mut bodies = chain.bodies(hashes, ANSWER_BYTES).await;
            bodies.truncate(asked);
            let read_bytes = sum(&bodies, body_length);
            let bodies = fitting(bodies, body_length);
            let items = bodies.len();
            let message = EthMessage::BlockBodies { request_id, bodies };
            Answer { message, kind: ServedKind::Bodies, items, read_bytes }
        }
        Question::Receipts { first_receipt, hashes } => {
            let blocks = read_receipts(chain, version, first_receipt, hashes).await;
            let read_bytes = sum(&blocks, |block| receipts_length(block, version));
            let message = answer_receipts(version, request_id, first_receipt, blocks);
            let items = match &message {
                EthMessage::Receipts { blocks, .. } => blocks.len(),
                _ => 0,
            };
            Answer { message, kind: ServedKind::Receipts, items, read_bytes }
        }
    }
}

fn sum<T>(items: &[T], length: impl Fn(&T) -> usize) -> usize {
    items.iter().map(length).fold(0, usize::saturating_add)
}

/// Receipts of these blocks, enough for an answer. What is left out of the first does not count: who
/// has all of a large block asks with the next ones, and is to get those.
async fn read_receipts(
    chain: &dyn ChainSource,
    version: u8,
    first_receipt: u64,
    mut hashes: Vec<B256>,
) -> Vec<Receipts> {
    let asked = hashes.len();
    let begun = version >= 70 && first_receipt > 0 && asked > 0;
    let rest = hashes.split_off(if begun { 1 } else { asked });
    let mut blocks = chain.receipts(hashes, ANSWER_BYTES).await;
    blocks.truncate(asked.saturating_sub(rest.len()));
    let Some(first) = blocks.first().filter(|_| !rest.is_empty()) else { return blocks };
    let left_out = usize::try_from(first_receipt).unwrap_or(usize::MAX);
    let remaining = first.items.iter().skip(left_out);
    let remaining_bytes =
        remaining.map(|receipt| receipt_length(receipt, version)).fold(0, usize::saturating_add);
    let room_bytes = ANSWER_BYTES.saturating_sub(remaining_bytes);
    if room_bytes > 0 {
        let most = rest.len();
        let more = chain.receipts(rest, room_bytes).await;
        blocks.extend(more.into_iter().take(most));
    }
    blocks
}

/// The answer to a request for the receipts of these blocks, as this version of eth has it.
///
/// Before eth/70 a block is sent whole or not at all. From then on the first `first_receipt` receipts
/// of the first block are left out, and the block that does not fit is cut (EIP-7975).
pub fn answer_receipts(
    version: u8,
    request_id: u64,
    first_receipt: u64,
    mut blocks: Vec<Receipts>,
) -> EthMessage {
    let mut last_block_incomplete = false;
    if version >= 70 {
        if let Some(first) = blocks.first_mut() {
            let left_out = usize::try_from(first_receipt).unwrap_or(usize::MAX);
            first.items.drain(..left_out.min(first.items.len()));
        }
        last_block_incomplete = cut(&mut blocks, version);
    } else {
        blocks = fitting(blocks, |block| receipts_length(block, version));
    }
    EthMessage::Receipts { request_id, last_block_incomplete, blocks }
}

/// Drops what an answer cannot hold: all from the receipt on that crosses the hard limit, or the soft
/// one unless it is the first. Returns whether the last block lost some of its receipts.
fn cut(blocks: &mut Vec<Receipts>, version: u8) -> bool {
    blocks.truncate(MAX_ITEMS);
    let mut total = ENVELOPE_BYTES;
    let mut sent = 0_usize;
    for (index, block) in blocks.iter_mut().enumerate() {
        total = total.saturating_add(receipts_length(&Receipts::default(), version));
        for (kept, receipt) in block.items.iter().enumerate() {
            total = total.saturating_add(receipt_length(receipt, version));
            if total > MAX_MESSAGE_BYTES || (total > ANSWER_BYTES && sent > 0) {
                block.items.truncate(kept);
                // a block of which nothing is left is not a block that was begun
                blocks.truncate(index.saturating_add(kept.min(1)));
                return kept > 0;
            }
            sent = sent.saturating_add(1);
        }
    }
    false
}

/// The part of a request for headers that can be served: none of nothing, at most 1024, and no step
/// beyond either end of the numbers.
fn sensible(request: HeadersRequest) -> Option<HeadersRequest> {
    let HeadersRequest { start, limit, skip, reverse } = request;
    let most = u64::try_from(MAX_ITEMS).unwrap_or(u64::MAX);
    let limit = limit.min(most);
    let steps = match (skip.checked_add(1), start) {
        (None, _) => 0,
        (Some(stride), HashOrNumber::Number(number)) => {
            let room = if reverse { number } else { u64::MAX.saturating_sub(number) };
            room.checked_div(stride).unwrap_or_default()
        }
        (Some(_), HashOrNumber::Hash(_)) => most,
    };
    let limit = limit.min(steps.saturating_add(1));
    // with one header there is nothing to skip, and nothing to overflow
    let skip = if limit == 1 { 0 } else { skip };
    (limit > 0).then_some(HeadersRequest { start, limit, skip, reverse })
}

/// The items that an answer may hold: it ends with the one that reaches the soft limit, and before
/// one that would cross the hard limit.
fn fitting<T>(mut items: Vec<T>, length: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = ENVELOPE_BYTES;
    let mut kept = 0_usize;
    for item in &items {
        let grown = total.saturating_add(length(item));
        if total >= ANSWER_BYTES || grown > MAX_MESSAGE_BYTES {
            break;
        }
        total = grown;
        kept = kept.saturating_add(1);
    }
    items.truncate(kept.min(eth::MAX_ITEMS));
    items
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_number(number: u64, limit: u64, skip: u64, reverse: bool) -> HeadersRequest {
        HeadersRequest { start: HashOrNumber::Number(number), limit, skip, reverse }
    }

    #[test]
    fn requests_at_the_edges_shrink_to_what_exists() {
        assert_eq!(sensible(by_number(5, 0, 0, false)), None);
        let all = sensible(by_number(5, u64::MAX, 0, false)).unwrap();
        assert_eq!(all.limit, 1024);
        let one = sensible(by_number(5, 9, u64::MAX, true)).unwrap();
        assert_eq!((one.limit, one.skip), (1, 0));
        let down = sensible(by_number(5, 100, 1, true)).unwrap();
        assert_eq!(down.limit, 3);
        let up = sensible(by_number(u64::MAX, 100, 0, false)).unwrap();
        assert_eq!(up.limit, 1);
        let genesis = sensible(by_number(0, 100, 0, true)).unwrap();
        assert_eq!(genesis.limit, 1);
    }

    #[test]
    fn an_answer_stops_at_two_mebibytes_and_never_crosses_ten() {
        let items = vec![1 << 20; 9];
        assert_eq!(fitting(items, |size| *size).len(), 2);
        let giant = vec![11 << 20, 1];
        assert!(fitting(giant, |size| *size).is_empty());
        let large_second = vec![1 << 20, 10 << 20, 1];
        assert_eq!(fitting(large_second, |size| *size).len(), 1);
    }

    /// Receipts of these sizes.
    fn block(sizes: &[usize]) -> Receipts {
        Receipts { items: sizes.iter().map(|size| vec![7; *size].into()).collect() }
    }

    fn sent(version: u8, first: u64, blocks: &[Receipts]) -> (Vec<Receipts>, bool) {
        match answer_receipts(version, 1, first, blocks.to_vec()) {
            EthMessage::Receipts { request_id: 1, last_block_incomplete, blocks } => {
                (blocks, last_block_incomplete)
            }
            other => panic!("not receipts: {other:?}"),
        }
    }

    const HALF: usize = ANSWER_BYTES / 2;

    #[test]
    fn before_eth_70_blocks_are_sent_whole() {
        let blocks = [block(&[HALF]), block(&[HALF, HALF, HALF]), block(&[9])];
        for version in [68, 69] {
            assert_eq!(sent(version, 0, &blocks), (blocks[..2].to_vec(), false));
            let (none, _) = sent(version, 0, &[block(&[HALF; 11])]);
            assert!(none.is_empty(), "no message holds it");
        }
        let (few, _) = sent(68, 0, &vec![block(&[9; 100]); 200]);
        let (more, _) = sent(69, 0, &vec![block(&[9; 100]); 200]);
        assert!(few.len() < 100 && more.len() == 200, "a bloom counts: {}", few.len());
    }

    #[test]
    fn from_eth_70_on_what_does_not_fit_is_cut() {
        let blocks = [block(&[9]), block(&[HALF, HALF - 99, HALF, 9]), block(&[9])];
        let cut = block(&[HALF, HALF - 99]);
        assert_eq!(sent(70, 0, &blocks), (vec![blocks[0].clone(), cut], true));
        // and the rest of it
        assert_eq!(sent(70, 2, &blocks[1..]), (vec![block(&[HALF, 9]), block(&[9])], false));
        assert_eq!(sent(70, 9, &blocks), (vec![block(&[]), block(&[HALF, HALF - 99])], true));
    }

    #[test]
    fn a_block_is_not_begun_for_nothing() {
        let blocks = [block(&[HALF, HALF - 99]), block(&[HALF, 9])];
        assert_eq!(sent(70, 0, &blocks), (blocks[..1].to_vec(), false));
        let large = [block(&[3 * ANSWER_BYTES, 9])];
        assert_eq!(sent(70, 0, &large), (vec![block(&[3 * ANSWER_BYTES])], true));
        let giant = [block(&[MAX_MESSAGE_BYTES, 9])];
        assert_eq!(sent(70, 0, &giant), (vec![], false), "no message holds it");
    }

    proptest! {
        #[test]
        fn asking_on_brings_all_of_a_block_within_the_limits(
            sizes in proptest::collection::vec(1..3 * ANSWER_BYTES, 1..8)
        ) {
            let whole = block(&sizes);
            let mut all = Vec::new();
            loop {
                let first = all.len() as u64;
                let (mut blocks, is_cut) = sent(70, first, std::slice::from_ref(&whole));
                let message = EthMessage::Receipts {
                    request_id: 1,
                    last_block_incomplete: is_cut,
                    blocks: blocks.clone(),
                };
                prop_assert!(message.encode(70).len() <= MAX_MESSAGE_BYTES);
                let part = blocks.pop().unwrap();
                prop_assert!(blocks.is_empty() && !part.items.is_empty());
                all.extend(part.items);
                if !is_cut {
                    break;
                }
            }
            prop_assert_eq!(all, whole.items);
        }

        #[test]
        fn no_step_leaves_the_numbers(
            number in any::<u64>(),
            limit in any::<u64>(),
            skip in any::<u64>(),
            reverse in any::<bool>(),
        ) {
            if let Some(request) = sensible(by_number(number, limit, skip, reverse)) {
                prop_assert!((1..=1024).contains(&request.limit));
                let stride = u128::from(request.skip) + 1;
                let reach = stride * u128::from(request.limit - 1);
                if reverse {
                    prop_assert!(reach <= u128::from(number));
                } else {
                    prop_assert!(u128::from(number) + reach <= u128::from(u64::MAX));
                }
            }
        }
    }
}
