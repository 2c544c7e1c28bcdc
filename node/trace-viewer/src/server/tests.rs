#![allow(clippy::arithmetic_side_effects)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

mod sources;

const HEADER: &str = r#"{"v":1,"k":"hdr","run":"r","by":"t","t0_unix_ns":"1700000000000000000","clock":"real","segment":0,"ports":[]}"#;
/// A condition that does not come true by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

fn send(n: u64) -> String {
    format!(
        "{{\"q\":{n},\"t\":{n},\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"A\",\"id\":{}}}\n",
        n + 1
    )
}

fn trace(dir: &TempDir, segment: u64, lines: &str) -> PathBuf {
    let path = dir.path().join(format!("run-1700000000000-{segment:06}.jsonl"));
    fs::write(&path, format!("{HEADER}\n{lines}")).unwrap();
    path
}

fn viewing(source: &str) -> Serving {
    let listen = "127.0.0.1:0".parse().unwrap();
    view(&ViewArgs { source: source.to_owned(), against: None, listen }).unwrap()
}

/// Serves with short waits.
fn impatient(source: &str) -> Serving {
    let source = Source::open(source).unwrap();
    let (watched, ready) = watch_source(&source).unwrap();
    ready.recv().unwrap();
    let patience = Patience {
        request_head: Duration::from_millis(100),
        write_stall: Duration::from_millis(500),
    };
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    serve(listener, watched, Events::Of(source), None, patience).unwrap()
}

