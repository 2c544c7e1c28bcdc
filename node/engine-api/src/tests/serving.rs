//! What the port serves, and how it ends.

use std::{collections::BTreeSet, sync::Arc};

use jsonrpsee::RpcModule;
use moorline_kit::{Limit, Probe};
use serde_json::json;

use super::{Rig, SECRET, StoreAsk, TreeAsk, expect_error, spec};
use crate::methods::commit_bytes;
use crate::{
    EngineClient, EngineClientError, EngineConfig, EngineError, EngineServer, JwtSecret, TREE_WAIT,
};

#[tokio::test]
async fn a11_a35_capabilities_are_what_is_supported_and_nothing_else() {
    let mut rig = Rig::new().await;
    let ours = json!([["engine_newPayloadV3", "engine_somethingElseV9"]]);
    let answer = rig.call_unasked("engine_exchangeCapabilities", ours).await;
    let listed: Vec<String> = serde_json::from_value(answer["result"].clone()).unwrap();
    let payloads = (1..=5).map(|version| format!("engine_newPayloadV{version}"));
    let forkchoices = (1..=4).map(|version| format!("engine_forkchoiceUpdatedV{version}"));
    let bodies = ["ByHashV1", "ByHashV2", "ByRangeV1", "ByRangeV2"];
    let bodies = bodies.map(|method| format!("engine_getPayloadBodies{method}"));
    let version = ["engine_getClientVersionV1".to_owned()];
    let expected: BTreeSet<_> = payloads.chain(forkchoices).chain(bodies).chain(version).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(listed.len(), expected.len());

    for method in listed {
        let answer = rig.call_unasked(&method, json!([])).await;
        assert_ne!(answer["error"]["code"], -32601, "{method} is listed and not served");
    }
    for method in [
        "engine_newPayloadV6",
        "engine_exchangeTransitionConfigurationV1",
        "engine_forkchoiceUpdatedV5",
    ] {
        expect_error(&rig.call_unasked(method, json!([])).await, -32601, "Method not found");
    }
    let (method, params) = ("engine_exchangeCapabilities", json!(["engine_newPayloadV3"]));
    rig.expect_error(method, params, -32602, "capabilities").await;
}

#[tokio::test]
async fn a9_errors_have_the_codes_of_the_specification_and_no_data_but_for_what_is_too_large() {
    let mut rig = Rig::new().await;
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "engine_nothingV1", "params": []});
    let no_request = json!({"jsonrpc": "2.0", "id": 1, "method": 7});
    for (request, code) in [(unknown, -32601), (no_request, -32600)] {
        let answer = Rig::send(rig.addr, &request).await;
        expect_error(&answer, code, "");
    }
    // -32700 is a4's; -38002 and -38003 are those of forkchoices
    for (method, params, code) in [
        ("engine_newPayloadV3", json!([]), -32602),
        ("engine_getPayloadV1", json!(["0x0000000000000000"]), -38001),
        ("engine_getPayloadBodiesByRangeV1", json!(["0x1", "0xffff"]), -38004),
        ("engine_getBlobsV1", json!([[]]), -38005),
    ] {
        rig.expect_error(method, params, code, "").await;
    }
    // no codes of the specification: its transport has none for a batch that is too large
    let batch = json!(vec![Rig::request("eth_chainId", json!([])); 2_001]);
    let error = &Rig::send(rig.addr, &batch).await["error"];
    assert_eq!(error["code"], -32010);
    assert!(error["data"].is_string(), "{error}");
}

#[tokio::test]
async fn a12_the_client_introduces_itself() {
    let mut rig = Rig::new().await;
    let theirs = json!([{"code": "LH", "name": "Lighthouse", "version": "v8", "commit": "0x0"}]);
    let answer = rig.call_unasked("engine_getClientVersionV1", theirs).await;
    let ours = &answer["result"][0];
    assert_eq!((&ours["code"], &ours["name"]), (&json!("ML"), &json!("Moorline")));
    assert!(ours["version"].as_str().unwrap().starts_with('v'));
    assert_eq!(ours["commit"].as_str().unwrap().len(), 10);
    let hash = "0badc0de15f1a2b3c4d5e6f708192a3b4c5d6e7f";
    assert_eq!(commit_bytes(Some(hash)), [0x0b, 0xad, 0xc0, 0xde]);
    for none in [None, Some("0bad"), Some("unknown!")] {
        assert_eq!(commit_bytes(none), [0; 4], "{none:?}");
    }
}

