//! The same methods over a WebSocket.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use alloy_primitives::B256;
use futures_util::io::{BufReader, BufWriter};
use moorline_messages::{TreeRequest, TreeVerdict};
use serde_json::{Value, json};
use soketto::{
    Receiver, Sender,
    handshake::{Client, ServerResponse, client::Header},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::{Rig, SECRET, expect_error};
use crate::websocket::{SILENCE_MAX, SOCKETS_MAX};

type Stream = BufReader<BufWriter<Compat<TcpStream>>>;

/// A client's end.
struct Socket {
    sender: Sender<Stream>,
    receiver: Receiver<Stream>,
}

impl Socket {
    /// Opens a connection; the status code where it is refused.
    async fn open(addr: SocketAddr, authorization: Option<&str>) -> Result<Self, u16> {
        let stream = TcpStream::connect(addr).await.unwrap();
        let stream = BufReader::new(BufWriter::new(stream.compat()));
        let host = addr.to_string();
        let mut client = Client::new(stream, &host, "/");
        let headers: Vec<_> = authorization
            .map(|value| Header { name: "Authorization", value: value.as_bytes() })
            .into_iter()
            .collect();
        client.set_headers(&headers);
        match client.handshake().await.unwrap() {
            ServerResponse::Accepted { .. } => {}
            ServerResponse::Rejected { status_code } => return Err(status_code),
            ServerResponse::Redirect { status_code, .. } => return Err(status_code),
        }
        let mut builder = client.into_builder();
        builder.set_max_message_size(1 << 20);
        let (sender, receiver) = builder.finish();
        Ok(Self { sender, receiver })
    }

    async fn with_token(addr: SocketAddr) -> Self {
        let bearer = format!("Bearer {}", SECRET.token(SystemTime::now()));
        Self::open(addr, Some(&bearer)).await.unwrap_or_else(|status| panic!("{status}"))
    }

    async fn send(&mut self, text: &str) {
        self.sender.send_text(text).await.unwrap();
        self.sender.flush().await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.receiver.receive_data(&mut message).await.unwrap();
        serde_json::from_slice(&message).unwrap()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(&Rig::request(method, params).to_string()).await;
        self.receive().await
    }
}

fn state(head: B256) -> Value {
    json!([{"headBlockHash": head, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO}, null])
}

#[tokio::test]
async fn a2_only_the_request_that_opens_a_websocket_has_a_token() {
    let rig = Rig::new().await;
    let stale = SECRET.token(SystemTime::now() - Duration::from_secs(70));
    for bad in [None, Some(format!("Bearer {stale}")), Some("Bearer x.y.z".to_owned())] {
        assert_eq!(Socket::open(rig.addr, bad.as_deref()).await.err(), Some(401), "{bad:?}");
    }
    let mut socket = Socket::with_token(rig.addr).await;
    for _ in 0..3 {
        assert_eq!(socket.call("eth_chainId", json!([])).await["result"], "0x63");
    }
}

#[tokio::test]
async fn a8_messages_of_a_websocket_are_answered_in_the_order_in_which_they_come() {
    let Rig { addr, mut tree, handle: _handle, .. } = Rig::new().await;
    let mut socket = Socket::with_token(addr).await;
    let heads: Vec<_> = (1..=60).map(B256::repeat_byte).collect();
    for (id, head) in heads.iter().enumerate() {
        let mut request = Rig::request("engine_forkchoiceUpdatedV3", state(*head));
        request["id"] = json!(id);
        socket.send(&request.to_string()).await;
    }
    for (id, head) in heads.iter().enumerate() {
        let (asked, replier) = tree.expect_message().await.open();
        assert!(matches!(asked, TreeRequest::ForkchoiceUpdated(update) if update.head == *head));
        // the next one is not even looked at before this one is answered
        tree.expect_silence().await;
        replier.answer(TreeVerdict::Syncing);
        let answer = socket.receive().await;
        assert_eq!(answer["id"], json!(id));
        assert_eq!(answer["result"]["payloadStatus"]["status"], "SYNCING");
    }
}

#[tokio::test]
async fn a1_batches_notifications_and_garbage_are_what_they_are_over_http() {
    let rig = Rig::new().await;
    let mut socket = Socket::with_token(rig.addr).await;
    let call = Rig::request("eth_chainId", json!([]));
    socket.send(&json!([call, call]).to_string()).await;
    assert_eq!(socket.receive().await.as_array().unwrap().len(), 2);
    // no answer is owed to this one: the next answer is the next call's
    socket
        .send(&json!({"jsonrpc": "2.0", "method": "eth_chainId", "params": []}).to_string())
        .await;
    expect_error(&socket.call("eth_nothing", json!([])).await, -32601, "Method not found");
    for garbage in ["{garbage", "garbage", ""] {
        socket.send(garbage).await;
        assert_eq!(socket.receive().await["error"]["code"], -32700, "{garbage}");
    }
    let many = json!(vec![call; 2_001]);
    socket.send(&many.to_string()).await;
    assert_eq!(socket.receive().await["error"]["code"], -32010);
}

#[tokio::test]
async fn so_many_websockets_may_be_open_and_no_more() {
    let rig = Rig::new().await;
    let bearer = format!("Bearer {}", SECRET.token(SystemTime::now()));
    let mut open = Vec::new();
    for _ in 0..SOCKETS_MAX {
        open.push(Socket::with_token(rig.addr).await);
    }
    assert_eq!(Socket::open(rig.addr, Some(&bearer)).await.err(), Some(503));
    // the calls of all others still go through, and one that left makes room
    let answer = Rig::send(rig.addr, &Rig::request("eth_chainId", json!([]))).await;
    assert_eq!(answer["result"], "0x63");
    let mut leaving = open.pop().unwrap();
    leaving.sender.close().await.unwrap();
    while Socket::open(rig.addr, Some(&bearer)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_gives_no_sign_of_life_makes_room() {
    let rig = Rig::new().await;
    let began = Instant::now();
    // this one answers pings, since it listens, and stays
    let mut alive = Socket::with_token(rig.addr).await;
    let mut raw = TcpStream::connect(rig.addr).await.unwrap();
    let token = SECRET.token(SystemTime::now());
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: us\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    raw.write_all(upgrade.as_bytes()).await.unwrap();
    let listening = async {
        let mut message = Vec::new();
        alive.receiver.receive_data(&mut message).await
    };
    let ended = async {
        // it reads, and says nothing
        let mut bytes = Vec::new();
        raw.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes.starts_with(b"HTTP/1.1 101"));
    };
    tokio::select! {
        _ = listening => panic!("a connection ended that answers"),
        () = ended => {}
        () = sleep(10 * SILENCE_MAX) => panic!("a connection stands that does not"),
    }
    let waited = began.elapsed();
    assert!(
        waited >= 2 * SILENCE_MAX && waited < 2 * SILENCE_MAX + Duration::from_secs(1),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_server_that_stops_ends_its_websockets_after_the_call_they_are_at() {
    let Rig { addr, mut tree, handle, .. } = Rig::new().await;
    let mut idle = Socket::with_token(addr).await;
    assert_eq!(idle.call("eth_chainId", json!([])).await["result"], "0x63");
    let mut calling = Socket::with_token(addr).await;
    calling.send(&Rig::request("engine_forkchoiceUpdatedV3", state(B256::ZERO)).to_string()).await;
    let (_, replier) = tree.expect_message().await.open();
    let stopped = tokio::spawn(handle.stop());
    let mut message = Vec::new();
    assert!(idle.receiver.receive_data(&mut message).await.is_err());
    assert!(!stopped.is_finished());
    replier.answer(TreeVerdict::Syncing);
    assert_eq!(calling.receive().await["result"]["payloadStatus"]["status"], "SYNCING");
    stopped.await.unwrap();
    assert!(calling.receiver.receive_data(&mut message).await.is_err());
}
