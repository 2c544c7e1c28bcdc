//! The rows of a trace, column by column.

use std::ops::Range;

/// What a row is.
pub mod kind {
    /// A message.
    pub const MESSAGE: u8 = 0;
    /// An actor's clock rang.
    pub const TIMER: u8 = 1;
    /// An actor began.
    pub const START: u8 = 2;
    /// An actor began again after a panic.
    pub const RESTART: u8 = 3;
}

/// How far a row has come.
pub mod state {
    /// In flight, or lost.
    pub const IN_FLIGHT: u8 = 0;
    /// Handled.
    pub const DONE: u8 = 1;
    /// It left its port and was never handled.
    pub const DROPPED: u8 = 2;
    /// Its handling panicked.
    pub const PANICKED: u8 = 3;
}

/// A lane of a row that has none.
pub const NO_LANE: u8 = 255;
/// A port of a row that has none.
pub const NO_PORT: u16 = u16::MAX;
/// A cause of a row that has none; a root that is the row itself.
pub const NONE: i32 = -1;
/// A cause or root that is not in the trace.
pub const ABSENT: i32 = -2;

/// All columns have as many items as there are rows, but for the last two: these have an item per entry of a list.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// When it was sent, in nanoseconds since the run began.
    pub t: Vec<f64>,
    /// Nanoseconds in the port; NaN when unknown.
    pub wait: Vec<f32>,
    /// Nanoseconds of handling; NaN when unknown.
    pub busy: Vec<f32>,
    /// Nanoseconds spent elsewhere; NaN when unknown.
    pub late: Vec<f32>,
    /// One of [`kind`].
    pub kind: Vec<u8>,
    /// One of [`state`].
    pub state: Vec<u8>,
    /// 1: it tells of a failure, or its handling panicked.
    pub bad: Vec<u8>,
    /// Lane of the sender, or [`NO_LANE`].
    pub from: Vec<u8>,
    /// Lane of the receiver.
    pub to: Vec<u8>,
    /// Index into the types.
    pub type_: Vec<u16>,
    /// Number of the port, or [`NO_PORT`].
    pub port: Vec<u16>,
    /// Depth of the port after the sending.
    pub depth: Vec<u32>,
    /// Depth of the port when its handling ended.
    pub depth_after: Vec<u32>,
    /// Bytes that the message holds.
    pub bytes: Vec<f64>,
    /// Number of the message.
    pub id: Vec<f64>,
    /// Row of the cause, [`NONE`] or [`ABSENT`].
    pub cause: Vec<i32>,
    /// Row of the root, [`NONE`] when it is the row itself, or [`ABSENT`].
    pub root: Vec<i32>,
    /// Index into the notes plus 1; 0 for none.
    pub note: Vec<u32>,
    /// Lowest number of a block; NaN for none.
    pub low: Vec<f64>,
    /// Highest number of a block; NaN for none.
    pub high: Vec<f64>,
    /// Index into the hashes plus 1; 0 for none.
    pub hash: Vec<u32>,
    /// How many blocks it is about from `hash` down, where it does not say their numbers; 0 otherwise.
    pub len: Vec<u32>,
    /// Where its list begins among the entries.
    pub list_at: Vec<u32>,
    /// How many entries its list has.
    pub list_len: Vec<u32>,
    /// 1: it names what its cause names.
    pub inherits: Vec<u8>,
    /// Index into the peers plus 1; 0 for none.
    pub peer: Vec<u32>,
    /// Number of the session; NaN for none.
    pub session: Vec<f64>,
    /// Of an entry: index into the hashes plus 1.
    pub list_hash: Vec<u32>,
    /// Of an entry: number of the block; NaN for none.
    pub list_number: Vec<f64>,
    /// Of an entry: how many blocks it stands for, from this one down.
    pub list_run: Vec<u32>,
}

macro_rules! per_row {
    ($columns:expr, $column:ident => $do:expr) => {{
        let columns = $columns;
        macro_rules! one {
            ($name:ident) => {{
                let $column = &mut columns.$name;
                $do;
            }};
        }
        one!(t);
        one!(wait);
        one!(busy);
        one!(late);
        one!(kind);
        one!(state);
        one!(bad);
        one!(from);
        one!(to);
        one!(type_);
        one!(port);
        one!(depth);
        one!(depth_after);
        one!(bytes);
        one!(id);
        one!(cause);
        one!(root);
        one!(note);
        one!(low);
        one!(high);
        one!(hash);
        one!(len);
        one!(list_at);
        one!(list_len);
        one!(inherits);
        one!(peer);
        one!(session);
    }};
}

impl Columns {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.t.len()
    }

    /// The entries of a row's list.
    pub fn list(&self, row: usize) -> Range<usize> {
        let at = self.list_at.get(row).map_or(0, |at| *at as usize);
        let len = self.list_len.get(row).map_or(0, |len| *len as usize);
        at..at.saturating_add(len)
    }

    /// When the very end of a row's handling was, in nanoseconds; as far as it is known.
    pub fn end(&self, row: usize) -> f64 {
        let part = |column: &[f32]| {
            column.get(row).copied().filter(|part| part.is_finite()).map_or(0.0, f64::from)
        };
        let t = self.t.get(row).copied().unwrap_or_default();
        t + part(&self.wait) + part(&self.busy) + part(&self.late)
    }

    /// Forgets the first rows and their entries.
    pub(super) fn forget(&mut self, rows: usize) {
        let rows = rows.min(self.rows());
        let entries =
            self.list_at.get(rows).map_or(self.list_hash.len(), |entries| *entries as usize);
        per_row!(&mut *self, column => {
            column.drain(..rows);
            column.shrink_to(column.len().saturating_mul(2));
        });
        let entries = entries.min(self.list_hash.len());
        self.list_hash.drain(..entries);
        self.list_number.drain(..entries);
        self.list_run.drain(..entries);
        let forgotten = u32::try_from(entries).unwrap_or(u32::MAX);
        for at in &mut self.list_at {
            *at = at.saturating_sub(forgotten);
        }
        let forgotten = i32::try_from(rows).unwrap_or(i32::MAX);
        for link in self.cause.iter_mut().chain(&mut self.root) {
            if *link >= 0 {
                let moved = link.saturating_sub(forgotten);
                *link = if moved < 0 { ABSENT } else { moved };
            }
        }
    }
}
