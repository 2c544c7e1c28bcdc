//! Nodes that find one another, and what an operator is told of them.

use std::{fs, net::SocketAddr, time::Duration};

use moorline_devnet::Profile;
use moorline_engine_api::{EngineClient, EngineClientError, JwtSecret};
use moorline_tests::{Child, Finished, World, finish, run};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::MOORLINE;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `moorline node` on loopback, and its directory.
struct Running {
    child: Child,
    dir: String,
    engine: SocketAddr,
}

impl Running {
    fn start(world: &World, name: &str, more: &[&str]) -> Self {
        let dir = world.arg(name);
        let mut words =
            ["node", "--chain", &world.genesis(), "--datadir", &dir].map(str::to_owned).to_vec();
        let ports =
            ["--addr", "127.0.0.1", "--port", "0", "--authrpc.port", "0", "--http.port", "0"];
        words.extend(ports.iter().chain(more).map(|word| (*word).to_owned()));
        let mut child = Child::start(MOORLINE, &words);
        let engine = child.address_after("drives it at http://");
        // the files are there once it says that it is up
        child.address_after("clients read it at http://");
        Self { child, dir, engine }
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(format!("{}/{file}", self.dir)).unwrap().trim().to_owned()
    }

    fn client(&self) -> EngineClient {
        let secret = JwtSecret::from_file(format!("{}/jwt.hex", self.dir).as_ref()).unwrap();
        EngineClient::new(self.engine, secret)
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        self.client().call(method, params).await.unwrap()
    }

    /// Its peers, once they are as they should be.
    async fn peers_once(&self, expected: fn(&[Value]) -> bool) -> Vec<Value> {
        let asking = async {
            loop {
                let peers = self.ask("admin_peers", json!([])).await;
                match peers.as_array() {
                    Some(peers) if expected(peers) => return peers.clone(),
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(PATIENCE, asking).await.expect("the peers stay as they were")
    }
}

fn import(world: &World, name: &str) {
    let dir = world.arg(name);
    let words = ["chain", "import", "--chain", &world.genesis(), "--datadir", &dir];
    let done = run(MOORLINE, &[&words[..], &[&world.arg("chain.rlp")]].concat());
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
}

#[track_caller]
fn expect_blocks(done: &Finished, blocks: u64) {
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(summary["blocks"], blocks, "{summary}");
}

/// One that knows the bootnode only finds the one that holds the chain, and gets it from there.
async fn syncs_over_two_hops(world: &World, with: [&str; 4], bootnode: fn(&Running) -> String) {
    let quiet = ["--bootnode", "none"];
    let hub = Running::start(world, "hub", &[&with[..], &quiet].concat());
    let known = bootnode(&hub);
    let holder = Running::start(world, "holder", &[&with[..], &["--bootnode", &known]].concat());
    let mut words = ["sync", "--json", "--chain", &world.genesis()].map(str::to_owned).to_vec();
    words.extend(["--head".to_owned(), world.head().to_string()]);
    words.extend(["--datadir".to_owned(), world.arg("seeker")]);
    let finding = ["--addr", "127.0.0.1", "--bootnode", &known];
    words.extend(with.iter().chain(&finding).map(|word| (*word).to_owned()));
    expect_blocks(&finish(MOORLINE, words).await, 200);
    assert_eq!(holder.child.terminate().code(), Some(0));
    assert_eq!(hub.child.terminate().code(), Some(0));
    assert!(world.check("seeker/store").is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_found_and_synced_over_a_bootnode_by_discv4() {
    let world = World::new(Profile::Small, 200);
    import(&world, "holder");
    let with = ["--discovery.v4", "yes", "--discovery.v5", "no"];
    syncs_over_two_hops(&world, with, |hub| hub.said("enode")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_found_and_synced_over_a_bootnode_by_discv5() {
    let world = World::new(Profile::Small, 200);
    import(&world, "holder");
    let with = ["--discovery.v4", "no", "--discovery.v5", "yes"];
    syncs_over_two_hops(&world, with, |hub| hub.said("enr")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_adds_sees_and_removes_a_peer() {
    let world = World::new(Profile::Empty, 5);
    let first = Running::start(&world, "first", &["--no-discovery"]);
    let second = Running::start(&world, "second", &["--no-discovery"]);
    assert_eq!(first.ask("admin_addPeer", json!([second.said("enode")])).await, true);
    let peers = first.peers_once(|peers| !peers.is_empty()).await;
    assert_eq!(peers[0]["moorline"]["origin"], "static");
    assert_eq!(peers[0]["network"]["inbound"], false);
    assert_eq!(peers[0]["enode"], second.said("enode"));

    let shown = run(MOORLINE, &["peers", "--datadir", &first.dir]);
    assert_eq!(shown.code(), Some(0), "{}", shown.stderr);
    assert!(
        shown.stdout.starts_with("0 of 50 peers, 0 in (of 30), 0 out, 1 named"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("moorline/v") && shown.stdout.contains("static"));
    let shown = run(MOORLINE, &["peers", "--datadir", &second.dir, "--json"]);
    let view: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(view["peers"][0]["moorline"]["origin"], "inbound");

    assert_eq!(first.ask("admin_removePeer", json!([second.said("enode")])).await, true);
    first.peers_once(<[_]>::is_empty).await;
    let dir = first.dir.clone();
    assert_eq!(first.child.terminate().code(), Some(0));
    let gone = run(MOORLINE, &["peers", "--datadir", &dir]);
    assert_eq!(gone.code(), Some(1));
    assert!(gone.error().contains("no node answers at"), "{}", gone.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_port_gives_no_orders_unless_it_is_told_to() {
    let world = World::new(Profile::Empty, 1);
    for (more, open) in [(&[][..], false), (&["--http.api", "eth,admin"][..], true)] {
        let words = [&["--no-discovery"][..], more].concat();
        let mut node = Running::start(&world, "node", &words);
        let http = node.child.address_after("clients read it at http://");
        // a port without authentication does not mind a token
        let client = EngineClient::new(http, JwtSecret::new([7; 32]));
        let answer = client.call("admin_nodeInfo", json!([])).await;
        match answer {
            Ok(info) => assert!(open && info["enode"] == node.said("enode"), "{info}"),
            Err(EngineClientError::Rpc { code, .. }) => assert!(!open && code == -32601, "{code}"),
            Err(error) => panic!("{error}"),
        }
        let version = client.call("net_version", json!([])).await;
        assert_eq!(version.is_ok(), !open, "only what was named");
        assert_eq!(node.child.terminate().code(), Some(0));
    }
}
