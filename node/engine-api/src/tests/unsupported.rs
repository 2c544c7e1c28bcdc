//! What this node cannot give, and how it says so.

use alloy_primitives::B256;
use serde_json::{Value, json};

use super::{PATIENT_MS, Rig, expect_error, spec};

#[tokio::test]
async fn a34_no_payload_was_ever_built() {
    let mut rig = Rig::new().await;
    for version in 1..=6 {
        let method = format!("engine_getPayloadV{version}");
        rig.expect_error(&method, json!(["0x0000000000000001"]), -38001, "builds no payloads")
            .await;
        for params in [json!([]), json!(["0x01"]), json!(["0x0000000000000001", 1])] {
            rig.expect_error(&method, params, -32602, "").await;
        }
    }
}

#[tokio::test]
async fn a34_blobs_are_missing_one_by_one_before_osaka_and_as_a_whole_after() {
    let hashes = json!([[B256::repeat_byte(1), B256::repeat_byte(2)]]);
    let mut without_osaka = spec();
    without_osaka.override_fork_time("osaka", u64::MAX).unwrap();
    let mut rig = Rig::of(without_osaka, PATIENT_MS).await;
    let answer = rig.call_unasked("engine_getBlobsV1", hashes.clone()).await;
    assert_eq!(answer["result"], json!([null, null]));

    let mut rig = Rig::new().await;
    rig.expect_error("engine_getBlobsV1", hashes.clone(), -38005, "Osaka").await;
    for method in ["engine_getBlobsV2", "engine_getBlobsV3", "engine_getBlobsV4"] {
        let answer = rig.call_unasked(method, hashes.clone()).await;
        assert_eq!(answer.get("result"), Some(&Value::Null), "{answer}");
    }
}

#[tokio::test]
async fn a34_more_than_128_blobs_are_too_many() {
    let mut rig = Rig::new().await;
    for version in 1..=4 {
        let method = format!("engine_getBlobsV{version}");
        let most = rig.call_unasked(&method, json!([vec![B256::ZERO; 128]])).await;
        assert_ne!(most["error"]["code"], -38004, "{most}");
        let answer = rig.call_unasked(&method, json!([vec![B256::ZERO; 129]])).await;
        expect_error(&answer, -38004, "129 blobs");
        rig.expect_error(&method, json!([]), -32602, "blobVersionedHashes").await;
    }
}
