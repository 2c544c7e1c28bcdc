//! Random heads, forks, losses and panics against a model of the store and of the downloader: in the
//! end the store holds the chain that was named last, whatever happened on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, Block, BlockNumHash, DownloadFailure, DownloadOutcome, DownloadRequest, Forkchoice,
    FoundBlock, RequestId, SealedHeader, StoreBatch, StoreError, StoreOutcome, StoreRequest,
    StoredState, TreeEvent, TreeReport, TreeRequest, TreeVerdict,
};

use super::rig::{at_head, child, grow, spec};
use crate::{
    SyncTrigger, TreeConfig,
    core::{Core, Effect, Input},
};

/// xorshift64*: the same seed gives the same run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// Every block there is.
struct World {
    blocks: BTreeMap<B256, Block>,
    order: Vec<B256>,
    /// Blocks that break a rule, and what lies above them.
    bad: BTreeSet<B256>,
}

impl World {
    /// A trunk, and branches that leave it and one another anywhere.
    fn grown(dice: &mut Dice, trunk: u64) -> Self {
        let mut world = Self { blocks: BTreeMap::new(), order: Vec::new(), bad: BTreeSet::new() };
        world.add(grow(spec().genesis(), trunk, 0));
        for salt in 1..6 {
            let from = world.any(dice).header.clone();
            let length = dice.roll(trunk) + 1;
            world.add(grow(&from, length, salt));
        }
        for salt in 6..9 {
            let from = world.blocks[&world.any_good(dice)].header.clone();
            let length = dice.roll(100) + 1;
            world.add_bad(&from, length, salt);
        }
        world
    }

    /// A branch that begins well, and breaks a rule halfway up.
    fn add_bad(&mut self, from: &Arc<SealedHeader>, length: u64, salt: u8) {
        let below = grow(from, length, salt);
        let last = below.last().unwrap().header.clone();
        let bad = child(&last, salt, |header| header.base_fee_per_gas = Some(1));
        let mut above = grow(&bad.header, length, salt);
        above.insert(0, bad);
        self.bad.extend(above.iter().map(|block| block.header.hash()));
        self.add(below);
        self.add(above);
    }

    fn any_good(&self, dice: &mut Dice) -> B256 {
        loop {
            let hash = self.any(dice).header.hash();
            if !self.bad.contains(&hash) {
                return hash;
            }
        }
    }

    fn add(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            self.order.push(block.header.hash());
            self.blocks.insert(block.header.hash(), block);
        }
    }

    fn any(&self, dice: &mut Dice) -> &Block {
        &self.blocks[&self.order[dice.roll(self.order.len() as u64) as usize]]
    }

    /// A run of headers, ascending, the named one at its end.
    fn run(&self, head: B256, count: u64) -> Vec<Arc<SealedHeader>> {
        let mut run = Vec::new();
        let mut next = head;
        while let Some(block) = self.blocks.get(&next).filter(|_| (run.len() as u64) < count) {
            run.push(Arc::clone(&block.header));
            next = block.header.parent_hash;
        }
        run.reverse();
        run
    }
}

/// What is on disk. Checks what a store may rely on.
#[derive(Default)]
struct Disk {
    headers: BTreeMap<B256, Arc<SealedHeader>>,
    canonical: BTreeMap<u64, B256>,
    forkchoice: Forkchoice,
}

impl Disk {
    fn write(&mut self, batch: StoreBatch) {
        for header in batch.headers {
            self.headers.insert(header.hash(), header);
        }
        if let Some(first) = batch.canonical.first() {
            drop(self.canonical.split_off(&first.number));
        }
        for name in batch.canonical {
            let header = self.headers.get(&name.hash).expect("a canonical block is stored");
            assert_eq!(header.number, name.number);
            assert_eq!(self.canonical.get(&(name.number - 1)), Some(&header.parent_hash));
            self.canonical.insert(name.number, name.hash);
        }
        if let Some(forkchoice) = batch.forkchoice {
            self.forkchoice = forkchoice;
        }
    }

    fn tip(&self) -> BlockNumHash {
        let (number, hash) = self.canonical.last_key_value().unwrap();
        BlockNumHash::new(*number, *hash)
    }
}

