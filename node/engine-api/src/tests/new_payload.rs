//! `engine_newPayload`.

use alloy_primitives::{B256, hex};
use jsonrpsee::types::Params;
use moorline_kit::{Limit, Probe};
use moorline_messages::{TreeRequest, TreeVerdict};
use moorline_rules::{ChainSpec, PayloadError, block_from_payload};
use serde_json::{Value, json};

use super::{PATIENT_MS, Rig, StoreAsk, TreeAsk, expect_error, shared, spec, syncing};
use crate::{
    TREE_WAIT,
    bodies::Bodies,
    methods::{EngineMethods, PAYLOAD_WAIT},
    payload::NewPayload,
    status::PayloadStatus,
};

const ALL: [(NewPayload, &str, u64); 5] = [
    (NewPayload::V1, "engine_newPayloadV1", 50),
    (NewPayload::V2, "engine_newPayloadV2", 150),
    (NewPayload::V3, "engine_newPayloadV3", 250),
    (NewPayload::V4, "engine_newPayloadV4", 350),
    (NewPayload::V5, "engine_newPayloadV5", 550),
];

/// The parameters of a call about an empty block at `time`, with a wrong hash.
pub(super) fn unsealed(version: NewPayload, time: u64) -> Value {
    let mut payload = json!({
        "parentHash": B256::repeat_byte(9), "feeRecipient": format!("0x{:040x}", 1),
        "stateRoot": B256::ZERO, "receiptsRoot": B256::ZERO,
        "logsBloom": format!("0x{}", "00".repeat(256)), "prevRandao": B256::ZERO,
        "blockNumber": "0x5", "gasLimit": "0x1c9c380", "gasUsed": "0x0",
        "timestamp": format!("{time:#x}"), "extraData": "0x", "baseFeePerGas": "0x7",
        "blockHash": B256::ZERO, "transactions": [],
    });
    if version >= NewPayload::V2 {
        payload["withdrawals"] = json!([]);
    }
    if version >= NewPayload::V3 {
        payload["blobGasUsed"] = json!("0x0");
        payload["excessBlobGas"] = json!("0x0");
    }
    if version >= NewPayload::V5 {
        payload["blockAccessList"] = json!("0xc0");
        payload["slotNumber"] = json!("0x3");
    }
    let mut params = vec![payload];
    if version >= NewPayload::V3 {
        params.extend([json!([]), json!(B256::repeat_byte(4))]);
    }
    if version >= NewPayload::V4 {
        params.push(json!(["0x0001", "0x02ffff"]));
    }
    Value::Array(params)
}

/// Puts the hash in that the parameters really have.
pub(super) fn seal(version: NewPayload, spec: &ChainSpec, mut params: Value) -> Value {
    let text = params.to_string();
    let parts = version.read(&Params::new(Some(&text)), spec).unwrap();
    let Err(PayloadError::BlockHash { found, .. }) = block_from_payload(parts) else {
        panic!("{params} has another fault than its hash, or none")
    };
    params[0]["blockHash"] = json!(found);
    params
}

pub(super) fn sealed(version: NewPayload, spec: &ChainSpec, time: u64) -> Value {
    seal(version, spec, unsealed(version, time))
}

#[tokio::test]
async fn a17_a_block_with_the_right_hash_reaches_the_tree_by_every_version() {
    let mut rig = Rig::new().await;
    for (version, method, time) in ALL {
        let params = sealed(version, &rig.spec, time);
        let (answer, asked) = rig.call(method, params.clone(), TreeVerdict::Syncing).await;
        assert_eq!(answer["result"], syncing(), "{method}");
        let TreeRequest::NewPayload(block) = asked else { panic!("{asked:?}") };
        assert_eq!(json!(block.header.hash()), params[0]["blockHash"]);
        assert_eq!(block.header.requests_hash.is_some(), version >= NewPayload::V4);
        assert_eq!(block.header.slot_number, (version == NewPayload::V5).then_some(3));
    }
}

