//! A rig over the core: strangers with keys and addresses of their own, time in one's own hand.
#![allow(clippy::arithmetic_side_effects)]

mod hostile;
mod proof;
mod swarm;
mod table;
mod vectors;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use alloy_eip2124::{ForkHash, ForkId};
use alloy_primitives::{B256, B512};

use super::{
    Discv4, Effect, Input, Now, Seed,
    wire::{self, Endpoint, Packet, Received},
};
use crate::{Bounds, DropReason, key::NodeKey, record::LocalRecord};

const START_UNIX_S: u64 = 1_800_000_000;
const FORK: ForkId = ForkId { hash: ForkHash([1, 2, 3, 4]), next: 0 };

fn key(number: u32) -> NodeKey {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    NodeKey::new(&secret).unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn record_of(key: &NodeKey, addr: SocketAddr, seq: u64) -> LocalRecord {
    LocalRecord::new(key.clone(), Some(addr.ip()), addr.port(), addr.port(), FORK, seq).unwrap()
}

/// The core under test and what it sent.
struct Rig {
    core: Discv4,
    now: Now,
    sent: Vec<(SocketAddr, Received)>,
    found: Vec<(crate::record::SignedRecord, IpAddr)>,
}

impl Rig {
    fn new() -> Self {
        Self::with_seeds(Vec::new())
    }

    fn with_seeds(seeds: Vec<Seed>) -> Self {
        let at = tokio::time::Instant::now().into_std();
        let now = Now { at, unix_s: START_UNIX_S };
        let key = key(0);
        let record = record_of(&key, addr("5.5.5.5:30303"), 1);
        let core = Discv4::new(key, &record, seeds, false, &Bounds::default(), 7, now);
        Self { core, now, sent: Vec::new(), found: Vec::new() }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => self.sent.push((to, wire::decode(&bytes).unwrap())),
                Effect::Found { record, ip } => self.found.push((*record, ip)),
            }
        }
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.step(Input::Datagram { from, bytes });
    }

    /// Lets time pass as the shell would: from one wakeup to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        loop {
            let wakeup = self.core.next_wakeup().max(self.now.at);
            if wakeup > end {
                break;
            }
            self.set_clock(wakeup);
            self.step(Input::Wakeup);
            assert!(self.core.next_wakeup() > self.now.at, "it would be woken for ever");
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: std::time::Instant) {
        let before = self.now.at;
        self.now.at = at;
        // the tests keep whole seconds apart, so that rounding down loses nothing
        self.now.unix_s += at.saturating_duration_since(before).as_secs();
    }

    /// What was sent to an address since the last call.
    fn take_sent_to(&mut self, to: SocketAddr) -> Vec<Received> {
        let (taken, rest) =
            std::mem::take(&mut self.sent).into_iter().partition(|(at, _)| *at == to);
        self.sent = rest;
        let taken: Vec<(SocketAddr, Received)> = taken;
        taken.into_iter().map(|(_, received)| received).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.core.drops().all().get(&reason).copied().unwrap_or_default()
    }

    fn expiration(&self) -> u64 {
        self.now.unix_s + 20
    }
}

/// Another node, played by the test.
struct Stranger {
    key: NodeKey,
    addr: SocketAddr,
    record: LocalRecord,
}

impl Stranger {
    fn new(number: u32, at: &str) -> Self {
        let (key, addr) = (key(number), addr(at));
        Self { record: record_of(&key, addr, 1), key, addr }
    }

    fn seed(&self) -> Seed {
        Seed { id: self.key.id(), addr: self.addr, tcp: self.addr.port() }
    }

    /// Sends a packet, from its own address, and gives its hash.
    fn send(&self, rig: &mut Rig, packet: &Packet) -> B256 {
        let (bytes, hash) = wire::encode(&self.key, packet);
        rig.receive(self.addr, &bytes);
        hash
    }

    fn ping(&self, rig: &mut Rig) -> B256 {
        let packet = Packet::Ping {
            from: Endpoint::of(self.addr, self.addr.port()),
            to: Endpoint { ip: None, udp: 0, tcp: 0 },
            expiration: rig.expiration(),
            record_seq: Some(self.record.seq()),
        };
        self.send(rig, &packet)
    }

    fn pong(&self, rig: &mut Rig, ping_hash: B256) {
        let packet = Packet::Pong {
            to: Endpoint { ip: None, udp: 0, tcp: 0 },
            ping_hash,
            expiration: rig.expiration(),
            record_seq: Some(self.record.seq()),
        };
        self.send(rig, &packet);
    }

    fn find_node(&self, rig: &mut Rig) {
        let expiration = rig.expiration();
        self.send(rig, &Packet::FindNode { target: B512::repeat_byte(3), expiration });
    }

    fn ask_record(&self, rig: &mut Rig) -> B256 {
        let expiration = rig.expiration();
        self.send(rig, &Packet::RecordRequest { expiration })
    }

    /// Pings and answers the ping that comes back: both sides have proved where they are.
    fn bond(&self, rig: &mut Rig) {
        self.ping(rig);
        self.answer_pings(rig);
    }

    /// Answers all pings that came here; gives the number.
    fn answer_pings(&self, rig: &mut Rig) -> usize {
        let sent = rig.take_sent_to(self.addr);
        let pings = sent.iter().filter(|sent| matches!(sent.packet, Packet::Ping { .. }));
        let hashes: Vec<_> = pings.map(|ping| ping.hash).collect();
        hashes.iter().for_each(|hash| self.pong(rig, *hash));
        hashes.len()
    }

    fn told(&self, rig: &mut Rig) -> Vec<Packet> {
        rig.take_sent_to(self.addr).into_iter().map(|received| received.packet).collect()
    }
}
