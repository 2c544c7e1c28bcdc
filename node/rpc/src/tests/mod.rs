//! The read methods over real HTTP, with a probe in place of the store.

mod chain;
mod client;
mod logs;
mod receipts;

use std::{net::SocketAddr, sync::Arc};

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes, Sealable};
use alloy_rlp::Encodable;
use moorline_kit::{Ask, Limit, Probe};
use moorline_messages::{
    Block, BlockNumHash, Body, Forkchoice, HashOrNumber, Receipts, Stall, StoreAnswer, StoreError,
    StoreQuery, StoreStatus, StoredBlock, Weigh,
};
use moorline_rules::{BlockReader, ChainSpec};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::client::{call, post};
use crate::{
    EthConfig, RpcBlock, RpcHandle, RpcServer, SyncDetail, SyncStatus, eth_module, rpc_block,
};

type StoreAsk = Ask<StoreQuery, Result<StoreAnswer, StoreError>>;

/// What the store holds, for as long as the test lasts.
#[derive(Clone, Default)]
struct Holdings {
    canonical: Vec<Block>,
    side: Vec<Block>,
    safe: B256,
    finalized: B256,
    earliest: u64,
    damaged: bool,
    /// By block, in the order of `canonical`; none are kept where there are none.
    receipts: Vec<Receipts>,
}

impl Holdings {
    fn answer(&self, query: StoreQuery) -> Result<StoreAnswer, StoreError> {
        if self.damaged {
            return Err(StoreError::Damaged("segment 3".to_owned()));
        }
        let tip = self.canonical.last().map(Block::num_hash).unwrap_or_default();
        match query {
            StoreQuery::Status => Ok(StoreAnswer::Status(StoreStatus {
                genesis: B256::ZERO,
                earliest: self.earliest,
                tip,
                forkchoice: Forkchoice {
                    head: tip.hash,
                    safe: self.safe,
                    finalized: self.finalized,
                },
                keeps_receipts: !self.receipts.is_empty(),
            })),
            StoreQuery::Block { block } => Ok(StoreAnswer::Block(self.find(block).map(Box::new))),
            StoreQuery::Headers { start, limit, skip: 0, reverse: false, budget_bytes } => {
                let from = self.canonical.iter().skip_while(|block| !is_meant(block, start));
                let rlp = |block: &Block| {
                    let mut rlp = Vec::new();
                    block.header.inner().encode(&mut rlp);
                    Bytes::from(rlp)
                };
                let all = from.take(limit.min(1_024) as usize).map(rlp);
                Ok(StoreAnswer::Headers(within(budget_bytes, all, |rlp| rlp.len())))
            }
            StoreQuery::Bodies { hashes, budget_bytes } => {
                let all = hashes.iter().map_while(|hash| self.place(*hash));
                let all = all.map(|place| (*self.canonical[place].body).clone());
                Ok(StoreAnswer::Bodies(within(budget_bytes, all, Weigh::weight_bytes)))
            }
            StoreQuery::Receipts { hashes, budget_bytes } => {
                let all = hashes.iter().map_while(|hash| self.place(*hash));
                let all = all.map_while(|place| self.receipts.get(place).cloned());
                Ok(StoreAnswer::Receipts(within(budget_bytes, all, Weigh::weight_bytes)))
            }
            other => panic!("the read edge has no use for {other:?}"),
        }
    }

    fn place(&self, hash: B256) -> Option<usize> {
        self.canonical.iter().position(|block| block.header.hash() == hash)
    }

    fn find(&self, wanted: HashOrNumber) -> Option<StoredBlock> {
        let is_wanted = |block: &&Block| is_meant(block, wanted);
        let found = |block: &Block, canonical| StoredBlock { block: block.clone(), canonical };
        let canonical = self.canonical.iter().find(is_wanted).map(|block| found(block, true));
        canonical.or_else(|| self.side.iter().find(is_wanted).map(|block| found(block, false)))
    }
}

fn is_meant(block: &Block, wanted: HashOrNumber) -> bool {
    match wanted {
        HashOrNumber::Hash(hash) => block.header.hash() == hash,
        HashOrNumber::Number(number) => block.header.number == number,
    }
}

/// As many as a store gives: it stops once the budget is used up.
fn within<T>(
    budget_bytes: usize,
    all: impl Iterator<Item = T>,
    weigh: impl Fn(&T) -> usize,
) -> Vec<T> {
    let mut used = 0;
    all.take_while(|item| {
        let is_room = used < budget_bytes;
        used += weigh(item);
        is_room
    })
    .collect()
}

