//! What a model makes of lines.

#![allow(clippy::arithmetic_side_effects)]

use crate::{Feed, Model};

use super::{ABSENT, MarkKind, NONE, kind, state};

fn model(lines: &[&str]) -> Model {
    let (mut feed, mut model) = (Feed::new(), Model::new());
    feed.begin_file("test.jsonl");
    for line in lines {
        feed.push(line.as_bytes());
        feed.push(b"\n");
    }
    model.absorb(&feed.take());
    model
}

fn hash(n: u8) -> String {
    format!("0x{}", format!("{n:02x}").repeat(32))
}

#[test]
fn an_end_completes_its_beginning_whichever_comes_first() {
    let m = model(&[
        r#"{"q":1,"t":10,"k":"send","f":"tree","to":"store","m":"A","id":1,"p":3,"d":2,"sz":7}"#,
        r#"{"q":2,"t":20,"k":"done","to":"store","m":"A","id":1,"p":3,"d":1,"w":4,"b":5,"a":6}"#,
        r#"{"q":3,"t":31,"k":"done","to":"tree","m":"B","id":2,"w":1,"b":2,"bad":true}"#,
        r#"{"q":4,"t":30,"k":"send","f":"store","to":"tree","m":"B","id":2,"c":1,"r":1}"#,
    ]);
    let c = m.columns();
    assert_eq!((c.wait[0], c.busy[0], c.late[0]), (4.0, 5.0, 6.0));
    assert_eq!((c.depth[0], c.depth_after[0], c.bytes[0]), (2, 1, 7.0));
    assert_eq!(c.state, [state::DONE, state::PANICKED]);
    assert_eq!(c.bad, [0, 1]);
    assert_eq!((c.cause[1], c.root[1]), (0, 0));
    assert_eq!((c.cause[0], c.root[0]), (NONE, NONE));
    assert_eq!(m.type_name(1), "B");
    assert_eq!(m.lane_name(c.to[0]), "store");
    assert!(m.unexplained_gaps().is_empty());
}

#[test]
fn a_cause_is_found_when_it_comes_after_and_absent_when_it_never_does() {
    let m = model(&[
        r#"{"q":1,"t":10,"k":"send","f":"tree","to":"store","m":"A","id":5,"c":6,"r":6}"#,
        r#"{"q":2,"t":11,"k":"timer","to":"tree","m":"timer: t","id":6}"#,
        r#"{"q":3,"t":12,"k":"send","f":"tree","to":"store","m":"A","id":7,"c":4,"r":4}"#,
    ]);
    assert_eq!(m.columns().cause, [1, NONE, ABSENT]);
    assert_eq!(m.columns().root, [1, NONE, ABSENT]);
    assert_eq!(m.columns().kind, [kind::MESSAGE, kind::TIMER, kind::MESSAGE]);
}

#[test]
fn a_run_gives_numbers_and_parents_to_its_blocks() {
    let line = format!(
        r#"{{"q":1,"t":10,"k":"send","f":"tree","to":"store","m":"A","id":1,"key":{{"h":"{0}","n":8,"to":9,"hs":["{0}","{1}"],"bs":[[4,"{2}",2]],"p":"00ff00ff00ff00ff","s":3,"rq":1}}}}"#,
        hash(1),
        hash(2),
        hash(3)
    );
    let m = model(&[&line]);
    assert_eq!(m.skipped(), []);
    assert_eq!(m.columns().list_number, [9.0, 8.0, 4.0]);
    assert_eq!(m.columns().list_run, [1, 1, 2]);
    assert_eq!(m.number_of(0), Some(9));
    assert_eq!(m.parent_of(0), Some(1));
    assert_eq!(m.parent_of(1), None);
    assert_eq!((m.number_of(2), m.parent_of(2)), (Some(4), None));
    assert_eq!(m.peers(), [0x00ff_00ff_00ff_00ff]);
    assert_eq!(m.columns().session, [3.0]);
}

