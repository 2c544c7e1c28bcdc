//! `eth_getLogs`: blocks are skipped by the bloom in their header, and the receipts of the others read.

use std::{sync::Arc, time::Duration};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, BlockNumber, Bloom, Log as RawLog};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jsonrpsee::types::ErrorObjectOwned;
use moorline_messages::{BlockNumHash, HashOrNumber, Receipts, SealedHeader};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    errors::{internal, invalid_params, limit_exceeded, no_receipts, reorganised},
    reader::{Reader, expect_history, off_thread},
    receipt,
};

/// Most blocks in a range.
const LOGS_BLOCKS_MAX: u64 = 10_000;
/// Most logs in an answer.
const LOGS_MAX: usize = 20_000;
/// Most that the data of the logs in an answer may weigh; hexadecimal digits double it.
const LOGS_DATA_MAX_BYTES: usize = 16 << 20;
/// Most addresses and topics in a filter.
const LOGS_CRITERIA_MAX: usize = 1_000;
/// Longest search.
const LOGS_WAIT: Duration = Duration::from_secs(20);
/// Searches at a time, on each port; others wait.
const LOGS_CALLS_MAX: usize = 4;
/// Longest wait for a place among them.
pub(crate) const LOGS_ROOM_WAIT: Duration = Duration::from_secs(10);
/// Headers read at once, and most blocks whose receipts are asked for at once.
const HEADERS_PER_READ: u64 = 1_024;

/// Searches logs.
#[derive(Debug)]
pub(crate) struct LogSearch {
    reader: Reader,
    room: Semaphore,
}

