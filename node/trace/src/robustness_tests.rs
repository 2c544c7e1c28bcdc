//! Whatever bytes a trace holds, reading it neither panics nor loses a good line.

#![allow(clippy::arithmetic_side_effects)]

use std::{fs, io::Write, path::Path};

use proptest::prelude::*;

use crate::{
    Feed, Model,
    batch::Batch,
    check::{Checks, check},
    diff::diff,
    follow::{Key, follow},
    line::{self, LineError, MAX_LINE_BYTES},
    load, quick,
    stats::stats,
};

const GOOD: [&str; 6] = [
    r#"{"v":1,"k":"hdr","run":"r","by":"moorline/v0.1.0","t0_unix_ns":"1790000000000000000","clock":"real","segment":0,"ports":[{"p":1,"name":"x","to":"tree","items":5,"bytes":6}]}"#,
    r#"{"q":0,"t":5,"k":"timer","to":"tree","m":"timer: x","id":1}"#,
    r#"{"q":1,"t":6,"k":"send","f":"tree","to":"store","m":"A::B","id":2,"c":1,"r":1,"p":1,"d":3,"sz":77,"x":"0123456789abcdef","key":{"h":"0x0101010101010101010101010101010101010101010101010101010101010101","n":4,"to":5,"hs":["0x0101010101010101010101010101010101010101010101010101010101010101","0x0202020202020202020202020202020202020202020202020202020202020202"],"len":6,"bs":[[9,"0x0303030303030303030303030303030303030303030303030303030303030303"],[5,"0x0404040404040404040404040404040404040404040404040404040404040404",3]],"of":"c","p":"00ff00ff00ff00ff","s":8,"rq":9},"note":"<script>alert(1)</script>","bad":true}"#,
    r#"{"q":2,"t":7,"k":"done","to":"store","m":"A::B","id":2,"p":1,"w":1,"b":2,"a":3}"#,
    r#"{"q":3,"t":8,"k":"panic","to":"store","gen":1,"id":2,"note":"boom \"quoted\" \u00e9"}"#,
    r#"{"q":4,"t":9,"k":"gap","why":"queue full","n":3,"from":1,"until":2}"#,
];

fn read(pieces: &[&[u8]]) -> Model {
    let (mut feed, mut model) = (Feed::new(), Model::new());
    feed.begin_file("test.jsonl");
    for piece in pieces {
        feed.push(piece);
        model.absorb(&feed.take());
    }
    feed.end_file();
    model.absorb(&feed.take());
    model
}

fn skipped(model: &Model) -> Vec<(&str, u64, u64)> {
    model.skipped().iter().map(|s| (s.what.as_str(), s.count, s.place.line)).collect()
}

