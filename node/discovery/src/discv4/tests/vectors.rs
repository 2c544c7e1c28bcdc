//! Packets that others encoded, and ours read back.

use alloy_primitives::{B256, B512};
use moorline_messages::PeerId;

use super::{Endpoint, Packet, addr, key, wire};
use crate::{
    DropReason,
    discv4::wire::{NEIGHBORS_PER_PACKET, Neighbor, PACKET_BYTES_MAX},
    key::NodeKey,
    tests::{load, unhex, unhex_array},
};

/// Seconds that all packets of the vectors carry.
const EXPIRATION: u64 = 1_136_239_445;

#[test]
fn packets_with_extra_data_are_read_as_geth_reads_them() {
    let Some(vectors) = load::<serde_json::Value>("vectors/discv4_eip8.json") else { return };
    let sender = unhex_array(vectors["sender_private_key"].as_str().unwrap());
    let sender = NodeKey::new(&sender).unwrap().id();
    let packets = vectors["packets"].as_array().unwrap();
    assert_eq!(packets.len(), 4);
    let decoded: Vec<_> = packets
        .iter()
        .map(|packet| wire::decode(&unhex(packet["input"].as_str().unwrap())).unwrap())
        .inspect(|received| assert_eq!(received.sender, sender))
        .map(|received| received.packet)
        .collect();
    let from = Endpoint::of(addr("127.0.0.1:3322"), 5544);
    let to = Endpoint::of(addr("[::1]:2222"), 3333);
    let ping = |record_seq| Packet::Ping { from, to, expiration: EXPIRATION, record_seq };
    assert_eq!(decoded[0], ping(None));
    assert_eq!(decoded[1], ping(Some(1)));
    let target = "ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be00812904767bf5ccd1fc7f";
    let target = B512::from(unhex_array::<64>(target));
    assert_eq!(decoded[2], Packet::FindNode { target, expiration: EXPIRATION });
    let Packet::Neighbors { nodes, expiration: EXPIRATION } = &decoded[3] else { panic!() };
    let told: Vec<_> = nodes.iter().map(|node| (node.id.to_string(), node.endpoint)).collect();
    let want = [
        ("3155e142", addr("99.33.22.55:4444"), 4445),
        ("312c5551", addr("1.2.3.4:1"), 1),
        ("38643200", addr("[2001:db8:3c4d:15::abcd:ef12]:3333"), 3333),
        ("8dcab861", addr("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:999"), 1000),
    ];
    assert_eq!(told.len(), want.len());
    for ((id, endpoint), (start, addr, tcp)) in told.iter().zip(want) {
        assert!(id.trim_start_matches("0x").starts_with(start), "{id}");
        assert_eq!(*endpoint, Endpoint::of(addr, tcp));
    }
}

#[test]
fn what_is_encoded_is_read_back() {
    let from = Endpoint::of(addr("1.2.3.4:30303"), 30304);
    let to = Endpoint::of(addr("[2001:db8::1]:1"), 0);
    let expiration = 12;
    let node = Neighbor { id: key(9).id(), endpoint: from };
    let record = super::record_of(&key(1), addr("1.2.3.4:5"), 9).rlp();
    let packets = [
        Packet::Ping { from, to, expiration, record_seq: Some(7) },
        Packet::Ping { from, to, expiration, record_seq: None },
        Packet::Pong { to, ping_hash: B256::repeat_byte(4), expiration, record_seq: Some(7) },
        Packet::FindNode { target: B512::repeat_byte(1), expiration },
        Packet::Neighbors { nodes: vec![node, node], expiration },
        Packet::Neighbors { nodes: Vec::new(), expiration },
        Packet::RecordRequest { expiration },
        Packet::RecordResponse { request_hash: B256::repeat_byte(4), record },
    ];
    for packet in packets {
        let (bytes, hash) = wire::encode(&key(1), &packet);
        let received = wire::decode(&bytes).unwrap();
        assert_eq!((received.sender, received.hash, received.packet), (key(1).id(), hash, packet));
    }
}

#[test]
fn a_full_answer_fits_into_a_datagram() {
    let id = PeerId(B512::repeat_byte(0xff));
    let endpoint = Endpoint::of(addr("[2001:db8::ffff]:65535"), 65_535);
    let nodes = vec![Neighbor { id, endpoint }; NEIGHBORS_PER_PACKET];
    let packet = Packet::Neighbors { nodes, expiration: u64::MAX };
    assert!(wire::encode(&key(1), &packet).0.len() <= PACKET_BYTES_MAX);
}

#[test]
fn damage_is_seen_wherever_it_is() {
    let packet = Packet::RecordRequest { expiration: 12 };
    let (bytes, _) = wire::encode(&key(1), &packet);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(wire::decode(&damaged), Err(DropReason::Foreign), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(wire::decode(&bytes[..length]).is_err());
    }
    assert_eq!(wire::decode(&[0; PACKET_BYTES_MAX + 1]), Err(DropReason::Size));
}
