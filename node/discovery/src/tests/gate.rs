use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use alloy_eip2124::{ForkId, Head};
use moorline_rules::ChainSpec;
use tokio::sync::{mpsc, watch};

use crate::{
    Bounds, Candidate, Refusal, Via,
    counters::SharedCounters,
    gate::{Gate, REMEMBERED_MAX, SUBNET_CANDIDATES_MAX},
    key::NodeKey,
    record::{LocalRecord, SignedRecord},
};

/// Addresses that no stranger may point at.
const INSIDE: [&str; 5] = ["10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1"];

/// A gate of a node on mainnet after Prague.
struct Rig {
    gate: Gate,
    candidates: mpsc::Receiver<Candidate>,
    counters: SharedCounters,
    now: Instant,
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        Self::at(None, bounds)
    }

    fn at(own_ip: Option<&str>, bounds: Bounds) -> Self {
        let own_ip = own_ip.map(|ip| ip.parse().unwrap());
        let counters = SharedCounters::default();
        let now = tokio::time::Instant::now().into_std();
        let (_, forks) = watch::channel(ChainSpec::mainnet().fork_filter(head()));
        let us = key(0).id();
        let (gate, candidates) = Gate::new(forks, us, own_ip, bounds, counters.clone(), now);
        Self { gate, candidates, counters, now }
    }

    fn offer(&mut self, record: &SignedRecord) {
        self.gate.offer(record, None, Via::Discv5, self.now);
    }

    fn handed_on(&mut self) -> Vec<Candidate> {
        std::iter::from_fn(|| self.candidates.try_recv().ok()).collect()
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.counters.lock().refused.get(&refusal).copied().unwrap_or_default()
    }
}

fn head() -> Head {
    Head { number: 22_500_000, timestamp: 1_747_000_000, ..Head::default() }
}

fn our_fork() -> ForkId {
    ChainSpec::mainnet().fork_filter(head()).current()
}

fn key(number: u32) -> NodeKey {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    NodeKey::new(&secret).unwrap()
}

fn record(number: u32, ip: &str, fork_id: ForkId) -> SignedRecord {
    let ip = Some(ip.parse().unwrap());
    let local = LocalRecord::new(key(number), ip, 30_303, 30_303, fork_id, 1).unwrap();
    SignedRecord::decode(&local.rlp()).unwrap()
}

#[test]
fn only_nodes_of_our_chain_and_fork_are_handed_on() {
    let mut rig = Rig::new(Bounds::default());
    rig.offer(&record(1, "1.1.1.1", our_fork()));
    let other_chain = ChainSpec::sepolia().fork_filter(head()).current();
    rig.offer(&record(2, "2.2.2.2", other_chain));
    let behind = ChainSpec::mainnet().fork_filter(Head::default()).current();
    rig.offer(&record(3, "3.3.3.3", behind));
    let stale = ForkId { next: behind.next + 1, ..behind };
    rig.offer(&record(4, "4.4.4.4", stale));
    rig.offer(&record(0, "5.5.5.5", our_fork()));
    let ids: Vec<_> = rig.handed_on().iter().map(|found| found.record.id).collect();
    assert_eq!(ids, [key(1).id(), key(3).id()]);
    assert_eq!(rig.refused(Refusal::OtherFork), 2);
}

#[test]
fn records_without_a_fork_are_dropped() {
    let mut rig = Rig::new(Bounds::default());
    // the bootnodes of discv5 are consensus nodes
    let bootnodes = crate::preset_bootnodes("mainnet").unwrap();
    let records: Vec<_> = bootnodes.iter().filter_map(|node| node.record()).collect();
    records.iter().for_each(|record| rig.offer(record));
    assert!(rig.handed_on().is_empty());
    assert_eq!(rig.refused(Refusal::NoForkId), records.len() as u64);
}

#[test]
fn a_node_is_handed_on_once_in_a_while() {
    let mut rig = Rig::new(Bounds::default());
    let anna = record(1, "1.1.1.1", our_fork());
    rig.offer(&anna);
    rig.offer(&anna);
    rig.now += Duration::from_secs(599);
    rig.offer(&anna);
    assert_eq!((rig.handed_on().len(), rig.refused(Refusal::Repeated)), (1, 2));
    rig.now += Duration::from_secs(1);
    rig.offer(&anna);
    assert_eq!(rig.handed_on().len(), 1);
}

#[test]
fn a_neighbourhood_has_its_share() {
    let mut rig = Rig::new(Bounds { candidates_per_second: 1_000, ..Bounds::default() });
    for number in 1..=30 {
        rig.offer(&record(number, &format!("1.1.1.{number}"), our_fork()));
    }
    rig.offer(&record(99, "1.1.2.1", our_fork()));
    assert_eq!(rig.handed_on().len(), SUBNET_CANDIDATES_MAX + 1);
    assert_eq!(rig.refused(Refusal::Crowded), 30 - SUBNET_CANDIDATES_MAX as u64);
}

#[test]
fn local_networks_are_neighbourhoods_and_only_a_test_network_is_none() {
    let handed_on = |own_ip, ip: &str| {
        let mut rig = Rig::at(own_ip, Bounds { candidates_per_second: 1_000, ..Bounds::default() });
        for number in 1..=30 {
            let record = record(number, ip, our_fork());
            rig.gate.offer(&record, Some(ip.parse().unwrap()), Via::Discv4, rig.now);
        }
        rig.handed_on().len()
    };
    assert_eq!(handed_on(Some("10.0.0.2"), "10.0.0.1"), SUBNET_CANDIDATES_MAX);
    assert_eq!(handed_on(None, "127.0.0.1"), SUBNET_CANDIDATES_MAX);
    assert_eq!(handed_on(Some("127.0.0.1"), "127.0.0.1"), 30);
}