fn good() -> Vec<u8> {
    GOOD.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

#[test]
fn all_good_lines_are_read() {
    let model = read(&[&good()]);
    assert_eq!(model.skipped(), []);
    assert_eq!(model.unexplained_gaps(), []);
    assert_eq!((model.rows(), model.marks().len(), model.ports().len()), (2, 2, 1));
    assert_eq!(model.header().by, "moorline/v0.1.0");
    assert_eq!(model.note(1), "<script>alert(1)</script>");
    assert_eq!(model.marks()[0].note, "boom \"quoted\" é");
}

#[test]
fn hostile_lines_are_skipped_and_named_with_their_place() {
    let long =
        format!(r#"{{"q":0,"t":1,"k":"timer","to":"tree","m":"{}","id":1}}"#, "x".repeat(10 << 20));
    let bomb = "[".repeat(900_000);
    let nested = format!(
        r#"{{"q":0,"t":1,"k":"timer","to":"tree","id":1,"new":{}1{}}}"#,
        "[".repeat(8),
        "]".repeat(8)
    );
    let fits = nested.replacen('[', "", 1).replacen(']', "", 1);
    let lines = [
        long.as_str(),
        &bomb,
        &nested,
        &fits,
        "[1]",
        "null",
        r#"{"q":1,"t":9223372036854775808,"k":"timer","to":"tree","id":3}"#,
        r#"{"q":1,"t":-1,"k":"timer","to":"tree","id":3}"#,
        r#"{"q":1,"t":"1","k":"timer","to":"tree","id":3}"#,
        r#"{"q":1,"t":1,"k":"timer","to":"tree"}"#,
        r#"{"q":1,"t":1,"k":"novelty","to":7}"#,
        r#"{"q":2,"t":0,"k":"timer","to":"tree","id":3}"#,
        r#"{"q":3,"t":0,"k":"timer","to":"tr"#,
    ];
    let model = read(&[lines.join("\n").as_bytes()]);
    assert_eq!(model.rows(), 2);
    assert_eq!(
        skipped(&model),
        [
            ("a line longer than 1 MiB", 1, 1),
            ("a line nested deeper than 8", 2, 2),
            ("a line that is not a JSON object", 2, 5),
            ("a line with a field of the wrong kind", 3, 7),
            ("a line that lacks a field", 1, 10),
            ("a record of a kind that this version does not know", 1, 11),
            ("a torn line", 1, 13),
        ]
    );
    assert_eq!(model.unexplained_gaps(), []);
}

#[test]
fn a_long_line_is_not_kept_in_memory() {
    let mut feed = Feed::new();
    for _ in 0..100 {
        feed.push(&[b'x'; 1 << 20]);
    }
    assert!(feed.carried_bytes() <= MAX_LINE_BYTES);
    feed.push(b"\n");
    feed.push(GOOD[1].as_bytes());
    feed.end_file();
    let batch = feed.take();
    assert_eq!((batch.events.len(), batch.skipped.len()), (1, 1));
}

#[test]
fn another_run_in_the_same_file_is_left_out() {
    let other = GOOD[0].replace(r#""run":"r""#, r#""run":"s""#);
    let text = [GOOD[0], GOOD[1], &other, GOOD[2], GOOD[0], GOOD[3]].join("\n");
    let model = read(&[text.as_bytes()]);
    assert_eq!(model.rows(), 1);
    assert_eq!(skipped(&model), [("a header of another run, and the records after it", 1, 3)]);
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    fs::File::create(dir.join(name)).unwrap().write_all(bytes).unwrap();
}

#[test]
fn the_newest_run_of_a_directory_is_read_and_a_truncated_segment_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |from: u64, count: u64| -> Vec<u8> {
        (from..from + count)
            .flat_map(|q| format!("{{\"q\":{q},\"t\":{q},\"k\":\"timer\",\"to\":\"tree\",\"m\":\"timer {}\",\"id\":{}}}\n", q * 7919, q + 1).into_bytes())
            .collect()
    };
    let packed = zstd::encode_all(&lines(20_000, 20_000)[..], 3).unwrap();
    write(dir.path(), "run-1000000000000-000000.jsonl", &lines(0, 5));
    write(
        dir.path(),
        "run-2000000000000-000000.jsonl.zst",
        &zstd::encode_all(&lines(0, 20_000)[..], 3).unwrap(),
    );
    write(dir.path(), "run-2000000000000-000001.jsonl.zst", &packed[..packed.len() / 2]);
    write(dir.path(), "flight-3000000000000-panic.jsonl", &lines(0, 5));
    write(dir.path(), "notes.txt", b"hello");
    let loaded = load(dir.path()).unwrap();
    assert_eq!(
        loaded.segments.left_out,
        ["flight-3000000000000-panic.jsonl", "run-1000000000000-000000.jsonl"]
    );
    assert_eq!(loaded.segments.files.len(), 2);
    let rows = loaded.model.rows();
    assert!((20_000..40_000).contains(&rows), "{rows}");
    let skipped = loaded.model.skipped();
    assert!(skipped.iter().any(|s| s.what.starts_with("the rest of a file")), "{skipped:?}");
    assert_eq!(loaded.model.unexplained_gaps(), []);
}

#[test]
fn what_is_no_trace_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap_err().to_string().contains("holds no trace"));
    assert!(load(&dir.path().join("absent.jsonl")).is_err());
}

