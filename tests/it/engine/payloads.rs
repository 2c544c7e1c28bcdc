//! `engine_newPayload`.

use alloy_primitives::B256;
use moorline_messages::{Block, Header};
use moorline_rules::blob_versioned_hashes;
use moorline_tests::{on_actix, payload};
use serde_json::{Value, json};

use super::rig::{BLOCKS, Rig, branch, changed};

/// A payload whose hash is not its own, on top of `block`'s parent.
async fn expect_bad_hash(rig: &Rig, block: &Block) {
    let (method, good) = payload(block);
    let mut hash = block.header.hash();
    hash.0[31] ^= 1;
    let mut params = good;
    params[0]["blockHash"] = json!(hash);
    assert_eq!(rig.send_payload(method, params).await, "INVALID");
    assert!(!rig.shows(hash).await);
}

#[test]
fn a13_a_bad_hash_is_invalid_on_the_chain_and_aside_with_and_without_ancestors() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let side = branch(rig.block(30), 3);
        for block in [rig.block(41), rig.block(43), &side[0], &side[2]] {
            expect_bad_hash(&rig, block).await;
        }
        // the payload itself is none the worse for it
        assert_eq!(rig.new_payload(rig.block(41)).await, "SYNCING");
        rig.node.stop().await;
    });
}

#[test]
fn a13_a_parent_that_is_the_block_itself_is_invalid_synced_or_not() {
    on_actix(async {
        let rig = Rig::alone().await;
        for number in [41, 41] {
            let (method, mut params) = payload(rig.block(number));
            params[0]["parentHash"] = params[0]["blockHash"].clone();
            assert_eq!(rig.send_payload(method, params).await, "INVALID");
            rig.synced_to(40).await;
        }
        rig.node.stop().await;
    });
}

/// What hive changes in the list of expected blob hashes; all of it is wrong.
fn wrong_lists(good: &[B256]) -> Vec<Vec<B256>> {
    let other = B256::repeat_byte(1);
    let with = |index: usize, hash: B256| {
        let mut list = good.to_vec();
        list[index] = hash;
        list
    };
    let mut other_version = good[0];
    other_version.0[0] = 2;
    vec![
        vec![],
        good[1..].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good, &[other]].concat(),
        [good, &good[..1]].concat(),
        with(0, other),
        with(good.len() - 1, other),
        with(0, other_version),
        good.iter().rev().copied().collect(),
    ]
}

#[test]
fn a14_blob_hashes_are_checked_at_once_with_and_without_the_ancestors() {
    on_actix(async {
        let rig = Rig::alone().await;
        let has_blobs = |block: &&Block| blob_versioned_hashes(&block.body).unwrap().len() > 1;
        let block = rig.chain.iter().find(has_blobs).unwrap().clone();
        let hashes = blob_versioned_hashes(&block.body).unwrap();
        let (method, good) = payload(&block);
        for is_synced in [false, true] {
            if is_synced {
                rig.synced_to(block.header.number as usize - 1).await;
            }
            for list in wrong_lists(&hashes) {
                let mut params = good.clone();
                params[1] = json!(list);
                assert_eq!(rig.send_payload(method, params).await, "INVALID", "{list:?}");
            }
            let mut missing = good.clone();
            missing[1] = Value::Null;
            rig.expect_error(method, missing, -32602).await;
            let blobs = |block: &&Block| blob_versioned_hashes(&block.body).unwrap().len();
            let without = rig.chain[20..].iter().find(|block| blobs(block) == 0).unwrap();
            let (method, mut params) = payload(without);
            params[1] = json!([hashes[0]]);
            assert_eq!(rig.send_payload(method, params).await, "INVALID");
        }
        assert_eq!(rig.new_payload(&block).await, "SYNCING");
        rig.node.stop().await;
    });
}

type Change = fn(&mut Header);

/// Fields that do not follow from the parent as they should.
const AGAINST_PARENT: [(&str, Change); 6] = [
    ("number", |header| header.number += 1),
    ("gas limit", |header| header.gas_limit *= 2),
    ("timestamp", |header| header.timestamp -= 12),
    ("base fee", |header| header.base_fee_per_gas = header.base_fee_per_gas.map(|fee| fee + 1)),
    ("excess blob gas", |header| header.excess_blob_gas = Some(131_072 * 77)),
    ("gas limit too low", |header| (header.gas_limit, header.gas_used) = (4_999, 0)),
];

/// Fields that are wrong whatever the parent is.
const ALONE: [(&str, Change); 4] = [
    ("extra data", |header| header.extra_data = vec![0; 33].into()),
    ("gas used", |header| header.gas_used = header.gas_limit + 1),
    ("blob gas used", |header| header.blob_gas_used = Some(131_071)),
    ("too much blob gas", |header| header.blob_gas_used = Some(131_072 * 100)),
];

