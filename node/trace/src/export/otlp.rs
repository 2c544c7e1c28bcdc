//! OTLP/JSON as the file exporter of OpenTelemetry writes it: a request of spans per line.
//!
//! A span per row; a trace per trigger. The cause is the parent when it is in the same trace, and a link always.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::times;
use crate::model::{Model, NONE};

/// The most spans of a trace; what a trigger led to beyond them is in further traces.
pub const MAX_SPANS: usize = 2000;

/// Writes a trace for tools that read OTLP.
///
/// # Errors
///
/// When writing fails.
pub fn otlp(model: &Model, out: &mut impl Write) -> io::Result<()> {
    let columns = model.columns();
    let mut rows: Vec<(usize, usize)> = (0..model.rows())
        .map(|row| {
            let root = columns.root.get(row).copied().unwrap_or(NONE);
            (usize::try_from(root).unwrap_or(row), row)
        })
        .collect();
    rows.sort_unstable();
    for of_root in rows.chunk_by(|(a, _), (b, _)| a == b) {
        for (part, spans) in (0_u32..).zip(of_root.chunks(MAX_SPANS)) {
            write_trace(model, spans, part, out)?;
        }
    }
    Ok(())
}

fn write_trace(
    model: &Model,
    rows: &[(usize, usize)],
    part: u32,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut lanes: BTreeMap<u8, Vec<Value>> = BTreeMap::new();
    for (root, row) in rows {
        let lane = model.columns().to.get(*row).copied().unwrap_or(crate::model::NO_LANE);
        let within = |cause: usize| rows.binary_search(&(*root, cause)).is_ok();
        lanes.entry(lane).or_default().push(span(model, *row, *root, part, within));
    }
    let resources: Vec<_> = lanes
        .into_iter()
        .map(|(lane, spans)| {
            json!({
                "resource": {"attributes": [text("service.name", model.lane_name(lane))]},
                "scopeSpans": [{"scope": {"name": "moorline-trace"}, "spans": spans}],
            })
        })
        .collect();
    serde_json::to_writer(&mut *out, &json!({"resourceSpans": resources}))?;
    out.write_all(b"\n")
}

fn span(
    model: &Model,
    row: usize,
    root: usize,
    part: u32,
    within: impl Fn(usize) -> bool,
) -> Value {
    let columns = model.columns();
    let began = model.header().t0_unix_ns.parse().unwrap_or(0_u64);
    let sent = columns.t.get(row).copied().unwrap_or_default() as u64;
    let end = times(columns, row).map_or(sent, |times| times.end);
    let id = |row: usize| columns.id.get(row).copied().unwrap_or_default() as u64;
    let root_of = |row: usize| {
        let root = columns.root.get(row).copied().unwrap_or(NONE);
        usize::try_from(root).unwrap_or(row)
    };
    let cause = columns.cause.get(row).and_then(|cause| usize::try_from(*cause).ok());
    let mut attributes = Vec::new();
    for (name, column) in
        [("wait_ns", &columns.wait), ("busy_ns", &columns.busy), ("late_ns", &columns.late)]
    {
        let known = column.get(row).copied().filter(|value| value.is_finite());
        attributes.extend(known.map(|value| number(name, value as u64)));
    }
    let low = columns.low.get(row).copied().filter(|low| low.is_finite());
    attributes.extend(low.map(|low| number("block.number", low as u64)));
    let hash = columns.hash.get(row).and_then(|hash| hash.checked_sub(1));
    if let Some(hash) = hash.and_then(|index| model.hashes().get(index as usize)) {
        attributes.push(text("block.hash", &format!("0x{}", alloy_primitives::hex::encode(hash))));
    }
    if !model.note(row).is_empty() {
        attributes.push(text("note", model.note(row)));
    }
    let mut span = json!({
        "traceId": trace_id(model, id(root), part),
        "spanId": span_id(id(row)),
        "name": model.type_name(row),
        "kind": 5,
        "startTimeUnixNano": began.saturating_add(sent).to_string(),
        "endTimeUnixNano": began.saturating_add(end).to_string(),
        "attributes": attributes,
    });
    let Some(fields) = span.as_object_mut() else { return span };
    if let Some(cause) = cause {
        let inside = within(cause);
        if inside {
            fields.insert("parentSpanId".to_owned(), span_id(id(cause)).into());
        }
        // of a trace in parts, the part of the cause is not looked for: its first is where to begin reading
        let trace = trace_id(model, id(root_of(cause)), if inside { part } else { 0 });
        fields
            .insert("links".to_owned(), json!([{"traceId": trace, "spanId": span_id(id(cause))}]));
    }
    if columns.bad.get(row) == Some(&1) {
        fields.insert("status".to_owned(), json!({"code": 2, "message": model.note(row)}));
    }
    span
}

/// The trace of a trigger: of which run (by a plain sum over its name, FNV-1a), which part, which trigger.
fn trace_id(model: &Model, root: u64, part: u32) -> String {
    let run = model
        .header()
        .run
        .bytes()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{:08x}{part:08x}{root:016x}", run.max(1))
}

fn span_id(id: u64) -> String {
    format!("{:016x}", id.max(1))
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn number(name: &str, value: u64) -> Value {
    json!({"key": name, "value": {"intValue": value.to_string()}})
}
