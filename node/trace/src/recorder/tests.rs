//! From a record to a line on disk, read back as anybody's JSON.
#![allow(clippy::arithmetic_side_effects)]

use std::{fs, io::Read, path::Path};

use moorline_kit::{Limit, Port};
use moorline_messages::{ActorName, Lane, Lifecycle, TraceEvent};
use serde_json::Value;

use super::*;

const WIDE: Limit = Limit { items: 1 << 20, bytes: 1 };

fn news() -> Lifecycle {
    Lifecycle::Restarted { actor: ActorName::Store, incarnation: 1 }
}

/// A recording of a port between two lanes.
struct Rig {
    dir: tempfile::TempDir,
    recording: Recording,
    port: Port<Lifecycle>,
    inbox: moorline_kit::Inbox<Lifecycle>,
}

fn rig(change: impl FnOnce(&mut RecorderConfig, &Path)) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let mut config = RecorderConfig::new("a test");
    config.when_full = WhenFull::Wait;
    config.dir = Some(dir.path().join("trace"));
    change(&mut config, dir.path());
    let (tracer, recording) = Recording::start(config).unwrap();
    let (port, inbox) = Port::channel("news", WIDE);
    let port = port.traced(&tracer, Lane::Actor(ActorName::Tree)).held_by(Lane::Rlpx);
    Rig { dir, recording, port, inbox }
}

impl Rig {
    fn tell_and_handle(&mut self, times: usize) {
        for _ in 0..times {
            self.port.tell(news()).unwrap();
            self.inbox.try_next().unwrap();
        }
    }

    fn files(&self, prefix: &str) -> Vec<std::path::PathBuf> {
        let trace = self.dir.path().join("trace");
        let entries = fs::read_dir(trace).map_or(Vec::new(), |dir| dir.collect());
        let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
        paths.sort();
        paths
    }

    fn stop(self) -> tempfile::TempDir {
        self.recording.stop();
        self.dir
    }
}

pub(super) fn lines(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let mut file = fs::File::open(path).unwrap();
    if path.extension().unwrap() == "zst" {
        zstd::stream::read::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn lines_under(dir: &Path) -> Vec<Value> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| lines(path)).collect()
}

/// Numbers follow one another, but for what gaps account for.
fn expect_gapless(lines: &[Value]) {
    let mut next = 0;
    for line in lines.iter().filter(|line| line["k"] != "hdr") {
        assert_eq!(line["q"], next, "{line}");
        next += if line["k"] == "gap" { line["n"].as_u64().unwrap() } else { 1 };
    }
}

#[test]
fn what_is_told_is_on_disk_when_the_recording_stops() {
    let mut rig = rig(|_, _| {});
    rig.tell_and_handle(1_000);
    let dir = rig.stop();
    let lines = lines_under(&dir.path().join("trace"));
    expect_gapless(&lines);
    let header = &lines[0];
    assert_eq!(
        (&header["v"], &header["by"], &header["clock"]),
        (&1.into(), &"a test".into(), &"real".into())
    );
    let port = &lines[1];
    assert_eq!(
        (&port["k"], &port["name"], &port["to"]),
        (&"port".into(), &"news".into(), &"tree".into())
    );
    let sent: Vec<_> = lines.iter().filter(|line| line["k"] == "send").collect();
    let done: Vec<_> = lines.iter().filter(|line| line["k"] == "done").collect();
    assert_eq!((sent.len(), done.len()), (1_000, 1_000));
    assert_eq!(sent[7]["m"], "Lifecycle::Restarted");
    assert_eq!((&sent[7]["f"], &sent[7]["note"]), (&"rlpx".into(), &"store".into()));
    assert_eq!(sent[7]["id"], done[7]["id"]);
}

#[test]
fn a_compressed_recording_holds_the_same() {
    let mut rig = rig(|config, _| config.compress = true);
    rig.tell_and_handle(1_000);
    let [path] = rig.files("run-").try_into().unwrap();
    assert!(path.to_str().unwrap().ends_with(".jsonl.zst"));
    let dir = rig.stop();
    let lines = lines_under(&dir.path().join("trace"));
    expect_gapless(&lines);
    assert_eq!(lines.iter().filter(|line| line["k"] == "send").count(), 1_000);
}

#[test]
fn what_finds_no_room_is_counted_where_it_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (records, waiting) = bounded(4);
    let tally = Arc::new(Tally::default());
    let queue = Queue { records, tally: Arc::clone(&tally), when_full: WhenFull::Lose };
    let config =
        RecorderConfig { dir: Some(dir.path().to_owned()), ..RecorderConfig::new("a test") };
    let mut writer = Writer::new(config, Duration::from_secs(1), &Tracer::OFF).unwrap();
    let start = |at_ns| TraceRecord {
        at_ns,
        event: TraceEvent::Start { actor: ActorName::Tree, id: at_ns },
    };
    (0..10).for_each(|at_ns| queue.record(start(at_ns)));
    take_waiting(&mut writer, &waiting, &tally);
    queue.record(start(10));
    take_waiting(&mut writer, &waiting, &tally);
    writer.finish();
    let lines = lines_under(dir.path());
    expect_gapless(&lines);
    let kinds: Vec<_> = lines.iter().map(|line| line["k"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hdr", "start", "start", "start", "start", "gap", "start"]);
    let gap = &lines[5];
    assert_eq!((&gap["n"], &gap["from"], &gap["until"]), (&6.into(), &4.into(), &9.into()));
    assert_eq!(lines[6]["q"], 10);
}

#[test]
fn a_flight_recording_is_written_on_demand() {
    let mut rig = rig(|config, dir| {
        config.dir = None;
        config.flights = Some(dir.join("trace"));
    });
    rig.tell_and_handle(3);
    rig.recording.flight_recorder().write();
    let dir = rig.stop();
    let trace = dir.path().join("trace");
    let mut flight = fs::read_dir(trace).unwrap().map(|entry| entry.unwrap().path());
    let flight = flight.find(|path| path.to_str().unwrap().ends_with("-signal.jsonl"));
    assert_eq!(lines(&flight.unwrap())[0]["why"], "signal");
}

#[test]
fn whoever_looks_on_gets_a_header_and_the_lines() {
    let (live, seen) = bounded(1_000);
    let mut rig = rig(|config, _| {
        config.dir = None;
        config.live = Some(Box::new(move |lines| live.send(lines).is_ok()));
    });
    rig.tell_and_handle(5);
    rig.stop();
    let bytes: Vec<u8> = seen.try_iter().flatten().collect();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["k"], "hdr");
    expect_gapless(&lines);
    assert_eq!(lines.iter().filter(|line| line["k"] == "done").count(), 5);
}

#[test]
fn a_place_that_cannot_be_written_to_is_named_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = RecorderConfig::new("a test");
    config.dir = Some(file.path().to_owned());
    let error = Recording::start(config).unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn segments_are_bounded_in_size_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut segments = super::segments::Segments::new(dir.path(), 7, false).unwrap();
    let megabyte = vec![b'\n'; 1 << 20];
    for _ in 0..3 {
        segments.begin(b"{}\n").unwrap();
        for _ in 0..64 {
            assert!(!segments.wants_header());
            segments.write(&megabyte).unwrap();
        }
        assert!(segments.wants_header());
    }
    for _ in 0..600 {
        segments.begin(b"{}\n").unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 512);
    assert_eq!(names[0], "run-0000000000007-000091.jsonl");
}