fn analyse(model: &Model) {
    let checks = Checks { within: vec!["timer then A in 1ms".parse().unwrap()], lost_after_ns: 1 };
    check(model, &checks);
    stats(model);
    diff(("a", model), ("b", model));
    for key in [Key::Hash([1; 32]), Key::Number(4), Key::Peer(0xff), Key::Session(8)] {
        follow(model, &key);
    }
}

#[test]
fn causes_that_run_in_a_circle_end() {
    let line = |q: u8, id: u8, c: u8| {
        format!(
            r#"{{"q":{q},"t":{q},"k":"send","to":"tree","m":"A","id":{id},"c":{c},"r":{c},"key":{{"of":"c","n":4}}}}"#
        )
    };
    let text = [line(0, 1, 2), line(1, 2, 3), line(2, 3, 1), line(3, 4, 4)].join("\n");
    analyse(&read(&[text.as_bytes()]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        analyse(&read(&[&bytes]));
    }

    #[test]
    fn a_damaged_line_costs_itself_alone(
        which in 0..GOOD.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut damaged = GOOD[which].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(damaged.len());
            damaged[at] = if byte == b'\n' { b' ' } else { byte };
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        let after: String = (0..50)
            .map(|n| format!("{{\"q\":{},\"t\":1,\"k\":\"timer\",\"to\":\"tree\",\"m\":\"after\",\"id\":{}}}\n", n + 100, n + 1000))
            .collect();
        let model = read(&[&damaged, b"\n", after.as_bytes()]);
        let kept = (0..model.rows()).filter(|row| model.type_name(*row) == "after").count();
        // an id or a run that the damage made up may stand in the way of one line, and of no more
        prop_assert!(kept >= 49, "{kept}");
        analyse(&model);
    }

    #[test]
    fn pieces_of_any_size_read_the_same(cuts in prop::collection::vec(1_usize..300, 1..40)) {
        let bytes = good();
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let (whole, parts) = (read(&[&bytes]), read(&pieces));
        prop_assert_eq!(parts.skipped(), whole.skipped());
        prop_assert_eq!(parts.rows(), whole.rows());
        prop_assert_eq!(parts.columns().id.clone(), whole.columns().id.clone());
        prop_assert_eq!(parts.marks(), whole.marks());
    }

    #[test]
    fn the_quick_reader_and_the_careful_one_agree(
        which in 1..GOOD.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0129,:\"{}[]ax ".to_vec())), 0..3),
    ) {
        let mut line = GOOD[which].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let (mut quickly, mut carefully) = (Batch::default(), Batch::default());
        if let Some(event) = quick::parse(&line, &mut quickly) {
            // a space at the end is nothing to the careful reader and too much for the quick one
            let spaced = [&line[..], b" "].concat();
            match line::parse(&spaced, &mut carefully) {
                Ok(_) => {
                    let other = carefully.events[0];
                    for (a, b) in [(event.to, other.to), (event.from, other.from), (event.name, other.name), (event.note, other.note), (event.why, other.why)] {
                        prop_assert_eq!(quickly.bytes(a), carefully.bytes(b));
                    }
                    prop_assert_eq!(&quickly.entries, &carefully.entries);
                    prop_assert_eq!((event.q, event.t, event.kind, event.id, event.cause, event.subject), (other.q, other.t, other.kind, other.id, other.cause, other.subject));
                    prop_assert_eq!((event.wait, event.busy, event.late, event.depth, event.bytes, event.port), (other.wait, other.busy, other.late, other.depth, other.bytes, other.port));
                }
                Err(error) => prop_assert_eq!(error, LineError::Lacking),
            }
        }
    }
}
