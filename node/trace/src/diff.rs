//! Two runs, message by message and block by block.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    model::Model,
    stats::{MessageStats, stats},
};

/// The most blocks that are listed.
pub const MAX_BLOCKS: usize = 500;

/// What is different between two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// Name of the first.
    pub a: String,
    /// Name of the second.
    pub b: String,
    /// By type, by name.
    pub messages: Vec<MessageDiff>,
    /// The blocks that differ most.
    pub blocks: Vec<BlockDiff>,
    /// How many blocks were compared.
    pub blocks_total: u64,
}

/// Messages of one type in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessageDiff {
    /// Name of the message.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Rows.
    pub count: [u64; 2],
    /// Median of the handling, in nanoseconds.
    pub busy_p50_ns: [f64; 2],
    /// 99 of 100 handlings took no longer, in nanoseconds.
    pub busy_p99_ns: [f64; 2],
    /// 99 of 100 waited no longer, in nanoseconds.
    pub wait_p99_ns: [f64; 2],
}

/// A block in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockDiff {
    /// Its hash.
    pub hash: String,
    /// Its number, if known.
    pub number: Option<u64>,
    /// From the first row that has its hash to the very end of the last, in nanoseconds; none in a run that has it not.
    pub elapsed_ns: [Option<f64>; 2],
    /// Rows that have its hash.
    pub hops: [u64; 2],
    /// Types that only the first run has for it.
    pub missing: Vec<String>,
    /// Types that only the second run has for it.
    pub extra: Vec<String>,
}

/// Compares two runs. Blocks are matched by hash.
pub fn diff(a: (&str, &Model), b: (&str, &Model)) -> Diff {
    let (blocks, blocks_total) = blocks([a.1, b.1]);
    Diff {
        a: a.0.to_owned(),
        b: b.0.to_owned(),
        messages: messages([a.1, b.1]),
        blocks,
        blocks_total,
    }
}

