//! Everything that was done about a block, a peer or a session, and where its time went.

use std::{collections::BTreeSet, ops::RangeInclusive, str::FromStr};

use thiserror::Error;

use crate::{
    line::{hash_of, peer_of},
    model::{ABSENT, Columns, Model},
};

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The block with that hash.
    Hash([u8; 32]),
    /// Blocks with that number.
    Number(u64),
    /// The peer whose id begins with these 64 bits.
    Peer(u64),
    /// The session with that number.
    Session(u64),
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "a key is a block hash (0x and 64 hexadecimal digits), a block number, a peer (enode://... or the first 16 \
     hexadecimal digits of its id or more), or a session such as s12"
)]
pub struct KeyError;

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return format!("0x{text}").parse();
        }
        if text.starts_with("0x") {
            return hash_of(text.as_bytes()).map(Self::Hash).map_err(|_| KeyError);
        }
        if let Some(session) = text.strip_prefix('s') {
            return natural(session).map(Self::Session).ok_or(KeyError);
        }
        let peer = text
            .strip_prefix("enode://")
            .map(|rest| rest.split_once('@').map_or(rest, |(id, _)| id));
        let id = peer.unwrap_or(text);
        // a block number has fewer digits than a peer's id needs
        if peer.is_none() && id.len() < 16 {
            return natural(id).map(Self::Number).ok_or(KeyError);
        }
        if id.len() > 128 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(KeyError);
        }
        let first = id.get(..16).ok_or(KeyError)?;
        peer_of(first.as_bytes()).map(Self::Peer).map_err(|_| KeyError)
    }
}

fn natural(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// A row that is about the key, or the trigger of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The row.
    pub row: usize,
    /// The hop that led to it, as an index into the hops.
    pub parent: Option<usize>,
    /// How many rows of other work are between the two.
    pub via: u32,
    /// Whether it names the key itself.
    pub names_key: bool,
}

/// A hop on the critical path, and where the time went until the next; in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Index into the hops.
    pub hop: usize,
    /// In the port.
    pub queue_ns: f64,
    /// On the actor's thread.
    pub handling_ns: f64,
    /// Spent on other work, which had to come first.
    pub others_ns: f64,
    /// Waiting for the outside.
    pub network_ns: f64,
    /// Spent elsewhere: disk, proofs.
    pub asynchronous_ns: f64,
}

impl Step {
    /// The whole.
    pub fn total_ns(&self) -> f64 {
        self.queue_ns + self.handling_ns + self.others_ns + self.network_ns + self.asynchronous_ns
    }
}

/// Everything that was done about a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Followed {
    /// In the order of their rows.
    pub hops: Vec<Hop>,
    /// From the trigger to the hop that ended last.
    pub path: Vec<Step>,
    /// Of the path, by what it was spent on; its `hop` means nothing.
    pub sum: Step,
    /// The last hop that says that the block is on disk; `None` when nothing says so.
    pub on_disk: Option<usize>,
}

/// Follows a key.
pub fn follow(model: &Model, key: &Key) -> Followed {
    let named = naming_rows(model, key);
    let columns = model.columns();
    let mut rows: BTreeSet<usize> = BTreeSet::new();
    for (row, _) in named.iter().enumerate().filter(|(_, named)| **named) {
        rows.insert(row);
        rows.extend(link(&columns.root, row));
    }
    let rows: Vec<usize> = rows.into_iter().collect();
    let hops = parents(columns, &rows, &named);
    let path = critical_path(model, &hops);
    let mut sum = Step::default();
    for step in &path {
        sum.queue_ns += step.queue_ns;
        sum.handling_ns += step.handling_ns;
        sum.others_ns += step.others_ns;
        sum.network_ns += step.network_ns;
        sum.asynchronous_ns += step.asynchronous_ns;
    }
    let on_disk = hops.iter().rposition(|hop| is_on_disk(model, &hops, hop));
    Followed { hops, path, sum, on_disk }
}

fn link(column: &[i32], row: usize) -> Option<usize> {
    column.get(row).and_then(|link| usize::try_from(*link).ok())
}

/// For each row, whether it names the key.
fn naming_rows(model: &Model, key: &Key) -> Vec<bool> {
    let columns = model.columns();
    let mut named = vec![false; model.rows()];
    match key {
        Key::Hash(hash) => {
            if let Some(index) = model.hash_index(hash) {
                name_hash(model, index, &mut named);
            }
        }
        Key::Number(number) => {
            let number = *number as f64;
            let runs = columns.low.iter().zip(&columns.high);
            for (named, (low, high)) in named.iter_mut().zip(runs) {
                *named = *low <= number && number <= *high;
            }
            name_entries(columns, &mut named, |entry| holds(columns, entry, number));
            for (row, _) in lengths(model).filter(|(_, run)| run.contains(&number)) {
                set(&mut named, row);
            }
        }
        Key::Peer(peer) => {
            let index = model.peers().iter().position(|known| known == peer);
            if let Some(wanted) =
                index.and_then(|index| u32::try_from(index.saturating_add(1)).ok())
            {
                mark_equal(&mut named, &columns.peer, &wanted);
            }
        }
        Key::Session(session) => mark_equal(&mut named, &columns.session, &(*session as f64)),
    }
    inherit(columns, &mut named);
    named
}

