//! What we say of our own chain.

use std::sync::Arc;

use alloy_eip2124::{ForkFilter, Head};
use alloy_primitives::{B256, U256};
use moorline_messages::{AnnouncedRange, HashOrNumber};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{ChainSource, eth::seal_header};

/// A range update is owed after so many blocks (EIP-7642).
const BLOCKS_BETWEEN_UPDATES: u64 = 32;
/// A header and then some.
const HEADER_BUDGET_BYTES: usize = 64 << 10;

/// What a Status says of our chain, and what it is judged by.
#[derive(Clone, Debug)]
pub(crate) struct LocalChain {
    pub(crate) range: AnnouncedRange,
    /// The highest block that is here, whether or not it is in the range.
    pub(crate) head: B256,
    pub(crate) fork_filter: ForkFilter,
}

/// Whether a peer that knows one range should hear of another: once in 32 blocks, and at once when
/// the chain was rolled back.
pub(crate) fn worth_telling(told: &AnnouncedRange, now: &AnnouncedRange) -> bool {
    now.latest < told.latest
        || (now.latest == told.latest && now.latest_hash != told.latest_hash)
        || now.latest.abs_diff(told.latest) >= BLOCKS_BETWEEN_UPDATES
        || now.earliest.abs_diff(told.earliest) >= BLOCKS_BETWEEN_UPDATES
}

/// Follows what the node announces: a range, and the hash of its tip. The time of the tip, which the
/// fork id depends on, comes from its header.
pub(crate) async fn follow(
    chain: Arc<dyn ChainSource>,
    mut announced: watch::Receiver<(AnnouncedRange, B256)>,
    local: watch::Sender<LocalChain>,
    stop: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = announced.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let (range, head) = *announced.borrow_and_update();
        let start = HashOrNumber::Hash(head);
        let found = chain.headers(start, 1, 0, false, HEADER_BUDGET_BYTES).await;
        let header = found.first().and_then(|raw| seal_header(raw).ok());
        local.send_modify(|local| {
            local.range = range;
            local.head = head;
            if let Some(header) = header {
                local.fork_filter.set_head(Head {
                    number: header.number,
                    hash: header.hash(),
                    difficulty: header.difficulty,
                    total_difficulty: U256::ZERO,
                    timestamp: header.timestamp,
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(earliest: u64, latest: u64, hash: u8) -> AnnouncedRange {
        AnnouncedRange { earliest, latest, latest_hash: B256::repeat_byte(hash) }
    }

    #[test]
    fn peers_hear_of_32_blocks_and_of_every_rollback() {
        let told = range(0, 100, 1);
        assert!(!worth_telling(&told, &told));
        assert!(!worth_telling(&told, &range(0, 131, 2)));
        assert!(worth_telling(&told, &range(0, 132, 2)));
        assert!(worth_telling(&told, &range(0, 99, 2)));
        assert!(worth_telling(&told, &range(0, 100, 2)));
        assert!(worth_telling(&told, &range(40, 101, 2)));
    }
}
