//! The tables of the terminal.

use std::collections::BTreeMap;

use moorline_trace::{
    Model,
    follow::Followed,
    model::{MarkKind, kind},
    stats::stats,
};

use crate::text::{duration, tame};

/// Rows of a table at most.
const ROWS_MAX: usize = 500;
/// Ways to sort the latencies.
pub(super) const LATENCY_SORTS: usize = 4;
/// The last so many rows tell how deep ports are now.
const RECENT_ROWS: usize = 20_000;
const SECOND_NS: f64 = 1e9;
const BAR_CELLS: u32 = 8;

/// A table: the first column is the widest, and those at the end are left out where there is no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    pub(super) above: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// The row of the trace that each row of the table is about.
    pub(super) trace_rows: Vec<Option<usize>>,
}

impl Sheet {
    fn new(above: String, head: &[&'static str]) -> Self {
        Self { above, head: head.to_vec(), ..Self::default() }
    }

    fn push(&mut self, trace_row: Option<usize>, cells: Vec<String>) {
        if self.rows.len() < ROWS_MAX {
            self.rows.push(cells);
            self.trace_rows.push(trace_row);
        }
    }
}

pub(super) fn status(model: &Model) -> Sheet {
    let stats = stats(model);
    let (rates, depths) = recent(model);
    let above =
        format!("{} missing records; by {}", stats.missing_records, tame(&model.header().by));
    let mut sheet =
        Sheet::new(above, &["lane", "msg/s", "busy", "mailbox", "panics", "restarts", "messages"]);
    for (index, lane) in model.lanes().iter().enumerate() {
        let Some(lane_stats) = stats.lanes.iter().find(|stats| stats.lane == *lane) else {
            continue;
        };
        let lane_index = u8::try_from(index).ok();
        let restarts = model
            .marks()
            .iter()
            .filter(|mark| mark.kind == MarkKind::Restart && mark.lane == lane_index)
            .count();
        let rate = lane_index.and_then(|lane| rates.get(&lane)).copied().unwrap_or_default();
        sheet.push(
            None,
            vec![
                tame(lane),
                rate.to_string(),
                format!("{:.1} %", lane_stats.busy_share * 100.0),
                lane_index.map_or_else(String::new, |lane| mailbox(model, lane, &depths)),
                lane_stats.panics.to_string(),
                restarts.to_string(),
                lane_stats.count.to_string(),
            ],
        );
    }
    sheet
}

/// Messages of the last second by lane, and the latest depth by port.
fn recent(model: &Model) -> (BTreeMap<u8, u64>, BTreeMap<u16, u32>) {
    let (mut rates, mut depths) = (BTreeMap::<u8, u64>::new(), BTreeMap::new());
    let columns = model.columns();
    let since = model.last_ns() as f64 - SECOND_NS;
    let last = columns.t.iter().zip(&columns.to).zip(columns.port.iter().zip(&columns.depth));
    for ((t, to), (port, depth)) in last.rev().take(RECENT_ROWS) {
        if *t >= since {
            let rate = rates.entry(*to).or_default();
            *rate = rate.saturating_add(1);
        }
        depths.entry(*port).or_insert(*depth);
    }
    (rates, depths)
}

/// The fullest port of a lane: depth, limit and a bar.
fn mailbox(model: &Model, lane: u8, depths: &BTreeMap<u16, u32>) -> String {
    let ports = model.ports().iter().filter(|(_, port)| port.to == lane && port.items > 0);
    let share = |depth: u32, items: u64| f64::from(depth) / items as f64;
    let fullest = ports
        .map(|(p, port)| (depths.get(p).copied().unwrap_or_default(), port.items))
        .max_by(|a, b| share(a.0, a.1).total_cmp(&share(b.0, b.1)));
    let Some((depth, items)) = fullest else { return "-".to_owned() };
    let full = (1..=BAR_CELLS)
        .filter(|cell| share(depth, items) * f64::from(BAR_CELLS) >= f64::from(*cell))
        .count();
    let bar: String = (0..BAR_CELLS as usize).map(|c| if c < full { '#' } else { '.' }).collect();
    format!("{depth}/{items} {bar}")
}

pub(super) fn latency(model: &Model, sort: usize) -> Sheet {
    let mut messages = stats(model).messages;
    let sorts = ["busy p99", "wait p99", "busy max", "count"];
    messages.sort_by(|a, b| {
        let by = |m: &moorline_trace::stats::MessageStats| match sort {
            0 => m.busy.p99_ns,
            1 => m.wait.p99_ns,
            2 => m.busy.max_ns,
            _ => m.count as f64,
        };
        by(b).total_cmp(&by(a))
    });
    let above = format!("sorted by {} (s changes it)", sorts.get(sort).copied().unwrap_or("count"));
    let head =
        ["message", "count", "busy p99", "wait p99", "busy p50", "wait p50", "busy max", "bad"];
    let mut sheet = Sheet::new(above, &head);
    for m in &messages {
        sheet.push(
            m.slowest_row,
            vec![
                tame(&m.type_name),
                m.count.to_string(),
                duration(m.busy.p99_ns),
                duration(m.wait.p99_ns),
                duration(m.busy.p50_ns),
                duration(m.wait.p50_ns),
                duration(m.busy.max_ns),
                m.bad.to_string(),
            ],
        );
    }
    sheet
}

pub(super) fn slowest(model: &Model, only_type: Option<u16>) -> Sheet {
    let columns = model.columns();
    let known = |ns: Option<&f32>| ns.copied().filter(|ns| ns.is_finite()).unwrap_or_default();
    let took = |row: usize| known(columns.wait.get(row)) + known(columns.busy.get(row));
    let mut rows: Vec<(f32, usize)> = (0..model.rows())
        .filter(|row| columns.kind.get(*row).is_some_and(|kind| *kind <= kind::TIMER))
        .filter(|row| only_type.is_none_or(|only| columns.type_.get(*row) == Some(&only)))
        .map(|row| (took(row), row))
        .collect();
    if rows.len() > ROWS_MAX {
        rows.select_nth_unstable_by(ROWS_MAX, |a, b| b.0.total_cmp(&a.0));
        rows.truncate(ROWS_MAX);
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let above = match rows.first().filter(|_| only_type.is_some()) {
        Some((_, row)) => format!("only {} (Esc shows all)", tame(model.type_name(*row))),
        None => "wait and handling together".to_owned(),
    };
    let mut sheet = Sheet::new(above, &["message", "wait", "busy", "to", "at", "note"]);
    for (_, row) in rows {
        let time =
            |column: &[f32]| duration(f64::from(column.get(row).copied().unwrap_or(f32::NAN)));
        sheet.push(
            Some(row),
            vec![
                tame(model.type_name(row)),
                time(&columns.wait),
                time(&columns.busy),
                tame(columns.to.get(row).map_or("", |lane| model.lane_name(*lane))),
                duration(columns.t.get(row).copied().unwrap_or(f64::NAN)),
                tame(model.note(row)),
            ],
        );
    }
    sheet
}

pub(super) fn marks(model: &Model) -> Sheet {
    let above = format!("{} marks, the last first", model.marks().len());
    let mut sheet = Sheet::new(above, &["mark", "at", "lane", "missing", "note"]);
    for mark in model.marks().iter().rev().take(ROWS_MAX) {
        sheet.push(
            model.mark_row(mark),
            vec![
                mark.kind.as_str().to_owned(),
                duration(mark.t_ns as f64),
                tame(mark.lane.map_or("", |lane| model.lane_name(lane))),
                mark.missing.to_string(),
                tame(&mark.note),
            ],
        );
    }
    sheet
}

pub(super) fn followed(model: &Model, followed: Option<(&str, &Followed)>) -> Sheet {
    let Some((key, followed)) = followed else {
        return Sheet::new(
            "press / and type a block hash, a number, a peer or s12".to_owned(),
            &[],
        );
    };
    let sum = &followed.sum;
    let above = format!(
        "{}: {} hops; path {}: queue {}, handling {}, others {}, network {}, async {}",
        tame(key),
        followed.hops.len(),
        duration(sum.total_ns()),
        duration(sum.queue_ns),
        duration(sum.handling_ns),
        duration(sum.others_ns),
        duration(sum.network_ns),
        duration(sum.asynchronous_ns),
    );
    let mut sheet = Sheet::new(above, &["hop (* on the path)", "at", "wait", "busy", "from", "to"]);
    let columns = model.columns();
    for (index, hop) in followed.hops.iter().enumerate().take(ROWS_MAX) {
        let on_path = followed.path.iter().any(|step| step.hop == index);
        let time =
            |column: &[f32]| duration(f64::from(column.get(hop.row).copied().unwrap_or(f32::NAN)));
        let lane =
            |column: &[u8]| tame(column.get(hop.row).map_or("", |lane| model.lane_name(*lane)));
        sheet.push(
            Some(hop.row),
            vec![
                format!("{} {}", if on_path { '*' } else { ' ' }, tame(model.type_name(hop.row))),
                duration(columns.t.get(hop.row).copied().unwrap_or(f64::NAN)),
                time(&columns.wait),
                time(&columns.busy),
                lane(&columns.from),
                lane(&columns.to),
            ],
        );
    }
    sheet
}
