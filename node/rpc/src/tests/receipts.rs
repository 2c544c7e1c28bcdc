//! Receipts, over mainnet's own and over made-up ones of every type.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bloom, Bytes, LogData, Sealable, hex};
use alloy_rlp::Encodable;
use moorline_messages::{Block, Header, Receipts};
use moorline_rules::{ChainSpec, decode_block, receipts_root};
use serde_json::{Value, json};

use super::{Holdings, Rig, geth_chain, shared};
use crate::BlockTransaction;

/// A mainnet block and its receipts.
pub(super) fn mainnet(number: u64) -> Option<(Block, Receipts)> {
    let file = shared(&format!("receipts/block-data-{number}.yaml"))?;
    let file = String::from_utf8(file).unwrap();
    let field = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        hex::decode(line.trim().trim_matches('"')).unwrap()
    };
    let body = field("body");
    let mut fields = &body[..];
    let head = alloy_rlp::Header::decode(&mut fields).unwrap();
    assert!(head.list);
    let payload = [field("header"), fields.to_vec()].concat();
    let mut block = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut block);
    block.extend(payload);
    let block = decode_block(&mut Bytes::from(block)).unwrap();

    let receipts = field("receipts");
    let mut list = alloy_rlp::Header::decode_bytes(&mut &receipts[..], true).unwrap();
    let mut items = Vec::new();
    while !list.is_empty() {
        let mut rest = list;
        alloy_rlp::Header::decode_bytes(&mut rest, true).unwrap();
        items.push(Bytes::copy_from_slice(&list[..list.len() - rest.len()]));
        list = rest;
    }
    Some((block, Receipts { items }))
}

/// A receipt as it is stored.
pub(super) fn flat(kind: u8, gas: u64, logs: &[alloy_primitives::Log]) -> Bytes {
    let mut payload = Vec::new();
    kind.encode(&mut payload);
    true.encode(&mut payload);
    gas.encode(&mut payload);
    logs.to_vec().encode(&mut payload);
    let mut receipt = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut receipt);
    receipt.extend(payload);
    receipt.into()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap()
}

#[tokio::test]
async fn b13_mainnet_receipts_add_up_to_what_their_header_says() {
    let (Some(one), Some(two)) = (mainnet(17_034_869), mainnet(17_034_870)) else { return };
    let (canonical, receipts) = [one, two].into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let holdings = Holdings { canonical: canonical.clone(), receipts, ..Holdings::default() };
    let rig = Rig::on(ChainSpec::mainnet(), holdings).await;
    for block in canonical {
        let hash = json!(block.header.hash());
        let shown = rig.expect_result("eth_getBlockReceipts", json!([hash])).await;
        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), block.body.transactions.len());
        let gas: u64 = shown.iter().map(|receipt| number(&receipt["gasUsed"])).sum();
        assert_eq!(gas, block.header.gas_used);
        let mut log_index = 0;
        let mut bloom = Bloom::ZERO;
        for (index, (receipt, bytes)) in shown.iter().zip(&block.body.transactions).enumerate() {
            let tx = BlockTransaction::decode_2718_exact(bytes).unwrap();
            assert_eq!(receipt["transactionHash"], json!(alloy_primitives::keccak256(bytes)));
            assert_eq!(receipt["type"], format!("{:#x}", tx.tx_type() as u8));
            assert_eq!(receipt["to"], json!(tx.to()));
            assert_eq!(
                (number(&receipt["transactionIndex"]), &receipt["blockHash"]),
                (index as u64, &hash)
            );
            assert!(matches!(receipt["status"].as_str(), Some("0x0" | "0x1")));
            let (price, base_fee) =
                (number(&receipt["effectiveGasPrice"]), block.header.base_fee_per_gas);
            assert_eq!(u128::from(price), tx.effective_gas_price(base_fee));
            bloom |= serde_json::from_value::<Bloom>(receipt["logsBloom"].clone()).unwrap();
            for log in receipt["logs"].as_array().unwrap() {
                assert_eq!(number(&log["logIndex"]), log_index);
                assert_eq!(log["transactionHash"], receipt["transactionHash"]);
                assert_eq!(log["removed"], false);
                log_index += 1;
            }
        }
        assert_eq!(bloom, block.header.logs_bloom);

        let raw = rig.expect_result("debug_getRawReceipts", json!([hash])).await;
        let raw: Vec<Bytes> = serde_json::from_value(raw).unwrap();
        assert_eq!(receipts_root(&raw), block.header.receipts_root);
    }
}

