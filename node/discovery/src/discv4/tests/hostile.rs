//! What attackers try.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use alloy_primitives::{B256, B512, keccak256};
use moorline_messages::PeerId;
use proptest::prelude::*;

use super::{Endpoint, Packet, Rig, Stranger, addr, key};
use crate::{
    DropReason,
    discv4::{
        contacts::{CONTACTS_MAX, CONTACTS_PER_SENDER_MAX},
        lookup::LOOKUP_PARALLEL,
        pending::{AWAITED_FROM_STRANGERS_MAX, AWAITED_MAX},
        wire::{NEIGHBORS_MAX, Neighbor},
    },
};

#[test]
fn many_pings_bring_back_one_ping() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    for _ in 0..50 {
        anna.ping(&mut rig);
    }
    let told = anna.told(&mut rig);
    let pings = told.iter().filter(|told| matches!(told, Packet::Ping { .. })).count();
    assert_eq!((told.len(), pings), (51, 1));
}

#[test]
fn a_flood_from_one_address_is_cut() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    for _ in 0..1_000 {
        anna.ping(&mut rig);
    }
    assert_eq!(rig.dropped(DropReason::Rate), 900);
    assert_eq!(anna.told(&mut rig).len(), 101);
    let bert = Stranger::new(2, "2.2.2.2:2222");
    bert.ping(&mut rig);
    assert_eq!(bert.told(&mut rig).len(), 2);
}

#[test]
fn forged_strangers_leave_our_own_questions_room() {
    let bert = Stranger::new(2, "2.2.2.2:2222");
    let mut rig = Rig::with_seeds(vec![bert.seed()]);
    for number in 0..900_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        Stranger::new(1_000 + number, &format!("3.3.{high}.{low}:3333")).ping(&mut rig);
    }
    // all but the first, which arrived together with the ping of the lookup
    assert!(rig.core.pending.len() <= AWAITED_FROM_STRANGERS_MAX + 1);
    assert_eq!(rig.dropped(DropReason::Busy), 900 - AWAITED_FROM_STRANGERS_MAX as u64);
    assert_eq!(bert.answer_pings(&mut rig), 1);
    assert!(rig.core.table_ids().contains(&bert.key.id()));
}

#[test]
fn one_address_proves_a_few_ids_and_displaces_only_its_own() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    for number in 0..40 {
        Stranger::new(100 + number, "2.2.2.2:2222").bond(&mut rig);
    }
    assert_eq!(rig.core.contacts.len(), 1 + CONTACTS_PER_SENDER_MAX);
    anna.find_node(&mut rig);
    assert!(matches!(anna.told(&mut rig)[..], [Packet::Neighbors { .. }]));
}

#[test]
fn neighbours_nobody_asked_for_are_not_taken() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    let victim = Stranger::new(9, "9.9.9.9:9999");
    tell(&anna, &mut rig, vec![neighbor(&victim)]);
    assert_eq!(rig.dropped(DropReason::Unsolicited), 1);
    rig.pass(Duration::from_secs(60));
    assert!(rig.take_sent_to(victim.addr).is_empty());
}

#[test]
fn neighbours_that_cannot_be_are_not_pinged() {
    let anna = Stranger::new(1, "1.1.1.1:1111");
    let mut rig = Rig::with_seeds(vec![anna.seed()]);
    ask_for_nodes(&anna, &mut rig);
    let good = Stranger::new(2, "2.2.2.2:2222");
    let at = |text| Endpoint::of(addr(text), 1);
    let with = |id, endpoint| Neighbor { id, endpoint };
    let nodes = vec![
        neighbor(&good),
        with(PeerId(B512::repeat_byte(1)), at("3.3.3.3:3333")),
        with(key(3).id(), at("3.3.3.3:53")),
        with(key(4).id(), at("127.0.0.1:4444")),
        with(key(5).id(), at("192.168.1.1:5555")),
        with(key(6).id(), at("224.0.0.1:6666")),
        with(key(7).id(), at("[2001:db8::1]:7777")),
        with(key(8).id(), Endpoint { ip: None, udp: 8888, tcp: 1 }),
        with(key(0).id(), at("8.8.8.8:8888")),
    ];
    tell(&anna, &mut rig, nodes);
    rig.pass(Duration::from_secs(2));
    let to: Vec<SocketAddr> =
        rig.sent.iter().map(|(to, _)| *to).filter(|to| *to != anna.addr).collect();
    assert_eq!(to, [good.addr]);
}

/// Lets the lookup that starts at once get as far as asking the stranger.
fn ask_for_nodes(of: &Stranger, rig: &mut Rig) {
    rig.pass(Duration::ZERO);
    assert_eq!(of.answer_pings(rig), 1);
    rig.pass(Duration::from_millis(600));
    let told = of.told(rig);
    assert!(told.iter().any(|told| matches!(told, Packet::FindNode { .. })), "{told:?}");
}

