//! `engine_forkchoiceUpdated`.

use alloy_primitives::B256;
use moorline_tests::{forkchoice, on_actix};
use serde_json::json;

use super::rig::{BLOCKS, Rig, branch};

const UPDATED: &str = "engine_forkchoiceUpdatedV3";

#[test]
fn a24_an_unknown_head_is_syncing() {
    on_actix(async {
        let rig = Rig::alone().await;
        let unknown = B256::repeat_byte(9);
        assert_eq!(rig.follow(unknown).await, "SYNCING");
        rig.synced_to(10).await;
        assert_eq!(rig.follow(unknown).await, "SYNCING");
        assert_eq!(rig.hash_of("latest").await, json!(rig.block(10).header.hash()));
        rig.node.stop().await;
    });
}

#[test]
fn a26_an_unknown_safe_or_finalized_block_is_not_yet_a_contradiction() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(10).await;
        let (head, unknown) = (rig.block(10).header.hash(), B256::repeat_byte(9));
        assert_eq!(rig.choose([head, unknown, B256::ZERO]).await, "SYNCING");
        rig.expect_error("eth_getBlockByNumber", json!(["safe", false]), -39001).await;
        assert_eq!(rig.choose([head, head, unknown]).await, "SYNCING");
        rig.expect_error("eth_getBlockByNumber", json!(["finalized", false]), -39001).await;
        rig.node.stop().await;
    });
}

#[test]
fn a26_safe_and_finalized_must_lie_on_the_heads_chain() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let side = branch(rig.block(30), 5);
        for block in &side {
            assert_eq!(rig.new_payload(block).await, "ACCEPTED");
        }
        let main = |number: usize| rig.block(number).header.hash();
        let aside = |index: usize| side[index].header.hash();
        for state in [
            // hive's three: head, safe, and finalized on the other chain
            [aside(4), main(35), main(32)],
            [main(40), aside(2), main(20)],
            [main(40), main(35), aside(0)],
            // safe below finalized, and both above the head
            [main(40), main(20), main(30)],
            [main(20), main(30), main(10)],
            [B256::ZERO, B256::ZERO, B256::ZERO],
        ] {
            rig.expect_error(UPDATED, forkchoice(state), -38002).await;
        }
        // a28: none of them was applied
        assert_eq!(rig.hash_of("latest").await, json!(main(40)));
        assert_eq!(rig.choose([aside(4), aside(1), main(30)]).await, "SYNCING");
        rig.reach(&side[4].header).await;
        assert_eq!(rig.hash_of("safe").await, json!(aside(1)));
        assert_eq!(rig.hash_of("finalized").await, json!(main(30)));
        rig.node.stop().await;
    });
}

#[test]
fn a25_a_head_below_the_tip_is_gone_back_to() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        assert_eq!(rig.follow(rig.block(20).header.hash()).await, "SYNCING");
        rig.reach(&rig.block(20).header).await;
        assert_eq!(rig.hash_of("latest").await, json!(rig.block(20).header.hash()));
        assert!(!rig.shows(rig.block(21).header.hash()).await);
        assert_eq!(rig.follow(rig.block(40).header.hash()).await, "SYNCING");
        rig.reach(&rig.block(40).header).await;
        rig.node.stop().await;
    });
}

#[test]
fn a24_only_the_genesis_block_is_valid_and_its_attributes_are_judged() {
    on_actix(async {
        let rig = Rig::alone().await;
        let genesis = rig.world.spec.genesis();
        let mut params = forkchoice([genesis.hash(), B256::ZERO, B256::ZERO]);
        let answer = rig.call("engine_forkchoiceUpdatedV2", params.clone()).await;
        assert_eq!(answer["payloadStatus"]["status"], "VALID");
        assert_eq!(answer["payloadStatus"]["latestValidHash"], json!(genesis.hash()));
        params[1] = json!({
            "timestamp": format!("{:#x}", genesis.timestamp), "prevRandao": B256::ZERO,
            "suggestedFeeRecipient": format!("0x{:040x}", 1), "withdrawals": [],
        });
        rig.expect_error("engine_forkchoiceUpdatedV2", params, -38003).await;
        rig.node.stop().await;
    });
}

#[test]
fn a23_a_head_that_nobody_has_is_left_for_one_that_can_be_had() {
    on_actix(async {
        let rig = Rig::beside_a_peer().await;
        assert_eq!(rig.follow(B256::repeat_byte(9)).await, "SYNCING");
        let head = rig.block(BLOCKS).header.clone();
        assert_eq!(rig.follow(head.hash()).await, "SYNCING");
        rig.reach(&head).await;
        // and again, to a branch that is delivered while another head is out of reach
        let side = branch(rig.block(60), 5);
        assert_eq!(rig.follow(B256::repeat_byte(8)).await, "SYNCING");
        for block in &side {
            assert_eq!(rig.new_payload(block).await, "ACCEPTED");
        }
        assert_eq!(rig.follow(side[4].header.hash()).await, "SYNCING");
        rig.reach(&side[4].header).await;
        assert_eq!(rig.hash_of("0x41").await, json!(side[4].header.hash()));
        rig.node.stop().await;
    });
}