#[tokio::test]
async fn a7_the_read_methods_are_on_the_same_port() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.call_unasked("eth_chainId", json!([])).await["result"], "0x63");
}

#[tokio::test]
async fn a6_a_batch_has_a_bound() {
    let rig = Rig::new().await;
    let call = Rig::request("eth_chainId", json!([]));
    let answers = Rig::send(rig.addr, &json!(vec![call.clone(); 2_000])).await;
    assert_eq!(answers.as_array().unwrap().len(), 2_000);
    let answer = Rig::send(rig.addr, &json!(vec![call; 2_001])).await;
    assert_eq!(answer["error"]["code"], -32010, "{answer}");
}

#[tokio::test]
async fn a_port_in_use_is_named_and_a_stopped_server_frees_it() {
    let rig = Rig::new().await;
    let start = || {
        let (tree, _probe) = Probe::<TreeAsk>::new(Limit::new(1, 1));
        let (store, _probe) = Probe::<StoreAsk>::new(Limit::new(1, 1));
        let config = EngineConfig::new(rig.addr, SECRET);
        EngineServer::start(config, tree, store, Arc::new(spec()), RpcModule::new(()))
    };
    let error = start().await.unwrap_err();
    assert!(matches!(error, EngineError::Listen { .. }));
    let sentence = format!("cannot listen on {} for the Engine API", rig.addr);
    assert!(error.to_string().starts_with(&sentence), "{error}");
    rig.handle.stop().await;
    assert_eq!(start().await.unwrap().local_addr(), rig.addr);
}

#[tokio::test]
async fn our_own_client_is_let_in_and_tells_failures_apart() {
    let rig = Rig::new().await;
    let client = EngineClient::new(rig.addr, SECRET);
    assert_eq!(client.call("eth_chainId", json!([])).await.unwrap(), "0x63");
    let error = client.call("engine_newPayloadV1", json!([])).await.unwrap_err();
    assert!(matches!(error, EngineClientError::Rpc { code: -32602, .. }), "{error}");

    let stranger = EngineClient::new(rig.addr, JwtSecret::new([8; 32]));
    let error = stranger.call("eth_chainId", json!([])).await.unwrap_err();
    assert!(matches!(error, EngineClientError::Refused { status: 401, .. }), "{error}");

    rig.handle.stop().await;
    let error = client.call("eth_chainId", json!([])).await.unwrap_err();
    assert!(matches!(error, EngineClientError::Connection { .. }), "{error}");
}

#[tokio::test]
async fn our_own_client_waits_no_longer_than_the_specification_gives() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = EngineClient::new(silent.local_addr().unwrap(), SECRET);
    tokio::time::pause();
    let error = client.call("eth_chainId", json!([])).await.unwrap_err();
    assert!(matches!(error, EngineClientError::TimedOut { waited_ms: 8_000, .. }), "{error}");
}

#[test]
fn a10_the_tree_is_given_less_time_than_any_consensus_client_gives() {
    let config = EngineConfig::new("127.0.0.1:8551".parse().unwrap(), SECRET);
    assert_eq!(config.tree_wait, TREE_WAIT);
    assert!(TREE_WAIT.as_secs() < 6);
}

#[tokio::test]
async fn a6_a_body_may_have_128_mib_and_no_more() {
    let rig = Rig::new().await;
    let client = EngineClient::new(rig.addr, SECRET);
    let filled = |bytes: usize| json!(["0".repeat(bytes)]);
    // its parameters are looked at, so the whole of it was read
    let fits = client.call("eth_chainId", filled((128 << 20) - 4_096)).await;
    assert_eq!(fits.unwrap(), "0x63");
    let error = client.call("eth_chainId", filled(128 << 20)).await.unwrap_err();
    let is_refused = matches!(error, EngineClientError::Refused { status: 413, .. });
    assert!(is_refused || matches!(error, EngineClientError::Connection { .. }), "{error}");
}
