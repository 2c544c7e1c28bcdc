//! A panic in each actor, in the middle of a sync.

use std::time::Duration;

use moorline_devnet::{Behaviour, Profile};
use moorline_messages::ActorName;
use moorline_tests::{World, on_actix, wait, wait_until_synced};

const BLOCKS: usize = 3_000;

fn survives_a_panic_in(actor: ActorName) {
    on_actix(async move {
        let world = World::new(Profile::Small, BLOCKS);
        let delay = Duration::from_millis(150);
        let peers = world.peers([(Behaviour::Honest, delay); 2]).await;
        let node = world.node("store", peers.records()).await;
        node.follow(world.head()).await.unwrap();
        let begun = wait(&node, "no block came", |seen| seen.progress.blocks > 0).await;
        assert!((begun.progress.blocks as usize) < BLOCKS, "the panic must come in the middle");
        assert!(node.crashers().crash(actor));
        wait(&node, "it was not rebuilt", |seen| seen.total_restarts() == 1).await;
        wait_until_synced(&node).await;
        node.stop().await;

        let served: u64 = peers.peers().iter().map(|peer| peer.stats().bodies).sum();
        // what was in flight, 4 requests of 128 to each of two peers, may be served twice
        let most = world.bodies() + 2 * 4 * 128;
        assert!(served <= most, "{served} bodies were served for {BLOCKS} blocks");
        let report = world.check("store");
        assert_eq!((report.blocks, report.fault_count), (BLOCKS as u64, 0));
    });
}

#[test]
fn the_tree_panics() {
    survives_a_panic_in(ActorName::Tree);
}

#[test]
fn the_downloader_panics() {
    survives_a_panic_in(ActorName::Downloader);
}

#[test]
fn the_peer_manager_panics() {
    survives_a_panic_in(ActorName::PeerManager);
}

#[test]
fn the_store_panics() {
    survives_a_panic_in(ActorName::Store);
}
