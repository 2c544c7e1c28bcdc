//! Records as lines. The format is in `docs/src/trace.md`.

use alloy_primitives::B256;
use moorline_messages::{
    BlockNumHash, Lane, RefusedBecause, TraceBlocks, TraceEvent, TraceKey, TracePort, TraceRecord,
};

const HEX: &[u8; 16] = b"0123456789abcdef";

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

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(self.out, number);
    }

    /// A number that is left out when it is zero.
    fn number_or_zero(&mut self, name: &str, number: u64) {
        if number != 0 {
            self.number(name, number);
        }
    }

    /// Text that holds nothing to escape.
    pub(crate) fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    /// Text from anywhere.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        // writing to memory does not fail
        serde_json::to_writer(&mut *self.out, text).ok();
    }

    fn truth(&mut self, name: &str, truth: bool) {
        if truth {
            self.name(name);
            self.out.extend_from_slice(b"true");
        }
    }

    fn hash(&mut self, name: &str, hash: &B256) {
        self.name(name);
        push_hash(self.out, hash);
    }

    fn hex_u64(&mut self, name: &str, word: u64) {
        self.name(name);
        self.out.push(b'"');
        push_hex(self.out, &word.to_be_bytes());
        self.out.push(b'"');
    }

    /// A list, whose items `push` writes one by one.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
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

    fn lane(&mut self, name: &str, lane: Lane) {
        self.word(name, lane.as_str());
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
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
    let mut line = Line::begin(out);
    line.number("q", q);
    line.number("t", record.at_ns);
    match &record.event {
        TraceEvent::Port(port) => {
            line.word("k", "port");
            port_fields(&mut line, port);
        }
        TraceEvent::Send { .. } => send(&mut line, &record.event),
        TraceEvent::Done { .. } => done(&mut line, &record.event),
        TraceEvent::Drop { to, label, id, port, depth, wait_ns } => {
            line.word("k", "drop");
            line.lane("to", *to);
            line.word("m", label);
            line.number("id", *id);
            line.number("p", u64::from(*port));
            line.number_or_zero("d", u64::from(*depth));
            line.number("w", *wait_ns);
        }
        TraceEvent::Refuse { from, to, label, cause, port, depth, because } => {
            line.word("k", "refuse");
            line.lane("f", *from);
            line.lane("to", *to);
            line.word("m", label);
            line.number_or_zero("c", *cause);
            line.number("p", u64::from(*port));
            line.number_or_zero("d", u64::from(*depth));
            line.word(
                "why",
                match because {
                    RefusedBecause::Full => "full",
                    RefusedBecause::Closed => "closed",
                },
            );
        }
        TraceEvent::Timer { to, reason, timer, cause } => {
            line.word("k", "timer");
            line.lane("to", *to);
            line.name("m");
            push_timer(line.out, reason);
            line.number("id", timer.id);
            line.number_or_zero("c", *cause);
            if timer.root != timer.id {
                line.number("r", timer.root);
            }
        }
        TraceEvent::Slow { to, id, busy_ns } => {
            line.word("k", "slow");
            line.lane("to", *to);
            line.number("id", *id);
            line.number("b", *busy_ns);
        }
        TraceEvent::Start { .. }
        | TraceEvent::Stop { .. }
        | TraceEvent::Panic { .. }
        | TraceEvent::Restart { .. } => life(&mut line, &record.event),
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
    line.word("k", "send");
    line.lane("f", *from);
    line.lane("to", *to);
    line.word("m", label);
    line.number("id", message.id);
    line.number_or_zero("c", *cause);
    if message.root != message.id {
        line.number("r", message.root);
    }
    line.number("p", u64::from(*port));
    line.number_or_zero("d", u64::from(*depth));
    line.number_or_zero("sz", *bytes);
    line.hex_u64("x", about.digest(*bytes));
    key(line, about);
    if let Some(note) = note {
        line.text("note", note);
    }
    line.truth("bad", *trouble);
}

fn done(line: &mut Line<'_>, event: &TraceEvent) {
    let TraceEvent::Done { to, label, id, port, depth, wait_ns, busy_ns, async_ns, panicked } =
        event
    else {
        return;
    };
    line.word("k", "done");
    line.lane("to", *to);
    match port {
        Some(port) => {
            line.word("m", label);
            line.number("id", *id);
            line.number("p", u64::from(*port));
        }
        None => {
            line.name("m");
            push_timer(line.out, label);
            line.number("id", *id);
        }
    }
    line.number_or_zero("d", u64::from(*depth));
    line.number("w", *wait_ns);
    line.number("b", *busy_ns);
    line.number_or_zero("a", *async_ns);
    line.truth("bad", *panicked);
}

fn life(line: &mut Line<'_>, event: &TraceEvent) {
    let (kind, actor, incarnation) = match event {
        TraceEvent::Start { actor, .. } => ("start", actor, &0),
        TraceEvent::Stop { actor, incarnation } => ("stop", actor, incarnation),
        TraceEvent::Panic { actor, incarnation, .. } => ("panic", actor, incarnation),
        TraceEvent::Restart { actor, incarnation, .. } => ("restart", actor, incarnation),
        _ => return,
    };
    line.word("k", kind);
    line.word("to", actor.as_str());
    line.number("gen", u64::from(*incarnation));
    match event {
        TraceEvent::Start { id, .. } => line.number("id", *id),
        TraceEvent::Panic { id, note, .. } => {
            line.number_or_zero("id", *id);
            line.text("note", note);
        }
        TraceEvent::Restart { id, backoff_ns, .. } => {
            line.number("id", *id);
            line.number("a", *backoff_ns);
        }
        _ => {}
    }
}

fn port_fields(line: &mut Line<'_>, port: &TracePort) {
    line.number("p", u64::from(port.number));
    line.text("name", port.name);
    line.lane("to", port.to);
    line.number("items", port.items as u64);
    line.number("bytes", port.bytes as u64);
}

fn key(line: &mut Line<'_>, key: &TraceKey) {
    if *key == TraceKey::default() {
        return;
    }
    line.name("key");
    line.out.push(b'{');
    let mut inner = Line { out: line.out, first: true };
    blocks(&mut inner, &key.blocks);
    if let Some(peer) = key.peer {
        inner.hex_u64("p", peer);
    }
    if let Some(session) = key.session {
        inner.number("s", session.0);
    }
    if let Some(request) = key.request {
        inner.number("rq", request.0);
    }
    line.out.push(b'}');
}

fn blocks(line: &mut Line<'_>, blocks: &TraceBlocks) {
    match blocks {
        TraceBlocks::None => {}
        TraceBlocks::OfCause => line.word("of", "c"),
        TraceBlocks::Number(number) => line.number("n", *number),
        TraceBlocks::Hash(hash) => line.hash("h", hash),
        TraceBlocks::One(block) => {
            line.hash("h", &block.hash);
            line.number("n", block.number);
        }
        TraceBlocks::Run { top, low } => {
            if !top.hash.is_zero() {
                line.hash("h", &top.hash);
            }
            line.number("n", *low);
            line.number("to", top.number);
        }
        TraceBlocks::Chain { top, hashes } => {
            let below = (hashes.len() as u64).saturating_sub(1);
            line.number("n", top.saturating_sub(below));
            line.number("to", *top);
            line.list("hs", hashes.iter(), push_hash);
        }
        TraceBlocks::List(list) => line.list("bs", list.iter(), push_block),
    }
}

fn push_block(out: &mut Vec<u8>, block: &BlockNumHash) {
    out.push(b'[');
    push_number(out, block.number);
    out.push(b',');
    push_hash(out, &block.hash);
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
    line.number("v", 1);
    line.word("k", "hdr");
    line.text("run", header.run);
    line.text("by", header.by);
    line.word("t0_unix_ns", &header.t0_unix_ns.to_string());
    line.word("clock", if header.simulated { "sim" } else { "real" });
    line.number("segment", header.segment);
    if let Some(why) = header.why {
        line.text("why", why);
    }
    line.list("ports", header.ports, |out, port| {
        out.push(b'{');
        port_fields(&mut Line { out, first: true }, port);
        out.push(b'}');
    });
    line.end();
}

/// Writes that records are missing: `lost` of them, those that follow `q`.
pub(crate) fn gap(q: u64, at_ns: u64, lost: u64, since_ns: u64, why: &str, out: &mut Vec<u8>) {
    let mut line = Line::begin(out);
    line.number("q", q);
    line.number("t", at_ns);
    line.word("k", "gap");
    line.number("n", lost);
    line.number("from", since_ns);
    line.number("until", at_ns);
    line.word("why", why);
    line.end();
}
