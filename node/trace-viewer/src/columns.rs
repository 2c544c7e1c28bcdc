//! The trace as the page takes it: one binary message, of which `COLUMNS.md` tells.

use std::{mem, ops::Range};

use moorline_trace::{
    Model,
    model::{Changes, Columns, Mark},
};
use serde::Serialize;

use crate::watched::{Look, Watched};

/// Most bytes of one piece of the message.
const CHUNK_BYTES: usize = 1 << 20;
/// Columns begin at multiples of this.
const ALIGN: usize = 8;
/// A generation that no trace has: whoever is told it loads everything again.
const NO_GENERATION: u64 = 0;

/// Rows were renumbered while they were being handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the oldest rows were forgotten meanwhile")]
pub struct Renumbered;

type Write = fn(&Columns, Range<usize>, &mut Vec<u8>);

/// A column: its name, the name of its type, bytes of an item, and how items are written.
struct Column {
    name: &'static str,
    kind: &'static str,
    item_bytes: usize,
    write: Write,
}

macro_rules! column {
    ($name:literal, $kind:ident, $field:ident) => {
        Column {
            name: $name,
            kind: stringify!($kind),
            item_bytes: size_of::<$kind>(),
            write: |columns, range, out| {
                for item in columns.$field.get(range).unwrap_or_default() {
                    out.extend_from_slice(&item.to_le_bytes());
                }
            },
        }
    };
}

const ROW_COLUMNS: &[Column] = &[
    column!("t", f64, t),
    column!("wait", f32, wait),
    column!("busy", f32, busy),
    column!("late", f32, late),
    column!("kind", u8, kind),
    column!("state", u8, state),
    column!("bad", u8, bad),
    column!("from", u8, from),
    column!("to", u8, to),
    column!("type", u16, type_),
    column!("port", u16, port),
    column!("depth", u32, depth),
    column!("depth_after", u32, depth_after),
    column!("bytes", f64, bytes),
    column!("id", f64, id),
    column!("cause", i32, cause),
    column!("root", i32, root),
    column!("note", u32, note),
    column!("low", f64, low),
    column!("high", f64, high),
    column!("hash", u32, hash),
    column!("len", u32, len),
    column!("list_at", u32, list_at),
    column!("list_len", u32, list_len),
    column!("inherits", u8, inherits),
    column!("peer", u32, peer),
    column!("session", f64, session),
];

const ENTRY_COLUMNS: &[Column] = &[
    column!("list_hash", u32, list_hash),
    column!("list_number", f64, list_number),
    column!("list_run", u32, list_run),
];

/// What completes an older row.
const PATCHED_COLUMNS: &[Column] = &[
    column!("patched_wait", f32, wait),
    column!("patched_busy", f32, busy),
    column!("patched_late", f32, late),
    column!("patched_state", u8, state),
    column!("patched_bad", u8, bad),
    column!("patched_depth_after", u32, depth_after),
];

const HASH_BYTES: usize = 32;

#[derive(Clone, Copy)]
enum From {
    Rows(&'static Column),
    Patched,
    PatchedOf(&'static Column),
    Hashes,
}

struct Part {
    from: From,
    items: Range<usize>,
    /// Bytes of zero after it.
    padding: usize,
}

impl Part {
    fn new(from: From, items: Range<usize>) -> Self {
        let mut part = Self { from, items, padding: 0 };
        part.padding = part.bytes().next_multiple_of(ALIGN).saturating_sub(part.bytes());
        part
    }

    fn name(&self) -> &'static str {
        match self.from {
            From::Rows(column) | From::PatchedOf(column) => column.name,
            From::Patched => "patched",
            From::Hashes => "hashes",
        }
    }

    fn kind(&self) -> &'static str {
        match self.from {
            From::Rows(column) | From::PatchedOf(column) => column.kind,
            From::Patched => "u32",
            From::Hashes => "u8",
        }
    }

    fn item_bytes(&self) -> usize {
        match self.from {
            From::Rows(column) | From::PatchedOf(column) => column.item_bytes,
            From::Patched => size_of::<u32>(),
            From::Hashes => HASH_BYTES,
        }
    }

    fn bytes(&self) -> usize {
        self.items.len().saturating_mul(self.item_bytes())
    }

    /// Items as the page counts them: hashes are so many bytes.
    fn length(&self) -> usize {
        match self.from {
            From::Hashes => self.bytes(),
            _ => self.items.len(),
        }
    }
}

#[derive(Serialize)]
struct PartJson {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: usize,
    length: usize,
}

