//! Sources that change while they are watched.

use moorline_trace::Model;

use super::*;
use crate::watched::LIVE_ROWS_MAX;

/// The page's side: what it holds, and asks for what is new until a condition holds.
fn poll_until(serving: &Serving, holds: impl Fn(&Value) -> bool) -> Value {
    let mut held = header(&get(serving, "columns"));
    for _ in 0..60 {
        if holds(&held) {
            return held;
        }
        let path = format!("changes?generation={}&version={}", held["generation"], held["version"]);
        get(serving, &path);
        held = header(&get(serving, "columns"));
    }
    panic!("it never came true: {held}");
}

fn try_get(serving: &Serving, path: &str) -> Option<Vec<u8>> {
    let mut response = ureq::get(format!("{}{path}", serving.url())).call().ok()?;
    response.body_mut().with_config().limit(1 << 30).read_to_vec().ok()
}

fn run_header(run: &str) -> String {
    HEADER.replace("\"run\":\"r\"", &format!("\"run\":\"{run}\""))
}

fn zst(lines: &str) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(lines.as_bytes()).unwrap();
    encoder.flush().unwrap();
    encoder.get_ref().clone()
}

#[test]
fn a_second_trace_is_compared_with_the_first() {
    let dir = TempDir::new().unwrap();
    let done =
        "{\"q\":1,\"t\":9,\"k\":\"done\",\"to\":\"tree\",\"m\":\"A\",\"id\":1,\"w\":3,\"b\":4}\n";
    let a = trace(&dir, 0, &(send(0) + done));
    let other = TempDir::new().unwrap();
    let b = trace(&other, 0, &(send(0) + done + &send(2)));
    let listen = "127.0.0.1:0".parse().unwrap();
    let source = a.to_str().unwrap().to_owned();
    let serving = view(&ViewArgs { source, against: Some(b.clone()), listen }).unwrap();
    let response = ureq::get(format!("{}diff", serving.url())).call().unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let diff: Value = serde_json::from_slice(&get(&serving, "diff")).unwrap();
    assert_eq!((&diff["a"], &diff["b"]), (&a.to_str().into(), &b.to_str().into()));
    let messages = diff["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!((&messages[0]["type"], &messages[0]["count"][0]), (&"A".into(), &1.into()));
    assert_eq!(
        (&messages[0]["count"][1], &messages[0]["busy_p50_ns"][0]),
        (&2.into(), &4.0.into())
    );
}

#[test]
fn a_page_is_told_to_load_again_when_the_oldest_rows_are_forgotten() {
    const ROWS: u64 = 375_001;
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    assert!(sender.offer(format!("{HEADER}\n{}", send(0))));
    let held = wait_for_rows(&node, 1);
    for from in (1..ROWS).step_by(5_000) {
        let lines: String = (from..ROWS.min(from + 5_000)).map(send).collect();
        assert!(sender.offer(lines));
    }
    let stale = format!("changes?generation={}&version={}", held["generation"], held["version"]);
    // an answer that is under way when rows are renumbered breaks off, and the page asks again
    let reload = (0..200)
        .filter_map(|_| try_get(&node, &stale))
        .map(|message| header(&message))
        .find(|changes| changes["generation"] != held["generation"])
        .expect("the page was never told");
    let columns = reload["columns"].as_array().unwrap();
    assert!(columns.iter().all(|column| column["length"] == 0), "rows of other numbers: {reload}");
    let again = header(&get(&node, "columns"));
    let (rows, forgotten) =
        (again["rows"].as_u64().unwrap(), again["trimmed_rows"].as_u64().unwrap());
    assert_eq!(rows + forgotten, ROWS);
    assert_eq!(rows, LIVE_ROWS_MAX as u64);
}

#[test]
fn a_node_that_was_started_again_is_shown_anew() {
    let (sender, node) = serve_live("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = node.addr();
    sender.offer(format!("{}\n{}{}", run_header("first"), send(0), send(1)));
    wait_for_rows(&node, 2);
    let viewer = viewing(&node.url());
    let before = poll_until(&viewer, |held| held["rows"] == 2);
    assert_eq!(before["run"], "first");
    drop((sender, node));
    poll_until(&viewer, |held| held["source"].as_str().unwrap().contains("does not answer"));

    let (sender, node) = serve_live(addr).unwrap();
    sender.offer(format!("{}\n{}", run_header("second"), send(7)));
    wait_for_rows(&node, 1);
    let after = poll_until(&viewer, |held| held["run"] == "second" && held["rows"] == 1);
    assert_ne!(after["generation"], before["generation"], "the page would mix two runs");
    assert_eq!(after["source"], before["source"], "it still says that the node is away");
}

#[test]
fn a_newer_run_in_the_directory_is_told_of_and_not_switched_to() {
    let dir = TempDir::new().unwrap();
    trace(&dir, 0, &send(0));
    let serving = viewing(dir.path().to_str().unwrap());
    let newer = dir.path().join("run-1700000009999-000000.jsonl");
    fs::write(newer, format!("{}\n{}{}", run_header("newer"), send(0), send(1))).unwrap();
    let told = |held: &Value| held["source"].as_str().unwrap().contains("run-1700000009999");
    let held = poll_until(&serving, told);
    assert_eq!((&held["run"], &held["rows"]), (&"r".into(), &1.into()));
    // the run that is watched is followed still
    trace(&dir, 1, &send(1));
    assert_eq!(poll_until(&serving, |held| held["rows"] == 2)["run"], "r");
}

#[test]
fn a_file_that_is_deleted_is_said_to_be_gone_and_what_was_read_stays() {
    let dir = TempDir::new().unwrap();
    let path = trace(&dir, 0, &send(0));
    let serving = viewing(path.to_str().unwrap());
    fs::remove_file(&path).unwrap();
    let gone = |held: &Value| held["source"].as_str().unwrap().contains("is gone");
    assert_eq!(poll_until(&serving, gone)["rows"], 1);
    // another of the same name is read from its beginning
    trace(&dir, 0, &(send(0) + &send(1) + &send(2)));
    assert!(!gone(&poll_until(&serving, |held| held["rows"] == 3)));
}

#[test]
fn a_compressed_file_is_followed_while_it_grows() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run-1700000000000-000000.jsonl.zst");
    let (first, all) = (format!("{HEADER}\n{}", send(0)), zst(&format!("{HEADER}\n{}", send(0))));
    fs::write(&path, &all).unwrap();
    let serving = viewing(dir.path().to_str().unwrap());
    assert_eq!(header(&get(&serving, "columns"))["rows"], 1, "{first}");
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(first.as_bytes()).unwrap();
    encoder.flush().unwrap();
    assert_eq!(encoder.get_ref(), &all, "the same bytes, so that these go on");
    encoder.write_all(send(1).as_bytes()).unwrap();
    encoder.flush().unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&encoder.get_ref()[all.len()..]).unwrap();
    let held = poll_until(&serving, |held| held["rows"] == 2);
    assert_eq!(held["skipped"], Value::Array(Vec::new()));
    // the process was killed: the next segment goes on, and that the first breaks off is said
    trace(&dir, 1, &send(2));
    let held = poll_until(&serving, |held| held["rows"] == 3);
    assert!(
        held["skipped"][0]["what"].as_str().unwrap().starts_with("the rest of a file"),
        "{held}"
    );
}

