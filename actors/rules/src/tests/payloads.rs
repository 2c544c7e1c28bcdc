//! Execution payloads to blocks.

use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::{
    ExecutionPayload, ExecutionPayloadInputV2, ExecutionPayloadV1, ExecutionPayloadV3,
    ExecutionPayloadV4,
};
use moorline_messages::Breach;
use serde_json::Value;

use super::data::{json, test_chain};
use crate::{
    PayloadError, PayloadParts, RequestsError, blob_versioned_hashes, block_access_list_hash,
    block_from_payload, body_matches, requests_hash, validate_requests,
};

/// Standard base64, which is how Go writes the bytes of a request that is no hex string.
fn base64(text: &str) -> Bytes {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|byte| ALPHABET.iter().position(|letter| *letter == byte))
        .map(|digit| u32::try_from(digit).unwrap())
        .collect();
    let mut bytes = Vec::new();
    for quad in digits.chunks(4) {
        let bits = quad.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - quad.len()));
        bytes.extend(&bits.to_be_bytes()[1..quad.len()]);
    }
    bytes.into()
}

fn request(value: &Value) -> Bytes {
    let text = value.as_str().unwrap();
    if text.starts_with("0x") { text.parse().unwrap() } else { base64(text) }
}

/// The parts of one recorded call.
fn parts(call: &Value) -> PayloadParts {
    let params = &call["params"];
    let v3 = || serde_json::from_value::<ExecutionPayloadV3>(params[0].clone()).unwrap();
    let cancun = |parts: PayloadParts| {
        let hashes: Vec<B256> = serde_json::from_value(params[1].clone()).unwrap();
        parts.with_cancun(hashes, params[2].as_str().unwrap().parse().unwrap())
    };
    match call["method"].as_str().unwrap() {
        "engine_newPayloadV2" => {
            // geth writes the fields of later versions as null, which means absent.
            let mut present = params[0].clone();
            present.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let input: ExecutionPayloadInputV2 = serde_json::from_value(present).unwrap();
            PayloadParts::new(input.into_payload())
        }
        "engine_newPayloadV3" => cancun(PayloadParts::new(v3())),
        "engine_newPayloadV4" => {
            let requests = params[3].as_array().unwrap().iter().map(request).collect();
            cancun(PayloadParts::new(v3())).with_requests(requests)
        }
        other => panic!("no such method in the file: {other}"),
    }
}

fn calls() -> Option<Vec<Value>> {
    json("geth-ethtest/newpayload.json").map(|calls| calls.as_array().unwrap().clone())
}

#[test]
fn the_hash_of_every_payload_recomputes() {
    let (Some(calls), Some(chain)) = (calls(), test_chain()) else { return };
    assert_eq!(calls.len(), 601);
    // The first call names the genesis block, whose difficulty no payload can carry.
    assert!(matches!(
        block_from_payload(parts(&calls[0])),
        Err(PayloadError::BlockHash { claimed, .. }) if claimed == chain.spec.genesis().hash()
    ));
    for (call, block) in calls.iter().skip(1).zip(&chain.blocks) {
        let parts = parts(call);
        if let Some(requests) = &parts.execution_requests {
            assert_eq!(validate_requests(requests), Ok(()));
        }
        assert_eq!(block_from_payload(parts).as_ref(), Ok(block), "{}", call["id"]);
    }
}

#[test]
fn a_payload_that_lies_in_any_field_is_caught_by_its_hash() {
    let Some(calls) = calls() else { return };
    let good = parts(&calls[300]);
    let lies: [fn(&mut PayloadParts); 6] = [
        |parts| v1(parts).gas_used += 1,
        |parts| v1(parts).prev_randao = B256::repeat_byte(1),
        |parts| v1(parts).transactions.clear(),
        |parts| parts.parent_beacon_block_root = None,
        |parts| parts.execution_requests = Some(vec![Bytes::from_static(&[1, 2])]),
        |parts| parts.execution_requests = None,
    ];
    for lie in lies {
        let mut parts = good.clone();
        lie(&mut parts);
        assert!(matches!(block_from_payload(parts), Err(PayloadError::BlockHash { .. })));
    }
    assert!(block_from_payload(good).is_ok());
}

fn v1(parts: &mut PayloadParts) -> &mut ExecutionPayloadV1 {
    parts.payload.as_v1_mut()
}

/// The payload under the hash that it really has.
fn sealed(mut parts: PayloadParts) -> PayloadParts {
    let Err(PayloadError::BlockHash { found, .. }) = block_from_payload(parts.clone()) else {
        panic!("the hash cannot be right yet");
    };
    v1(&mut parts).block_hash = found;
    parts
}

