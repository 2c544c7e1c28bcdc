//! Who is busy, and who waits for whom.

use std::collections::BTreeMap;

use moorline_trace::{
    Model,
    model::{MarkKind, NO_PORT, kind, state},
};

use super::sheet::{Cell, Sheet, Target};
use crate::text::{duration, tame};

/// What is shown as going on now is of so long before the last record.
const WINDOW_NS: f64 = 10e9;
/// The last so many rows at most are looked at for it.
const WINDOW_ROWS_MAX: usize = 200_000;
/// The last so many marks are looked at for a handling that is not over.
const MARKS_MAX: usize = 1_000;
const BAR_CELLS: u32 = 8;
const SECOND_NS: f64 = 1e9;

#[derive(Default)]
struct Lane {
    messages: u64,
    recent: u64,
    busy_ns: f64,
    open: u64,
    longest_ns: f64,
    panics: u64,
    restarts: u64,
    refused: u64,
    handling: String,
}

/// From one lane to another.
#[derive(Default)]
struct Pair {
    recent: u64,
    open: u64,
    known: u64,
    wait_ns: f64,
    longest_ns: f64,
    longest_row: Option<usize>,
}

/// Of a port: its latest depth and when that was, and the deepest.
#[derive(Default)]
struct Depth {
    at_ns: f64,
    now: u32,
    peak: u32,
}

/// The moment that is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// In nanoseconds since the run began.
    pub(super) ns: f64,
    /// Whether it is now, and goes on; otherwise it is that of the last record.
    pub(super) is_now: bool,
}

struct Now<'a> {
    model: &'a Model,
    moment: Moment,
    seconds: f64,
    lanes: BTreeMap<u8, Lane>,
    pairs: BTreeMap<(u8, u8), Pair>,
    ports: BTreeMap<u16, Depth>,
}

/// The lanes, and below them who waits for whom.
pub(super) fn status(model: &Model, moment: Moment) -> (Sheet, Sheet) {
    let now = Now::of(model, moment);
    (now.lanes(), now.pairs())
}

impl<'a> Now<'a> {
    fn of(model: &'a Model, moment: Moment) -> Self {
        let last_ns = moment.ns;
        let first_ns = model.columns().t.first().copied().unwrap_or(last_ns);
        let length_ns = (last_ns - first_ns).clamp(1.0, WINDOW_NS);
        let mut now = Self {
            model,
            moment,
            seconds: length_ns / SECOND_NS,
            lanes: BTreeMap::new(),
            pairs: BTreeMap::new(),
            ports: BTreeMap::new(),
        };
        now.count_all(last_ns);
        now.count_recent(last_ns - length_ns);
        now.count_marks(last_ns);
        now
    }

    /// What of the whole trace is told.
    fn count_all(&mut self, last_ns: f64) {
        let columns = self.model.columns();
        let mut messages = [0_u64; 256];
        for (row, (to, now)) in columns.to.iter().zip(&columns.state).enumerate() {
            if let Some(count) = messages.get_mut(usize::from(*to)) {
                *count = count.saturating_add(1);
            }
            if *now == state::IN_FLIGHT {
                let so_far_ns = last_ns - columns.t.get(row).copied().unwrap_or_default();
                let open = &mut self.lanes.entry(*to).or_default().open;
                *open = open.saturating_add(1);
                if columns.kind.get(row) != Some(&kind::MESSAGE) {
                    continue;
                }
                self.waited(row, so_far_ns);
                let open = &mut self.pairs.entry(self.pair(row)).or_default().open;
                *open = open.saturating_add(1);
            }
        }
        for (lane, count) in (0_u8..=u8::MAX).zip(messages).filter(|(_, count)| *count > 0) {
            self.lanes.entry(lane).or_default().messages = count;
        }
    }

    fn pair(&self, row: usize) -> (u8, u8) {
        let columns = self.model.columns();
        let lane = |column: &[u8]| column.get(row).copied().unwrap_or(u8::MAX);
        (lane(&columns.from), lane(&columns.to))
    }

