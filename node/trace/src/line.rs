//! One line of a trace: bytes in, a checked [`Event`] out.
//!
//! Two readers stand behind [`parse`]. The quick one knows lines as the recorder writes them: no spaces, no escapes, known
//! fields. Whatever else a line holds goes to `serde_json`, behind a check of its nesting. Both give the same answer.

use thiserror::Error;

use crate::{batch::Batch, careful::careful, quick};

/// The longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The deepest nesting of objects and lists that is read.
pub const MAX_DEPTH: usize = 8;
/// The most entries of a list of blocks that are read.
pub const MAX_LIST_ENTRIES: usize = 1024;

/// Why a line was skipped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineError {
    /// Over [`MAX_LINE_BYTES`].
    #[error("a line longer than 1 MiB")]
    TooLong,
    /// Over [`MAX_DEPTH`].
    #[error("a line nested deeper than 8")]
    TooDeep,
    /// The line ends in the middle of a value.
    #[error("a torn line")]
    Torn,
    /// Not a JSON object in UTF-8.
    #[error("a line that is not a JSON object")]
    NotAnObject,
    /// A field that holds something else than the format says, such as a number of 2^63 or more.
    #[error("a line with a field of the wrong kind")]
    WrongKind,
    /// A field without which the record means nothing.
    #[error("a line that lacks a field")]
    Lacking,
    /// More than [`MAX_LIST_ENTRIES`].
    #[error("a line with a list of more than 1,024 blocks")]
    LongList,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A message was told to a port.
    Send,
    /// Its handling is over.
    Done,
    /// It left its port and was never handled.
    Drop,
    /// The port was full or closed.
    Refuse,
    /// An actor's clock rang.
    Timer,
    /// A handling lasts long and is not over.
    Slow,
    /// An actor began.
    Start,
    /// An actor ended.
    Stop,
    /// An actor panicked.
    Panic,
    /// An actor began again after a panic.
    Restart,
    /// Records could not be kept.
    Gap,
}

impl Kind {
    /// The kind of that name; `None` for those that a reader does not know.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"send" => Self::Send,
            b"done" => Self::Done,
            b"drop" => Self::Drop,
            b"refuse" => Self::Refuse,
            b"timer" => Self::Timer,
            b"slow" => Self::Slow,
            b"start" => Self::Start,
            b"stop" => Self::Stop,
            b"panic" => Self::Panic,
            b"restart" => Self::Restart,
            b"gap" => Self::Gap,
            _ => return None,
        })
    }

    const fn needs_id(self) -> bool {
        matches!(
            self,
            Self::Send
                | Self::Done
                | Self::Drop
                | Self::Timer
                | Self::Slow
                | Self::Start
                | Self::Restart
        )
    }
}

/// A piece of the text of a [`Batch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Text {
    /// Whether the field was left out, or held nothing.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Hash of the block, or of the highest of a run.
    pub hash: Option<[u8; 32]>,
    /// Number of the block, or of the lowest of a run.
    pub low: Option<u64>,
    /// Number of the highest of a run.
    pub high: Option<u64>,
    /// How many blocks they are from `hash` down, where their numbers are not said.
    pub len: Option<u64>,
    /// Where its blocks begin in the entries of the [`Batch`].
    pub list_at: u32,
    /// How many they are.
    pub list_len: u32,
    /// How many of these, from the first, are a run: each the child of the next.
    pub run_len: u32,
    /// Whether it is about whatever its cause is about.
    pub inherits: bool,
    /// First 64 bits of the peer's id.
    pub peer: Option<u64>,
    /// Number of the session.
    pub session: Option<u64>,
    /// Number of the request.
    pub request: Option<u64>,
}

/// A block of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its hash.
    pub hash: [u8; 32],
    /// Its number, if known.
    pub number: Option<u64>,
    /// How many blocks the entry stands for, from this one down.
    pub run: u32,
}

/// A record. What the fields mean is in the description of the format; times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the record in the run.
    pub q: u64,
    /// When, since the run began.
    pub t: u64,
    /// What it tells.
    pub kind: Kind,
    /// Lane of the sender.
    pub from: Text,
    /// Lane of the receiver, or the lane that the record is about.
    pub to: Text,
    /// Name of the message, or the reason of a timer.
    pub name: Text,
    /// A few words.
    pub note: Text,
    /// Why it was refused, or records are missing.
    pub why: Text,
    /// Number of the message; 0 in a record that has none.
    pub id: u64,
    /// The message that was being handled by the sender; 0 for none.
    pub cause: u64,
    /// The trigger that all this began with; 0 when it is the message itself.
    pub root: u64,
    /// Number of the port.
    pub port: Option<u16>,
    /// Messages in the port after this.
    pub depth: u32,
    /// Bytes that the message holds.
    pub bytes: u64,
    /// What it is about.
    pub subject: Subject,
    /// Whether it tells of a failure, or its handling panicked.
    pub bad: bool,
    /// Time in the port.
    pub wait: Option<u64>,
    /// Time of handling.
    pub busy: Option<u64>,
    /// Time spent elsewhere.
    pub late: Option<u64>,
    /// Incarnation of the actor.
    pub incarnation: u64,
    /// How many records are missing.
    pub missing: u64,
    /// The first moment at which a missing record was made.
    pub since: u64,
    /// The last such moment.
    pub until: u64,
}