fn messages(models: [&Model; 2]) -> Vec<MessageDiff> {
    let by_name = |model| -> BTreeMap<String, MessageStats> {
        stats(model).messages.into_iter().map(|stats| (stats.type_name.clone(), stats)).collect()
    };
    let sides = models.map(by_name);
    let names: BTreeSet<&String> = sides.iter().flat_map(BTreeMap::keys).collect();
    let none = MessageStats::default();
    names
        .into_iter()
        .map(|name| {
            let both = sides.each_ref().map(|side| side.get(name).unwrap_or(&none));
            MessageDiff {
                type_name: name.clone(),
                count: both.map(|stats| stats.count),
                busy_p50_ns: both.map(|stats| stats.busy.p50_ns),
                busy_p99_ns: both.map(|stats| stats.busy.p99_ns),
                wait_p99_ns: both.map(|stats| stats.wait.p99_ns),
            }
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Seen {
    from: f64,
    until: f64,
    hops: u64,
}

impl Seen {
    const NEVER: Self = Self { from: f64::INFINITY, until: f64::NEG_INFINITY, hops: 0 };

    fn elapsed(&self) -> Option<f64> {
        (self.hops > 0).then_some(self.until - self.from)
    }
}

/// The row that a row is about the blocks of: itself, or the cause that it takes them from.
fn source(model: &Model, row: usize) -> usize {
    let columns = model.columns();
    let mut about = row;
    for _ in 0..64 {
        let cause = columns.cause.get(about).and_then(|cause| usize::try_from(*cause).ok());
        match cause {
            Some(cause) if columns.inherits.get(about) == Some(&1) => about = cause,
            _ => break,
        }
    }
    about
}

/// Indices of the hashes that a row has itself.
fn hashes_of(model: &Model, row: usize) -> impl Iterator<Item = u32> {
    let columns = model.columns();
    let own = columns.hash.get(row).and_then(|hash| hash.checked_sub(1));
    let list = columns.list_hash.get(columns.list(row)).unwrap_or_default();
    let listed = list.iter().filter_map(|hash| hash.checked_sub(1));
    own.into_iter().chain(listed.filter(move |index| Some(*index) != own))
}

fn seen(model: &Model) -> Vec<Seen> {
    let columns = model.columns();
    // first by source, then by hash: a thousand rows about a list of a thousand are gone through once
    let mut by_source = vec![Seen::NEVER; model.rows()];
    for row in 0..model.rows() {
        let Some(seen) = by_source.get_mut(source(model, row)) else { continue };
        seen.from = seen.from.min(columns.t.get(row).copied().unwrap_or_default());
        seen.until = seen.until.max(columns.end(row));
        seen.hops = seen.hops.saturating_add(1);
    }
    let mut seen = vec![Seen::NEVER; model.hashes().len()];
    for (row, of_source) in by_source.iter().enumerate().filter(|(_, seen)| seen.hops > 0) {
        for index in hashes_of(model, row) {
            let Some(seen) = seen.get_mut(index as usize) else { continue };
            seen.from = seen.from.min(of_source.from);
            seen.until = seen.until.max(of_source.until);
            seen.hops = seen.hops.saturating_add(of_source.hops);
        }
    }
    seen
}

fn blocks(models: [&Model; 2]) -> (Vec<BlockDiff>, u64) {
    let [a, b] = models;
    let (in_a, in_b) = (seen(a), seen(b));
    let at = |seen: &[Seen], index: Option<u32>| {
        index.and_then(|index| seen.get(index as usize)).copied().unwrap_or(Seen::NEVER)
    };
    let of_a =
        (0_u32..).zip(a.hashes()).map(|(index, hash)| (*hash, [Some(index), b.hash_index(hash)]));
    let of_b = (0_u32..)
        .zip(b.hashes())
        .filter(|(_, hash)| a.hash_index(hash).is_none())
        .map(|(index, hash)| (*hash, [None, Some(index)]));
    let mut all: Vec<_> = of_a
        .chain(of_b)
        .map(|(hash, [index_a, index_b])| {
            let both = [at(&in_a, index_a), at(&in_b, index_b)];
            let difference = match both.map(|seen| seen.elapsed()) {
                [Some(a), Some(b)] => (a - b).abs(),
                _ => f64::INFINITY,
            };
            (difference, hash, [index_a, index_b], both)
        })
        .filter(|(.., both)| both.iter().any(|seen| seen.hops > 0))
        .collect();
    let total = all.len() as u64;
    all.sort_by(|(a, hash_a, ..), (b, hash_b, ..)| b.total_cmp(a).then(hash_a.cmp(hash_b)));
    all.truncate(MAX_BLOCKS);
    let wanted = |side: fn(&[Option<u32>; 2]) -> Option<u32>| -> BTreeSet<u32> {
        all.iter().filter_map(|(_, _, indices, _)| side(indices)).collect()
    };
    let types_a = types(a, &wanted(|[index, _]| *index));
    let types_b = types(b, &wanted(|[_, index]| *index));
    let none = BTreeSet::new();
    let blocks = all.iter().map(|(_, hash, [index_a, index_b], both)| {
        let names_a = index_a.and_then(|index| types_a.get(&index)).unwrap_or(&none);
        let names_b = index_b.and_then(|index| types_b.get(&index)).unwrap_or(&none);
        let number =
            |model: &Model, index: &Option<u32>| index.and_then(|index| model.number_of(index));
        BlockDiff {
            hash: format!("0x{}", alloy_primitives::hex::encode(hash)),
            number: number(a, index_a).or_else(|| number(b, index_b)),
            elapsed_ns: both.map(|seen| seen.elapsed()),
            hops: both.map(|seen| seen.hops),
            missing: names_a.difference(names_b).cloned().collect(),
            extra: names_b.difference(names_a).cloned().collect(),
        }
    });
    (blocks.collect(), total)
}

fn types(model: &Model, wanted: &BTreeSet<u32>) -> BTreeMap<u32, BTreeSet<String>> {
    let is_wanted = |row: &usize| hashes_of(model, *row).any(|index| wanted.contains(&index));
    let sources: BTreeSet<usize> = (0..model.rows()).filter(is_wanted).collect();
    let mut by_source: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
    for row in 0..model.rows() {
        let source = source(model, row);
        if sources.contains(&source) {
            let type_ = model.columns().type_.get(row).copied().unwrap_or_default();
            by_source.entry(source).or_default().insert(type_);
        }
    }
    let mut types: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    for (source, of_source) in by_source {
        for index in hashes_of(model, source).filter(|index| wanted.contains(index)) {
            types.entry(index).or_default().extend(&of_source);
        }
    }
    let name = |type_: u16| model.types().get(usize::from(type_)).cloned().unwrap_or_default();
    types.into_iter().map(|(index, types)| (index, types.into_iter().map(name).collect())).collect()
}