struct Rig {
    addr: SocketAddr,
    sync: watch::Sender<SyncStatus>,
    peers: watch::Sender<usize>,
    handle: RpcHandle,
}

impl Rig {
    async fn holding(holdings: Holdings) -> Self {
        Self::on(spec(), holdings).await
    }

    async fn on(spec: ChainSpec, holdings: Holdings) -> Self {
        Self::answering(spec, move |query| holdings.answer(query)).await
    }

    /// Over a store that gives these answers.
    async fn answering(
        spec: ChainSpec,
        mut answer: impl FnMut(StoreQuery) -> Result<StoreAnswer, StoreError> + Send + 'static,
    ) -> Self {
        let (store, mut probe) = Probe::<StoreAsk>::new(Limit::new(16, 1 << 20));
        tokio::spawn(async move {
            while let Some(envelope) = probe.next_held().await {
                let (query, replier) = envelope.open().open();
                replier.answer(answer(query));
            }
        });
        let (sync, sync_seen) = watch::channel(SyncStatus::default());
        let (peers, peers_seen) = watch::channel(0);
        let config = EthConfig { spec: Arc::new(spec), client_version: "moorline/v0".into() };
        let module = eth_module(config, store, sync_seen, peers_seen).unwrap();
        let handle = RpcServer::start("127.0.0.1:0".parse().unwrap(), module).await.unwrap();
        Self { addr: handle.local_addr(), sync, peers, handle }
    }

    async fn expect_result(&self, method: &str, params: Value) -> Value {
        let answer = call(self.addr, method, params).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    async fn expect_error(&self, method: &str, params: Value) -> (i64, String) {
        let answer = call(self.addr, method, params).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("no error: {answer}"));
        assert_eq!(error.get("data"), None, "{answer}");
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }
}

/// A chain whose id is greater than 32 bits; its forks are those of geth's test chain.
fn spec() -> ChainSpec {
    let genesis = json!({
        "config": {
            "chainId": 3503995874084926_u64, "homesteadBlock": 0, "eip150Block": 0,
            "eip155Block": 0, "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0,
            "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0,
            "mergeNetsplitBlock": 0, "terminalTotalDifficulty": 0, "shanghaiTime": 0,
            "cancunTime": 60, "pragueTime": 120,
            "blobSchedule": {
                "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3338477},
                "prague": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5007716},
            },
        },
        "nonce": "0x0", "timestamp": "0x0", "extraData": "0x", "gasLimit": "0x1c9c380",
        "difficulty": "0x0", "alloc": {},
    });
    ChainSpec::from_genesis_json(&genesis.to_string()).unwrap()
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let whole = format!("{}/../../../shared/data/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(whole).ok();
    if bytes.is_none() {
        say_skipped();
    }
    bytes
}

fn geth_chain() -> Option<Vec<Block>> {
    let bytes = shared("geth-ethtest/chain.rlp")?;
    Some(BlockReader::new(Bytes::from(bytes)).map(Result::unwrap).collect())
}

fn geth_genesis() -> Option<Block> {
    let json = String::from_utf8(shared("geth-ethtest/genesis.json")?).unwrap();
    let header = Arc::clone(ChainSpec::from_genesis_json(&json).unwrap().genesis());
    let body = Body { ommers: Body::NO_OMMERS, withdrawals: Some(vec![]), transactions: vec![] };
    Some(Block { header, body: Arc::new(body) })
}

/// A block out of the JSON that a node gave for it.
fn block_of_json(json: &Value) -> Block {
    let shown: RpcBlock = serde_json::from_value(json.clone()).unwrap();
    let transactions = shown.transactions.as_transactions().unwrap();
    let body = Body {
        transactions: transactions.iter().map(|tx| tx.inner.encoded_2718().into()).collect(),
        ommers: Body::NO_OMMERS,
        withdrawals: shown.withdrawals.clone().map(|list| list.into_inner()),
    };
    Block { header: Arc::new(shown.into_sealed_header()), body: Arc::new(body) }
}

/// Every key of `expected` is in `found` with the same value; what `found` has beyond, by name.
fn expect_keys(expected: &Value, found: &Value, place: &str) -> Vec<String> {
    let expected = expected.as_object().unwrap();
    for (key, value) in expected {
        assert_eq!(found.get(key), Some(value), "{place}.{key}");
    }
    let found = found.as_object().unwrap();
    found.keys().filter(|key| !expected.contains_key(*key)).cloned().collect()
}

