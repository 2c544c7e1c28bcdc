//! `kill -9` in the middle, and a start without a new forkchoice call.

use std::time::Duration;

use moorline_devnet::{Behaviour, Profile};
use moorline_engine_api::{EngineClient, JwtSecret};
use moorline_tests::{Child, World, finish, peer_args};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::MOORLINE;

const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and a client of its Engine API.
async fn start(world: &World, peers: Vec<String>, jwt: &JwtSecret) -> (Child, EngineClient) {
    let mut words =
        vec!["node".to_owned(), "--no-discovery".to_owned(), "--chain".to_owned(), world.genesis()];
    words.extend(["--datadir".to_owned(), world.arg("first")]);
    let free = ["--addr", "127.0.0.1", "--port", "0", "--authrpc.port", "0", "--http.port", "0"];
    words.extend(free.map(str::to_owned));
    words.extend(["--authrpc.jwtsecret".to_owned(), world.arg("jwt.hex")]);
    words.extend(peers);
    let (child, addr) = tokio::task::spawn_blocking(move || {
        let mut child = Child::start(MOORLINE, &words);
        let addr = child.address_after("client drives it at http://");
        (child, addr)
    })
    .await
    .unwrap();
    (child, EngineClient::new(addr, jwt.clone()))
}

/// A client of one of the node's ports, once it listens.
async fn call(client: &EngineClient, method: &str, params: Value) -> Value {
    let started = Instant::now();
    loop {
        match client.call(method, params.clone()).await {
            Ok(answer) => return answer,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{method}: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_height(client: &EngineClient, height: u64) {
    let started = Instant::now();
    let wanted = json!(format!("{height:#x}"));
    while call(client, "eth_blockNumber", json!([])).await != wanted {
        assert!(started.elapsed() < PATIENCE, "block {height} is not reached");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_goes_on_by_itself_and_then_serves_another() {
    let world = World::new(Profile::Small, 3_000);
    let jwt = JwtSecret::create(&world.path("jwt.hex")).unwrap();
    let slow = Duration::from_millis(120);
    let peers = world.peers([(Behaviour::Honest, slow); 2]).await;
    let (node, engine) = start(&world, peer_args(&peers.records()), &jwt).await;
    let zero = alloy_primitives::B256::ZERO;
    let state = json!({
        "headBlockHash": world.head(), "safeBlockHash": zero, "finalizedBlockHash": zero,
    });
    let answer = call(&engine, "engine_forkchoiceUpdatedV3", json!([state, null])).await;
    assert_eq!(answer["payloadStatus"]["status"], "SYNCING");
    assert_eq!(answer["payloadStatus"]["latestValidHash"], Value::Null);
    let served = || peers.peers().iter().map(|peer| peer.stats().bodies).sum::<u64>();
    let started = Instant::now();
    while served() < 500 {
        assert!(started.elapsed() < PATIENCE, "no bodies are served");
        sleep(Duration::from_millis(5)).await;
    }
    let killed = tokio::task::spawn_blocking(move || node.kill()).await.unwrap();
    assert_eq!(killed.code(), None, "{}", killed.stderr);
    let before = served();
    assert!(before < world.bodies(), "the kill came too late: {before}");
    let stats = ["db", "stats", "--json", "--datadir", &world.arg("first")];
    let stats = finish(MOORLINE, stats.map(str::to_owned).to_vec()).await;
    let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
    let kept = stats["bodies"].as_u64().unwrap();

    let (node, engine) = start(&world, peer_args(&peers.records()), &jwt).await;
    wait_for_height(&engine, 3_000).await;
    // a slow answer may be asked of the other peer too, but what is on disk is asked of nobody
    let (again, missing) = (served() - before, world.bodies() - kept);
    assert!(
        again <= missing + 4 * 128,
        "{again} bodies were served for {missing} that were missing"
    );

    // and now the first one is the peer
    let enode = std::fs::read_to_string(world.path("first").join("enode")).unwrap();
    drop(peers);
    let mut sync = vec!["sync".to_owned(), "--chain".to_owned(), world.genesis()];
    sync.extend(["--head".to_owned(), world.head().to_string()]);
    sync.extend(["--datadir".to_owned(), world.arg("second")]);
    sync.extend(["--peer".to_owned(), enode.trim().to_owned()]);
    let done = finish(MOORLINE, sync).await;
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let export = ["chain", "export", "--datadir", &world.arg("second"), &world.arg("out.rlp")];
    finish(MOORLINE, export.map(str::to_owned).to_vec()).await;
    assert!(std::fs::read(world.path("out.rlp")).unwrap() == world.file());

    let ended = tokio::task::spawn_blocking(move || node.terminate()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}
