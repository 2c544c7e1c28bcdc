use moorline_rules::ChainSpec;

use super::*;
use crate::{Mechanisms, Refusal};

#[tokio::test]
async fn the_address_that_others_see_us_at_reaches_the_gate() {
    let forks = watch::Sender::new(ChainSpec::mainnet().fork_filter(Default::default()));
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = DiscoveryConfig::new([1; 32], any, 30_303, forks.subscribe());
    config.mechanisms = Mechanisms { discv4: false, discv5: false, dns: false };
    let key = NodeKey::new(&config.node_key).unwrap();
    let record = first_record(&config, &key, any).unwrap();
    let counters = SharedCounters::default();
    let (bounds, now) = (config.bounds, Instant::now().into_std());
    let forks = forks.subscribe();
    let gate = Gate::new(forks.clone(), key.id(), None, bounds, counters.clone(), now);
    let (gate, mut candidates) = (Arc::new(Mutex::new(gate.0)), gate.1);
    let (socket, local_addr) = listen(loopback).unwrap();
    let told = watch::Sender::new(LocalNode::of(&record));
    let starting = Udp::start(&config, key, record, socket, local_addr, gate, counters, told);
    let mut udp = starting.await.unwrap();

    let neighbour = |number| {
        let key = NodeKey::new(&[number; 32]).unwrap();
        let (ip, fork_id) = ([10, 0, 0, number].into(), forks.borrow().current());
        LocalRecord::new(key, Some(ip), 30_303, 30_303, fork_id, 1).unwrap().enr().clone()
    };
    let inside = |number| SocketAddr::from(([10, 0, 0, number], 30_303));
    udp.event(Some(Event::Discovered(neighbour(2)))).await;
    assert!(candidates.try_recv().is_err(), "a stranger named it");
    udp.event(Some(Event::SessionEstablished(neighbour(2), inside(2)))).await;
    assert_eq!(candidates.try_recv().unwrap().record.addr, inside(2), "it answered itself");
    udp.event(Some(Event::SocketUpdated(SocketAddr::from(([8, 8, 8, 8], 30_303))))).await;
    udp.event(Some(Event::SessionEstablished(neighbour(3), inside(3)))).await;
    assert!(candidates.try_recv().is_err(), "we are outside");
    assert_eq!(udp.counters.lock().refused[&Refusal::NoAddress], 2);
}
