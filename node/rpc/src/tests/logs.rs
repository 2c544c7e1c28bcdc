//! `eth_getLogs`.

use std::sync::Arc;

use alloy_consensus::BlockHeader;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, LogData, Sealable};
use alloy_rpc_types_eth::Filter;
use moorline_kit::{Limit, Probe};
use moorline_messages::{Block, Body, Header, Receipts};
use moorline_rules::ChainSpec;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Holdings, Rig, StoreAsk,
    receipts::{flat, mainnet},
};
use crate::{
    logs::{LOGS_ROOM_WAIT, LogSearch},
    reader::Reader,
};

fn log(address: u8, topics: &[u8], data_bytes: usize) -> Log {
    let topics = topics.iter().copied().map(B256::repeat_byte).collect();
    let data = LogData::new_unchecked(topics, vec![7; data_bytes].into());
    Log { address: Address::repeat_byte(address), data }
}

/// A chain on top of an empty genesis block, whose block `n` has two transactions, the second of which left these logs.
fn holding(blocks: Vec<Vec<Log>>) -> Holdings {
    let genesis = Header::default().seal_slow();
    let mut parent_hash = genesis.hash();
    let body = Body { ommers: Body::NO_OMMERS, ..Body::default() };
    let genesis = Block { header: Arc::new(genesis), body: Arc::new(body) };
    let mut holdings = Holdings {
        canonical: vec![genesis],
        receipts: vec![Receipts::default()],
        ..Holdings::default()
    };
    for (number, logs) in (1..).zip(blocks) {
        let mut logs_bloom = Bloom::ZERO;
        logs.iter().for_each(|log| logs_bloom.accrue_log(log));
        let header = Header { number, parent_hash, logs_bloom, ..Header::default() }.seal_slow();
        parent_hash = header.hash();
        let transactions =
            vec![Bytes::from(vec![2, number as u8]), Bytes::from(vec![3, number as u8])];
        let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: None };
        holdings.canonical.push(Block { header: Arc::new(header), body: Arc::new(body) });
        holdings.receipts.push(Receipts { items: vec![flat(0, 1, &[]), flat(2, 2, &logs)] });
    }
    holdings
}

impl Rig {
    /// The places of the logs that a filter finds: block and index of the log.
    async fn places(&self, filter: Value) -> Vec<(String, String)> {
        let found = self.expect_result("eth_getLogs", json!([filter])).await;
        let place = |log: &Value| {
            let text = |field: &str| log[field].as_str().unwrap().to_owned();
            (text("blockNumber"), text("logIndex"))
        };
        found.as_array().unwrap().iter().map(place).collect()
    }

