//! discv4: its packets, and its core in the hands of four strangers.

use std::{net::SocketAddr, sync::OnceLock, time::Duration};

use alloy_eip2124::{ForkHash, ForkId};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Encodable, Header};
use moorline_discovery::fuzzing::{Discv4Core, Node, Sent, read_datagram, read_packet};
use tokio::time::Instant;

use crate::{Target, script::Script};

/// Datagrams as they come from the wire; in most of them the hash is right.
pub(crate) const PACKETS: Target =
    Target { name: "discv4_packets", max_len: 1280, read: packets, seeds: packet_seeds };

/// What every type of packet says, after its signature.
pub(crate) const DATA: Target =
    Target { name: "discv4_data", max_len: 1183, read: data, seeds: data_seeds };

/// The core, told what strangers say and when.
pub(crate) const CORE: Target =
    Target { name: "discv4_core", max_len: 72, read: core, seeds: core_seeds };

pub(crate) const FORK: ForkId = ForkId { hash: ForkHash([1, 2, 3, 4]), next: 0 };
const STEPS_MAX: usize = 12;

/// Ourselves, and some others.
pub(crate) fn nodes() -> &'static [Node; 5] {
    static NODES: OnceLock<[Node; 5]> = OnceLock::new();
    NODES.get_or_init(|| {
        ["5.5.5.5:30303", "1.1.1.1:30303", "1.1.1.2:7", "9.9.9.9:30303", "10.0.0.1:30303"]
            .map(|addr| addr.parse::<SocketAddr>().unwrap())
            .map(|addr| Node::new(&keccak256(addr.to_string()).0, addr, FORK).unwrap())
    })
}

fn packets(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    if script.below(4) == 0 {
        return read_datagram(script.rest()).is_ok();
    }
    let signed = script.rest();
    read_datagram(&[keccak256(signed).as_slice(), signed].concat()).is_ok()
}

fn data(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let kind = script.byte() % 8;
    read_packet(kind, script.rest()).is_ok()
}

fn packet_seeds() -> Vec<Vec<u8>> {
    let [_, node, ..] = nodes();
    let datagrams = kinds().map(|(kind, data)| node.datagram(kind, &data));
    let whole = datagrams.clone().map(|datagram| [vec![0], datagram].concat());
    let hashed = datagrams.map(|datagram| [&[1], &datagram[32..]].concat());
    [whole, hashed].concat()
}

fn data_seeds() -> Vec<Vec<u8>> {
    kinds().map(|(kind, data)| [vec![kind], data].concat()).to_vec()
}

/// A packet of every type.
fn kinds() -> [(u8, Vec<u8>); 6] {
    let [_, node, other, ..] = nodes();
    let hash = B256::repeat_byte(1);
    let expiration = u64::MAX;
    let neighbors = neighbors(&[node, other], expiration);
    let [at, to] = [node, other].map(|node| endpoint(node.addr()));
    [
        (1, list(&[&alloy_rlp::encode(4_u8), &at, &to, &number(expiration), &number(1)])),
        (2, list(&[&to, &alloy_rlp::encode(hash), &number(expiration), &number(1)])),
        (3, list(&[&alloy_rlp::encode(node.id().0), &number(expiration)])),
        (4, neighbors),
        (5, list(&[&number(expiration)])),
        (6, list(&[&alloy_rlp::encode(hash), &node.record_rlp()])),
    ]
}

fn list(items: &[&[u8]]) -> Vec<u8> {
    let items = items.concat();
    let mut out = Vec::new();
    Header { list: true, payload_length: items.len() }.encode(&mut out);
    [out, items].concat()
}

fn number(number: u64) -> Vec<u8> {
    alloy_rlp::encode(number)
}

fn endpoint_fields(addr: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    match addr {
        SocketAddr::V4(addr) => addr.ip().octets().as_slice().encode(&mut out),
        SocketAddr::V6(addr) => addr.ip().octets().as_slice().encode(&mut out),
    }
    addr.port().encode(&mut out);
    addr.port().encode(&mut out);
    out
}