impl LogSearch {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, room: Semaphore::new(LOGS_CALLS_MAX) }
    }

    /// Leaves no place to others, for as long as it is held.
    #[cfg(test)]
    pub(crate) async fn take_every_place(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = u32::try_from(LOGS_CALLS_MAX).unwrap();
        self.room.acquire_many(all).await.unwrap()
    }

    /// Every log that the filter wants, in the order of the chain.
    pub(crate) async fn find(&self, filter: Filter) -> Result<Vec<Log>, ErrorObjectOwned> {
        let criteria = filter.topics.iter().map(|topics| topics.len()).sum::<usize>();
        let criteria = criteria.saturating_add(filter.address.len());
        if criteria > LOGS_CRITERIA_MAX {
            return Err(limit_exceeded(format_args!(
                "a filter may have {LOGS_CRITERIA_MAX} addresses and topics, this one has {criteria}"
            )));
        }
        let Ok(place) = timeout(LOGS_ROOM_WAIT, self.room.acquire()).await else {
            let seconds = LOGS_ROOM_WAIT.as_secs();
            return Err(limit_exceeded(format_args!(
                "{LOGS_CALLS_MAX} searches are under way, and none has ended in {seconds} s; ask again later"
            )));
        };
        let searched = async {
            let _place = place.map_err(internal)?;
            let (from, to) = match filter.block_option {
                FilterBlockOption::AtBlockHash(hash) => {
                    return self.in_block(hash, Arc::new(filter)).await;
                }
                FilterBlockOption::Range { from_block, to_block } => {
                    self.range(from_block.unwrap_or_default(), to_block.unwrap_or_default()).await?
                }
            };
            self.in_range(from, to, Arc::new(filter)).await
        };
        timeout(LOGS_WAIT, searched).await.unwrap_or_else(|_| {
            let seconds = LOGS_WAIT.as_secs();
            Err(limit_exceeded(format_args!("the search took {seconds} s; ask for fewer blocks")))
        })
    }

    /// The heights to search, the tip's at most: who asks for more is told, lest it go on as if those had
    /// no logs. Empty where the first is above the last.
    async fn range(
        &self,
        from: BlockNumberOrTag,
        to: BlockNumberOrTag,
    ) -> Result<(BlockNumber, BlockNumber), ErrorObjectOwned> {
        let status = self.reader.status().await?;
        if !status.keeps_receipts {
            return Err(no_receipts());
        }
        if let (BlockNumberOrTag::Number(first), BlockNumberOrTag::Number(last)) = (from, to)
            && first > last
        {
            return Err(invalid_params(format_args!("fromBlock {first} is above toBlock {last}")));
        }
        let from = self.reader.height(from, &status).await?;
        let to = self.reader.height(to, &status).await?;
        expect_history(from, &status)?;
        if to > status.tip.number {
            return Err(invalid_params(format_args!(
                "block {to} is not here yet, the highest is {}",
                status.tip.number
            )));
        }
        let blocks = to.saturating_sub(from).saturating_add(1);
        if from <= to && blocks > LOGS_BLOCKS_MAX {
            return Err(limit_exceeded(format_args!(
                "a range may have {LOGS_BLOCKS_MAX} blocks, this one has {blocks}"
            )));
        }
        Ok((from, to))
    }

    async fn in_block(
        &self,
        hash: B256,
        filter: Arc<Filter>,
    ) -> Result<Vec<Log>, ErrorObjectOwned> {
        if !self.reader.status().await?.keeps_receipts {
            return Err(no_receipts());
        }
        let headers = self.reader.headers(HashOrNumber::Hash(hash), 1).await?;
        if headers.is_empty() {
            return Err(invalid_params(format_args!("there is no block {hash} on the chain here")));
        }
        let mut found = Found::default();
        self.search(headers, &filter, &mut found).await?;
        Ok(found.logs)
    }

    async fn in_range(
        &self,
        from: BlockNumber,
        to: BlockNumber,
        filter: Arc<Filter>,
    ) -> Result<Vec<Log>, ErrorObjectOwned> {
        let mut found = Found::default();
        let (mut next, mut below) = (from, None::<BlockNumHash>);
        while next <= to {
            let limit = to.saturating_sub(next).saturating_add(1).min(HEADERS_PER_READ);
            let headers = self.reader.headers(HashOrNumber::Number(next), limit).await?;
            let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
                return Err(reorganised());
            };
            if below.is_some_and(|below| below.hash != first.parent_hash) {
                return Err(reorganised());
            }
            below = Some(BlockNumHash::of(last));
            next = last.number.saturating_add(1);
            self.search(headers, &filter, &mut found).await?;
        }
        Ok(found.logs)
    }

    /// Searches these blocks.
    async fn search(
        &self,
        mut headers: Vec<Arc<SealedHeader>>,
        filter: &Arc<Filter>,
        found: &mut Found,
    ) -> Result<(), ErrorObjectOwned> {
        let blooms = Arc::clone(filter);
        headers = off_thread(move || {
            headers.retain(|header| {
                header.logs_bloom != Bloom::ZERO && blooms.matches_bloom(header.logs_bloom)
            });
            Ok(headers)
        })
        .await?;
        while !headers.is_empty() {
            let hashes = headers.iter().map(|header| header.hash()).collect();
            let receipts = self.reader.some_receipts(hashes).await?;
            if receipts.is_empty() {
                return Err(reorganised());
            }
            let rest = headers.split_off(receipts.len().min(headers.len()));
            for (header, receipts) in headers.into_iter().zip(receipts) {
                found.add(self.in_receipts(header, receipts, filter).await?)?;
            }
            headers = rest;
        }
        Ok(())
    }

    /// The logs of one block. Its body is read only if it has any.
    async fn in_receipts(
        &self,
        header: Arc<SealedHeader>,
        receipts: Receipts,
        filter: &Arc<Filter>,
    ) -> Result<Vec<Log>, ErrorObjectOwned> {
        let wanted = Arc::clone(filter);
        let mut logs = off_thread(move || {
            let is_wanted = |log: &RawLog| {
                wanted.matches_address(log.address) && wanted.matches_topics(log.topics())
            };
            receipt::logs(&header, &receipts, is_wanted).map_err(internal)
        })
        .await?;
        let Some(hash) = logs.first().and_then(|log| log.block_hash) else { return Ok(logs) };
        let body = self.reader.body(hash).await?;
        off_thread(move || {
            receipt::name_transactions(&mut logs, &body.transactions);
            Ok(logs)
        })
        .await
    }
}

/// What was found so far, within bounds.
#[derive(Debug, Default)]
struct Found {
    logs: Vec<Log>,
    data_bytes: usize,
}

impl Found {
    fn add(&mut self, logs: Vec<Log>) -> Result<(), ErrorObjectOwned> {
        let bytes = logs.iter().map(|log| log.inner.data.data.len()).sum();
        self.data_bytes = self.data_bytes.saturating_add(bytes);
        self.logs.extend(logs);
        if self.logs.len() > LOGS_MAX {
            let reason = format_args!("there are more than {LOGS_MAX} logs; narrow the filter");
            return Err(limit_exceeded(reason));
        }
        if self.data_bytes > LOGS_DATA_MAX_BYTES {
            return Err(limit_exceeded(format_args!(
                "the logs hold more than {LOGS_DATA_MAX_BYTES} bytes; narrow the filter"
            )));
        }
        Ok(())
    }
}
