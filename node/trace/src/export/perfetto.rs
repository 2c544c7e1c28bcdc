//! Perfetto's protobuf: a track per lane with what it handled, tracks for what went on elsewhere, arrows from sending to
//! handling, counters of what is in the ports. The field numbers are those of `protos/perfetto/trace` in Perfetto.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use prost::Message;

use super::{Times, times};
use crate::model::{Model, NO_LANE, NO_PORT, state};

#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(message, optional, tag = "8")]
    counter: Option<CounterDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterDescriptor {
    #[prost(string, optional, tag = "6")]
    unit_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(int32, optional, tag = "9")]
    kind: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
    #[prost(int64, optional, tag = "30")]
    counter_value: Option<i64>,
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    flow_ids: Vec<u64>,
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    terminating_flow_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}

const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const INSTANT: i32 = 3;
const COUNTER: i32 = 4;

/// All packets are of one writer.
const SEQUENCE: u32 = 1;
/// Tracks of a lane for what goes on elsewhere at the same time; what is beyond them is left out.
const MAX_ELSEWHERE: u64 = 256;
const LANE_TRACKS: u64 = 1 << 20;
const MARK_TRACKS: u64 = 2 << 20;
const PORT_TRACKS: u64 = 3 << 20;
const ELSEWHERE_TRACKS: u64 = 4 << 20;

/// Writes a trace for <https://ui.perfetto.dev> and `trace_processor`.
///
/// # Errors
///
/// When writing fails.
pub fn perfetto(model: &Model, out: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer { out };
    for (index, lane) in (0_u64..).zip(model.lanes()) {
        writer.track(LANE_TRACKS.saturating_add(index), lane, None, false)?;
    }
    for (port, info) in model.ports() {
        let name = format!("in {}", info.name);
        writer.track(PORT_TRACKS.saturating_add((*port).into()), &name, None, true)?;
    }
    handlings(model, &mut writer)?;
    elsewhere(model, &mut writer)?;
    depths(model, &mut writer)?;
    for mark in model.marks() {
        let lane = mark.lane.unwrap_or(NO_LANE);
        let name = format!("{}: {}", mark.kind.as_str(), mark.note);
        let track =
            if lane == NO_LANE { MARK_TRACKS } else { LANE_TRACKS.saturating_add(lane.into()) };
        writer.event(
            mark.t_ns,
            track,
            TrackEvent { kind: Some(INSTANT), name: Some(name), ..TrackEvent::default() },
        )?;
    }
    Ok(())
}

struct Writer<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Writer<'_, W> {
    /// A trace is the concatenation of its packets, so each is written as a trace of its own.
    fn packet(&mut self, packet: TracePacket) -> io::Result<()> {
        self.out.write_all(&Trace { packet: vec![packet] }.encode_to_vec())
    }

    fn track(
        &mut self,
        uuid: u64,
        name: &str,
        parent: Option<u64>,
        counter: bool,
    ) -> io::Result<()> {
        let counter = counter.then(|| CounterDescriptor { unit_name: Some("messages".to_owned()) });
        self.packet(TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(uuid),
                name: Some(name.to_owned()),
                parent_uuid: parent,
                counter,
            }),
            trusted_packet_sequence_id: Some(SEQUENCE),
            ..TracePacket::default()
        })
    }

    fn event(&mut self, t: u64, track: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(TracePacket {
            timestamp: Some(t),
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_event: Some(TrackEvent { track_uuid: Some(track), ..event }),
            ..TracePacket::default()
        })
    }

    fn slice(&mut self, from: u64, until: u64, track: u64, event: TrackEvent) -> io::Result<()> {
        self.event(from, track, TrackEvent { kind: Some(SLICE_BEGIN), ..event })?;
        self.event(until, track, TrackEvent { kind: Some(SLICE_END), ..TrackEvent::default() })
    }
}

/// Rows to each lane whose handling began, by its beginning.
fn by_lane(model: &Model) -> BTreeMap<u8, Vec<(Times, usize)>> {
    let columns = model.columns();
    let mut lanes: BTreeMap<u8, Vec<(Times, usize)>> = BTreeMap::new();
    for (row, lane) in columns.to.iter().enumerate() {
        if let Some(times) = times(columns, row).filter(|_| *lane != NO_LANE) {
            lanes.entry(*lane).or_default().push((times, row));
        }
    }
    for rows in lanes.values_mut() {
        rows.sort_by_key(|(times, row)| (times.begun, *row));
    }
    lanes
}