#[tokio::test]
async fn senders_contracts_and_blob_prices_are_worked_out() {
    let (Some(chain), Some(info)) = (geth_chain(), shared("geth-ethtest/txinfo.json")) else {
        return;
    };
    let info: Value = serde_json::from_slice(&info).unwrap();
    let made = |block: &Block| {
        let kinds = block.body.transactions.iter().map(|tx| if tx[0] < 0x80 { tx[0] } else { 0 });
        let items = kinds.zip(1..).map(|(kind, place)| flat(kind, place * 21_000, &[])).collect();
        Receipts { items }
    };
    let receipts = chain.iter().map(made).collect();
    let holdings = Holdings { canonical: chain.clone(), receipts, ..Holdings::default() };
    let rig = Rig::holding(holdings).await;

    for field in ["deploy-callenv", "deploy-callme", "deploy-callrevert"] {
        let shown = rig.expect_result("eth_getBlockReceipts", json!([info[field]["block"]])).await;
        let all = shown.as_array().unwrap();
        let created = all.iter().find(|receipt| receipt["to"].is_null()).unwrap();
        assert_eq!(created["contractAddress"], info[field]["contract"], "{field}");
        assert!(all.iter().all(|receipt| receipt["gasUsed"] == "0x5208"));
    }
    let sent = &info["tx-emit-eip4844"][0];
    let shown = rig.expect_result("eth_getBlockReceipts", json!([sent["block"]])).await;
    let receipt = &shown[sent["indexInBlock"].as_u64().unwrap() as usize];
    assert_eq!((&receipt["type"], &receipt["from"]), (&json!("0x3"), &sent["sender"]));
    assert_eq!(number(&receipt["blobGasUsed"]) % 131_072, 0);
    assert_ne!(receipt["blobGasUsed"], "0x0");
    // there is no excess blob gas on that chain, so a blob costs the least there is
    let excess = chain[number(&sent["block"]) as usize - 1].header.excess_blob_gas;
    assert_eq!((excess, &receipt["blobGasPrice"]), (Some(0), &json!("0x1")));
    let sent = &info["tx-transfer-legacy"][0];
    let shown = rig.expect_result("eth_getBlockReceipts", json!([sent["block"]])).await;
    let receipt = &shown[sent["indexInBlock"].as_u64().unwrap() as usize];
    assert_eq!(receipt["contractAddress"], Value::Null);
    assert_eq!(receipt.get("blobGasPrice"), None);
}

#[tokio::test]
async fn a_block_without_transactions_has_no_receipts_and_an_unknown_one_null() {
    let header = Arc::new(Header::default().seal_slow());
    let body = moorline_messages::Body {
        ommers: moorline_messages::Body::NO_OMMERS,
        ..Default::default()
    };
    let canonical = vec![Block { header, body: Arc::new(body) }];
    let rig = Rig::holding(Holdings { canonical, ..Holdings::default() }).await;
    for method in ["eth_getBlockReceipts", "debug_getRawReceipts"] {
        assert_eq!(rig.expect_result(method, json!(["latest"])).await, json!([]));
        let unknown = json!([B256::repeat_byte(1)]);
        assert_eq!(rig.expect_result(method, unknown).await, Value::Null);
    }
}

#[tokio::test]
async fn a_store_without_receipts_says_how_to_get_them() {
    let Some(chain) = geth_chain() else { return };
    let rig = Rig::holding(Holdings { canonical: chain, ..Holdings::default() }).await;
    for (method, params) in [
        ("eth_getBlockReceipts", json!(["0x1"])),
        ("debug_getRawReceipts", json!(["0x1"])),
        ("eth_getLogs", json!([{}])),
        ("eth_getLogs", json!([{"blockHash": B256::repeat_byte(1)}])),
    ] {
        let (code, message) = rig.expect_error(method, params).await;
        assert_eq!(code, -32002, "{method}");
        assert!(
            message.contains("keeps no receipts") && message.contains("--receipts"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn receipts_that_are_none_are_an_internal_error() {
    let Some(chain) = geth_chain() else { return };
    let canonical = chain[..1].to_vec();
    let address = Address::repeat_byte(1);
    let log = alloy_primitives::Log { address, data: LogData::default() };
    for items in [vec![], vec![Bytes::from_static(b"\xc1\x80")], vec![flat(0x7f, 1, &[log])]] {
        let receipts = vec![Receipts { items }];
        let holdings = Holdings { canonical: canonical.clone(), receipts, ..Holdings::default() };
        let rig = Rig::holding(holdings).await;
        let (code, _) = rig.expect_error("eth_getBlockReceipts", json!(["0x1"])).await;
        assert_eq!(code, -32603);
    }
}
