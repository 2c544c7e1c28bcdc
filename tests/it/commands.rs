//! The commands, run as a person or a script runs them.

use std::time::Duration;

use moorline_devnet::{Behaviour, Profile};
use moorline_tests::{Child, World, finish, peer_args, run};
use serde_json::Value;

use crate::MOORLINE;

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_chain_is_exported_byte_for_byte() {
    let world = World::new(Profile::Small, 700);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 2]).await;
    let head = world.head();
    let mut sync = args(&["sync", "--chain", &world.genesis(), "--head", &head.to_string()]);
    sync.extend(args(&["--datadir", &world.arg("node"), "--json"]));
    sync.extend(peer_args(&peers.records()));
    let done = finish(MOORLINE, sync.clone()).await;
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    assert_eq!(summary["ok"], true);
    assert_eq!(summary["blocks"], 700);
    assert_eq!(summary["first"], 1);
    assert_eq!(summary["head"]["number"], 700);
    assert_eq!(summary["head"]["hash"], head.to_string());
    assert_eq!(summary["refetched"], 0);

    let export = args(&["chain", "export", "--datadir", &world.arg("node"), &world.arg("out.rlp")]);
    let exported = finish(MOORLINE, export).await;
    assert_eq!(exported.code(), Some(0), "{}", exported.stderr);
    assert!(std::fs::read(world.path("out.rlp")).unwrap() == world.file());

    // the same command again has nothing to fetch
    let again = finish(MOORLINE, sync).await;
    assert_eq!(again.code(), Some(0), "{}", again.stderr);
    let summary: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(summary["blocks"], 700);
    assert_eq!(summary["bytes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_can_stop_above_genesis() {
    let world = World::new(Profile::Small, 300);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO)]).await;
    let mut sync = args(&["sync", "--chain", &world.genesis(), "--until", "201", "--json"]);
    sync.extend(args(&["--head", &world.head().to_string(), "--datadir", &world.arg("node")]));
    sync.extend(peer_args(&peers.records()));
    let done = finish(MOORLINE, sync.clone()).await;
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&summary["first"], &summary["blocks"]), (&201.into(), &100.into()));
    assert!(peers.peers()[0].stats().bodies <= 100, "nothing below was asked for");

    let mut above = args(&["sync", "--chain", &world.genesis(), "--until", "301", "--json"]);
    above.extend(args(&["--head", &world.head().to_string(), "--datadir", &world.arg("above")]));
    above.extend(peer_args(&peers.records()));
    let refused = finish(MOORLINE, above).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stdout);
    assert!(refused.error().contains("above the head, which is block 300"), "{}", refused.stderr);

    // what lies below cannot be added, and is not said to be there
    let at = sync.iter().position(|word| word == "201").unwrap();
    sync[at] = "101".to_owned();
    let lower = finish(MOORLINE, sync).await;
    assert_eq!(lower.code(), Some(1), "{}", lower.stdout);
    assert!(lower.error().contains("begins at block 201"), "{}", lower.stderr);
}

#[test]
fn a_file_of_blocks_is_served_to_whoever_dials() {
    let world = World::new(Profile::Small, 400);
    let serve = ["chain", "serve", "--chain", &world.genesis(), "--peers", "3", "--work-ms", "5"];
    let mut serve = args(&serve);
    serve.push(world.arg("chain.rlp"));
    let mut server = Child::start(MOORLINE, &serve);
    let enodes = server.lines(3);
    let mut sync =
        args(&["sync", "--chain", &world.genesis(), "--head", &world.head().to_string()]);
    sync.extend(args(&["--datadir", &world.arg("node"), "--json"]));
    sync.extend(enodes.iter().flat_map(|enode| ["--peer".to_owned(), enode.clone()]));
    let done = Child::start(MOORLINE, &sync).finish();
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let served = server.terminate();
    assert_eq!(served.code(), Some(0), "{}", served.stderr);
    let bodies: u64 = served.stderr.lines().filter_map(bodies_in).sum();
    assert_eq!(bodies, world.bodies(), "{}", served.stderr);
}

