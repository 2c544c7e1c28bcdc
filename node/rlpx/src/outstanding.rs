//! Which of our requests are out on a session, under the ids that the wire knows.

use std::{collections::BTreeMap, mem};

use alloy_primitives::B256;
use moorline_messages::{FetchItems, Receipts, RequestId, Weigh};

use crate::ConnectionError;

/// Most requests remembered as unanswered. The oldest is forgotten beyond that; its answer, should it
/// still come, is a stray.
const MAX_OUTSTANDING: usize = 256;
/// Most answers to forgotten or answered requests, less one for each good answer, before they are a
/// flood.
const MAX_STRAYS: u32 = 64;
/// Most that is kept on one session of blocks whose receipts have come in part (EIP-7975). A block that
/// has more than this in receipts is not to be had.
const PARTS_BYTES_MAX: usize = 32 << 20;
/// Most messages that one block's receipts may come in.
const PARTS_MAX: u32 = 32;

/// The kinds of answer that we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Headers,
    Bodies,
    Receipts,
}

#[derive(Debug)]
struct Asked {
    request: RequestId,
    kind: Kind,
    limit: usize,
    /// The first block, where receipts are asked for: the only one that can come in parts.
    block: B256,
    parts: Parts,
}

/// What has come of a block's receipts.
#[derive(Debug, Default)]
struct Parts {
    receipts: Receipts,
    bytes: usize,
    wire_bytes: usize,
    count: u32,
}

/// What follows from receipts that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptsStep {
    /// The request is answered.
    Answered {
        request: RequestId,
        /// Whole blocks.
        blocks: Vec<Receipts>,
        /// Of all the messages that they came in.
        wire_bytes: usize,
    },
    /// The rest of this block is to be asked for, under this id.
    AskOn { id: u64, block: B256, first_receipt: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    issued: u64,
    asked: BTreeMap<u64, Asked>,
    strays: u32,
}

impl Outstanding {
    /// Takes note of a request and gives it an id for the wire.
    pub(crate) fn ask(&mut self, request: RequestId, items: &FetchItems) -> u64 {
        let (kind, limit, first) = match items {
            FetchItems::Headers { limit, .. } => {
                (Kind::Headers, usize::try_from(*limit).unwrap_or(usize::MAX), None)
            }
            FetchItems::Bodies { blocks } => (Kind::Bodies, blocks.len(), None),
            FetchItems::Receipts { blocks } => (Kind::Receipts, blocks.len(), blocks.first()),
        };
        let block = first.map_or(B256::ZERO, |block| block.hash);
        self.issue(Asked { request, kind, limit, block, parts: Parts::default() })
    }

    fn issue(&mut self, asked: Asked) -> u64 {
        self.issued = self.issued.saturating_add(1);
        self.asked.insert(self.issued, asked);
        if self.asked.len() > MAX_OUTSTANDING {
            self.asked.pop_first();
        }
        self.issued
    }

    /// Matches an answer of so many items: whose request it is, or nobody's any more. An answer that
    /// no honest peer gives is an error.
    pub(crate) fn answered(
        &mut self,
        id: u64,
        kind: Kind,
        count: usize,
    ) -> Result<Option<RequestId>, ConnectionError> {
        Ok(self.take(id, kind, count)?.map(|asked| asked.request))
    }

    /// The same for receipts, of which the last block's may be cut off. Where others came before it,
    /// it is left out; where it came alone, the rest of it is to be asked for.
    pub(crate) fn receipts_answered(
        &mut self,
        id: u64,
        mut blocks: Vec<Receipts>,
        last_block_incomplete: bool,
        wire_bytes: usize,
    ) -> Result<Option<ReceiptsStep>, ConnectionError> {
        let Some(mut asked) = self.take(id, Kind::Receipts, blocks.len())? else { return Ok(None) };
        asked.parts.wire_bytes = asked.parts.wire_bytes.saturating_add(wire_bytes);
        if last_block_incomplete {
            let part = blocks.pop().unwrap_or_default();
            if blocks.is_empty() {
                return self.ask_on(asked, part).map(Some);
            }
        } else if asked.parts.count > 0
            && let Some(part) = blocks.pop()
        {
            // no other block was asked for; with nothing more of it, it is gone at the peer
            if !part.items.is_empty() {
                asked.parts.join(part)?;
                blocks.push(mem::take(&mut asked.parts.receipts));
            }
        }
        let (request, wire_bytes) = (asked.request, asked.parts.wire_bytes);
        Ok(Some(ReceiptsStep::Answered { request, blocks, wire_bytes }))
    }