#[tokio::test]
async fn what_is_kept_in_memory_is_told() {
    let rig = Rig::holding(Holdings::default()).await;
    assert_eq!(rig.expect_result("eth_chainId", json!([])).await, "0xc72dd9d5e883e");
    assert_eq!(rig.expect_result("net_version", json!([])).await, "3503995874084926");
    assert_eq!(rig.expect_result("web3_clientVersion", json!([])).await, "moorline/v0");
    assert_eq!(rig.expect_result("net_peerCount", json!([])).await, "0x0");
    rig.peers.send(17).unwrap();
    assert_eq!(rig.expect_result("net_peerCount", json!([])).await, "0x11");
}

#[tokio::test]
async fn syncing_is_three_heights_and_what_the_progress_line_says_or_false() {
    let rig = Rig::holding(Holdings::default()).await;
    assert_eq!(rig.expect_result("eth_syncing", json!([])).await, json!(false));
    let detail = SyncDetail {
        percent: 43.2,
        headers_per_second: 12_345.0,
        blocks_per_second: 0.5,
        bytes_per_second: 1_000_000,
        eta_seconds: Some(90),
        peers: 8,
        in_flight: 24,
        budget_used_percent: 37.0,
        stalled: None,
    };
    let status = SyncStatus { starting: 1, current: 16, highest: 600, detail, syncing: true };
    rig.sync.send(status).unwrap();
    let told = rig.expect_result("eth_syncing", json!([])).await;
    let expected = json!({
        "startingBlock": "0x1", "currentBlock": "0x10", "highestBlock": "0x258",
        "moorline": {
            "percent": 43.2, "headersPerSecond": 12345.0, "blocksPerSecond": 0.5,
            "bytesPerSecond": 1_000_000, "etaSeconds": 90, "peers": 8, "inFlight": 24,
            "budgetUsedPercent": 37.0, "stalled": null,
        },
    });
    assert_eq!(told, expected);
    // what other clients read it with does not mind the key that it does not know
    let read: alloy_rpc_types_eth::SyncStatus = serde_json::from_value(told).unwrap();
    let alloy_rpc_types_eth::SyncStatus::Info(read) = read else { panic!("{read:?}") };
    assert_eq!((read.current_block.to::<u64>(), read.highest_block.to::<u64>()), (16, 600));

    let detail = SyncDetail { eta_seconds: None, stalled: Some(Stall::NoPeer), ..detail };
    rig.sync.send(SyncStatus { detail, ..status }).unwrap();
    let told = rig.expect_result("eth_syncing", json!([])).await;
    assert_eq!(told["moorline"]["etaSeconds"], Value::Null);
    assert_eq!(told["moorline"]["stalled"], "no peer can be asked for what is missing");
}

#[tokio::test]
async fn a_real_block_is_shown_as_geth_shows_it() {
    let (Some(chain), Some(head)) = (geth_chain(), shared("geth-ethtest/headblock.json")) else {
        return;
    };
    let rig = Rig::holding(Holdings { canonical: chain, ..Holdings::default() }).await;
    assert_eq!(rig.expect_result("eth_blockNumber", json!([])).await, "0x258");

    let head: Value = serde_json::from_slice(&head).unwrap();
    for tag in ["latest", "pending", "0x258"] {
        let shown = rig.expect_result("eth_getBlockByNumber", json!([tag, false])).await;
        let extra = expect_keys(&head, &shown, tag);
        assert_eq!(extra, ["size", "transactions", "uncles", "withdrawals"]);
        assert_eq!(shown["transactions"], json!([]));
    }
    let by_hash = rig.expect_result("eth_getBlockByHash", json!([head["hash"], false])).await;
    expect_keys(&head, &by_hash, "by hash");
}

#[tokio::test]
async fn transactions_of_every_type_are_shown_with_hash_and_sender() {
    let (Some(chain), Some(info)) = (geth_chain(), shared("geth-ethtest/txinfo.json")) else {
        return;
    };
    let rig = Rig::holding(Holdings { canonical: chain, ..Holdings::default() }).await;
    let info: Value = serde_json::from_slice(&info).unwrap();
    for (field, kind) in [
        ("tx-transfer-legacy", "0x0"),
        ("tx-emit-eip2930", "0x1"),
        ("tx-emit-eip1559", "0x2"),
        ("tx-emit-eip4844", "0x3"),
    ] {
        let sent = &info[field][0];
        let block = rig.expect_result("eth_getBlockByNumber", json!([sent["block"], true])).await;
        let tx = &block["transactions"][sent["indexInBlock"].as_u64().unwrap() as usize];
        assert_eq!(tx["type"], kind, "{field}");
        assert_eq!(tx["hash"], sent["txhash"], "{field}");
        assert_eq!(tx["from"], sent["sender"], "{field}");
    }
}

