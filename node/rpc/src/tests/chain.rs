//! Blocks by tag, their transactions one by one, and what a node without state says.

use alloy_primitives::{B256, Bytes, hex};
use moorline_messages::BlockNumHash;
use moorline_rules::block_rlp;
use serde_json::{Value, json};

use super::{Holdings, Rig, geth_chain, shared};

#[tokio::test]
async fn a7_what_needs_state_or_a_pool_says_so() {
    let rig = Rig::holding(Holdings::default()).await;
    for (method, lacking) in [
        ("eth_call", "state"),
        ("eth_getCode", "state"),
        ("eth_getBalance", "state"),
        ("eth_estimateGas", "state"),
        ("eth_sendRawTransaction", "pool of transactions"),
    ] {
        let (code, message) = rig.expect_error(method, json!(["0x00", "latest"])).await;
        assert_eq!(code, -32004);
        assert_eq!(message, format!("{method} is not supported: this node keeps no {lacking}"));
    }
}

#[tokio::test]
async fn transactions_are_counted_and_shown_by_place() {
    let (Some(chain), Some(info)) = (geth_chain(), shared("geth-ethtest/txinfo.json")) else {
        return;
    };
    let rig = Rig::holding(Holdings { canonical: chain.clone(), ..Holdings::default() }).await;
    let info: Value = serde_json::from_slice(&info).unwrap();
    for field in ["tx-transfer-legacy", "tx-emit-eip2930", "tx-emit-eip1559", "tx-emit-eip4844"] {
        let sent = &info[field][0];
        let number = u64::from_str_radix(&sent["block"].as_str().unwrap()[2..], 16).unwrap();
        let block = &chain[number as usize - 1];
        let index = json!(format!("{:#x}", sent["indexInBlock"].as_u64().unwrap()));
        let count = json!(format!("{:#x}", block.body.transactions.len()));
        for (how, id) in [("Number", sent["block"].clone()), ("Hash", json!(block.header.hash()))] {
            let method = format!("eth_getTransactionByBlock{how}AndIndex");
            let shown = rig.expect_result(&method, json!([id, index])).await;
            assert_eq!(shown["hash"], sent["txhash"], "{field}");
            assert_eq!(shown["from"], sent["sender"], "{field}");
            assert_eq!(shown["transactionIndex"], index);
            let none = rig.expect_result(&method, json!([id, count])).await;
            assert_eq!(none, Value::Null);
            let method = format!("eth_getBlockTransactionCountBy{how}");
            assert_eq!(rig.expect_result(&method, json!([id])).await, count);
        }
    }
    for method in ["eth_getBlockTransactionCountByHash", "eth_getTransactionByBlockHashAndIndex"] {
        let mut params = json!([B256::repeat_byte(1), "0x0"]);
        if method.contains("Count") {
            params.as_array_mut().unwrap().pop();
        }
        assert_eq!(rig.expect_result(method, params).await, Value::Null);
    }
}

#[tokio::test]
async fn raw_blocks_and_headers_are_their_rlp() {
    let Some(chain) = geth_chain() else { return };
    let block = chain[599].clone();
    let rig = Rig::holding(Holdings { canonical: chain, ..Holdings::default() }).await;
    let whole = Bytes::from(block_rlp(&block.header, &block.body));
    for id in [json!("latest"), json!("0x258"), json!(block.header.hash())] {
        assert_eq!(rig.expect_result("debug_getRawBlock", json!([id])).await, json!(whole));
        let header = rig.expect_result("debug_getRawHeader", json!([id])).await;
        let header = hex::decode(header.as_str().unwrap()).unwrap();
        assert_eq!(alloy_primitives::keccak256(header), block.header.hash());
    }
    let missing = rig.expect_result("debug_getRawBlock", json!(["0x259"])).await;
    assert_eq!(missing, Value::Null);
}

#[tokio::test]
async fn earliest_is_the_lowest_block_from_which_on_nothing_is_missing() {
    let Some(chain) = geth_chain() else { return };
    let canonical = chain[500..].to_vec();
    let rig = Rig::holding(Holdings { canonical, earliest: 501, ..Holdings::default() }).await;
    let shown = rig.expect_result("eth_getBlockByNumber", json!(["earliest", false])).await;
    assert_eq!(shown["number"], "0x1f5");
}

#[tokio::test]
async fn safe_and_finalized_are_unknown_until_they_lie_on_the_chain_that_is_here() {
    let Some(mut chain) = geth_chain() else { return };
    let side = vec![chain.pop().unwrap()];
    let safe = BlockNumHash::of(&side[0].header).hash;
    let finalized = B256::repeat_byte(1);
    let holdings = Holdings { canonical: chain, side, safe, finalized, ..Holdings::default() };
    let rig = Rig::holding(holdings).await;
    for tag in ["safe", "finalized"] {
        let (code, message) = rig.expect_error("eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(code, -39001);
        assert!(message.starts_with(&format!("{tag} block not found: 0x")), "{message}");
    }
}
