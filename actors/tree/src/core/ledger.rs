//! What the store was asked to write and has not yet confirmed.

use std::collections::BTreeMap;

use moorline_messages::{ActorName, BlockNumHash, Forkchoice, RequestId, StoreBatch, StoreRequest};
use moorline_messages::{Block, Weigh};

/// Canonical blocks in one batch.
pub(crate) const CANONICAL_PER_BATCH_MAX: usize = 512;

/// Batches that move the tip and are not confirmed yet; further ones wait and grow together.
pub(crate) const CANONICAL_IN_FLIGHT_MAX: usize = 4;

/// Canonical blocks that may wait for a batch.
pub(crate) const CANONICAL_PENDING_MAX: usize = 65_536;

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
        self.canonical.is_empty() && self.canonical_in_flight() == 0
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether a delivery of this many blocks could be made canonical.
    pub(crate) const fn has_room(&self, blocks: usize) -> bool {
        self.canonical.len().saturating_add(blocks) <= CANONICAL_PENDING_MAX
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

    /// Sends the next batch of what waits, if there is one and not too many are out.
    pub(crate) fn next(&mut self, ids: &mut RequestId) -> Option<StoreRequest> {
        let canonical = if self.canonical_in_flight() < CANONICAL_IN_FLIGHT_MAX {
            let count = self.canonical.len().min(CANONICAL_PER_BATCH_MAX);
            self.canonical.drain(..count).collect()
        } else {
            Vec::new()
        };
        let told = self.in_flight.values().any(|batch| batch.forkchoice.is_some());
        let forkchoice = if told && canonical.is_empty() { None } else { self.forkchoice.take() };
        let batch = StoreBatch { canonical, forkchoice, ..StoreBatch::default() };
        (!batch.is_empty()).then(|| self.send(ids.take(), batch))
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

    fn canonical_in_flight(&self) -> usize {
        self.in_flight.values().filter(|batch| !batch.canonical.is_empty()).count()
    }

    fn send(&mut self, id: RequestId, batch: StoreBatch) -> StoreRequest {
        self.in_flight.insert(id, batch.clone());
        Self::request(id, batch)
    }

    const fn request(id: RequestId, batch: StoreBatch) -> StoreRequest {
        StoreRequest::Persist { id, from: ActorName::Tree, batch }
    }
}
