//! A node that does not start leaves nothing behind.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use moorline::{Budget, Node, NodeConfig, NodeError};
use moorline_rules::ChainSpec;
use moorline_store::Disk;
use moorline_tree::SyncTrigger;

#[test]
fn a_node_whose_port_is_in_use_lets_go_of_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let taken = TcpListener::bind(local).unwrap();
    let taken = taken.local_addr().unwrap();
    for (listen, http) in [(Some(taken), None), (None, Some(taken))] {
        let spec = Arc::new(ChainSpec::preset("hoodi").unwrap());
        let store = Disk::open(dir.path(), spec.genesis(), spec.chain_id(), None).unwrap();
        let store = Arc::new(store);
        let config = NodeConfig {
            spec,
            store: Arc::clone(&store),
            node_key: [7; 32],
            listen,
            peers: Vec::new(),
            trusted: Vec::new(),
            peers_max: 4,
            book: moorline_messages::PeerBookReport::default(),
            discovery: None,
            external_ip: None,
            budget: Budget::default(),
            floor: 1,
            sync_trigger: SyncTrigger::Forkchoice,
            engine: None,
            http: http.map(|addr| (addr, Vec::new())),
            metrics: None,
            tracer: moorline_kit::Tracer::OFF,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let mut runtime = Some(runtime.unwrap());
        let system = actix_rt::System::with_tokio_rt(|| runtime.take().unwrap());
        system.block_on(async move {
            let refused = Node::start(config).await;
            assert!(
                matches!(refused, Err(NodeError::Network(_) | NodeError::Rpc(_))),
                "{refused:?}"
            );
        });
        assert_eq!(Arc::strong_count(&store), 1, "an actor lives on");
    }
}
