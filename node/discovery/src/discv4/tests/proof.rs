//! Who proved where it is gets answers, and nobody else does.

use std::time::Duration;

use super::{Packet, Rig, Stranger, addr, record_of, wire};
use crate::{DropReason, discv4::contacts::PROOF_TIME, record::SignedRecord};

#[test]
fn a_ping_is_answered_and_returned() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    let hash = anna.ping(&mut rig);
    let told = anna.told(&mut rig);
    let [Packet::Pong { ping_hash, to, record_seq, .. }, Packet::Ping { .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*ping_hash, to.ip, to.udp), (hash, Some(anna.addr.ip()), 1111));
    assert_eq!(*record_seq, Some(1));
}

#[test]
fn nodes_and_record_are_told_after_the_proof_and_not_before() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.find_node(&mut rig);
    anna.ask_record(&mut rig);
    assert!(anna.told(&mut rig).is_empty());
    assert_eq!(rig.dropped(DropReason::Unproven), 2);
    anna.bond(&mut rig);
    anna.find_node(&mut rig);
    assert!(
        matches!(&anna.told(&mut rig)[..], [Packet::Neighbors { nodes, .. }] if nodes.is_empty())
    );
    let asked = anna.ask_record(&mut rig);
    let told = anna.told(&mut rig);
    let [Packet::RecordResponse { request_hash, record }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*request_hash, asked);
    assert_eq!(SignedRecord::decode(record).unwrap().id(), super::key(0).id());
}

#[test]
fn a_proof_is_for_one_address_and_port() {
    let (mut rig, mut anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    for elsewhere in ["1.1.1.1:1112", "1.1.1.2:1111"] {
        anna.addr = addr(elsewhere);
        anna.find_node(&mut rig);
        anna.ask_record(&mut rig);
        assert!(anna.told(&mut rig).is_empty(), "{elsewhere}");
    }
    assert_eq!(rig.dropped(DropReason::Unproven), 4);
}

#[test]
fn a_proof_wears_off() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    let end = rig.now.at + PROOF_TIME;
    rig.set_clock(end);
    anna.find_node(&mut rig);
    assert_eq!(rig.dropped(DropReason::Unproven), 1);
}

#[test]
fn a_pong_proves_only_with_the_hash_of_our_ping_from_where_we_sent_it() {
    let (mut rig, mut anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.ping(&mut rig);
    let ping = rig.take_sent_to(anna.addr).pop().unwrap().hash;
    anna.pong(&mut rig, alloy_primitives::B256::ZERO);
    anna.addr = addr("1.1.1.2:1111");
    anna.pong(&mut rig, ping);
    anna.addr = addr("1.1.1.1:1111");
    assert_eq!(rig.dropped(DropReason::Unsolicited), 2);
    anna.find_node(&mut rig);
    assert_eq!(rig.dropped(DropReason::Unproven), 1);
    anna.pong(&mut rig, ping);
    anna.find_node(&mut rig);
    assert!(matches!(anna.told(&mut rig)[..], [Packet::Neighbors { .. }]));
}

#[test]
fn a_pong_after_its_time_proves_nothing() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.ping(&mut rig);
    let ping = rig.take_sent_to(anna.addr).pop().unwrap().hash;
    rig.pass(Duration::from_secs(1));
    anna.pong(&mut rig, ping);
    assert_eq!(rig.dropped(DropReason::Unsolicited), 1);
    assert_eq!(rig.core.table_nodes(), 0);
}

#[test]
fn nothing_expired_is_answered() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.bond(&mut rig);
    // in Go the second is a time before 1970
    for expiration in [rig.now.unix_s - 1, u64::MAX - 5] {
        anna.send(&mut rig, &Packet::RecordRequest { expiration });
    }
    assert!(anna.told(&mut rig).is_empty());
    assert_eq!(rig.dropped(DropReason::Expired), 2);
}

