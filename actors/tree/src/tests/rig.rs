//! A tree at the end of strings: the test plays the consensus client, the downloader and the store.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::Header;
use alloy_primitives::{B256, Sealable};
use moorline_messages::{
    ActorName, Block, BlockNumHash, Body, DownloadFailure, DownloadOutcome, DownloadRequest,
    Forkchoice, FoundBlock, RequestId, SealedHeader, StoreError, StoreOutcome, StoreRequest,
    StoredState, TreeEvent, TreeReport, TreeRequest, TreeVerdict,
};
use moorline_rules::{ChainSpec, header::next_base_fee};

use crate::{
    SyncTrigger, TreeConfig,
    core::{CANONICAL_PER_BATCH_MAX, Core, Effect, Input},
};

const GENESIS: &str = r#"{
    "config": {
        "chainId": 1, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
        "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0,
        "berlinBlock": 0, "londonBlock": 0, "mergeNetsplitBlock": 0,
        "terminalTotalDifficulty": 0
    },
    "difficulty": "0x0", "gasLimit": "0x1c9c380", "timestamp": "0x0", "extraData": "0x",
    "nonce": "0x0", "alloc": {}
}"#;

pub(super) fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::from_genesis_json(GENESIS).unwrap())
}

/// Blocks that keep every rule, on top of a parent. Another salt makes another branch.
pub(super) fn grow(parent: &Arc<SealedHeader>, count: u64, salt: u8) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..count {
        let parent = blocks.last().map_or(parent, |block| &block.header);
        blocks.push(child(parent, salt, |_| {}));
    }
    blocks
}

/// One block on top of a parent, changed by the test.
pub(super) fn child(
    parent: &Arc<SealedHeader>,
    salt: u8,
    change: impl FnOnce(&mut Header),
) -> Block {
    let mut header = Header {
        parent_hash: parent.hash(),
        number: parent.number + 1,
        timestamp: parent.timestamp + 12,
        gas_limit: parent.gas_limit,
        base_fee_per_gas: Some(next_base_fee(
            parent.gas_used,
            parent.gas_limit,
            parent.base_fee_per_gas.unwrap(),
        )),
        extra_data: vec![salt].into(),
        ..Header::default()
    };
    change(&mut header);
    let body = Body { ommers: Body::NO_OMMERS, ..Body::default() };
    Block { header: Arc::new(header.seal_slow()), body: Arc::new(body) }
}

pub(super) fn headers(blocks: &[Block]) -> Vec<Arc<SealedHeader>> {
    blocks.iter().map(|block| Arc::clone(&block.header)).collect()
}

pub(super) fn hash(block: &Block) -> B256 {
    block.header.hash()
}

pub(super) fn names(blocks: &[Block]) -> Vec<BlockNumHash> {
    blocks.iter().map(Block::num_hash).collect()
}

pub(super) fn at_head(head: B256) -> Forkchoice {
    Forkchoice { head, ..Forkchoice::default() }
}

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) spec: Arc<ChainSpec>,
    pub(super) now: Instant,
    pub(super) downloads: VecDeque<DownloadRequest>,
    /// Canonical batches, as the store was asked to write them.
    pub(super) canonical: VecDeque<Vec<BlockNumHash>>,
    pub(super) forkchoices: Vec<Forkchoice>,
    pub(super) payloads: Vec<BlockNumHash>,
    /// What the store owes, when it does not answer at once.
    pub(super) store: VecDeque<StoreRequest>,
    pub(super) store_answers: bool,
    keeps_receipts: bool,
    pub(super) reports: Vec<TreeReport>,
    pub(super) warnings: Vec<String>,
}

impl Rig {
    /// A tree that has asked the store and waits.
    pub(super) fn unloaded(change: impl FnOnce(&mut TreeConfig)) -> Self {
        let spec = spec();
        let mut config = TreeConfig::new(Arc::clone(&spec));
        change(&mut config);
        let mut rig = Self {
            core: Core::new(config, RequestId::first_of(0)),
            spec,
            now: moorline_kit::now(),
            downloads: VecDeque::new(),
            canonical: VecDeque::new(),
            forkchoices: Vec::new(),
            payloads: Vec::new(),
            store: VecDeque::new(),
            store_answers: false,
            keeps_receipts: false,
            reports: Vec::new(),
            warnings: Vec::new(),
        };
        rig.step(Input::Started);
        rig
    }

