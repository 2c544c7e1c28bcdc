//! Bytes of a trace, in whatever pieces they come, into batches of records.

use std::{io::BufRead, mem, sync::Arc};

use crate::{
    batch::{Batch, Mark, Place, Skipped, UnexplainedGap},
    line::{self, Kind, Line, LineError, MAX_LINE_BYTES},
};

/// The most unexplained gaps that are listed; the rest are only counted.
pub const MAX_GAPS: usize = 1000;

/// Reads a trace that comes in pieces: of a file, of a file that still grows, of a stream.
///
/// ```
/// # use moorline_trace::{Feed, Model};
/// let (mut feed, mut model) = (Feed::new(), Model::new());
/// feed.begin_file("run-0.jsonl");
/// feed.push(br#"{"q":0,"t":5,"k":"timer","to":"tree","m":"timer: x","id":1}"#);
/// feed.push(b"\n");
/// model.absorb(&feed.take());
/// assert_eq!(model.rows(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Feed {
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    /// Whether the rest of the current line is passed over, because it is too long.
    overlong: bool,
    file: Arc<str>,
    line: u64,
    run: Option<String>,
    /// Whether records are passed over, because a header of another run came before them.
    other_run: bool,
    expected_q: Option<u64>,
    last_t: u64,
    unreadable: u64,
    gaps: usize,
    batch: Batch,
}

impl Feed {
    /// A feed that nothing was pushed to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that what is pushed from here on is from the beginning of that file.
    pub fn begin_file(&mut self, name: &str) {
        self.end_file();
        self.file = name.into();
        self.line = 0;
        self.other_run = false;
    }

    /// Says that nothing more will come of the current file. A last line without its line feed is read if it is whole.
    pub fn end_file(&mut self) {
        if !self.carry.is_empty() || self.overlong {
            self.end_line(&[]);
        }
    }

    /// Reads what came. A line whose end is missing waits for it.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let mut after = rest;
            // on a slice this is a fast search that copies nothing and cannot fail
            let len = after.skip_until(b'\n').unwrap_or_default();
            let Some((line, _)) = rest.split_at_checked(len) else { return };
            match line.strip_suffix(b"\n") {
                Some(line) => self.end_line(line),
                None => return self.keep(line),
            }
            rest = after;
        }
    }

    /// How many bytes of an unfinished line are kept; never more than [`MAX_LINE_BYTES`].
    pub const fn carried_bytes(&self) -> usize {
        self.carry.len()
    }

    /// What was read since the last time.
    pub fn take(&mut self) -> Batch {
        let next = Batch::with_room_of(&self.batch);
        mem::replace(&mut self.batch, next)
    }

    /// Counts something that was skipped and is no line.
    pub fn skip(&mut self, what: &str) {
        let place = Place { file: self.file.clone(), line: self.line };
        self.skip_at(what.to_owned(), place);
    }

    fn skip_at(&mut self, what: String, place: Place) {
        match self.batch.skipped.iter_mut().find(|skipped| skipped.what == what) {
            Some(skipped) => skipped.count = skipped.count.saturating_add(1),
            None => self.batch.skipped.push(Skipped { what, count: 1, place }),
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.carry.len().saturating_add(part.len()) > MAX_LINE_BYTES {
            self.overlong = true;
            self.carry = Vec::new();
        }
        if !self.overlong {
            self.carry.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        self.line = self.line.saturating_add(1);
        if self.carry.is_empty() && !self.overlong {
            return self.read(line);
        }
        self.keep(line);
        if mem::take(&mut self.overlong) {
            return self.unreadable(LineError::TooLong);
        }
        let mut whole = mem::take(&mut self.carry);
        self.read(&whole);
        whole.clear();
        self.carry = whole;
    }

    fn unreadable(&mut self, error: LineError) {
        self.unreadable = self.unreadable.saturating_add(1);
        self.skip(&error.to_string());
    }

    fn read(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        let mark = self.batch.mark();
        match line::parse(line, &mut self.batch) {
            Ok(Line::Header) => self.header(mark),
            Ok(_) if self.other_run => self.batch.rewind(mark),
            Ok(Line::Event) => self.event(),
            Ok(Line::Port { q }) => self.arrived(q, None),
            Ok(Line::Unknown { q }) => {
                if let Some(q) = q {
                    self.arrived(q, None);
                }
                self.skip("a record of a kind that this version does not know");
            }
            Err(error) => self.unreadable(error),
        }
    }

    fn header(&mut self, mark: Mark) {
        let Some(header) = self.batch.headers.last() else { return };
        let newer = header.version > 1;
        match &self.run {
            Some(run) if *run != header.run => {
                self.other_run = true;
                self.batch.rewind(mark);
                self.skip("a header of another run, and the records after it");
            }
            Some(_) => self.other_run = false,
            None => self.run = Some(header.run.clone()),
        }
        if newer {
            self.skip("a header of a version after 1: what is new in it is not shown");
        }
    }

    fn event(&mut self) {
        let Some(event) = self.batch.events.last() else { return };
        let (q, t) = (event.q, event.t);
        let missing = (event.kind == Kind::Gap).then_some(event.missing);
        self.arrived(q, Some(t));
        if let (Some(missing), Some(expected)) = (missing, &mut self.expected_q) {
            *expected = (*expected).max(q.saturating_add(missing));
        }
    }

    /// Checks that the numbers of records go on.
    fn arrived(&mut self, q: u64, t: Option<u64>) {
        let next = q.saturating_add(1);
        let expected = self.expected_q.unwrap_or(q);
        let unreadable = mem::take(&mut self.unreadable);
        let missing = q.saturating_sub(expected).saturating_sub(unreadable);
        if missing > 0 {
            if self.gaps < MAX_GAPS {
                self.batch.gaps.push(UnexplainedGap {
                    first_q: expected,
                    missing,
                    since_ns: self.last_t,
                    until_ns: t.unwrap_or(self.last_t),
                    place: Place { file: self.file.clone(), line: self.line },
                });
            } else {
                self.skip("a gap that nothing explains, after the first 1,000");
            }
            self.gaps = self.gaps.saturating_add(1);
        }
        self.expected_q = Some(expected.max(next));
        self.last_t = t.unwrap_or(self.last_t);
    }
}
