//! Records as lines. The format is in `docs/src/trace.md`.

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, Lane, RefusedBecause, TraceBlocks, TraceEvent, TraceKey, TracePort, TraceRecord,
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The name of a field as it stands in a line, put together when this is compiled.
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) &'static [u8]);

macro_rules! name {
    ($name:literal) => {
        crate::encode::Name(concat!(",\"", $name, "\":").as_bytes())
    };
}

/// A line that is being written: fields are appended, the default of each left out by the caller.
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Line<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    #[inline]
    fn name(&mut self, name: Name) {
        // the comma is the first byte, and the first field has none
        let name = if self.first { name.0.get(1..).unwrap_or_default() } else { name.0 };
        self.first = false;
        self.out.extend_from_slice(name);
    }

    #[inline]
    pub(crate) fn number(&mut self, name: Name, number: u64) {
        self.name(name);
        push_number(self.out, number);
    }

    /// A number that is left out when it is zero.
    #[inline]
    fn number_or_zero(&mut self, name: Name, number: u64) {
        if number != 0 {
            self.number(name, number);
        }
    }

    /// Text that holds nothing to escape.
    #[inline]
    pub(crate) fn word(&mut self, name: Name, word: &str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    /// Text from anywhere.
    pub(crate) fn text(&mut self, name: Name, text: &str) {
        self.name(name);
        // writing to memory does not fail
        serde_json::to_writer(&mut *self.out, text).ok();
    }

    #[inline]
    fn truth(&mut self, name: Name, truth: bool) {
        if truth {
            self.name(name);
            self.out.extend_from_slice(b"true");
        }
    }

    #[inline]
    fn hash(&mut self, name: Name, hash: &B256) {
        self.name(name);
        push_hash(self.out, hash);
    }

    #[inline]
    fn hex_u64(&mut self, name: Name, word: u64) {
        self.name(name);
        self.out.push(b'"');
        push_hex(self.out, &word.to_be_bytes());
        self.out.push(b'"');
    }

    /// A list, whose items `push` writes one by one.
    pub(crate) fn list<T>(
        &mut self,
        name: Name,
        items: impl IntoIterator<Item = T>,
        push: impl Fn(&mut Vec<u8>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            push(self.out, item);
        }
        self.out.push(b']');
    }

    #[inline]
    fn lane(&mut self, name: Name, lane: Lane) {
        self.word(name, lane.as_str());
    }
}

/// The greatest number in a trace. A peer's header may claim any height, which must not make its line unreadable.
const NUMBER_MAX: u64 = i64::MAX as u64;

