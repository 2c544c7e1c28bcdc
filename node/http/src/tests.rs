//! Over real sockets, under a clock that runs on when everybody waits: a test that waits for ever would
//! pass the longest of the server's own waits in no time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jsonrpsee::{RpcModule, types::ErrorObjectOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::Instant,
};

use crate::{HttpHandle, HttpLimits, HttpPatience, HttpServer, SELDOM, Seldom, UntilSent};

const LIMITS: HttpLimits = HttpLimits {
    connections_max: 2,
    request_max_bytes: 1_000,
    answer_max_bytes: 64 << 20,
    batch_calls_max: 10,
    answers_max: 1,
};

/// An answer that no socket's buffers hold.
const LARGE_BYTES: usize = 16 << 20;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn patience() -> HttpPatience {
    HttpPatience {
        head: seconds(30),
        body: seconds(31),
        room: seconds(10),
        make: seconds(120),
        send: seconds(60),
        idle: seconds(120),
    }
}

fn module() -> RpcModule<()> {
    let mut module = RpcModule::new(());
    module.register_method("small", |_, _, _| "small").unwrap();
    module
        .register_async_method("endless", |_, _, _| {
            std::future::pending::<Result<u8, ErrorObjectOwned>>()
        })
        .unwrap();
    module.register_method("large", |_, _, _| "0".repeat(LARGE_BYTES)).unwrap();
    module
}

async fn serve(limits: HttpLimits, patience: HttpPatience, module: RpcModule<()>) -> HttpHandle {
    let addr = "127.0.0.1:0".parse().unwrap();
    HttpServer::start(addr, limits, patience, module, |answering, _| answering).await.unwrap()
}

