//! On the way to the disk: batches that are gathered, written and remembered until they are safe.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_messages::{
    ActorName, BlockNumHash, Body, Receipts, RequestId, SealedHeader, Span, StoreBatch,
    StoreRequest, Weigh,
};

/// Batches that may be on their way to the disk at once.
const FLIGHTS_MAX: usize = 4;

/// Size at which a batch is closed, and goes although another is still under way.
const BATCH_BYTES_AIM: usize = 2 * 1024 * 1024;

/// How long a batch is given before it is sent again; repeating one changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wait before a batch that the store refused is tried again.
const BACKOFF: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Flight {
    batch: StoreBatch,
    bytes: usize,
    again_at: Instant,
}

#[derive(Debug, Default)]
struct Gathered {
    batch: StoreBatch,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Full, and waiting for their turn.
    closed: VecDeque<Gathered>,
    open: Gathered,
    waiting_bytes: usize,
    flights: BTreeMap<RequestId, Flight>,
}

impl Writer {
    pub(super) fn headers(&mut self, headers: &[Arc<SealedHeader>], span: Span) {
        let bytes: usize = headers.iter().map(|header| header.weight_bytes()).sum();
        let batch = self.open_batch(bytes);
        batch.headers.extend(headers.iter().map(Arc::clone));
        // in one batch with its headers, so that it never names what is not there
        batch.spans.push(span);
    }

    pub(super) fn body(&mut self, block: BlockNumHash, body: Arc<Body>) {
        let bytes = body.weight_bytes();
        self.open_batch(bytes).bodies.push((block, body));
    }

    pub(super) fn receipts(&mut self, block: BlockNumHash, receipts: Arc<Receipts>) {
        let bytes = receipts.weight_bytes();
        self.open_batch(bytes).receipts.push((block, receipts));
    }

    /// The batch that takes so many bytes more.
    fn open_batch(&mut self, bytes: usize) -> &mut StoreBatch {
        if self.open.bytes >= BATCH_BYTES_AIM {
            self.closed.push_back(std::mem::take(&mut self.open));
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        self.open.bytes = self.open.bytes.saturating_add(bytes);
        &mut self.open.batch
    }

    /// Bytes proved but not yet safe.
    pub(super) fn buffered_bytes(&self) -> usize {
        let flying: usize = self.flights.values().map(|flight| flight.bytes).sum();
        flying.saturating_add(self.waiting_bytes)
    }

    /// Whether something is on its way to the disk.
    pub(super) fn is_writing(&self) -> bool {
        !self.flights.is_empty()
    }

    /// The next batch to write, if it is time for one.
    pub(super) fn next_batch(&mut self, now: Instant, ids: &mut RequestId) -> Option<StoreRequest> {
        let full = !self.closed.is_empty() || self.open.bytes >= BATCH_BYTES_AIM;
        if !self.flights.is_empty() && (!full || self.flights.len() >= FLIGHTS_MAX) {
            return None;
        }
        let next = self.closed.pop_front();
        let Gathered { batch, bytes } = next.unwrap_or_else(|| std::mem::take(&mut self.open));
        if batch.is_empty() {
            return None;
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        let id = ids.take();
        let again_at = later(now, PATIENCE);
        self.flights.insert(id, Flight { batch: batch.clone(), bytes, again_at });
        Some(persist(id, batch))
    }

    /// Everything that waits, whatever is under way: nobody will be there to send it later.
    pub(super) fn rest(&mut self, ids: &mut RequestId) -> Vec<StoreRequest> {
        let open = std::mem::take(&mut self.open);
        let waiting = self.closed.drain(..).chain([open]).map(|gathered| gathered.batch);
        let waiting = waiting.filter(|batch| !batch.is_empty());
        waiting.map(|batch| persist(ids.take(), batch)).collect()
    }

    /// Batches to send again: the store may have lost them.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<StoreRequest> {
        let mut again = Vec::new();
        for (id, flight) in &mut self.flights {
            if flight.again_at <= now {
                flight.again_at = later(now, PATIENCE);
                again.push(persist(*id, flight.batch.clone()));
            }
        }
        again
    }

    /// The store restarted: everything under way is due now.
    pub(super) fn hurry(&mut self, now: Instant) {
        for flight in self.flights.values_mut() {
            flight.again_at = now;
        }
    }

    /// The batch is safe.
    pub(super) fn persisted(&mut self, id: RequestId) -> Option<StoreBatch> {
        self.flights.remove(&id).map(|flight| flight.batch)
    }

    /// The store refused: tried again a little later. Returns whether it was ours.
    pub(super) fn refused(&mut self, now: Instant, id: RequestId) -> bool {
        let flight = self.flights.get_mut(&id);
        flight.map(|flight| flight.again_at = later(now, BACKOFF)).is_some()
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.flights.values().map(|flight| flight.again_at).min()
    }
}

fn persist(id: RequestId, batch: StoreBatch) -> StoreRequest {
    StoreRequest::Persist { id, from: ActorName::Downloader, batch }
}

pub(super) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}