    async fn expect_places(&self, filter: Value, expected: &[(&str, &str)]) {
        let found = self.places(filter.clone()).await;
        let expected: Vec<_> =
            expected.iter().map(|(block, log)| ((*block).to_owned(), (*log).to_owned())).collect();
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn logs_are_found_by_address_topics_and_range() {
    let rig = Rig::holding(holding(vec![
        vec![log(1, &[1, 2], 0), log(2, &[1], 0)],
        vec![],
        vec![log(1, &[3, 2], 5), log(1, &[1, 2, 3], 0)],
        vec![log(3, &[], 0)],
    ]))
    .await;
    let all = |more: Value| {
        let mut filter = json!({"fromBlock": "earliest", "toBlock": "latest"});
        filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        filter
    };
    let address = |byte: u8| json!(Address::repeat_byte(byte));
    let topic = |byte: u8| json!(B256::repeat_byte(byte));
    let (a, b, c, d, e) =
        (("0x1", "0x0"), ("0x1", "0x1"), ("0x3", "0x0"), ("0x3", "0x1"), ("0x4", "0x0"));
    rig.expect_places(all(json!({})), &[a, b, c, d, e]).await;
    rig.expect_places(all(json!({"address": address(1)})), &[a, c, d]).await;
    rig.expect_places(all(json!({"address": [address(2), address(3)]})), &[b, e]).await;
    rig.expect_places(all(json!({"address": address(9)})), &[]).await;
    rig.expect_places(all(json!({"topics": [topic(1)]})), &[a, b, d]).await;
    rig.expect_places(all(json!({"topics": [null, topic(2)]})), &[a, c, d]).await;
    rig.expect_places(all(json!({"topics": [[topic(3), topic(1)], topic(2)]})), &[a, c, d]).await;
    rig.expect_places(all(json!({"topics": [topic(1), topic(2), topic(3)]})), &[d]).await;
    rig.expect_places(all(json!({"address": address(2), "topics": [topic(1)]})), &[b]).await;
    // a topic that is there, at another place
    rig.expect_places(all(json!({"topics": [topic(2)]})), &[]).await;

    rig.expect_places(json!({}), &[e]).await;
    rig.expect_places(json!({"fromBlock": "0x2", "toBlock": "0x3"}), &[c, d]).await;
    rig.expect_places(json!({"fromBlock": "0x3"}), &[c, d, e]).await;
    rig.expect_places(json!({"fromBlock": "0x4", "toBlock": "latest"}), &[e]).await;
    rig.expect_places(json!({"fromBlock": "0x5"}), &[]).await;
}

#[tokio::test]
async fn a_log_says_where_it_lies() {
    let holdings = holding(vec![vec![log(1, &[1], 0), log(2, &[5], 2)]]);
    let block = holdings.canonical[1].clone();
    let rig = Rig::holding(holdings).await;
    let by_hash = json!([{"blockHash": block.header.hash(), "address": Address::repeat_byte(2)}]);
    let found = rig.expect_result("eth_getLogs", by_hash).await;
    let transaction = alloy_primitives::keccak256(&block.body.transactions[1]);
    let expected = json!([{
        "address": Address::repeat_byte(2), "topics": [B256::repeat_byte(5)], "data": "0x0707",
        "blockHash": block.header.hash(), "blockNumber": "0x1", "blockTimestamp": "0x0",
        "transactionHash": transaction, "transactionIndex": "0x1", "logIndex": "0x1",
        "removed": false,
    }]);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn mainnet_logs_are_those_of_the_receipts() {
    let (Some(one), Some(two)) = (mainnet(17_034_869), mainnet(17_034_870)) else { return };
    let (canonical, receipts) = [one, two].into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let holdings = Holdings { canonical, receipts, ..Holdings::default() };
    let rig = Rig::on(ChainSpec::mainnet(), holdings).await;
    let mut expected = Vec::new();
    for number in ["0x103ee75", "0x103ee76"] {
        let receipts = rig.expect_result("eth_getBlockReceipts", json!([number])).await;
        let logs =
            receipts.as_array().unwrap().iter().flat_map(|receipt| receipt["logs"].as_array());
        expected.extend(logs.flatten().cloned());
    }
    let range = json!({"fromBlock": "0x103ee75", "toBlock": "0x103ee76"});
    let found = rig.expect_result("eth_getLogs", json!([range])).await;
    assert_eq!(found, json!(expected));
    assert!(expected.len() > 400, "{}", expected.len());

    // USDC, which both blocks moved
    let usdc = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
    let mut filter = range;
    filter["address"] = json!(usdc);
    let found = rig.expect_result("eth_getLogs", json!([filter])).await;
    let expected: Vec<_> = expected.into_iter().filter(|log| log["address"] == usdc).collect();
    assert!(expected.len() > 10);
    assert_eq!(found, json!(expected));
}

#[tokio::test]
async fn blocks_whose_bloom_has_none_of_it_are_not_read() {
    let mut holdings = holding(vec![vec![log(1, &[1], 0)], vec![log(2, &[1], 0)]]);
    // whoever reads these sees that they are none
    holdings.receipts[1] = Receipts { items: vec![Bytes::from_static(&[0xc0])] };
    let rig = Rig::holding(holdings).await;
    let filter = json!({"fromBlock": "0x1", "address": Address::repeat_byte(2)});
    rig.expect_places(filter, &[("0x2", "0x0")]).await;
    let (code, _) = rig.expect_error("eth_getLogs", json!([{"fromBlock": "0x1"}])).await;
    assert_eq!(code, -32603);
}

#[tokio::test]
async fn a_search_is_bounded_in_blocks_logs_bytes_and_criteria() {
    let rig = Rig::holding(holding(vec![vec![]; 10_001])).await;
    rig.expect_places(json!({"fromBlock": "0x2"}), &[]).await;
    for (filter, reason) in [
        (json!({"fromBlock": "0x1"}), "10000 blocks, this one has 10001"),
        (
            json!({"topics": [vec![B256::ZERO; 1], (0..=1_000_u64).map(|n| B256::left_padding_from(&n.to_be_bytes())).collect::<Vec<_>>()]}),
            "this one has 1002",
        ),
    ] {
        let (code, message) = rig.expect_error("eth_getLogs", json!([filter])).await;
        assert_eq!((code, message.contains(reason)), (-32005, true), "{message}");
    }

    let many = vec![log(1, &[], 0); 10_000];
    let rig = Rig::holding(holding(vec![many.clone(), many.clone(), vec![log(1, &[], 0)]])).await;
    assert_eq!(rig.places(json!({"fromBlock": "0x1", "toBlock": "0x2"})).await.len(), 20_000);
    let (code, message) = rig.expect_error("eth_getLogs", json!([{"fromBlock": "0x1"}])).await;
    assert_eq!((code, message.contains("more than 20000 logs")), (-32005, true), "{message}");

    let rig = Rig::holding(holding(vec![vec![log(1, &[], 9 << 20)]; 2])).await;
    let (code, message) = rig.expect_error("eth_getLogs", json!([{"fromBlock": "0x1"}])).await;
    assert_eq!((code, message.contains("16777216 bytes")), (-32005, true), "{message}");
}

#[tokio::test]
async fn a_filter_that_asks_for_nothing_possible_is_named() {
    let mut holdings = holding(vec![vec![]; 5]);
    holdings.canonical.drain(..3);
    holdings.receipts.drain(..3);
    holdings.earliest = 3;
    let hash = holdings.canonical[0].header.parent_hash();
    let rig = Rig::holding(holdings).await;
    for (filter, expected, reason) in [
        (json!({"fromBlock": "0x4", "toBlock": "0x3"}), -32602, "above toBlock"),
        (json!({"fromBlock": "0x4", "toBlock": "0xffffffffffffffff"}), -32602, "not here yet"),
        (json!({"fromBlock": "0x2"}), 4444, "pruned history"),
        (json!({"fromBlock": "safe"}), -39001, "safe block not found"),
        (json!({"blockHash": hash}), -32602, "no block"),
        (json!({"blockHash": hash, "fromBlock": "0x1"}), -32602, "both"),
        (json!({"topics": [null, null, null, null, null]}), -32602, "topics"),
        (json!({"adress": "0x00"}), -32602, "adress"),
        (json!("all"), -32602, "Filter"),
    ] {
        let (code, message) = rig.expect_error("eth_getLogs", json!([filter])).await;
        assert_eq!((code, message.contains(reason)), (expected, true), "{filter}: {message}");
    }
}

#[tokio::test]
async fn a_chain_that_is_reorganised_under_a_search_is_told() {
    let mut holdings = holding(vec![vec![log(1, &[], 0)]; 3]);
    // the receipts of its blocks are not canonical any more when they are asked for
    holdings.receipts.truncate(2);
    let rig = Rig::holding(holdings).await;
    let (code, message) = rig.expect_error("eth_getLogs", json!([{"fromBlock": "0x1"}])).await;
    assert_eq!((code, message.contains("ask again")), (-32002, true), "{message}");
}

/// The search of a port over a store that never answers.
fn on_a_silent_store() -> (LogSearch, Probe<StoreAsk>) {
    let (store, probe) = Probe::<StoreAsk>::new(Limit::new(16, 1 << 20));
    (LogSearch::new(Reader::new(store)), probe)
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_in_vain_is_told_so_and_not_that_the_search_took_too_long() {
    let (search, _store) = on_a_silent_store();
    let _places = search.take_every_place().await;
    let began = Instant::now();
    let error = search.find(Filter::default()).await.unwrap_err();
    assert_eq!((error.code(), began.elapsed().as_secs()), (-32005, LOGS_ROOM_WAIT.as_secs()));
    assert!(error.message().contains("searches are under way"), "{error}");
    // another port has places of its own
    let (other, _store) = on_a_silent_store();
    let error = other.find(Filter::default()).await.unwrap_err();
    assert!(error.message().contains("the store did not answer"), "{error}");
}
