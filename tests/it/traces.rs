//! What a run leaves to be looked at.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use moorline_devnet::{Behaviour, Profile};
use moorline_tests::{Child, World, finish, peer_args, run};
use serde_json::Value;

use crate::MOORLINE;

const PATIENCE: Duration = Duration::from_secs(60);

/// Records in the files of a directory whose names begin like this.
fn records(dir: &Path, prefix: &str) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    paths.sort();
    // what was written last takes the place of what was written before it
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let read = |path: &PathBuf| match fs::read_to_string(path) {
        Err(error) if is_gone(&error) => None,
        text => Some(text.unwrap()),
    };
    let texts = paths.iter().filter_map(read);
    texts
        .flat_map(|text| {
            let parse = |line: &str| serde_json::from_str(line).unwrap();
            text.lines().map(parse).collect::<Vec<Value>>()
        })
        .collect()
}

#[test]
fn a_signal_has_the_last_records_written_though_nothing_is_recorded() {
    let world = World::new(Profile::Empty, 1);
    let (genesis, datadir) = (world.genesis(), world.arg("node"));
    let words = ["node", "--chain", &genesis, "--datadir", &datadir, "--addr", "127.0.0.1"];
    let free = ["--port", "0", "--authrpc.port", "0", "--http.port", "0"];
    let words: Vec<String> = words.iter().chain(&free).map(|word| (*word).to_owned()).collect();
    let mut node = Child::start(MOORLINE, &words);
    node.address_after("JSON-RPC clients read it at http://");
    node.signal("USR1");
    let trace = world.path("node").join("trace");
    let asked = moorline_kit::now();
    let flight = loop {
        let flight = records(&trace, "flight-");
        if flight.iter().filter(|record| record["k"] == "start").count() == 4 {
            break flight;
        }
        assert!(asked.elapsed() < PATIENCE, "the actors' starts are not written");
        // the first signal may have come before the last of them stood
        node.signal("USR1");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((&flight[0]["k"], &flight[0]["why"]), (&"hdr".into(), &"signal".into()));
    assert_eq!(node.terminate().code(), Some(0));
    assert!(records(&trace, "run-").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_sync_accounts_for_every_message() {
    let world = World::new(Profile::Small, 1_000);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 2]).await;
    let head = world.head().to_string();
    let words = ["sync", "--json", "--head", &head, "--chain"].map(str::to_owned);
    let mut words = [words.to_vec(), vec![world.genesis()]].concat();
    words.extend(["--datadir".to_owned(), world.arg("copy")]);
    words.extend(["--trace".to_owned(), world.arg("trace")]);
    words.extend(peer_args(&peers.records()));
    let done = finish(MOORLINE, words).await;
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(summary["trace"], world.arg("trace"));
    let check = run(MOORLINE, &["trace", "check", &world.arg("trace")]);
    assert_eq!(check.code(), Some(0), "{}{}", check.stdout, check.stderr);
    // the head is followed from whoever named it to the disk
    let follow = run(MOORLINE, &["trace", "follow", &head, &world.arg("trace"), "--json"]);
    assert_eq!(follow.code(), Some(0), "{}", follow.stderr);
    for message in [
        "TreeRequest::ForkchoiceUpdated",
        "TreeEvent::Download::BlockSet",
        "FetchRequest::Headers",
        "SessionCommand::Fetch::Headers",
        "SessionEvent::Answered::Headers",
        "StoreRequest::Persist::Bodies",
        "DownloadOutcome::Blocks",
        "StoreRequest::Persist::Canonical",
        "StoreOutcome::Persisted",
    ] {
        assert!(follow.stdout.contains(message), "{message} is missing: {}", follow.stdout);
    }
}