fn push_number(out: &mut Vec<u8>, number: u64) {
    let number = number.min(NUMBER_MAX);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

fn push_hash(out: &mut Vec<u8>, hash: &B256) {
    out.extend_from_slice(b"\"0x");
    push_hex(out, hash.as_slice());
    out.push(b'"');
}

/// Writes one record, with its newline.
pub(crate) fn record(record: &TraceRecord, q: u64, out: &mut Vec<u8>) {
    if let TraceEvent::Gap { records, since_ns } = record.event {
        let missing = Gap { first_q: q, records, since_ns, until_ns: record.at_ns };
        return gap(&missing, "queue full", out);
    }
    let mut line = Line::begin(out);
    line.number(name!("q"), q);
    line.number(name!("t"), record.at_ns);
    match &record.event {
        TraceEvent::Port(port) => {
            line.word(name!("k"), "port");
            port_fields(&mut line, port);
        }
        TraceEvent::Send { .. } => send(&mut line, &record.event),
        TraceEvent::Done { .. } => done(&mut line, &record.event),
        TraceEvent::Drop { to, label, id, port, depth, wait_ns } => {
            line.word(name!("k"), "drop");
            line.lane(name!("to"), *to);
            line.word(name!("m"), label);
            line.number(name!("id"), *id);
            line.number(name!("p"), u64::from(*port));
            line.number_or_zero(name!("d"), u64::from(*depth));
            line.number(name!("w"), *wait_ns);
        }
        TraceEvent::Refuse { from, to, label, cause, port, depth, because } => {
            line.word(name!("k"), "refuse");
            line.lane(name!("f"), *from);
            line.lane(name!("to"), *to);
            line.word(name!("m"), label);
            line.number_or_zero(name!("c"), *cause);
            line.number(name!("p"), u64::from(*port));
            line.number_or_zero(name!("d"), u64::from(*depth));
            line.word(
                name!("why"),
                match because {
                    RefusedBecause::Full => "full",
                    RefusedBecause::Closed => "closed",
                },
            );
        }
        TraceEvent::Timer { to, reason, timer, cause } => {
            line.word(name!("k"), "timer");
            line.lane(name!("to"), *to);
            line.name(name!("m"));
            push_timer(line.out, reason);
            line.number(name!("id"), timer.id);
            line.number_or_zero(name!("c"), *cause);
            if timer.root != timer.id {
                line.number(name!("r"), timer.root);
            }
        }
        TraceEvent::Slow { to, id, busy_ns } => {
            line.word(name!("k"), "slow");
            line.lane(name!("to"), *to);
            line.number(name!("id"), *id);
            line.number(name!("b"), *busy_ns);
        }
        TraceEvent::Start { .. }
        | TraceEvent::Stop { .. }
        | TraceEvent::Panic { .. }
        | TraceEvent::Restart { .. }
        | TraceEvent::Gap { .. } => life(&mut line, &record.event),
    }
    line.end();
}

fn push_timer(out: &mut Vec<u8>, reason: &str) {
    out.extend_from_slice(b"\"timer: ");
    out.extend_from_slice(reason.as_bytes());
    out.push(b'"');
}

fn send(line: &mut Line<'_>, event: &TraceEvent) {
    let TraceEvent::Send {
        from,
        to,
        label,
        message,
        cause,
        port,
        depth,
        bytes,
        key: about,
        note,
        trouble,
    } = event
    else {
        return;
    };
    line.word(name!("k"), "send");
    line.lane(name!("f"), *from);
    line.lane(name!("to"), *to);
    line.word(name!("m"), label);
    line.number(name!("id"), message.id);
    line.number_or_zero(name!("c"), *cause);
    if message.root != message.id {
        line.number(name!("r"), message.root);
    }
    line.number(name!("p"), u64::from(*port));
    line.number_or_zero(name!("d"), u64::from(*depth));
    line.number_or_zero(name!("sz"), *bytes);
    line.hex_u64(name!("x"), about.digest(*bytes));
    key(line, about);
    if let Some(note) = note {
        line.text(name!("note"), note);
    }
    line.truth(name!("bad"), *trouble);
}

fn done(line: &mut Line<'_>, event: &TraceEvent) {
    let TraceEvent::Done { to, label, id, port, depth, wait_ns, busy_ns, async_ns, panicked } =
        event
    else {
        return;
    };
    line.word(name!("k"), "done");
    line.lane(name!("to"), *to);
    match port {
        Some(port) => {
            line.word(name!("m"), label);
            line.number(name!("id"), *id);
            line.number(name!("p"), u64::from(*port));
        }
        None => {
            line.name(name!("m"));
            push_timer(line.out, label);
            line.number(name!("id"), *id);
        }
    }
    line.number_or_zero(name!("d"), u64::from(*depth));
    line.number(name!("w"), *wait_ns);
    line.number(name!("b"), *busy_ns);
    line.number_or_zero(name!("a"), *async_ns);
    line.truth(name!("bad"), *panicked);
}

fn life(line: &mut Line<'_>, event: &TraceEvent) {
    let (kind, actor, incarnation) = match event {
        TraceEvent::Start { actor, .. } => ("start", actor, &0),
        TraceEvent::Stop { actor, incarnation } => ("stop", actor, incarnation),
        TraceEvent::Panic { actor, incarnation, .. } => ("panic", actor, incarnation),
        TraceEvent::Restart { actor, incarnation, .. } => ("restart", actor, incarnation),
        _ => return,
    };
    line.word(name!("k"), kind);
    line.word(name!("to"), actor.as_str());
    line.number(name!("gen"), u64::from(*incarnation));
    match event {
        TraceEvent::Start { id, .. } => line.number(name!("id"), *id),
        TraceEvent::Panic { id, note, .. } => {
            line.number_or_zero(name!("id"), *id);
            line.text(name!("note"), note);
        }
        TraceEvent::Restart { id, backoff_ns, .. } => {
            line.number(name!("id"), *id);
            line.number(name!("a"), *backoff_ns);
        }
        _ => {}
    }
}

fn port_fields(line: &mut Line<'_>, port: &TracePort) {
    line.number(name!("p"), u64::from(port.number));
    line.text(name!("name"), port.name);
    line.lane(name!("to"), port.to);
    line.number(name!("items"), port.items as u64);
    line.number(name!("bytes"), port.bytes as u64);
}

fn key(line: &mut Line<'_>, key: &TraceKey) {
    if *key == TraceKey::default() {
        return;
    }
    line.name(name!("key"));
    line.out.push(b'{');
    let mut inner = Line { out: line.out, first: true };
    blocks(&mut inner, &key.blocks);
    if let Some(peer) = key.peer {
        inner.hex_u64(name!("p"), peer);
    }
    if let Some(session) = key.session {
        inner.number(name!("s"), session.0);
    }
    if let Some(request) = key.request {
        inner.number(name!("rq"), request.0);
    }
    line.out.push(b'}');
}

fn blocks(line: &mut Line<'_>, blocks: &TraceBlocks) {
    match blocks {
        TraceBlocks::None => {}
        TraceBlocks::OfCause => line.word(name!("of"), "c"),
        TraceBlocks::Number(number) => line.number(name!("n"), *number),
        TraceBlocks::Hash(hash) => line.hash(name!("h"), hash),
        TraceBlocks::One(block) => {
            line.hash(name!("h"), &block.hash);
            line.number(name!("n"), block.number);
        }
        TraceBlocks::Run { top, low } => {
            if !top.hash.is_zero() {
                line.hash(name!("h"), &top.hash);
            }
            line.number(name!("n"), *low);
            line.number(name!("to"), top.number);
        }
        TraceBlocks::Below { top, len } => {
            line.hash(name!("h"), top);
            if *len > 1 {
                line.number(name!("len"), *len);
            }
        }
        TraceBlocks::Chain { top, hashes } => {
            let below = (hashes.len() as u64).saturating_sub(1);
            line.number(name!("n"), top.saturating_sub(below));
            line.number(name!("to"), *top);
            line.list(name!("hs"), hashes.iter(), push_hash);
        }
        TraceBlocks::Runs(runs) => line.list(name!("bs"), runs.iter(), push_run),
    }
}

fn push_run(out: &mut Vec<u8>, (top, len): &(BlockNumHash, u64)) {
    out.push(b'[');
    push_number(out, top.number);
    out.push(b',');
    push_hash(out, &top.hash);
    if *len > 1 {
        out.push(b',');
        push_number(out, *len);
    }
    out.push(b']');
}

/// What the first line of a file says.
pub(crate) struct Header<'a> {
    pub(crate) run: &'a str,
    pub(crate) by: &'a str,
    pub(crate) t0_unix_ns: u128,
    pub(crate) simulated: bool,
    pub(crate) segment: u64,
    /// What a flight recording was written for.
    pub(crate) why: Option<&'a str>,
    pub(crate) ports: &'a [TracePort],
}