#[test]
fn no_more_are_handed_on_than_may_be_and_than_are_taken() {
    let bounds = Bounds { candidates_queued: 15, ..Bounds::default() };
    let mut rig = Rig::new(bounds);
    let offer_all = |rig: &mut Rig| {
        (1..=60)
            .for_each(|number| rig.offer(&record(number, &format!("1.{number}.1.1"), our_fork())));
    };
    offer_all(&mut rig);
    assert_eq!((rig.refused(Refusal::Full), rig.refused(Refusal::Rate)), (5, 40));
    assert_eq!(rig.handed_on().len(), 15);
    rig.now += Duration::from_secs(1);
    offer_all(&mut rig);
    assert_eq!(rig.refused(Refusal::Repeated), 15, "who was not taken is offered again");
    assert_eq!(rig.handed_on().len(), 15);
}

#[test]
fn where_a_node_answers_counts_and_loopback_is_nobodys_business() {
    let mut rig = Rig::new(Bounds::default());
    let seen_at: IpAddr = "7.7.7.7".parse().unwrap();
    let anna = record(1, "127.0.0.1", our_fork());
    rig.offer(&anna);
    assert_eq!(rig.refused(Refusal::NoAddress), 1);
    rig.gate.offer(&anna, Some(seen_at), Via::Discv4, rig.now);
    let found = rig.handed_on();
    assert_eq!(found[0].record.addr, "7.7.7.7:30303".parse().unwrap());
    assert_eq!(found[0].via, Via::Discv4);
    let nowhere = LocalRecord::new(key(2), None, 1, 1, our_fork(), 1).unwrap();
    rig.offer(&SignedRecord::decode(&nowhere.rlp()).unwrap());
    assert_eq!(rig.refused(Refusal::NoAddress), 2);
}

#[test]
fn nobody_outside_points_into_our_network() {
    let named = |own_ip, ip| {
        let mut rig = Rig::at(own_ip, Bounds::default());
        rig.offer(&record(1, ip, our_fork()));
        rig.handed_on().len() == 1
    };
    assert!(named(Some("8.8.8.8"), "9.9.9.9"));
    assert!(!named(Some("8.8.8.8"), "10.0.0.1"));
    assert!(!named(Some("10.0.0.2"), "127.0.0.1"));
    assert!(named(Some("10.0.0.2"), "10.0.0.1"));
    assert!(named(Some("127.0.0.1"), "127.0.0.1"));
    assert!(named(None, "9.9.9.9"));
    for inside in INSIDE {
        assert!(!named(None, inside), "{inside}");
    }
    for special in ["0.1.2.3", "198.18.0.1", "240.0.0.1"] {
        assert!(!named(Some("10.0.0.2"), special), "{special}");
    }
}

#[test]
fn who_answers_from_inside_is_taken_only_where_we_may_be_inside_too() {
    let answered = |own_ip, ip: &str| {
        let mut rig = Rig::at(own_ip, Bounds::default());
        let (record, from) = (record(1, "9.9.9.9", our_fork()), ip.parse().unwrap());
        rig.gate.offer(&record, Some(from), Via::Discv4, rig.now);
        rig.handed_on().len() == 1
    };
    for inside in INSIDE {
        assert!(answered(None, inside), "{inside}");
        assert!(!answered(Some("8.8.8.8"), inside), "{inside}");
    }
    assert!(answered(Some("10.0.0.2"), "192.168.1.1"));
    assert!(!answered(Some("10.0.0.2"), "127.0.0.1"));
}

#[test]
fn what_others_see_shuts_local_networks_and_opens_none() {
    let inside: IpAddr = "10.0.0.1".parse().unwrap();
    let mut rig = Rig::new(Bounds::default());
    rig.gate.seen_from_outside_at(inside);
    rig.offer(&record(1, "10.0.0.9", our_fork()));
    assert_eq!(rig.refused(Refusal::NoAddress), 1, "strangers do not say that we are inside");
    rig.gate.offer(&record(2, "10.0.0.9", our_fork()), Some(inside), Via::Discv4, rig.now);
    assert_eq!(rig.handed_on().len(), 1);
    rig.gate.seen_from_outside_at("8.8.8.8".parse().unwrap());
    rig.gate.offer(&record(3, "10.0.0.9", our_fork()), Some(inside), Via::Discv4, rig.now);
    assert_eq!(rig.refused(Refusal::NoAddress), 2);
}

#[test]
fn the_memory_of_whom_it_handed_on_is_bounded() {
    let bounds = Bounds {
        candidates_per_second: u32::MAX,
        repeat_after: Duration::MAX,
        ..Bounds::default()
    };
    // where no neighbourhood is full
    let mut rig = Rig::at(Some("127.0.0.1"), bounds);
    let fork = our_fork();
    for number in 1..=REMEMBERED_MAX as u32 + 10 {
        let [_, b, c, d] = number.to_be_bytes();
        rig.offer(&record(number, &format!("127.{b}.{c}.{d}"), fork));
        rig.handed_on();
    }
    assert_eq!(rig.gate.remembered(), REMEMBERED_MAX);
}