fn endpoint(addr: SocketAddr) -> Vec<u8> {
    list(&[&endpoint_fields(addr)])
}

fn neighbors(nodes: &[&Node], expiration: u64) -> Vec<u8> {
    let each =
        |node: &&Node| list(&[&endpoint_fields(node.addr()), &alloy_rlp::encode(node.id().0)]);
    let nodes: Vec<_> = nodes.iter().map(each).collect();
    list(&[&list(&[&nodes.concat()]), &number(expiration)])
}

/// The core, and what it last asked each stranger.
struct Play {
    core: Discv4Core,
    asked: [[B256; 7]; 5],
}

impl Play {
    fn step(&mut self, script: &mut Script<'_>) {
        let step = script.byte();
        let at = 1 + usize::from(step & 3);
        let node = &nodes()[at];
        let other = &nodes()[script.below(5)];
        // good for another 20 seconds, or not any more
        let expiration = self.core.unix_s().saturating_add(20).saturating_sub(script.byte().into());
        let asked = &self.asked[at];
        let (kind, data) = match step >> 2 & 15 {
            0 | 1 => {
                let [from, to] = [node, other].map(|node| endpoint(node.addr()));
                let items = [&number(4)[..], &from, &to, &number(expiration), &number(1)];
                (1, list(&items))
            }
            2..=4 => {
                let hash = alloy_rlp::encode(asked[1]);
                let items = [&endpoint(node.addr())[..], &hash, &number(expiration), &number(2)];
                (2, list(&items))
            }
            5 => (3, list(&[&alloy_rlp::encode(other.id().0), &number(expiration)])),
            6 => (4, neighbors(&vec![other; script.below(13)], expiration)),
            7 => (4, neighbors(&[node, other, &nodes()[0]], expiration)),
            8 => (5, list(&[&number(expiration)])),
            9 | 10 => (6, list(&[&alloy_rlp::encode(asked[5]), &node.record_rlp()])),
            11 => (script.byte() % 8, script.bytes(64).to_vec()),
            12 => return self.core.datagram(other.addr(), script.bytes(64)),
            13 => return self.core.pass(Duration::from_secs(script.number().into())),
            _ => return self.core.pass(Duration::from_millis(u64::from(script.byte()) * 8)),
        };
        let from = if script.below(8) == 0 { other.addr() } else { node.addr() };
        self.core.packet(from, node.id(), B256::repeat_byte(step), kind, &data);
    }

    fn note(&mut self) {
        for Sent { to, kind, hash } in self.core.take_sent() {
            let at = nodes().iter().position(|node| node.addr() == to);
            if let Some(asked) = at.and_then(|at| self.asked[at].get_mut(usize::from(kind))) {
                *asked = hash;
            }
        }
    }
}

fn core(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let seeds = &nodes()[1..=script.below(4)];
    let core = Discv4Core::new(&nodes()[0], seeds, Instant::now().into_std());
    let mut play = Play { core, asked: [[B256::ZERO; 7]; 5] };
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        play.step(&mut script);
        play.note();
        assert!(play.core.table_nodes() < nodes().len());
    }
    play.core.found() > 0
}

fn core_seeds() -> Vec<Vec<u8>> {
    let (ping, pong, find, tell) = ([0, 0, 0, 1], [8, 0, 0, 1], [20, 2, 0, 1], [24, 2, 0, 12, 1]);
    let (ask, record, second) = ([32, 0, 0, 1], [36, 0, 0, 1], [56, 0, 0, 126]);
    vec![
        [&[0][..], &ping, &pong, &find, &ask].concat(),
        [&[0][..], &ping, &pong, &second, &record].concat(),
        [&[1][..], &second, &pong, &second, &tell, &record, &[52, 0, 0, 1, 0]].concat(),
    ]
}
