//! Records that were read together, in a form that can be handed from the thread that reads to the one that keeps.

use std::sync::Arc;

use crate::line::{Entry, Event, Header, PortLine, Text};

/// A place in a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: Arc<str>,
    /// Number of the line in it, from 1; 0 when it is the file as a whole.
    pub line: u64,
}

/// Things that were skipped for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What they are, such as `a torn line`.
    pub what: String,
    /// How many they are.
    pub count: u64,
    /// The first of them.
    pub place: Place,
}

/// Records that are missing, and no `gap` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnexplainedGap {
    /// Number of the first that is missing.
    pub first_q: u64,
    /// How many are missing.
    pub missing: u64,
    /// When the last record before them was made, in nanoseconds.
    pub since_ns: u64,
    /// When the first record after them was made, in nanoseconds.
    pub until_ns: u64,
    /// The record after them.
    pub place: Place,
}

/// Records that were read together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Headers.
    pub headers: Vec<Header>,
    /// Ports.
    pub ports: Vec<PortLine>,
    /// Events, in the order of their lines.
    pub events: Vec<Event>,
    /// The blocks of the lists of their subjects.
    pub entries: Vec<Entry>,
    /// What was skipped.
    pub skipped: Vec<Skipped>,
    /// What is missing.
    pub gaps: Vec<UnexplainedGap>,
    text: Vec<u8>,
}

#[derive(Clone, Copy)]
pub(crate) struct Mark {
    headers: usize,
    ports: usize,
    events: usize,
    entries: usize,
    text: usize,
}

impl Batch {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.ports.is_empty()
            && self.events.is_empty()
            && self.skipped.is_empty()
            && self.gaps.is_empty()
    }

    /// The bytes of a text; those of another batch's text are empty.
    pub fn bytes(&self, text: Text) -> &[u8] {
        let at = text.at as usize;
        self.text.get(at..at.saturating_add(text.len as usize)).unwrap_or_default()
    }

    /// The blocks of an event's subject.
    pub fn list(&self, event: &Event) -> &[Entry] {
        let at = event.subject.list_at as usize;
        let end = at.saturating_add(event.subject.list_len as usize);
        self.entries.get(at..end).unwrap_or_default()
    }

    /// An empty batch with room for as much as that one holds.
    pub(crate) fn with_room_of(full: &Self) -> Self {
        Self {
            events: Vec::with_capacity(full.events.len()),
            entries: Vec::with_capacity(full.entries.len()),
            text: Vec::with_capacity(full.text.len()),
            ..Self::default()
        }
    }

    pub(crate) fn text(&mut self, bytes: &[u8]) -> Text {
        let at = u32::try_from(self.text.len());
        let len = u32::try_from(bytes.len());
        // a batch ends long before 4 GiB; were it otherwise, the text would be left out
        let (Ok(at), Ok(len)) = (at, len) else { return Text::default() };
        self.text.extend_from_slice(bytes);
        Text { at, len }
    }

    pub(crate) fn list_at(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            headers: self.headers.len(),
            ports: self.ports.len(),
            events: self.events.len(),
            entries: self.entries.len(),
            text: self.text.len(),
        }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.headers.truncate(mark.headers);
        self.ports.truncate(mark.ports);
        self.events.truncate(mark.events);
        self.entries.truncate(mark.entries);
        self.text.truncate(mark.text);
    }
}
