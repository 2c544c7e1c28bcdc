#![allow(clippy::arithmetic_side_effects)]

mod receipts;

use alloy_primitives::{Address, U256};
use moorline_messages::AnnouncedRange;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::testdata::{load, load_bytes, unhex};

#[derive(Deserialize)]
struct Vectors {
    empty_messages_rlp: String,
    messages: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    message: String,
    rlp: String,
}

fn id_of(name: &str) -> u8 {
    match name.split("Packet").next().unwrap() {
        "GetBlockHeaders" => id::GET_BLOCK_HEADERS,
        "BlockHeaders" => id::BLOCK_HEADERS,
        "GetBlockBodies" => id::GET_BLOCK_BODIES,
        "BlockBodies" | "BlockBodiesRLP" => id::BLOCK_BODIES,
        "GetReceipts" => id::GET_RECEIPTS,
        "Receipts" => id::RECEIPTS,
        "GetPooledTransactions" => id::GET_POOLED_TRANSACTIONS,
        "PooledTransactions" | "PooledTransactionsRLP" => id::POOLED_TRANSACTIONS,
        other => panic!("no id for {other}"),
    }
}

fn decode(version: u8, id: u8, data: &[u8]) -> Result<EthMessage, EthError> {
    EthMessage::decode(version, id, Bytes::copy_from_slice(data))
}

/// Decodes with the request id 1111 of the vectors and encodes again.
fn back_and_forth(version: u8, id: u8, data: &[u8]) {
    let message = decode(version, id, data).unwrap();
    if id == id::GET_POOLED_TRANSACTIONS {
        // which transactions are asked for is of no interest to a node that has none
        assert_eq!(message, EthMessage::GetPooledTransactions { request_id: 1111 });
        return;
    }
    assert_eq!(hex::encode(message.encode(version)), hex::encode(data), "id {id}");
}

#[test]
fn messages_of_geth_decode_and_encode_to_the_same_bytes() {
    let Some(vectors) = load::<Vectors>("vectors/eth_messages_geth.json") else { return };
    for vector in &vectors.messages {
        back_and_forth(69, id_of(&vector.message), &unhex(&vector.rlp));
    }
    let empty = unhex(&vectors.empty_messages_rlp);
    for id in [4, 5, 6, 0x0f, 0x10] {
        back_and_forth(69, id, &empty);
    }
    assert_eq!(vectors.messages.len(), 11);
}

#[derive(Deserialize)]
struct BesuVector {
    rlp: String,
}

#[test]
fn messages_of_besu_decode_and_encode_to_the_same_bytes() {
    for (file, id) in [
        ("GetBlockHeadersPacket66", id::GET_BLOCK_HEADERS),
        ("GetBlockHeadersPacket66-1", id::GET_BLOCK_HEADERS),
        ("BlockHeadersPacket66", id::BLOCK_HEADERS),
        ("GetBlockBodiesPacket66", id::GET_BLOCK_BODIES),
        ("BlockBodiesPacket66", id::BLOCK_BODIES),
        ("GetPooledTransactionsPacket66", id::GET_POOLED_TRANSACTIONS),
        ("PooledTransactionsPacket66", id::POOLED_TRANSACTIONS),
        ("GetReceiptsPacket66", id::GET_RECEIPTS),
    ] {
        let path = format!("besu/eth66-messages/{file}.json");
        let Some(vector) = load::<BesuVector>(&path) else { return };
        back_and_forth(68, id, &unhex(&vector.rlp));
    }
}

#[test]
fn node_data_messages_ended_with_eth_66() {
    for version in VERSIONS {
        for id in [0x0b, 0x0c, 0x0d, 0x0e, 0x12, 0x20] {
            assert_eq!(decode(version, id, &[0xc0]), Err(EthError::UnknownId { id, version }));
        }
    }
    let range = EthMessage::BlockRangeUpdate(range()).encode(69);
    assert!(decode(69, id::BLOCK_RANGE_UPDATE, &range).is_ok());
    assert!(decode(68, id::BLOCK_RANGE_UPDATE, &range).is_err());
}

