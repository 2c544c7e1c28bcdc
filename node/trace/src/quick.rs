//! The quick way through a line as the recorder writes it.
//!
//! It is a plain walk over the bytes that gives up, without an error, at the first thing that it does not expect: a space,
//! an escape, a byte that is not ASCII, a field or a kind that it does not know, a number with more than 18 digits.

use crate::{
    batch::Batch,
    line::{
        Entry, Event, Kind, MAX_LIST_ENTRIES, Subject, finish_lists, hash_of, peer_of, port_number,
    },
};

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn take(&mut self, byte: u8) -> Option<()> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Some(())
            }
            _ => None,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// What stands between quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let end = self
            .rest
            .iter()
            .position(|byte| !PLAIN.get(usize::from(*byte)).is_some_and(|plain| *plain))?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        self.take(b'"')?;
        Some(text)
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.string()?;
        self.take(b':')?;
        Some(key)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        let mut digits = 0_u32;
        let mut rest = self.rest;
        while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
            // 18 digits cannot overflow
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')));
            digits = digits.wrapping_add(1);
            rest = after;
        }
        let leading_zero = digits > 1 && self.rest.first() == Some(&b'0');
        if digits == 0 || digits > 18 || leading_zero {
            return None;
        }
        self.rest = rest;
        Some(value)
    }

    fn boolean(&mut self) -> Option<bool> {
        for (word, value) in [(&b"true"[..], true), (&b"false"[..], false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(value);
            }
        }
        None
    }

    /// Whether another item follows; `None` when neither a comma nor the end is there.
    fn more(&mut self, end: u8) -> Option<bool> {
        match self.next()? {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }
}

/// Bytes that stand for themselves in a string.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    let mut rest: &mut [bool] = &mut table;
    while let Some((slot, after)) = rest.split_first_mut() {
        *slot = byte >= 0x20 && byte < 0x80 && byte != b'"' && byte != b'\\';
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

/// Reads an event; `None` when the line must be read with care. What was put into the batch is then left there.
pub(crate) fn parse(line: &[u8], batch: &mut Batch) -> Option<Event> {
    let mut scan = Scan { rest: line };
    scan.take(b'{')?;
    let mut event = Event::empty(Kind::Send);
    let mut seen = 0_u32;
    loop {
        let bit = field(&mut scan, &mut event, batch)?;
        // a repeated field is not for this reader to judge
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
        if !scan.more(b'}')? {
            break;
        }
    }
    (scan.rest.is_empty() && seen & REQUIRED == REQUIRED).then_some(event)
}

const REQUIRED: u32 = 0b111;

/// Reads one field and answers which it was, as a bit.
fn field(scan: &mut Scan<'_>, event: &mut Event, batch: &mut Batch) -> Option<u32> {
    let bit = match scan.key()? {
        b"q" => {
            event.q = scan.number()?;
            0
        }
        b"t" => {
            event.t = scan.number()?;
            1
        }
        b"k" => {
            event.kind = Kind::of(scan.string()?)?;
            2
        }
        b"f" => {
            event.from = batch.text(scan.string()?);
            3
        }
        b"to" => {
            event.to = batch.text(scan.string()?);
            4
        }
        b"m" => {
            event.name = batch.text(scan.string()?);
            5
        }
        b"id" => {
            event.id = scan.number()?;
            6
        }
        b"c" => {
            event.cause = scan.number()?;
            7
        }
        b"r" => {
            event.root = scan.number()?;
            8
        }
        b"p" => {
            event.port = port_number(scan.number()?);
            9
        }
        b"d" => {
            event.depth = u32::try_from(scan.number()?).unwrap_or(u32::MAX);
            10
        }
        b"sz" => {
            event.bytes = scan.number()?;
            11
        }
        b"x" => {
            scan.string()?;
            12
        }
        b"key" => {
            event.subject = subject(scan, batch)?;
            13
        }
        b"note" => {
            event.note = batch.text(scan.string()?);
            14
        }
        b"bad" => {
            event.bad = scan.boolean()?;
            15
        }
        b"w" => {
            event.wait = Some(scan.number()?);
            16
        }
        b"b" => {
            event.busy = Some(scan.number()?);
            17
        }
        b"a" => {
            event.late = Some(scan.number()?);
            18
        }
        b"gen" => {
            event.incarnation = scan.number()?;
            19
        }
        b"why" => {
            event.why = batch.text(scan.string()?);
            20
        }
        b"n" => {
            event.missing = scan.number()?;
            21
        }
        b"from" => {
            event.since = scan.number()?;
            22
        }
        b"until" => {
            event.until = scan.number()?;
            23
        }
        _ => return None,
    };
    Some(1 << bit)
}

fn subject(scan: &mut Scan<'_>, batch: &mut Batch) -> Option<Subject> {
    scan.take(b'{')?;
    let mut subject = Subject { list_at: batch.list_at(), ..Subject::default() };
    let mut run_len = 0;
    let mut seen = 0_u32;
    loop {
        let bit = match scan.key()? {
            b"h" => {
                subject.hash = Some(hash_of(scan.string()?).ok()?);
                0
            }
            b"n" => {
                subject.low = Some(scan.number()?);
                1
            }
            b"to" => {
                subject.high = Some(scan.number()?);
                2
            }
            b"hs" if seen & (1 << 4) == 0 => {
                run_len = list(scan, |scan| Some((scan.string()?, None, 1)), batch)?;
                3
            }
            b"bs" => {
                list(scan, pair, batch)?;
                4
            }
            b"of" => {
                subject.inherits = scan.string()? == b"c";
                5
            }
            b"p" => {
                subject.peer = Some(peer_of(scan.string()?).ok()?);
                6
            }
            b"s" => {
                subject.session = Some(scan.number()?);
                7
            }
            b"rq" => {
                subject.request = Some(scan.number()?);
                8
            }
            b"len" => {
                subject.len = Some(scan.number()?);
                9
            }
            _ => return None,
        };
        if seen & (1 << bit) != 0 {
            return None;
        }
        seen |= 1 << bit;
        if !scan.more(b'}')? {
            break;
        }
    }
    finish_lists(&mut subject, run_len, batch).ok()?;
    Some(subject)
}

/// Digits of a hash, and a number.
type Item<'a> = (&'a [u8], Option<u64>, u32);

fn pair<'a>(scan: &mut Scan<'a>) -> Option<Item<'a>> {
    scan.take(b'[')?;
    let number = scan.number()?;
    scan.take(b',')?;
    let hash = scan.string()?;
    let mut run = 1;
    if scan.more(b']')? {
        run = scan.number()?;
        scan.take(b']')?;
    }
    Some((hash, Some(number), u32::try_from(run.max(1)).unwrap_or(u32::MAX)))
}

fn list<'a>(
    scan: &mut Scan<'a>,
    item: fn(&mut Scan<'a>) -> Option<Item<'a>>,
    batch: &mut Batch,
) -> Option<u32> {
    scan.take(b'[')?;
    let mut len = 0_u32;
    loop {
        let (hash, number, run) = item(scan)?;
        batch.entries.push(Entry { hash: hash_of(hash).ok()?, number, run });
        len = len.saturating_add(1);
        if len as usize > MAX_LIST_ENTRIES {
            return None;
        }
        if !scan.more(b']')? {
            return Some(len);
        }
    }
}
