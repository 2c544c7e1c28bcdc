//! `sync.trigger`: what starts a download.

use moorline_tests::{on_actix, wait};
use moorline_tree::SyncTrigger;
use serde_json::json;

use super::rig::{BLOCKS, Rig};

#[test]
fn a23_a_payload_fetches_its_ancestors_where_that_is_wanted() {
    on_actix(async {
        let rig = Rig::beside_a_peer_with(&[], SyncTrigger::ForkchoiceAndPayload).await;
        assert_eq!(rig.new_payload(rig.block(BLOCKS)).await, "SYNCING");
        let fetched = |seen: &moorline::Observed| seen.progress.blocks >= BLOCKS as u64 - 1;
        wait(&rig.node, "the ancestors do not come", fetched).await;
        // a20: what is fetched is not the chain before it is named
        let genesis = rig.world.spec.genesis().hash();
        assert_eq!(rig.hash_of("latest").await, json!(genesis));
        let head = rig.block(BLOCKS).header.clone();
        assert_eq!(rig.follow(head.hash()).await, "SYNCING");
        rig.reach(&head).await;
        rig.node.stop().await;
    });
}

#[test]
fn a23_a_payload_fetches_nothing_where_only_forkchoices_do() {
    on_actix(async {
        let rig = Rig::beside_a_peer().await;
        assert_eq!(rig.new_payload(rig.block(BLOCKS)).await, "SYNCING");
        // a head is asked for after the payload and comes without it: nothing else was under way
        let head = rig.block(3).header.clone();
        assert_eq!(rig.follow(head.hash()).await, "SYNCING");
        rig.reach(&head).await;
        let seen = wait(&rig.node, "no progress is told", |seen| seen.progress.headers > 0).await;
        assert!(seen.progress.headers <= 3, "{:?}", seen.progress);
        rig.node.stop().await;
    });
}
