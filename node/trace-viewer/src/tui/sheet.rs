//! The tables of the terminal.

use moorline_trace::{
    Model,
    follow::{Followed, Step},
    model::{Mark, MarkKind, kind, state},
    stats::stats,
};

use crate::text::{duration, known, tame};

/// Rows of a table at most.
pub(super) const ROWS_MAX: usize = 500;
/// Ways to sort the latencies.
pub(super) const LATENCY_SORTS: usize = 4;
const SECONDS_OF_DAY: u64 = 86_400;

/// A table: the first column is the widest, and those at the end are left out where there is no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    pub(super) above: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Line>,
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) cells: Vec<String>,
    pub(super) is_bad: bool,
    pub(super) target: Target,
}

/// What a row of a table is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    #[default]
    Nothing,
    /// A row of the trace.
    Row(usize),
    Lane(u8),
}

/// What of the slowest is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    All,
    Type(u16),
    Lane(u8),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

impl Sheet {
    pub(super) fn new(above: String, head: &[&'static str]) -> Self {
        Self { above, head: head.to_vec(), ..Self::default() }
    }

    pub(super) fn push(&mut self, target: Target, is_bad: bool, cells: Vec<String>) {
        if self.rows.len() < ROWS_MAX {
            self.rows.push(Line { cells, is_bad, target });
        }
    }
}

/// When something was: the time of day, as logs have it; or since the beginning, when time was simulated.
fn clock(model: &Model, t_ns: u64) -> String {
    let began = model.header().t0_unix_ns.parse::<u64>().ok();
    let Some(began) = began.filter(|_| model.header().clock == "real") else {
        return format!("{:.3} s", t_ns as f64 / 1e9);
    };
    let now_ms = began.saturating_add(t_ns) / 1_000_000;
    let second = (now_ms / 1_000) % SECONDS_OF_DAY;
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}.{:03}", second % 60, now_ms % 1_000)
}

fn clock_of(model: &Model, row: usize) -> String {
    clock(model, model.columns().t.get(row).copied().unwrap_or_default() as u64)
}

pub(super) fn latency(model: &Model, sort: usize) -> Sheet {
    let mut messages = stats(model).messages;
    let sorts = ["wait p99", "busy p99", "longest handling", "count"];
    messages.sort_by(|a, b| {
        let by = |m: &moorline_trace::stats::MessageStats| match sort {
            0 => m.wait.p99_ns,
            1 => m.busy.p99_ns,
            2 => m.busy.max_ns,
            _ => m.count as f64,
        };
        by(b).total_cmp(&by(a))
    });
    let above = format!(
        "by {} (s changes it); Enter shows the slowest of one",
        sorts.get(sort).copied().unwrap_or("count")
    );
    let head = [
        "message",
        "count",
        "bad",
        "wait p99",
        "busy p99",
        "async p99",
        "busy max",
        "wait p50",
        "busy p50",
    ];
    let mut sheet = Sheet::new(above, &head);
    for m in &messages {
        sheet.push(
            m.slowest_row.map_or(Target::Nothing, Target::Row),
            m.bad > 0,
            vec![
                tame(&m.type_name),
                m.count.to_string(),
                m.bad.to_string(),
                known(&m.wait, m.wait.p99_ns),
                known(&m.busy, m.busy.p99_ns),
                known(&m.late, m.late.p99_ns),
                known(&m.busy, m.busy.max_ns),
                known(&m.wait, m.wait.p50_ns),
                known(&m.busy, m.busy.p50_ns),
            ],
        );
    }
    sheet
}