#[test]
fn a19_b6_b7_b8_what_contradicts_the_parent_is_invalid_and_so_is_what_lies_above_it() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(90).await;
        for (what, change) in AGAINST_PARENT.into_iter().chain(ALONE) {
            let bad = changed(rig.block(91), change);
            assert_eq!(rig.new_payload(&bad).await, "INVALID", "{what}");
            assert!(!rig.shows(bad.header.hash()).await, "a21: {what}");
            assert_eq!(rig.follow(bad.header.hash()).await, "INVALID", "{what}");
            let above = changed(rig.block(92), |header| header.parent_hash = bad.header.hash());
            assert_eq!(rig.new_payload(&above).await, "INVALID", "a22: {what}");
        }
        rig.node.stop().await;
    });
}

#[test]
fn a19_with_a_missing_ancestor_it_is_syncing_until_the_ancestor_is_here() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(90).await;
        for (what, change) in ALONE {
            let bad = changed(rig.block(93), change);
            assert_eq!(rig.new_payload(&bad).await, "INVALID", "{what}");
        }
        let mut doubtful = Vec::new();
        for (what, change) in AGAINST_PARENT {
            let bad = changed(rig.block(93), change);
            assert_eq!(rig.new_payload(&bad).await, "SYNCING", "{what}");
            doubtful.push((what, bad));
        }
        rig.deliver(91, 92).await;
        for (what, bad) in doubtful {
            assert_eq!(rig.new_payload(&bad).await, "INVALID", "{what}");
            assert!(!rig.shows(bad.header.hash()).await);
        }
        assert_eq!(rig.new_payload(rig.block(93)).await, "SYNCING");
        rig.node.stop().await;
    });
}

#[test]
fn b3_execution_requests_enter_the_hash() {
    on_actix(async {
        let rig = Rig::alone().await;
        let (method, good) = payload(rig.block(40));
        for (requests, expected) in [
            (json!([]), "SYNCING"),
            (json!(["0x00aa"]), "INVALID"),
            (json!(["0x00aa", "0x02bb"]), "INVALID"),
        ] {
            let mut params = good.clone();
            params[3] = requests;
            assert_eq!(rig.send_payload(method, params).await, expected);
        }
        for requests in [json!(["0x"]), json!(["0x01"]), json!(["0x01aa", "0x00bb"]), Value::Null] {
            let mut params = good.clone();
            params[3] = requests;
            rig.expect_error(method, params, -32602).await;
        }
        rig.node.stop().await;
    });
}

#[test]
fn b1_b10_transactions_and_withdrawals_enter_the_hash() {
    on_actix(async {
        let rig = Rig::alone().await;
        let full = |block: &&Block| block.body.transactions.len() > 1 && block.header.number < 16;
        let block = rig.chain.iter().find(full).unwrap();
        let (method, good) = payload(block);
        for index in 0..2 {
            let mut params = good.clone();
            let list = params[0]["transactions"].as_array_mut().unwrap();
            if index == 0 {
                list.reverse();
            } else {
                list.pop();
            }
            assert_eq!(rig.send_payload(method, params).await, "INVALID");
        }
        let mut params = good.clone();
        params[0]["withdrawals"] = json!([{
            "index": "0x0", "validatorIndex": "0x0", "amount": "0x1",
            "address": format!("0x{:040x}", 1),
        }]);
        assert_eq!(rig.send_payload(method, params).await, "INVALID");
        rig.node.stop().await;
    });
}

#[test]
fn a19_a20_on_the_chain_it_is_syncing_and_beside_it_accepted() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let side = branch(rig.block(30), 3);
        assert_eq!(rig.new_payload(rig.block(41)).await, "SYNCING");
        assert_eq!(rig.new_payload(rig.block(20)).await, "SYNCING");
        assert_eq!(rig.new_payload(&side[1]).await, "SYNCING");
        assert_eq!(rig.new_payload(&side[0]).await, "ACCEPTED");
        assert_eq!(rig.new_payload(&side[1]).await, "ACCEPTED");
        // a side branch is no part of the chain
        assert!(!rig.shows(side[0].header.hash()).await);
        assert_eq!(rig.hash_of("latest").await, json!(rig.block(40).header.hash()));
        rig.node.stop().await;
    });
}

#[test]
fn a18_b2_b5_b9_every_fork_has_its_method_and_the_whole_chain_goes_in_by_payloads() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(BLOCKS).await;
        let last = rig.block(BLOCKS);
        let (_, params) = payload(last);
        let short = |count: usize| json!(params.as_array().unwrap()[..count].to_vec());
        rig.expect_error("engine_newPayloadV3", short(3), -38005).await;
        rig.expect_error("engine_newPayloadV2", short(1), -32602).await;
        let cancun = payload(rig.block(20)).1;
        let with_requests = json!([cancun[0], cancun[1], cancun[2], []]);
        rig.expect_error("engine_newPayloadV4", with_requests, -38005).await;
        rig.node.stop().await;
        let report = rig.world.check("node");
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.blocks, BLOCKS as u64);
    });
}
