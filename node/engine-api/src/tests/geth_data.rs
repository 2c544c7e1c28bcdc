//! The requests that geth's own test chain comes with.

use moorline_kit::Probe;
use moorline_messages::{TreeRequest, TreeVerdict};
use moorline_rules::ChainSpec;
use serde_json::{Value, json};

use super::{PATIENT_MS, Rig, TreeAsk, expect_error, shared, syncing};

async fn answer_syncing(mut tree: Probe<TreeAsk>) {
    while let Some(envelope) = tree.next_held().await {
        let (_, replier) = envelope.open().open();
        replier.answer(TreeVerdict::Syncing);
    }
}

async fn rig() -> Option<Rig> {
    let genesis = String::from_utf8(shared("geth-ethtest/genesis.json")?).unwrap();
    Some(Rig::of(ChainSpec::from_genesis_json(&genesis).unwrap(), PATIENT_MS).await)
}

#[tokio::test]
async fn b1_b2_every_payload_of_the_geth_chain_has_the_right_hash_and_gets_syncing() {
    let (Some(rig), Some(requests)) = (rig().await, shared("geth-ethtest/newpayload.json")) else {
        return;
    };
    let requests: Vec<Value> = serde_json::from_slice(&requests).unwrap();
    assert_eq!(requests.len(), 601);
    tokio::spawn(answer_syncing(rig.tree));
    for request in requests {
        let answer = Rig::send(rig.addr, &request).await;
        assert_eq!(answer["id"], request["id"]);
        match request["id"].as_str().unwrap() {
            // the genesis block's header is not one that a payload can say
            "np0" => {
                assert_eq!(answer["result"]["status"], "INVALID", "{answer}");
                assert_eq!(answer["result"]["latestValidHash"], Value::Null);
            }
            // its execution requests are in base64, not in hexadecimal
            "np13" => expect_error(&answer, -32602, "executionRequests"),
            id => assert_eq!(answer["result"], syncing(), "{id}: {answer}"),
        }
    }
}

#[tokio::test]
async fn the_head_of_the_geth_chain_reaches_the_tree() {
    let (Some(mut rig), Some(request)) = (rig().await, shared("geth-ethtest/headfcu.json")) else {
        return;
    };
    let request: Value = serde_json::from_slice(&request).unwrap();
    let (method, params) = (request["method"].as_str().unwrap(), request["params"].clone());
    let (answer, asked) = rig.call(method, params, TreeVerdict::Syncing).await;
    assert_eq!(answer["result"], json!({"payloadStatus": syncing(), "payloadId": null}));
    let TreeRequest::ForkchoiceUpdated(forkchoice) = asked else { panic!("{asked:?}") };
    let head = request["params"][0]["headBlockHash"].clone();
    assert_eq!(json!(forkchoice.head), head);
    assert_eq!((forkchoice.head, forkchoice.head), (forkchoice.safe, forkchoice.finalized));
}