fn raw(serving: &Serving, request: &str) -> String {
    let mut stream = TcpStream::connect(serving.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(serving: &Serving, path: &str) -> Vec<u8> {
    let mut response = ureq::get(format!("{}{path}", serving.url())).call().unwrap();
    response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
}

fn header(message: &[u8]) -> Value {
    let length = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
    serde_json::from_slice(&message[8..8 + length]).unwrap()
}

/// Asks until there are so many rows.
fn wait_for_rows(serving: &Serving, rows: u64) -> Value {
    let mut polls = 0;
    loop {
        let held = header(&get(serving, "columns"));
        if held["rows"].as_u64() >= Some(rows) {
            return held;
        }
        polls += 1;
        assert!(polls < 60, "{rows} rows never came: {held}");
        let path = format!("changes?generation={}&version={}", held["generation"], held["version"]);
        get(serving, &path);
    }
}

#[test]
fn the_page_comes_with_the_policy_that_its_hashes_name() {
    let dir = TempDir::new().unwrap();
    let serving = viewing(trace(&dir, 0, &send(0)).to_str().unwrap());
    let response = ureq::get(serving.url()).call().unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert_eq!(policy, Page::of_this_build().policy_header());
    assert!(policy.contains("frame-ancestors 'none'"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert_eq!(get(&serving, ""), Page::of_this_build().served().into_bytes());
}

#[test]
fn other_names_other_methods_and_bodies_are_refused() {
    let dir = TempDir::new().unwrap();
    let serving = viewing(trace(&dir, 0, &send(0)).to_str().unwrap());
    let port = serving.addr().port();
    let ask = |line: &str, host: &str, more: &str| {
        raw(
            &serving,
            &format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"),
        )
    };
    let ours = format!("localhost:{port}");
    assert!(ask("GET /columns", &ours, "").starts_with("HTTP/1.1 200"));
    assert!(ask("GET /columns", &format!("evil.example:{port}"), "").starts_with("HTTP/1.1 421"));
    assert!(ask("GET /columns", "localhost:1", "").starts_with("HTTP/1.1 421"));
    assert!(ask("GET /columns", &ours, "Host: evil.example\r\n").starts_with("HTTP/1.1 4"));
    assert!(ask("GET http://evil.example/columns", &ours, "").starts_with("HTTP/1.1 421"));
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let answer = ask(&format!("{method} /columns"), &ours, "");
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    assert!(ask("GET /columns", &ours, "Content-Length: 9\r\n").starts_with("HTTP/1.1 413"));
    assert!(ask("GET /diff", &ours, "").starts_with("HTTP/1.1 404"));
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let error = serve_live("0.0.0.0:0".parse().unwrap()).map(|_| ()).unwrap_err();
    assert!(matches!(error, ViewerError::NotLoopback { .. }), "{error}");
}

#[test]
fn what_is_written_to_a_file_meanwhile_is_shown() {
    let dir = TempDir::new().unwrap();
    let path = trace(&dir, 0, &send(0));
    let serving = viewing(path.to_str().unwrap());
    assert_eq!(header(&get(&serving, "columns"))["rows"], 1);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let line = send(1);
    let (half, rest) = line.split_at(20);
    file.write_all(half.as_bytes()).unwrap();
    file.write_all(rest.as_bytes()).unwrap();
    assert_eq!(wait_for_rows(&serving, 2)["skipped"], Value::Array(Vec::new()));
}

#[test]
fn the_next_segment_of_the_run_is_followed_and_another_run_is_not() {
    let dir = TempDir::new().unwrap();
    trace(&dir, 0, &send(0));
    let serving = viewing(dir.path().to_str().unwrap());
    trace(&dir, 1, &send(1));
    wait_for_rows(&serving, 2);
    trace(&dir, 2, &(send(2) + &send(3)));
    let held = wait_for_rows(&serving, 4);
    assert_eq!((&held["rows"], &held["marks"]), (&Value::from(4), &Value::Array(Vec::new())));
}

#[test]
fn a_running_node_is_shown_and_another_viewer_can_look_through_it() {
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    assert!(sender.offer(format!("{HEADER}\n")));
    assert!(sender.offer(send(0)));
    wait_for_rows(&node, 1);
    let second = viewing(&node.url());
    assert!(sender.offer(send(1)));
    let held = wait_for_rows(&second, 2);
    assert_eq!((&held["run"], &held["live"]), (&Value::from("r"), &Value::from(true)));
    assert_eq!(sender.dropped(), 0);
}

#[test]
fn the_records_of_a_running_node_begin_with_a_header_and_go_on() {
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    sender.offer(format!("{HEADER}\n{}", send(0)));
    wait_for_rows(&node, 1);
    let body = ureq::get(format!("{}events.jsonl", node.url())).call().unwrap().into_body();
    let mut lines = BufReader::new(body.into_reader()).lines().map(Result::unwrap);
    let header: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!((&header["k"], &header["run"]), (&Value::from("hdr"), &Value::from("r")));
    assert_eq!(lines.next().unwrap(), HEADER);
    assert_eq!(lines.next().unwrap(), send(0).trim_end());
    sender.offer(send(1));
    assert_eq!(lines.next().unwrap(), send(1).trim_end());
}

#[test]
fn a_viewer_that_is_there_before_the_first_record_misses_none() {
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    let early = viewing(&node.url());
    sender.offer(format!("{HEADER}\n{}", send(0)));
    let held = wait_for_rows(&early, 1);
    assert_eq!((&held["run"], &held["skipped"]), (&Value::from("r"), &Value::Array(Vec::new())));
}

#[test]
fn readers_that_take_nothing_lose_their_place() {
    let dir = TempDir::new().unwrap();
    let path = trace(&dir, 0, &send(0));
    let blank = "\n".repeat(32 << 20);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(blank.as_bytes()).unwrap();
    let serving = impatient(path.to_str().unwrap());
    let ask = format!("GET /events.jsonl HTTP/1.1\r\nHost: {}\r\n\r\n", serving.addr());
    let stuck: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(serving.addr()).unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            // its answer has begun, so it has its place
            stream.read_exact(&mut [0; 1]).unwrap();
            stream
        })
        .collect();
    let url = format!("{}events.jsonl", serving.url());
    let held = header(&get(&serving, "columns"));
    let mut polls = 0;
    while ureq::get(&url).call().is_err() {
        polls += 1;
        assert!(polls < 20, "those that take nothing keep their places");
        let path = format!("changes?generation={}&version={}", held["generation"], held["version"]);
        get(&serving, &path);
    }
    assert!(polls > 0, "they never had all places");
    drop(stuck);
}

#[test]
fn clients_that_say_nothing_are_sent_away_and_do_not_keep_others_out() {
    let dir = TempDir::new().unwrap();
    let path = trace(&dir, 0, &send(0));
    let serving = impatient(path.to_str().unwrap());
    let mut hung: Vec<TcpStream> = (0..connection::CONNECTIONS_MAX + 8)
        .map(|_| TcpStream::connect(serving.addr()).unwrap())
        .collect();
    hung[0].write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    assert_eq!(header(&get(&serving, "columns"))["rows"], 1);
    let mut said = Vec::new();
    hung[0].set_read_timeout(Some(PATIENCE)).unwrap();
    // closed or reset: either way the place is free
    if hung[0].read_to_end(&mut said).is_ok() {
        assert!(!said.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn only_so_many_read_the_records_at_a_time() {
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    sender.offer(format!("{HEADER}\n"));
    let url = format!("{}events.jsonl", node.url());
    let held: Vec<_> = (0..4).map(|_| ureq::get(&url).call().unwrap()).collect();
    let refused = ureq::get(&url).call().unwrap_err();
    assert!(matches!(refused, ureq::Error::StatusCode(503)), "{refused}");
    drop(held);
}

#[test]
fn a_standalone_page_holds_what_the_server_would_have_told() {
    let dir = TempDir::new().unwrap();
    let hostile = "{\"q\":0,\"t\":1,\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"</script><script>alert(1)//\",\"id\":1,\"note\":\"<img onerror=x>\"}\n";
    let path = trace(&dir, 0, hostile);
    let serving = viewing(path.to_str().unwrap());
    let downloaded = String::from_utf8(get(&serving, "page.html")).unwrap();
    let out = dir.path().join("page.html");
    let args = crate::SnapshotArgs { trace: path, out: out.clone() };
    assert_eq!(crate::snapshot(&args).unwrap().rows, 1);
    for html in [downloaded, fs::read_to_string(out).unwrap()] {
        assert!(!html.contains("alert(1)") && !html.contains("onerror=x"));
        let columns = html.split_once(r#"id="columns">"#).unwrap().1.split_once('<').unwrap().0;
        use base64::Engine as _;
        let message = base64::engine::general_purpose::STANDARD.decode(columns).unwrap();
        assert_eq!(header(&message)["rows"], 1);
        assert_eq!(header(&message)["types"][0], "</script><script>alert(1)//");
    }
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let error = Source::open("/nonexistent/trace.jsonl").unwrap_err().to_string();
    assert!(error.contains("/nonexistent/trace.jsonl"), "{error}");
    assert!(matches!(Source::open("https://127.0.0.1:1"), Err(ViewerError::Url { .. })));
    assert!(matches!(Source::open("http://192.0.2.1:80"), Err(ViewerError::Url { .. })));
    assert!(matches!(Source::open("http://127.0.0.1:1"), Err(ViewerError::Unreachable { .. })));
}
