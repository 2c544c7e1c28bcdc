//! Blocks that break a rule, and what is known to lie above them.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::B256;

/// Invalid blocks remembered; the oldest is forgotten first.
pub(crate) const INVALID_BLOCKS_MAX: usize = 512;

/// So many questions about one block are answered from memory; then it is judged anew, so that a
/// wrong verdict does not last for ever.
pub(crate) const INVALID_HITS_MAX: u32 = 128;

#[derive(Debug, Default)]
pub(crate) struct Invalid {
    blocks: BTreeMap<B256, Verdict>,
    order: VecDeque<B256>,
}

#[derive(Debug)]
struct Verdict {
    reason: String,
    hits: u32,
}

impl Invalid {
    /// Remembers a block. The first reason stays.
    pub(crate) fn insert(&mut self, hash: B256, reason: String) {
        if self.blocks.contains_key(&hash) {
            return;
        }
        self.blocks.insert(hash, Verdict { reason, hits: 0 });
        self.order.push_back(hash);
        while self.order.len() > INVALID_BLOCKS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.blocks.remove(&oldest);
            }
        }
    }

    /// Why a block is invalid.
    pub(crate) fn reason(&self, hash: &B256) -> Option<&str> {
        self.blocks.get(hash).map(|verdict| verdict.reason.as_str())
    }

    /// Why a block is invalid, for the consensus client, who asks again and again. Once it has asked
    /// too often everything is forgotten: the wrong verdict may be one on an ancestor.
    pub(crate) fn ask(&mut self, hash: &B256) -> Option<String> {
        let verdict = self.blocks.get_mut(hash)?;
        verdict.hits = verdict.hits.saturating_add(1);
        if verdict.hits > INVALID_HITS_MAX {
            *self = Self::default();
            return None;
        }
        Some(verdict.reason.clone())
    }
}
