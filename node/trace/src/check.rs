//! Whether anything in a trace is wrong.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;
use thiserror::Error;

use crate::model::{Mark, MarkKind, Model, kind, state};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something was lost, and the trace accounts for it.
    Warning,
    /// Something that must not be.
    Error,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in one sentence.
    pub what: String,
    /// How often.
    pub count: u64,
    /// The row of the first, if it is about a row.
    pub row: Option<usize>,
    /// When the first was, in nanoseconds since the run began.
    pub t_ns: f64,
}

/// `A then B in T`: every row whose type begins with A has, among all that it led to (the rows that have it among their
/// causes), one whose type begins with B and that was sent within T. `A never B in T` is the opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// How the name of the first type begins.
    pub first: String,
    /// How the name of the second type begins.
    pub second: String,
    /// Within which time, in nanoseconds.
    pub within_ns: u64,
    /// Whether the second must not follow.
    pub never: bool,
}

/// A text that is no [`Within`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "write 'A then B in 2s' or 'A never B in 2s': names of messages, or how they begin, and a time in us, ms, s or m"
)]
pub struct WithinError;

impl FromStr for Within {
    type Err = WithinError;

    fn from_str(text: &str) -> Result<Self, WithinError> {
        let (names, time) = text.rsplit_once(" in ").ok_or(WithinError)?;
        let split =
            |word| names.split_once(word).map(|(first, second)| (first.trim(), second.trim()));
        let ((first, second), never) = match (split(" then "), split(" never ")) {
            (Some(names), _) => (names, false),
            (None, Some(names)) => (names, true),
            (None, None) => return Err(WithinError),
        };
        let within_ns = duration_ns(time.trim()).ok_or(WithinError)?;
        if first.is_empty() || second.is_empty() {
            return Err(WithinError);
        }
        Ok(Self { first: first.to_owned(), second: second.to_owned(), within_ns, never })
    }
}

fn duration_ns(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (amount, unit) = text.split_at_checked(digits)?;
    let unit_ns = match unit.trim() {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000_u64,
        _ => return None,
    };
    amount.parse::<u64>().ok()?.checked_mul(unit_ns)
}

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// A message without an end that was sent so long before the end of the trace is lost, in nanoseconds.
    pub lost_after_ns: u64,
    /// What must follow what.
    pub within: Vec<Within>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { lost_after_ns: 10_000_000_000, within: Vec::new() }
    }
}

/// Checks a trace; the worst comes first.
pub fn check(model: &Model, checks: &Checks) -> Vec<Finding> {
    let mut findings = Vec::new();
    gaps(model, &mut findings);
    marks(model, &mut findings);
    ends(model, checks.lost_after_ns, &mut findings);
    failures(model, &mut findings);
    unanswered(model, &mut findings);
    whole(model, &mut findings);
    for within in &checks.within {
        follows(model, within, &mut findings);
    }
    for skipped in model.skipped() {
        let place = match (&*skipped.place.file, skipped.place.line) {
            ("", _) => String::new(),
            (file, line) => format!(", first in {file} line {line}"),
        };
        findings.push(Finding {
            severity: Severity::Warning,
            what: format!("skipped: {}{place}", skipped.what),
            count: skipped.count,
            row: None,
            t_ns: 0.0,
        });
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.t_ns.total_cmp(&b.t_ns)));
    findings
}

/// Messages that tell of a failure, with what they say.
fn failures(model: &Model, findings: &mut Vec<Finding>) {
    let columns = model.columns();
    let mut groups: BTreeMap<(u16, &str), (u64, usize)> = BTreeMap::new();
    for (row, bad) in columns.bad.iter().enumerate() {
        let panicked = columns.state.get(row) == Some(&state::PANICKED);
        if *bad == 1 && !panicked {
            let type_ = columns.type_.get(row).copied().unwrap_or_default();
            let (count, _) = groups.entry((type_, model.note(row))).or_insert((0, row));
            *count = count.saturating_add(1);
        }
    }
    for ((_, note), (count, row)) in groups {
        let what = format!("{}: {note}", model.type_name(row));
        let t_ns = columns.t.get(row).copied().unwrap_or_default();
        findings.push(Finding { severity: Severity::Warning, what, count, row: Some(row), t_ns });
    }
}

/// What is asked, and what answers it by being caused by it.
const QUESTIONS: [(&str, &str); 3] = [
    ("TreeEvent::Download::Block", "DownloadOutcome::"),
    ("FetchRequest::", "FetchOutcome::"),
    ("StoreRequest::", "StoreOutcome::"),
];

/// An answer that is awaited for longer than that when the trace ends is worth a warning.
const UNANSWERED_NS: f64 = 5e9;

