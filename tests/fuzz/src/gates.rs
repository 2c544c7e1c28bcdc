//! What holds discovery back: limits per sender, and the gate for nodes that were found.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use alloy_eip2124::{ForkFilter, ForkFilterKey, ForkId, Head};
use alloy_primitives::{B256, keccak256};
use moorline_discovery::{
    Bounds, Via,
    fuzzing::{Gates, Node},
};
use tokio::time::Instant;

use crate::{Target, discv4, script::Script};

/// Packets of many senders and offers of some nodes, over time.
pub(crate) const GATES: Target =
    Target { name: "gates", max_len: 128, read: gates, seeds: gate_seeds };

const PER_SENDER_PER_SECOND: u32 = 4;
const PER_SECOND: u32 = 16;

fn forks() -> &'static ForkFilter {
    static FORKS: OnceLock<ForkFilter> = OnceLock::new();
    FORKS.get_or_init(|| {
        let forks = [ForkFilterKey::Block(5), ForkFilterKey::Time(1_700_000_000)];
        ForkFilter::new(Head { number: 9, ..Head::default() }, B256::ZERO, 0, forks)
    })
}

/// Nodes near one another and far, on our fork or not.
fn found() -> &'static [Node] {
    static FOUND: OnceLock<Vec<Node>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let node = |number: u8| {
            let ip = match number % 3 {
                0 => IpAddr::from([1, 2, 3, number]),
                1 => IpAddr::from([number, 2, 3, 4]),
                _ => IpAddr::from([0x2001, 0xdb8, 1, number.into(), 0, 0, 0, 1]),
            };
            let fork_id: ForkId = if number % 8 == 7 { discv4::FORK } else { forks().current() };
            Node::new(&keccak256([number]).0, SocketAddr::new(ip, 30303), fork_id).unwrap()
        };
        (0..48).map(node).collect()
    })
}

fn gates(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let mut now = Instant::now().into_std();
    let bounds = Bounds {
        packets_per_sender_per_second: PER_SENDER_PER_SECOND,
        packets_per_second: PER_SECOND,
        candidates_per_second: 8,
        candidates_queued: 4,
        ..Bounds::default()
    };
    let mut gates = Gates::new(&discv4::nodes()[0], forks().clone(), bounds, now);
    let (mut admitted, mut taken) = (0, 0);
    while !script.is_over() {
        match script.below(8) {
            0 => admitted += u32::from(gates.admit(sender(&mut script), now)),
            1..=3 => {
                let node = &found()[script.below(found().len())];
                let seen_at = match script.below(3) {
                    0 => None,
                    1 => Some(node.addr().ip()),
                    _ => Some(sender(&mut script)),
                };
                gates.offer(node, seen_at, Via::Discv4, now);
            }
            4 => taken += u32::from(gates.take().is_some()),
            5 => {
                let ip = sender(&mut script);
                let at_once = (0..PER_SENDER_PER_SECOND * 2).filter(|_| gates.admit(ip, now));
                assert!(at_once.count() <= PER_SENDER_PER_SECOND as usize, "{ip} talks too much");
            }
            6 => now += Duration::from_millis(u64::from(script.byte()) * 10),
            _ => now += Duration::from_secs(script.number().into()),
        }
    }
    admitted > 0 && taken > 0
}

fn sender(script: &mut Script<'_>) -> IpAddr {
    let number = script.number();
    let [high, low] = number.to_be_bytes();
    match high % 4 {
        0 => Ipv4Addr::new(10, 0, high, low).into(),
        1 => Ipv4Addr::new(high, low, 1, 1).into(),
        2 => Ipv4Addr::new(8, 8, 8, low).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0x2001, number, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn gate_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 1, 2, 1, 3, 0, 4, 5, 1, 9, 6, 50, 1, 3, 0],
        [&[0, 0, 7][..], &[1, 1, 1, 4].repeat(6), &[7, 2, 88], &[1, 1, 1, 4].repeat(2)].concat(),
        [&[0, 3, 7][..], &[1, 2, 2, 1, 1, 4], &[1, 7, 0], &[1, 0, 0, 1, 3, 0, 1, 6, 0]].concat(),
    ]
}