#[test]
fn a_record_is_asked_for_after_a_pause_and_counts_where_its_node_answers() {
    let (mut rig, mut anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    // the record names somebody else's address
    anna.record = record_of(&anna.key, addr("9.9.9.9:9"), 1);
    anna.bond(&mut rig);
    assert!(anna.told(&mut rig).is_empty(), "the other side needs a moment for its own proof");
    rig.pass(Duration::from_secs(1));
    let request = asked_record(&anna, &mut rig);
    let record = anna.record.rlp();
    anna.send(&mut rig, &Packet::RecordResponse { request_hash: request, record });
    let [(record, ip)] = &rig.found[..] else { panic!("{:?}", rig.found) };
    assert_eq!((record.id(), *ip), (anna.key.id(), anna.addr.ip()));
}

#[test]
fn a_record_of_another_node_or_for_another_request_is_none() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    let bert = Stranger::new(2, "2.2.2.2:2222");
    anna.bond(&mut rig);
    rig.pass(Duration::from_secs(1));
    let request_hash = asked_record(&anna, &mut rig);
    let record = anna.record.rlp();
    let other = alloy_primitives::B256::ZERO;
    anna.send(&mut rig, &Packet::RecordResponse { request_hash: other, record });
    assert_eq!(rig.dropped(DropReason::Unsolicited), 1);
    let record = bert.record.rlp();
    anna.send(&mut rig, &Packet::RecordResponse { request_hash, record });
    assert_eq!(rig.dropped(DropReason::Record), 1);
    let mut record = anna.record.rlp();
    *record.last_mut().unwrap() ^= 1;
    rig.pass(Duration::from_millis(10_100));
    let request_hash = asked_record(&anna, &mut rig);
    anna.send(&mut rig, &Packet::RecordResponse { request_hash, record });
    assert_eq!(rig.dropped(DropReason::Record), 2);
    assert!(rig.found.is_empty());
}

#[test]
fn a_newer_record_is_fetched_and_an_older_one_is_no_news() {
    let (mut rig, mut anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    anna.record = record_of(&anna.key, anna.addr, 5);
    for (seq, found) in [(5, 1), (6, 2), (4, 2)] {
        anna.record = record_of(&anna.key, anna.addr, seq.max(5));
        // known by the second time, so the request follows at once
        anna.ping(&mut rig);
        if seq == 5 {
            anna.answer_pings(&mut rig);
            rig.pass(Duration::from_millis(600));
        }
        if seq == 4 {
            assert!(anna.told(&mut rig).iter().all(|told| !is_record_request(told)));
            continue;
        }
        let request_hash = asked_record(&anna, &mut rig);
        let record = anna.record.rlp();
        anna.send(&mut rig, &Packet::RecordResponse { request_hash, record });
        assert_eq!(rig.found.len(), found);
    }
}

fn is_record_request(packet: &Packet) -> bool {
    matches!(packet, Packet::RecordRequest { .. })
}

fn asked_record(of: &Stranger, rig: &mut Rig) -> alloy_primitives::B256 {
    let sent = rig.take_sent_to(of.addr);
    let request = sent.iter().find(|sent| is_record_request(&sent.packet));
    request.unwrap_or_else(|| panic!("no request among {sent:?}")).hash
}

#[test]
fn our_record_is_the_newest_one() {
    let (mut rig, anna) = (Rig::new(), Stranger::new(1, "1.1.1.1:1111"));
    let record = record_of(&super::key(0), addr("5.5.5.5:30303"), 2);
    rig.step(super::Input::Record(&record));
    anna.bond(&mut rig);
    anna.ping(&mut rig);
    let told = anna.told(&mut rig);
    assert!(matches!(told[..], [Packet::Pong { record_seq: Some(2), .. }]), "{told:?}");
    let hash = anna.ask_record(&mut rig);
    let want = Packet::RecordResponse { request_hash: hash, record: record.rlp() };
    assert!(anna.told(&mut rig).contains(&want));
    assert!(wire::encode(&anna.key, &want).0.len() < 1_280);
}
