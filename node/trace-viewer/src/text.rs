//! What the commands of `moorline trace` print.

use std::fmt::Write as _;

use moorline_trace::{
    Model,
    check::Finding,
    diff::Diff,
    follow::{Followed, Step},
    stats::{Latency, Stats},
};
use serde_json::{Value, json};

/// Rows of a table that are printed; of the rest it is said how many they are.
const ROWS_MAX: usize = 1_000;

/// Text from outside, with what would steer a terminal made visible.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            tamed.extend(c.escape_unicode());
        } else {
            tamed.push(c);
        }
    }
    tamed
}

/// Characters that turn the direction of a text, or have no width.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A duration in three digits or so and a unit.
pub fn duration(ns: f64) -> String {
    match ns {
        ns if !ns.is_finite() => "-".to_owned(),
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// Heads of the columns that hold words.
const WORDS: [&str; 4] = ["what", "from", "to", "note"];

pub(crate) fn known(latency: &Latency, ns: f64) -> String {
    if latency.known == 0 { "-".to_owned() } else { duration(ns) }
}

/// Columns as wide as their widest cell; words to the left, figures to the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows.iter().take(ROWS_MAX) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let is_word = |head: &&str| WORDS.contains(head);
    let words: Vec<bool> = head.iter().map(is_word).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows.iter().take(ROWS_MAX)) {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = *width;
            // writing to a string cannot fail
            let _ = match (index, words.get(index)) {
                (0, _) => write!(line, "{cell:<width$}"),
                (_, Some(true)) => write!(line, "  {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&more(rows.len(), ROWS_MAX));
    text
}

/// Counts and latencies, as tables. For JSON, serialize the [`Stats`].
pub fn stats(stats: &Stats) -> String {
    let messages: Vec<Vec<String>> = stats
        .messages
        .iter()
        .map(|m| {
            vec![
                tame(&m.type_name),
                m.count.to_string(),
                m.in_flight.to_string(),
                m.dropped.to_string(),
                m.panicked.to_string(),
                m.bad.to_string(),
                known(&m.wait, m.wait.p50_ns),
                known(&m.wait, m.wait.p99_ns),
                known(&m.busy, m.busy.p50_ns),
                known(&m.busy, m.busy.p99_ns),
                known(&m.busy, m.busy.max_ns),
                known(&m.late, m.late.p99_ns),
            ]
        })
        .collect();
    let lanes: Vec<Vec<String>> = stats
        .lanes
        .iter()
        .map(|lane| {
            vec![
                tame(&lane.lane),
                lane.count.to_string(),
                format!("{:.2} %", lane.busy_share * 100.0),
                lane.panics.to_string(),
                lane.refused.to_string(),
            ]
        })
        .collect();
    let ports: Vec<Vec<String>> = stats
        .ports
        .iter()
        .map(|port| {
            vec![
                tame(&port.name),
                tame(&port.to),
                port.count.to_string(),
                port.max_depth.to_string(),
                port.limit_items.to_string(),
            ]
        })
        .collect();
    let message_head = [
        "message",
        "count",
        "open",
        "dropped",
        "panicked",
        "bad",
        "wait p50",
        "wait p99",
        "busy p50",
        "busy p99",
        "busy max",
        "async p99",
    ];
    [
        format!(
            "{} rows in {}; {} records are missing\n\n",
            stats.rows,
            duration(stats.elapsed_ns),
            stats.missing_records
        ),
        table(&message_head, &messages),
        "\n".to_owned(),
        table(&["lane", "messages", "busy", "panics", "refused"], &lanes),
        "\n".to_owned(),
        table(&["port", "to", "messages", "deepest", "limit"], &ports),
    ]
    .concat()
}

/// What a check found, one line each. For JSON, serialize the findings.
pub fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            vec![
                format!("{:?}", finding.severity).to_lowercase(),
                finding.count.to_string(),
                duration(finding.t_ns),
                tame(&finding.what),
            ]
        })
        .collect();
    table(&["severity", "count", "first at", "what"], &rows)
}

/// Hops of a key with the critical path and its split.
pub fn followed(model: &Model, followed: &Followed) -> String {
    if followed.hops.is_empty() {
        return "nothing in this trace names it\n".to_owned();
    }
    let hops: Vec<Vec<String>> = (0..followed.hops.len())
        .take(ROWS_MAX)
        .map(|hop| hop_cells(model, followed, hop))
        .collect();
    // the sum has the last row
    let steps_max = ROWS_MAX.saturating_sub(1);
    let path: Vec<Vec<String>> = followed
        .path
        .iter()
        .take(steps_max)
        .map(|step| {
            let row = followed.hops.get(step.hop).map(|hop| hop.row);
            let name = row.map(|row| tame(model.type_name(row))).unwrap_or_default();
            step_cells(name, step)
        })
        .chain(std::iter::once(step_cells("all".to_owned(), &followed.sum)))
        .collect();
    let head = ["message", "hop", "from", "to", "at", "parent", "via", "wait", "busy", "note"];
    [
        format!("{} hops; {}\n\n", followed.hops.len(), state(model, followed)),
        table(&head, &hops),
        more(followed.hops.len(), ROWS_MAX),
        "\nthe critical path\n\n".to_owned(),
        table(&["message", "queue", "handling", "others", "network", "async", "total"], &path),
        more(followed.path.len(), steps_max),
    ]
    .concat()
}