/// Rows that say how many blocks they are about and not which numbers these have, and the numbers, where
/// that of the highest is known.
fn lengths(model: &Model) -> impl Iterator<Item = (usize, RangeInclusive<f64>)> {
    let columns = model.columns();
    let rows = columns.len.iter().zip(&columns.hash).enumerate();
    rows.filter(|(_, (len, _))| **len > 0).filter_map(|(row, (len, hash))| {
        let high = model.number_of(hash.checked_sub(1)?)?;
        let low = high.saturating_sub(u64::from(*len).saturating_sub(1));
        Some((row, low as f64..=high as f64))
    })
}

fn set(named: &mut [bool], row: usize) {
    if let Some(named) = named.get_mut(row) {
        *named = true;
    }
}

fn mark_equal<T: PartialEq>(named: &mut [bool], column: &[T], wanted: &T) {
    for (named, value) in named.iter_mut().zip(column) {
        *named |= value == wanted;
    }
}

/// Names the rows in whose lists a fitting entry stands.
fn name_entries(columns: &Columns, named: &mut [bool], mut fits: impl FnMut(usize) -> bool) {
    for entry in (0..columns.list_hash.len()).filter(|entry| fits(*entry)) {
        // of rows that begin at the same entry only the last has entries
        let row = columns.list_at.partition_point(|at| *at as usize <= entry).checked_sub(1);
        if let Some(named) = row.and_then(|row| named.get_mut(row)) {
            *named = true;
        }
    }
}

/// Whether the run that an entry stands for has a block of that number.
fn holds(columns: &Columns, entry: usize, number: f64) -> bool {
    let (top, run) = (columns.list_number.get(entry), columns.list_run.get(entry));
    top.zip(run).is_some_and(|(top, run)| number <= *top && number > *top - f64::from(*run))
}

fn name_hash(model: &Model, index: u32, named: &mut [bool]) {
    let columns = model.columns();
    let wanted = index.saturating_add(1);
    mark_equal(named, &columns.hash, &wanted);
    name_entries(columns, named, |entry| columns.list_hash.get(entry) == Some(&wanted));
    let Some(number) = model.number_of(index) else { return };
    let at = number as f64;
    let mut branches = Branches { model, index, number, verdicts: Vec::new() };
    let runs = columns.low.iter().zip(&columns.high).zip(&columns.hash);
    for (named, ((low, high), hash)) in named.iter_mut().zip(runs) {
        if !*named && *low <= at && at <= *high {
            *named = hash.checked_sub(1).is_none_or(|top| !branches.refuted(top));
        }
    }
    name_entries(columns, named, |entry| {
        let top = columns.list_hash.get(entry).and_then(|top| top.checked_sub(1));
        // an entry for one block names that one alone
        columns.list_run.get(entry).is_some_and(|run| *run > 1)
            && holds(columns, entry, at)
            && top.is_some_and(|top| !branches.refuted(top))
    });
    for (row, _) in lengths(model).filter(|(_, run)| run.contains(&at)) {
        let top = columns.hash.get(row).and_then(|hash| hash.checked_sub(1));
        if top.is_some_and(|top| !branches.refuted(top)) {
            set(named, row);
        }
    }
}

/// Which blocks are known to have another block than the wanted one among themselves and their ancestors, at its number.
struct Branches<'a> {
    model: &'a Model,
    index: u32,
    number: u64,
    verdicts: Vec<Option<bool>>,
}

impl Branches<'_> {
    fn refuted(&mut self, top: u32) -> bool {
        if self.verdicts.is_empty() {
            self.verdicts = vec![None; self.model.hashes().len()];
        }
        let mut walked = Vec::new();
        let mut block = top;
        let refuted = loop {
            if block == self.index {
                break false;
            }
            match self.verdicts.get_mut(block as usize) {
                Some(Some(known)) => break *known,
                // entered at once, so that a loop of parents ends here
                Some(unknown) => *unknown = Some(false),
                None => break false,
            }
            walked.push(block);
            if self.model.number_of(block).is_some_and(|number| number <= self.number) {
                break true;
            }
            match self.model.parent_of(block) {
                Some(parent) => block = parent,
                None => break false,
            }
        };
        for block in walked {
            if let Some(verdict) = self.verdicts.get_mut(block as usize) {
                *verdict = Some(refuted);
            }
        }
        refuted
    }
}

