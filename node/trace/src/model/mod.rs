//! A trace in memory, column by column, growing as records come.

mod columns;
mod hashes;
mod ids;
mod journal;
mod marks;
mod names;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

pub use columns::{ABSENT, Columns, NO_LANE, NO_PORT, NONE, kind, state};
use hashes::Hashes;
use ids::Ids;
pub use journal::Changes;
use journal::Journal;
pub use marks::{Mark, MarkKind};
use names::Names;

use crate::{
    batch::{Batch, Skipped, UnexplainedGap},
    line::{Event, Header, Kind, PortLine},
};

/// The most lanes; what is on others is shown as `other`.
pub const MAX_LANES: u8 = 250;
/// The most names of messages; others are shown as `other`.
pub const MAX_TYPES: u16 = 60_000;
/// Ports have numbers below this.
pub const MAX_PORTS: u16 = 60_000;
/// The most different peers that are told apart.
pub const MAX_PEERS: u32 = 1 << 20;
/// The most different notes.
pub const MAX_NOTES: u32 = 1 << 20;
/// The most bytes of all notes together.
pub const MAX_NOTES_BYTES: usize = 64 << 20;
/// The most marks of refusals and slow handlings, and the most of all others; later ones are only counted.
pub const MAX_MARKS: usize = 200_000;
/// The greatest id: a page keeps ids as numbers of 64-bit floating point.
const MAX_ID: u64 = 1 << 53;
/// The most rows.
pub const MAX_ROWS: usize = 100_000_000;
/// The most records that wait for the row that they are about.
const MAX_WAITING: usize = 1 << 18;

/// Lanes that every model has, the actors first.
const LANES: [&str; 8] =
    ["tree", "downloader", "peer-manager", "store", "engine-api", "rlpx", "rpc", "node"];
const ACTORS: usize = 4;
const OTHER: &str = "other";

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Lane of the receiver.
    pub to: u8,
    /// The most messages that it holds.
    pub items: u64,
    /// The most bytes that it holds.
    pub bytes: u64,
}

/// What `done` or `drop` says, while the row it is about has not come.
#[derive(Clone, Copy, Debug)]
struct Ending {
    wait: f32,
    busy: f32,
    late: f32,
    state: u8,
    depth_after: u32,
}

/// A trace in memory.
///
/// Rows are in the order of their records. Whatever a hostile trace holds, everything here is bounded by constants
/// of this module or by the size of the trace.
#[derive(Clone, Debug)]
pub struct Model {
    header: Header,
    columns: Columns,
    lanes: Names,
    types: Names,
    notes: Names,
    peers: Vec<u64>,
    peer_index: BTreeMap<u64, u32>,
    ports: BTreeMap<u16, PortInfo>,
    hashes: Hashes,
    marks: Vec<Mark>,
    frequent_marks: usize,
    skipped: Vec<Skipped>,
    gaps: Vec<UnexplainedGap>,
    ids: Ids,
    endings: BTreeMap<u64, Ending>,
    /// Rows that wait for the row of that id, as their cause (false) or root (true).
    orphans: BTreeMap<u64, Vec<(u32, bool)>>,
    orphan_order: VecDeque<u64>,
    journal: Journal,
    generation: u64,
    trimmed_rows: u64,
    last_t: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A model without rows.
    pub fn new() -> Self {
        let mut lanes = Names::new(u32::from(MAX_LANES), 1 << 20);
        for lane in LANES {
            lanes.number(lane.as_bytes());
        }
        Self {
            header: Header::default(),
            columns: Columns::default(),
            lanes,
            types: Names::new(u32::from(MAX_TYPES), 16 << 20),
            notes: Names::new(MAX_NOTES, MAX_NOTES_BYTES),
            peers: Vec::new(),
            peer_index: BTreeMap::new(),
            ports: BTreeMap::new(),
            hashes: Hashes::default(),
            marks: Vec::new(),
            frequent_marks: 0,
            skipped: Vec::new(),
            gaps: Vec::new(),
            ids: Ids::default(),
            endings: BTreeMap::new(),
            orphans: BTreeMap::new(),
            orphan_order: VecDeque::new(),
            journal: Journal::default(),
            generation: 1,
            trimmed_rows: 0,
            last_t: 0,
        }
    }