fn neighbor(node: &Stranger) -> Neighbor {
    Neighbor { id: node.key.id(), endpoint: Endpoint::of(node.addr, node.addr.port()) }
}

fn tell(from: &Stranger, rig: &mut Rig, nodes: Vec<Neighbor>) {
    let expiration = rig.expiration();
    from.send(rig, &Packet::Neighbors { nodes, expiration });
}

#[test]
fn an_answer_without_end_is_cut_at_sixteen_nodes() {
    let anna = Stranger::new(1, "1.1.1.1:1111");
    let mut rig = Rig::with_seeds(vec![anna.seed()]);
    ask_for_nodes(&anna, &mut rig);
    for part in 0..4_u32 {
        let one =
            |number| Stranger::new(100 + part * 20 + number, &format!("4.{part}.{number}.1:4444"));
        tell(&anna, &mut rig, (1..=12).map(one).map(|node| neighbor(&node)).collect());
    }
    assert_eq!(rig.dropped(DropReason::Unsolicited), 2);
    assert!(rig.sent.len() <= LOOKUP_PARALLEL);
    rig.pass(Duration::from_secs(30));
    let asked: BTreeSet<_> = rig.sent.iter().map(|(to, _)| *to).collect();
    assert!(asked.len() <= NEIGHBORS_MAX + 1);
    // twelve of the first packet and four of the second
    let beyond = (5..=12).map(|number| addr(&format!("4.1.{number}.1:4444")));
    assert!(beyond.into_iter().all(|beyond| !asked.contains(&beyond)), "{asked:?}");
}

#[test]
fn odd_addresses_and_our_own_packets_are_ignored() {
    let mut rig = Rig::new();
    let (mut anna, us) = (Stranger::new(1, "1.1.1.1:1111"), Stranger::new(0, "1.1.1.1:1111"));
    us.ping(&mut rig);
    for at in ["224.0.0.1:1", "0.0.0.0:1", "1.1.1.1:0"] {
        anna.addr = addr(at);
        anna.ping(&mut rig);
    }
    assert_eq!(rig.dropped(DropReason::Address), 4);
    assert!(rig.sent.is_empty());
}

/// A datagram with right hash and signature around any content.
fn signed(content: &[u8]) -> Vec<u8> {
    let mut signed = key(1).sign(keccak256(content)).to_vec();
    signed.extend_from_slice(content);
    [keccak256(&signed).as_slice(), &signed].concat()
}

proptest! {
    #[test]
    fn any_bytes_are_dropped(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        let mut rig = Rig::new();
        rig.receive(addr("1.1.1.1:1111"), &bytes);
        prop_assert!(rig.sent.is_empty());
        prop_assert_eq!(rig.core.drops().all().values().sum::<u64>(), 1);
    }

    #[test]
    fn any_signed_content_is_survived(
        kind in 0_u8..8,
        content in prop::collection::vec(any::<u8>(), 0..600),
        as_list in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let mut typed = vec![kind];
        if as_list {
            alloy_rlp::Header { list: true, payload_length: content.len() }.encode(&mut typed);
        }
        typed.extend_from_slice(&content);
        rig.receive(addr("1.1.1.1:1111"), &signed(&typed));
        prop_assert!(rig.sent.len() <= 2);
    }

    #[test]
    fn any_course_of_events_stays_within_bounds(
        steps in prop::collection::vec((0_u32..30, 0_u8..7, 0_u64..900), 1..120),
    ) {
        let mut rig = Rig::with_seeds(vec![Stranger::new(1, "1.1.1.1:1111").seed()]);
        for (number, action, wait_ms) in steps {
            let node = Stranger::new(1 + number, &format!("1.1.{}.1:1111", 1 + number));
            match action {
                0 => drop(node.ping(&mut rig)),
                1 => drop(node.answer_pings(&mut rig)),
                2 => node.find_node(&mut rig),
                3 => drop(node.ask_record(&mut rig)),
                4 => tell(&node, &mut rig, vec![neighbor(&Stranger::new(number + 2, "7.7.7.7:7777"))]),
                5 => node.pong(&mut rig, B256::repeat_byte(number as u8)),
                _ => rig.pass(Duration::from_millis(wait_ms)),
            }
            prop_assert!(rig.core.pending.len() <= AWAITED_MAX + AWAITED_FROM_STRANGERS_MAX);
            prop_assert!(rig.core.contacts.len() <= CONTACTS_MAX);
            // nobody has proved its address here but who answered a ping
            prop_assert!(rig.core.table_nodes() <= rig.core.contacts.len());
        }
    }
}