#[test]
fn an_explained_gap_is_a_mark_and_an_unexplained_one_is_found() {
    let m = model(&[
        r#"{"q":1,"t":10,"k":"start","to":"tree","id":1,"gen":0}"#,
        r#"{"q":2,"t":11,"k":"gap","why":"queue full","n":3,"from":5,"until":9}"#,
        r#"{"q":5,"t":12,"k":"stop","to":"tree","gen":0}"#,
        r#"{"q":8,"t":13,"k":"panic","to":"tree","id":1,"gen":0,"note":"boom"}"#,
    ]);
    let gaps = m.unexplained_gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].first_q, gaps[0].missing, gaps[0].place.line), (6, 2, 4));
    let marks: Vec<_> = m.marks().iter().map(|mark| (mark.kind, mark.missing)).collect();
    assert_eq!(
        marks,
        [
            (MarkKind::Start, 0),
            (MarkKind::Gap, 3),
            (MarkKind::Stop, 0),
            (MarkKind::Panic, 0),
            (MarkKind::Gap, 2)
        ]
    );
    assert_eq!(m.columns().state, [state::PANICKED]);
    assert_eq!(m.mark_row(&m.marks()[3]), Some(0));
}

#[test]
fn changes_say_what_a_holder_of_an_older_version_lacks() {
    let (mut feed, mut m) = (Feed::new(), Model::new());
    let mut tell = |m: &mut Model, line: &str| {
        feed.push(line.as_bytes());
        feed.push(b"\n");
        m.absorb(&feed.take());
    };
    tell(&mut m, r#"{"q":1,"t":1,"k":"send","to":"tree","m":"A","id":1}"#);
    tell(&mut m, r#"{"q":2,"t":2,"k":"send","to":"tree","m":"A","id":2,"c":9}"#);
    let version = m.version();
    assert_eq!(m.changes_since(version).unwrap().first_row, 2);
    tell(&mut m, r#"{"q":3,"t":3,"k":"done","to":"tree","m":"A","id":1,"w":1,"b":1}"#);
    tell(&mut m, r#"{"q":4,"t":4,"k":"send","to":"tree","m":"A","id":3}"#);
    let changes = m.changes_since(version).unwrap();
    assert_eq!((changes.first_row, changes.patched), (2, vec![0]));
    // the cause that row 1 waited for: the row changed in a column that patches do not have
    tell(&mut m, r#"{"q":5,"t":4,"k":"send","to":"tree","m":"A","id":9}"#);
    assert_eq!(m.changes_since(version).unwrap().first_row, 1);
    assert_eq!(m.changes_since(m.version() + 1), None);
    m.trim(2);
    assert_eq!(m.changes_since(version), None);
}

#[test]
fn trimming_keeps_what_the_rest_needs_and_renumbers_it() {
    let with_hash = |q: u8, h: u8, cause: u8| {
        format!(
            r#"{{"q":{q},"t":{q},"k":"send","to":"tree","m":"A","id":{q},"c":{cause},"r":1,"note":"note {h}","key":{{"h":"{0}","n":{h},"hs":["{0}","{1}"]}}}}"#,
            hash(h),
            hash(h - 1)
        )
    };
    let lines = [with_hash(2, 9, 1), with_hash(3, 7, 2), with_hash(4, 7, 3)];
    let mut all = vec![r#"{"q":1,"t":1,"k":"timer","to":"tree","m":"timer: t","id":1}"#];
    all.extend(lines.iter().map(String::as_str));
    let mut m = model(&all);
    assert_eq!(m.hashes().len(), 4);
    let generation = m.generation();
    m.trim(2);
    assert_eq!((m.rows(), m.trimmed_rows()), (2, 2));
    assert!(m.generation() > generation);
    assert_eq!(m.columns().cause, [ABSENT, 0]);
    assert_eq!(m.columns().root, [ABSENT, ABSENT]);
    assert_eq!(m.hashes(), [[7; 32], [6; 32]]);
    assert_eq!((m.parent_of(0), m.number_of(0)), (Some(1), Some(8)));
    assert_eq!(m.columns().list_at, [0, 2]);
    assert_eq!((m.note(0), m.notes().len()), ("note 7", 1));
    assert_eq!(m.row_of(4), Some(1));
    assert_eq!(m.row_of(2), None);
}

#[test]
fn lanes_beyond_the_bound_are_others() {
    let lines: Vec<String> = (0..300)
        .map(|n| format!(r#"{{"q":{n},"t":1,"k":"timer","to":"lane {n}","m":"x","id":{}}}"#, n + 1))
        .collect();
    let m = model(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(m.lanes().len(), 250);
    assert_eq!(m.lane_name(*m.columns().to.last().unwrap()), "other");
    assert_eq!(m.lane_name(m.columns().to[10]), "lane 10");
}
