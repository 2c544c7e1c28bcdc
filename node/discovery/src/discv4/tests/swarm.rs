//! Many cores on a simulated network.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use alloy_primitives::keccak256;
use moorline_messages::PeerId;

use super::{Discv4, Effect, Input, Now, START_UNIX_S, Seed, key, record_of};
use crate::{Bounds, record::LocalRecord};

const NODES: u32 = 20;
const DELAY: Duration = Duration::from_millis(20);

struct Network {
    now: Now,
    cores: BTreeMap<SocketAddr, Discv4>,
    /// What is on its way: when it arrives, in which order it was sent, from where, to where.
    flying: BTreeMap<(std::time::Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    trace: Vec<u8>,
    found: BTreeMap<SocketAddr, BTreeSet<PeerId>>,
}

fn addr_of(number: u32) -> SocketAddr {
    SocketAddr::from(([1, number as u8, 1, 1], 30_303))
}

/// Signing a record takes randomness of its own.
fn records() -> Vec<LocalRecord> {
    (0..NODES).map(|number| record_of(&key(number), addr_of(number), 1)).collect()
}

impl Network {
    /// All nodes know the first one, and only that.
    fn new(seed: u64, records: &[LocalRecord]) -> Self {
        let at = tokio::time::Instant::now().into_std();
        let now = Now { at, unix_s: START_UNIX_S };
        let first = Seed { id: key(0).id(), addr: addr_of(0), tcp: 30_303 };
        let core = |(number, record): (u32, &LocalRecord)| {
            let randomness = seed + u64::from(number);
            let (key, bounds) = (key(number), Bounds::default());
            let core = Discv4::new(key, record, vec![first], false, &bounds, randomness, now);
            (addr_of(number), core)
        };
        let cores = (0..NODES).zip(records).map(core).collect();
        let (flying, found) = (BTreeMap::new(), BTreeMap::new());
        Self { now, cores, flying, sent: 0, trace: Vec::new(), found }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.at + time;
        loop {
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let wakeup = self.cores.values().map(Discv4::next_wakeup).min();
            let next = arrival.into_iter().chain(wakeup).min().unwrap();
            if next > end {
                return;
            }
            self.now.at = next.max(self.now.at);
            match self.flying.first_entry().filter(|entry| entry.key().0 <= self.now.at) {
                Some(entry) => {
                    let (from, to, bytes) = entry.remove();
                    self.step(to, Input::Datagram { from, bytes: &bytes });
                }
                None => self.wake(),
            }
        }
    }

    fn wake(&mut self) {
        let due = self.cores.iter().filter(|(_, core)| core.next_wakeup() <= self.now.at);
        let due: Vec<_> = due.map(|(addr, _)| *addr).collect();
        due.into_iter().for_each(|addr| self.step(addr, Input::Wakeup));
    }

    fn step(&mut self, at: SocketAddr, input: Input<'_>) {
        let mut effects = Vec::new();
        let Some(core) = self.cores.get_mut(&at) else { return };
        core.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => {
                    self.trace.extend_from_slice(&keccak256(&bytes)[..8]);
                    self.sent += 1;
                    self.flying.insert((self.now.at + DELAY, self.sent), (at, to, bytes));
                }
                Effect::Found { record, .. } => {
                    self.found.entry(at).or_default().insert(record.id());
                }
            }
        }
    }
}

#[test]
fn all_find_all_from_one_bootnode() {
    for seed in [1, 2, 3] {
        let mut network = Network::new(seed * 1_000, &records());
        network.run(Duration::from_secs(60));
        for number in 0..NODES {
            let found = network.found.get(&addr_of(number)).map_or(0, BTreeSet::len);
            assert_eq!(found as u32, NODES - 1, "node {number} with seed {seed}");
        }
        // in quiet times a node says little
        let before = network.sent;
        network.run(Duration::from_secs(60));
        let per_node_and_second = (network.sent - before) / u64::from(NODES) / 60;
        assert!(per_node_and_second < 20, "{per_node_and_second}");
    }
}

#[test]
fn the_same_inputs_have_the_same_effects() {
    let records = records();
    let traces = [5, 5, 6].map(|seed| {
        let mut network = Network::new(seed, &records);
        network.run(Duration::from_secs(20));
        keccak256(&network.trace)
    });
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}
