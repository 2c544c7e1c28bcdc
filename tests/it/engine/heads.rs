//! Heads that are followed without having been executed, in every interface.

use moorline_messages::Block;
use moorline_tests::{on_actix, wait};
use moorline_tree::SyncTrigger;
use serde_json::json;

use super::rig::{BLOCKS, Rig, branch, changed, undecodable};

#[test]
fn tags_mean_what_the_consensus_client_said_over_what_is_here() {
    on_actix(async {
        let rig = Rig::beside_a_peer().await;
        let hash = |number: usize| rig.block(number).header.hash();
        for tag in ["latest", "pending", "earliest"] {
            assert_eq!(rig.hash_of(tag).await, json!(rig.world.spec.genesis().hash()), "{tag}");
        }
        rig.expect_error("eth_getBlockByNumber", json!(["safe", false]), -39001).await;
        assert_eq!(rig.choose([hash(60), hash(40), hash(20)]).await, "SYNCING");
        rig.reach(&rig.block(60).header).await;
        for (tag, number) in [("latest", 60), ("pending", 60), ("safe", 40), ("finalized", 20)] {
            assert_eq!(rig.hash_of(tag).await, json!(hash(number)), "{tag}");
        }
        assert_eq!(rig.hash_of("earliest").await, json!(rig.world.spec.genesis().hash()));
        // a payload alone moves nothing
        assert_eq!(rig.new_payload(rig.block(61)).await, "SYNCING");
        assert_eq!(rig.hash_of("latest").await, json!(hash(60)));
        assert!(!rig.shows(hash(61)).await);
        assert_eq!(rig.choose([hash(61), hash(50), hash(20)]).await, "SYNCING");
        rig.reach(&rig.block(61).header).await;
        assert_eq!(rig.hash_of("latest").await, json!(hash(61)));
        assert_eq!(rig.hash_of("safe").await, json!(hash(50)));
        rig.node.stop().await;
    });
}

#[test]
fn a7_the_nine_methods_that_a_consensus_client_reads_with_are_on_its_port() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(20).await;
        let hash = rig.block(20).header.hash();
        let chain_id = rig.world.spec.chain_id();
        assert_eq!(rig.call("eth_chainId", json!([])).await, format!("{chain_id:#x}"));
        assert_eq!(rig.call("eth_blockNumber", json!([])).await, "0x14");
        assert_eq!(rig.call("eth_syncing", json!([])).await, false);
        for (method, id) in
            [("eth_getBlockByHash", json!(hash)), ("eth_getBlockByNumber", json!("0x14"))]
        {
            assert_eq!(rig.call(method, json!([id, false])).await["hash"], json!(hash));
        }
        // a store that keeps no receipts, and a node that executes nothing
        rig.expect_error("eth_getLogs", json!([{"fromBlock": "0x1"}]), -32002).await;
        for method in ["eth_call", "eth_getCode", "eth_sendRawTransaction"] {
            rig.expect_error(method, json!([]), -32004).await;
        }
        rig.node.stop().await;
    });
}

/// Blocks above the chain, of which the third breaks a rule.
fn bad_branch(tip: &Block) -> Vec<Block> {
    let mut blocks = branch(tip, 6);
    blocks[2] = changed(&blocks[2], |header| header.base_fee_per_gas = Some(1));
    for index in 3..6 {
        let parent = blocks[index - 1].header.hash();
        blocks[index] = changed(&blocks[index], |header| header.parent_hash = parent);
    }
    blocks
}

#[test]
fn a21_a22_a_head_that_turns_out_invalid_is_in_no_interface() {
    on_actix(async {
        let tip = super::rig::chain().pop().unwrap();
        let bad = bad_branch(&tip);
        let rig = Rig::beside_a_peer_with(&bad, SyncTrigger::Forkchoice).await;
        let head = bad[5].header.hash();
        assert_eq!(rig.choose([head, head, head]).await, "SYNCING");
        let given_up =
            |seen: &moorline::Observed| seen.tree.as_ref().is_some_and(|tree| tree.invalid);
        wait(&rig.node, "the head is not given up", given_up).await;
        assert_eq!(rig.choose([head, head, head]).await, "INVALID");
        for block in &bad[2..] {
            assert!(!rig.shows(block.header.hash()).await);
            assert_eq!(rig.new_payload(block).await, "INVALID");
        }
        for tag in ["safe", "finalized"] {
            rig.expect_error("eth_getBlockByNumber", json!([tag, false]), -39001).await;
        }

        // and the good part of it is followed as before
        assert_eq!(rig.follow(bad[1].header.hash()).await, "SYNCING");
        rig.reach(&bad[1].header).await;
        assert!(rig.shows(bad[1].header.hash()).await);
        assert_eq!(rig.hash_of("latest").await, json!(bad[1].header.hash()));
        assert_eq!(rig.hash_of(&format!("{:#x}", BLOCKS + 3)).await, json!(null));
        assert!(!rig.shows(bad[2].header.hash()).await);
        rig.node.stop().await;
    });
}

/// A block on top of the chain whose transaction cannot be decoded, and the one above it.
fn undecodable_branch(tip: &Block) -> [Block; 2] {
    let mut blocks = branch(tip, 2);
    let above = blocks.pop().unwrap();
    let bad = undecodable(&blocks[0]);
    let hash = bad.header.hash();
    [bad, changed(&above, |header| header.parent_hash = hash)]
}

#[test]
fn a13_a21_a22_a_block_whose_transaction_cannot_be_decoded_is_invalid_wherever_it_comes_from() {
    on_actix(async {
        let tip = super::rig::chain().pop().unwrap();
        let [bad, above] = undecodable_branch(&tip);
        let served = [bad.clone(), above.clone()];
        let given_up =
            |seen: &moorline::Observed| seen.tree.as_ref().is_some_and(|tree| tree.invalid);

        // from the consensus client first: the verdict stands when its child is named and fetched
        let rig = Rig::beside_a_peer_with(&served, SyncTrigger::Forkchoice).await;
        assert_eq!(rig.new_payload(&bad).await, "INVALID");
        assert_eq!(rig.follow(bad.header.hash()).await, "INVALID");
        assert_eq!(rig.follow(above.header.hash()).await, "SYNCING");
        wait(&rig.node, "the head is not given up", given_up).await;
        assert_eq!(rig.follow(above.header.hash()).await, "INVALID");
        assert!(!rig.shows(bad.header.hash()).await);
        rig.node.stop().await;

        // from a peer alone
        let rig = Rig::beside_a_peer_with(&served, SyncTrigger::Forkchoice).await;
        assert_eq!(rig.follow(above.header.hash()).await, "SYNCING");
        wait(&rig.node, "the head is not given up", given_up).await;
        for block in &served {
            assert_eq!(rig.follow(block.header.hash()).await, "INVALID");
            assert!(!rig.shows(block.header.hash()).await);
        }
        assert_ne!(rig.hash_of("latest").await, json!(bad.header.hash()));
        rig.node.stop().await;
    });
}