#[test]
fn transactions_that_cannot_be_decoded_are_named_with_the_block_they_are_in() {
    let Some(calls) = calls() else { return };
    let good = parts(&calls[300]);
    let tx = good.payload.as_v1().transactions[0].clone();
    let trailing = Bytes::from([&tx[..], &[0]].concat());
    let cut = tx.slice(..tx.len() - 1);
    let unknown_type = Bytes::from([&[0x7e], &tx[1..]].concat());
    let shell = Bytes::from_static(&[0xc1, 0x01]);
    for bad in [Bytes::new(), trailing, cut, unknown_type, shell] {
        let mut parts = good.clone();
        v1(&mut parts).transactions.push(bad);
        let parts = sealed(parts);
        let hash = parts.payload.as_v1().block_hash;
        let Err(PayloadError::Breach { header, breach }) = block_from_payload(parts) else {
            panic!("a transaction cannot be decoded");
        };
        assert_eq!((header.hash(), breach), (hash, Breach::Transaction(1)));
    }
}

#[test]
fn blob_hashes_must_be_the_expected_ones_in_order() {
    let Some(calls) = calls() else { return };
    let with_blobs = |parts: &PayloadParts| {
        parts.expected_blob_versioned_hashes.as_ref().is_some_and(|hashes| !hashes.is_empty())
    };
    let good = calls.iter().skip(1).map(parts).find(with_blobs).unwrap();
    let block = block_from_payload(good.clone()).unwrap();
    assert_eq!(
        Some(blob_versioned_hashes(&block.body).unwrap()),
        good.expected_blob_versioned_hashes
    );
    for wrong in [vec![], vec![B256::repeat_byte(1)]] {
        let parts = PayloadParts { expected_blob_versioned_hashes: Some(wrong), ..good.clone() };
        assert_eq!(block_from_payload(parts), Err(PayloadError::BlobVersionedHashes));
    }
}

#[test]
fn a_base_fee_that_fits_no_header_is_refused() {
    let Some(calls) = calls() else { return };
    let mut parts = parts(&calls[300]);
    v1(&mut parts).base_fee_per_gas = alloy_primitives::U256::MAX;
    assert_eq!(block_from_payload(parts), Err(PayloadError::BaseFee));
}

#[test]
fn each_payload_structure_fills_the_fields_of_its_fork() {
    let Some(calls) = calls() else { return };
    let good = parts(&calls[300]);
    let ExecutionPayload::V3(v3) = good.payload.clone() else { panic!("a V3 payload") };
    let v4 = ExecutionPayloadV4 {
        payload_inner: v3.clone(),
        block_access_list: Bytes::from_static(&[0xc0]),
        slot_number: 99,
    };
    let sealed = |payload: ExecutionPayload, parts: &PayloadParts| {
        let parts = sealed(PayloadParts { payload, ..parts.clone() });
        let block = block_from_payload(parts).unwrap();
        assert_eq!(body_matches(&block.header, &block.body), Ok(()));
        block
    };

    let amsterdam = sealed(v4.into(), &good).header;
    assert_eq!(amsterdam.slot_number, Some(99));
    assert_eq!(amsterdam.block_access_list_hash, Some(block_access_list_hash(&[0xc0])));
    assert_eq!(alloy_rlp::encode(amsterdam.inner()).len(), {
        let prague = block_from_payload(good.clone()).unwrap().header;
        alloy_rlp::encode(prague.inner()).len() + 33 + 1
    });

    let bare = PayloadParts::new(v3.clone());
    let shanghai = sealed(v3.payload_inner.clone().into(), &bare).header;
    assert!(shanghai.withdrawals_root.is_some() && shanghai.blob_gas_used.is_none());
    let paris = sealed(v3.payload_inner.payload_inner.into(), &bare).header;
    assert!(paris.withdrawals_root.is_none() && paris.base_fee_per_gas.is_some());
}

#[test]
fn requests_are_hashed_without_the_empty_ones() {
    let empty = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(requests_hash(&[]).to_string(), empty);
    assert_eq!(requests_hash(&[Bytes::from_static(&[1])]).to_string(), empty);
    assert_ne!(requests_hash(&[Bytes::from_static(&[1, 2])]).to_string(), empty);
    assert_eq!(
        block_access_list_hash(&[0xc0]).to_string(),
        "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
    );
}

#[test]
fn requests_ascend_by_type_and_hold_data() {
    let list = |types: &[&'static [u8]]| types.iter().copied().map(Bytes::from_static).collect();
    let check = |types: &[&'static [u8]]| validate_requests(&Vec::from_iter::<Vec<_>>(list(types)));
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[&[0, 9], &[1, 9], &[7, 9]]), Ok(()));
    assert_eq!(check(&[&[0, 9], &[1]]), Err(RequestsError::Empty(1)));
    assert_eq!(check(&[&[]]), Err(RequestsError::Empty(0)));
    assert_eq!(check(&[&[1, 9], &[1, 9]]), Err(RequestsError::Order(1)));
    assert_eq!(check(&[&[1, 9], &[0, 9]]), Err(RequestsError::Order(1)));
}