#[test]
fn a_header_is_sealed_with_the_hash_of_its_bytes() {
    let Some(chain) = load_bytes("geth-ethtest/chain.rlp") else { return };
    let mut blocks = bytes::Bytes::from(chain);
    let mut parent = None;
    let mut count = 0;
    while !blocks.is_empty() {
        let mut view: &[u8] = &blocks;
        let block = alloy_rlp::Header::decode(&mut view).unwrap();
        let length = blocks.len() - view.len() + block.payload_length;
        let mut items = Items::of_message(blocks.split_to(length)).unwrap();
        let header = seal_header(&items.next_raw_list().unwrap()).unwrap();
        assert!(parent.is_none_or(|hash| hash == header.parent_hash));
        parent = Some(header.hash());
        count += 1;
    }
    assert_eq!(count, 600);
    let head = "44e3809c9a3cda717f00aea3a9da336d149612c8d5657fbc0028176ef8d94d2a";
    assert_eq!(hex::encode(parent.unwrap()), head);
}

#[test]
fn a_header_with_more_than_is_known_is_refused() {
    let mut raw = Vec::new();
    Header::default().encode(&mut raw);
    assert!(seal_header(&raw).is_ok());
    raw.push(0x80);
    assert_eq!(seal_header(&raw), Err(EthError::Header(RlpError::Trailing("a header"))));

    // one field too many inside the list
    let full = Header {
        base_fee_per_gas: Some(1),
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(B256::ZERO),
        block_access_list_hash: Some(B256::ZERO),
        slot_number: Some(1),
        ..Header::default()
    };
    let mut raw = Vec::new();
    full.encode(&mut raw);
    assert!(seal_header(&raw).is_ok());
    let mut items = Items::of_message(raw.into()).unwrap();
    let longer = list_of(|out| {
        while !items.is_empty() {
            out.extend(items.next_raw().unwrap());
        }
        out.extend([0x01]);
    });
    assert!(seal_header(&longer).is_err());
}

#[test]
fn transactions_are_slices_of_the_message() {
    let body = Body {
        transactions: vec![vec![2; 300].into(), vec![0xc3, 1, 2, 3].into()],
        ommers: Body::NO_OMMERS,
        withdrawals: Some(vec![]),
    };
    let message = EthMessage::BlockBodies { request_id: 1, bodies: vec![body.clone()] };
    let data = Bytes::from(message.encode(69).freeze());
    let span = data.as_ptr_range();
    let EthMessage::BlockBodies { bodies, .. } =
        EthMessage::decode(69, id::BLOCK_BODIES, data.clone()).unwrap()
    else {
        panic!("not bodies")
    };
    assert_eq!(bodies, [body]);
    for transaction in &bodies[0].transactions {
        assert!(span.contains(&transaction.as_ptr()), "copied");
    }
}

#[test]
fn a_legacy_transaction_wrapped_in_a_string_is_refused() {
    let data = list_of(|out| {
        1_u64.encode(out);
        out.extend(list_of(|out| {
            out.extend(list_of(|out| {
                out.extend(list_of(|out| [0xc3_u8, 1, 2, 3].as_slice().encode(out)));
                put_list(&[], out);
            }));
        }));
    });
    assert!(decode(69, id::BLOCK_BODIES, &data).is_err());
}