#[tokio::test]
async fn a19_a38_verdicts_become_statuses_and_nothing_but_genesis_is_valid() {
    let mut rig = Rig::new().await;
    let (version, method, time) = ALL[2];
    let status = |status: &str, error: Option<&str>| json!({"status": status, "latestValidHash": null, "validationError": error});
    let reason = || "base fee".to_owned();
    for (verdict, expected) in [
        (TreeVerdict::Syncing, status("SYNCING", None)),
        (TreeVerdict::Accepted, status("ACCEPTED", None)),
        (TreeVerdict::Invalid { reason: reason() }, status("INVALID", Some("base fee"))),
        (TreeVerdict::Valid, status("SYNCING", None)),
        (TreeVerdict::Inconsistent { reason: reason() }, status("SYNCING", None)),
    ] {
        let params = sealed(version, &rig.spec, time);
        let (answer, _) = rig.call(method, params, verdict.clone()).await;
        assert_eq!(answer["result"], expected, "{verdict:?}");
    }
}

#[tokio::test]
async fn the_genesis_block_itself_is_valid() {
    let mut rig = Rig::new().await;
    let genesis = rig.spec.genesis().clone();
    let mut params = unsealed(NewPayload::V1, genesis.timestamp);
    params[0]["parentHash"] = json!(genesis.parent_hash);
    params[0]["feeRecipient"] = json!(genesis.beneficiary);
    params[0]["stateRoot"] = json!(genesis.state_root);
    params[0]["receiptsRoot"] = json!(genesis.receipts_root);
    params[0]["blockNumber"] = json!("0x0");
    params[0]["gasLimit"] = json!(format!("{:#x}", genesis.gas_limit));
    params[0]["baseFeePerGas"] = json!(format!("{:#x}", genesis.base_fee_per_gas.unwrap()));
    params[0]["blockHash"] = json!(genesis.hash());
    let (answer, _) = rig.call(ALL[0].1, params, TreeVerdict::Valid).await;
    let expected = json!({
        "status": "VALID", "latestValidHash": genesis.hash(), "validationError": null
    });
    assert_eq!(answer["result"], expected);
}

#[tokio::test]
async fn a13_a_wrong_hash_is_invalid_at_once_in_the_words_of_each_version() {
    let mut rig = Rig::new().await;
    for (version, method, time) in ALL {
        let answer = rig.call_unasked(method, unsealed(version, time)).await;
        let expected = if version == NewPayload::V1 { "INVALID_BLOCK_HASH" } else { "INVALID" };
        assert_eq!(answer["result"]["status"], expected, "{method}");
        assert_eq!(answer["result"]["latestValidHash"], Value::Null);
        let error = answer["result"]["validationError"].as_str().unwrap();
        assert!(error.starts_with("block hash is 0x"), "{error}");
    }
}

impl Rig {
    /// A payload is INVALID, and the tree is told of it whatever it makes of that. Gives the reason.
    pub(super) async fn expect_bad(&mut self, method: &str, params: Value) -> String {
        let hash = params[0]["blockHash"].clone();
        let (answer, asked) = self.call(method, params, TreeVerdict::Syncing).await;
        assert_eq!(answer["result"]["status"], "INVALID");
        assert_eq!(answer["result"]["latestValidHash"], Value::Null);
        let TreeRequest::BadPayload { header, reason } = asked else { panic!("{asked:?}") };
        assert_eq!(json!(header.hash()), hash);
        assert_eq!(answer["result"]["validationError"], json!(reason));
        reason
    }
}

#[tokio::test]
async fn a13_a21_of_a_block_that_is_bad_under_its_own_hash_the_tree_is_told() {
    let mut rig = Rig::new().await;
    for (version, method, time) in ALL {
        for tx in ["0x", "0x02", "0xc0", "0x7f01", "0xc101", "0x02c0"] {
            let mut params = unsealed(version, time);
            params[0]["transactions"] = json!([tx]);
            let params = seal(version, &rig.spec, params);
            let reason = rig.expect_bad(method, params).await;
            assert_eq!(reason, "transaction 0 cannot be decoded");
        }
    }
}

#[tokio::test]
async fn a13_what_is_bad_by_itself_is_invalid_though_the_tree_is_silent() {
    let rig = Rig::of(spec(), 20).await;
    let mut params = unsealed(NewPayload::V1, 50);
    params[0]["transactions"] = json!(["0xc101"]);
    let request = Rig::request(ALL[0].1, seal(NewPayload::V1, &rig.spec, params));
    assert_eq!(Rig::send(rig.addr, &request).await["result"]["status"], "INVALID");
}

#[tokio::test]
async fn a16_b3_what_is_given_beside_the_payload_enters_the_hash() {
    let mut rig = Rig::new().await;
    let (version, method, time) = ALL[3];
    for (index, other) in [(2, json!(B256::repeat_byte(5))), (3, json!(["0x0002"]))] {
        let mut params = sealed(version, &rig.spec, time);
        params[index] = other;
        let answer = rig.call_unasked(method, params).await;
        assert_eq!(answer["result"]["status"], "INVALID", "{index}");
    }
}