/// What one peer says at the end that it sent.
fn bodies_in(line: &str) -> Option<u64> {
    line.split_once(" bodies")?.0.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_chain_is_generated_verified_imported_checked_and_exported() {
    let world = World::new(Profile::Empty, 1);
    let (file, out, datadir) = (world.arg("made.rlp"), world.arg("out.rlp"), world.arg("node"));
    let genesis = world.arg("made.json");
    let made = run(
        MOORLINE,
        &[
            "chain",
            "generate",
            "--blocks",
            "150",
            "--profile",
            "mainnet",
            "--seed",
            "3",
            "--genesis",
            &genesis,
            &file,
        ],
    );
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    let verified = run(MOORLINE, &["chain", "verify", "--chain", &genesis, &file]);
    assert_eq!(verified.code(), Some(0), "{}", verified.stderr);
    assert!(verified.stdout.starts_with("150 blocks are right"), "{}", verified.stdout);

    let import = ["chain", "import", "--chain", &genesis, "--datadir", &datadir, &file];
    let imported = run(MOORLINE, &import);
    assert!(imported.stdout.starts_with("150 blocks imported"), "{}", imported.stderr);
    let again = run(MOORLINE, &import);
    assert!(again.stdout.starts_with("0 blocks imported"), "{}", again.stderr);

    let checked = run(MOORLINE, &["db", "check", "--datadir", &datadir, "--json"]);
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let report: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&report["blocks"], &report["fault_count"]), (&150.into(), &0.into()));
    let stats = run(MOORLINE, &["db", "stats", "--datadir", &datadir, "--json"]);
    let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
    assert_eq!(stats["tip"]["number"], 150);

    let exported = run(MOORLINE, &["chain", "export", "--datadir", &datadir, &out]);
    assert_eq!(exported.code(), Some(0), "{}", exported.stderr);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&file).unwrap());
    let part = run(
        MOORLINE,
        &["chain", "export", "--datadir", &datadir, "--from", "10", "--to", "12", &out],
    );
    assert!(part.stderr.contains("3 blocks"), "{}", part.stderr);
}

#[test]
fn the_demonstration_survives_what_it_says_it_survives() {
    let done = run(
        MOORLINE,
        &[
            "demo",
            "--blocks",
            "1500",
            "--profile",
            "small",
            "--peers",
            "6",
            "--delay-ms",
            "20",
            "--log",
            "warn",
            "--json",
        ],
    );
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    assert_eq!(summary["ok"], true);
    assert_eq!(summary["restarts"], 4);
    // the chain grew by six heads, and its reorg added one
    assert_eq!(summary["head"]["number"], 1_507);
    let survived = summary["survived"].as_array().unwrap();
    let survived: Vec<_> = survived.iter().filter_map(Value::as_str).collect();
    for what in ["tree", "downloader", "peer-manager", "store", "restart", "reorg", "other blocks"]
    {
        assert!(survived.iter().any(|line| line.contains(what)), "{what}: {survived:?}");
    }
    let panics = done.stderr.lines().filter(|line| line.contains("was ordered to crash"));
    assert_eq!(panics.count(), 4, "one line for each panic: {}", done.stderr);
}

#[test]
fn the_effective_configuration_is_shown_and_can_be_read_back() {
    let world = World::new(Profile::Empty, 1);
    let file = world.path("moorline.toml");
    std::fs::write(
        &file,
        "chain = \"sepolia\"\ndatadir = \"/somewhere\"\n[authrpc]\nport = 9551\n\
         [override]\namsterdam = 1999999999\n",
    )
    .unwrap();
    let shown = run(
        MOORLINE,
        &["config", "show", "--config", &world.arg("moorline.toml"), "--http.port", "9545"],
    );
    assert_eq!(shown.code(), Some(0), "{}", shown.stderr);
    for expected in
        ["chain id 11155111", "amsterdam: time 1999999999", "port = 9551", "port = 9545"]
    {
        assert!(shown.stdout.contains(expected), "{expected}: {}", shown.stdout);
    }
    std::fs::write(&file, &shown.stdout).unwrap();
    let again = run(MOORLINE, &["config", "show", "--config", &world.arg("moorline.toml")]);
    assert_eq!(again.stdout, shown.stdout, "{}", again.stderr);
}