    /// A tree over an empty store.
    pub(super) fn at_genesis() -> Self {
        Self::at_genesis_with(|_| {})
    }

    pub(super) fn at_genesis_with(change: impl FnOnce(&mut TreeConfig)) -> Self {
        let mut rig = Self::unloaded(change);
        rig.load(&[], Forkchoice::default());
        rig
    }

    /// A tree over a store that holds these blocks, and never heard of a head.
    pub(super) fn at_tip(blocks: &[Block]) -> Self {
        let mut rig = Self::unloaded(|_| {});
        rig.load(blocks, Forkchoice::default());
        rig
    }

    /// The same over a store that keeps receipts.
    pub(super) fn with_receipts_at_tip(
        blocks: &[Block],
        change: impl FnOnce(&mut TreeConfig),
    ) -> Self {
        let mut rig = Self::unloaded(change);
        rig.keeps_receipts = true;
        rig.load(blocks, Forkchoice::default());
        rig
    }

    pub(super) fn genesis(&self) -> Arc<SealedHeader> {
        Arc::clone(self.spec.genesis())
    }

    /// The store answers the load, and the walk that follows; from now on it answers by itself.
    pub(super) fn load(&mut self, blocks: &[Block], forkchoice: Forkchoice) {
        let Some(StoreRequest::Load { id, from: ActorName::Tree }) = self.store.pop_front() else {
            panic!("nothing was loaded");
        };
        let tip = blocks.last().map_or(self.genesis(), |block| Arc::clone(&block.header));
        let keeps_receipts = self.keeps_receipts;
        let state = StoredState { tip, forkchoice, keeps_receipts, spans: Vec::new() };
        self.step(Input::Stored(StoreOutcome::Loaded { request: id, state }));
        if !blocks.is_empty() {
            self.walk(blocks);
        }
        self.store_answers = true;
    }

