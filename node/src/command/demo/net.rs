//! The demonstration's chain, and the peers that serve it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use eyre::{Context, Result, eyre};
use moorline_devnet::{
    Behaviour, Chain, Devnet, FileChain, Generator, MemoryChain, genesis_header,
};
use moorline_messages::{Block, BlockNumHash, HashOrNumber, NodeRecord};
use moorline_rules::ChainSpec;

use crate::cli::DemoArgs;

/// The seed of the demonstration's chain.
const SEED: u64 = 20_150_730;

/// What a slow peer adds to its answers.
const SLOW: Duration = Duration::from_millis(400);

pub(super) struct Net {
    chain: Arc<MemoryChain>,
    generator: Generator,
    devnet: Devnet,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("tip", &self.chain.tip()).finish_non_exhaustive()
    }
}

impl Net {
    pub(super) async fn start(
        args: &DemoArgs,
        dir: &Path,
        spec: &Arc<ChainSpec>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let mut generator = Generator::new(args.profile, SEED);
        let count = usize::try_from(args.blocks).wrap_err("that many blocks do not fit")?;
        let path = dir.join("chain.rlp");
        let made = tokio::task::spawn_blocking(move || {
            let go_on = |_: &Block| !stop.load(Ordering::Relaxed);
            let blocks = generator.by_ref().take(count).take_while(go_on);
            let file = FileChain::create(&path, Arc::new(genesis_header()), blocks)
                .wrap_err_with(|| format!("cannot write {}", path.display()));
            file.map(|file| (file, generator))
        });
        let (file, generator) = made.await??;
        let chain = Arc::new(MemoryChain::on(Arc::new(file)));
        let served: Arc<dyn Chain> = chain.clone();
        let mix = mix(args.peers, Duration::from_millis(args.delay_ms));
        let devnet = Devnet::start(served, Arc::clone(spec), mix).await?;
        Ok(Self { chain, generator, devnet })
    }

    pub(super) fn records(&self) -> Vec<NodeRecord> {
        self.devnet.records()
    }

    pub(super) fn tip(&self) -> BlockNumHash {
        self.chain.tip()
    }

    pub(super) fn block(&self, number: u64) -> Option<Block> {
        self.chain.block(HashOrNumber::Number(number))
    }

    /// The chain grows.
    pub(super) fn new_blocks(&mut self, count: usize) -> Result<Vec<Block>> {
        let blocks: Vec<Block> = self.generator.by_ref().take(count).collect();
        self.chain.extend(blocks.iter().cloned())?;
        Ok(blocks)
    }

    /// Another branch overtakes the last blocks of the chain.
    pub(super) fn reorganise(&self, depth: u64) -> Result<BlockNumHash> {
        let root = self.tip().number.saturating_sub(depth);
        let root = self.block(root).ok_or_else(|| eyre!("the chain is too short to reorganise"))?;
        let branch = self.generator.fork_at(&root.header, SEED.wrapping_add(1));
        let length = usize::try_from(depth.saturating_add(1)).unwrap_or(usize::MAX);
        self.chain.extend(branch.take(length))?;
        Ok(self.tip())
    }

    pub(super) fn stop(&self) {
        self.devnet.stop();
    }

    /// The peers, in a few words.
    pub(super) fn describe(&self) -> String {
        let odd: BTreeSet<String> = self.odd().map(|(text, _)| text).collect();
        let honest = self.devnet.peers().len().saturating_sub(self.odd().count());
        let mut parts = vec![format!("{honest} honest")];
        parts.extend(odd);
        parts.join(", ")
    }

    /// Adds the peers that were asked and did not do what they should.
    pub(super) fn add_survived(&self, survived: &mut Vec<String>) {
        let asked = self.odd().filter(|(_, asked)| *asked).map(|(text, _)| text);
        survived.extend(asked.collect::<BTreeSet<_>>());
    }

    fn odd(&self) -> impl Iterator<Item = (String, bool)> + '_ {
        self.devnet.peers().iter().filter_map(|peer| {
            let asked = peer.stats().requests > 0;
            match peer.behaviour() {
                Behaviour::Honest if peer.pace().delay < SLOW => None,
                Behaviour::Honest => Some(("a peer that is slow".to_owned(), asked)),
                behaviour => Some((format!("a peer that {behaviour}"), asked)),
            }
        })
    }
}

/// Half of the peers are honest and quick; the others are not.
fn mix(peers: u64, delay: Duration) -> Vec<(Behaviour, Duration)> {
    let odd = [
        (Behaviour::SwapsBodies, delay),
        (Behaviour::Honest, delay.saturating_add(SLOW)),
        (Behaviour::DisconnectsAfter(6), delay),
        (Behaviour::BreaksLink, delay),
        (Behaviour::ShortAnswers, delay),
        (Behaviour::SnappyBomb, delay),
    ];
    let honest = peers.div_ceil(2);
    let others = odd.into_iter().cycle().take(usize::try_from(peers / 2).unwrap_or(0));
    (0..honest).map(|_| (Behaviour::Honest, delay)).chain(others).collect()
}