/// Requests that had no answer when the trace ended. Those that a restart has cut off are left out.
fn unanswered(model: &Model, findings: &mut Vec<Finding>) {
    let columns = model.columns();
    let restarted = model
        .marks()
        .iter()
        .filter(|mark| matches!(mark.kind, MarkKind::Restart | MarkKind::Stop | MarkKind::Gap));
    let since = restarted.map(|mark| mark.t_ns as f64).fold(0.0, f64::max);
    let end = model.last_ns() as f64;
    for (asked, answer) in QUESTIONS {
        let begins = |prefix: &str, row: usize| model.type_name(row).starts_with(prefix);
        let answered = soonest(model, |row| begins(answer, row));
        let mut groups: BTreeMap<u16, (u64, usize)> = BTreeMap::new();
        for row in (0..model.rows()).filter(|row| begins(asked, *row)) {
            let t = columns.t.get(row).copied().unwrap_or_default();
            if answered.get(row).is_some_and(|first| first.is_infinite()) && t >= since {
                let type_ = columns.type_.get(row).copied().unwrap_or_default();
                let (count, _) = groups.entry(type_).or_insert((0, row));
                *count = count.saturating_add(1);
            }
        }
        for (count, row) in groups.into_values() {
            let t_ns = columns.t.get(row).copied().unwrap_or_default();
            let long = end - t_ns >= UNANSWERED_NS;
            let severity = if long { Severity::Warning } else { Severity::Info };
            let what = format!("{} had no answer when the trace ended", model.type_name(row));
            findings.push(Finding { severity, what, count, row: Some(row), t_ns });
        }
    }
}

/// Whether there is anything to check, and an end to it.
fn whole(model: &Model, findings: &mut Vec<Finding>) {
    let marks = |wanted: MarkKind| model.marks().iter().filter(|mark| mark.kind == wanted).count();
    let mut say = |severity, what: &str| {
        let what = what.to_owned();
        let t_ns = model.last_ns() as f64;
        findings.push(Finding { severity, what, count: 1, row: None, t_ns });
    };
    if model.rows() == 0 {
        say(Severity::Warning, "the trace holds no messages");
    } else if marks(MarkKind::Start) > marks(MarkKind::Stop) {
        say(Severity::Info, "not every actor has stopped: the run goes on, or was killed");
    }
}

fn gaps(model: &Model, findings: &mut Vec<Finding>) {
    for gap in model.unexplained_gaps() {
        findings.push(Finding {
            severity: Severity::Error,
            what: format!(
                "{} records from number {} on are missing and nothing explains it, before {} line {}",
                gap.missing, gap.first_q, gap.place.file, gap.place.line
            ),
            count: gap.missing,
            row: None,
            t_ns: gap.since_ns as f64,
        });
    }
}

fn marks(model: &Model, findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(MarkKind, Option<u8>, &str), (u64, &Mark)> = BTreeMap::new();
    for mark in model.marks().iter().filter(|mark| !mark.unexplained) {
        let note = if mark.kind == MarkKind::Slow { "" } else { mark.note.as_str() };
        let (count, _) = groups.entry((mark.kind, mark.lane, note)).or_insert((0, mark));
        *count = count.saturating_add(if mark.kind == MarkKind::Gap { mark.missing } else { 1 });
    }
    for ((kind, lane, note), (count, first)) in groups {
        let lane = lane.map_or("", |lane| model.lane_name(lane));
        let (severity, what) = match kind {
            MarkKind::Panic => (Severity::Error, format!("{lane} panicked: {note}")),
            MarkKind::Gap => (Severity::Warning, format!("records could not be kept: {note}")),
            MarkKind::Refuse => (Severity::Info, format!("a port of {lane} took no more: {note}")),
            MarkKind::Slow => (Severity::Info, format!("{lane} handled a message for over 50 ms")),
            MarkKind::Start | MarkKind::Stop | MarkKind::Restart => continue,
        };
        let row = model.mark_row(first);
        findings.push(Finding { severity, what, count, row, t_ns: first.t_ns as f64 });
    }
}

/// Why a row has no end, or not the one that it should have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Lost,
    MaybeMissing,
    Unfinished,
    Dropped,
}

