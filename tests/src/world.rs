//! A chain on disk, and what is made of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::B256;
use moorline_devnet::{
    Behaviour, Chain, Devnet, FileChain, Generator, Profile, genesis_header, genesis_json,
};
use moorline_messages::{HashOrNumber, NodeRecord};
use moorline_rules::ChainSpec;
use tempfile::TempDir;

/// A generated chain, its genesis file, and room for data directories.
#[derive(Debug)]
pub struct World {
    dir: TempDir,
    /// The chain.
    pub chain: Arc<FileChain>,
    /// Its rules.
    pub spec: Arc<ChainSpec>,
}

impl World {
    /// A chain of so many blocks.
    pub fn new(profile: Profile, blocks: usize) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("genesis.json"), genesis_json()).unwrap();
        let genesis = Arc::new(genesis_header());
        let made = Generator::new(profile, 7).take(blocks);
        let chain = FileChain::create(&dir.path().join("chain.rlp"), genesis, made).unwrap();
        let spec = ChainSpec::from_genesis_json(&genesis_json()).unwrap();
        Self { dir, chain: Arc::new(chain), spec: Arc::new(spec) }
    }

    /// A path inside the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The genesis file, as an argument.
    pub fn genesis(&self) -> String {
        self.path("genesis.json").to_string_lossy().into_owned()
    }

    /// A path inside the world, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The hash of the highest block.
    pub fn head(&self) -> B256 {
        self.chain.tip().hash
    }

    /// How many bodies have to be fetched: those with something in them.
    pub fn bodies(&self) -> u64 {
        let block = |number| self.chain.block(HashOrNumber::Number(number)).unwrap();
        let is_full = |number: &u64| {
            let body = block(*number).body;
            !body.transactions.is_empty() || body.withdrawals.iter().flatten().next().is_some()
        };
        (1..=self.chain.tip().number).filter(is_full).count() as u64
    }

    /// How many blocks' receipts have to be fetched: of those that have any.
    pub fn receipts(&self) -> u64 {
        let block = |number| self.chain.block(HashOrNumber::Number(number)).unwrap();
        let has_some = |number: &u64| !block(*number).body.transactions.is_empty();
        (1..=self.chain.tip().number).filter(has_some).count() as u64
    }

    /// Peers that serve the chain.
    pub async fn peers(&self, mix: impl IntoIterator<Item = (Behaviour, Duration)>) -> Devnet {
        let chain: Arc<dyn Chain> = self.chain.clone();
        Devnet::start(chain, Arc::clone(&self.spec), mix).await.unwrap()
    }

    /// The bytes of the chain's file: what an export must give back.
    pub fn file(&self) -> Vec<u8> {
        std::fs::read(self.path("chain.rlp")).unwrap()
    }
}

/// Peers as `--peer` arguments.
pub fn peer_args(records: &[NodeRecord]) -> Vec<String> {
    records.iter().flat_map(|record| ["--peer".to_owned(), record.to_string()]).collect()
}
