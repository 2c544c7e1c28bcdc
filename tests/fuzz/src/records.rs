//! Node records (EIP-778), and nodes as operators write them.

use std::str;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use moorline_discovery::{
    Bootnode,
    fuzzing::{read_eth_entry, read_record, read_record_text},
};
use moorline_messages::NodeRecord;

use crate::{Target, discv4::nodes, script::Script};

/// Records as RLP and as text, and the entry of theirs that we read ourselves.
pub(crate) const RECORDS: Target =
    Target { name: "records", max_len: 420, read: records, seeds: record_seeds };

/// `enode://` and `enr:` texts.
pub(crate) const BOOTNODES: Target =
    Target { name: "bootnodes", max_len: 420, read: bootnodes, seeds: bootnode_seeds };

fn records(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    match script.below(5) {
        0 => read_record(script.rest()),
        1 => str::from_utf8(script.rest()).is_ok_and(read_record_text),
        2 => read_record_text(&format!("enr:{}", BASE64_URL_SAFE_NO_PAD.encode(script.rest()))),
        3 => read_eth_entry(script.rest()).is_some(),
        _ => read_record(&signed(&mut script)),
    }
}

/// A record that is signed whatever it says: identity scheme and key are right, and what stands before,
/// between and after them is the script's.
fn signed(script: &mut Script<'_>) -> Vec<u8> {
    let node = &nodes()[0];
    let encode = |text: &[u8]| alloy_rlp::encode(text);
    let [before, between] = [(); 2].map(|()| {
        let count = script.below(64);
        script.bytes(count)
    });
    let scheme = [encode(b"id"), encode(b"v4")].concat();
    let key = [encode(b"secp256k1"), encode(&node.compressed_key())].concat();
    node.sign_record(&[before, &scheme, between, &key, script.rest()].concat())
}

fn record_seeds() -> Vec<Vec<u8>> {
    let [node, ..] = nodes();
    let with = |first: u8, rest: &[u8]| [&[first], rest].concat();
    let fork_id = [0xc7, 0xc6, 0x84, 1, 2, 3, 4, 0x80];
    vec![
        with(0, &node.record_rlp()),
        with(1, node.record_text().as_bytes()),
        with(2, &node.record_rlp()),
        with(3, &fork_id),
        // a number, an entry that is a list, an address and its port
        with(4, b"\x0a\x01\x83eth\xc7\xc6\x84\x01\x02\x03\x04\x80"),
        with(4, b"\x01\x01\x08\x82ip\x84\x01\x02\x03\x04\x83tcp\x82\x76\x5f"),
    ]
}

fn bootnodes(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let is_enode = text.parse::<NodeRecord>().is_ok_and(|node| {
        assert_eq!(node.to_string().parse(), Ok(node));
        true
    });
    text.parse::<Bootnode>().is_ok_and(|node| {
        assert!(is_enode || text.trim().starts_with("enr:"), "{:?}", node.id());
        true
    })
}

fn bootnode_seeds() -> Vec<Vec<u8>> {
    let [node, ..] = nodes();
    let enode = NodeRecord { id: node.id(), addr: node.addr() }.to_string();
    let on_ipv6 = NodeRecord { id: node.id(), addr: "[2001:db8::1]:30303".parse().unwrap() };
    let texts = [
        node.record_text(),
        format!("{enode}?discport=7"),
        on_ipv6.to_string(),
        format!(" {enode}\n"),
    ];
    texts.map(String::into_bytes).to_vec()
}
