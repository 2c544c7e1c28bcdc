//! The state machine of the tree. No clock, no I/O: time comes in with each input.

mod buffer;
mod chain;
mod delivery;
mod incomplete;
mod intake;
mod invalid;
mod ledger;
mod pursuit;
mod requests;
mod status;
mod storing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, BlockNumHash, DownloadOutcome, Forkchoice, RequestId, SealedHeader, StoreOutcome,
    StoreRequest, TreeEvent, TreeReport, TreeRequest, TreeVerdict,
};

use crate::TreeConfig;
use buffer::Buffer;
use chain::Chain;
use incomplete::Incomplete;
use invalid::Invalid;
use ledger::Ledger;
use pursuit::{Download, Target, Want};
use status::Status;
use storing::{Phase, Walk};

#[cfg(test)]
pub(crate) use buffer::BUFFER_HEADERS_MAX;
#[cfg(test)]
pub(crate) use invalid::INVALID_HITS_MAX;
#[cfg(test)]
pub(crate) use ledger::{CANONICAL_PENDING_MAX, CANONICAL_PER_BATCH_MAX};

/// After this long without news a request is made again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(10);

/// After this long without a word from the store, what it owes is asked again. Writing is slow and
/// writing twice is wasteful, so patience is greater here.
pub(crate) const STORE_ASK_AGAIN: Duration = Duration::from_secs(30);

/// What happens to the tree.
#[derive(Debug)]
pub(crate) enum Input {
    /// The actor stands, for the first time or again.
    Started,
    /// The downloader has something.
    Downloaded(DownloadOutcome),
    /// The store has something.
    Stored(StoreOutcome),
    /// A neighbour lost its memory.
    Restarted(ActorName),
    /// The moment that `next_wakeup` named has come.
    Wakeup,
}

/// What the tree does.
#[derive(Debug)]
pub(crate) enum Effect {
    Emit(TreeEvent),
    Store(StoreRequest),
    Report(TreeReport),
    /// Something an operator may want to read, in a sentence.
    Note(String),
    /// Something an operator should read, in a sentence.
    Warn(String),
}

/// What is missing?
#[derive(Debug)]
pub(crate) struct Core {
    config: TreeConfig,
    ids: RequestId,
    phase: Phase,
    /// Whether a block needs its receipts before it may become canonical.
    keeps_receipts: bool,
    chain: Chain,
    buffer: Buffer,
    incomplete: Incomplete,
    invalid: Invalid,
    ledger: Ledger,
    /// What the consensus client last said, in this life or an earlier one.
    forkchoice: Option<Forkchoice>,
    target: Option<Target>,
    /// The request that leads to the target.
    main: Option<Download>,
    /// The request that looks for the place where the target's chain leaves ours.
    bridge: Option<Download>,
    /// The range of a former target, until it is known whether the new one builds on it.
    base: Option<Download>,
    /// What the last request asked for that ended and is not to be repeated at once.
    last_want: Option<(Want, Instant)>,
    /// When to look again, while nothing is out for a target that is not reached.
    retry_at: Option<Instant>,
    /// How many blocks the next bridge is long.
    bridge_blocks: u64,
    /// The highest connected block that is proved to lie under a named head.
    followed: Option<Arc<SealedHeader>>,
    /// Canonical headers below those in memory, on their way.
    walk: Option<Walk>,
    /// Where a walk found nothing, so that it is not repeated.
    walk_ended_at: Option<BlockNumHash>,
    /// When the store last said anything while it owed an answer.
    store_heard_at: Option<Instant>,
    store_failures: u32,
    status: Status,
}

impl Core {
    pub(crate) fn new(config: TreeConfig, first_id: RequestId) -> Self {
        let genesis = config.spec.genesis();
        let chain = Chain::new(Arc::clone(genesis), Arc::clone(genesis));
        Self {
            config,
            ids: first_id,
            phase: Phase::Unasked,
            keeps_receipts: false,
            chain,
            buffer: Buffer::default(),
            incomplete: Incomplete::default(),
            invalid: Invalid::default(),
            ledger: Ledger::default(),
            forkchoice: None,
            target: None,
            main: None,
            bridge: None,
            base: None,
            last_want: None,
            retry_at: None,
            bridge_blocks: 1,
            followed: None,
            walk: None,
            walk_ended_at: None,
            store_heard_at: None,
            store_failures: 0,
            status: Status::default(),
        }
    }

    /// One step that answers the consensus client.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        request: TreeRequest,
        effects: &mut Vec<Effect>,
    ) -> TreeVerdict {
        let verdict = match request {
            TreeRequest::ForkchoiceUpdated(forkchoice) => self.on_forkchoice(forkchoice, effects),
            TreeRequest::NewPayload(block) => self.on_payload(&block, effects),
            TreeRequest::BadPayload { header, reason } => {
                self.on_bad_payload(&header, reason, effects)
            }
        };
        self.follow_up(now, effects);
        verdict
    }

    /// One step.
    pub(crate) fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Started => self.load(now, effects),
            Input::Downloaded(outcome) => self.on_download(now, outcome, effects),
            Input::Stored(outcome) => self.on_store(now, outcome, effects),
            Input::Restarted(ActorName::Store) => self.ask_store_again(now, effects),
            Input::Restarted(ActorName::Downloader) => self.forget_downloads(),
            Input::Restarted(ActorName::Tree | ActorName::PeerManager) => {}
            Input::Wakeup => self.on_wakeup(now, effects),
        }
        self.follow_up(now, effects);
    }

    /// What every step ends with.
    fn follow_up(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.is_ready() {
            self.advance(effects);
            self.pursue(now, effects);
            self.write(effects);
        }
        self.watch_store(now);
        self.report(now, effects);
    }

    /// When to be woken, and why.
    pub(crate) fn next_wakeup(&self) -> Option<(Instant, &'static str)> {
        let store = self.store_due().map(|at| (at, "ask the store again"));
        let download = self.download_due().map(|at| (at, "ask for blocks again"));
        let report = self.status.due().map(|at| (at, "tell how far things are"));
        [store, download, report].into_iter().flatten().min()
    }

    /// Nothing that was promised is unwritten.
    pub(crate) fn is_settled(&self) -> bool {
        self.ledger.is_settled()
    }

    /// Whether a delivery may be taken in. One that came too early would be lost, and with it the link
    /// to all that follow.
    pub(crate) const fn has_room(&self) -> bool {
        self.ledger.has_room()
    }

    fn on_wakeup(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.store_due().is_some_and(|at| at <= now) {
            self.ask_store_again(now, effects);
        }
        self.repeat_silent_downloads(now, effects);
    }

    const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    fn genesis_hash(&self) -> B256 {
        self.config.spec.genesis().hash()
    }

    /// The header of a block that is here, connected or not.
    fn header(&self, hash: &B256) -> Option<&Arc<SealedHeader>> {
        self.chain.get(hash).or_else(|| self.buffer.get(hash))
    }
}
