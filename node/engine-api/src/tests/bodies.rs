//! `engine_getPayloadBodies`.

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes};
use moorline_messages::{Body, PayloadBlocks, StoreAnswer, StoreError, StoreQuery};
use serde_json::{Value, json};

use super::{Rig, expect_error};

const BY_HASH: [&str; 2] = ["engine_getPayloadBodiesByHashV1", "engine_getPayloadBodiesByHashV2"];
const BY_RANGE: [&str; 2] =
    ["engine_getPayloadBodiesByRangeV1", "engine_getPayloadBodiesByRangeV2"];

fn early() -> Body {
    let transactions = vec![Bytes::from_static(&[2, 0xc0]), Bytes::from_static(&[0xc1, 1])];
    Body { transactions, ommers: Body::NO_OMMERS, withdrawals: None }
}

fn late() -> Body {
    let withdrawal =
        Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(3), amount: 4 };
    Body { transactions: vec![], ommers: Body::NO_OMMERS, withdrawals: Some(vec![withdrawal]) }
}

impl Rig {
    /// The answer to a call that the store is asked about and answers so; and what it was asked.
    async fn call_stored(
        &mut self,
        method: &str,
        params: Value,
        stored: Result<StoreAnswer, StoreError>,
    ) -> (Value, StoreQuery) {
        let request = Self::request(method, params);
        let store = async {
            let (asked, replier) = self.store.expect_message().await.open();
            replier.answer(stored);
            asked
        };
        tokio::join!(Self::send(self.addr, &request), store)
    }
}

#[tokio::test]
async fn a31_bodies_come_in_the_order_asked_for_with_null_for_what_is_missing() {
    let mut rig = Rig::new().await;
    let hashes: Vec<_> = (1..=3).map(B256::repeat_byte).collect();
    for (version, method) in BY_HASH.into_iter().enumerate() {
        let bodies = StoreAnswer::PayloadBodies(Some(vec![Some(late()), None, Some(early())]));
        let (answer, asked) = rig.call_stored(method, json!([hashes]), Ok(bodies)).await;
        let mut late = json!({
            "transactions": [],
            "withdrawals": [{
                "index": "0x1", "validatorIndex": "0x2", "amount": "0x4",
                "address": Address::repeat_byte(3),
            }],
        });
        let mut early = json!({"transactions": ["0x02c0", "0xc101"], "withdrawals": null});
        if version == 1 {
            // a33: no access lists are kept
            late["blockAccessList"] = Value::Null;
            early["blockAccessList"] = Value::Null;
        }
        assert_eq!(answer["result"], json!([late, null, early]), "{method}");
        let StoreQuery::PayloadBodies { blocks, budget_bytes } = asked else { panic!("{asked:?}") };
        assert_eq!(blocks, PayloadBlocks::Hashes(hashes.clone()));
        assert!(budget_bytes < 64 << 20, "its hexadecimal digits do not fit 128 MiB");
    }
}

#[tokio::test]
async fn a32_a_range_begins_at_one_and_is_passed_on() {
    let mut rig = Rig::new().await;
    for method in BY_RANGE {
        let bodies = StoreAnswer::PayloadBodies(Some(vec![None, Some(early())]));
        let (answer, asked) = rig.call_stored(method, json!(["0x9", "0x400"]), Ok(bodies)).await;
        assert_eq!(answer["result"][0], Value::Null);
        assert_eq!(answer["result"][1]["transactions"], json!(["0x02c0", "0xc101"]));
        let range = PayloadBlocks::Range { start: 9, count: 1_024 };
        assert!(matches!(asked, StoreQuery::PayloadBodies { blocks, .. } if blocks == range));

        for params in [json!(["0x0", "0x1"]), json!(["0x1", "0x0"])] {
            rig.expect_error(method, params, -32602, "at least 1").await;
        }
        for params in [
            json!([]),
            json!(["0x1"]),
            json!(["0x1", null]),
            json!(["one", "0x1"]),
            json!(["0x1", "0x10000000000000000"]),
            json!(["0x1", "0x1", "0x1"]),
        ] {
            rig.expect_error(method, params, -32602, "").await;
        }
    }
}

#[tokio::test]
async fn a31_a32_more_than_1024_bodies_are_too_many_and_so_are_too_heavy_ones() {
    let mut rig = Rig::new().await;
    for method in BY_HASH {
        let many = json!([vec![B256::ZERO; 1_025]]);
        rig.expect_error(method, many, -38004, "1025 bodies").await;
        rig.expect_error(method, json!(["0x1"]), -32602, "blockHashes").await;
    }
    for method in BY_RANGE {
        rig.expect_error(method, json!(["0x1", "0x401"]), -38004, "1025 bodies").await;
        let heavy = Ok(StoreAnswer::PayloadBodies(None));
        let (answer, _) = rig.call_stored(method, json!(["0x1", "0x400"]), heavy).await;
        expect_error(&answer, -38004, "ask for fewer");
    }
}

#[tokio::test]
async fn a_store_that_cannot_read_is_an_internal_error() {
    let mut rig = Rig::new().await;
    let damaged = Err(StoreError::Damaged("segment 3".to_owned()));
    let (answer, _) = rig.call_stored(BY_HASH[0], json!([[B256::ZERO]]), damaged).await;
    expect_error(&answer, -32603, "segment 3");
    let other = Ok(StoreAnswer::Headers(vec![]));
    let (answer, _) = rig.call_stored(BY_HASH[0], json!([[B256::ZERO]]), other).await;
    expect_error(&answer, -32603, "another question");
}
