//! What the store knows, and what it still owes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{
    ActorName, BlockNumHash, RequestId, StoreError, StoreOutcome, StoreRequest, StoredState,
};

use super::pursuit::after;
use super::{
    Core, Effect, STORE_ASK_AGAIN, buffer::Buffer, chain::Chain, incomplete::Incomplete,
    ledger::Ledger,
};

/// Canonical headers read at start, and whenever a fork reaches below those in memory.
const WALK_HEADERS: u64 = 1_024;

/// Wait after the store's first failure; doubled for each further one.
const RELOAD_FIRST: Duration = Duration::from_secs(1);

/// Longest wait after a failure of the store.
const RELOAD_MAX: Duration = Duration::from_secs(60);

/// Where the tree stands with the store.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Not started.
    Unasked,
    /// Waiting for what is stored.
    Loading(RequestId),
    /// Waiting for the headers below the tip.
    Walking(Walk),
    /// The store failed; it is asked again then.
    Waiting(Instant),
    /// Memory and store agree.
    Ready,
}

/// A walk that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    id: RequestId,
    top: BlockNumHash,
}

impl Walk {
    const fn request(&self) -> StoreRequest {
        let Self { id, top } = *self;
        StoreRequest::Walk { id, from: ActorName::Tree, top, limit: WALK_HEADERS }
    }
}

impl Core {
    /// Asks the store what it has.
    pub(super) fn load(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let id = self.ids.take();
        self.phase = Phase::Loading(id);
        self.store_heard_at = Some(now);
        effects.push(Effect::Store(StoreRequest::Load { id, from: ActorName::Tree }));
    }

    /// What the store says.
    pub(super) fn on_store(
        &mut self,
        now: Instant,
        outcome: StoreOutcome,
        effects: &mut Vec<Effect>,
    ) {
        self.store_heard_at = Some(now);
        match outcome {
            StoreOutcome::Persisted { request } => {
                if self.ledger.confirm(request) {
                    self.store_failures = 0;
                }
            }
            StoreOutcome::Loaded { request, state } => {
                if matches!(self.phase, Phase::Loading(id) if id == request) {
                    self.on_loaded(state, effects);
                }
            }
            StoreOutcome::Walked { request, blocks } => {
                let headers = blocks.into_iter().map(|found| found.header);
                if matches!(self.phase, Phase::Walking(walk) if walk.id == request) {
                    self.chain.extend_down(headers);
                    self.on_ready(effects);
                } else if self.walk.is_some_and(|walk| walk.id == request) {
                    self.on_window_extended(headers, effects);
                }
            }
            StoreOutcome::Failed { request, error } => {
                if self.owes(request) {
                    self.on_store_failed(now, &error, effects);
                }
            }
            StoreOutcome::Found { .. } => {}
        }
    }

    fn on_loaded(&mut self, state: StoredState, effects: &mut Vec<Effect>) {
        let tip = BlockNumHash::of(&state.tip);
        self.chain = Chain::new(Arc::clone(self.config.spec.genesis()), state.tip);
        self.keeps_receipts = state.keeps_receipts;
        let head = state.forkchoice.head;
        if self.forkchoice.is_none() && head != B256::ZERO {
            self.forkchoice = Some(state.forkchoice);
            if head != self.genesis_hash() {
                self.retarget(head);
            }
        }
        if tip.number == 0 {
            return self.on_ready(effects);
        }
        let walk = Walk { id: self.ids.take(), top: tip };
        self.phase = Phase::Walking(walk);
        effects.push(Effect::Store(walk.request()));
    }

    fn on_ready(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ready;
        if self.store_failures > 0 {
            self.status.trouble = None;
        }
        self.connect_buffered(effects);
        let chain = &self.chain;
        if let Some(target) = self.target.as_mut().filter(|target| target.header.is_none()) {
            target.header = chain.get(&target.head).cloned();
        }
    }

