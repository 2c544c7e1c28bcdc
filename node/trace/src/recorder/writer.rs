//! What the writer's thread keeps.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_kit::{BusyLanes, Tracer};
use moorline_messages::{Lane, TraceEvent, TracePort, TraceRecord};

use super::{RecorderConfig, RecorderError, flight, flight::Ring, segments::Segments};
use crate::encode::{self, Gap, Header};

/// A handling is slow when it lasts longer.
const SLOW_NS: u64 = 50_000_000;

/// How long lines may wait in memory before they are in the file.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Bytes of lines that are written at once.
const FLUSH_BYTES: usize = 256 * 1024;

/// Wait before a directory that could not be written to is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What happened while a panic's surroundings were still being recorded belongs to its flight.
const FLIGHT_SETTLES_IN: Duration = Duration::from_millis(200);

/// Records that could not be written, from one on.
#[derive(Clone, Copy, Debug)]
struct Hole {
    first_q: u64,
    since_ns: u64,
    until_ns: u64,
    /// When to try again.
    again: Instant,
}

pub(super) struct Writer {
    config: RecorderConfig,
    run: String,
    t0: Duration,
    /// The run's beginning by this thread's clock.
    began: Instant,
    busy: Arc<BusyLanes>,
    /// The handling of each lane that was called slow already.
    slow: [u64; Lane::ALL.len()],
    ports: Vec<TracePort>,
    next_q: u64,
    ring: Ring,
    /// Why the last records are to be written down, and when.
    flight_due: Option<(&'static str, Instant)>,
    segments: Option<Segments>,
    lines: Vec<u8>,
    /// The number of the first record in them, and when they begin and end.
    lines_first_q: u64,
    lines_since_ns: u64,
    lines_until_ns: u64,
    flushed: Instant,
    /// What could not be written.
    hole: Option<Hole>,
    told_live: bool,
}

impl Writer {
    pub(super) fn new(
        config: RecorderConfig,
        t0: Duration,
        tracer: &Tracer,
    ) -> Result<Self, RecorderError> {
        let segments = match &config.dir {
            Some(dir) => {
                let segments = Segments::new(dir, t0.as_millis(), config.compress);
                Some(segments.map_err(|error| RecorderError::Io { path: dir.clone(), error })?)
            }
            None => None,
        };
        let now = moorline_kit::now();
        let mut writer = Self {
            run: format!("{:x}-{:x}", t0.as_nanos(), std::process::id()),
            t0,
            began: tracer.began().unwrap_or(now),
            busy: tracer.busy_lanes().unwrap_or_default(),
            slow: [0; Lane::ALL.len()],
            ports: Vec::new(),
            next_q: 0,
            ring: Ring::default(),
            flight_due: None,
            segments,
            lines: Vec::new(),
            lines_first_q: 0,
            lines_since_ns: 0,
            lines_until_ns: 0,
            flushed: now,
            hole: None,
            told_live: false,
            config,
        };
        // whoever names a place that cannot be written to is told at once
        if let Some(segments) = &writer.segments {
            let path = segments.dir().to_owned();
            writer.begin_segment().map_err(|error| RecorderError::Io { path, error })?;
        }
        Ok(writer)
    }

    fn is_encoding(&self) -> bool {
        self.segments.is_some() || self.config.live.is_some()
    }

    pub(super) fn take(&mut self, record: TraceRecord) {
        let mut numbers = 1;
        match &record.event {
            TraceEvent::Port(port) => self.ports.push(*port),
            TraceEvent::Panic { .. } => self.flight("panic"),
            TraceEvent::Gap { records, .. } => numbers = *records,
            _ => {}
        }
        let q = self.next_q;
        self.next_q = q.saturating_add(numbers);
        if self.is_encoding() {
            if self.lines.is_empty() {
                self.lines_since_ns = record.at_ns;
            }
            self.lines_until_ns = self.lines_until_ns.max(record.at_ns);
            encode::record(&record, q, &mut self.lines);
        }
        // what is in the files need not be kept in memory as well
        if self.segments.is_none() {
            self.ring.push(q, record);
        }
        if self.lines.len() >= FLUSH_BYTES {
            self.write_lines();
        }
    }

    /// Says once of each handling that it lasts.
    pub(super) fn look_for_slow_handlings(&mut self) {
        if self.config.simulated {
            return;
        }
        let since = moorline_kit::now().saturating_duration_since(self.began);
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let busy: Vec<_> = self.busy.look().collect();
        for (lane, id, since_ns) in busy {
            let busy_ns = now_ns.saturating_sub(since_ns);
            let Some(said) = self.slow.get_mut(lane.index()) else { continue };
            if busy_ns >= SLOW_NS && *said != id {
                *said = id;
                let event = TraceEvent::Slow { to: lane, id, busy_ns };
                self.take(TraceRecord { at_ns: now_ns, event });
            }
        }
    }