    /// A part of a block came, and it is not the last.
    fn ask_on(
        &mut self,
        mut asked: Asked,
        part: Receipts,
    ) -> Result<ReceiptsStep, ConnectionError> {
        asked.parts.join(part)?;
        let kept_bytes = self
            .asked
            .values()
            .fold(asked.parts.bytes, |sum, asked| sum.saturating_add(asked.parts.bytes));
        if kept_bytes > PARTS_BYTES_MAX || asked.parts.count >= PARTS_MAX {
            let (request, wire_bytes) = (asked.request, asked.parts.wire_bytes);
            return Ok(ReceiptsStep::Answered { request, blocks: Vec::new(), wire_bytes });
        }
        let block = asked.block;
        let first_receipt = u64::try_from(asked.parts.receipts.items.len()).unwrap_or(u64::MAX);
        let id = self.issue(Asked { limit: 1, ..asked });
        Ok(ReceiptsStep::AskOn { id, block, first_receipt })
    }

    fn take(
        &mut self,
        id: u64,
        kind: Kind,
        count: usize,
    ) -> Result<Option<Asked>, ConnectionError> {
        let breach = |text: String| Err(ConnectionError::Breach(text));
        let Some(asked) = self.asked.remove(&id) else {
            if id == 0 || id > self.issued {
                return breach(format!("an answer to request {id}, which was never made"));
            }
            self.strays = self.strays.saturating_add(1);
            if self.strays > MAX_STRAYS {
                return breach("a flood of answers to requests that are over".to_owned());
            }
            return Ok(None);
        };
        if asked.kind != kind {
            return breach(format!("{kind:?} in answer to a request for {:?}", asked.kind));
        }
        if count > asked.limit {
            return breach(format!("{count} items in answer to a request for {}", asked.limit));
        }
        self.strays = self.strays.saturating_sub(1);
        Ok(Some(asked))
    }
}

