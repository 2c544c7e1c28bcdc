//! `engine_getPayloadBodies`.

use alloy_primitives::B256;
use moorline_messages::Block;
use moorline_tests::on_actix;
use serde_json::{Value, json};

use super::rig::{Rig, branch};

const BY_HASH: &str = "engine_getPayloadBodiesByHashV1";
const BY_RANGE: &str = "engine_getPayloadBodiesByRangeV1";

fn body(block: &Block) -> Value {
    json!({"transactions": block.body.transactions, "withdrawals": block.body.withdrawals})
}

#[test]
fn a31_bodies_by_hash_come_in_order_with_gaps_for_what_is_unknown_or_aside() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let side = branch(rig.block(30), 1).remove(0);
        assert_eq!(rig.new_payload(&side).await, "ACCEPTED");
        let hashes = [
            rig.block(40).header.hash(),
            B256::repeat_byte(9),
            rig.block(1).header.hash(),
            side.header.hash(),
            rig.block(17).header.hash(),
        ];
        let bodies = rig.call(BY_HASH, json!([hashes])).await;
        let expected =
            json!([body(rig.block(40)), null, body(rig.block(1)), null, body(rig.block(17))]);
        assert_eq!(bodies, expected);
        assert_eq!(rig.call(BY_HASH, json!([[]])).await, json!([]));
        let all: Vec<_> = rig.chain[..40].iter().map(|block| block.header.hash()).collect();
        let bodies = rig.call(BY_HASH, json!([all])).await;
        assert_eq!(bodies, rig.chain[..40].iter().map(body).collect::<Value>());
        rig.node.stop().await;
    });
}

#[test]
fn a32_bodies_by_range_are_canonical_and_end_with_the_chain() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let range =
            |start: usize, count: usize| json!([format!("{start:#x}"), format!("{count:#x}")]);
        let expected =
            |from: usize, to: usize| rig.chain[from - 1..to].iter().map(body).collect::<Value>();
        for (start, count, last) in [(1, 1, 1), (10, 20, 29), (38, 3, 40), (38, 1_024, 40)] {
            let bodies = rig.call(BY_RANGE, range(start, count)).await;
            assert_eq!(bodies, expected(start, last), "{start} {count}");
        }
        for start in [41, 42, 1_000_000] {
            assert_eq!(rig.call(BY_RANGE, range(start, 5)).await, json!([]), "{start}");
        }
        for (start, count, code) in [(0, 1, -32602), (1, 0, -32602), (1, 1_025, -38004)] {
            rig.expect_error(BY_RANGE, range(start, count), code).await;
        }
        let newer = rig.call("engine_getPayloadBodiesByRangeV2", range(5, 1)).await;
        assert_eq!(newer[0].get("blockAccessList"), Some(&Value::Null), "a33");
        rig.node.stop().await;
    });
}

#[test]
fn a32_after_a_reorganisation_a_range_is_of_the_new_chain() {
    on_actix(async {
        let rig = Rig::alone().await;
        rig.synced_to(40).await;
        let side = branch(rig.block(30), 3);
        for block in &side {
            assert_eq!(rig.new_payload(block).await, "ACCEPTED");
        }
        assert_eq!(rig.follow(side[2].header.hash()).await, "SYNCING");
        rig.reach(&side[2].header).await;
        let bodies = rig.call(BY_RANGE, json!(["0x1e", "0x20"])).await;
        let expected: Vec<_> = [rig.block(30)].into_iter().chain(&side).map(body).collect();
        assert_eq!(bodies, json!(expected));
        let gone = rig.call(BY_HASH, json!([[rig.block(31).header.hash()]])).await;
        assert_eq!(gone, json!([null]));
        rig.node.stop().await;
    });
}
