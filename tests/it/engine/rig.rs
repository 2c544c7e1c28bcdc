//! A node, its consensus client, and chains for both.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes, Sealable};
use moorline::{Budget, Node, NodeConfig};
use moorline_devnet::{Behaviour, Chain, Devnet, Generator, MemoryChain, Profile};
use moorline_engine_api::{EngineClient, EngineClientError, JwtSecret};
use moorline_messages::{Block, Body, Header, SealedHeader};
use moorline_rules::body::transactions_root;
use moorline_tests::{World, forkchoice, payload, wait};
use moorline_tree::SyncTrigger;
use serde_json::{Value, json};

/// Blocks of the chain: past the last of the devnet's forks.
pub(super) const BLOCKS: usize = 100;

/// A node over a chain of its own, and its consensus client.
pub(super) struct Rig {
    pub(super) world: World,
    pub(super) node: Node,
    engine: EngineClient,
    /// The chain, from block 1 on.
    pub(super) chain: Vec<Block>,
    _peers: Devnet,
}

impl Rig {
    /// A node that has nobody to ask.
    pub(super) async fn alone() -> Self {
        Self::with(&[], SyncTrigger::Forkchoice).await
    }

    /// A node whose only peer serves the chain.
    pub(super) async fn beside_a_peer() -> Self {
        Self::beside_a_peer_with(&[], SyncTrigger::Forkchoice).await
    }

    /// A node whose only peer serves the chain and these blocks.
    pub(super) async fn beside_a_peer_with(more: &[Block], trigger: SyncTrigger) -> Self {
        let peers = [chain(), more.to_vec()].concat();
        Self::with(&peers, trigger).await
    }

    async fn with(served: &[Block], sync_trigger: SyncTrigger) -> Self {
        let world = World::new(Profile::Small, 1);
        let memory = Arc::new(MemoryChain::new(Arc::clone(world.spec.genesis())));
        memory.extend(served.iter().cloned()).unwrap();
        let mix = (!served.is_empty()).then_some((Behaviour::Honest, Duration::ZERO));
        let shown: Arc<dyn Chain> = memory;
        let peers = Devnet::start(shown, Arc::clone(&world.spec), mix).await.unwrap();
        let (jwt, any) = (JwtSecret::new([3; 32]), "127.0.0.1:0".parse().unwrap());
        let node = Node::start(NodeConfig {
            spec: Arc::clone(&world.spec),
            store: Arc::new(world.store("node")),
            node_key: moorline_rlpx::random_key(),
            listen: None,
            peers: peers.records(),
            trusted: Vec::new(),
            peers_max: 10,
            book: moorline_messages::PeerBookReport::default(),
            discovery: None,
            external_ip: None,
            budget: Budget::default(),
            floor: 1,
            sync_trigger,
            engine: Some((any, jwt.clone())),
            http: None,
            metrics: None,
            tracer: moorline_kit::Tracer::OFF,
        })
        .await
        .unwrap();
        let engine = EngineClient::new(node.started().engine.unwrap(), jwt);
        Self { world, node, engine, chain: chain(), _peers: peers }
    }

    /// The block of this height.
    pub(super) fn block(&self, number: usize) -> &Block {
        &self.chain[number - 1]
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        match self.engine.call(method, params).await {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn expect_error(&self, method: &str, params: Value, code: i64) {
        match self.engine.call(method, params).await {
            Err(EngineClientError::Rpc { code: found, .. }) => assert_eq!(found, code, "{method}"),
            other => panic!("{method}: {other:?}"),
        }
    }

    /// Hands a block over; the status. Its hash is null unless the block is valid, which none is.
    pub(super) async fn new_payload(&self, block: &Block) -> String {
        let (method, params) = payload(block);
        self.send_payload(method, params).await
    }

    pub(super) async fn send_payload(&self, method: &str, params: Value) -> String {
        let answer = self.call(method, params).await;
        assert_eq!(answer["latestValidHash"], Value::Null, "a22, a38: {answer}");
        answer["status"].as_str().unwrap().to_owned()
    }

    /// Hands over the blocks from one height to another, both included.
    pub(super) async fn deliver(&self, from: usize, to: usize) {
        for number in from..=to {
            assert_eq!(self.new_payload(self.block(number)).await, "SYNCING");
        }
    }

    /// Names a head; the status.
    pub(super) async fn follow(&self, head: B256) -> String {
        self.choose([head, B256::ZERO, B256::ZERO]).await
    }

    /// Names head, safe and finalized; the status.
    pub(super) async fn choose(&self, state: [B256; 3]) -> String {
        let answer = self.call("engine_forkchoiceUpdatedV3", forkchoice(state)).await;
        assert_eq!(answer["payloadId"], Value::Null);
        answer["payloadStatus"]["status"].as_str().unwrap().to_owned()
    }

    /// The node holds the chain up to this height, and it is known in every interface.
    pub(super) async fn synced_to(&self, number: usize) {
        self.deliver(1, number).await;
        let head = self.block(number).header.clone();
        assert_eq!(self.follow(head.hash()).await, "SYNCING");
        self.reach(&head).await;
    }

    /// Waits until a block is the tip, and on disk.
    pub(super) async fn reach(&self, head: &SealedHeader) {
        let hash = head.hash();
        let reached = |seen: &moorline::Observed| {
            seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.tip.hash == hash)
        };
        wait(&self.node, "the head is not reached", reached).await;
    }

    /// The hash of a block by tag or number; null where there is none.
    pub(super) async fn hash_of(&self, tag: &str) -> Value {
        self.call("eth_getBlockByNumber", json!([tag, false])).await["hash"].clone()
    }

    /// Whether any interface shows the block of this hash.
    pub(super) async fn shows(&self, hash: B256) -> bool {
        let block = self.call("eth_getBlockByHash", json!([hash, false])).await;
        let raw = self.call("debug_getRawHeader", json!([hash])).await;
        let bodies = self.call("engine_getPayloadBodiesByHashV1", json!([[hash]])).await;
        let seen = [!block.is_null(), !raw.is_null(), !bodies[0].is_null()];
        assert!(seen == [true; 3] || seen == [false; 3], "{seen:?}");
        seen[0]
    }
}

/// The chain that all of them know.
pub(super) fn chain() -> Vec<Block> {
    Generator::new(Profile::Small, 7).take(BLOCKS).collect()
}

/// Another branch on top of a block.
pub(super) fn branch(parent: &Block, blocks: usize) -> Vec<Block> {
    Generator::new(Profile::Small, 7).fork_at(&parent.header, 99).take(blocks).collect()
}

/// The same block with another header, sealed.
pub(super) fn changed(block: &Block, change: impl FnOnce(&mut Header)) -> Block {
    let mut header = block.header.inner().clone();
    change(&mut header);
    Block { header: Arc::new(header.seal_slow()), body: Arc::clone(&block.body) }
}

/// The same block with a transaction that has the form of one and cannot be decoded, under a header that is
/// right about it.
pub(super) fn undecodable(block: &Block) -> Block {
    let transactions = vec![Bytes::from_static(&[0xc1, 0x01])];
    let root = transactions_root(&transactions);
    let body = Body { transactions, ..Body::clone(&block.body) };
    let bare = |header: &mut Header| {
        header.transactions_root = root;
        header.blob_gas_used = header.blob_gas_used.map(|_| 0);
    };
    Block { body: Arc::new(body), ..changed(block, bare) }
}
