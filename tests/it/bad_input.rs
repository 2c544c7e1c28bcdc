//! What is wrong is said in one sentence, and the exit code tells.

use std::{fs, net::TcpListener, time::Duration};

use alloy_primitives::B256;
use moorline_devnet::{Behaviour, Profile};
use moorline_messages::{Body, NodeRecord};
use moorline_rules::block_rlp;
use moorline_tests::{Child, Finished, World, finish, peer_args, run};

use crate::MOORLINE;

const NOBODY: &str = "enode://79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8@127.0.0.1:1";

#[track_caller]
fn expect_error(done: &Finished, code: i32, sentence: &str) {
    assert_eq!(done.code(), Some(code), "{}", done.stderr);
    assert!(done.error().contains(sentence), "expected {sentence:?} in: {}", done.stderr);
    assert!(!done.stderr.contains("panicked") && !done.stderr.contains("backtrace"));
    assert!(done.stdout.is_empty(), "{}", done.stdout);
}

fn sync_args(world: &World, head: B256, peers: &[NodeRecord]) -> Vec<String> {
    let mut args = vec!["sync".to_owned(), "--chain".to_owned(), world.genesis()];
    args.extend(["--head".to_owned(), head.to_string()]);
    args.extend(["--datadir".to_owned(), world.arg("node")]);
    args.extend(peer_args(peers));
    args
}

#[test]
fn a_wrong_flag_is_a_wrong_use() {
    let done = run(MOORLINE, &["sync", "--hed", "0x00"]);
    assert_eq!(done.code(), Some(2));
    assert!(done.stderr.contains("--hed"), "{}", done.stderr);
    let done = run(MOORLINE, &["sync", "--head", "0x1234", "--peer", NOBODY]);
    assert_eq!(done.code(), Some(2), "a hash has 32 bytes: {}", done.stderr);
    let done = run(MOORLINE, &["node", "--peer", "enode://nonsense"]);
    assert_eq!(done.code(), Some(2), "{}", done.stderr);
}

#[test]
fn a_wrong_word_about_peers_is_a_wrong_use() {
    for (flag, value, sentence) in [
        ("--bootnode", "enode://12@127.0.0.1:1", "a bootnode is enr:<base64> or enode://"),
        ("--bootnode", "enr:abc", "not valid or not signed by its node"),
        ("--discovery.dns", "enrtree://x", "is not enrtree://<key>@<domain>"),
        ("--trusted-peer", "somebody", "an enode address begins with enode://"),
        ("--http.api", "eth,personal", "expected eth, net, web3, debug or admin"),
        ("--external-ip", "here", "invalid IP address"),
    ] {
        let done = run(MOORLINE, &["config", "show", "--datadir", "x", flag, value]);
        assert_eq!(done.code(), Some(2), "{flag}: {}", done.stderr);
        assert!(done.error().contains(sentence), "{flag}: {}", done.stderr);
    }
}

#[test]
fn a_sync_with_nobody_to_ask_is_a_wrong_use() {
    let world = World::new(Profile::Empty, 1);
    let nobody = sync_args(&world, world.head(), &[]);
    let nobody: Vec<&str> = nobody.iter().map(String::as_str).collect();
    expect_error(&run(MOORLINE, &nobody), 2, "sync needs somebody to ask");
    let off = ["sync", "--no-discovery", "--head", &B256::ZERO.to_string(), "--datadir", "x"];
    expect_error(&run(MOORLINE, &off), 2, "sync needs somebody to ask");
}

#[test]
fn a_wrong_genesis_is_named() {
    let world = World::new(Profile::Empty, 1);
    let head = B256::repeat_byte(1).to_string();
    let sync = |chain: &str| {
        run(
            MOORLINE,
            &[
                "sync",
                "--chain",
                chain,
                "--head",
                &head,
                "--peer",
                NOBODY,
                "--datadir",
                &world.arg("node"),
            ],
        )
    };
    expect_error(&sync("/nowhere/genesis.json"), 2, "neither mainnet, sepolia or hoodi");
    fs::write(world.path("broken.json"), "{\"config\":").unwrap();
    expect_error(&sync(&world.arg("broken.json")), 1, "is not a genesis file");
}

