//! `engine_getPayloadBodies`.

use std::time::Duration;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes};
use jsonrpsee::types::Params;
use moorline_http::UntilSent;
use moorline_kit::{Limit, Probe};
use moorline_messages::{Body, PayloadBlocks, StoreAnswer, StoreError, StoreQuery};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Rig, StoreAsk, client::Connection, expect_error};
use crate::bodies::{BODIES_CALLS_MAX, BODIES_WAIT, Bodies, GetBodies};

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

/// Bodies that no socket's buffers hold.
fn heavy() -> StoreAnswer {
    let transactions = vec![Bytes::from(vec![2; 1 << 20]); 12];
    StoreAnswer::PayloadBodies(Some(vec![Some(Body { transactions, ..late() })]))
}

#[tokio::test]
async fn bodies_have_a_place_until_they_were_read() {
    let mut rig = Rig::new().await;
    let request = Rig::request(BY_RANGE[0], json!(["0x1", "0x1"]));
    let mut connections = Vec::new();
    for _ in 0..BODIES_CALLS_MAX {
        let mut connection = Connection::open(rig.addr).await;
        connection.send(&request).await;
        rig.store.expect_message().await.open().1.answer(Ok(heavy()));
        connection.begins().await;
        connections.push(connection);
    }
    let mut last = Connection::open(rig.addr).await;
    last.send(&request).await;
    rig.store.expect_silence().await;
    let answer = connections[0].receive().await;
    assert!(answer["result"][0]["transactions"].is_array());
    rig.store.expect_message().await.open().1.answer(Ok(heavy()));
    last.receive().await;
}

#[tokio::test(start_paused = true)]
async fn a10_a_silent_store_is_waited_for_no_longer_than_a_consensus_client_waits() {
    let (port, mut store) = Probe::<StoreAsk>::new(Limit::new(1, 1 << 20));
    let bodies = Bodies::new(port);
    let params = Params::new(Some(r#"["0x1", "0x1"]"#));
    let began = Instant::now();
    let asked = bodies.get(GetBodies::ByRangeV1, &params, UntilSent::default());
    let (answer, _unanswered) = tokio::join!(asked, store.expect_message());
    assert!(answer.unwrap_err().message().contains("did not come in time"));
    assert!(BODIES_WAIT < Duration::from_secs(10), "execution-apis give 10 s");
    assert_eq!(began.elapsed().as_secs(), BODIES_WAIT.as_secs());
}
