//! The table and who has a place in it.

use std::time::{Duration, Instant};

use alloy_primitives::keccak256;

use super::{Packet, Rig, Stranger, addr, key};
use crate::{
    discv4::table::{
        BUCKET_NODES, Node, SPARES_PER_BUCKET, SUBNET_NODES_PER_BUCKET, SUBNET_NODES_PER_TABLE,
        Table,
    },
    key::place_of,
};

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn node(number: u32, at: &str) -> Node {
    Node::new(key(number).id(), addr(at), 1, start())
}

#[test]
fn the_nearest_come_first() {
    let mut table = Table::new(&key(0).id());
    for number in 1..60 {
        table.answered(node(number, &format!("1.{number}.1.1:1")));
    }
    let place = keccak256(b"somewhere");
    let away = |node: &Node| place_of(&node.id) ^ place;
    let closest = table.closest(place, 16);
    assert_eq!(closest.len(), 16);
    assert!(closest.is_sorted_by_key(away));
    let farthest = closest.iter().map(away).max().unwrap();
    let nearer = table.nodes().filter(|node| away(node) <= farthest).count();
    assert_eq!(nearer, 16);
}

#[test]
fn a_neighbourhood_gets_two_places_in_a_bucket_and_ten_in_all() {
    let mut table = Table::new(&key(0).id());
    for number in 1..2_000 {
        table.answered(node(number, &format!("1.1.1.{}:1", number % 250)));
    }
    assert!(table.len() <= SUBNET_NODES_PER_TABLE);
    assert!(table.len() > 2 * SUBNET_NODES_PER_BUCKET);
    let before = table.len();
    table.answered(node(5_000, "2.2.2.2:1"));
    assert_eq!(table.len(), before + 1);
}

#[test]
fn on_a_local_network_all_have_places() {
    let mut table = Table::new(&key(0).id());
    for number in 1..15 {
        table.answered(node(number, "127.0.0.1:1"));
    }
    assert_eq!(table.len(), 14);
}

#[test]
fn a_full_bucket_keeps_its_nodes_and_a_few_spares() {
    let mut table = Table::new(&key(0).id());
    for number in 1..200 {
        table.answered(node(number, &format!("1.{number}.1.1:1")));
    }
    // half of all ids lie in the farthest bucket
    let far = |node: &&Node| place_of(&node.id)[0] ^ place_of(&key(0).id())[0] >= 0x80;
    let before: Vec<_> = table.nodes().filter(far).map(|node| node.id).collect();
    assert_eq!(before.len(), BUCKET_NODES);
    table.missed(&before[0]);
    assert!(table.nodes().any(|node| node.id == before[0]), "one lost ping is no reason");
    for gone in &before {
        table.missed(gone);
        table.missed(gone);
    }
    let after: Vec<_> = table.nodes().filter(far).map(|node| node.id).collect();
    assert_eq!(after.len(), SPARES_PER_BUCKET);
    assert!(after.iter().all(|id| !before.contains(id)));
}

#[test]
fn we_have_no_place_in_our_own_table() {
    let mut table = Table::new(&key(0).id());
    table.answered(node(0, "1.1.1.1:1"));
    assert_eq!(table.len(), 0);
}

#[test]
fn a_node_that_falls_silent_leaves() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    assert_eq!(rig.core.table_ids(), [anna.key.id()]);
    let mut pings = 0;
    for _ in 0..240 {
        rig.pass(Duration::from_millis(500));
        pings += anna.answer_pings(&mut rig);
    }
    assert_eq!(rig.core.table_ids(), [anna.key.id()]);
    assert!((2..=6).contains(&pings), "{pings}");
    rig.pass(Duration::from_secs(60));
    assert!(rig.core.table_ids().is_empty());
}

#[test]
fn nobody_outside_is_told_of_local_nodes() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    let (bert, carl) = (Stranger::new(2, "192.168.1.2:2222"), Stranger::new(3, "3.3.3.3:3333"));
    for node in [&anna, &bert, &carl] {
        node.bond(&mut rig);
    }
    let mut told_to = |node: &Stranger| {
        node.find_node(&mut rig);
        let told = node.told(&mut rig);
        let [Packet::Neighbors { nodes, .. }] = &told[..] else { panic!("{told:?}") };
        nodes.iter().map(|node| node.id).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(told_to(&anna), [carl.key.id()].into());
    assert_eq!(told_to(&bert), [anna.key.id(), carl.key.id()].into());
}
