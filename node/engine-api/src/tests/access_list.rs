//! Block access lists.

use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, CodeChange, SlotChanges, StorageChange,
};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_rlp::Encodable;
use moorline_messages::TreeVerdict;
use serde_json::json;

use super::{
    Rig,
    new_payload::{seal, unsealed},
    syncing,
};
use crate::{access_list::check_access_list, payload::NewPayload};

fn account(byte: u8) -> AccountChanges {
    AccountChanges::new(Address::repeat_byte(byte))
}

fn slot(number: u64, indices: &[u64]) -> SlotChanges {
    let change = |index: &u64| StorageChange {
        block_access_index: BlockAccessIndex(*index),
        new_value: U256::from(1),
    };
    SlotChanges { slot: U256::from(number), changes: indices.iter().map(change).collect() }
}

fn rlp(accounts: &[AccountChanges]) -> Bytes {
    let mut rlp = Vec::new();
    accounts.to_vec().encode(&mut rlp);
    rlp.into()
}

/// What is wrong with accounts of a block of two transactions that has gas for six entries.
fn wrong(accounts: &[AccountChanges]) -> String {
    match check_access_list(&rlp(accounts), 2, 12_000) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn b12_accounts_and_slots_ascend_and_indices_stay_within_the_block() {
    let with_slots = |changes: Vec<SlotChanges>, reads: &[u64]| AccountChanges {
        storage_changes: changes,
        storage_reads: reads.iter().copied().map(U256::from).collect(),
        ..account(1)
    };
    let balance = |index| BalanceChange {
        block_access_index: BlockAccessIndex(index),
        post_balance: U256::ZERO,
    };
    let with_balances = |indices: &[u64]| AccountChanges {
        balance_changes: indices.iter().copied().map(balance).collect(),
        ..account(1)
    };
    assert_eq!(wrong(&[]), "");
    assert_eq!(wrong(&[account(1), account(2), account(3)]), "");
    assert_eq!(wrong(&[with_slots(vec![slot(1, &[0, 3]), slot(3, &[1])], &[2, 4])]), "");
    assert_eq!(wrong(&[with_balances(&[0, 1, 3])]), "");
    for (accounts, reason) in [
        (vec![account(2), account(1)], "order"),
        (vec![account(1), account(1)], "more than once"),
        (vec![with_slots(vec![slot(2, &[1]), slot(1, &[1])], &[])], "order"),
        (vec![with_slots(vec![slot(1, &[1]), slot(1, &[1])], &[])], "more than once"),
        (vec![with_slots(vec![], &[3, 2])], "order"),
        (vec![with_slots(vec![slot(1, &[1])], &[1])], "more than once"),
        (vec![with_slots(vec![slot(1, &[])], &[])], "empty change list"),
        (vec![with_slots(vec![slot(1, &[2, 1])], &[])], "appears after"),
        (vec![with_balances(&[1, 1])], "more than once"),
        (vec![with_balances(&[4])], "exceeds the block maximum"),
        ((1..=7).map(account).collect(), "too long"),
    ] {
        let found = wrong(&accounts);
        assert!(found.contains(reason), "no {reason:?} in {found:?}");
    }
}

#[test]
fn b12_code_has_a_bound_and_bytes_that_are_no_list_are_told() {
    let code = |bytes: usize| AccountChanges {
        code_changes: vec![CodeChange {
            block_access_index: BlockAccessIndex(1),
            new_code: vec![0; bytes].into(),
        }],
        ..account(1)
    };
    assert_eq!(wrong(&[code(65_536)]), "");
    assert!(wrong(&[code(65_537)]).contains("65537 bytes of code"));
    for bytes in ["", "80", "c101", "c0c0", "c1c0", "f8ffff"] {
        assert!(check_access_list(&hex::decode(bytes).unwrap(), 2, 12_000).is_err(), "{bytes}");
    }
}

#[tokio::test]
async fn b4_b12_a_payload_with_the_right_hash_and_a_wrong_access_list_is_invalid() {
    let mut rig = Rig::new().await;
    let with = |list: Bytes| {
        let mut params = unsealed(NewPayload::V5, 550);
        params[0]["blockAccessList"] = json!(list);
        params
    };
    let method = "engine_newPayloadV5";
    let good = seal(NewPayload::V5, &rig.spec, with(rlp(&[account(1), account(2)])));
    let (answer, _) = rig.call(method, good.clone(), TreeVerdict::Syncing).await;
    assert_eq!(answer["result"], syncing());
    let bad = seal(NewPayload::V5, &rig.spec, with(rlp(&[account(2), account(1)])));
    let reason = rig.expect_bad(method, bad).await;
    assert!(reason.contains("order"), "{reason}");
    // the list enters the hash
    let mut other = good;
    other[0]["blockAccessList"] = json!("0xc0");
    let answer = rig.call_unasked(method, other).await;
    let error = answer["result"]["validationError"].as_str().unwrap();
    assert!(error.starts_with("block hash is 0x"), "{error}");
}
