//! Receipts, from the peers to the disk and back.

use std::time::Duration;

use moorline_devnet::{Behaviour, Chain, Profile, receipts_of};
use moorline_messages::{HashOrNumber, StoreAnswer, StoreQuery};
use moorline_store::Backend;
use moorline_tests::{Child, Finished, World, finish, peer_args};
use serde_json::Value;

use crate::MOORLINE;

/// Syncs into a directory of the world.
async fn sync(world: &World, into: &str, peers: Vec<String>, more: &[&str]) -> Finished {
    let mut words = ["sync", "--json", "--chain", &world.genesis()].map(str::to_owned).to_vec();
    words.extend(["--head".to_owned(), world.head().to_string()]);
    words.extend(["--datadir".to_owned(), world.arg(into)]);
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words.extend(peers);
    finish(MOORLINE, words).await
}

#[track_caller]
fn expect_receipts(world: &World, done: &Finished, blocks: u64) {
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&summary["blocks"], &summary["receipts"]),
        (&blocks.into(), &world.receipts().into())
    );
}

/// What is on disk, block by block, is what the chain's blocks commit to.
#[track_caller]
fn expect_receipts_on_disk(world: &World, store: &str) {
    assert!(world.check(store).is_sound());
    let disk = world.store(store);
    assert!(disk.keeps_receipts());
    for number in 1..=world.chain.tip().number {
        let block = world.chain.block(HashOrNumber::Number(number)).unwrap();
        let query =
            StoreQuery::Receipts { hashes: vec![block.header.hash()], budget_bytes: usize::MAX };
        let StoreAnswer::Receipts(stored) = disk.answer(&query).unwrap() else {
            panic!("no answer")
        };
        assert_eq!(stored, [receipts_of(&block).unwrap()], "block {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_fetched_proved_kept_and_served_to_another() {
    let world = World::new(Profile::Mainnet, 120);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO); 2]).await;
    let done = sync(&world, "first", peer_args(&peers.records()), &["--receipts"]).await;
    expect_receipts(&world, &done, 120);
    expect_receipts_on_disk(&world, "first/store");
    drop(peers);

    // without the flag it goes on as it began, and serves what it has
    let mut words = ["node", "--no-discovery", "--chain", &world.genesis(), "--addr", "127.0.0.1"]
        .map(str::to_owned)
        .to_vec();
    words.extend(["--port", "0", "--authrpc.port", "0", "--http.port", "0"].map(str::to_owned));
    words.extend(["--datadir".to_owned(), world.arg("first")]);
    let (first, _) = tokio::task::spawn_blocking(move || {
        let mut child = Child::start(MOORLINE, &words);
        let addr = child.address_after("client drives it at http://");
        (child, addr)
    })
    .await
    .unwrap();
    let enode = std::fs::read_to_string(world.path("first/enode")).unwrap();
    let peer = ["--peer".to_owned(), enode.trim().to_owned()].to_vec();
    let done = sync(&world, "second", peer, &["--receipts"]).await;
    expect_receipts(&world, &done, 120);
    expect_receipts_on_disk(&world, "second/store");
    assert_eq!(first.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_receipts_and_one_that_lies_about_them_delay_a_sync_at_most() {
    for behaviour in [Behaviour::LacksReceipts, Behaviour::SwapsReceipts] {
        let world = World::new(Profile::Small, 300);
        let slow = Duration::from_millis(30);
        let peers = world.peers([(behaviour, Duration::ZERO), (Behaviour::Honest, slow)]).await;
        let done = sync(&world, "node", peer_args(&peers.records()), &["--receipts"]).await;
        expect_receipts(&world, &done, 300);
        expect_receipts_on_disk(&world, "node/store");
        let odd = peers.peers()[0].stats();
        match behaviour {
            Behaviour::LacksReceipts => assert!(odd.bodies > 0, "{behaviour}: it was not asked"),
            _ => assert!(odd.receipts > 0, "{behaviour}: it was not asked"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_keeps_receipts_from_the_start_or_never() {
    let world = World::new(Profile::Small, 20);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO)]).await;
    for (dir, first, then) in [
        ("without", &[][..], &["--receipts"][..]),
        ("with", &["--receipts"], &["--receipts=false"]),
    ] {
        let args = || peer_args(&peers.records());
        assert_eq!(sync(&world, dir, args(), first).await.code(), Some(0));
        let refused = sync(&world, dir, args(), then).await;
        assert_eq!(refused.code(), Some(1), "{}", refused.stdout);
        assert!(refused.error().contains("--datadir"), "{}", refused.stderr);
        assert_eq!(sync(&world, dir, args(), &[]).await.code(), Some(0), "{dir}: as it began");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_blocks_is_not_imported_where_receipts_are_kept() {
    let world = World::new(Profile::Small, 20);
    let peers = world.peers([(Behaviour::Honest, Duration::ZERO)]).await;
    let args = peer_args(&peers.records());
    assert_eq!(sync(&world, "node", args, &["--receipts"]).await.code(), Some(0));
    let import = ["chain", "import", "--chain", &world.genesis(), "--datadir", &world.arg("node")];
    let mut import = import.map(str::to_owned).to_vec();
    import.push(world.arg("chain.rlp"));
    let refused = finish(MOORLINE, import).await;
    assert_eq!(refused.code(), Some(1), "{}", refused.stdout);
    assert!(refused.error().contains("a file of blocks has no receipts"), "{}", refused.stderr);
}