#[derive(Serialize)]
struct PortJson<'a> {
    p: u16,
    name: &'a str,
    to: u8,
    items: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct MarkJson<'a> {
    kind: &'static str,
    t: u64,
    lane: Option<u8>,
    #[serde(rename = "gen")]
    incarnation: u64,
    row: i64,
    note: &'a str,
    n: u64,
    from: u64,
    until: u64,
    unexplained: bool,
}

#[derive(Serialize)]
struct SkippedJson<'a> {
    what: &'a str,
    count: u64,
    file: &'a str,
    line: u64,
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    generation: u64,
    version: u64,
    run: &'a str,
    by: &'a str,
    t0_unix_ns: &'a str,
    clock: &'a str,
    source: String,
    live: bool,
    first_row: usize,
    rows: usize,
    first_hash: usize,
    first_entry: usize,
    lanes: &'a [String],
    actors: usize,
    types: &'a [String],
    ports: Vec<PortJson<'a>>,
    peers: Vec<String>,
    notes: &'a [String],
    marks: Vec<MarkJson<'a>>,
    skipped: Vec<SkippedJson<'a>>,
    trimmed_rows: u64,
    columns: Vec<PartJson>,
}

/// Hands out the message piece by piece, so that it is never in memory as a whole.
pub struct Encoder {
    head: Vec<u8>,
    generation: u64,
    patched: Vec<u32>,
    parts: std::vec::IntoIter<Part>,
    current: Option<Part>,
}

impl Encoder {
    /// Everything there is.
    pub fn whole(watched: &Watched, look: &Look<'_>) -> Self {
        let everything =
            Changes { first_row: 0, first_hash: 0, first_entry: 0, patched: Vec::new() };
        Self::new(watched, look, everything, look.generation())
    }

    /// Everything, with the comparison with a second run if there is one, for a page that cannot ask for it.
    pub fn standalone(watched: &Watched, look: &Look<'_>, diff: Option<&[u8]>) -> Self {
        let mut whole = Self::whole(watched, look);
        if let Some(diff) = diff {
            whole.add_field("diff", diff);
        }
        whole
    }

    // What is added is JSON already, and long: it is put into the text rather than read and written again.
    fn add_field(&mut self, name: &str, json: &[u8]) {
        let mut text = self.head.split_off(ALIGN);
        while text.pop().is_some_and(|last| last != b'}') {}
        text.extend_from_slice(format!(",\"{name}\":").as_bytes());
        text.extend_from_slice(json);
        text.push(b'}');
        self.head = head_of(text);
    }

    /// What changed since that version, or that everything must be loaded again.
    pub fn changes(watched: &Watched, look: &Look<'_>, generation: u64, version: u64) -> Self {
        let changes = look.model().changes_since(version);
        match changes.filter(|_| generation == look.generation()) {
            Some(changes) => Self::new(watched, look, changes, generation),
            None => {
                let nothing = Changes {
                    first_row: look.model().rows(),
                    first_hash: look.model().hashes().len(),
                    first_entry: look.model().columns().list_hash.len(),
                    patched: Vec::new(),
                };
                Self::new(watched, look, nothing, NO_GENERATION)
            }
        }
    }

    fn new(watched: &Watched, look: &Look<'_>, changes: Changes, generation: u64) -> Self {
        let model = look.model();
        let parts = parts(model, &changes);
        let header = header(watched, look, &changes, generation, &parts);
        Self {
            head: head_of(serde_json::to_vec(&header).unwrap_or_default()),
            generation: look.generation(),
            patched: changes.patched,
            parts: parts.into_iter(),
            current: None,
        }
    }

