//! What peers ask of us, within the limits that keep serving cheap.

use alloy_primitives::{B256, Bytes};
use futures_util::future::BoxFuture;
use moorline_messages::{Body, HashOrNumber};

use crate::eth::{
    self, EthMessage, HeadersRequest, MAX_ITEMS, MAX_MESSAGE_BYTES, Receipt, body_length,
    receipts_length,
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

    /// Receipts of at most 1024 blocks, as with bodies. A node that keeps none serves none.
    fn receipts(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Vec<Receipt>>> {
        let _ = (hashes, budget_bytes);
        Box::pin(async { Vec::new() })
    }
}

/// What a peer may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Headers(HeadersRequest),
    Bodies(Vec<B256>),
    Receipts { first_receipt: u64, hashes: Vec<B256> },
}

/// Answers a question in this version of eth.
pub(crate) async fn answer(
    chain: &dyn ChainSource,
    version: u8,
    request_id: u64,
    question: Question,
) -> EthMessage {
    match question {
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
            EthMessage::BlockHeaders { request_id, headers: fitting(headers, |raw| raw.len()) }
        }
        Question::Bodies(hashes) => {
            let asked = hashes.len();
            let mut bodies = chain.bodies(hashes, ANSWER_BYTES).await;
            bodies.truncate(asked);
            EthMessage::BlockBodies { request_id, bodies: fitting(bodies, body_length) }
        }
        Question::Receipts { first_receipt, hashes } => {
            let asked = hashes.len();
            let mut blocks = chain.receipts(hashes, ANSWER_BYTES).await;
            blocks.truncate(asked);
            if let Some(first) = blocks.first_mut() {
                let left_out = usize::try_from(first_receipt).unwrap_or(usize::MAX);
                first.drain(..left_out.min(first.len()));
            }
            let blocks = fitting(blocks, |block| receipts_length(block, version));
            EthMessage::Receipts { request_id, last_block_incomplete: false, blocks }
        }
    }
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

    proptest! {
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
