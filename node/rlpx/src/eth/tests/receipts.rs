//! Receipts in the three forms that they travel in.

use alloy_primitives::{Log, LogData};
use alloy_rlp::EMPTY_LIST_CODE;
use moorline_rules::{consensus_receipt, receipts_root};

use super::*;
use crate::rlp::put_list_of;

fn flat(kind: u8, status: &[u8], gas: u64, logs: &[Log]) -> Bytes {
    let flat = list_of(|out| {
        kind.encode(out);
        status.encode(out);
        gas.encode(out);
        put_list_of(out, |out| logs.iter().for_each(|log| log.encode(out)));
    });
    flat.freeze().into()
}

pub(super) fn of_block() -> impl Strategy<Value = Receipts> {
    let topics = prop::collection::vec(any::<[u8; 32]>().prop_map(B256::from), 0..=4);
    let log = (any::<[u8; 20]>(), topics, any::<Vec<u8>>()).prop_map(|(address, topics, data)| {
        Log { address: Address::from(address), data: LogData::new_unchecked(topics, data.into()) }
    });
    let status =
        prop_oneof![Just(vec![]), Just(vec![1]), any::<[u8; 32]>().prop_map(|root| root.to_vec()),];
    let receipt = (0_u8..0x80, status, any::<u64>(), prop::collection::vec(log, 0..3))
        .prop_map(|(kind, status, gas, logs)| flat(kind, &status, gas, &logs));
    prop::collection::vec(receipt, 0..4).prop_map(|items| Receipts { items })
}

fn message(blocks: Vec<Receipts>) -> EthMessage {
    EthMessage::Receipts { request_id: 1, last_block_incomplete: false, blocks }
}

fn root(block: &Receipts) -> B256 {
    let consensus = block.items.iter().map(|receipt| consensus_receipt(receipt).unwrap());
    receipts_root(&consensus.collect::<Vec<_>>())
}

/// What comes of a receipt, given by the RLP of its fields.
fn read(version: u8, receipt: &[u8]) -> Result<EthMessage, EthError> {
    let data = list_of(|out| {
        1_u64.encode(out);
        if version >= 70 {
            false.encode(out);
        }
        put_list_of(out, |out| put_list_of(out, |out| out.extend_from_slice(receipt)));
    });
    decode(version, id::RECEIPTS, &data)
}

/// The header and the receipts of a mainnet block.
fn mainnet_block(number: u64) -> Option<(Header, Receipts)> {
    let file = load_bytes(&format!("receipts/block-data-{number}.yaml"))?;
    let file = String::from_utf8(file).unwrap();
    let field = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        unhex(line.trim().trim_matches('"'))
    };
    let mut list = Items::of_message(field("receipts").into()).unwrap();
    let mut items = Vec::new();
    while !list.is_empty() {
        items.push(list.next_raw_list().unwrap().into());
    }
    let header = alloy_rlp::Decodable::decode(&mut &field("header")[..]).unwrap();
    Some((header, Receipts { items }))
}

#[test]
fn receipts_of_mainnet_come_back_in_every_version_and_keep_their_roots() {
    let blocks = [17_034_869, 17_034_870].map(mainnet_block);
    let [Some(first), Some(second)] = blocks else { return };
    let message = message(vec![first.1, second.1]);
    for version in VERSIONS {
        let data = message.encode(version);
        let back = decode(version, id::RECEIPTS, &data).unwrap();
        assert_eq!(back, message, "eth/{version}");
        let EthMessage::Receipts { blocks, .. } = back else { panic!("not receipts") };
        assert_eq!(
            blocks.iter().map(root).collect::<Vec<_>>(),
            [first.0.receipts_root, second.0.receipts_root]
        );
        // a bloom for each receipt
        let blooms = 256 * (blocks[0].items.len() + blocks[1].items.len());
        let flat: usize = blocks.iter().flat_map(|block| &block.items).map(|item| item.len()).sum();
        assert_eq!(data.len() > flat + blooms, version == 68, "eth/{version}");
    }
}