#[test]
fn lists_of_tiny_items_are_refused_before_anything_is_made_of_them() {
    let refused = |id: u8, items: &'static str, data: BytesMut| {
        let error = decode(69, id, &data).unwrap_err();
        assert!(
            matches!(error, EthError::Message { error: RlpError::TooMany { items: found, .. }, .. } if found == items),
            "{error}"
        );
    };
    let many = |count: usize| list_of(|out| out.extend(std::iter::repeat_n(0x01_u8, count)));
    let with_id = |list: BytesMut| {
        list_of(|out| {
            1_u64.encode(out);
            out.extend(list);
        })
    };
    refused(id::BLOCK_HEADERS, "headers", with_id(many(MAX_ITEMS + 1)));
    refused(id::BLOCK_BODIES, "bodies", with_id(many(MAX_ITEMS + 1)));
    refused(id::GET_BLOCK_BODIES, "hashes", with_id(many(MAX_ITEMS + 1)));
    refused(id::RECEIPTS, "blocks' receipts", with_id(many(MAX_ITEMS + 1)));
    let body = |transactions: BytesMut| {
        list_of(|out| {
            out.extend(transactions);
            put_list(&[], out);
        })
    };
    let half = body(many(MAX_TRANSACTIONS_PER_MESSAGE / 2 + 1));
    let both = list_of(|out| {
        out.extend(half.clone());
        out.extend(half);
    });
    refused(id::BLOCK_BODIES, "transactions", with_id(both));
}

#[test]
fn deep_nesting_costs_nothing() {
    let mut nested = vec![0xc0];
    for _ in 0..2000 {
        let mut out = BytesMut::new();
        put_list(&nested, &mut out);
        nested = out.to_vec();
    }
    for version in VERSIONS {
        for id in 0..=0x11 {
            // gossip is not looked into; whatever else must be refused
            let gossip = matches!(id, 0x01 | 0x02 | 0x07 | 0x08 | 0x0a);
            assert_eq!(decode(version, id, &nested).is_ok(), gossip, "id {id}");
        }
    }
}

#[test]
fn a_fork_hash_without_its_leading_zero_is_understood() {
    let data = list_of(|out| {
        69_u8.encode(out);
        1_u64.encode(out);
        B256::repeat_byte(1).encode(out);
        out.extend(list_of(|out| {
            [0x11_u8, 0x22, 0x33].as_slice().encode(out);
            0_u64.encode(out);
        }));
        status::encode_range(&range(), out);
    });
    let EthMessage::Status(status) = decode(69, id::STATUS, &data).unwrap() else {
        panic!("not a Status")
    };
    assert_eq!(status.fork_id.hash.0, [0, 0x11, 0x22, 0x33]);
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    for bad in [
        AnnouncedRange { earliest: 8, ..range() },
        AnnouncedRange { latest_hash: B256::ZERO, ..range() },
    ] {
        let data = EthMessage::BlockRangeUpdate(bad).encode(69);
        assert!(decode(69, id::BLOCK_RANGE_UPDATE, &data).is_err());
    }
}

fn range() -> AnnouncedRange {
    AnnouncedRange { earliest: 3, latest: 7, latest_hash: B256::repeat_byte(7) }
}

fn bodies() -> impl Strategy<Value = Body> {
    let transaction = prop_oneof![
        (0_u8..0x80, any::<Vec<u8>>())
            .prop_map(|(kind, rest)| Bytes::from([vec![kind], rest].concat())),
        any::<Vec<u8>>()
            .prop_map(|payload| list_of(|out| payload.as_slice().encode(out)).freeze().into()),
    ];
    let withdrawal = any::<[u64; 4]>().prop_map(|[index, validator_index, low, amount]| {
        alloy_eips::eip4895::Withdrawal {
            index,
            validator_index,
            address: Address::with_last_byte(low.to_be_bytes()[7]),
            amount,
        }
    });
    (
        prop::collection::vec(transaction, 0..4),
        prop::option::of(prop::collection::vec(withdrawal, 0..4)),
    )
        .prop_map(|(transactions, withdrawals)| Body {
            transactions,
            ommers: Body::NO_OMMERS,
            withdrawals,
        })
}