#[tokio::test]
async fn mainnet_blocks_in_full_equal_what_mainnet_nodes_say() {
    for file in ["mainnet/block24476000.json", "mainnet/block24476001.json"] {
        let Some(bytes) = shared(file) else { return };
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let json = json.get("result").unwrap_or(&json).clone();
        let canonical = vec![block_of_json(&json)];
        let rig = Rig::holding(Holdings { canonical, ..Holdings::default() }).await;
        let shown = rig.expect_result("eth_getBlockByNumber", json!([json["number"], true])).await;

        let without = |value: &Value| {
            let mut value = value.clone();
            value.as_object_mut().unwrap().remove("transactions");
            value
        };
        assert_eq!(without(&shown), without(&json));
        let expected = json["transactions"].as_array().unwrap();
        let found = shown["transactions"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (expected, found) in expected.iter().zip(found) {
            let extra = expect_keys(expected, found, expected["hash"].as_str().unwrap());
            assert_eq!(extra, ["blockTimestamp"], "{found}");
        }

        let short = rig.expect_result("eth_getBlockByHash", json!([json["hash"], false])).await;
        let hashes: Vec<_> = expected.iter().map(|tx| tx["hash"].clone()).collect();
        assert_eq!(short["transactions"], json!(hashes));
        assert_eq!(without(&short), without(&json));
    }
}

#[tokio::test]
async fn tags_follow_the_forkchoice_and_unset_ones_are_an_error() {
    let Some(chain) = geth_chain() else { return };
    let safe = BlockNumHash::of(&chain[580].header);
    let canonical = chain.clone();
    let rig = Rig::holding(Holdings { canonical, safe: safe.hash, ..Holdings::default() }).await;

    let shown = rig.expect_result("eth_getBlockByNumber", json!(["safe", false])).await;
    assert_eq!(shown["hash"], json!(safe.hash));
    let (code, message) =
        rig.expect_error("eth_getBlockByNumber", json!(["finalized", false])).await;
    assert_eq!((code, message.starts_with("finalized block not found")), (-39001, true));

    let Some(genesis) = geth_genesis() else { return };
    let hash = genesis.header.hash();
    let canonical = [vec![genesis], chain].concat();
    let rig = Rig::holding(Holdings { canonical, ..Holdings::default() }).await;
    let earliest = rig.expect_result("eth_getBlockByNumber", json!(["earliest", false])).await;
    assert_eq!(earliest["hash"], json!(hash));
}

#[tokio::test]
async fn unknown_and_side_blocks_are_null() {
    let Some(mut chain) = geth_chain() else { return };
    let side = vec![chain.pop().unwrap()];
    let hash = side[0].header.hash();
    let rig = Rig::holding(Holdings { canonical: chain, side, ..Holdings::default() }).await;

    for full in [false, true] {
        let by_number = rig.expect_result("eth_getBlockByNumber", json!(["0xffff", full])).await;
        assert_eq!(by_number, Value::Null);
        let unknown = json!([B256::repeat_byte(7), full]);
        assert_eq!(rig.expect_result("eth_getBlockByHash", unknown).await, Value::Null);
        let side = rig.expect_result("eth_getBlockByHash", json!([hash, full])).await;
        assert_eq!(side, Value::Null);
    }
}

#[tokio::test]
async fn heights_below_the_lowest_block_here_are_pruned_history() {
    let Some(chain) = geth_chain() else { return };
    let canonical = chain[500..].to_vec();
    let rig = Rig::holding(Holdings { canonical, earliest: 501, ..Holdings::default() }).await;
    for number in ["0x1", "0x1f4"] {
        let params = json!([number, false]);
        let (code, message) = rig.expect_error("eth_getBlockByNumber", params).await;
        assert_eq!((code, message.as_str()), (4444, "pruned history unavailable"), "{number}");
    }
    let lowest = rig.expect_result("eth_getBlockByNumber", json!(["0x1f5", false])).await;
    assert_eq!(lowest["number"], "0x1f5");
    let above = rig.expect_result("eth_getBlockByNumber", json!(["0x259", false])).await;
    assert_eq!(above, Value::Null);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let rig = Rig::holding(Holdings::default()).await;
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["newest", true])),
        ("eth_getBlockByNumber", json!(["0x1"])),
        ("eth_getBlockByNumber", json!([1, true])),
        ("eth_getBlockByNumber", json!(["0x1", true, 3])),
        ("eth_getBlockByHash", json!(["0x12", true])),
        ("eth_getBlockByHash", json!([B256::ZERO, "yes"])),
        ("eth_getBlockByHash", json!({"hash": 1})),
    ] {
        let (code, message) = rig.expect_error(method, params.clone()).await;
        assert_eq!(code, -32602, "{method} {params}");
        assert!(message.len() > "Invalid params: ".len(), "{message}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_read_is_an_internal_error() {
    let rig = Rig::holding(Holdings { damaged: true, ..Holdings::default() }).await;
    let (code, message) = rig.expect_error("eth_blockNumber", json!([])).await;
    assert_eq!((code, message.as_str()), (-32603, "the store is damaged: segment 3"));
}

#[tokio::test]
async fn a_page_that_rebound_its_name_to_this_machine_is_refused() {
    let rig = Rig::holding(Holdings::default()).await;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}).to_string();
    for (host, status) in
        [("evil.example:8545", 403), ("localhost:8545", 200), ("127.0.0.1", 200), ("[::1]:1", 200)]
    {
        assert_eq!(post(rig.addr, host, &request).await.0, status, "{host}");
    }
}

