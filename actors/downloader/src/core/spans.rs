//! Proved headers that lie in the store, as far as they are not delivered.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use moorline_messages::{FetchItems, Span};

/// Spans in memory: more than a chain of a hundred million blocks has.
const SPANS_MAX: usize = 1 << 18;

/// Spans, found by the hash of their highest block and by its height.
#[derive(Debug, Default)]
pub(super) struct Spans {
    by_top: BTreeMap<B256, Span>,
    heights: BTreeSet<(u64, B256)>,
}

impl Spans {
    pub(super) fn contains(&self, top: &B256) -> bool {
        self.by_top.contains_key(top)
    }

    pub(super) fn get(&self, top: &B256) -> Option<&Span> {
        self.by_top.get(top)
    }

    /// Adds a span. Of two with the same top the longer one stays.
    pub(super) fn insert(&mut self, span: Span) {
        let here = self.by_top.entry(span.top.hash).or_insert(span);
        if here.len() < span.len() {
            *here = span;
        }
        self.heights.insert((span.top.number, span.top.hash));
        // branches that nobody took are never delivered; the store has them still
        if self.by_top.len() > SPANS_MAX
            && let Some((_, lowest)) = self.heights.pop_first()
        {
            self.by_top.remove(&lowest);
        }
    }

    pub(super) fn remove(&mut self, top: &B256) {
        if let Some(span) = self.by_top.remove(top) {
            self.heights.remove(&(span.top.number, *top));
        }
    }

    /// Whether a span passes this height below its top.
    pub(super) fn pass(&self, number: u64) -> bool {
        // none is longer than what one answer brings
        let highest = number.saturating_add(FetchItems::MAX_HEADERS);
        let mut above = self.heights.range((number, B256::ZERO)..(highest, B256::ZERO));
        above.any(|(_, top)| self.by_top.get(top).is_some_and(|s| s.bottom.number <= number))
    }

    /// The height of the highest span below another height.
    pub(super) fn highest_below(&self, number: u64) -> Option<u64> {
        self.heights.range(..(number, B256::ZERO)).next_back().map(|(top, _)| *top)
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut all = Self::default();
        spans.into_iter().for_each(|span| all.insert(span));
        all
    }
}
