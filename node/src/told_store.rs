//! The store on disk, with whoever watches told of what it cannot do.

use std::sync::Arc;

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, FoundBlock, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoredState,
};
use moorline_store::{Backend, Disk};
use tokio::sync::watch;

use crate::observe::Observed;

/// Tells of failed writes, which the actors only try again: a command may rather end.
#[derive(Debug)]
pub(crate) struct ToldStore {
    pub(crate) disk: Arc<Disk>,
    pub(crate) all: watch::Sender<Observed>,
}

impl Backend for ToldStore {
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        let verdicts = self.disk.commit(batches);
        // a batch that breaks the store's rules says nothing about the disk
        let failed = |verdict: &Result<(), StoreError>| match verdict {
            Err(error) if !matches!(error, StoreError::Rejected(_)) => Some(error.clone()),
            _ => None,
        };
        let failures: Vec<_> = verdicts.iter().filter_map(failed).collect();
        let (failure, failures) = (failures.first(), failures.len() as u64);
        self.all.send_if_modified(|seen| {
            seen.store_failures = seen.store_failures.saturating_add(failures);
            let changed = failures > 0 || seen.store_failure.as_ref() != failure;
            if changed {
                seen.store_failure = failure.cloned();
            }
            changed
        });
        verdicts
    }

    fn load(&self) -> Result<StoredState, StoreError> {
        self.disk.load()
    }

    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        self.disk.find(hashes)
    }

    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError> {
        self.disk.walk(top, limit)
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        self.disk.answer(query)
    }
}
