//! Real sockets on loopback.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use alloy_eip2124::{ForkFilter, Head};
use moorline_messages::PeerId;
use moorline_rules::ChainSpec;
use tokio::sync::watch;

use crate::{
    Bounds, Discovery, DiscoveryConfig, DiscoveryError, DiscoveryHandle, Mechanisms, Via,
    key::NodeKey,
    record::{LocalRecord, SignedRecord, signing_key},
};

const NODES: u8 = 20;
/// Far more than a swarm takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn forks() -> watch::Sender<ForkFilter> {
    watch::Sender::new(ChainSpec::mainnet().fork_filter(Head::default()))
}

/// All nodes of a swarm share one address, so what one sender may send is what all may.
fn config(
    number: u8,
    mechanisms: Mechanisms,
    forks: &watch::Sender<ForkFilter>,
) -> DiscoveryConfig {
    let bounds = Bounds {
        packets_per_sender_per_second: 10_000,
        packets_per_second: 10_000,
        lookup_every: Duration::from_millis(200),
        candidates_per_second: 1_000,
        ..Bounds::default()
    };
    let mut config = DiscoveryConfig::new([number + 1; 32], loopback(), 30_303, forks.subscribe());
    config.mechanisms = mechanisms;
    config.bounds = bounds;
    config
}

const NONE: Mechanisms = Mechanisms { discv4: false, discv5: false, dns: false };
const DISCV4: Mechanisms = Mechanisms { discv4: true, ..NONE };
const DISCV5: Mechanisms = Mechanisms { discv5: true, ..NONE };

/// Everybody knows the first node; everybody must find everybody.
async fn swarm(mechanisms: Mechanisms, bootnode: fn(&DiscoveryHandle) -> String, via: Via) {
    let forks = forks();
    let first = Discovery::start(config(0, mechanisms, &forks)).await.unwrap();
    let bootnode = bootnode(&first);
    let mut nodes = vec![first];
    for number in 1..NODES {
        let mut config = config(number, mechanisms, &forks);
        config.bootnodes = vec![bootnode.parse().unwrap()];
        nodes.push(Discovery::start(config).await.unwrap());
    }
    let all: BTreeSet<PeerId> = nodes.iter().map(DiscoveryHandle::id).collect();
    for node in &mut nodes {
        let mut missing = all.clone();
        missing.remove(&node.id());
        let found = tokio::time::timeout(PATIENCE, async {
            while !missing.is_empty() {
                let found = node.candidate().await.unwrap();
                assert_eq!(found.via, via);
                assert_eq!(found.record.addr, SocketAddr::from(([127, 0, 0, 1], 30_303)));
                missing.remove(&found.record.id);
            }
        });
        if found.await.is_err() {
            panic!("{} did not find {missing:?}: {:?}", node.id(), node.counters());
        }
    }
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_find_one_another_by_discv4() {
    swarm(DISCV4, DiscoveryHandle::enode, Via::Discv4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_find_one_another_by_discv5() {
    swarm(DISCV5, DiscoveryHandle::enr, Via::Discv5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_share_a_socket_and_an_enode_leads_to_both() {
    let forks = forks();
    let both = Mechanisms { discv4: true, discv5: true, dns: false };
    let mut first = Discovery::start(config(0, both, &forks)).await.unwrap();
    let enode = first.enode().parse().unwrap();
    let mut by_enode = config(1, both, &forks);
    by_enode.bootnodes = vec![enode];
    let mut second = Discovery::start(by_enode).await.unwrap();
    let mut by_enr = config(2, DISCV5, &forks);
    by_enr.bootnodes = vec![first.enr().parse().unwrap()];
    let third = Discovery::start(by_enr).await.unwrap();
    let mut missing = BTreeSet::from([second.id(), third.id()]);
    let search = async {
        while !missing.is_empty() {
            missing.remove(&first.candidate().await.unwrap().record.id);
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap();
    // the third does not speak discv4
    let search = async { while second.candidate().await.unwrap().record.id != third.id() {} };
    tokio::time::timeout(PATIENCE, search).await.unwrap();
    assert!(second.counters().discv4_table_nodes > 0);
}

#[tokio::test]
async fn at_a_fork_the_record_that_others_get_is_another() {
    for mechanisms in [DISCV4, DISCV5, Mechanisms { discv4: true, discv5: true, dns: false }] {
        let forks = forks();
        let node = Discovery::start(config(0, mechanisms, &forks)).await.unwrap();
        let before = SignedRecord::from_text(&node.enr()).unwrap();
        assert_eq!(before.fork_id(), Some(forks.borrow().current()));
        let mut local = node.local_node();
        forks.send_modify(|filter| {
            filter.set_head(Head { number: 1_150_000, ..Head::default() });
        });
        tokio::time::timeout(PATIENCE, local.changed()).await.unwrap().unwrap();
        let after = SignedRecord::from_text(&node.enr()).unwrap();
        assert_eq!(after.fork_id(), Some(forks.borrow().current()));
        assert_ne!(after.fork_id(), before.fork_id());
        assert!(after.seq() > before.seq());
        if mechanisms.discv5 {
            let told = record_over_discv5(&before).await;
            assert_eq!((told.seq(), told.fork_id()), (after.seq(), after.fork_id()));
        }
        node.shutdown().await;
    }
}

/// Asks a node for its record over discv5, as anybody can.
async fn record_over_discv5(of: &SignedRecord) -> SignedRecord {
    let key = NodeKey::new(&[99; 32]).unwrap();
    let fork_id = forks().borrow().current();
    let record = LocalRecord::new(key.clone(), None, 0, 0, fork_id, 1).unwrap();
    let listen = discv5::ListenConfig::from(loopback());
    let config = discv5::ConfigBuilder::new(listen).build();
    let key = signing_key(&key).unwrap();
    let mut client = discv5::Discv5::new(record.enr().clone(), key, config).unwrap();
    client.start().await.unwrap();
    let mut told = client.find_node_designated_peer(of.enr().clone(), vec![0]).await.unwrap();
    SignedRecord::new(told.pop().unwrap()).unwrap()
}

#[tokio::test]
async fn after_shutdown_the_address_is_free() {
    let forks = forks();
    let both = Mechanisms { discv4: true, discv5: true, dns: false };
    let mut first = config(0, both, &forks);
    // an address of its own, so that no other test takes the port meanwhile
    first.listen_addr = SocketAddr::from(([127, 0, 0, 2], 0));
    let node = Discovery::start(first).await.unwrap();
    let addr = node.local_addr();
    let mut again = config(1, DISCV4, &forks);
    again.listen_addr = addr;
    let taken = Discovery::start(again.clone()).await;
    assert!(matches!(taken, Err(DiscoveryError::Listen { .. })), "{taken:?}");
    node.shutdown().await;
    Discovery::start(again).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let forks = forks();
    let mut zero = config(0, NONE, &forks);
    zero.node_key = [0; 32];
    assert!(matches!(Discovery::start(zero).await, Err(DiscoveryError::NodeKey)));
    let mut tree = config(0, Mechanisms { dns: true, ..NONE }, &forks);
    tree.dns_trees = vec!["enrtree://nonsense".to_owned()];
    assert!(matches!(Discovery::start(tree).await, Err(DiscoveryError::DnsTree(_))));
}
