//! Receipts that answer requests, whole or in parts (EIP-7975), and what is kept of them.

use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use moorline_messages::{BlockNumHash, FetchItems, Receipts, RequestId};
use moorline_rlpx::{UnfinishedReceipts, fuzzing::Requests};
use tokio::time::Instant;

use crate::{Target, script::Script};

/// Requests, and answers that fit them or do not.
pub(crate) const RECEIPT_PARTS: Target =
    Target { name: "receipt_parts", max_len: 192, read: receipt_parts, seeds };

/// All receipts are slices of this, so that what is counted is not what is taken.
static BYTES: [u8; 4 << 20] = [0; 4 << 20];

fn receipt_parts(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let unfinished = UnfinishedReceipts::default();
    // two sessions, which share what may be kept
    let mut sessions = [(); 2].map(|()| Requests::new(unfinished.clone()));
    let mut issued = [0_u64; 2];
    let mut now = Instant::now();
    let mut has_asked_on = false;
    while !script.is_over() {
        let step = script.byte();
        let at = usize::from(step & 1);
        match (step >> 1) % 4 {
            0 => {
                let blocks = vec![BlockNumHash::new(1, B256::ZERO); script.below(4)];
                issued[at] = sessions[at].ask(RequestId(1), &FetchItems::Receipts { blocks });
            }
            1 | 2 => {
                let id = issued[at].wrapping_sub(script.below(4) as u64);
                let is_incomplete = script.below(2) == 1;
                let blocks = (0..script.below(3)).map(|_| block(&mut script)).collect();
                match sessions[at].receipts(id, blocks, is_incomplete, 99, now) {
                    Ok(Some(id)) => {
                        has_asked_on = true;
                        issued[at] = id;
                    }
                    Ok(None) => {}
                    // the session ends, and another begins
                    Err(_) => {
                        sessions[at] = Requests::new(unfinished.clone());
                        issued[at] = 0;
                    }
                }
            }
            _ => {
                now += Duration::from_secs(script.byte().into());
                sessions[at].forget_overdue_parts(now);
            }
        }
        assert!(unfinished.bytes() <= UnfinishedReceipts::BYTES_MAX);
    }
    drop(sessions);
    assert_eq!(unfinished.bytes(), 0);
    has_asked_on
}

fn block(script: &mut Script<'_>) -> Receipts {
    let bytes = usize::from(script.number()) << 6;
    let receipt = Bytes::from_static(&BYTES[..bytes.min(BYTES.len())]);
    Receipts { items: vec![receipt; script.below(4)] }
}

fn seeds() -> Vec<Vec<u8>> {
    let part = [2, 0, 1, 1, 0x80, 0, 1];
    let whole = [2, 0, 0, 1, 0x80, 0, 1];
    vec![
        [&[0, 1][..], &part, &whole].concat(),
        [&[0, 1][..], &part.repeat(20)].concat(),
        [&[0, 1][..], &part, &[6, 31], &whole].concat(),
        [&[0, 2, 1, 1][..], &part, &part.map(|byte| byte ^ u8::from(byte == 2))].concat(),
    ]
}