impl Event {
    pub(crate) const fn empty(kind: Kind) -> Self {
        const NONE: Text = Text { at: 0, len: 0 };
        Self {
            q: 0,
            t: 0,
            kind,
            from: NONE,
            to: NONE,
            name: NONE,
            note: NONE,
            why: NONE,
            id: 0,
            cause: 0,
            root: 0,
            port: None,
            depth: 0,
            bytes: 0,
            subject: Subject {
                hash: None,
                low: None,
                high: None,
                len: None,
                list_at: 0,
                list_len: 0,
                run_len: 0,
                inherits: false,
                peer: None,
                session: None,
                request: None,
            },
            bad: false,
            wait: None,
            busy: None,
            late: None,
            incarnation: 0,
            missing: 0,
            since: 0,
            until: 0,
        }
    }
}

/// The first line of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Version of the format.
    pub version: u64,
    /// The same in all segments of one run.
    pub run: String,
    /// Who wrote it.
    pub by: String,
    /// Unix time in nanoseconds at which the run began, in decimal digits.
    pub t0_unix_ns: String,
    /// `real` or `sim`.
    pub clock: String,
    /// Number of the segment.
    pub segment: u64,
    /// What a flight recording was written for.
    pub why: String,
}

/// A port, as its record introduces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLine {
    /// Its number.
    pub port: u16,
    /// Its name.
    pub name: String,
    /// Lane of the receiver.
    pub to: String,
    /// The most messages that it holds.
    pub items: u64,
    /// The most bytes that it holds.
    pub bytes: u64,
}

/// What a line turned out to be; its content is in the [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A header, the last of the batch's.
    Header,
    /// A port, the last of the batch's; number of the record.
    Port {
        /// Number of the record.
        q: u64,
    },
    /// An event, the last of the batch's.
    Event,
    /// A kind that this reader does not know.
    Unknown {
        /// Number of the record, if it has one.
        q: Option<u64>,
    },
}

/// Reads a line, without its line feed, into a batch.
///
/// # Errors
///
/// What is wrong with the line; the batch is then as it was.
pub fn parse(line: &[u8], batch: &mut Batch) -> Result<Line, LineError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong);
    }
    let mark = batch.mark();
    let read = match quick::parse(line, batch) {
        Some(event) => admit(event, batch),
        None => {
            batch.rewind(mark);
            careful(line, batch)
        }
    };
    if read.is_err() {
        batch.rewind(mark);
    }
    read
}

pub(crate) fn admit(event: Event, batch: &mut Batch) -> Result<Line, LineError> {
    if event.kind.needs_id() && event.id == 0 {
        return Err(LineError::Lacking);
    }
    if !matches!(event.kind, Kind::Gap) && event.to.is_empty() {
        return Err(LineError::Lacking);
    }
    batch.events.push(event);
    Ok(Line::Event)
}

/// Gives the entries of a run their numbers, counted down from the highest.
pub(crate) fn finish_lists(
    subject: &mut Subject,
    run_len: u32,
    batch: &mut Batch,
) -> Result<(), LineError> {
    subject.run_len = run_len;
    subject.list_len = batch.list_at().saturating_sub(subject.list_at);
    let others = subject.list_len.saturating_sub(run_len);
    if others.max(run_len) as usize > MAX_LIST_ENTRIES {
        return Err(LineError::LongList);
    }
    let above = u64::from(run_len).saturating_sub(1);
    if run_len > 0 {
        subject.high = subject.high.or(subject.low.map(|low| low.saturating_add(above)));
    }
    let top = subject.high;
    let run = batch.entries.iter_mut().skip(subject.list_at as usize).take(run_len as usize);
    for (down, entry) in (0_u64..).zip(run) {
        entry.number = top.and_then(|top| top.checked_sub(down));
    }
    Ok(())
}

/// Ports beyond the bound are read as none.
pub(crate) fn port_number(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number < crate::model::MAX_PORTS)
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

const HEX: [u8; 256] = {
    let mut table = [0xff_u8; 256];
    let mut byte = 0_u8;
    let mut rest: &mut [u8] = &mut table;
    while let Some((slot, after)) = rest.split_first_mut() {
        if let Some(digit) = hex_digit(byte) {
            *slot = digit;
        }
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

fn hex(byte: u8) -> u8 {
    HEX.get(usize::from(byte)).copied().unwrap_or(0xff)
}

/// A hash as the format writes it: `0x` and 64 hexadecimal digits.
pub(crate) fn hash_of(text: &[u8]) -> Result<[u8; 32], LineError> {
    let digits = text.strip_prefix(b"0x").ok_or(LineError::WrongKind)?;
    if digits.len() != 64 {
        return Err(LineError::WrongKind);
    }
    let mut hash = [0; 32];
    let mut seen = 0;
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let (high, low) = (hex(*high), hex(*low));
        seen |= high | low;
        *byte = (high << 4) | (low & 0x0f);
    }
    if seen > 0x0f { Err(LineError::WrongKind) } else { Ok(hash) }
}

/// A peer as the format writes it: 16 hexadecimal digits.
pub(crate) fn peer_of(text: &[u8]) -> Result<u64, LineError> {
    if text.len() != 16 {
        return Err(LineError::WrongKind);
    }
    let mut peer = 0_u64;
    for byte in text {
        let digit = hex_digit(*byte).ok_or(LineError::WrongKind)?;
        peer = (peer << 4) | u64::from(digit);
    }
    Ok(peer)
}