#[test]
fn flat_receipts_are_slices_of_the_message() {
    let log = Log::new_unchecked(Address::ZERO, vec![B256::ZERO], vec![7; 300].into());
    let block = Receipts { items: vec![flat(2, &[1], 21_000, &[log.clone(), log])] };
    let data = Bytes::from(message(vec![block.clone()]).encode(69).freeze());
    let span = data.as_ptr_range();
    let EthMessage::Receipts { blocks, .. } =
        EthMessage::decode(69, id::RECEIPTS, data.clone()).unwrap()
    else {
        panic!("not receipts")
    };
    assert_eq!(blocks, [block]);
    assert!(span.contains(&blocks[0].items[0].as_ptr()), "copied");
}

#[test]
fn lengths_for_the_budget_are_never_too_small_and_hardly_too_great() {
    let log = Log::new_unchecked(Address::ZERO, vec![B256::ZERO; 4], vec![7; 300].into());
    let items =
        (0..200).map(|count| flat(count % 5, &[1], 1 << 20, &vec![log.clone(); count.into()]));
    let block = Receipts { items: items.collect() };
    for version in VERSIONS {
        let mut out = BytesMut::new();
        receipt::encode_blocks(std::slice::from_ref(&block), version, &mut out);
        let length = receipts_length(&block, version);
        assert!(
            (out.len()..out.len() + out.len() / 50).contains(&length),
            "{length} {}",
            out.len()
        );
    }
}

#[derive(Clone)]
struct Fields {
    kind: Vec<u8>,
    status: Vec<u8>,
    gas: Vec<u8>,
    bloom: Vec<u8>,
    address: Vec<u8>,
    topics: Vec<u8>,
    data: Vec<u8>,
    more_of_log: Vec<u8>,
    more: Vec<u8>,
}

impl Fields {
    fn good() -> Self {
        Self {
            kind: vec![0x02],
            status: vec![0x01],
            gas: vec![0x82, 0x52, 0x08],
            bloom: encoded(&[0; 256]),
            address: encoded(&[9; 20]),
            topics: topics(2),
            data: encoded(&[8; 70]),
            more_of_log: vec![],
            more: vec![],
        }
    }

    fn logs(&self) -> BytesMut {
        list_of(|out| {
            put_list(
                &[&self.address[..], &self.topics, &self.data, &self.more_of_log].concat(),
                out,
            );
        })
    }

    fn flat(&self) -> BytesMut {
        let fields = [&self.kind[..], &self.status, &self.gas, &self.logs(), &self.more];
        list_of(|out| out.extend(fields.concat()))
    }

    fn enveloped(&self) -> BytesMut {
        let fields = [&self.status[..], &self.gas, &self.bloom, &self.logs(), &self.more];
        let payload = list_of(|out| out.extend(fields.concat()));
        let mut out = BytesMut::new();
        [&self.kind[..], &payload].concat().as_slice().encode(&mut out);
        out
    }
}