fn messages() -> impl Strategy<Value = EthMessage> {
    let hashes = || prop::collection::vec(any::<[u8; 32]>().prop_map(B256::from), 0..20);
    let headers = prop::collection::vec(
        any::<u64>().prop_map(|number| {
            let mut raw = Vec::new();
            Header { number, ..Header::default() }.encode(&mut raw);
            Bytes::from(raw)
        }),
        0..4,
    );
    let start = prop_oneof![
        any::<[u8; 32]>().prop_map(|hash| HashOrNumber::Hash(hash.into())),
        any::<u64>().prop_map(HashOrNumber::Number),
    ];
    let request = (start, any::<u64>(), any::<u64>(), any::<bool>())
        .prop_map(|(start, limit, skip, reverse)| HeadersRequest { start, limit, skip, reverse });
    prop_oneof![
        (any::<u64>(), request)
            .prop_map(|(request_id, request)| EthMessage::GetBlockHeaders { request_id, request }),
        (any::<u64>(), headers)
            .prop_map(|(request_id, headers)| EthMessage::BlockHeaders { request_id, headers }),
        (any::<u64>(), hashes())
            .prop_map(|(request_id, hashes)| EthMessage::GetBlockBodies { request_id, hashes }),
        (any::<u64>(), prop::collection::vec(bodies(), 0..4))
            .prop_map(|(request_id, bodies)| EthMessage::BlockBodies { request_id, bodies }),
        (any::<u64>(), any::<u64>(), hashes()).prop_map(|(request_id, first_receipt, hashes)| {
            EthMessage::GetReceipts { request_id, first_receipt, hashes }
        }),
        (any::<u64>(), any::<bool>(), prop::collection::vec(receipts::of_block(), 0..3)).prop_map(
            |(request_id, last_block_incomplete, blocks)| {
                EthMessage::Receipts { request_id, last_block_incomplete, blocks }
            }
        ),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    let chain = prop_oneof![
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(td, head)| StatusChain::Head {
            total_difficulty: U256::from(td),
            head: head.into(),
        }),
        (0_u64..10, 10_u64.., any::<[u8; 31]>()).prop_map(|(earliest, latest, hash)| {
            let latest_hash = B256::from_slice(&[&hash[..], &[1]].concat());
            StatusChain::Range(AnnouncedRange { earliest, latest, latest_hash })
        }),
    ];
    (any::<u64>(), any::<[u8; 32]>(), any::<[u8; 4]>(), any::<u64>(), chain).prop_map(
        |(network_id, genesis, hash, next, chain)| Status {
            version: if matches!(chain, StatusChain::Head { .. }) { 68 } else { 70 },
            network_id,
            genesis: genesis.into(),
            fork_id: alloy_eip2124::ForkId { hash: alloy_eip2124::ForkHash(hash), next },
            chain,
        },
    )
}

proptest! {
    #[test]
    fn messages_come_back(message in messages()) {
        for version in VERSIONS {
            let data: Bytes = message.encode(version).freeze().into();
            let back = EthMessage::decode(version, message.id(), data).unwrap();
            let expected = match &message {
                EthMessage::GetReceipts { request_id, hashes, .. } if version < 70 => {
                    EthMessage::GetReceipts { request_id: *request_id, first_receipt: 0, hashes: hashes.clone() }
                }
                EthMessage::Receipts { request_id, blocks, .. } if version < 70 => EthMessage::Receipts {
                    request_id: *request_id,
                    last_block_incomplete: false,
                    blocks: blocks.clone(),
                },
                other => other.clone(),
            };
            prop_assert_eq!(back, expected);
        }
    }

    #[test]
    fn statuses_come_back(status in statuses()) {
        let data = status.encode().freeze().into();
        let back = EthMessage::decode(status.version, id::STATUS, data).unwrap();
        prop_assert_eq!(back, EthMessage::Status(status));
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..400), id in 0_u8..0x14) {
        for version in VERSIONS {
            let _ = decode(version, id, &data);
        }
        let _ = seal_header(&data);
        let _ = crate::p2p::Hello::decode(bytes::Bytes::from(data.clone()));
        let _ = crate::p2p::decode_disconnect(bytes::Bytes::from(data.clone()));
        let _ = crate::snappy::decompress(&data, 1 << 20);
    }

    #[test]
    fn damaged_messages_never_panic(message in messages(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        for version in VERSIONS {
            let mut data = message.encode(version);
            let at = at.index(data.len());
            data[at] = to;
            let _ = decode(version, message.id(), &data);
        }
    }
}
