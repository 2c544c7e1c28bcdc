//! The half of a session that writes: requests, answers, pings and news of our range.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use moorline_messages::{AnnouncedRange, BlockNumHash, DisconnectReason, FetchItems, RequestId};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{Outgoing, Pulse};
use crate::{
    ConnectionError, Message, MessageWriter, NetworkCounters, Timeouts,
    eth::{self, EthMessage, HeadersRequest},
    local::{LocalChain, worth_telling},
    outstanding::Outstanding,
    wire::Incoming,
};

/// What waits to be written.
pub(super) struct Queues {
    pub(super) fetches: mpsc::Receiver<(RequestId, FetchItems)>,
    pub(super) asking_on: mpsc::Receiver<EthMessage>,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    pub(super) farewell: mpsc::Receiver<DisconnectReason>,
}

/// The half that encodes, compresses and encrypts.
pub(super) struct Writing {
    pub(super) writer: MessageWriter<TcpStream>,
    pub(super) version: u8,
    pub(super) outstanding: Arc<Mutex<Outstanding>>,
    pub(super) told: AnnouncedRange,
    pub(super) timeouts: Timeouts,
    pub(super) pulse: Arc<Pulse>,
    pub(super) incoming: Incoming,
    pub(super) counters: NetworkCounters,
}

impl Writing {
    pub(super) async fn run(
        mut self,
        mut queues: Queues,
        mut local: watch::Receiver<LocalChain>,
    ) -> Result<(), ConnectionError> {
        let period = self.timeouts.ping_interval;
        let first = Instant::now().checked_add(period).unwrap_or_else(Instant::now);
        let mut pings = interval_at(first, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(reason) = queues.farewell.recv() => {
                    self.writer.disconnect(reason).await;
                    return Ok(());
                }
                _ = pings.tick() => {
                    self.outstanding().forget_overdue_parts(Instant::now());
                    if !self.incoming.is_under_way() {
                        self.pulse.ask()?;
                    }
                    self.writer.write(&Message::Ping).await?;
                }
                Some(next) = queues.asking_on.recv() => self.writer.write(&Message::Eth(next)).await?,
                Some((request, items)) = queues.fetches.recv() => self.ask(request, items).await?,
                Some(next) = queues.outgoing.recv() => self.send(next).await?,
                Ok(()) = local.changed(), if self.version >= 69 => {
                    let range = local.borrow_and_update().range;
                    self.tell_range(range).await?;
                }
            }
        }
    }

    fn outstanding(&self) -> MutexGuard<'_, Outstanding> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&mut self, next: Outgoing) -> Result<(), ConnectionError> {
        let before = self.writer.written_bytes();
        self.writer.write(&next.message).await?;
        if let Some((kind, items, _slot)) = next.served {
            let bytes = self.writer.written_bytes().saturating_sub(before);
            self.counters.count_served(kind, u64::try_from(items).unwrap_or(u64::MAX), bytes);
        }
        Ok(())
    }

    async fn ask(&mut self, request: RequestId, items: FetchItems) -> Result<(), ConnectionError> {
        let request_id = self.outstanding().ask(request, &items);
        self.incoming.widen();
        let message = match items {
            FetchItems::Headers { top, limit } => {
                let request = HeadersRequest { start: top, limit, skip: 0, reverse: true };
                EthMessage::GetBlockHeaders { request_id, request }
            }
            FetchItems::Bodies { blocks } => {
                EthMessage::GetBlockBodies { request_id, hashes: hashes_of(&blocks) }
            }
            FetchItems::Receipts { blocks } => {
                EthMessage::GetReceipts { request_id, first_receipt: 0, hashes: hashes_of(&blocks) }
            }
        };
        self.writer.write(&Message::Eth(message)).await
    }

    async fn tell_range(&mut self, range: AnnouncedRange) -> Result<(), ConnectionError> {
        if !worth_telling(&self.told, &range) {
            return Ok(());
        }
        self.told = range;
        self.writer.write(&Message::Eth(EthMessage::BlockRangeUpdate(range))).await
    }
}

fn hashes_of(blocks: &[BlockNumHash]) -> Vec<B256> {
    blocks.iter().map(|block| block.hash).take(eth::MAX_ITEMS).collect()
}