struct Simulation {
    dice: Dice,
    world: World,
    disk: Disk,
    core: Core,
    incarnation: u32,
    config: TreeConfig,
    now: std::time::Instant,
    asked_of_store: Vec<StoreRequest>,
    downloads: BTreeMap<RequestId, Vec<Arc<SealedHeader>>>,
    last_report: Option<TreeReport>,
    requests: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let trunk = dice.roll(1_500) + 20;
        let world = World::grown(&mut dice, trunk);
        let mut config = TreeConfig::new(spec());
        if dice.one_in(2) {
            config.sync_trigger = SyncTrigger::ForkchoiceAndPayload;
        }
        let genesis = config.spec.genesis().clone();
        let mut disk = Disk::default();
        disk.canonical.insert(0, genesis.hash());
        disk.headers.insert(genesis.hash(), genesis);
        let core = Core::new(config.clone(), RequestId::first_of(0));
        let now = moorline_kit::now();
        let mut simulation = Self {
            dice,
            world,
            disk,
            core,
            incarnation: 0,
            config,
            now,
            asked_of_store: Vec::new(),
            downloads: BTreeMap::new(),
            last_report: None,
            requests: 0,
        };
        simulation.step(Input::Started);
        simulation
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        self.take(effects);
    }

    fn ask(&mut self, request: TreeRequest) -> TreeVerdict {
        let mut effects = Vec::new();
        let verdict = self.core.answer(self.now, request, &mut effects);
        self.take(effects);
        verdict
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(TreeEvent::Download(request)) => self.take_download(request),
                Effect::Store(request) => self.asked_of_store.push(request),
                Effect::Report(report) => self.last_report = Some(report),
                Effect::Note(_) | Effect::Warn(_) => {}
            }
        }
    }

    fn take_download(&mut self, request: DownloadRequest) {
        self.requests += 1;
        match request {
            DownloadRequest::Cancel { id } => drop(self.downloads.remove(&id)),
            DownloadRequest::BlockSet { id, hashes } => {
                let run = self.world.run(*hashes.first().unwrap(), 1);
                self.downloads.entry(id).or_insert(run);
            }
            DownloadRequest::BlockRange { id, head, count } => {
                let run = self.world.run(head, count);
                assert_eq!(run.len() as u64, count, "a range reaches below the first block");
                self.downloads.entry(id).or_insert(run);
            }
        }
    }

    /// The downloader delivers some of some request, or fails.
    fn deliver(&mut self, is_calm: bool) {
        let ids: Vec<_> = self.downloads.keys().copied().collect();
        let Some(id) = ids.get(self.dice.roll(ids.len().max(1) as u64) as usize).copied() else {
            return;
        };
        let run = self.downloads.get_mut(&id).unwrap();
        let count = (self.dice.roll(512) as usize + 1).min(run.len());
        let blocks: Vec<_> = run.drain(..count).collect();
        let remaining_blocks = run.len() as u64;
        if run.is_empty() {
            self.downloads.remove(&id);
        }
        let headers = blocks.clone();
        self.disk.write(StoreBatch { headers, ..StoreBatch::default() });
        if !is_calm && self.dice.one_in(20) {
            self.downloads.remove(&id);
            let reason = DownloadFailure::Unobtainable { hash: B256::ZERO, attempts: 1 };
            self.step(Input::Downloaded(DownloadOutcome::Failed { request: id, reason }));
        } else if is_calm || !self.dice.one_in(20) {
            let outcome = DownloadOutcome::Blocks { request: id, blocks, remaining_blocks };
            self.step(Input::Downloaded(outcome));
        }
    }

    /// The store does the next thing it was asked, forgets it, or fails.
    fn store(&mut self, is_calm: bool) {
        if self.asked_of_store.is_empty() {
            return;
        }
        let request = self.asked_of_store.remove(0);
        if !is_calm && self.dice.one_in(40) {
            let error = StoreError::Io("noise".to_owned());
            self.step(Input::Stored(StoreOutcome::Failed { request: request.id(), error }));
            return;
        }
        let outcome = self.answer(request);
        if is_calm || !self.dice.one_in(40) {
            self.step(Input::Stored(outcome));
        }
    }

    fn answer(&mut self, request: StoreRequest) -> StoreOutcome {
        match request {
            StoreRequest::Persist { id, batch, .. } => {
                let bad = &self.world.bad;
                assert!(batch.canonical.iter().all(|name| !bad.contains(&name.hash)));
                self.disk.write(batch);
                StoreOutcome::Persisted { request: id }
            }
            StoreRequest::Load { id, .. } => {
                let tip = Arc::clone(&self.disk.headers[&self.disk.tip().hash]);
                let forkchoice = self.disk.forkchoice;
                let state =
                    StoredState { tip, forkchoice, keeps_receipts: false, spans: Vec::new() };
                StoreOutcome::Loaded { request: id, state }
            }
            StoreRequest::Walk { id, top, limit, .. } => {
                let mut blocks = Vec::new();
                let mut next = top.hash;
                while let Some(header) = self.disk.headers.get(&next)
                    && (blocks.len() as u64) < limit
                {
                    next = header.parent_hash;
                    blocks.push(FoundBlock {
                        header: Arc::clone(header),
                        has_body: true,
                        has_receipts: true,
                    });
                }
                StoreOutcome::Walked { request: id, blocks }
            }
            StoreRequest::Find { .. } => panic!("the tree asks for no such thing"),
        }
    }

    fn name_a_head(&mut self) {
        let head = self.world.any(&mut self.dice).header.hash();
        self.name(head);
    }

    fn name(&mut self, head: B256) {
        let verdict = self.ask(TreeRequest::ForkchoiceUpdated(at_head(head)));
        self.check(&head, verdict, &[TreeVerdict::Syncing]);
    }

    /// A good block gets one of these answers; a bad one may also be called invalid.
    fn check(&self, hash: &B256, verdict: TreeVerdict, good: &[TreeVerdict]) {
        let is_invalid = matches!(verdict, TreeVerdict::Invalid { .. });
        let is_bad = self.world.bad.contains(hash);
        assert!(good.contains(&verdict) || (is_invalid && is_bad), "{hash}: {verdict:?}");
    }

    fn hand_over_a_payload(&mut self) {
        let block = self.world.any(&mut self.dice).clone();
        let hash = block.header.hash();
        let verdict = self.ask(TreeRequest::NewPayload(block));
        self.check(&hash, verdict, &[TreeVerdict::Syncing, TreeVerdict::Accepted]);
    }

    fn tick(&mut self, wait: Duration) {
        self.now += wait;
        if self.core.next_wakeup().is_some_and(|(at, _)| at <= self.now) {
            self.step(Input::Wakeup);
        }
    }

    fn crash(&mut self, actor: ActorName) {
        match actor {
            ActorName::Tree => {
                self.incarnation += 1;
                let first = RequestId::first_of(self.incarnation);
                self.core = Core::new(self.config.clone(), first);
                self.step(Input::Started);
            }
            ActorName::Downloader => {
                self.downloads.clear();
                self.step(Input::Restarted(ActorName::Downloader));
            }
            ActorName::Store => {
                let half = self.asked_of_store.len() / 2;
                self.asked_of_store.truncate(half);
                self.step(Input::Restarted(ActorName::Store));
            }
            ActorName::PeerManager => {}
        }
    }

    fn rough_step(&mut self) {
        match self.dice.roll(100) {
            0 => self.crash(ActorName::Tree),
            1 => self.crash(ActorName::Downloader),
            2 => self.crash(ActorName::Store),
            3..6 => self.name_a_head(),
            6..16 => self.hand_over_a_payload(),
            16..20 => self.tick(Duration::from_secs(5)),
            20..60 => self.deliver(false),
            _ => self.store(false),
        }
    }

    /// Nothing goes wrong any more: the head named last has to be reached.
    fn calm_down(&mut self, head: B256) {
        for _ in 0..4_000 {
            self.deliver(true);
            self.store(true);
            if self.downloads.is_empty() && self.asked_of_store.is_empty() {
                self.tick(Duration::from_secs(1));
            }
            if self.disk.tip().hash == head
                && self.asked_of_store.is_empty()
                && self.last_report.as_ref().is_some_and(|report| report.synced)
            {
                return;
            }
        }
        panic!(
            "the head was never reached: tip {}, head {}, report {:?}, downloads {:?}",
            self.disk.tip(),
            self.world.blocks[&head].num_hash(),
            self.last_report,
            self.downloads.iter().map(|(id, run)| (*id, run.len())).collect::<Vec<_>>(),
        );
    }
}

#[test]
fn whatever_happens_the_head_named_last_is_reached() {
    for seed in 0..40 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..400 {
            simulation.rough_step();
        }
        let head = simulation.world.any_good(&mut simulation.dice);
        simulation.name(head);
        simulation.calm_down(head);
    }
}