    /// Takes in what was read.
    pub fn absorb(&mut self, batch: &Batch) {
        if batch.is_empty() {
            return;
        }
        self.journal.begin(self.rows(), self.hashes.all().len(), self.columns.list_hash.len());
        for header in &batch.headers {
            if self.header.run.is_empty() {
                self.header = header.clone();
            }
        }
        for port in &batch.ports {
            self.port(port);
        }
        for event in &batch.events {
            self.event(event, batch);
        }
        for skipped in &batch.skipped {
            self.skip(skipped);
        }
        for gap in &batch.gaps {
            self.gaps.push(gap.clone());
            self.mark(Mark::unexplained(gap));
        }
        if !self.marks.is_sorted_by_key(|mark| mark.t_ns) {
            self.marks.sort_by_key(|mark| mark.t_ns);
        }
    }

    /// Forgets the oldest rows, so that so many are left, and what only they needed. Rows are then renumbered.
    pub fn trim(&mut self, keep_rows: usize) {
        let surplus = self.rows().saturating_sub(keep_rows);
        if surplus == 0 {
            return;
        }
        self.columns.forget(surplus);
        self.trimmed_rows = self.trimmed_rows.saturating_add(surplus as u64);
        self.generation = self.generation.saturating_add(1);
        self.journal.restart();
        self.hashes.keep_only(&mut self.columns);
        self.keep_notes();
        let oldest = self.columns.t.iter().copied().fold(f64::INFINITY, f64::min);
        self.marks.retain(|mark| mark.t_ns as f64 >= oldest);
        self.frequent_marks = self.marks.iter().filter(|mark| mark.kind.is_frequent()).count();
        self.ids = Ids::default();
        for (row, id) in (0_u32..).zip(&self.columns.id) {
            self.ids.put(*id as u64, row);
        }
        let surplus = u32::try_from(surplus).unwrap_or(u32::MAX);
        for rows in self.orphans.values_mut() {
            rows.retain_mut(|(row, _)| {
                let kept = *row >= surplus;
                *row = row.saturating_sub(surplus);
                kept
            });
        }
    }

    fn keep_notes(&mut self) {
        let old = mem::replace(&mut self.notes, Names::new(MAX_NOTES, MAX_NOTES_BYTES));
        for note in &mut self.columns.note {
            let text = (*note as usize).checked_sub(1).and_then(|index| old.all().get(index));
            let number = text.and_then(|text| self.notes.number(text.as_bytes()));
            *note = number.map_or(0, |number| number.saturating_add(1));
        }
    }

    fn skip(&mut self, new: &Skipped) {
        match self.skipped.iter_mut().find(|skipped| skipped.what == new.what) {
            Some(skipped) => skipped.count = skipped.count.saturating_add(new.count),
            None => self.skipped.push(new.clone()),
        }
    }

    fn skip_here(&mut self, what: &str) {
        let skipped = Skipped { what: what.to_owned(), count: 1, place: Default::default() };
        self.skip(&skipped);
    }

    fn port(&mut self, line: &PortLine) {
        let to = self.lane(line.to.as_bytes());
        self.ports.entry(line.port).or_insert_with(|| PortInfo {
            name: cut(line.name.as_bytes()).to_owned(),
            to,
            items: line.items,
            bytes: line.bytes,
        });
    }

    fn lane(&mut self, name: &[u8]) -> u8 {
        if name.is_empty() {
            return NO_LANE;
        }
        number_or_other(&mut self.lanes, cut(name).as_bytes(), MAX_LANES.into())
            .try_into()
            .unwrap_or(NO_LANE)
    }

    fn event(&mut self, event: &Event, batch: &Batch) {
        self.last_t = self.last_t.max(event.t);
        match event.kind {
            Kind::Send | Kind::Timer => {
                self.row(event, batch);
            }
            Kind::Start | Kind::Restart => {
                self.row(event, batch);
                self.mark_event(event, batch);
            }
            Kind::Done | Kind::Drop => self.end(event),
            Kind::Panic => {
                if event.id != 0
                    && let Some(row) = self.ids.get(event.id)
                {
                    self.set(row, |columns, row| {
                        put(&mut columns.state, row, state::PANICKED);
                        put(&mut columns.bad, row, 1);
                    });
                }
                self.mark_event(event, batch);
            }
            Kind::Refuse | Kind::Slow | Kind::Stop | Kind::Gap => self.mark_event(event, batch),
        }
    }