/// Rows that are about what their cause is about.
fn inherit(columns: &Columns, named: &mut [bool]) {
    // causes are nearly always before their effects, so one pass does; chains that run backwards take a few more
    for _ in 0..16 {
        let mut changed = false;
        for (row, _) in columns.inherits.iter().enumerate().filter(|(_, inherits)| **inherits == 1)
        {
            let cause = link(&columns.cause, row).and_then(|cause| named.get(cause)).copied();
            if cause == Some(true)
                && let Some(named) = named.get_mut(row).filter(|named| !**named)
            {
                *named = true;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

fn parents(columns: &Columns, rows: &[usize], named: &[bool]) -> Vec<Hop> {
    const UNSEEN: (u32, u32) = (u32::MAX, 0);
    const LOST: u32 = u32::MAX - 1;
    let mut is_hop = vec![false; columns.rows()];
    for row in rows {
        if let Some(hop) = is_hop.get_mut(*row) {
            *hop = true;
        }
    }
    // of rows between hops: the nearest hop above, and how many rows away
    let mut nearest = vec![UNSEEN; columns.rows()];
    let mut hops = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let mut walked = Vec::new();
        let mut cause = columns.cause.get(*row).copied().unwrap_or(ABSENT);
        let (mut found, mut distance) = loop {
            let Ok(above) = usize::try_from(cause) else {
                break (LOST, u32::from(cause == ABSENT));
            };
            if is_hop.get(above).copied().unwrap_or_default() {
                break (u32::try_from(above).unwrap_or(LOST), 0);
            }
            match nearest.get_mut(above) {
                Some(seen) if *seen != UNSEEN => break (seen.0, seen.1),
                Some(unseen) => *unseen = (LOST, 1),
                None => break (LOST, 1),
            }
            walked.push(above);
            cause = columns.cause.get(above).copied().unwrap_or(ABSENT);
        };
        for between in walked.into_iter().rev() {
            distance = distance.saturating_add(1);
            if let Some(seen) = nearest.get_mut(between) {
                *seen = (found, distance);
            }
        }
        if found == LOST {
            found = link(&columns.root, *row).and_then(|root| root.try_into().ok()).unwrap_or(LOST);
        }
        let parent = rows.binary_search(&(found as usize)).ok().filter(|parent| *parent != at);
        hops.push(Hop {
            row: *row,
            parent,
            via: if parent.is_some() { distance } else { 0 },
            names_key: named.get(*row).copied().unwrap_or_default(),
        });
    }
    hops
}

/// Whether a hop says that a body, receipts, or the name of a canonical block is on disk. A header that is there is no
/// block yet.
fn is_on_disk(model: &Model, hops: &[Hop], hop: &Hop) -> bool {
    let asked = hop.parent.and_then(|parent| hops.get(parent));
    let asked = asked.map_or("", |asked| model.type_name(asked.row));
    model.type_name(hop.row).ends_with("::Persisted")
        && ["::Bodies", "::Receipts", "::Canonical"].iter().any(|end| asked.ends_with(end))
}

fn critical_path(model: &Model, hops: &[Hop]) -> Vec<Step> {
    let columns = model.columns();
    let is_safe = |hop: &Hop| is_on_disk(model, hops, hop);
    let last = hops.iter().enumerate().max_by(|(_, a), (_, b)| {
        let end = |hop: &Hop| columns.end(hop.row);
        is_safe(a).cmp(&is_safe(b)).then(end(a).total_cmp(&end(b)))
    });
    let mut chain = Vec::new();
    let mut next = last.map(|(index, _)| index);
    while let Some(index) = next.filter(|_| chain.len() < hops.len()) {
        chain.push(index);
        next = hops.get(index).and_then(|hop| hop.parent);
    }
    chain.reverse();
    let followers = chain.iter().skip(1).map(|index| hops.get(*index)).chain([None]);
    chain
        .iter()
        .zip(followers)
        .filter_map(|(index, follower)| Some(step(model, *index, hops.get(*index)?.row, follower)))
        .collect()
}

fn step(model: &Model, hop: usize, row: usize, follower: Option<&Hop>) -> Step {
    let columns = model.columns();
    let part = |column: &[f32]| {
        column.get(row).copied().filter(|part| part.is_finite()).map_or(0.0, f64::from)
    };
    let (queue, handling) = (part(&columns.wait), part(&columns.busy));
    let mut step = Step { hop, ..Step::default() };
    let Some(follower) = follower else {
        step.queue_ns = queue;
        step.handling_ns = handling;
        step.asynchronous_ns = part(&columns.late);
        return step;
    };
    let at = |row: usize| columns.t.get(row).copied().unwrap_or_default();
    // several threads write, so a clock may seem to go back a little
    let total = (at(follower.row) - at(row)).max(0.0);
    step.queue_ns = queue.min(total);
    step.handling_ns = handling.min(total - step.queue_ns);
    let rest = total - step.queue_ns - step.handling_ns;
    let outside = columns.to.get(row).is_some_and(|lane| usize::from(*lane) >= model.actors());
    match (follower.via, outside) {
        (1.., _) => step.others_ns = rest,
        (0, true) => step.network_ns = rest,
        (0, false) => step.asynchronous_ns = rest,
    }
    step
}
