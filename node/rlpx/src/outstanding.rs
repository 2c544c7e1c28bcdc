//! Which of our requests are out on a session, under the ids that the wire knows.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use moorline_messages::{FetchItems, Receipts, RequestId};
use tokio::time::Instant;

use crate::{
    ConnectionError,
    parts::{Parts, UnfinishedReceipts},
};

/// Most requests remembered as unanswered. The oldest is forgotten beyond that; its answer, should it
/// still come, is a stray.
const MAX_OUTSTANDING: usize = 256;
/// Most answers to forgotten or answered requests, less one for each good answer, before they are a
/// flood.
const MAX_STRAYS: u32 = 64;
/// Most that one session keeps of blocks whose receipts have come in part (EIP-7975), so that no peer
/// alone takes up what there is for all. A block that has more than this in receipts is not to be had.
const SESSION_PARTS_BYTES_MAX: usize = UnfinishedReceipts::BYTES_MAX / 2;

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
    /// Of the messages that brought the parts.
    wire_bytes: usize,
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
    unfinished: UnfinishedReceipts,
}

impl Outstanding {
    /// Blocks that come in parts are counted there until they are whole, given up or forgotten.
    pub(crate) fn new(unfinished: UnfinishedReceipts) -> Self {
        Self { unfinished, ..Self::default() }
    }

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
        let parts = Parts::of(self.unfinished.clone());
        self.issue(Asked { request, kind, limit, block, parts, wire_bytes: 0 })
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
        now: Instant,
    ) -> Result<Option<ReceiptsStep>, ConnectionError> {
        let Some(mut asked) = self.take(id, Kind::Receipts, blocks.len())? else { return Ok(None) };
        asked.wire_bytes = asked.wire_bytes.saturating_add(wire_bytes);
        if last_block_incomplete {
            let part = blocks.pop().unwrap_or_default();
            if blocks.is_empty() {
                return self.ask_on(asked, part, now).map(Some);
            }
        }
        let Asked { request, parts, wire_bytes, .. } = asked;
        if !parts.is_empty() {
            // no other block was asked for; with nothing more of it, it is gone at the peer
            blocks.retain(|last| !last.items.is_empty());
            blocks = blocks.pop().map(|last| parts.joined(last)).into_iter().collect();
        }
        Ok(Some(ReceiptsStep::Answered { request, blocks, wire_bytes }))
    }

    /// A part of a block came, and it is not the last.
    fn ask_on(
        &mut self,
        mut asked: Asked,
        part: Receipts,
        now: Instant,
    ) -> Result<ReceiptsStep, ConnectionError> {
        let kept_bytes = self
            .asked
            .values()
            .fold(asked.parts.bytes(), |sum, asked| sum.saturating_add(asked.parts.bytes()));
        let session_room_bytes = SESSION_PARTS_BYTES_MAX.saturating_sub(kept_bytes);
        if !asked.parts.keep(part, session_room_bytes, now)? {
            let Asked { request, wire_bytes, .. } = asked;
            return Ok(ReceiptsStep::Answered { request, blocks: Vec::new(), wire_bytes });
        }
        let block = asked.block;
        let first_receipt = u64::try_from(asked.parts.receipts()).unwrap_or(u64::MAX);
        let id = self.issue(Asked { limit: 1, ..asked });
        Ok(ReceiptsStep::AskOn { id, block, first_receipt })
    }

    /// Forgets the blocks of which no further part came in time. One that still comes is an answer to
    /// a request that is over.
    pub(crate) fn forget_overdue_parts(&mut self, now: Instant) {
        self.asked.retain(|_, asked| !asked.parts.overdue(now));
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