impl Parts {
    /// Every part has something in it, or asking on would never end.
    fn join(&mut self, part: Receipts) -> Result<(), ConnectionError> {
        if part.items.is_empty() {
            let text = "an empty part of a block's receipts".to_owned();
            return Err(ConnectionError::Breach(text));
        }
        self.bytes = self.bytes.saturating_add(part.weight_bytes());
        self.receipts.items.extend(part.items);
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::B256;
    use moorline_messages::{BlockNumHash, HashOrNumber};

    use super::*;

    fn headers(limit: u64) -> FetchItems {
        FetchItems::Headers { top: HashOrNumber::Number(9), limit }
    }

    fn bodies(count: usize) -> FetchItems {
        FetchItems::Bodies { blocks: vec![BlockNumHash::new(1, B256::ZERO); count] }
    }

    const FIRST: B256 = B256::repeat_byte(1);

    fn receipts(count: usize) -> FetchItems {
        let block =
            |number: usize| BlockNumHash::new(number as u64, B256::repeat_byte(number as u8));
        FetchItems::Receipts { blocks: (1..=count).map(block).collect() }
    }

    /// So many receipts of this size, in a block.
    fn part(count: usize, bytes: usize) -> Receipts {
        Receipts { items: vec![vec![7; bytes].into(); count] }
    }

    #[track_caller]
    fn asks_on(step: Result<Option<ReceiptsStep>, ConnectionError>) -> (u64, u64) {
        match step {
            Ok(Some(ReceiptsStep::AskOn { id, block: FIRST, first_receipt })) => {
                (id, first_receipt)
            }
            other => panic!("expected to ask on for the first block, got {other:?}"),
        }
    }

    #[track_caller]
    fn blocks_of(step: Result<Option<ReceiptsStep>, ConnectionError>) -> Vec<usize> {
        match step {
            Ok(Some(ReceiptsStep::Answered { request: RequestId(1), blocks, .. })) => {
                blocks.iter().map(|block| block.items.len()).collect()
            }
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    #[test]
    fn a_block_that_is_cut_off_after_others_is_left_out() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &receipts(5));
        let blocks = vec![part(2, 9), part(3, 9), part(1, 9)];
        assert_eq!(blocks_of(outstanding.receipts_answered(id, blocks, true, 10)), [2, 3]);
        assert!(outstanding.asked.is_empty());
    }

    #[test]
    fn the_parts_of_a_block_that_is_cut_off_alone_are_joined() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &receipts(5));
        let step = outstanding.receipts_answered(id, vec![part(2, 9)], true, 100);
        let (id, first_receipt) = asks_on(step);
        assert_eq!(first_receipt, 2);
        let (id, first_receipt) =
            asks_on(outstanding.receipts_answered(id, vec![part(3, 9)], true, 100));
        assert_eq!(first_receipt, 5);
        let step = outstanding.receipts_answered(id, vec![part(1, 9)], false, 10).unwrap().unwrap();
        let (request, blocks, wire_bytes) = (RequestId(1), vec![part(6, 9)], 210);
        assert_eq!(step, ReceiptsStep::Answered { request, blocks, wire_bytes });
        assert!(outstanding.asked.is_empty());
    }

    #[test]
    fn a_block_that_is_gone_when_its_rest_is_asked_for_is_lacked() {
        for gone in [vec![], vec![part(0, 0)]] {
            let mut outstanding = Outstanding::default();
            let id = outstanding.ask(RequestId(1), &receipts(5));
            let (id, _) = asks_on(outstanding.receipts_answered(id, vec![part(2, 9)], true, 100));
            let step = outstanding.receipts_answered(id, gone, false, 9);
            assert_eq!(blocks_of(step), [] as [usize; 0]);
            assert!(outstanding.asked.is_empty());
        }
    }

    #[test]
    fn parts_that_no_honest_peer_sends_are_breaches() {
        let mut outstanding = Outstanding::default();
        for nothing in [vec![], vec![part(0, 0)]] {
            let id = outstanding.ask(RequestId(1), &receipts(5));
            assert!(outstanding.receipts_answered(id, nothing, true, 9).is_err(), "nothing of it");
        }
        let id = outstanding.ask(RequestId(1), &receipts(1));
        let two = vec![part(1, 9), part(1, 9)];
        assert!(outstanding.receipts_answered(id, two.clone(), true, 9).is_err(), "too many");
        for (rest, incomplete) in
            [(vec![], true), (vec![part(0, 0)], true), (two.clone(), false), (two, true)]
        {
            let id = outstanding.ask(RequestId(1), &receipts(5));
            let (id, _) = asks_on(outstanding.receipts_answered(id, vec![part(2, 9)], true, 9));
            assert!(outstanding.receipts_answered(id, rest, incomplete, 9).is_err());
        }
        let id = outstanding.ask(RequestId(1), &bodies(5));
        assert!(outstanding.receipts_answered(id, vec![], false, 9).is_err(), "another kind");
        assert!(outstanding.receipts_answered(id + 1, vec![], false, 9).is_err(), "never asked");
    }

    #[test]
    fn parts_without_end_are_given_up() {
        let mut outstanding = Outstanding::default();
        let mut id = outstanding.ask(RequestId(1), &receipts(5));
        for _ in 1..PARTS_MAX {
            (id, _) = asks_on(outstanding.receipts_answered(id, vec![part(1, 9)], true, 9));
        }
        let step = outstanding.receipts_answered(id, vec![part(1, 9)], true, 9);
        assert_eq!(blocks_of(step), [] as [usize; 0], "never part of a block's");
    }

    #[test]
    fn parts_are_kept_up_to_a_bound_over_all_requests_of_a_session() {
        let mut outstanding = Outstanding::default();
        let eighth = || vec![part(1, PARTS_BYTES_MAX / 8)];
        for _ in 0..7 {
            let id = outstanding.ask(RequestId(1), &receipts(5));
            asks_on(outstanding.receipts_answered(id, eighth(), true, 9));
        }
        let id = outstanding.ask(RequestId(1), &receipts(5));
        let step = outstanding.receipts_answered(id, eighth(), true, 9);
        assert_eq!(blocks_of(step), [] as [usize; 0]);
        let kept: usize = outstanding.asked.values().map(|asked| asked.parts.bytes).sum();
        assert!(kept <= PARTS_BYTES_MAX, "{kept}");
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let mut outstanding = Outstanding::default();
        let first = outstanding.ask(RequestId(70), &headers(3));
        let second = outstanding.ask(RequestId(71), &bodies(2));
        assert_eq!(outstanding.answered(second, Kind::Bodies, 2), Ok(Some(RequestId(71))));
        assert_eq!(outstanding.answered(first, Kind::Headers, 0), Ok(Some(RequestId(70))));
    }

    #[test]
    fn answers_that_no_honest_peer_gives_are_breaches() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &headers(3));
        assert!(outstanding.answered(id, Kind::Headers, 4).is_err(), "more than asked for");
        let id = outstanding.ask(RequestId(2), &headers(3));
        assert!(outstanding.answered(id, Kind::Bodies, 1).is_err(), "another kind");
        assert!(outstanding.answered(id + 1, Kind::Headers, 1).is_err(), "never asked");
        assert!(outstanding.answered(0, Kind::Headers, 1).is_err(), "never asked");
    }

    #[test]
    fn a_repeated_answer_is_ignored_and_a_flood_of_them_is_not() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &headers(3));
        outstanding.answered(id, Kind::Headers, 1).unwrap();
        for _ in 0..MAX_STRAYS {
            assert_eq!(outstanding.answered(id, Kind::Headers, 1), Ok(None));
        }
        assert!(outstanding.answered(id, Kind::Headers, 1).is_err());
    }

    #[test]
    fn memory_of_requests_is_bounded_and_a_late_answer_is_ignored() {
        let mut outstanding = Outstanding::default();
        let first = outstanding.ask(RequestId(0), &headers(3));
        for request in 1..=u64::try_from(MAX_OUTSTANDING).unwrap() {
            outstanding.ask(RequestId(request), &headers(3));
        }
        assert_eq!(outstanding.asked.len(), MAX_OUTSTANDING);
        assert_eq!(outstanding.answered(first, Kind::Headers, 3), Ok(None));
    }
}
