//! What grows with the length of a gap, and what must not.

use alloy_primitives::{B256, U256};
use moorline_messages::{BlockNumHash, DownloadOutcome, Span, StoreRequest};

use super::rig::Rig;
use crate::core::Input;

/// As many spans as twenty million blocks have.
const SPANS: u64 = 40_000;

fn block(number: u64) -> BlockNumHash {
    BlockNumHash::new(number, B256::from(U256::from(number).saturating_add(U256::from(7))))
}

#[test]
fn twenty_million_blocks_in_spans_are_taken_up_at_once_and_no_input_walks_them() {
    let mut rig = Rig::new();
    let span = |at: u64| Span {
        top: block((at + 1) * 512),
        bottom: block(at * 512 + 1),
        bottom_parent: block(at * 512).hash,
    };
    rig.store.spans = (0..SPANS).map(span).collect();
    let mut rig = Rig::over(std::mem::take(&mut rig.store), 1);
    rig.store_answers = false;
    rig.ask_range(block(SPANS * 512).hash, SPANS * 512);
    assert!(matches!(
        rig.told.pop_front(),
        Some(DownloadOutcome::NewDownloadStarted { remaining_blocks, .. })
            if remaining_blocks == SPANS * 512
    ));
    // a walk over the spans at each of these would take minutes
    for _ in 0..100_000 {
        rig.give(Input::TreeHasRoom(true));
    }
    rig.expect_silence();
    let walks: Vec<_> = rig
        .asked_of_the_store()
        .filter_map(|request| match request {
            StoreRequest::Walk { top, limit, .. } => Some((top.number, *limit)),
            _ => None,
        })
        .collect();
    let lowest: Vec<_> = (1..=12).map(|at| (at * 512, 512)).collect();
    assert_eq!(walks, lowest, "the headers are all here, so bodies start at the bottom");
}
