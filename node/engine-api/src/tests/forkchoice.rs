//! `engine_forkchoiceUpdated`.

use alloy_primitives::B256;
use moorline_messages::{Forkchoice, TreeRequest, TreeVerdict};
use serde_json::{Value, json};

use super::{PATIENT_MS, Rig, client::Connection, expect_error, spec, syncing};

const ALL: [&str; 4] = [
    "engine_forkchoiceUpdatedV1",
    "engine_forkchoiceUpdatedV2",
    "engine_forkchoiceUpdatedV3",
    "engine_forkchoiceUpdatedV4",
];

fn state(head: B256) -> Value {
    json!({
        "headBlockHash": head,
        "safeBlockHash": B256::repeat_byte(2),
        "finalizedBlockHash": B256::repeat_byte(3),
    })
}

/// Attributes with all the fields that a version has, for a block at `time`.
fn attributes(version: usize, time: u64) -> Value {
    let mut all = json!({
        "timestamp": format!("{time:#x}"),
        "prevRandao": B256::ZERO,
        "suggestedFeeRecipient": "0x0000000000000000000000000000000000000001",
    });
    let newer = [
        ("withdrawals", json!([])),
        ("parentBeaconBlockRoot", json!(B256::ZERO)),
        ("slotNumber", json!("0x1")),
        ("targetGasLimit", json!("0x1c9c380")),
    ];
    let count = if version == 4 { 4 } else { version - 1 };
    for (name, value) in newer.into_iter().take(count) {
        all[name] = value;
    }
    all
}

#[tokio::test]
async fn a24_the_forkchoice_is_passed_on_as_it_is_and_unknown_heads_are_syncing() {
    let mut rig = Rig::new().await;
    let head = B256::repeat_byte(1);
    for method in ALL {
        for params in [json!([state(head)]), json!([state(head), null])] {
            let (answer, asked) = rig.call(method, params, TreeVerdict::Syncing).await;
            assert_eq!(answer["result"], json!({"payloadStatus": syncing(), "payloadId": null}));
            let forkchoice =
                Forkchoice { head, safe: B256::repeat_byte(2), finalized: B256::repeat_byte(3) };
            assert_eq!(asked, TreeRequest::ForkchoiceUpdated(forkchoice));
        }
    }
}

#[tokio::test]
async fn a24_a38_verdicts_become_the_answers_this_call_may_give() {
    let mut rig = Rig::new().await;
    let (head, genesis) = (B256::repeat_byte(1), rig.spec.genesis().hash());
    let status = |status, hash: Option<B256>, error: Option<&str>| json!({"status": status, "latestValidHash": hash, "validationError": error});
    let invalid = TreeVerdict::Invalid { reason: "gas used".to_owned() };
    for (verdict, head, expected) in [
        (TreeVerdict::Syncing, head, status("SYNCING", None, None)),
        (TreeVerdict::Accepted, head, status("SYNCING", None, None)),
        (TreeVerdict::Valid, head, status("SYNCING", None, None)),
        (TreeVerdict::Valid, genesis, status("VALID", Some(genesis), None)),
        (invalid, head, status("INVALID", None, Some("gas used"))),
    ] {
        let params = json!([state(head), null]);
        let (answer, _) = rig.call(ALL[2], params, verdict.clone()).await;
        assert_eq!(answer["result"]["payloadStatus"], expected, "{verdict:?}");
        assert_eq!(answer["result"]["payloadId"], Value::Null);
    }
    let verdict = TreeVerdict::Inconsistent { reason: "safe is not below head".to_owned() };
    let (answer, _) = rig.call(ALL[2], json!([state(head), null]), verdict).await;
    expect_error(&answer, -38002, "safe is not below head");
}

#[tokio::test]
async fn a29_a_malformed_state_is_told_before_the_tree_is_asked() {
    let mut rig = Rig::new().await;
    let good = state(B256::repeat_byte(1));
    let mut short = good.clone();
    short["headBlockHash"] = json!("0x12");
    let mut without_safe = good.clone();
    without_safe["safeBlockHash"] = Value::Null;
    let mut with_more = good.clone();
    with_more["justifiedBlockHash"] = json!(B256::ZERO);
    for method in ALL {
        for (params, reason) in [
            (json!([]), "forkchoiceState is missing"),
            (json!([null, null]), "forkchoiceState is missing"),
            (json!({"forkchoiceState": good.clone()}), "must be an array"),
            (json!(["0x00", null]), "forkchoiceState"),
            (json!([short.clone(), null]), "forkchoiceState"),
            (json!([without_safe.clone(), null]), "forkchoiceState"),
            (json!([with_more.clone(), null]), "justifiedBlockHash is not expected"),
            (json!([good.clone(), null, null, 1]), "too many"),
        ] {
            rig.expect_error(method, params, -32602, reason).await;
        }
    }
}

#[tokio::test]
async fn a30_custody_columns_are_sixteen_bytes_and_v4_alone_has_them() {
    let mut rig = Rig::new().await;
    let head = B256::repeat_byte(1);
    let columns = json!("0x000102030405060708090a0b0c0d0e0f");
    let params = json!([state(head), null, columns]);
    let (answer, _) = rig.call(ALL[3], params.clone(), TreeVerdict::Syncing).await;
    assert_eq!(answer["result"]["payloadStatus"], syncing());
    rig.expect_error(ALL[2], params, -32602, "too many").await;
    for columns in ["0x", "0x00", "0x000102030405060708090a0b0c0d0e0f10", "all"] {
        let params = json!([state(head), null, columns]);
        rig.expect_error(ALL[3], params, -32602, "custodyColumns").await;
    }
}