/// A request of geth's own, whose block holds a blob transaction.
fn blob_request() -> Option<(ChainSpec, Value)> {
    let genesis = String::from_utf8(shared("geth-ethtest/genesis.json")?).unwrap();
    let requests: Vec<Value> =
        serde_json::from_slice(&shared("geth-ethtest/newpayload.json")?).unwrap();
    let with_blobs = requests
        .into_iter()
        .find(|request| request["params"][1].as_array().is_some_and(|hashes| !hashes.is_empty()));
    Some((ChainSpec::from_genesis_json(&genesis).unwrap(), with_blobs.unwrap()))
}

#[tokio::test]
async fn a14_blob_hashes_must_be_the_expected_ones_in_order() {
    let Some((spec, request)) = blob_request() else { return };
    let mut rig = Rig::of(spec, PATIENT_MS).await;
    let method = request["method"].as_str().unwrap();
    let good = request["params"].clone();
    let (answer, _) = rig.call(method, good.clone(), TreeVerdict::Syncing).await;
    assert_eq!(answer["result"], syncing());

    let hashes = good[1].as_array().unwrap();
    let twice = [hashes.clone(), hashes.clone()].concat();
    for other in [json!([]), json!(twice), json!([B256::repeat_byte(1)])] {
        let mut params = good.clone();
        params[1] = other;
        let answer = rig.call_unasked(method, params).await;
        assert_eq!(answer["result"]["status"], "INVALID");
        assert_eq!(answer["result"]["latestValidHash"], Value::Null);
        let error = answer["result"]["validationError"].as_str().unwrap();
        assert!(error.contains("blob hashes"), "{error}");
    }
}

#[tokio::test]
async fn a18_each_version_takes_its_own_forks_only() {
    let mut rig = Rig::new().await;
    let forks = [99, 150, 199, 200, 299, 300, 399, 400, 499, 500, 599, 600];
    for (version, method, _) in ALL {
        for time in forks {
            let fits = match version {
                NewPayload::V1 => true,
                NewPayload::V2 => time < 200,
                NewPayload::V3 => (200..300).contains(&time),
                NewPayload::V4 => (300..500).contains(&time),
                NewPayload::V5 => (500..600).contains(&time),
            };
            let answer = rig.call_unasked(method, unsealed(version, time)).await;
            if !fits {
                expect_error(&answer, -38005, method);
            } else if version == NewPayload::V2 && time < 100 {
                expect_error(&answer, -32602, "withdrawals must be absent before Shanghai");
            } else {
                // its hash is wrong: it was looked at
                assert_eq!(answer.get("error"), None, "{method} {time} {answer}");
            }
        }
    }
}

#[tokio::test]
async fn a18_v2_takes_the_old_structure_before_shanghai_and_the_new_one_after() {
    let mut rig = Rig::new().await;
    let method = ALL[1].1;
    let old = seal(NewPayload::V2, &rig.spec, unsealed(NewPayload::V1, 99));
    let (answer, _) = rig.call(method, old, TreeVerdict::Syncing).await;
    assert_eq!(answer["result"], syncing());
    let old_late = unsealed(NewPayload::V1, 100);
    rig.expect_error(method, old_late, -32602, "withdrawals must be present from").await;

    // a null is a field left out
    let mut with_null = sealed(NewPayload::V2, &rig.spec, 150);
    with_null[0]["blobGasUsed"] = Value::Null;
    let (answer, _) = rig.call(method, with_null, TreeVerdict::Syncing).await;
    assert_eq!(answer["result"], syncing());
}

