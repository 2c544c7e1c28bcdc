//! What the peers of a situation have, and how they answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_primitives::{B256, Bytes};
use moorline_devnet::receipts_of;
use moorline_messages::{
    Block, BlockNumHash, Body, FetchItems, FetchedItems, HashOrNumber, Receipts, SealedHeader,
};

/// How a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Has nothing.
    Empty,
    /// Sends one body, or one block's receipts, however many were asked for.
    OneBody,
    /// Leaves out the second of every answer.
    SkipsOne,
    /// Takes requests, and no answer is ever complete.
    Dribbles,
    /// Sends the first header over and over.
    Repeats,
    /// Sends a true first header and forged ones after it.
    Forges,
    /// Sends bodies and receipts of no block.
    Swaps,
}

/// All that peers have, and what was asked of them.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) blocks: BTreeMap<B256, Block>,
    pub(super) canonical: BTreeMap<u64, B256>,
    /// How often the body of each block was sent.
    pub(super) sent: BTreeMap<B256, u64>,
    pub(super) headers_sent: u64,
    /// Bodies, and blocks' receipts, that are asked for at this moment.
    asked: BTreeSet<(B256, &'static str)>,
    /// Those that were asked for while they were.
    pub(super) asked_twice: u64,
}

impl World {
    pub(super) fn make_canonical(&mut self, blocks: &[Block]) {
        for block in blocks {
            let hash = block.header.hash();
            self.blocks.insert(hash, block.clone());
            self.canonical.split_off(&block.header.number);
            self.canonical.insert(block.header.number, hash);
        }
    }

    pub(super) fn headers(&self, top: HashOrNumber, limit: u64) -> Vec<Arc<SealedHeader>> {
        let mut next = match top {
            HashOrNumber::Hash(hash) => Some(hash),
            HashOrNumber::Number(number) => self.canonical.get(&number).copied(),
        };
        let mut headers = Vec::new();
        while let Some(block) = next.and_then(|hash| self.blocks.get(&hash))
            && (headers.len() as u64) < limit
        {
            headers.push(Arc::clone(&block.header));
            next = Some(block.header.parent_hash);
        }
        headers
    }

    pub(super) fn answer(&mut self, manner: Manner, items: &FetchItems) -> FetchedItems {
        match items {
            FetchItems::Headers { top, limit } => {
                let mut headers = self.headers(*top, *limit);
                match manner {
                    Manner::Empty => headers.clear(),
                    Manner::Repeats => {
                        let first = headers.first().cloned();
                        headers.iter_mut().for_each(|header| *header = first.clone().unwrap());
                    }
                    Manner::Forges => headers.iter_mut().skip(1).for_each(|header| {
                        let mut forged = header.inner().clone();
                        forged.gas_used += 1;
                        *header = Arc::new(SealedHeader::new_unchecked(forged, !header.hash()));
                    }),
                    _ => {}
                }
                self.headers_sent += headers.len() as u64;
                FetchedItems::Headers(headers)
            }
            FetchItems::Bodies { blocks } => {
                let found = self.found(manner, blocks);
                for block in &found {
                    *self.sent.entry(block.header.hash()).or_default() += 1;
                }
                let other = Arc::new(Body { withdrawals: None, ..Body::default() });
                let bodies = found.into_iter().map(|block| match manner {
                    Manner::Swaps => Arc::clone(&other),
                    _ => block.body,
                });
                FetchedItems::Bodies(bodies.collect())
            }
            FetchItems::Receipts { blocks } => {
                let found = self.found(manner, blocks);
                let other = Receipts { items: vec![Bytes::from_static(&[0xc4, 2, 1, 0x80, 0xc0])] };
                let receipts = found.iter().map(|block| match manner {
                    Manner::Swaps => Arc::new(other.clone()),
                    _ => Arc::new(receipts_of(block).unwrap()),
                });
                FetchedItems::Receipts(receipts.collect())
            }
        }
    }

    /// The blocks of which a peer sends something.
    fn found(&self, manner: Manner, blocks: &[BlockNumHash]) -> Vec<Block> {
        let found = blocks.iter().filter_map(|block| self.blocks.get(&block.hash));
        let mut found: Vec<Block> = found.cloned().collect();
        match manner {
            Manner::Empty => found.clear(),
            Manner::OneBody => found.truncate(1),
            Manner::SkipsOne if found.len() > 1 => drop(found.remove(1)),
            _ => {}
        }
        found
    }

    /// The blocks whose bodies or receipts a request asks for, and which of both.
    fn parts(items: &FetchItems) -> impl Iterator<Item = (B256, &'static str)> + '_ {
        let (blocks, kind) = match items {
            FetchItems::Headers { .. } => (&[][..], ""),
            FetchItems::Bodies { blocks } => (blocks.as_slice(), "body"),
            FetchItems::Receipts { blocks } => (blocks.as_slice(), "receipts"),
        };
        blocks.iter().map(move |block| (block.hash, kind))
    }

    pub(super) fn note_asked(&mut self, items: &FetchItems) {
        for part in Self::parts(items) {
            let is_new = self.asked.insert(part);
            self.asked_twice += u64::from(!is_new);
        }
    }

    pub(super) fn note_answered(&mut self, items: &FetchItems) {
        for part in Self::parts(items) {
            self.asked.remove(&part);
        }
    }
}