#[tokio::test]
async fn a28_attributes_are_not_looked_at_until_the_head_is_valid() {
    let mut rig = Rig::new().await;
    for verdict in [TreeVerdict::Syncing, TreeVerdict::Invalid { reason: String::new() }] {
        let params = json!([state(B256::repeat_byte(1)), {"timestamp": "soon"}]);
        let (answer, _) = rig.call(ALL[2], params, verdict).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
}

#[tokio::test]
async fn a29_a30_attributes_on_the_genesis_block_are_checked_and_nothing_is_built() {
    let mut rig = Rig::new().await;
    let without = |name: &str, mut attributes: Value| {
        attributes.as_object_mut().unwrap().remove(name);
        attributes
    };
    // the head's timestamp is 50
    for (version, attributes, expected) in [
        (1, attributes(1, 51), None),
        (1, attributes(1, 50), Some((-38003, "not after"))),
        (1, attributes(2, 51), Some((-38003, "withdrawals is not expected"))),
        (2, attributes(1, 51), None),
        (2, attributes(2, 51), Some((-38003, "before Shanghai"))),
        (2, attributes(2, 100), None),
        (2, attributes(1, 100), Some((-38003, "withdrawals is missing"))),
        (2, attributes(2, 200), Some((-38005, "forkchoiceUpdatedV2"))),
        (2, attributes(3, 200), Some((-38003, "not expected"))),
        (3, attributes(3, 199), Some((-38005, "forkchoiceUpdatedV3"))),
        (3, attributes(3, 200), None),
        (3, attributes(3, 499), None),
        (3, attributes(3, 500), Some((-38005, "forkchoiceUpdatedV3"))),
        (3, attributes(2, 200), Some((-38003, "parentBeaconBlockRoot is missing"))),
        (3, without("prevRandao", attributes(3, 200)), Some((-38003, "prevRandao"))),
        (4, attributes(4, 500), None),
        (4, attributes(4, 499), Some((-38005, "forkchoiceUpdatedV4"))),
        (4, attributes(4, 600), Some((-38005, "forkchoiceUpdatedV4"))),
        (4, attributes(3, 500), Some((-38003, "slotNumber is missing"))),
        (
            4,
            without("targetGasLimit", attributes(4, 500)),
            Some((-38003, "targetGasLimit is missing")),
        ),
        (4, json!("now"), Some((-38003, "expected an object"))),
    ] {
        let params = json!([state(rig.spec.genesis().hash()), attributes.clone()]);
        let (answer, _) = rig.call(ALL[version - 1], params, TreeVerdict::Valid).await;
        match expected {
            Some((code, reason)) => expect_error(&answer, code, reason),
            None => {
                let result = answer.get("result").unwrap_or_else(|| panic!("{answer}"));
                assert_eq!(result["payloadStatus"]["status"], "VALID");
                assert_eq!(result["payloadId"], Value::Null);
            }
        }
    }
}

#[tokio::test]
async fn a8_updates_reach_the_tree_in_the_order_of_their_arrival_over_any_connection() {
    let mut rig = Rig::new().await;
    let heads: Vec<_> = (1..=9).map(B256::repeat_byte).collect();
    let mut connections = Vec::new();
    for head in &heads {
        let mut connection = Connection::open(rig.addr).await;
        connection.send(&Rig::request(ALL[2], json!([state(*head), null]))).await;
        connections.push(connection);
    }
    // none is answered before all have come
    let mut repliers = Vec::new();
    for head in &heads {
        let (asked, replier) = rig.tree.expect_message().await.open();
        let TreeRequest::ForkchoiceUpdated(forkchoice) = asked else { panic!("{asked:?}") };
        assert_eq!(forkchoice.head, *head);
        repliers.push(replier);
    }
    for (mut connection, replier) in connections.into_iter().zip(repliers) {
        replier.answer(TreeVerdict::Syncing);
        assert_eq!(connection.receive().await["result"]["payloadStatus"], syncing());
    }
}

#[tokio::test]
async fn a37_a_tree_without_an_answer_is_syncing_and_never_an_error() {
    let params = || json!([state(B256::repeat_byte(1)), null]);
    let expected = json!({"payloadStatus": syncing(), "payloadId": null});

    let silent = Rig::of(spec(), 20).await;
    let answer = Rig::send(silent.addr, &Rig::request(ALL[2], params())).await;
    assert_eq!(answer["result"], expected, "silent");

    let mut panicking = Rig::of(spec(), PATIENT_MS).await;
    let request = Rig::request(ALL[2], params());
    let dropped = async { drop(panicking.tree.expect_message().await) };
    let (answer, ()) = tokio::join!(Rig::send(panicking.addr, &request), dropped);
    assert_eq!(answer["result"], expected, "panicking");

    let Rig { addr, tree, handle: _handle, .. } = Rig::of(spec(), PATIENT_MS).await;
    drop(tree);
    let answer = Rig::send(addr, &Rig::request(ALL[2], params())).await;
    assert_eq!(answer["result"], expected, "gone");
}
