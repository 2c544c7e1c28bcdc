//! Liars among the peers delay a sync at most.

use std::time::Duration;

use moorline_devnet::{Behaviour, Profile};
use moorline_tests::{World, finish, on_actix, peer_args};
use serde_json::Value;

use crate::MOORLINE;

/// Syncs from one honest peer and one that is not, and exports what was stored.
async fn survives(behaviour: Behaviour) {
    let world = World::new(Profile::Small, 400);
    let slow = Duration::from_millis(30);
    let peers = world.peers([(behaviour, Duration::ZERO), (Behaviour::Honest, slow)]).await;
    let mut sync = vec!["sync".to_owned(), "--chain".to_owned(), world.genesis()];
    sync.extend(["--head".to_owned(), world.head().to_string(), "--json".to_owned()]);
    sync.extend(["--datadir".to_owned(), world.arg("node")]);
    sync.extend(peer_args(&peers.records()));
    let done = finish(MOORLINE, sync).await;
    assert_eq!(done.code(), Some(0), "{behaviour}: {}", done.stderr);
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(summary["blocks"], 400, "{behaviour}");
    let export = ["chain", "export", "--datadir", &world.arg("node"), &world.arg("out.rlp")];
    let exported = finish(MOORLINE, export.map(str::to_owned).to_vec()).await;
    assert_eq!(exported.code(), Some(0), "{}", exported.stderr);
    assert!(std::fs::read(world.path("out.rlp")).unwrap() == world.file(), "{behaviour}");
    let liar = peers.peers()[0].stats();
    assert!(liar.connections > 0, "{behaviour}: nobody met the peer");
}

macro_rules! hostile {
    ($($name:ident: $behaviour:expr,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            survives($behaviour).await;
        }
    )*};
}

hostile! {
    bodies_swapped: Behaviour::SwapsBodies,
    a_link_broken: Behaviour::BreaksLink,
    headers_repeated: Behaviour::RepeatsHeaders,
    a_snappy_bomb: Behaviour::SnappyBomb,
    a_frame_of_16_mib: Behaviour::OversizeFrame,
    garbage_before_the_handshake: Behaviour::GarbageBeforeHandshake,
    bodies_withheld: Behaviour::LacksBodies,
    one_item_at_a_time: Behaviour::ShortAnswers,
    a_peer_that_hangs_up: Behaviour::DisconnectsAfter(2),
    a_peer_that_is_silent: Behaviour::Silent,
    a_peer_that_dribbles: Behaviour::Dribbles,
    a_peer_of_another_network: Behaviour::OtherNetwork,
}

/// What no honest peer ever does costs the session at once.
#[test]
fn provable_liars_are_dropped() {
    let lies = [
        Behaviour::SwapsBodies,
        Behaviour::SwapsReceipts,
        Behaviour::BreaksLink,
        Behaviour::RepeatsHeaders,
        Behaviour::SnappyBomb,
        Behaviour::OversizeFrame,
    ];
    on_actix(async move {
        for lie in lies {
            let world = World::new(Profile::Small, 300);
            let peers = world.peers([(lie, Duration::ZERO)]).await;
            world.found_with_receipts("store");
            let node = world.node("store", peers.records()).await;
            node.follow(world.head()).await.unwrap();
            let started = tokio::time::Instant::now();
            // one that the operator named is let in again, but not before 15 s have passed
            loop {
                let liar = peers.peers()[0].stats();
                if liar.requests > 0 && liar.open == 0 {
                    break;
                }
                assert!(started.elapsed() < Duration::from_secs(60), "a peer that {lie} stays");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let seen = node.watched().all.borrow().clone();
            assert!(!seen.tree.is_some_and(|tree| tree.synced), "{lie}: it was believed");
            node.stop().await;
        }
    });
}
