//! The store with nothing behind it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, FoundBlock, SealedHeader, StoreAnswer, StoreBatch, StoreError, StoreQuery,
    StoredState,
};

use crate::{
    backend::Backend,
    index::{Entries, Index, Lookup, Scan, keeps_receipts_by_schema},
    keys::{Bytestring, LogEnd, Pointer},
    ledger::{Ledger, RecordKind, RecordLog},
};

/// A backend for tests and simulation: the rules of [`Disk`](crate::Disk), kept in memory.
#[derive(Debug)]
pub struct Memory {
    ledger: Ledger<MapIndex, RecordList>,
}

impl Memory {
    /// A store that holds nothing but a genesis block, and keeps no receipts.
    ///
    /// # Errors
    /// The header is too big to be stored.
    pub fn new(genesis: &SealedHeader, chain_id: u64) -> Result<Self, StoreError> {
        Self::found(genesis, chain_id, false)
    }

    /// A store that holds nothing but a genesis block, and keeps receipts.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn keeping_receipts(genesis: &SealedHeader, chain_id: u64) -> Result<Self, StoreError> {
        Self::found(genesis, chain_id, true)
    }

    fn found(
        genesis: &SealedHeader,
        chain_id: u64,
        keeps_receipts: bool,
    ) -> Result<Self, StoreError> {
        let ledger = Ledger::new(MapIndex::default(), RecordList::default());
        ledger.found(genesis, chain_id, keeps_receipts)?;
        Ok(Self { ledger })
    }

    /// Makes every write fail with this error, or succeed again.
    pub fn fail_writes(&self, error: Option<StoreError>) {
        *lock(&self.ledger.index.fault) = error;
    }
}

impl Backend for Memory {
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        self.ledger.commit(batches)
    }

    fn load(&self) -> Result<StoredState, StoreError> {
        self.ledger.load()
    }

    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        self.ledger.find(hashes)
    }

    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError> {
        self.ledger.walk(top, limit)
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        self.ledger.answer(query)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct MapIndex {
    map: RwLock<BTreeMap<Bytestring, Bytestring>>,
    fault: Mutex<Option<StoreError>>,
}

impl Lookup for MapIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytestring>, StoreError> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn keeps_receipts(&self) -> Result<bool, StoreError> {
        keeps_receipts_by_schema(self)
    }
}

impl Index for MapIndex {
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let range = map.range(from.to_vec()..to.to_vec());
        let entries: Vec<_> = range.map(|(key, value)| Ok((key.clone(), value.clone()))).collect();
        Box::new(entries.into_iter())
    }

    fn ready(&self) -> Result<(), StoreError> {
        lock(&self.fault).clone().map_or(Ok(()), Err)
    }

    fn apply(&self, entries: &Entries) -> Result<(), StoreError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in entries {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Packed records; a pointer's offset is a position in the list.
#[derive(Debug, Default)]
pub(crate) struct RecordList(Mutex<Vec<(RecordKind, Vec<u8>)>>);

impl RecordLog for RecordList {
    fn end(&self) -> LogEnd {
        let position = u64::try_from(lock(&self.0).len()).unwrap_or(u64::MAX);
        LogEnd { file: 0, offset: position }
    }

    fn append(&self, kind: RecordKind, payload: &[u8]) -> Result<Pointer, StoreError> {
        let pointer = Pointer::to(self.end())?;
        lock(&self.0).push((kind, payload.to_vec()));
        Ok(pointer)
    }

    fn rewind(&self, end: LogEnd) {
        lock(&self.0).truncate(usize::try_from(end.offset).unwrap_or(usize::MAX));
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, pointer: Pointer, kind: RecordKind) -> Result<Vec<u8>, StoreError> {
        let kept = lock(&self.0);
        let position = usize::try_from(pointer.offset()).ok();
        match position.and_then(|position| kept.get(position)) {
            Some((found, payload)) if *found == kind => Ok(payload.clone()),
            _ => Err(StoreError::Damaged(format!("a {kind} record is missing"))),
        }
    }

    fn reaches(&self, pointer: Pointer, kind: RecordKind) -> bool {
        self.read(pointer, kind).is_ok()
    }
}
