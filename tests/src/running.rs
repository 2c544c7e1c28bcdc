//! A whole node inside the test's own process.

use std::{sync::Arc, time::Duration};

use moorline::{Budget, Node, NodeConfig, Observed};
use moorline_messages::NodeRecord;
use moorline_store::{CheckReport, Disk};

use crate::World;

/// Longest wait for anything a node should do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on an actix system over a multi-threaded runtime, as the binary does.
pub fn on_actix<F: Future<Output = ()>>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    moorline::keep_panics_to_one_line();
    system.block_on(test);
}

/// Waits until a node reports what is expected of it.
#[allow(clippy::panic)]
pub async fn wait(node: &Node, what: &str, done: impl Fn(&Observed) -> bool) -> Observed {
    let mut all = node.watched().all;
    let seen = tokio::time::timeout(PATIENCE, all.wait_for(|seen| done(seen))).await;
    match seen {
        Ok(seen) => seen.unwrap().clone(),
        Err(_) => panic!("{what}: {:?}", node.watched().all.borrow()),
    }
}

/// Waits until everything up to the head is on disk.
pub async fn wait_until_synced(node: &Node) -> Observed {
    let synced = |seen: &Observed| seen.tree.as_ref().is_some_and(|tree| tree.synced);
    wait(node, "the sync did not end", synced).await
}

impl World {
    /// Opens the store in a directory of this world.
    pub fn store(&self, name: &str) -> Disk {
        Disk::open(&self.path(name), self.spec.genesis(), self.spec.chain_id(), None).unwrap()
    }

    /// Founds a store that keeps receipts in a directory of this world.
    pub fn found_with_receipts(&self, name: &str) {
        let (dir, genesis) = (self.path(name), self.spec.genesis());
        drop(Disk::open(&dir, genesis, self.spec.chain_id(), Some(true)).unwrap());
    }

    /// A node that knows these peers, keeps its chain in this directory and serves nobody.
    pub async fn node(&self, store: &str, peers: Vec<NodeRecord>) -> Node {
        Node::start(NodeConfig {
            spec: Arc::clone(&self.spec),
            store: Arc::new(self.store(store)),
            node_key: moorline_rlpx::random_key(),
            listen: None,
            peers,
            trusted: Vec::new(),
            peers_max: 10,
            book: moorline_messages::PeerBookReport::default(),
            discovery: None,
            external_ip: None,
            budget: Budget::default(),
            floor: 1,
            sync_trigger: moorline_tree::SyncTrigger::Forkchoice,
            engine: None,
            http: None,
            metrics: None,
            tracer: moorline_kit::Tracer::OFF,
        })
        .await
        .unwrap()
    }

    /// Reads everything back that a node left behind.
    pub fn check(&self, store: &str) -> CheckReport {
        self.store(store).check(&mut |_| {}).unwrap()
    }
}