#[test]
fn what_is_no_trace_is_said_to_be_none() {
    let dir = TempDir::new().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let cannot = |source: &str| {
        let args = ViewArgs { source: source.to_owned(), against: None, listen };
        view(&args).map(|_| ()).unwrap_err()
    };
    let letter = dir.path().join("letter.txt");
    fs::write(&letter, "dear\nsirs\n").unwrap();
    assert!(matches!(cannot(letter.to_str().unwrap()), ViewerError::NoRecords { lines: 2, .. }));
    let args = crate::SnapshotArgs { trace: letter, out: dir.path().join("page.html") };
    assert!(matches!(crate::snapshot(&args), Err(ViewerError::NoRecords { .. })));
    assert!(!args.out.exists(), "a page of nothing was written");
    assert!(matches!(cannot(dir.path().to_str().unwrap()), ViewerError::Read(_)), "empty");

    let watched = Watched::new("a list", Model::new(), false, None);
    let events = Events::Of(Source::Node("http://127.0.0.1:1".to_owned()));
    let listener = crate::server::listen(listen).unwrap();
    let other = serve(listener, watched.into(), events, None, Patience::default()).unwrap();
    assert!(matches!(cannot(&other.url()), ViewerError::NoTrace { .. }));
    let (_sender, node) = serve_live(listen).unwrap();
    let args = crate::SnapshotArgs { trace: node.url().into(), out: "/nonexistent".into() };
    assert!(matches!(crate::snapshot(&args), Err(ViewerError::PageOfNode { .. })));
}