    fn waited(&mut self, row: usize, wait_ns: f64) {
        let (from, to) = self.pair(row);
        let lane = self.lanes.entry(to).or_default();
        lane.longest_ns = lane.longest_ns.max(wait_ns);
        let pair = self.pairs.entry((from, to)).or_default();
        if wait_ns >= pair.longest_ns {
            (pair.longest_ns, pair.longest_row) = (wait_ns, Some(row));
        }
    }

    fn count_recent(&mut self, since_ns: f64) {
        let columns = self.model.columns();
        let oldest = self.model.rows().saturating_sub(WINDOW_ROWS_MAX);
        for row in oldest..self.model.rows() {
            let t = columns.t.get(row).copied().unwrap_or_default();
            let known = |column: &[f32]| {
                column.get(row).copied().filter(|ns| ns.is_finite()).map(f64::from)
            };
            self.count_depth(row, t, known(&columns.wait), known(&columns.busy), since_ns);
            if t < since_ns || columns.kind.get(row).is_none_or(|kind| *kind > kind::TIMER) {
                continue;
            }
            let (from, to) = self.pair(row);
            let lane = self.lanes.entry(to).or_default();
            lane.recent = lane.recent.saturating_add(1);
            lane.busy_ns += known(&columns.busy).unwrap_or_default();
            if columns.kind.get(row) != Some(&kind::MESSAGE) {
                continue;
            }
            let pair = self.pairs.entry((from, to)).or_default();
            pair.recent = pair.recent.saturating_add(1);
            if let Some(wait_ns) = known(&columns.wait) {
                pair.known = pair.known.saturating_add(1);
                pair.wait_ns += wait_ns;
                self.waited(row, wait_ns);
            }
        }
    }

    /// A port's depth is told when something is sent to it, and when a handling has ended.
    fn count_depth(
        &mut self,
        row: usize,
        t: f64,
        wait: Option<f64>,
        busy: Option<f64>,
        since_ns: f64,
    ) {
        let columns = self.model.columns();
        let port = columns.port.get(row).copied().unwrap_or(NO_PORT);
        if port == NO_PORT {
            return;
        }
        let depth = self.ports.entry(port).or_default();
        let sent = columns.depth.get(row).copied().unwrap_or_default();
        if t >= since_ns {
            depth.peak = depth.peak.max(sent);
        }
        if t >= depth.at_ns {
            (depth.at_ns, depth.now) = (t, sent);
        }
        if let (Some(wait), Some(busy)) = (wait, busy)
            && t + wait + busy >= depth.at_ns
        {
            let after = columns.depth_after.get(row).copied().unwrap_or_default();
            (depth.at_ns, depth.now) = (t + wait + busy, after);
        }
    }

    fn count_marks(&mut self, last_ns: f64) {
        for mark in self.model.marks() {
            let Some(lane) = mark.lane else { continue };
            let lane = self.lanes.entry(lane).or_default();
            let count = match mark.kind {
                MarkKind::Panic => &mut lane.panics,
                MarkKind::Restart => &mut lane.restarts,
                MarkKind::Refuse => &mut lane.refused,
                _ => continue,
            };
            *count = count.saturating_add(1);
        }
        for mark in self.model.marks().iter().rev().take(MARKS_MAX) {
            let row = self.model.mark_row(mark).filter(|_| mark.kind == MarkKind::Slow);
            let Some((row, lane)) = row.zip(mark.lane) else { continue };
            if self.model.columns().state.get(row) == Some(&state::IN_FLIGHT) {
                let since_ns = last_ns - mark.since_ns as f64;
                let lane = self.lanes.entry(lane).or_default();
                lane.handling =
                    format!("{} for {}", tame(self.model.type_name(row)), duration(since_ns));
            }
        }
    }

