//! What the store was asked to write and has not yet confirmed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use moorline_messages::{
    ActorName, Block, BlockNumHash, Forkchoice, RequestId, StoreBatch, StoreRequest, Weigh,
};

/// Canonical blocks in one batch.
pub(crate) const CANONICAL_PER_BATCH_MAX: usize = 4_096;

/// Canonical blocks that may wait for a batch before another delivery is taken in.
pub(crate) const CANONICAL_PENDING_MAX: usize = 8_192;

/// Bytes of payloads that were sent to the store and are not confirmed yet.
pub(crate) const PAYLOADS_IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// Payloads that were sent to the store and are not confirmed yet.
pub(crate) const PAYLOADS_IN_FLIGHT_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    in_flight: BTreeMap<RequestId, StoreBatch>,
    canonical: Vec<BlockNumHash>,
    forkchoice: Option<Forkchoice>,
}

impl Ledger {
    /// Nothing waits and nothing is unconfirmed.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.canonical.is_empty() && self.forkchoice.is_none()
    }

    /// Every move of the tip is on disk.
    pub(crate) fn is_tip_settled(&self) -> bool {
        self.canonical.is_empty() && !self.is_tip_moving()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether another delivery may be made canonical.
    pub(crate) const fn has_room(&self) -> bool {
        self.canonical.len() < CANONICAL_PENDING_MAX
    }

    /// Whether a payload may be sent to the store.
    pub(crate) fn has_room_for(&self, payload: &Block) -> bool {
        let bytes: usize = self.in_flight.values().map(Weigh::weight_bytes).sum();
        self.in_flight.len() < PAYLOADS_IN_FLIGHT_MAX
            && bytes.saturating_add(payload.weight_bytes()) <= PAYLOADS_IN_FLIGHT_BYTES_MAX
    }

    /// Notes blocks that became canonical; they replace what waits from the first one's height on.
    pub(crate) fn canonize(&mut self, names: Vec<BlockNumHash>) {
        let Some(first) = names.first().map(|name| name.number) else { return };
        self.canonical.retain(|name| name.number < first);
        self.canonical.extend(names);
    }

    /// Notes what the consensus client said; only the newest is written.
    pub(crate) const fn follow(&mut self, forkchoice: Forkchoice) {
        self.forkchoice = Some(forkchoice);
    }

    /// Sends a payload.
    pub(crate) fn keep(&mut self, id: RequestId, payload: &Block) -> StoreRequest {
        self.send(
            id,
            StoreBatch {
                headers: vec![payload.header.clone()],
                bodies: vec![(payload.num_hash(), payload.body.clone())],
                ..StoreBatch::default()
            },
        )
    }

    /// Sends the next batch of what waits. One that moves the tip goes alone and after the payloads it
    /// names: should the store lose one of them, what came later must not have overtaken it.
    pub(crate) fn next(&mut self, ids: &mut RequestId) -> Option<StoreRequest> {
        let count = if self.is_tip_moving() { 0 } else { self.written() };
        let canonical = self.canonical.drain(..count).collect();
        let is_told = self.in_flight.values().any(|batch| batch.forkchoice.is_some());
        let forkchoice = if is_told { None } else { self.forkchoice.take() };
        let batch = StoreBatch { canonical, forkchoice, ..StoreBatch::default() };
        (!batch.is_empty()).then(|| self.send(ids.take(), batch))
    }

    /// How many of the canonical blocks that wait may go into the next batch.
    fn written(&self) -> usize {
        let unwritten: BTreeSet<BlockNumHash> = self
            .in_flight
            .values()
            .flat_map(|batch| batch.bodies.iter().map(|(name, _)| *name))
            .collect();
        self.canonical
            .iter()
            .take(CANONICAL_PER_BATCH_MAX)
            .take_while(|name| !unwritten.contains(name))
            .count()
    }

    /// Whether a payload is on its way to the disk.
    pub(crate) fn is_keeping(&self, hash: &B256) -> bool {
        let bodies = self.in_flight.values().flat_map(|batch| &batch.bodies);
        bodies.into_iter().any(|(name, _)| name.hash == *hash)
    }

    /// A batch is on disk. False if it was none of ours.
    pub(crate) fn confirm(&mut self, id: RequestId) -> bool {
        self.in_flight.remove(&id).is_some()
    }

    pub(crate) fn awaits(&self, id: RequestId) -> bool {
        self.in_flight.contains_key(&id)
    }

    /// Everything that is unconfirmed, to be asked again in the order it was asked in.
    pub(crate) fn again(&self) -> impl Iterator<Item = StoreRequest> + '_ {
        self.in_flight.iter().map(|(id, batch)| Self::request(*id, batch.clone()))
    }

    fn is_tip_moving(&self) -> bool {
        self.in_flight.values().any(|batch| !batch.canonical.is_empty())
    }

    fn send(&mut self, id: RequestId, batch: StoreBatch) -> StoreRequest {
        self.in_flight.insert(id, batch.clone());
        Self::request(id, batch)
    }

    const fn request(id: RequestId, batch: StoreBatch) -> StoreRequest {
        StoreRequest::Persist { id, from: ActorName::Tree, batch }
    }
}