struct Client(TcpStream);

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    async fn send(&mut self, body: &Value) {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: us\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.write(&format!("{head}{body}")).await;
    }

    async fn ask(&mut self, method: &str) {
        self.send(&call(method)).await;
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Status and body of the next answer.
    async fn answer(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.split("content-length: ").nth(1).unwrap();
        let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    async fn expect_small(&mut self) {
        let (status, body) = self.answer().await;
        assert_eq!((status, body.contains(r#""result":"small""#)), (200, true), "{body}");
    }

    /// The other side closes the connection after this time.
    async fn expect_end_after(&mut self, wait: Duration) {
        let began = Instant::now();
        let mut rest = Vec::new();
        // a reset is an end too
        let _ = self.0.read_to_end(&mut rest).await;
        // timers are precise to the millisecond
        let waited = began.elapsed();
        assert!(waited >= wait && waited < wait + Duration::from_millis(10), "{waited:?}");
    }
}

fn call(method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": []})
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_that_says_nothing_or_half_of_something() {
    let handle = serve(LIMITS, patience(), module()).await;
    let mut silent = Client::connect(handle.local_addr()).await;
    silent.expect_end_after(seconds(30)).await;
    let mut in_the_head = Client::connect(handle.local_addr()).await;
    in_the_head.write("POST / HTTP/1.1\r\nHost: us\r\n").await;
    in_the_head.expect_end_after(seconds(30)).await;
    let mut in_the_body = Client::connect(handle.local_addr()).await;
    let head = "POST / HTTP/1.1\r\nHost: us\r\nContent-Type: application/json\r\n";
    in_the_body.write(&format!("{head}Content-Length: 100\r\n\r\n{{")).await;
    in_the_body.expect_end_after(seconds(31)).await;
    let mut idle = Client::connect(handle.local_addr()).await;
    for _ in 0..2 {
        idle.ask("small").await;
        idle.expect_small().await;
    }
    idle.expect_end_after(seconds(120)).await;
}

#[tokio::test(start_paused = true)]
async fn so_many_connections_are_served_and_the_next_when_one_has_ended() {
    let handle = serve(LIMITS, patience(), module()).await;
    let silent = Client::connect(handle.local_addr()).await;
    let mut talking = Client::connect(handle.local_addr()).await;
    talking.ask("small").await;
    talking.expect_small().await;
    let mut waiting = Client::connect(handle.local_addr()).await;
    waiting.ask("small").await;
    let began = Instant::now();
    waiting.expect_small().await;
    // the silent one was let go
    assert!(began.elapsed() >= seconds(29), "{:?}", began.elapsed());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn an_answer_keeps_its_place_until_it_was_read() {
    let limits = HttpLimits { connections_max: 10, ..LIMITS };
    let handle = serve(limits, patience(), module()).await;
    let mut reader = Client::connect(handle.local_addr()).await;
    reader.ask("large").await;
    reader.0.readable().await.unwrap();
    let mut other = Client::connect(handle.local_addr()).await;
    other.ask("small").await;
    let began = Instant::now();
    assert_eq!(other.answer().await.0, 503);
    assert!(began.elapsed() >= seconds(10));
    let (status, body) = reader.answer().await;
    assert_eq!((status, body.len() > LARGE_BYTES), (200, true));
    other.ask("small").await;
    other.expect_small().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_let_go_and_its_place_with_it() {
    let limits = HttpLimits { connections_max: 10, ..LIMITS };
    let patience = HttpPatience { room: seconds(100), ..patience() };
    let handle = serve(limits, patience, module()).await;
    let mut deaf = Client::connect(handle.local_addr()).await;
    deaf.ask("large").await;
    deaf.0.readable().await.unwrap();
    let began = Instant::now();
    let mut other = Client::connect(handle.local_addr()).await;
    other.ask("small").await;
    other.expect_small().await;
    let waited = began.elapsed();
    assert!(waited >= seconds(59) && waited < seconds(62), "{waited:?}");
    let mut rest = Vec::new();
    let _ = deaf.0.read_to_end(&mut rest).await;
    assert!(rest.len() < LARGE_BYTES, "it was sent all the same");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_made_in_time_gives_up_its_place() {
    let handle = serve(LIMITS, patience(), module()).await;
    let mut client = Client::connect(handle.local_addr()).await;
    let began = Instant::now();
    client.ask("endless").await;
    assert_eq!(client.answer().await.0, 503);
    assert_eq!(began.elapsed().as_secs(), 120);
    client.ask("small").await;
    client.expect_small().await;
}

#[tokio::test]
async fn a_request_larger_than_allowed_is_refused_however_it_comes() {
    let handle = serve(LIMITS, patience(), module()).await;
    let mut told = Client::connect(handle.local_addr()).await;
    let head = "POST / HTTP/1.1\r\nHost: us\r\nContent-Type: application/json\r\n";
    told.write(&format!("{head}Content-Length: 1001\r\n\r\n")).await;
    assert_eq!(told.answer().await.0, 413);
    let mut in_parts = Client::connect(handle.local_addr()).await;
    let part = format!("1f4\r\n{}\r\n", " ".repeat(500));
    in_parts
        .write(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{part}{part}{part}0\r\n\r\n"))
        .await;
    assert_eq!(in_parts.answer().await.0, 413);
}

/// A method that keeps a place in a room of its own.
fn holding(room: &Arc<Semaphore>) -> RpcModule<()> {
    let mut module = module();
    let room = Arc::clone(room);
    module
        .register_async_method("holding", move |_, _, extensions| {
            let (room, places) = (Arc::clone(&room), extensions.get::<UntilSent>().cloned());
            async move {
                places.unwrap().hold(&room).await.unwrap();
                Ok::<_, ErrorObjectOwned>("0".repeat(LARGE_BYTES))
            }
        })
        .unwrap();
    module
}

#[tokio::test(start_paused = true)]
async fn what_a_method_holds_is_held_until_its_answer_was_read() {
    let room = Arc::new(Semaphore::new(1));
    let handle = serve(LIMITS, patience(), holding(&room)).await;
    let mut client = Client::connect(handle.local_addr()).await;
    client.ask("holding").await;
    client.0.readable().await.unwrap();
    assert_eq!(room.available_permits(), 0);
    client.answer().await;
    drop(room.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_batch_have_one_place() {
    let room = Arc::new(Semaphore::new(1));
    let limits = HttpLimits { answer_max_bytes: 128 << 20, ..LIMITS };
    let handle = serve(limits, patience(), holding(&room)).await;
    let mut client = Client::connect(handle.local_addr()).await;
    client.send(&json!([call("holding"), call("holding")])).await;
    let (_, body) = client.answer().await;
    assert!(body.len() > 2 * LARGE_BYTES);
}

#[tokio::test]
async fn a_server_that_stops_finishes_the_call_it_is_at_and_waits_for_nobody_else() {
    let (asked_in, asked) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let channels = Arc::new(std::sync::Mutex::new(Some((asked_in, may_go_on))));
    let mut module = module();
    module
        .register_async_method("slow", move |_, _, _| {
            let (asked, may_go_on) = channels.lock().unwrap().take().unwrap();
            async move {
                asked.send(()).unwrap();
                may_go_on.await.unwrap();
                Ok::<_, ErrorObjectOwned>("small")
            }
        })
        .unwrap();
    let handle = serve(LIMITS, patience(), module).await;
    let addr = handle.local_addr();
    let mut idle = Client::connect(addr).await;
    idle.ask("small").await;
    idle.expect_small().await;
    let mut waiting = Client::connect(addr).await;
    waiting.ask("slow").await;
    asked.await.unwrap();
    let stopped = tokio::spawn(handle.stop());
    idle.expect_end_after(Duration::ZERO).await;
    assert!(!stopped.is_finished());
    go_on.send(()).unwrap();
    waiting.expect_small().await;
    stopped.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn of_many_like_lines_one_a_minute_is_said() {
    let said = Seldom::new();
    assert_eq!(said.count(), Some(0));
    for _ in 0..100 {
        assert_eq!(said.count(), None);
    }
    tokio::time::advance(SELDOM).await;
    assert_eq!(said.count(), Some(100));
    assert_eq!(said.count(), None);
}