    /// The store answers a walk that begins in these blocks.
    pub(super) fn walk(&mut self, blocks: &[Block]) {
        let Some(StoreRequest::Walk { id, top, limit, .. }) = self.store.pop_front() else {
            panic!("nothing was walked");
        };
        assert!(limit <= 1_024);
        let limit = usize::try_from(limit).unwrap();
        let found = blocks.iter().rev().skip_while(|block| block.num_hash() != top).take(limit);
        let blocks = found
            .map(|block| FoundBlock {
                header: Arc::clone(&block.header),
                has_body: true,
                has_receipts: true,
            })
            .collect();
        self.step(Input::Stored(StoreOutcome::Walked { request: id, blocks }));
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(self.now, input, &mut effects);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        let mut confirmed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Emit(TreeEvent::Download(request)) => self.downloads.push_back(request),
                Effect::Store(request) => self.note(request, &mut confirmed),
                Effect::Report(report) => self.reports.push(report),
                Effect::Warn(text) => self.warnings.push(text),
                Effect::Note(_) => {}
            }
        }
        for request in confirmed {
            self.step(Input::Stored(StoreOutcome::Persisted { request }));
        }
    }

    fn note(&mut self, request: StoreRequest, confirmed: &mut Vec<RequestId>) {
        if let StoreRequest::Persist { id, from, batch } = &request {
            assert_eq!(*from, ActorName::Tree);
            assert!(batch.canonical.len() <= CANONICAL_PER_BATCH_MAX);
            if !batch.canonical.is_empty() {
                self.canonical.push_back(batch.canonical.clone());
            }
            self.forkchoices.extend(batch.forkchoice);
            self.payloads.extend(batch.bodies.iter().map(|(name, _)| *name));
            if self.store_answers {
                return confirmed.push(*id);
            }
        }
        self.store.push_back(request);
    }

    pub(super) fn ask(&mut self, request: TreeRequest) -> TreeVerdict {
        let mut effects = Vec::new();
        let verdict = self.core.answer(self.now, request, &mut effects);
        self.take(effects);
        verdict
    }

    pub(super) fn forkchoice(&mut self, head: B256) -> TreeVerdict {
        self.ask(TreeRequest::ForkchoiceUpdated(at_head(head)))
    }

    /// Names a head; the answer has to be SYNCING.
    #[track_caller]
    pub(super) fn follow(&mut self, head: &Block) {
        assert_eq!(self.forkchoice(hash(head)), TreeVerdict::Syncing);
    }

    pub(super) fn new_payload(&mut self, block: &Block) -> TreeVerdict {
        self.ask(TreeRequest::NewPayload(block.clone()))
    }

    /// The edge found this block to be bad.
    #[track_caller]
    pub(super) fn bad_payload(&mut self, block: &Block) {
        let header = Arc::clone(&block.header);
        let request = TreeRequest::BadPayload { header, reason: "it is bad".to_owned() };
        let reason = "it is bad".to_owned();
        assert_eq!(self.ask(request), TreeVerdict::Invalid { reason });
    }

    pub(super) fn deliver(&mut self, request: RequestId, blocks: &[Block], remaining_blocks: u64) {
        let blocks = headers(blocks);
        self.step(Input::Downloaded(DownloadOutcome::Blocks { request, blocks, remaining_blocks }));
    }

    pub(super) fn fail(&mut self, request: RequestId, reason: DownloadFailure) {
        self.step(Input::Downloaded(DownloadOutcome::Failed { request, reason }));
    }

    pub(super) fn confirm(&mut self, request: RequestId) {
        self.step(Input::Stored(StoreOutcome::Persisted { request }));
    }

    pub(super) fn fail_store(&mut self, request: RequestId) {
        let error = StoreError::Io("the cable is out".to_owned());
        self.step(Input::Stored(StoreOutcome::Failed { request, error }));
    }

    /// Lets time pass, ringing whenever the core asked for it.
    pub(super) fn pass(&mut self, wait: Duration) {
        let until = self.now + wait;
        for _ in 0..10_000 {
            match self.core.next_wakeup() {
                Some((at, _)) if at <= until => {
                    self.now = self.now.max(at);
                    self.step(Input::Wakeup);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the core rings without end: {:?}", self.core.next_wakeup());
    }

    #[track_caller]
    pub(super) fn expect_download_set(&mut self, hash: B256) -> RequestId {
        match self.downloads.pop_front() {
            Some(DownloadRequest::BlockSet { id, hashes }) => {
                assert_eq!(hashes, BTreeSet::from([hash]));
                id
            }
            other => panic!("expected a set, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn expect_download_range(&mut self, top: &Block, count: u64) -> RequestId {
        match self.downloads.pop_front() {
            Some(DownloadRequest::BlockRange { id, head, count: asked }) => {
                assert_eq!((head, asked), (hash(top), count));
                id
            }
            other => panic!("expected a range of {count} below {}, got {other:?}", top.num_hash()),
        }
    }

    #[track_caller]
    pub(super) fn expect_cancel(&mut self, id: RequestId) {
        assert_eq!(self.downloads.pop_front(), Some(DownloadRequest::Cancel { id }));
    }

    #[track_caller]
    pub(super) fn expect_canonical(&mut self, blocks: &[Block]) {
        assert_eq!(self.canonical.pop_front().unwrap_or_default(), names(blocks));
    }

    #[track_caller]
    pub(super) fn expect_silence(&self) {
        assert_eq!(self.downloads, VecDeque::new());
        assert_eq!(self.canonical, VecDeque::new());
    }

    #[track_caller]
    pub(super) fn expect_synced(&mut self, tip: &Block) {
        self.pass(Duration::from_secs(1));
        let report = self.reports.last().unwrap();
        assert_eq!((report.tip, report.synced), (tip.num_hash(), true));
        assert_eq!(report.trouble, None);
        self.expect_silence();
    }

    /// The store or the downloader panicked, and stands again.
    pub(super) fn restart(&mut self, actor: ActorName) {
        self.step(Input::Restarted(actor));
    }
}

pub(super) fn with_payload_trigger(config: &mut TreeConfig) {
    config.sync_trigger = SyncTrigger::ForkchoiceAndPayload;
}