    fn row(&mut self, event: &Event, batch: &Batch) {
        if self.ids.get(event.id).is_some() {
            return self.skip_here("a row with an id that was there before");
        }
        if event.id > MAX_ID {
            return self.skip_here("a row with an id above 2^53");
        }
        if self.rows() >= MAX_ROWS {
            return self.skip_here("a row after the first 100,000,000");
        }
        let row = u32::try_from(self.rows()).unwrap_or(u32::MAX);
        let from = self.lane(batch.bytes(event.from));
        let to = self.lane(batch.bytes(event.to));
        let name = batch.bytes(event.name);
        let (row_kind, unnamed) = match event.kind {
            Kind::Timer => (kind::TIMER, "timer"),
            Kind::Start => (kind::START, "start"),
            Kind::Restart => (kind::RESTART, "restart"),
            _ => (kind::MESSAGE, "unnamed"),
        };
        let name = if name.is_empty() { unnamed.as_bytes() } else { cut(name).as_bytes() };
        let type_ = number_or_other(&mut self.types, name, MAX_TYPES.into());
        let note = self.note_number(batch.bytes(event.note));
        let begun = matches!(event.kind, Kind::Start | Kind::Restart);
        let ending = self.endings.remove(&event.id).unwrap_or(Ending {
            wait: nanos(event.wait),
            busy: nanos(event.busy),
            // the wait before a restart is no part of what follows from it
            late: if begun { f32::NAN } else { nanos(event.late) },
            state: if begun { state::DONE } else { state::IN_FLIGHT },
            depth_after: 0,
        });
        let cause = self.link(event.cause, row, false);
        let root = self.link(event.root, row, true);
        self.ids.put(event.id, row);
        let c = &mut self.columns;
        c.t.push(event.t as f64);
        c.wait.push(ending.wait);
        c.busy.push(ending.busy);
        c.late.push(ending.late);
        c.kind.push(row_kind);
        c.state.push(ending.state);
        c.bad.push(u8::from(event.bad || ending.state == state::PANICKED));
        c.from.push(from);
        c.to.push(to);
        c.type_.push(type_.try_into().unwrap_or(MAX_TYPES));
        c.port.push(event.port.unwrap_or(NO_PORT));
        c.depth.push(event.depth);
        c.depth_after.push(ending.depth_after);
        c.bytes.push(event.bytes as f64);
        c.id.push(event.id as f64);
        c.cause.push(cause);
        c.root.push(root);
        c.note.push(note);
        self.subject(event, batch);
        self.adopt(event.id, row);
    }

    fn subject(&mut self, event: &Event, batch: &Batch) {
        let subject = &event.subject;
        let high = subject.high.or(subject.low);
        let hash = subject.hash.map(|hash| {
            let index = self.hashes.put(&hash);
            if let Some(number) = high {
                self.hashes.learn_number(index, number);
            }
            index
        });
        let peer = subject.peer.map_or(0, |peer| self.peer(peer));
        let c = &mut self.columns;
        c.low.push(number(subject.low));
        c.high.push(number(high));
        c.hash.push(hash.map_or(0, |index| index.saturating_add(1)));
        let len = subject.len.filter(|_| hash.is_some() && high.is_none()).unwrap_or_default();
        c.len.push(u32::try_from(len).unwrap_or(u32::MAX));
        c.list_at.push(u32::try_from(c.list_hash.len()).unwrap_or(u32::MAX));
        c.list_len.push(subject.list_len);
        c.inherits.push(u8::from(subject.inherits));
        c.peer.push(peer);
        c.session.push(number(subject.session));
        let mut child = None;
        for (entry, position) in batch.list(event).iter().zip(0_u32..) {
            let index = self.hashes.put(&entry.hash);
            if let Some(number) = entry.number {
                self.hashes.learn_number(index, number);
            }
            if position < subject.run_len
                && let Some(child) = child.replace(index)
            {
                self.hashes.learn_parent(child, index);
            }
            c.list_hash.push(index.saturating_add(1));
            c.list_number.push(number(entry.number));
            c.list_run.push(entry.run);
        }
    }