    /// The next piece; `None` after the last. Rows that changed since the message began are handed out as they are
    /// now, and again as changes since.
    pub fn next_chunk(&mut self, look: &Look<'_>) -> Result<Option<Vec<u8>>, Renumbered> {
        if look.generation() != self.generation {
            return Err(Renumbered);
        }
        let mut out = mem::take(&mut self.head);
        while out.len() < CHUNK_BYTES {
            let Some(part) = self.current.take().or_else(|| self.parts.next()) else { break };
            self.current = self.write(look.model(), part, &mut out);
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    /// Writes as much of a part as there is room for, and returns the rest.
    fn write(&self, model: &Model, part: Part, out: &mut Vec<u8>) -> Option<Part> {
        let room = CHUNK_BYTES.saturating_sub(out.len()).div_ceil(part.item_bytes());
        let until = part.items.start.saturating_add(room).min(part.items.end);
        let now = part.items.start..until;
        match part.from {
            From::Rows(column) => (column.write)(model.columns(), now, out),
            From::Patched => {
                for row in self.patched.get(now).unwrap_or_default() {
                    out.extend_from_slice(&row.to_le_bytes());
                }
            }
            From::PatchedOf(column) => {
                for row in self.patched.get(now).unwrap_or_default() {
                    let row = *row as usize;
                    (column.write)(model.columns(), row..row.saturating_add(1), out);
                }
            }
            From::Hashes => {
                for hash in model.hashes().get(now).unwrap_or_default() {
                    out.extend_from_slice(hash);
                }
            }
        }
        if until < part.items.end {
            return Some(Part { items: until..part.items.end, ..part });
        }
        out.extend(std::iter::repeat_n(0, part.padding));
        None
    }
}

fn head_of(mut json: Vec<u8>) -> Vec<u8> {
    json.resize(json.len().next_multiple_of(ALIGN), b' ');
    let mut head = Vec::with_capacity(json.len().saturating_add(ALIGN));
    head.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.append(&mut json);
    head
}

fn parts(model: &Model, changes: &Changes) -> Vec<Part> {
    let columns = model.columns();
    let rows = changes.first_row..columns.rows();
    let entries = changes.first_entry..columns.list_hash.len();
    let mut parts: Vec<Part> =
        ROW_COLUMNS.iter().map(|column| Part::new(From::Rows(column), rows.clone())).collect();
    parts.extend(ENTRY_COLUMNS.iter().map(|column| Part::new(From::Rows(column), entries.clone())));
    parts.push(Part::new(From::Hashes, changes.first_hash..model.hashes().len()));
    if !changes.patched.is_empty() {
        let patched = 0..changes.patched.len();
        parts.push(Part::new(From::Patched, patched.clone()));
        parts.extend(
            PATCHED_COLUMNS
                .iter()
                .map(|column| Part::new(From::PatchedOf(column), patched.clone())),
        );
    }
    parts
}

fn header<'a>(
    watched: &Watched,
    look: &'a Look<'_>,
    changes: &Changes,
    generation: u64,
    parts: &[Part],
) -> HeaderJson<'a> {
    let model = look.model();
    let about = model.header();
    HeaderJson {
        generation,
        version: model.version(),
        run: &about.run,
        by: &about.by,
        t0_unix_ns: &about.t0_unix_ns,
        clock: &about.clock,
        source: match look.said() {
            Some(said) => format!("{} ({said})", watched.source()),
            None => watched.source().to_owned(),
        },
        live: watched.is_live(),
        first_row: changes.first_row,
        rows: model.rows(),
        first_hash: changes.first_hash,
        first_entry: changes.first_entry,
        lanes: model.lanes(),
        actors: model.actors(),
        types: model.types(),
        ports: ports(model),
        peers: model.peers().iter().map(|peer| format!("{peer:016x}")).collect(),
        notes: model.notes(),
        marks: model.marks().iter().map(|mark| mark_json(model, mark)).collect(),
        skipped: skipped(model),
        trimmed_rows: model.trimmed_rows(),
        columns: places(parts),
    }
}

fn ports(model: &Model) -> Vec<PortJson<'_>> {
    model
        .ports()
        .iter()
        .map(|(p, port)| PortJson {
            p: *p,
            name: &port.name,
            to: port.to,
            items: port.items,
            bytes: port.bytes,
        })
        .collect()
}

fn mark_json<'a>(model: &Model, mark: &'a Mark) -> MarkJson<'a> {
    let row = model.mark_row(mark).and_then(|row| i64::try_from(row).ok());
    MarkJson {
        kind: mark.kind.as_str(),
        t: mark.t_ns,
        lane: mark.lane,
        incarnation: mark.incarnation,
        row: row.unwrap_or(-1),
        note: &mark.note,
        n: mark.missing,
        from: mark.since_ns,
        until: mark.until_ns,
        unexplained: mark.unexplained,
    }
}

fn skipped(model: &Model) -> Vec<SkippedJson<'_>> {
    model
        .skipped()
        .iter()
        .map(|skipped| SkippedJson {
            what: &skipped.what,
            count: skipped.count,
            file: &skipped.place.file,
            line: skipped.place.line,
        })
        .collect()
}

fn places(parts: &[Part]) -> Vec<PartJson> {
    let mut offset = 0_usize;
    parts
        .iter()
        .map(|part| {
            let place =
                PartJson { name: part.name(), kind: part.kind(), offset, length: part.length() };
            offset = offset.saturating_add(part.bytes()).saturating_add(part.padding);
            place
        })
        .collect()
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