#[tokio::test]
async fn a15_a17_structures_are_matched_strictly() {
    let mut rig = Rig::new().await;
    for (version, method, time) in ALL {
        let good = unsealed(version, time);
        for name in good[0].as_object().unwrap().keys() {
            if version == NewPayload::V2 && name == "withdrawals" {
                continue;
            }
            let mut params = good.clone();
            params[0][name] = Value::Null;
            rig.expect_error(method, params.clone(), -32602, "executionPayload").await;
            params[0].as_object_mut().unwrap().remove(name);
            rig.expect_error(method, params, -32602, name).await;
        }
        let mut params = good.clone();
        params[0]["inclusionList"] = json!([]);
        rig.expect_error(method, params, -32602, "inclusionList is not expected").await;

        let mut params = good.as_array().unwrap().clone();
        params.push(json!([]));
        rig.expect_error(method, json!(params), -32602, "too many").await;
        let names =
            ["", "expectedBlobVersionedHashes", "parentBeaconBlockRoot", "executionRequests"];
        for index in 1..good.as_array().unwrap().len() {
            let mut params = good.clone();
            params[index] = Value::Null;
            rig.expect_error(method, params, -32602, names[index]).await;
            let short = &good.as_array().unwrap()[..index];
            rig.expect_error(method, json!(short), -32602, names[index]).await;
        }
        rig.expect_error(method, json!([]), -32602, "executionPayload is missing").await;
        rig.expect_error(method, json!(["0x00"]), -32602, "executionPayload").await;
    }
}

#[tokio::test]
async fn a18_a_newer_structure_is_refused_by_an_older_version() {
    let mut rig = Rig::new().await;
    for (older, newer, field) in [(0, 1, "withdrawals"), (1, 2, "blobGasUsed")] {
        let params = json!([unsealed(ALL[newer].0, ALL[older].2)[0]]);
        rig.expect_error(ALL[older].1, params, -32602, field).await;
    }
    let mut params = unsealed(NewPayload::V4, 350);
    params[0] = unsealed(NewPayload::V5, 350)[0].clone();
    rig.expect_error(ALL[3].1, params, -32602, "blockAccessList").await;
}

#[tokio::test]
async fn a16_b3_execution_requests_ascend_and_hold_something() {
    let mut rig = Rig::new().await;
    for (version, method, time) in &ALL[3..] {
        for (requests, reason) in [
            (json!(["0x01aa", "0x00aa"]), "greater type"),
            (json!(["0x01aa", "0x01bb"]), "greater type"),
            (json!(["0x00aa", "0x01"]), "execution request 1 is empty"),
            (json!(["0x"]), "execution request 0 is empty"),
            (json!("0x00aa"), "executionRequests"),
            (json!(["AXQ17TCotK6wh3zv"]), "executionRequests"),
        ] {
            let mut params = unsealed(*version, *time);
            params[3] = requests;
            rig.expect_error(method, params, -32602, reason).await;
        }
        let mut none = unsealed(*version, *time);
        none[3] = json!([]);
        let none = seal(*version, &rig.spec, none);
        let (answer, asked) = rig.call(method, none, TreeVerdict::Syncing).await;
        assert_eq!(answer["result"], syncing());
        let TreeRequest::NewPayload(block) = asked else { panic!("{asked:?}") };
        let empty = hex!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(block.header.requests_hash, Some(B256::new(empty)));
    }
}

#[tokio::test]
async fn a10_a37_a_silent_tree_is_syncing_within_the_wait() {
    let rig = Rig::of(spec(), 20).await;
    let (version, method, time) = ALL[4];
    let params = sealed(version, &rig.spec, time);
    let answer = Rig::send(rig.addr, &Rig::request(method, params)).await;
    assert_eq!(answer["result"], syncing());
}

#[test]
fn a10_a37_a_payload_that_cannot_be_checked_in_time_is_syncing() {
    // one thread for blocking work, and it is busy
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (done, busy) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let other = tokio::task::spawn_blocking(move || busy.recv());
        let (tree, _probe) = Probe::<TreeAsk>::new(Limit::new(1, 1 << 20));
        let (store, _probe) = Probe::<StoreAsk>::new(Limit::new(1, 1 << 20));
        let engine = EngineMethods {
            tree,
            tree_wait: TREE_WAIT,
            spec: spec().into(),
            bodies: Bodies::new(store),
        };
        let params = unsealed(NewPayload::V1, 50).to_string();
        let asked = engine.new_payload(NewPayload::V1, Params::new(Some(&params)).into_owned());
        let time_passes = async {
            tokio::task::yield_now().await;
            tokio::time::advance(PAYLOAD_WAIT).await;
            tokio::task::yield_now().await;
        };
        tokio::select! {
            biased;
            answer = asked => assert_eq!(answer.unwrap(), PayloadStatus::syncing()),
            () = time_passes => panic!("there is no answer"),
        }
        done.send(()).unwrap();
        other.await.unwrap().unwrap();
    });
    assert!(PAYLOAD_WAIT.as_secs() < 6, "what execution-apis give engine_newPayloadV5");
}
