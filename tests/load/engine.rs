//! Calls in great number, and calls in the middle of a sync at full speed: `tests/bench/engine.sh`.

use std::time::{Duration, SystemTime};

use alloy_primitives::{B256, keccak256};
use moorline_devnet::{Behaviour, Generator, Profile};
use moorline_engine_api::JwtSecret;
use moorline_tests::{Child, World, forkchoice, payload, peer_args};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, interval, sleep, timeout},
};

use crate::{MOORLINE, option};

const PATIENCE: Duration = Duration::from_secs(120);

/// A node as a child process, beside peers that serve the world's chain.
async fn start(world: &World, peers: Vec<String>) -> (Child, Calls, Answers) {
    let jwt = JwtSecret::create(&world.path("jwt.hex")).unwrap();
    let mut words = ["node", "--no-discovery", "--addr", "127.0.0.1", "--port", "0"]
        .map(str::to_owned)
        .to_vec();
    words.extend(["--authrpc.port", "0", "--http.port", "0", "--chain"].map(str::to_owned));
    words.extend([world.genesis(), "--datadir".to_owned(), world.arg("node")]);
    words.extend(["--authrpc.jwtsecret".to_owned(), world.arg("jwt.hex")]);
    words.extend(peers);
    let started = tokio::task::spawn_blocking(move || {
        let mut child = Child::start(MOORLINE, &words);
        let addr = child.address_after("client drives it at http://");
        (child, addr)
    });
    let (child, addr) = started.await.unwrap();
    let (answers, calls) = TcpStream::connect(addr).await.unwrap().into_split();
    (
        child,
        Calls { to: calls, jwt, next_id: 0 },
        Answers { from: BufReader::new(answers), next_id: 0 },
    )
}

/// One connection's calls, each written without waiting for the answer to the one before.
struct Calls {
    to: OwnedWriteHalf,
    jwt: JwtSecret,
    next_id: u64,
}

impl Calls {
    async fn send(&mut self, method: &str, params: &Value) {
        let call =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.next_id += 1;
        let (body, token) = (call.to_string(), self.jwt.token(SystemTime::now()));
        let text = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.to.write_all(text.as_bytes()).await.unwrap();
    }
}

/// The answers, which come in the order of the calls.
struct Answers {
    from: BufReader<OwnedReadHalf>,
    next_id: u64,
}

impl Answers {
    async fn next(&mut self) -> Value {
        timeout(PATIENCE, self.read()).await.expect("an answer")
    }

    async fn read(&mut self) -> Value {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.from.read_line(&mut line).await.unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["id"], self.next_id, "the order of the calls");
        self.next_id += 1;
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer["result"].clone()
    }
}

fn status(answer: &Value) -> &str {
    let status = answer["payloadStatus"]["status"].as_str().or_else(|| answer["status"].as_str());
    status.unwrap_or_else(|| panic!("no status: {answer}"))
}

fn head(hash: B256) -> Value {
    forkchoice([hash, B256::ZERO, B256::ZERO])
}

async fn wait_for_height(calls: &mut Calls, answers: &mut Answers, height: u64) {
    let started = Instant::now();
    loop {
        calls.send("eth_blockNumber", &json!([])).await;
        if answers.next().await == json!(format!("{height:#x}")) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "block {height} is not reached");
        sleep(Duration::from_millis(20)).await;
    }
}

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 1_000).min(sorted.len() - 1)]
}

/// They leave memory as it is, and the last one wins.
pub(crate) async fn a_thousand_forkchoices_a_second() {
    let (seconds, per_second): (u64, u64) =
        (option("DURATION_S", 60), option("CALLS_PER_S", 1_000));
    let world = World::new(Profile::Small, 64);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 2]).await;
    let (node, mut calls, mut answers) = start(&world, peer_args(&peers.records())).await;
    let count = seconds * per_second;
    let last = world.head();
    let sending = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_secs(1) / per_second as u32);
        for number in 1..=count {
            ticks.tick().await;
            // a head that nobody has, but for the last
            let hash = if number == count { last } else { keccak256(number.to_be_bytes()) };
            calls.send("engine_forkchoiceUpdatedV3", &head(hash)).await;
        }
        calls
    });
    let began = Instant::now();
    let mut resident_bytes = Vec::new();
    for number in 0..count {
        assert_eq!(status(&answers.next().await), "SYNCING");
        if number % per_second == 0 {
            resident_bytes.push(node.resident_bytes());
        }
    }
    let took = began.elapsed();
    let mut calls = sending.await.unwrap();
    wait_for_height(&mut calls, &mut answers, 64).await;
    // what is taken up once is taken up in the first third
    let (warm, rest) = resident_bytes.split_at(resident_bytes.len() / 3);
    let (before, after) = (warm.iter().max().unwrap(), rest.iter().max().unwrap());
    println!(
        "{count} forkchoice updates in {:.1} s: {} MiB resident in the first third, {} MiB at most after it; the \
         last head was reached",
        took.as_secs_f64(),
        before >> 20,
        after >> 20,
    );
    assert!(
        took < Duration::from_secs(seconds + 2),
        "the calls are not answered as fast as they come"
    );
    assert!(after.saturating_sub(*before) <= 8 << 20, "memory grows: {resident_bytes:?}");
}

/// They are answered in time.
pub(crate) async fn calls_in_a_sync_at_full_speed() {
    let (profile, blocks) = (option("PROFILE", Profile::Small), option("BLOCKS", 300_000));
    let world = World::new(profile, blocks);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 8]).await;
    let (_node, mut calls, mut answers) = start(&world, peer_args(&peers.records())).await;
    // what a consensus client hands over meanwhile
    let next: Vec<_> = Generator::new(profile, 7).skip(blocks).take(200).collect();
    calls.send("engine_forkchoiceUpdatedV3", &head(world.head())).await;
    assert_eq!(status(&answers.next().await), "SYNCING");
    let (mut took, mut payloads) = (Vec::new(), next.iter().cycle());
    let began = Instant::now();
    loop {
        calls.send("eth_blockNumber", &json!([])).await;
        if answers.next().await == json!(format!("{blocks:#x}")) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the head is not reached");
        let (method, params) = payload(payloads.next().unwrap());
        let forkchoice = ("engine_forkchoiceUpdatedV3", head(world.head()));
        for (method, params) in [(method, params), forkchoice] {
            let asked = Instant::now();
            calls.send(method, &params).await;
            assert_eq!(status(&answers.next().await), "SYNCING", "{method}");
            took.push(asked.elapsed());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let synced = began.elapsed();
    took.sort_unstable();
    let (half, most, longest) =
        (percentile(&took, 500), percentile(&took, 990), percentile(&took, 1_000));
    println!(
        "{} calls while {blocks} {profile} blocks were synced in {:.1} s: median {:.1} ms, 99th percentile {:.1} \
         ms, longest {:.1} ms",
        took.len(),
        synced.as_secs_f64(),
        half.as_secs_f64() * 1e3,
        most.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
    );
    assert!(most < Duration::from_millis(50), "99 of 100 calls are to be answered within 50 ms");
}