    fn end(&mut self, event: &Event) {
        let ending = Ending {
            wait: nanos(event.wait),
            busy: nanos(event.busy),
            late: nanos(event.late),
            state: match event.kind {
                Kind::Drop => state::DROPPED,
                _ if event.bad => state::PANICKED,
                _ => state::DONE,
            },
            depth_after: event.depth,
        };
        match self.ids.get(event.id) {
            Some(row) => self.set(row, |c, row| {
                let panicked = c.state.get(row as usize) == Some(&state::PANICKED);
                put(&mut c.wait, row, ending.wait);
                put(&mut c.busy, row, ending.busy);
                put(&mut c.late, row, ending.late);
                put(&mut c.state, row, if panicked { state::PANICKED } else { ending.state });
                put(&mut c.depth_after, row, ending.depth_after);
                if ending.state == state::PANICKED {
                    put(&mut c.bad, row, 1);
                }
            }),
            None => {
                // the end may be written before the beginning, by another thread; but not by much
                self.endings.insert(event.id, ending);
                if self.endings.len() > MAX_WAITING {
                    self.endings.pop_first();
                    self.skip_here("the end of a message whose beginning is not in the trace");
                }
            }
        }
    }

    fn set(&mut self, row: u32, change: impl FnOnce(&mut Columns, u32)) {
        change(&mut self.columns, row);
        self.journal.patched(row);
    }

    /// The row of an id as a cause or root; notes who waits for it when it has not come.
    fn link(&mut self, id: u64, row: u32, root: bool) -> i32 {
        if id == 0 {
            return NONE;
        }
        if let Some(found) = self.ids.get(id) {
            return i32::try_from(found).unwrap_or(ABSENT);
        }
        let waiting = self.orphans.entry(id).or_default();
        if waiting.is_empty() {
            self.orphan_order.push_back(id);
        }
        // what all of a trace begins with may be long gone, and has too many descendants to remember
        if waiting.len() < 256 {
            waiting.push((row, root));
        }
        if self.orphan_order.len() > MAX_WAITING / 16
            && let Some(oldest) = self.orphan_order.pop_front()
        {
            self.orphans.remove(&oldest);
        }
        ABSENT
    }

    /// Gives a new row to those that waited for it.
    fn adopt(&mut self, id: u64, row: u32) {
        if self.orphans.is_empty() {
            return;
        }
        let link = i32::try_from(row).unwrap_or(ABSENT);
        for (waiting, root) in self.orphans.remove(&id).unwrap_or_default() {
            let column = if root { &mut self.columns.root } else { &mut self.columns.cause };
            put(column, waiting, if waiting == row { NONE } else { link });
            self.journal.rewritten(waiting);
        }
    }

    fn note_number(&mut self, note: &[u8]) -> u32 {
        if note.is_empty() {
            return 0;
        }
        match self.notes.number(cut(note).as_bytes()) {
            Some(number) => number.saturating_add(1),
            None => {
                self.skip_here("a note, beyond what is kept of them");
                0
            }
        }
    }

    fn peer(&mut self, peer: u64) -> u32 {
        if let Some(index) = self.peer_index.get(&peer) {
            return index.saturating_add(1);
        }
        let index = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        if index >= MAX_PEERS {
            self.skip_here("a peer, beyond those that are told apart");
            return 0;
        }
        self.peers.push(peer);
        self.peer_index.insert(peer, index);
        index.saturating_add(1)
    }
}

/// The number of a name; beyond the bound, that of `other`, which takes the last place.
fn number_or_other(names: &mut Names, name: &[u8], most: usize) -> usize {
    let number = if names.all().len() < most.saturating_sub(1) {
        names.number(name)
    } else {
        names.known(name)
    };
    match number.or_else(|| names.number(OTHER.as_bytes())) {
        Some(number) => number as usize,
        None => most.saturating_sub(1),
    }
}

fn put<T>(column: &mut [T], row: u32, value: T) {
    if let Some(slot) = column.get_mut(row as usize) {
        *slot = value;
    }
}

fn nanos(duration: Option<u64>) -> f32 {
    duration.map_or(f32::NAN, |nanos| nanos as f32)
}

fn number(number: Option<u64>) -> f64 {
    number.map_or(f64::NAN, |number| number as f64)
}

/// Names and notes are cut at this many bytes.
const MAX_TEXT_BYTES: usize = 1024;

fn cut(text: &[u8]) -> &str {
    let text = text.get(..MAX_TEXT_BYTES).unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => text
            .get(..error.valid_up_to())
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