#[tokio::test]
async fn engine_methods_are_not_here_and_a_stopped_server_is_gone() {
    let rig = Rig::holding(Holdings::default()).await;
    let (code, _) = rig.expect_error("engine_exchangeCapabilities", json!([[]])).await;
    assert_eq!(code, -32601);
    rig.handle.stop().await;
    assert!(tokio::net::TcpStream::connect(rig.addr).await.is_err());
}

#[test]
fn a_transaction_of_an_unknown_type_cannot_be_shown_in_full() {
    let body = Body { transactions: vec![Bytes::from_static(&[0x7e, 1])], ..Body::default() };
    let body = Body { ommers: Body::NO_OMMERS, ..body };
    let header = moorline_messages::Header::default().seal_slow();
    let block = Block { header: Arc::new(header), body: Arc::new(body) };
    assert_eq!(rpc_block(&block, true), Err(crate::BlockError::Transaction(0)));
    assert_eq!(rpc_block(&block, false).unwrap().transactions.len(), 1);
}

/// Says once that tests are skipped, past the test runner's capture of what tests print.
fn say_skipped() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use std::io::Write;
        let text = "skipped: tests that read ../shared/data, which is not beside this checkout";
        writeln!(std::io::stderr(), "{text}").unwrap();
    });
}

/// Two chains of a block on top of the same genesis block, and a store that goes over from one to the other with
/// the second question.
async fn reorganised_meanwhile(named: bool) -> Option<(Rig, [Block; 2])> {
    let (genesis, first) = (geth_genesis()?, geth_chain()?[0].clone());
    let mut header = first.header.inner().clone();
    header.extra_data = Bytes::from_static(b"another");
    let second = Block { header: Arc::new(header.seal_slow()), body: Arc::clone(&first.body) };
    let holding = |tip: &Block, side: &Block| Holdings {
        canonical: vec![genesis.clone(), tip.clone()],
        side: vec![side.clone()],
        safe: if named { first.header.hash() } else { B256::ZERO },
        ..Holdings::default()
    };
    let (before, after) = (holding(&first, &second), holding(&second, &first));
    let mut asked = 0;
    let rig = Rig::answering(spec(), move |query| {
        asked += 1;
        if asked == 1 { before.answer(query) } else { after.answer(query) }
    })
    .await;
    Some((rig, [first, second]))
}

#[tokio::test]
async fn a_tag_is_never_another_block_because_the_chain_moved_meanwhile() {
    let Some((rig, [_, second])) = reorganised_meanwhile(false).await else { return };
    let latest = rig.expect_result("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(latest["hash"], json!(second.header.hash()));

    let Some((rig, [first, _])) = reorganised_meanwhile(true).await else { return };
    let (code, message) = rig.expect_error("eth_getBlockByNumber", json!(["safe", false])).await;
    assert_eq!(code, -39001);
    assert!(message.contains(&first.header.hash().to_string()), "{message}");
}