fn ends(model: &Model, lost_after_ns: u64, findings: &mut Vec<Finding>) {
    let columns = model.columns();
    let mut stopped: BTreeMap<u8, u64> = BTreeMap::new();
    let mut last_gap_ns = None;
    for mark in model.marks() {
        match (mark.kind, mark.lane) {
            (MarkKind::Stop, Some(lane)) => {
                stopped.insert(lane, mark.t_ns);
            }
            (MarkKind::Gap, _) => last_gap_ns = last_gap_ns.max(Some(mark.until_ns)),
            _ => {}
        }
    }
    let end = model.last_ns() as f64;
    let mut groups: BTreeMap<(Fate, u16, u8), (u64, usize)> = BTreeMap::new();
    for (row, is) in columns.state.iter().enumerate() {
        let at = |column: &[f64]| column.get(row).copied().unwrap_or_default();
        let t = at(&columns.t);
        let (Some(type_), Some(to)) = (columns.type_.get(row), columns.to.get(row)) else {
            continue;
        };
        let starts = columns.kind.get(row).is_none_or(|kind| *kind >= kind::START);
        let fate = match *is {
            state::DROPPED => Fate::Dropped,
            state::IN_FLIGHT if starts => continue,
            state::IN_FLIGHT if last_gap_ns.is_some_and(|gap| gap as f64 >= t) => {
                Fate::MaybeMissing
            }
            // whatever is in a mailbox when its actor stops is dropped, and a record says so
            state::IN_FLIGHT if stopped.get(to).is_some_and(|stop| *stop as f64 >= t) => Fate::Lost,
            state::IN_FLIGHT if t + lost_after_ns as f64 >= end => Fate::Unfinished,
            state::IN_FLIGHT => Fate::Lost,
            _ => continue,
        };
        let (count, _) = groups.entry((fate, *type_, *to)).or_insert((0, row));
        *count = count.saturating_add(1);
    }
    for ((fate, _, to), (count, row)) in groups {
        let (name, lane) = (model.type_name(row), model.lane_name(to));
        let (severity, what) = match fate {
            Fate::Lost => (
                Severity::Error,
                format!("{name} to {lane} is lost: it was sent, and neither handled nor dropped"),
            ),
            Fate::MaybeMissing => (
                Severity::Warning,
                format!(
                    "{name} to {lane} has no end, which may be among the records that are missing"
                ),
            ),
            Fate::Unfinished => {
                (Severity::Info, format!("{name} to {lane} was not over when the trace ended"))
            }
            Fate::Dropped => {
                (Severity::Warning, format!("{name} to {lane} was dropped and never handled"))
            }
        };
        let t_ns = columns.t.get(row).copied().unwrap_or_default();
        findings.push(Finding { severity, what, count, row: Some(row), t_ns });
    }
}

/// How often effects are looked for again that stand before their causes.
const MAX_PASSES: usize = 16;

/// For each row, when the first of some rows that it led to was sent; infinity for never.
fn soonest(model: &Model, is: impl Fn(usize) -> bool) -> Vec<f64> {
    let columns = model.columns();
    let mut soonest = vec![f64::INFINITY; model.rows()];
    for _ in 0..MAX_PASSES {
        let mut changed = false;
        for row in (0..model.rows()).rev() {
            let cause = columns.cause.get(row).and_then(|cause| usize::try_from(*cause).ok());
            let below = soonest.get(row).copied().unwrap_or(f64::INFINITY);
            let own = if is(row) { columns.t.get(row).copied() } else { None };
            let first = below.min(own.unwrap_or(f64::INFINITY));
            if let Some(above) = cause.and_then(|cause| soonest.get_mut(cause))
                && first < *above
            {
                *above = first;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    soonest
}

fn follows(model: &Model, within: &Within, findings: &mut Vec<Finding>) {
    let columns = model.columns();
    let begins = |prefix: &str| -> Vec<bool> {
        model.types().iter().map(|name| name.starts_with(prefix)).collect()
    };
    let (firsts, seconds) = (begins(&within.first), begins(&within.second));
    for (name, types) in [(&within.first, &firsts), (&within.second, &seconds)] {
        // a rule about nothing would hold for ever
        if !types.contains(&true) {
            findings.push(Finding {
                severity: Severity::Error,
                what: format!("no message in this trace has a name that begins with {name}"),
                count: 1,
                row: None,
                t_ns: 0.0,
            });
        }
    }
    let is = |types: &[bool], row: usize| {
        columns.type_.get(row).and_then(|type_| types.get(usize::from(*type_))) == Some(&true)
    };
    let at = |row: usize| columns.t.get(row).copied().unwrap_or_default();
    let limit = within.within_ns as f64;
    let soonest = soonest(model, |row| is(&seconds, row));
    let end = model.last_ns() as f64;
    let violates = |row: &usize| {
        let followed = soonest.get(*row).is_some_and(|second| second - at(*row) <= limit);
        // towards the end of the trace there was no time yet
        is(&firsts, *row) && followed == within.never && (followed || at(*row) + limit < end)
    };
    let mut violations = (0..model.rows()).filter(violates);
    let Some(row) = violations.next() else { return };
    let word = if within.never { "was followed by" } else { "was not followed by" };
    findings.push(Finding {
        severity: Severity::Error,
        what: format!(
            "{} {word} {} within {} ms",
            within.first,
            within.second,
            within.within_ns / 1_000_000
        ),
        count: (violations.count() as u64).saturating_add(1),
        row: Some(row),
        t_ns: at(row),
    });
}