#[test]
fn an_unreachable_peer_ends_a_sync() {
    let world = World::new(Profile::Empty, 1);
    let done = run(
        MOORLINE,
        &[
            "sync",
            "--chain",
            &world.genesis(),
            "--peer",
            NOBODY,
            "--head",
            &world.head().to_string(),
            "--datadir",
            &world.arg("node"),
            "--log",
            "off",
        ],
    );
    expect_error(&done, 1, "no peer could be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_on_another_network_ends_a_sync() {
    let world = World::new(Profile::Empty, 10);
    let peers = world.peers([(Behaviour::OtherNetwork, Duration::ZERO)]).await;
    let done = finish(MOORLINE, sync_args(&world, world.head(), &peers.records())).await;
    expect_error(&done, 1, "another network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_nobody_has_ends_a_sync() {
    let world = World::new(Profile::Empty, 10);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 2]).await;
    let done = finish(MOORLINE, sync_args(&world, B256::repeat_byte(7), &peers.records())).await;
    expect_error(&done, 1, "no peer has block");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_a_foreign_and_a_damaged_directory_are_told_apart() {
    let world = World::new(Profile::Small, 40);
    let import = [
        "chain",
        "import",
        "--chain",
        &world.genesis(),
        "--datadir",
        &world.arg("node"),
        &world.arg("chain.rlp"),
    ];
    assert_eq!(run(MOORLINE, &import).code(), Some(0));

    let other = world.path("other.json");
    let text = fs::read_to_string(world.path("genesis.json")).unwrap();
    fs::write(&other, text.replace("7700177", "7700178")).unwrap();
    let foreign = run(
        MOORLINE,
        &[
            "chain",
            "import",
            "--chain",
            &world.arg("other.json"),
            "--datadir",
            &world.arg("node"),
            &world.arg("chain.rlp"),
        ],
    );
    expect_error(&foreign, 1, "holds the chain with id 7700177");

    let mut node = running_node(&world, 0, 0);
    node.address_after("clients read it at http://");
    let locked = run(MOORLINE, &import);
    expect_error(&locked, 1, "is in use by another process");
    let ended = tokio::task::spawn_blocking(move || node.terminate()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);

    let index = world.path("node").join("store").join("index").join("db");
    let mut bytes = fs::read(&index).unwrap();
    for byte in bytes.iter_mut().skip(16).step_by(64) {
        *byte ^= 0xff;
    }
    fs::write(&index, bytes).unwrap();
    let damaged = run(MOORLINE, &["db", "stats", "--datadir", &world.arg("node")]);
    assert_eq!(damaged.code(), Some(1), "{}", damaged.stderr);
    assert!(damaged.error().contains("damaged"), "{}", damaged.stderr);
}

fn running_node(world: &World, engine: u16, http: u16) -> Child {
    let words = [
        "node",
        "--no-discovery",
        "--chain",
        &world.genesis(),
        "--datadir",
        &world.arg("node"),
        "--addr",
        "127.0.0.1",
        "--port",
        "0",
        "--authrpc.port",
        &engine.to_string(),
        "--http.port",
        &http.to_string(),
    ];
    Child::start(MOORLINE, &words.map(str::to_owned))
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let world = World::new(Profile::Empty, 1);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let done = running_node(&world, port, 0).finish();
    expect_error(&done, 1, "--authrpc.port");
    let done = running_node(&world, 0, port).finish();
    expect_error(&done, 1, "--http.port");
}

#[test]
fn a_bad_secret_is_refused() {
    let world = World::new(Profile::Empty, 1);
    let node = |secret: &str| {
        run(
            MOORLINE,
            &[
                "node",
                "--no-discovery",
                "--chain",
                &world.genesis(),
                "--datadir",
                &world.arg("node"),
                "--addr",
                "127.0.0.1",
                "--port",
                "0",
                "--authrpc.jwtsecret",
                secret,
            ],
        )
    };
    expect_error(&node("/nowhere/jwt.hex"), 1, "/nowhere/jwt.hex");
    fs::write(world.path("short.hex"), "0xabcd").unwrap();
    expect_error(&node(&world.arg("short.hex")), 1, "short.hex");
}

#[test]
fn a_chain_file_that_is_cut_off_or_altered_is_named_with_the_place() {
    let world = World::new(Profile::Small, 50);
    let bytes = world.file();
    fs::write(world.path("cut.rlp"), &bytes[..bytes.len() - 10]).unwrap();
    let verify =
        |file: &str| run(MOORLINE, &["chain", "verify", "--chain", &world.genesis(), file]);
    expect_error(&verify(&world.arg("cut.rlp")), 1, "cut off after block 49");
    let import = run(
        MOORLINE,
        &[
            "chain",
            "import",
            "--chain",
            &world.genesis(),
            "--datadir",
            &world.arg("node"),
            &world.arg("cut.rlp"),
        ],
    );
    expect_error(&import, 1, "cut off after block 49");

    let mut altered = bytes;
    let last = altered.len() - 3;
    altered[last] ^= 1;
    fs::write(world.path("altered.rlp"), altered).unwrap();
    assert_eq!(verify(&world.arg("altered.rlp")).code(), Some(1));
}

#[test]
fn genesis_blocks_over_and_over_are_left_out_however_many() {
    let world = World::new(Profile::Empty, 3);
    let body = Body { withdrawals: Some(Vec::new()), ommers: Body::NO_OMMERS, ..Body::default() };
    let genesis = block_rlp(world.spec.genesis(), &body);
    let mut bytes = genesis.repeat(30_000);
    bytes.extend(world.file());
    fs::write(world.path("long.rlp"), bytes).unwrap();
    let done =
        run(MOORLINE, &["chain", "verify", "--chain", &world.genesis(), &world.arg("long.rlp")]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("3 blocks are right"), "{}", done.stdout);
}

#[test]
fn an_import_never_gives_up_a_stored_chain() {
    let world = World::new(Profile::Small, 50);
    let import = |file: &str| {
        run(
            MOORLINE,
            &[
                "chain",
                "import",
                "--chain",
                &world.genesis(),
                "--datadir",
                &world.arg("node"),
                file,
            ],
        )
    };
    assert_eq!(import(&world.arg("chain.rlp")).code(), Some(0));
    let other = run(
        MOORLINE,
        &["chain", "generate", "--blocks", "20", "--seed", "99", &world.arg("other.rlp")],
    );
    assert_eq!(other.code(), Some(0), "{}", other.stderr);
    expect_error(&import(&world.arg("other.rlp")), 1, "is not the one that is stored");
    expect_error(&import(&world.arg("nothing.rlp")), 1, "cannot read");
}

#[test]
fn a_range_that_is_not_stored_is_not_exported() {
    let world = World::new(Profile::Small, 30);
    let (datadir, file) = (world.arg("node"), world.arg("chain.rlp"));
    run(MOORLINE, &["chain", "import", "--chain", &world.genesis(), "--datadir", &datadir, &file]);
    let out = world.arg("out.rlp");
    let export = |from: &str, to: &str| {
        run(MOORLINE, &["chain", "export", "--datadir", &datadir, "--from", from, "--to", to, &out])
    };
    expect_error(&export("20", "10"), 2, "blocks 1 to 30 are stored");
    expect_error(&export("20", "31"), 2, "blocks 1 to 30 are stored");
    assert!(!world.path("out.rlp").exists(), "nothing is left behind");
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_device_is() {
    let shell = |command: &str| {
        let words = format!("{MOORLINE} config show --chain hoodi --datadir /x {command}");
        std::process::Command::new("sh").args(["-c", &words]).output().unwrap()
    };
    let full = shell("> /dev/full");
    assert_eq!(full.status.code(), Some(1));
    let text = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(text.starts_with("error: cannot write to standard output"), "{text}");
    let left = shell("| true");
    assert!(left.stderr.is_empty(), "{}", String::from_utf8_lossy(&left.stderr));
}

#[test]
fn a_directory_without_a_chain_is_named() {
    let world = World::new(Profile::Empty, 1);
    let done = run(MOORLINE, &["db", "stats", "--datadir", &world.arg("nothing")]);
    expect_error(&done, 1, "holds no chain");
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused() {
    let world = World::new(Profile::Empty, 1);
    fs::write(world.path("moorline.toml"), "chian = \"sepolia\"\n").unwrap();
    let done = run(MOORLINE, &["config", "show", "--config", &world.arg("moorline.toml")]);
    expect_error(&done, 2, "chian");
}
