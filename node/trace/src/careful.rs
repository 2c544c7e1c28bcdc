//! The careful way through a line: whatever JSON may look like.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    batch::Batch,
    line::{
        Entry, Event, Header, Kind, Line, LineError, MAX_DEPTH, PortLine, Subject, admit,
        finish_lists, hash_of, peer_of, port_number,
    },
};

#[derive(Deserialize)]
struct KindOnly<'a> {
    #[serde(borrow)]
    k: Cow<'a, str>,
    #[serde(default)]
    q: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Fields {
    q: Option<i64>,
    t: Option<i64>,
    f: Option<String>,
    to: Option<String>,
    m: Option<String>,
    id: Option<i64>,
    c: Option<i64>,
    r: Option<i64>,
    p: Option<i64>,
    d: Option<i64>,
    sz: Option<i64>,
    key: Option<KeyFields>,
    note: Option<String>,
    bad: Option<bool>,
    w: Option<i64>,
    b: Option<i64>,
    a: Option<i64>,
    #[serde(rename = "gen")]
    incarnation: Option<i64>,
    why: Option<String>,
    n: Option<i64>,
    from: Option<i64>,
    until: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyFields {
    h: Option<String>,
    n: Option<i64>,
    to: Option<i64>,
    len: Option<i64>,
    hs: Option<Vec<String>>,
    bs: Option<Vec<RunFields>>,
    of: Option<String>,
    p: Option<String>,
    s: Option<i64>,
    rq: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RunFields {
    One(i64, String),
    Many(i64, String, i64),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeaderFields {
    v: Option<i64>,
    run: Option<String>,
    by: Option<String>,
    t0_unix_ns: Option<String>,
    clock: Option<String>,
    segment: Option<i64>,
    why: Option<String>,
    ports: Option<Vec<PortFields>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PortFields {
    q: Option<i64>,
    p: Option<i64>,
    name: Option<String>,
    to: Option<String>,
    items: Option<i64>,
    bytes: Option<i64>,
}

pub(crate) fn careful(line: &[u8], batch: &mut Batch) -> Result<Line, LineError> {
    check_depth(line)?;
    let kind: KindOnly<'_> = from_json(line)?;
    match kind.k.as_ref() {
        "hdr" => header(from_json(line)?, batch),
        "port" => {
            let fields: PortFields = from_json(line)?;
            let q = required(fields.q)?;
            let port = port(fields)?;
            batch.ports.extend(port);
            Ok(Line::Port { q })
        }
        name => match Kind::of(name.as_bytes()) {
            Some(kind) => {
                let event = event(kind, from_json(line)?, batch)?;
                admit(event, batch)
            }
            None => Ok(Line::Unknown { q: kind.q.and_then(|q| q.as_u64()) }),
        },
    }
}

fn from_json<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, LineError> {
    use serde_json::error::Category;
    serde_json::from_slice(line).map_err(|error| match error.classify() {
        Category::Eof => LineError::Torn,
        Category::Io | Category::Syntax => LineError::NotAnObject,
        Category::Data if line.trim_ascii_start().first() != Some(&b'{') => LineError::NotAnObject,
        Category::Data => LineError::WrongKind,
    })
}

/// Counts brackets outside of strings, so that no recursion is ever entered for a line that is too deep.
fn check_depth(line: &[u8]) -> Result<(), LineError> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in line {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return Err(LineError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn natural(field: Option<i64>) -> Result<Option<u64>, LineError> {
    field.map(|value| u64::try_from(value).map_err(|_| LineError::WrongKind)).transpose()
}

fn required(field: Option<i64>) -> Result<u64, LineError> {
    natural(field)?.ok_or(LineError::Lacking)
}

fn event(kind: Kind, fields: Fields, batch: &mut Batch) -> Result<Event, LineError> {
    let mut event = Event::empty(kind);
    event.q = required(fields.q)?;
    event.t = required(fields.t)?;
    event.id = natural(fields.id)?.unwrap_or_default();
    event.cause = natural(fields.c)?.unwrap_or_default();
    event.root = natural(fields.r)?.unwrap_or_default();
    event.port = natural(fields.p)?.and_then(port_number);
    event.depth = u32::try_from(natural(fields.d)?.unwrap_or_default()).unwrap_or(u32::MAX);
    event.bytes = natural(fields.sz)?.unwrap_or_default();
    event.bad = fields.bad.unwrap_or_default();
    event.wait = natural(fields.w)?;
    event.busy = natural(fields.b)?;
    event.late = natural(fields.a)?;
    event.incarnation = natural(fields.incarnation)?.unwrap_or_default();
    event.missing = natural(fields.n)?.unwrap_or_default();
    event.since = natural(fields.from)?.unwrap_or_default();
    event.until = natural(fields.until)?.unwrap_or_default();
    let mut text = |field: Option<String>| batch.text(field.unwrap_or_default().as_bytes());
    event.from = text(fields.f);
    event.to = text(fields.to);
    event.name = text(fields.m);
    event.note = text(fields.note);
    event.why = text(fields.why);
    if let Some(key) = fields.key {
        event.subject = subject(key, batch)?;
    }
    Ok(event)
}

fn subject(key: KeyFields, batch: &mut Batch) -> Result<Subject, LineError> {
    let mut subject = Subject {
        hash: key.h.map(|hash| hash_of(hash.as_bytes())).transpose()?,
        low: natural(key.n)?,
        high: natural(key.to)?,
        len: natural(key.len)?,
        inherits: key.of.as_deref() == Some("c"),
        peer: key.p.map(|peer| peer_of(peer.as_bytes())).transpose()?,
        session: natural(key.s)?,
        request: natural(key.rq)?,
        list_at: batch.list_at(),
        ..Subject::default()
    };
    for hash in key.hs.unwrap_or_default() {
        batch.entries.push(Entry { hash: hash_of(hash.as_bytes())?, number: None, run: 1 });
    }
    let run_len = batch.list_at().saturating_sub(subject.list_at);
    for fields in key.bs.unwrap_or_default() {
        let (number, hash, run) = match fields {
            RunFields::One(number, hash) => (number, hash, 1),
            RunFields::Many(number, hash, run) => (number, hash, run),
        };
        let number = u64::try_from(number).map_err(|_| LineError::WrongKind)?;
        let run = u64::try_from(run).map_err(|_| LineError::WrongKind)?.max(1);
        let run = u32::try_from(run).unwrap_or(u32::MAX);
        batch.entries.push(Entry { hash: hash_of(hash.as_bytes())?, number: Some(number), run });
    }
    finish_lists(&mut subject, run_len, batch)?;
    Ok(subject)
}

fn header(fields: HeaderFields, batch: &mut Batch) -> Result<Line, LineError> {
    let ports: Vec<_> =
        fields.ports.unwrap_or_default().into_iter().map(port).collect::<Result<_, _>>()?;
    let header = Header {
        version: required(fields.v)?,
        run: fields.run.unwrap_or_default(),
        by: fields.by.unwrap_or_default(),
        t0_unix_ns: fields.t0_unix_ns.unwrap_or_default(),
        clock: fields.clock.unwrap_or_default(),
        segment: natural(fields.segment)?.unwrap_or_default(),
        why: fields.why.unwrap_or_default(),
    };
    if !header.t0_unix_ns.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(LineError::WrongKind);
    }
    batch.ports.extend(ports.into_iter().flatten());
    batch.headers.push(header);
    Ok(Line::Header)
}

fn port(fields: PortFields) -> Result<Option<PortLine>, LineError> {
    let Some(port) = port_number(required(fields.p)?) else { return Ok(None) };
    Ok(Some(PortLine {
        port,
        name: fields.name.unwrap_or_default(),
        to: fields.to.unwrap_or_default(),
        items: natural(fields.items)?.unwrap_or_default(),
        bytes: natural(fields.bytes)?.unwrap_or_default(),
    }))
}