fn encoded(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

fn topics(count: usize) -> Vec<u8> {
    list_of(|out| put_many(count, out)).to_vec()
}

fn put_many(topics: usize, out: &mut BytesMut) {
    (0..topics).for_each(|_| B256::repeat_byte(3).encode(out));
}

#[test]
fn receipts_of_another_shape_go_no_further() {
    let good = Fields::good();
    assert!(read(69, &good.flat()).is_ok() && read(68, &good.enveloped()).is_ok());
    let bad: [(&str, Fields); 17] = [
        ("type", Fields { kind: vec![0x81, 0x80], ..good.clone() }),
        ("type of two bytes", Fields { kind: vec![0x82, 1, 1], ..good.clone() }),
        ("status of two", Fields { status: vec![0x02], ..good.clone() }),
        ("status of zero", Fields { status: vec![0x00], ..good.clone() }),
        ("root of 31 bytes", Fields { status: encoded(&[7; 31]), ..good.clone() }),
        ("root of 33 bytes", Fields { status: encoded(&[7; 33]), ..good.clone() }),
        ("status that is a list", Fields { status: vec![EMPTY_LIST_CODE], ..good.clone() }),
        ("gas with a leading zero", Fields { gas: vec![0x82, 0, 9], ..good.clone() }),
        ("gas of nine bytes", Fields { gas: encoded(&[9; 9]), ..good.clone() }),
        ("address of 19 bytes", Fields { address: encoded(&[9; 19]), ..good.clone() }),
        ("five topics", Fields { topics: topics(5), ..good.clone() }),
        (
            "topic of 31 bytes",
            Fields {
                topics: list_of(|out| out.extend(encoded(&[3; 31]))).to_vec(),
                ..good.clone()
            },
        ),
        ("topics that are no list", Fields { topics: encoded(&[3; 32]), ..good.clone() }),
        ("data that is a list", Fields { data: vec![EMPTY_LIST_CODE], ..good.clone() }),
        ("data longer than it need be", Fields { data: vec![0x81, 0x05], ..good.clone() }),
        ("a fourth field of a log", Fields { more_of_log: vec![1], ..good.clone() }),
        ("a fifth field", Fields { more: vec![1], ..good.clone() }),
    ];
    for (what, fields) in bad {
        assert!(read(69, &fields.flat()).is_err(), "{what}");
        assert!(read(70, &fields.flat()).is_err(), "{what}");
        assert!(read(68, &fields.enveloped()).is_err(), "{what} in eth/68");
    }
    assert!(read(69, &good.enveloped()).is_err());
    assert!(read(68, &good.flat()).is_err());
    assert!(
        read(68, &Fields { kind: vec![0], ..good.clone() }.enveloped()).is_err(),
        "legacy as typed"
    );
    for length in [0, 255, 257] {
        let bloom = encoded(&vec![0; length]);
        assert!(read(68, &Fields { bloom, ..good.clone() }.enveloped()).is_err(), "{length}");
    }
}

#[test]
fn a_message_brings_no_more_receipts_and_logs_than_it_may() {
    let refused = |items: &'static str, blocks: BytesMut| {
        let data = list_of(|out| {
            1_u64.encode(out);
            out.extend(blocks);
        });
        let error = decode(69, id::RECEIPTS, &data).unwrap_err();
        assert!(
            matches!(error, EthError::Message { error: RlpError::TooMany { items: found, .. }, .. } if found == items),
            "{error}"
        );
    };
    let twice = |half: &[u8]| list_of(|out| out.extend([half, half].concat()));
    let tiny = flat(0, &[], 0, &[]);
    let half = list_of(|out| out.extend(tiny.repeat(MAX_RECEIPTS_PER_MESSAGE / 2 + 1)));
    refused("receipts", twice(&half));
    let log = list_of(|out| {
        Address::ZERO.encode(out);
        put_list(&[], out);
        out.extend([0x80]);
    });
    let logs = log.repeat(MAX_LOGS_PER_MESSAGE / 2 + 1);
    let half = list_of(|out| {
        put_list_of(out, |out| {
            out.extend([0x80, 0x01, 0x80]);
            put_list(&logs, out);
        });
    });
    refused("logs", twice(&half));
}

#[test]
fn a_bloom_that_does_not_follow_from_the_logs_is_read_and_forgotten() {
    // the vector's bloom and logs were made up independently of one another
    let Some(vector) = load::<BesuVector>("besu/eth66-messages/ReceiptsPacket66.json") else {
        return;
    };
    let data = unhex(&vector.rlp);
    let read = decode(68, id::RECEIPTS, &data).unwrap();
    let sent = read.encode(68);
    assert_eq!(sent.len(), data.len());
    assert_ne!(hex::encode(&sent), hex::encode(&data));
    assert_eq!(decode(68, id::RECEIPTS, &sent).unwrap(), read, "it has its own bloom again");
}

proptest! {
    /// Whoever proves receipts finds in them what was checked here. Of a bloom that is the length.
    #[test]
    fn what_is_read_can_be_proved_and_is_sent_as_it_came(
        blocks in prop::collection::vec(of_block(), 0..3),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let message = message(blocks);
        for version in VERSIONS {
            let mut data = message.encode(version);
            let at = at.index(data.len());
            data[at] = to;
            let Ok(back) = decode(version, id::RECEIPTS, &data) else { continue };
            let sent = back.encode(version);
            prop_assert_eq!(sent.len(), data.len());
            prop_assert!(version == 68 || sent == data);
            prop_assert_eq!(&decode(version, id::RECEIPTS, &sent).unwrap(), &back);
            let EthMessage::Receipts { blocks, .. } = back else { panic!("not receipts") };
            for receipt in blocks.iter().flat_map(|block| &block.items) {
                prop_assert!(consensus_receipt(receipt).is_ok());
            }
        }
    }
}