pub(super) fn slowest(model: &Model, only: Only) -> Sheet {
    let columns = model.columns();
    let known = |ns: Option<&f32>| ns.copied().filter(|ns| ns.is_finite()).unwrap_or_default();
    let took = |row: usize| known(columns.wait.get(row)) + known(columns.busy.get(row));
    let mut rows: Vec<(f32, usize)> = (0..model.rows())
        .filter(|row| columns.kind.get(*row).is_some_and(|kind| *kind <= kind::TIMER))
        .filter(|row| match only {
            Only::All => true,
            Only::Type(only) => columns.type_.get(*row) == Some(&only),
            Only::Lane(only) => columns.to.get(*row) == Some(&only),
        })
        .map(|row| (took(row), row))
        .collect();
    if rows.len() > ROWS_MAX {
        rows.select_nth_unstable_by(ROWS_MAX, |a, b| b.0.total_cmp(&a.0));
        rows.truncate(ROWS_MAX);
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let above = match (only, rows.first()) {
        (Only::Type(_), Some((_, row))) => {
            format!("only {} (Esc shows all)", tame(model.type_name(*row)))
        }
        (Only::Lane(lane), _) => {
            format!("only what {} handled (Esc shows all)", tame(model.lane_name(lane)))
        }
        _ => "by wait and handling together; Enter follows the block of one".to_owned(),
    };
    let mut sheet = Sheet::new(above, &["message", "wait", "busy", "at", "from", "to", "note"]);
    for (_, row) in rows {
        let time =
            |column: &[f32]| duration(f64::from(column.get(row).copied().unwrap_or(f32::NAN)));
        let lane = |column: &[u8]| tame(column.get(row).map_or("", |lane| model.lane_name(*lane)));
        sheet.push(
            Target::Row(row),
            columns.bad.get(row) == Some(&1),
            vec![
                tame(model.type_name(row)),
                time(&columns.wait),
                time(&columns.busy),
                clock_of(model, row),
                lane(&columns.from),
                lane(&columns.to),
                tame(model.note(row)),
            ],
        );
    }
    sheet
}

pub(super) fn marks(model: &Model) -> Sheet {
    let above = match model.marks().len() {
        0 => "no panic, restart, gap, refusal or slow handling".to_owned(),
        marks => format!("{marks} marks, the last first"),
    };
    let mut sheet = Sheet::new(above, &["mark", "at", "lane", "note"]);
    for mark in model.marks().iter().rev().take(ROWS_MAX) {
        sheet.push(
            model.mark_row(mark).map_or(Target::Nothing, Target::Row),
            matches!(mark.kind, MarkKind::Panic | MarkKind::Gap | MarkKind::Refuse),
            vec![
                mark.kind.as_str().to_owned(),
                clock(model, mark.t_ns),
                tame(mark.lane.map_or("", |lane| model.lane_name(lane))),
                mark_note(model, mark),
            ],
        );
    }
    sheet
}

fn mark_note(model: &Model, mark: &Mark) -> String {
    let note = tame(&mark.note);
    let row = model.mark_row(mark);
    let about = row.map(|row| tame(model.type_name(row))).unwrap_or_default();
    match mark.kind {
        MarkKind::Gap => format!("{} records missing: {note}", mark.missing),
        MarkKind::Refuse => match mark.from {
            Some(from) => format!("{note}, from {}", tame(model.lane_name(from))),
            None => note,
        },
        MarkKind::Panic if row.is_some() => format!("{note}, handling {about}"),
        MarkKind::Slow => {
            let over = row.and_then(|row| model.columns().state.get(row));
            let took = duration(mark.until_ns.saturating_sub(mark.since_ns) as f64);
            let open = if over == Some(&state::IN_FLIGHT) { ", not over" } else { "" };
            format!("{about}: {took} so far{open}")
        }
        _ => note,
    }
}

pub(super) fn followed(model: &Model, followed: Option<(&str, &Followed)>) -> Sheet {
    let Some((key, followed)) = followed else {
        let how = "press / and type a block's hash or number, a peer's id, or a session such as s12; \
                   or Enter on a row of another table";
        return Sheet::new(how.to_owned(), &[]);
    };
    if followed.hops.is_empty() {
        return Sheet::new(format!("{}: nothing in this trace names it", tame(key)), &[]);
    }
    let above = format!(
        "{}: {} hops; the critical path (*) took {}{}",
        tame(key),
        followed.hops.len(),
        duration(followed.sum.total_ns()),
        parts(&followed.sum)
            .map(|(part, ns)| (part, share(ns, followed.sum.total_ns())))
            .filter(|(_, percent)| *percent > 0)
            .map(|(part, percent)| format!(", {percent} % {part}"))
            .collect::<String>(),
    );
    let head = ["hop", "after", "on the path", "wait", "busy", "from", "to", "note"];
    let mut sheet = Sheet::new(above, &head);
    let columns = model.columns();
    let began = |row: usize| columns.t.get(row).copied().unwrap_or(f64::NAN);
    let first = followed.hops.first().map_or(f64::NAN, |hop| began(hop.row));
    for (index, hop) in followed.hops.iter().enumerate().take(ROWS_MAX) {
        let step = followed.path.iter().find(|step| step.hop == index);
        let time =
            |column: &[f32]| duration(f64::from(column.get(hop.row).copied().unwrap_or(f32::NAN)));
        let lane =
            |column: &[u8]| tame(column.get(hop.row).map_or("", |lane| model.lane_name(*lane)));
        let on_path = if step.is_some() { '*' } else { ' ' };
        sheet.push(
            Target::Row(hop.row),
            columns.bad.get(hop.row) == Some(&1),
            vec![
                format!("{on_path} {}", tame(model.type_name(hop.row))),
                duration(began(hop.row) - first),
                step.map(longest_part).unwrap_or_default(),
                time(&columns.wait),
                time(&columns.busy),
                lane(&columns.from),
                lane(&columns.to),
                tame(model.note(hop.row)),
            ],
        );
    }
    sheet
}

fn parts(step: &Step) -> impl Iterator<Item = (&'static str, f64)> {
    [
        ("queue", step.queue_ns),
        ("handling", step.handling_ns),
        ("others", step.others_ns),
        ("network", step.network_ns),
        ("async", step.asynchronous_ns),
    ]
    .into_iter()
}

/// In whole percent.
fn share(ns: f64, of_ns: f64) -> u32 {
    if of_ns > 0.0 { (ns / of_ns * 100.0).round() as u32 } else { 0 }
}

/// How long a step of the path took, and what most of it was.
fn longest_part(step: &Step) -> String {
    let longest = parts(step).max_by(|(_, a), (_, b)| a.total_cmp(b));
    let most = longest.map_or("", |(part, _)| part);
    format!("{} {most}", duration(step.total_ns()))
}
