//! Counts and latencies.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{MarkKind, Model, NO_PORT, state};

/// How long something took, in nanoseconds; zeros when it is never known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Of how many it is known.
    pub known: u64,
    /// Median.
    pub p50_ns: f64,
    /// 95 of 100 took no longer.
    pub p95_ns: f64,
    /// 99 of 100 took no longer.
    pub p99_ns: f64,
    /// The longest.
    pub max_ns: f64,
}

impl Latency {
    fn of(mut values: Vec<f32>) -> Self {
        values.sort_unstable_by(f32::total_cmp);
        let at = |percent: usize| {
            // the nearest rank
            let rank = values.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
            values.get(rank).copied().map_or(0.0, f64::from)
        };
        Self {
            known: values.len() as u64,
            p50_ns: at(50),
            p95_ns: at(95),
            p99_ns: at(99),
            max_ns: at(100),
        }
    }
}

/// Of the rows of one type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MessageStats {
    /// Name of the message, or reason of the timer.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Rows.
    pub count: u64,
    /// In flight, or lost.
    pub in_flight: u64,
    /// Left their port and were never handled.
    pub dropped: u64,
    /// Their handling panicked.
    pub panicked: u64,
    /// Tell of a failure, or panicked.
    pub bad: u64,
    /// Time in the port.
    pub wait: Latency,
    /// Time of handling.
    pub busy: Latency,
    /// Time spent elsewhere.
    pub late: Latency,
    /// The row that took longest from its sending to its very end.
    pub slowest_row: Option<usize>,
}

/// Of a port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortStats {
    /// Its number.
    pub port: u16,
    /// Its name.
    pub name: String,
    /// Lane of the receiver.
    pub to: String,
    /// Messages sent to it.
    pub count: u64,
    /// The most messages that were in it.
    pub max_depth: u32,
    /// The most that it holds; 0 when that is not known.
    pub limit_items: u64,
}

/// Of a lane.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneStats {
    /// Its name.
    pub lane: String,
    /// Whether it is an actor.
    pub actor: bool,
    /// Rows to it.
    pub count: u64,
    /// Time of handling, in nanoseconds.
    pub busy_ns: f64,
    /// The same as a share of the time of the whole trace.
    pub busy_share: f64,
    /// Panics.
    pub panics: u64,
    /// Messages that found its ports full or closed.
    pub refused: u64,
}

/// Of a whole trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Rows.
    pub rows: u64,
    /// From the first sending to the last record, in nanoseconds.
    pub elapsed_ns: f64,
    /// By type, the most frequent first.
    pub messages: Vec<MessageStats>,
    /// By number.
    pub ports: Vec<PortStats>,
    /// Lanes that have rows or marks.
    pub lanes: Vec<LaneStats>,
    /// Records that are missing, explained or not.
    pub missing_records: u64,
}

#[derive(Clone, Default)]
struct Samples {
    stats: MessageStats,
    wait: Vec<f32>,
    busy: Vec<f32>,
    late: Vec<f32>,
    slowest_ns: f64,
}

/// Counts and latencies of a trace.
pub fn stats(model: &Model) -> Stats {
    let first = model.columns().t.iter().copied().fold(f64::INFINITY, f64::min);
    let elapsed_ns =
        if first.is_finite() { (model.last_ns() as f64 - first).max(0.0) } else { 0.0 };
    let gaps = model.marks().iter().filter(|mark| mark.kind == MarkKind::Gap);
    Stats {
        rows: model.rows() as u64,
        elapsed_ns,
        messages: messages(model),
        ports: ports(model),
        lanes: lanes(model, elapsed_ns),
        missing_records: gaps.fold(0, |sum: u64, mark| sum.saturating_add(mark.missing)),
    }
}