/// Writes the first line of a file.
pub(crate) fn header(header: &Header<'_>, out: &mut Vec<u8>) {
    let mut line = Line::begin(out);
    line.number(name!("v"), 1);
    line.word(name!("k"), "hdr");
    line.text(name!("run"), header.run);
    line.text(name!("by"), header.by);
    line.word(name!("t0_unix_ns"), &header.t0_unix_ns.to_string());
    line.word(name!("clock"), if header.simulated { "sim" } else { "real" });
    line.number(name!("segment"), header.segment);
    if let Some(why) = header.why {
        line.text(name!("why"), why);
    }
    line.list(name!("ports"), header.ports, |out, port| {
        out.push(b'{');
        port_fields(&mut Line { out, first: true }, port);
        out.push(b'}');
    });
    line.end();
}

/// Records that are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// The number of the first.
    pub(crate) first_q: u64,
    pub(crate) records: u64,
    pub(crate) since_ns: u64,
    pub(crate) until_ns: u64,
}

/// Writes that records are missing.
pub(crate) fn gap(gap: &Gap, why: &str, out: &mut Vec<u8>) {
    let mut line = Line::begin(out);
    line.number(name!("q"), gap.first_q);
    line.number(name!("t"), gap.until_ns);
    line.word(name!("k"), "gap");
    line.number(name!("n"), gap.records);
    line.number(name!("from"), gap.since_ns);
    line.number(name!("until"), gap.until_ns);
    line.word(name!("why"), why);
    line.end();
}
