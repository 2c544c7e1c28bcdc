use std::net::Ipv4Addr;

use alloy_primitives::{B256, B512};
use moorline_kit::{Inbox, Limit};
use moorline_messages::{AnnouncedRange, Direction, PeerId, PeerOrigin, PeerPace, PeerSummary};
use serde_json::{Value, json};

use super::*;

struct Rig {
    module: RpcModule<()>,
    orders: Inbox<PeerCommand>,
}

struct Fixed;

fn peer_id() -> PeerId {
    PeerId(B512::repeat_byte(7))
}

fn record() -> NodeRecord {
    NodeRecord { id: peer_id(), addr: (Ipv4Addr::LOCALHOST, 30_303).into() }
}

impl Overview for Fixed {
    fn peers(&self) -> PeersReport {
        let range = AnnouncedRange { earliest: 3, latest: 600, latest_hash: B256::repeat_byte(5) };
        let peer = PeerSummary {
            id: peer_id(),
            client: "Geth/v1".to_owned(),
            addr: record().addr,
            direction: Direction::Inbound,
            origin: PeerOrigin::Trusted,
            connected_s: 60,
            eth_version: 69,
            range: Some(range),
            score_ms: Some(80),
            delay_ms: Some(40),
            headers: Some(PeerPace { delay_ms: 40, items_per_s: 9, served_items: 8 }),
            bodies: None,
            receipts: None,
            faults: 1,
            in_flight: 2,
            served_items: 8,
            served_bytes: 9_999,
            bytes_per_s: 12,
        };
        PeersReport { peers: vec![peer], candidates: 5, banned: 1, ..PeersReport::default() }
    }

    fn node(&self) -> NodeFacts {
        NodeFacts {
            name: "moorline/v0".to_owned(),
            record: record(),
            listening: true,
            enode: record().to_string(),
            enr: Some("enr:-abc".to_owned()),
            discovery_port: Some(30_304),
            network_id: 1,
            genesis: B256::repeat_byte(1),
            head: B256::repeat_byte(2),
            limits: PeerLimits { peers_max: 50, inbound_max: 30 },
        }
    }
}

impl Rig {
    fn new() -> Self {
        let (commands, orders) = Port::channel("peer commands", Limit::new(1, 1));
        let module = admin_module(AdminPorts { commands, overview: Arc::new(Fixed) }).unwrap();
        Self { module, orders }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (answer, _) = self.module.raw_json_request(&request.to_string(), 1).await.unwrap();
        serde_json::from_str(answer.get()).unwrap()
    }
}

#[tokio::test]
async fn orders_about_peers_reach_the_peer_manager() {
    let mut rig = Rig::new();
    let enode = format!("{}?discport=0", record());
    for (method, expected) in [
        ("admin_addPeer", PeerCommand::Add { node: record() }),
        ("admin_removePeer", PeerCommand::Remove { peer: peer_id() }),
        ("admin_addTrustedPeer", PeerCommand::Trust { peer: peer_id() }),
        ("admin_removeTrustedPeer", PeerCommand::Distrust { peer: peer_id() }),
    ] {
        assert_eq!(rig.ask(method, json!([enode])).await["result"], true, "{method}");
        assert_eq!(rig.orders.next().await, Some(expected), "{method}");
    }
}

#[tokio::test]
async fn what_names_no_peer_is_refused_and_so_is_one_order_too_many() {
    let rig = Rig::new();
    for params in [json!([]), json!(["enode://12@1.2.3.4:5"]), json!([7]), json!(["x", "y"])] {
        let answer = rig.ask("admin_addPeer", params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(rig.ask("admin_addPeer", json!([record()])).await["result"], true);
    let answer = rig.ask("admin_addPeer", json!([record()])).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
}

#[tokio::test]
async fn peers_are_told_of_as_geth_does_and_more() {
    let answer = Rig::new().ask("admin_peers", json!([])).await;
    let peer = &answer["result"][0];
    assert_eq!(peer["name"], "Geth/v1");
    assert_eq!(peer["enode"], record().to_string());
    assert_eq!(peer["id"], alloy_primitives::hex::encode(alloy_primitives::keccak256([7; 64])));
    assert_eq!(peer["caps"], json!(["eth/69"]));
    let network = json!({"remoteAddress": "127.0.0.1:30303", "inbound": true, "trusted": true,
        "static": false});
    assert_eq!(peer["network"], network);
    let eth = &peer["protocols"]["eth"];
    assert_eq!(
        (&eth["version"], &eth["earliestBlock"], &eth["latestBlock"]),
        (&json!(69), &json!(3), &json!(600))
    );
    let detail = &peer["moorline"];
    assert_eq!(detail["origin"], "trusted");
    assert_eq!(detail["headers"], json!({"delayMs": 40, "itemsPerSecond": 9, "servedItems": 8}));
    assert_eq!((&detail["bodies"], &detail["scoreMs"]), (&Value::Null, &json!(80)));
    // whoever watches reads what was written
    let read: AdminPeer = serde_json::from_value(peer.clone()).unwrap();
    assert_eq!(read, AdminPeer::of(Fixed.peers().peers.remove(0)));
}

#[tokio::test]
async fn the_node_tells_of_itself_as_geth_does_and_more() {
    let rig = Rig::new();
    let info = rig.ask("admin_nodeInfo", json!([])).await["result"].take();
    assert_eq!(info["ports"], json!({"discovery": 30_304, "listener": 30_303}));
    assert_eq!(info["ip"], "127.0.0.1");
    assert_eq!(info["enr"], "enr:-abc");
    assert_eq!(info["protocols"]["eth"]["network"], 1);
    let peers = &info["moorline"];
    assert_eq!(
        (&peers["peersMax"], &peers["inboundMax"], &peers["candidates"]),
        (&json!(50), &json!(30), &json!(5))
    );
    serde_json::from_value::<NodeInfo>(info).unwrap();
    assert_eq!(rig.ask("net_listening", json!([])).await["result"], true);
}