fn messages(model: &Model) -> Vec<MessageStats> {
    let columns = model.columns();
    let mut types = vec![Samples::default(); model.types().len()];
    for (row, type_) in columns.type_.iter().enumerate() {
        let Some(samples) = types.get_mut(usize::from(*type_)) else { continue };
        let stats = &mut samples.stats;
        stats.count = stats.count.saturating_add(1);
        let of_state = match columns.state.get(row).copied() {
            Some(state::IN_FLIGHT) => Some(&mut stats.in_flight),
            Some(state::DROPPED) => Some(&mut stats.dropped),
            Some(state::PANICKED) => Some(&mut stats.panicked),
            _ => None,
        };
        if let Some(count) = of_state {
            *count = count.saturating_add(1);
        }
        if columns.bad.get(row) == Some(&1) {
            stats.bad = stats.bad.saturating_add(1);
        }
        let took = columns.end(row) - columns.t.get(row).copied().unwrap_or_default();
        if stats.slowest_row.is_none() || took > samples.slowest_ns {
            stats.slowest_row = Some(row);
            samples.slowest_ns = took;
        }
        let known = |column: &[f32]| column.get(row).copied().filter(|value| value.is_finite());
        samples.wait.extend(known(&columns.wait));
        samples.busy.extend(known(&columns.busy));
        samples.late.extend(known(&columns.late));
    }
    let named = types.into_iter().zip(model.types());
    let mut all: Vec<_> = named
        .filter(|(samples, _)| samples.stats.count > 0)
        .map(|(samples, name)| MessageStats {
            type_name: name.clone(),
            wait: Latency::of(samples.wait),
            busy: Latency::of(samples.busy),
            late: Latency::of(samples.late),
            ..samples.stats
        })
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.type_name.cmp(&b.type_name)));
    all
}

fn ports(model: &Model) -> Vec<PortStats> {
    let columns = model.columns();
    let mut seen: BTreeMap<u16, (u64, u32)> =
        model.ports().keys().map(|port| (*port, (0, 0))).collect();
    for (port, depth) in columns.port.iter().zip(&columns.depth) {
        if *port != NO_PORT {
            let (count, max_depth) = seen.entry(*port).or_default();
            *count = count.saturating_add(1);
            *max_depth = (*max_depth).max(*depth);
        }
    }
    let stats = |(port, (count, max_depth))| {
        let info = model.ports().get(&port);
        PortStats {
            port,
            name: info.map(|info| info.name.clone()).unwrap_or_default(),
            to: info.map(|info| model.lane_name(info.to).to_owned()).unwrap_or_default(),
            count,
            max_depth,
            limit_items: info.map_or(0, |info| info.items),
        }
    };
    seen.into_iter().map(stats).collect()
}

fn lanes(model: &Model, elapsed_ns: f64) -> Vec<LaneStats> {
    let columns = model.columns();
    let mut lanes: Vec<_> = (0_usize..)
        .zip(model.lanes())
        .map(|(index, lane)| LaneStats {
            lane: lane.clone(),
            actor: index < model.actors(),
            count: 0,
            busy_ns: 0.0,
            busy_share: 0.0,
            panics: 0,
            refused: 0,
        })
        .collect();
    for (to, busy) in columns.to.iter().zip(&columns.busy) {
        let Some(lane) = lanes.get_mut(usize::from(*to)) else { continue };
        lane.count = lane.count.saturating_add(1);
        if busy.is_finite() {
            lane.busy_ns += f64::from(*busy);
        }
    }
    for mark in model.marks() {
        let Some(lane) = mark.lane.and_then(|lane| lanes.get_mut(usize::from(lane))) else {
            continue;
        };
        match mark.kind {
            MarkKind::Panic => lane.panics = lane.panics.saturating_add(1),
            MarkKind::Refuse => lane.refused = lane.refused.saturating_add(1),
            _ => {}
        }
    }
    for lane in &mut lanes {
        lane.busy_share = if elapsed_ns > 0.0 { lane.busy_ns / elapsed_ns } else { 0.0 };
    }
    lanes.retain(|lane| lane.count > 0 || lane.panics > 0 || lane.refused > 0);
    lanes
}