    fn lanes(&self) -> Sheet {
        let refused = self.lanes.values().fold(0_u64, |sum, lane| sum.saturating_add(lane.refused));
        let gaps = self.model.marks().iter().filter(|mark| mark.kind == MarkKind::Gap);
        let missing = gaps.fold(0_u64, |sum, mark| sum.saturating_add(mark.missing));
        let above = format!(
            "the last {}{}; in all {missing} records missing, {refused} messages refused{}",
            duration(self.seconds * SECOND_NS),
            if self.moment.is_now { "" } else { " of the trace" },
            self.skipped(),
        );
        let head = [
            "lane", "busy", "msg/s", "open", "mailbox", "peak", "waited", "panics", "restarts",
            "messages", "handling",
        ];
        let mut sheet = Sheet::new(above, &head);
        for (lane, about) in &self.lanes {
            let name = tame(self.model.lane_name(*lane));
            let busy = (about.busy_ns / (self.seconds * SECOND_NS)).min(1.0);
            let (mailbox, peak) = self.mailbox(*lane);
            sheet.push(
                Target::Lane(*lane),
                !about.handling.is_empty() || peak.is_bad,
                vec![
                    name,
                    format!("{:.1} %", busy * 100.0),
                    self.per_second(about.recent),
                    about.open.to_string(),
                    mailbox,
                    peak.text,
                    duration(if about.longest_ns > 0.0 { about.longest_ns } else { f64::NAN }),
                    about.panics.to_string(),
                    about.restarts.to_string(),
                    about.messages.to_string(),
                    about.handling.clone(),
                ],
            );
        }
        sheet
    }

    fn skipped(&self) -> String {
        let Some(first) = self.model.skipped().first() else { return String::new() };
        let (what, place) = (tame(&first.what), &first.place);
        let file = tame(&place.file);
        format!("; skipped {what}, {} times, first in line {} of {file}", first.count, place.line)
    }

    fn per_second(&self, count: u64) -> String {
        let rate = count as f64 / self.seconds;
        if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
    }

    /// The fullest port of a lane: its depth and limit, and how deep it was.
    fn mailbox(&self, lane: u8) -> (String, Cell) {
        let share = |depth: u32, items: u64| f64::from(depth) / items as f64;
        let ports = self.model.ports().iter().filter(|(_, port)| port.to == lane && port.items > 0);
        let fullest = ports
            .filter_map(|(number, port)| Some((self.ports.get(number)?, port.items)))
            // what is in it now has been there since before the time that is shown, perhaps
            .map(|(depth, items)| (depth.now, depth.peak.max(depth.now), items))
            .max_by(|a, b| share(a.1, a.2).total_cmp(&share(b.1, b.2)));
        let Some((now, peak, items)) = fullest else { return ("-".to_owned(), Cell::default()) };
        let full = share(peak, items);
        let bar: String = (1..=BAR_CELLS)
            .map(|cell| if full * f64::from(BAR_CELLS) >= f64::from(cell) { '#' } else { '.' })
            .collect();
        (format!("{now}/{items}"), Cell { text: format!("{peak} {bar}"), is_bad: full >= 1.0 })
    }

    fn pairs(&self) -> Sheet {
        let head = ["waited for", "longest", "mean", "msg/s", "open", "longest of"];
        let mut sheet = Sheet::new(String::new(), &head);
        let mut pairs: Vec<_> =
            self.pairs.iter().filter(|(_, pair)| pair.longest_row.is_some()).collect();
        pairs.sort_by(|(_, a), (_, b)| b.longest_ns.total_cmp(&a.longest_ns));
        for ((from, to), pair) in pairs {
            let (from, to) = (self.model.lane_name(*from), self.model.lane_name(*to));
            let mean = if pair.known > 0 { pair.wait_ns / pair.known as f64 } else { f64::NAN };
            let row = pair.longest_row.unwrap_or_default();
            sheet.push(
                Target::Row(row),
                false,
                vec![
                    format!("{} > {}", tame(if from.is_empty() { "-" } else { from }), tame(to)),
                    duration(pair.longest_ns),
                    duration(mean),
                    self.per_second(pair.recent),
                    pair.open.to_string(),
                    tame(self.model.type_name(row)),
                ],
            );
        }
        sheet
    }
}