    /// Lengthens the window of canonical headers if a fork reaches below it. True while the height
    /// cannot be judged: the headers are on their way, or the fork is too deep.
    pub(super) fn extend_window(&mut self, number: BlockNumber, effects: &mut Vec<Effect>) -> bool {
        let Some(bottom) = self.chain.window_bottom() else { return false };
        let lowest = bottom.number.saturating_sub(1);
        if number > lowest || lowest < self.config.floor.max(1) {
            return false;
        }
        let top = BlockNumHash::new(lowest, bottom.parent_hash);
        if !self.chain.has_room_below() || self.walk_ended_at == Some(top) {
            self.status.trouble = Some(format!("the fork leaves the chain below block {lowest}"));
            return true;
        }
        if self.walk.is_none() {
            let walk = Walk { id: self.ids.take(), top };
            self.walk = Some(walk);
            effects.push(Effect::Store(walk.request()));
        }
        true
    }

    fn on_window_extended(
        &mut self,
        headers: impl Iterator<Item = Arc<moorline_messages::SealedHeader>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(walk) = self.walk.take() else { return };
        self.chain.extend_down(headers);
        if !self.chain.contains(&walk.top.hash) {
            self.walk_ended_at = Some(walk.top);
        }
        self.connect_buffered(effects);
    }

    /// The store could not write or read: memory must not run ahead of it, so all of it is read anew
    /// after a while.
    fn on_store_failed(&mut self, now: Instant, error: &StoreError, effects: &mut Vec<Effect>) {
        let doublings = 2_u32.saturating_pow(self.store_failures);
        let wait = RELOAD_FIRST.saturating_mul(doublings).min(RELOAD_MAX);
        self.store_failures = self.store_failures.saturating_add(1);
        effects.push(Effect::Warn(format!("{error}; tried again in {} s", wait.as_secs())));
        self.status.trouble = Some(error.to_string());
        self.phase = Phase::Waiting(after(now, wait));
        self.walk = None;
        self.buffer = Buffer::default();
        // what was on its way to the disk may not be there
        self.incomplete = Incomplete::default();
        self.ledger = Ledger::default();
        if let Some(forkchoice) = self.forkchoice {
            self.ledger.follow(forkchoice);
        }
        self.suspend_target(effects);
    }

    /// Sends what waits to be written.
    pub(super) fn write(&mut self, effects: &mut Vec<Effect>) {
        while let Some(request) = self.ledger.next(&mut self.ids) {
            effects.push(Effect::Store(request));
        }
    }

    /// Keeps the clock that runs while the store owes something.
    pub(super) fn watch_store(&mut self, now: Instant) {
        let owes = !matches!(self.phase, Phase::Unasked | Phase::Waiting(_) | Phase::Ready)
            || self.walk.is_some()
            || self.ledger.is_waiting();
        self.store_heard_at = owes.then(|| self.store_heard_at.unwrap_or(now));
    }

    /// When the store is to be asked again.
    pub(super) fn store_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            _ => self.store_heard_at.map(|at| after(at, STORE_ASK_AGAIN)),
        }
    }

    /// Repeats everything that the store owes, in the order in which it was asked.
    pub(super) fn ask_store_again(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Unasked => {}
            Phase::Loading(_) | Phase::Waiting(_) => self.load(now, effects),
            Phase::Walking(walk) => effects.push(Effect::Store(walk.request())),
            Phase::Ready => {
                effects.extend(self.walk.map(|walk| Effect::Store(walk.request())));
                effects.extend(self.ledger.again().map(Effect::Store));
            }
        }
        self.store_heard_at = Some(now);
    }

    fn owes(&self, id: RequestId) -> bool {
        let is_phase = match self.phase {
            Phase::Loading(asked) => asked == id,
            Phase::Walking(walk) => walk.id == id,
            Phase::Unasked | Phase::Waiting(_) | Phase::Ready => false,
        };
        is_phase || self.walk.is_some_and(|walk| walk.id == id) || self.ledger.awaits(id)
    }
}
