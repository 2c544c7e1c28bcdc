//! The Engine API over real HTTP, with a probe in place of the tree.

mod access_list;
mod auth;
mod bodies;
mod client;
mod forkchoice;
mod geth_data;
mod jwt;
mod new_payload;
mod serving;
mod unsupported;
mod websocket;

use std::{net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use jsonrpsee::RpcModule;
use moorline_kit::{Ask, Limit, Probe};
use moorline_messages::{StoreAnswer, StoreError, StoreQuery, TreeRequest, TreeVerdict};
use moorline_rules::ChainSpec;
use serde_json::{Value, json};

use self::client::post;
use crate::{EngineConfig, EngineHandle, EngineServer, JwtSecret};

type TreeAsk = Ask<TreeRequest, TreeVerdict>;
type StoreAsk = Ask<StoreQuery, Result<StoreAnswer, StoreError>>;

const SECRET: JwtSecret = JwtSecret::new([7; 32]);

/// A chain that goes through every fork, one each hundred seconds from Shanghai at 100 to Bogota
/// at 600.
fn spec() -> ChainSpec {
    let genesis = json!({
        "config": {
            "chainId": 99, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0,
            "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0,
            "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0, "mergeNetsplitBlock": 0,
            "terminalTotalDifficulty": 0, "shanghaiTime": 100, "cancunTime": 200,
            "pragueTime": 300, "osakaTime": 400, "amsterdamTime": 500, "bogotaTime": 600,
            "blobSchedule": {
                "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3338477},
                "prague": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5007716},
            },
        },
        "nonce": "0x0", "timestamp": "0x32", "extraData": "0x", "gasLimit": "0x1c9c380",
        "difficulty": "0x0", "alloc": {},
    });
    ChainSpec::from_genesis_json(&genesis.to_string()).unwrap()
}

/// Milliseconds the rig's server waits for the tree, unless a test says otherwise.
const PATIENT_MS: u64 = 10_000;

struct Rig {
    addr: SocketAddr,
    spec: Arc<ChainSpec>,
    tree: Probe<TreeAsk>,
    store: Probe<StoreAsk>,
    handle: EngineHandle,
}

impl Rig {
    async fn new() -> Self {
        Self::of(spec(), PATIENT_MS).await
    }

    async fn of(spec: ChainSpec, tree_wait_ms: u64) -> Self {
        let spec = Arc::new(spec);
        let (port, tree) = Probe::new(Limit::new(64, 1 << 20));
        let (store_port, store) = Probe::new(Limit::new(64, 1 << 20));
        let mut eth = RpcModule::new(());
        eth.register_method("eth_chainId", |_, _, _| "0x63").unwrap();
        let mut config = EngineConfig::new("127.0.0.1:0".parse().unwrap(), SECRET);
        config.tree_wait = Duration::from_millis(tree_wait_ms);
        let handle =
            EngineServer::start(config, port, store_port, Arc::clone(&spec), eth).await.unwrap();
        Self { addr: handle.local_addr(), spec, tree, store, handle }
    }

    /// Sends a body with a good token.
    async fn send(addr: SocketAddr, body: &Value) -> Value {
        let token = format!("Authorization: Bearer {}", SECRET.token(SystemTime::now()));
        let (status, body) = post(addr, &[format!("Host: {addr}"), token], &body.to_string()).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn request(method: &str, params: Value) -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    }

    /// The answer to a call that the tree is asked about and answers so; and what it was asked.
    async fn call(
        &mut self,
        method: &str,
        params: Value,
        verdict: TreeVerdict,
    ) -> (Value, TreeRequest) {
        let request = Self::request(method, params);
        let tree = async {
            let (asked, replier) = self.tree.expect_message().await.open();
            replier.answer(verdict);
            asked
        };
        tokio::join!(Self::send(self.addr, &request), tree)
    }

    /// The answer to a call that the tree never hears of.
    async fn call_unasked(&mut self, method: &str, params: Value) -> Value {
        let answer = Self::send(self.addr, &Self::request(method, params)).await;
        self.tree.expect_silence().await;
        answer
    }

    /// A call fails with this code and a reason in it before the tree hears of it.
    async fn expect_error(&mut self, method: &str, params: Value, code: i64, reason: &str) {
        let answer = self.call_unasked(method, params).await;
        expect_error(&answer, code, reason);
    }
}

fn expect_error(answer: &Value, code: i64, reason: &str) {
    let error = answer.get("error").unwrap_or_else(|| panic!("no error: {answer}"));
    assert_eq!(error["code"], code, "{answer}");
    assert!(error["message"].as_str().unwrap().contains(reason), "no {reason:?} in {answer}");
    assert_eq!(error.get("data"), None, "{answer}");
}

fn syncing() -> Value {
    json!({"status": "SYNCING", "latestValidHash": null, "validationError": null})
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let whole = format!("{}/../../../shared/data/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(whole).ok();
    if bytes.is_none() {
        say_skipped();
    }
    bytes
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