    /// Writes lines that have waited long enough, and a flight recording that is due.
    pub(super) fn flush(&mut self) {
        let now = moorline_kit::now();
        let waited = now.saturating_duration_since(self.flushed);
        if self.config.live.is_some() || waited >= FLUSH_EVERY {
            self.write_lines();
        }
        if let Some((why, _)) = self.flight_due.take_if(|(_, due)| *due <= now) {
            self.write_flight(why);
        }
    }

    fn flight(&mut self, why: &'static str) {
        let due = moorline_kit::now().checked_add(FLIGHT_SETTLES_IN);
        if let Some(due) = due {
            self.flight_due.get_or_insert((why, due));
        }
    }

    fn header(&self, segment: u64, why: Option<&str>) -> Vec<u8> {
        let mut line = Vec::new();
        let header = Header {
            run: &self.run,
            by: &self.config.by,
            t0_unix_ns: self.t0.as_nanos(),
            simulated: self.config.simulated,
            segment,
            why,
            ports: &self.ports,
        };
        encode::header(&header, &mut line);
        line
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let header = self.header(self.segments.as_ref().map_or(0, Segments::next), None);
        match &mut self.segments {
            Some(segments) => segments.begin(&header),
            None => Ok(()),
        }
    }

    fn write_lines(&mut self) {
        self.flushed = moorline_kit::now();
        if !self.lines.is_empty() {
            self.tell_live();
        }
        let wants = !self.lines.is_empty() || self.hole.is_some();
        if self.segments.is_some() && wants {
            let may_try = self.hole.is_none_or(|hole| hole.again <= self.flushed);
            let tried = if may_try { self.write_to_segment() } else { Ok(false) };
            match tried {
                Ok(true) => self.hole = None,
                Ok(false) => self.widen_hole(),
                Err(error) => self.could_not_write(&error),
            }
        }
        self.lines.clear();
        self.lines_first_q = self.next_q;
    }

    /// Writes what is missing and what is here, in one go. Returns whether it did.
    fn write_to_segment(&mut self) -> io::Result<bool> {
        if self.segments.as_ref().is_some_and(Segments::wants_header) {
            self.begin_segment()?;
        }
        let mut text = Vec::new();
        if let Some(Hole { first_q, since_ns, until_ns, .. }) = self.hole {
            let records = self.lines_first_q.saturating_sub(first_q);
            encode::gap(&Gap { first_q, records, since_ns, until_ns }, "disk", &mut text);
        }
        let Some(segments) = &mut self.segments else { return Ok(false) };
        if text.is_empty() {
            segments.write(&self.lines)?;
        } else {
            text.extend_from_slice(&self.lines);
            segments.write(&text)?;
        }
        Ok(true)
    }

    /// The lines at hand are not written either.
    fn widen_hole(&mut self) {
        let until_ns = self.lines_until_ns;
        if let Some(hole) = &mut self.hole {
            hole.until_ns = hole.until_ns.max(until_ns);
        }
    }

    fn could_not_write(&mut self, error: &io::Error) {
        let path = self.config.dir.clone().unwrap_or_default();
        tracing::warn!(dir = %path.display(), %error, "the trace has a gap: it cannot be written");
        let again = self.flushed.checked_add(RETRY_AFTER).unwrap_or(self.flushed);
        let (first_q, since_ns) = (self.lines_first_q, self.lines_since_ns);
        let hole = self.hole.get_or_insert(Hole { first_q, since_ns, until_ns: since_ns, again });
        hole.again = again;
        self.widen_hole();
        if let Some(segments) = &mut self.segments {
            segments.give_up();
        }
    }

    fn tell_live(&mut self) {
        let Some(live) = &self.config.live else { return };
        if !self.told_live {
            self.told_live = live(self.header(0, None));
        }
        // one that does not keep up sees a gap in the numbers
        if self.told_live {
            live(self.lines.clone());
        }
    }