fn handlings<W: Write>(model: &Model, writer: &mut Writer<'_, W>) -> io::Result<()> {
    let columns = model.columns();
    for (lane, rows) in by_lane(model) {
        let track = LANE_TRACKS.saturating_add(lane.into());
        let following = rows.iter().skip(1).map(|(times, _)| times.begun).chain([u64::MAX]);
        for ((times, row), next) in rows.iter().zip(following) {
            let id = columns.id.get(*row).copied().unwrap_or_default() as u64;
            let state = columns.state.get(*row).copied();
            if state != Some(state::DROPPED) {
                // durations are kept to 24 bits, so a handling may seem to reach into the next one
                let over = times.over.min(next);
                let begin = TrackEvent {
                    name: Some(model.type_name(*row).to_owned()),
                    terminating_flow_ids: vec![id],
                    debug_annotations: annotations(model, *row, id),
                    ..TrackEvent::default()
                };
                writer.slice(times.begun, over, track, begin)?;
            }
            let from = columns.from.get(*row).copied().unwrap_or(NO_LANE);
            if from != NO_LANE {
                let sending = TrackEvent {
                    kind: Some(INSTANT),
                    name: Some(format!("tell {}", model.type_name(*row))),
                    flow_ids: vec![id],
                    ..TrackEvent::default()
                };
                writer.event(times.sent, LANE_TRACKS.saturating_add(from.into()), sending)?;
            }
        }
    }
    Ok(())
}

fn annotations(model: &Model, row: usize, id: u64) -> Vec<DebugAnnotation> {
    let columns = model.columns();
    let number = |name: &str, value: f64| {
        value.is_finite().then(|| DebugAnnotation {
            name: Some(name.to_owned()),
            uint_value: Some(value as u64),
            string_value: None,
        })
    };
    let at = |column: &[f64]| column.get(row).copied().unwrap_or(f64::NAN);
    let text = |name: &str, value: String| DebugAnnotation {
        name: Some(name.to_owned()),
        uint_value: None,
        string_value: Some(value),
    };
    let hash = columns.hash.get(row).and_then(|hash| hash.checked_sub(1));
    let hash = hash.and_then(|index| model.hashes().get(index as usize));
    let note = Some(model.note(row)).filter(|note| !note.is_empty());
    [
        number("id", id as f64),
        number("bytes", at(&columns.bytes)),
        number("block", at(&columns.low)),
        number("to block", at(&columns.high)),
        hash.map(|hash| text("hash", format!("0x{}", alloy_primitives::hex::encode(hash)))),
        note.map(|note| text("note", note.to_owned())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What overlaps goes on tracks side by side.
fn elsewhere<W: Write>(model: &Model, writer: &mut Writer<'_, W>) -> io::Result<()> {
    for (lane, mut rows) in by_lane(model) {
        rows.retain(|(times, _)| times.end > times.over);
        rows.sort_by_key(|(times, row)| (times.over, *row));
        let base = ELSEWHERE_TRACKS.saturating_add(u64::from(lane).saturating_mul(MAX_ELSEWHERE));
        let mut free_at: Vec<u64> = Vec::new();
        for (times, row) in rows {
            let free = free_at.iter().position(|free_at| *free_at <= times.over);
            let index = free.unwrap_or(free_at.len());
            let track = base.saturating_add(index as u64);
            match free_at.get_mut(index) {
                Some(free_at) => *free_at = times.end,
                None if (index as u64) < MAX_ELSEWHERE => {
                    let name = format!("{} elsewhere", model.lane_name(lane));
                    let parent = LANE_TRACKS.saturating_add(lane.into());
                    writer.track(track, &name, Some(parent), false)?;
                    free_at.push(times.end);
                }
                None => continue,
            }
            let name = Some(model.type_name(row).to_owned());
            writer.slice(
                times.over,
                times.end,
                track,
                TrackEvent { name, ..TrackEvent::default() },
            )?;
        }
    }
    Ok(())
}

fn depths<W: Write>(model: &Model, writer: &mut Writer<'_, W>) -> io::Result<()> {
    let columns = model.columns();
    for (row, port) in columns.port.iter().enumerate().filter(|(_, port)| **port != NO_PORT) {
        let track = PORT_TRACKS.saturating_add((*port).into());
        let mut count = |t: u64, depth: Option<&u32>| {
            let event = TrackEvent {
                kind: Some(COUNTER),
                counter_value: depth.map(|depth| (*depth).into()),
                ..TrackEvent::default()
            };
            writer.event(t, track, event)
        };
        let sent = columns.t.get(row).copied().unwrap_or_default() as u64;
        count(sent, columns.depth.get(row))?;
        if let Some(times) = times(columns, row) {
            count(times.over, columns.depth_after.get(row))?;
        }
    }
    Ok(())
}
