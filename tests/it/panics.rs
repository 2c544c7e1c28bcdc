//! A panic in each actor, in the middle of a sync.

use std::{sync::Arc, time::Duration};

use moorline::{Node, NodeConfig, Observed};
use moorline_devnet::{Behaviour, Profile};
use moorline_messages::ActorName;
use moorline_store::Disk;
use moorline_tests::World;

const BLOCKS: usize = 1_500;

fn on_actix<F: Future<Output = ()>>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    moorline::keep_panics_to_one_line();
    system.block_on(test);
}

async fn wait(node: &Node, what: &str, done: impl Fn(&Observed) -> bool) -> Observed {
    let mut all = node.watched().all;
    let seen = tokio::time::timeout(Duration::from_secs(60), all.wait_for(|seen| done(seen))).await;
    match seen {
        Ok(seen) => seen.unwrap().clone(),
        Err(_) => panic!("{what}: {:?}", node.watched().all.borrow()),
    }
}

fn survives_a_panic_in(actor: ActorName) {
    on_actix(async move {
        let world = World::new(Profile::Small, BLOCKS);
        let delay = Duration::from_millis(60);
        let peers = world.peers([(Behaviour::Honest, delay); 2]).await;
        let store = Disk::open(&world.path("store"), world.spec.genesis(), world.spec.chain_id());
        let node = Node::start(NodeConfig {
            spec: Arc::clone(&world.spec),
            store: Arc::new(store.unwrap()),
            node_key: moorline_rlpx::random_key(),
            listen: None,
            peers: peers.records(),
            peers_max: 10,
            floor: 1,
            sync_trigger: moorline_tree::SyncTrigger::Forkchoice,
            engine: None,
            http: None,
        })
        .await
        .unwrap();
        node.follow(world.head()).await.unwrap();
        let begun = wait(&node, "no block came", |seen| seen.progress.blocks > 0).await;
        assert!((begun.progress.blocks as usize) < BLOCKS, "the panic must come in the middle");
        assert!(node.crashers().crash(actor));
        wait(&node, "it was not rebuilt", |seen| seen.restarts == 1).await;
        let synced = |seen: &Observed| seen.tree.as_ref().is_some_and(|tree| tree.synced);
        wait(&node, "the sync did not end", synced).await;
        node.stop().await;

        let served: u64 = peers.peers().iter().map(|peer| peer.stats().bodies).sum();
        // what was in flight, 4 requests of 128 to each of two peers, may be served twice
        let most = BLOCKS as u64 + 2 * 4 * 128;
        assert!(served <= most, "{served} bodies were served for {BLOCKS} blocks");
        let store = Disk::open(&world.path("store"), world.spec.genesis(), world.spec.chain_id());
        let report = store.unwrap().check(&mut |_| {}).unwrap();
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