    pub(super) fn write_flight(&self, why: &str) {
        if let Some(dir) = &self.config.dir {
            tracing::info!(dir = %dir.display(), why, "the trace holds what was recorded last");
            return;
        }
        let Some(dir) = &self.config.flights else { return };
        let mut lines = self.header(0, Some(why));
        for (q, record) in self.ring.iter() {
            encode::record(record, *q, &mut lines);
        }
        let since = moorline_kit::now().saturating_duration_since(self.began);
        let unix_ms = self.t0.saturating_add(since).as_millis();
        match flight::write(dir, unix_ms, why, &lines) {
            Ok(()) => {
                tracing::info!(dir = %dir.display(), why, "wrote what was recorded last");
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "cannot write what was recorded last");
            }
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some((why, _)) = self.flight_due.take() {
            self.write_flight(why);
        }
        // there is no later to try again
        if let Some(hole) = &mut self.hole {
            hole.again = self.flushed;
        }
        self.write_lines();
        if let Some(segments) = &mut self.segments
            && let Err(error) = segments.finish()
        {
            tracing::warn!(%error, "the end of the trace cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use moorline_messages::ActorName;

    use super::*;
    use crate::recorder::tests::lines_under;

    fn writer(dir: Option<PathBuf>, flights: Option<PathBuf>) -> Writer {
        let config = RecorderConfig { dir, flights, ..RecorderConfig::new("a test") };
        Writer::new(config, Duration::from_secs(1), &Tracer::OFF).unwrap()
    }

    const fn start(at_ns: u64) -> TraceRecord {
        TraceRecord { at_ns, event: TraceEvent::Start { actor: ActorName::Tree, id: at_ns } }
    }

    #[test]
    fn a_panic_leaves_a_flight_recording_though_nothing_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(None, Some(dir.path().join("flights")));
        writer.take(start(1));
        let (actor, note) = (ActorName::Tree, "a \"bad\" thing".into());
        let event = TraceEvent::Panic { actor, incarnation: 0, id: 1, note };
        writer.take(TraceRecord { at_ns: 2, event });
        writer.flush();
        assert!(!dir.path().join("flights").exists(), "what follows the panic belongs to it");
        writer.take(start(3));
        writer.finish();
        let lines = lines_under(&dir.path().join("flights"));
        let kinds: Vec<_> = lines.iter().map(|line| line["k"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["hdr", "start", "panic", "start"]);
        assert_eq!(
            (&lines[0]["why"], &lines[2]["note"]),
            (&"panic".into(), &"a \"bad\" thing".into())
        );
    }

    /// A writer whose next segment cannot be made, and what is in its way.
    fn blocked(trace: &std::path::Path) -> (Writer, PathBuf) {
        let mut writer = writer(Some(trace.to_owned()), None);
        writer.take(start(10));
        writer.write_lines();
        writer.segments.as_mut().unwrap().give_up();
        let in_the_way = trace.join("run-0000000001000-000001.jsonl");
        fs::create_dir(&in_the_way).unwrap();
        for at_ns in 11..15 {
            writer.take(start(at_ns));
            writer.write_lines();
        }
        (writer, in_the_way)
    }

    #[test]
    fn a_disk_that_fails_leaves_a_gap_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, in_the_way) = blocked(dir.path());
        fs::remove_dir(in_the_way).unwrap();
        writer.take(start(15));
        writer.write_lines();
        assert_eq!(lines_under(dir.path()).len(), 2, "it is not tried again at once");
        writer.hole.as_mut().unwrap().again = writer.flushed;
        writer.take(start(16));
        writer.write_lines();
        let lines = lines_under(dir.path());
        let kinds: Vec<_> = lines.iter().map(|line| line["k"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["hdr", "start", "hdr", "gap", "start"]);
        let gap = &lines[3];
        let expected = serde_json::json!({
            "q": 1, "t": 15, "k": "gap", "n": 5, "from": 11, "until": 15, "why": "disk",
        });
        assert_eq!(*gap, expected);
        assert_eq!((&lines[4]["q"], &lines[4]["id"]), (&6.into(), &16.into()));
    }

    #[test]
    fn what_could_not_be_written_is_told_at_the_end_though_nothing_follows() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, in_the_way) = blocked(dir.path());
        fs::remove_dir(in_the_way).unwrap();
        writer.finish();
        let lines = lines_under(dir.path());
        let gap = lines.last().unwrap();
        assert_eq!((&gap["k"], &gap["q"], &gap["n"]), (&"gap".into(), &1.into(), &4.into()));
    }

    #[test]
    fn a_segment_that_cannot_be_begun_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, in_the_way) = blocked(dir.path());
        assert_eq!(writer.segments.as_ref().unwrap().next(), 1);
        fs::remove_dir(in_the_way).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_the_ring_lost_is_told_in_a_flight_recording() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(None, Some(dir.path().to_owned()));
        writer.take(start(1));
        writer.take(TraceRecord { at_ns: 5, event: TraceEvent::Gap { records: 3, since_ns: 2 } });
        writer.take(start(6));
        writer.write_flight("signal");
        let lines = lines_under(dir.path());
        let told: Vec<_> = lines.iter().skip(1).map(|line| (&line["k"], &line["q"])).collect();
        let expected = [("start", 0), ("gap", 1), ("start", 4)];
        for (told, (kind, q)) in told.into_iter().zip(expected) {
            assert_eq!(told, (&kind.into(), &q.into()));
        }
    }

    #[test]
    fn the_ring_keeps_the_last_records_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(None, Some(dir.path().to_owned()));
        (0..20_000).for_each(|at_ns| writer.take(start(at_ns)));
        writer.write_flight("signal");
        let lines = lines_under(dir.path());
        assert_eq!(lines.len(), 1 + 16_384);
        assert_eq!(lines.last().unwrap()["q"], 19_999);
    }
}