/// What to say of rows that are not shown.
fn more(rows: usize, shown: usize) -> String {
    match rows.saturating_sub(shown) {
        0 => String::new(),
        more => format!("... and {more} more\n"),
    }
}

fn hop_cells(model: &Model, followed: &Followed, index: usize) -> Vec<String> {
    let Some(hop) = followed.hops.get(index) else { return Vec::new() };
    let columns = model.columns();
    let lane = |column: &[u8]| column.get(hop.row).map(|lane| tame(model.lane_name(*lane)));
    let time = |column: &[f32]| {
        column.get(hop.row).map_or_else(|| "-".to_owned(), |ns| duration(f64::from(*ns)))
    };
    vec![
        tame(model.type_name(hop.row)),
        index.to_string(),
        lane(&columns.from).unwrap_or_default(),
        lane(&columns.to).unwrap_or_default(),
        duration(columns.t.get(hop.row).copied().unwrap_or(f64::NAN)),
        hop.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string()),
        hop.via.to_string(),
        time(&columns.wait),
        time(&columns.busy),
        tame(model.note(hop.row)),
    ]
}

/// Whether what is followed has come to its end.
fn state(model: &Model, followed: &Followed) -> String {
    let at = |row: usize| duration(model.columns().t.get(row).copied().unwrap_or(f64::NAN));
    let hop = |index: usize| followed.hops.get(index).map(|hop| hop.row);
    if let Some(row) = followed.on_disk.and_then(hop) {
        return format!("on disk at {}", at(row));
    }
    match followed.hops.last() {
        Some(last) => {
            let name = tame(model.type_name(last.row));
            format!("nothing says that it is on disk; the last was {name} at {}", at(last.row))
        }
        None => String::new(),
    }
}

fn step_cells(name: String, step: &Step) -> Vec<String> {
    let parts = [
        step.queue_ns,
        step.handling_ns,
        step.others_ns,
        step.network_ns,
        step.asynchronous_ns,
        step.total_ns(),
    ];
    std::iter::once(name).chain(parts.map(duration)).collect()
}

/// Hops and path as JSON.
pub fn followed_json(model: &Model, followed: &Followed) -> Value {
    let hops: Vec<Value> = followed
        .hops
        .iter()
        .map(|hop| {
            json!({
                "row": hop.row, "type": model.type_name(hop.row), "parent": hop.parent,
                "via": hop.via, "names_key": hop.names_key, "note": model.note(hop.row),
                "bad": model.columns().bad.get(hop.row) == Some(&1),
                "t_ns": model.columns().t.get(hop.row), "end_ns": model.columns().end(hop.row),
            })
        })
        .collect();
    let path: Vec<Value> = followed.path.iter().map(step_json).collect();
    let sum = step_json(&followed.sum);
    json!({"hops": hops, "path": path, "sum": sum, "on_disk": followed.on_disk})
}

fn step_json(step: &Step) -> Value {
    json!({
        "hop": step.hop, "queue_ns": step.queue_ns, "handling_ns": step.handling_ns,
        "others_ns": step.others_ns, "network_ns": step.network_ns,
        "asynchronous_ns": step.asynchronous_ns,
    })
}

/// Of what one of two runs does not have nothing was measured, which is told as zero.
fn measured(ns: f64) -> String {
    if ns > 0.0 { duration(ns) } else { "-".to_owned() }
}

/// Two runs beside one another. For JSON, serialize the [`Diff`].
pub fn diff(diff: &Diff) -> String {
    let messages: Vec<Vec<String>> = diff
        .messages
        .iter()
        .map(|m| {
            let [count_a, count_b] = m.count;
            let [busy_a, busy_b] = m.busy_p99_ns;
            let [wait_a, wait_b] = m.wait_p99_ns;
            vec![
                tame(&m.type_name),
                count_a.to_string(),
                count_b.to_string(),
                measured(busy_a),
                measured(busy_b),
                measured(wait_a),
                measured(wait_b),
            ]
        })
        .collect();
    let elapsed = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), duration);
    let blocks: Vec<Vec<String>> = diff
        .blocks
        .iter()
        .map(|block| {
            let [a, b] = block.elapsed_ns;
            let [hops_a, hops_b] = block.hops;
            let number = block.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let short: String = tame(&block.hash).chars().take(14).collect();
            vec![short, number, elapsed(a), elapsed(b), hops_a.to_string(), hops_b.to_string()]
        })
        .collect();
    let message_head =
        ["message", "count A", "count B", "busy p99 A", "busy p99 B", "wait p99 A", "wait p99 B"];
    let block_head = ["block", "number", "elapsed A", "elapsed B", "hops A", "hops B"];
    [
        format!("A is {}\nB is {}\n\n", tame(&diff.a), tame(&diff.b)),
        table(&message_head, &messages),
        format!("\n{} blocks compared\n\n", diff.blocks_total),
        table(&block_head, &blocks),
    ]
    .concat()
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
