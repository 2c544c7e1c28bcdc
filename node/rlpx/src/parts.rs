//! Blocks whose receipts have come in part (EIP-7975): how much of them is kept, and for how long.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use moorline_messages::{Receipts, Weigh};
use tokio::time::Instant;

use crate::{ANSWER_BYTES, ConnectionError};

/// Most messages that one block's receipts may come in.
pub(crate) const PARTS_MAX: u32 = 32;
/// Least that [`PARTS_MAX`] parts of a block bring: an eighth of what they do where each is cut off at
/// [`ANSWER_BYTES`]. Some fall short of that, before a receipt that is large itself.
pub(crate) const PARTS_BYTES_MIN: usize = 4 * ANSWER_BYTES;
/// Longest wait for the next part. No request is given longer for its whole answer, so that nobody
/// waits for the block by then.
pub(crate) const NEXT_PART_WAIT: Duration = Duration::from_secs(30);

/// What all sessions of a network together keep of blocks whose receipts have come in part. Clones
/// count the same.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedReceipts(Arc<AtomicUsize>);

impl UnfinishedReceipts {
    /// Most bytes that are kept. A block whose next part does not fit is given up.
    pub const BYTES_MAX: usize = 64 << 20;

    /// How many bytes are kept now, at most [`UnfinishedReceipts::BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there was room for so many more.
    fn take(&self, bytes: usize) -> bool {
        let grown = |kept: usize| kept.checked_add(bytes).filter(|grown| *grown <= Self::BYTES_MAX);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }
}

/// What has come of a block's receipts. Room for it is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Parts {
    budget: UnfinishedReceipts,
    receipts: Receipts,
    bytes: usize,
    count: u32,
    latest: Option<Instant>,
}

impl Parts {
    pub(crate) const fn of(budget: UnfinishedReceipts) -> Self {
        Self { budget, receipts: Receipts { items: Vec::new() }, bytes: 0, count: 0, latest: None }
    }

    /// How many bytes are kept.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many receipts are kept.
    pub(crate) const fn receipts(&self) -> usize {
        self.receipts.items.len()
    }

    /// Whether nothing of the block has come in part.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps one more part, which is not the last, where there is room: the session's own, and that of
    /// all together. False where there is none.
    pub(crate) fn keep(
        &mut self,
        part: Receipts,
        session_room_bytes: usize,
        now: Instant,
    ) -> Result<bool, ConnectionError> {
        let breach = |text: &str| Err(ConnectionError::Breach(text.to_owned()));
        if part.items.is_empty() {
            // or asking on would never end
            return breach("an empty part of a block's receipts");
        }
        let bytes = part.weight_bytes();
        let grown_bytes = self.bytes.saturating_add(bytes);
        self.count = self.count.saturating_add(1);
        if self.count >= PARTS_MAX {
            if grown_bytes < PARTS_BYTES_MIN {
                return breach("too little of a block's receipts in too many parts");
            }
            return Ok(false);
        }
        if bytes > session_room_bytes || !self.budget.take(bytes) {
            return Ok(false);
        }
        self.bytes = grown_bytes;
        self.receipts.items.extend(part.items);
        self.latest = Some(now);
        Ok(true)
    }

    /// The whole block, of which this is the last part.
    pub(crate) fn joined(mut self, last: Receipts) -> Receipts {
        let mut block = mem::take(&mut self.receipts);
        block.items.extend(last.items);
        block
    }

    /// Whether the next part is overdue.
    pub(crate) fn overdue(&self, now: Instant) -> bool {
        self.latest.is_some_and(|latest| now.saturating_duration_since(latest) > NEXT_PART_WAIT)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
