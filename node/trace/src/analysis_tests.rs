//! What is made of a small trace whose every value was worked out by hand.

#![allow(clippy::arithmetic_side_effects)]

use crate::{
    Feed, Model,
    check::{Checks, Severity, Within, check},
    diff::diff,
    follow::{Hop, Key, Step, follow},
    stats::stats,
};

fn model(lines: &[String]) -> Model {
    let (mut feed, mut model) = (Feed::new(), Model::new());
    feed.begin_file("test.jsonl");
    for (q, line) in lines.iter().enumerate() {
        feed.push(line.replace("#Q", &format!("\"q\":{q}")).as_bytes());
        feed.push(b"\n");
    }
    model.absorb(&feed.take());
    assert_eq!(model.skipped(), []);
    model
}

fn hash(n: u8) -> String {
    format!("0x{}", format!("{n:02x}").repeat(32))
}

/// A trigger that names block 5, other work in between, a fetch by way of a peer, and what was kept.
///
/// | id | t | w | b | a | names block 5 | cause |
/// |---|---|---|---|---|---|---|
/// | 1 head | 100 | 10 | 20 | | by hash | |
/// | 2 timer | 105 | 0 | 5 | | no | |
/// | 3 fetch | 125 | 5 | 10 | | by run 4..6 | 1 |
/// | 4 dial (rlpx) | 138 | 2 | 3 | | by cause | 3 |
/// | 5 answer | 200 | 1 | 4 | | no | 4 |
/// | 6 persist | 203 | 2 | 6 | 9 | in a list | 5 |
/// | 7 other branch | 300 | 1 | 1 | | run 4..6, refuted | 2 |
fn lines() -> Vec<String> {
    let send = |id: u8, t: u32, f: &str, to: &str, m: &str, c: u8, r: u8, key: String| {
        let mut line =
            format!(r##"{{#Q,"t":{t},"k":"send","f":"{f}","to":"{to}","m":"{m}","id":{id}"##);
        if c > 0 {
            line += &format!(r#","c":{c},"r":{r}"#);
        }
        line + &key + "}"
    };
    let done = |id: u8, t: u32, to: &str, w: u32, b: u32, a: u32| {
        let a = if a > 0 { format!(r#","a":{a}"#) } else { String::new() };
        format!(r##"{{#Q,"t":{t},"k":"done","to":"{to}","m":"","id":{id},"w":{w},"b":{b}{a}}}"##)
    };
    let (h4, h5, h6) = (hash(4), hash(5), hash(6));
    let (h15, h16) = (hash(0x15), hash(0x16));
    vec![
        send(1, 100, "engine-api", "tree", "Head", 0, 0, format!(r#","key":{{"h":"{h5}","n":5}}"#)),
        r##"{#Q,"t":105,"k":"timer","to":"store","m":"timer: tick","id":2}"##.to_owned(),
        done(2, 110, "store", 0, 5, 0),
        send(3, 125, "tree", "downloader", "Fetch", 1, 1, r#","key":{"n":4,"to":6}"#.to_owned()),
        done(1, 130, "tree", 10, 20, 0),
        send(4, 138, "downloader", "rlpx", "Dial", 3, 1, r#","key":{"of":"c"}"#.to_owned()),
        done(3, 140, "downloader", 5, 10, 0),
        done(4, 143, "rlpx", 2, 3, 0),
        send(5, 200, "rlpx", "downloader", "Answer", 4, 1, String::new()),
        send(
            6,
            203,
            "downloader",
            "store",
            "Persist",
            5,
            1,
            format!(r#","key":{{"h":"{h6}","n":4,"to":6,"hs":["{h6}","{h5}","{h4}"]}}"#),
        ),
        done(5, 205, "downloader", 1, 4, 0),
        done(6, 220, "store", 2, 6, 9),
        send(
            7,
            300,
            "store",
            "tree",
            "Persist",
            2,
            2,
            format!(r#","key":{{"h":"{h16}","n":4,"to":6,"hs":["{h16}","{h15}","{h4}"]}}"#),
        ),
        done(7, 302, "tree", 1, 1, 0),
    ]
}

#[test]
fn a_block_is_followed_from_its_trigger_to_the_disk() {
    let model = model(&lines());
    let key: Key = hash(5).parse().unwrap();
    let followed = follow(&model, &key);
    let hop = |row, parent, via| Hop { row, parent, via, names_key: true };
    // rows: 0 head, 1 timer, 2 fetch, 3 dial, 4 answer, 5 persist, 6 other branch
    assert_eq!(
        followed.hops,
        [hop(0, None, 0), hop(2, Some(0), 0), hop(3, Some(1), 0), hop(5, Some(2), 1)]
    );
    let step = |hop, queue_ns, handling_ns| Step { hop, queue_ns, handling_ns, ..Step::default() };
    assert_eq!(
        followed.path,
        [
            // 25 to the next: 10 in the queue, 15 of 20 of handling
            step(0, 10.0, 15.0),
            // 13 to the next: 5 and 8 of 10
            step(1, 5.0, 8.0),
            // 65 to the next, by way of the answer: 2, 3, and 60 for others
            Step { others_ns: 60.0, ..step(2, 2.0, 3.0) },
            Step { asynchronous_ns: 9.0, ..step(3, 2.0, 6.0) },
        ]
    );
    assert_eq!(followed.sum.total_ns(), 25.0 + 13.0 + 65.0 + 17.0);
}

#[test]
fn what_remains_at_the_outside_is_network() {
    let mut lines = lines();
    // the answer says itself what it is about, so that nothing is between
    lines[8] = lines[8].replace(r#""r":1"#, r#""r":1,"key":{"of":"c"}"#);
    let followed = follow(&model(&lines), &hash(5).parse().unwrap());
    assert_eq!(followed.hops.len(), 5);
    // 62 from the dial to the answer
    assert_eq!(followed.path[2].network_ns, 57.0);
    assert_eq!(followed.path[2].others_ns, 0.0);
}

#[test]
fn a_number_is_followed_on_every_branch() {
    let followed = follow(&model(&lines()), &Key::Number(5));
    let rows: Vec<_> = followed.hops.iter().map(|hop| (hop.row, hop.names_key)).collect();
    // the timer is there as the trigger of the other branch
    assert_eq!(rows, [(0, true), (1, false), (2, true), (3, true), (5, true), (6, true)]);
}

/// Rows 0 to 3 know the chain 9..6; the others speak of it in other ways.
#[test]
fn blocks_are_found_in_runs_however_these_are_written() {
    let [h9, h8, h7, h6] = [9, 8, 7, 6].map(hash);
    let [h20, h2, other7, other8, h3] = [0x20, 2, 0x17, 0x18, 3].map(hash);
    let send = |id: u8, key: &str| {
        format!(
            r##"{{#Q,"t":{id},"k":"send","f":"rlpx","to":"tree","m":"M","id":{id},"key":{{{key}}}}}"##
        )
    };
    let lines = [
        send(1, &format!(r#""n":6,"to":9,"hs":["{h9}","{h8}","{h7}","{h6}"]"#)),
        send(2, &format!(r#""h":"{h9}","len":3"#)),
        send(3, &format!(r#""h":"{h9}","len":2"#)),
        send(4, &format!(r#""bs":[[20,"{h20}"],[9,"{h9}",3],[2,"{h2}"]]"#)),
        send(5, &format!(r#""bs":[[9,"{h9}"],[6,"{h6}"]]"#)),
        send(6, &format!(r#""n":7,"h":"{other7}""#)),
        send(7, &format!(r#""bs":[[8,"{other8}",2],[3,"{h3}"]]"#)),
    ];
    let model = model(&lines);
    let rows = |key: &str| -> Vec<usize> {
        let hops = follow(&model, &key.parse().unwrap()).hops;
        hops.iter().map(|hop| hop.row).collect()
    };
    // another block at number 8 refutes nothing by itself: its ancestors are not known
    assert_eq!(rows(&h7), [0, 1, 3, 6]);
    assert_eq!(rows("7"), [0, 1, 3, 5, 6]);
    assert_eq!(rows(&h8), [0, 1, 2, 3]);
    assert_eq!(rows("2"), [3]);
}

#[test]
fn keys_are_told_apart() {
    let id = "00112233445566778899aabbccddeeff".repeat(4);
    let peer = Key::Peer(0x0011_2233_4455_6677);
    assert_eq!("17".parse(), Ok(Key::Number(17)));
    assert_eq!("s12".parse(), Ok(Key::Session(12)));
    assert_eq!(format!("enode://{id}@127.0.0.1:30303").parse(), Ok(peer));
    assert_eq!("0011223344556677".parse(), Ok(peer));
    assert_eq!(hash(7).parse(), Ok(Key::Hash([7; 32])));
    for wrong in ["", "s", "0x12", "deadbeef", "-1", "+1", "enode://12", "🦀🦀🦀🦀", "s+1"]
    {
        assert!(wrong.parse::<Key>().is_err(), "{wrong}");
    }
}

#[test]
fn a_trace_in_which_all_is_well_has_no_findings() {
    assert_eq!(check(&model(&lines()), &Checks { lost_after_ns: 10, ..Checks::default() }), []);
}

#[test]
fn a_planted_lost_message_and_a_planted_gap_are_found() {
    let mut planted = lines();
    // the end of the persist is taken away: its number is missing as well
    planted[11] = r##"{#Q,"t":220,"k":"timer","to":"tree","m":"timer: late","id":9}"##.to_owned();
    planted
        .push(r##"{"q":17,"t":400,"k":"done","to":"tree","m":"","id":9,"w":0,"b":1}"##.to_owned());
    let model = model(&planted);
    let checks = Checks { lost_after_ns: 50, ..Checks::default() };
    let found = check(&model, &checks);
    let gap = found.iter().find(|finding| finding.what.contains("nothing explains")).unwrap();
    assert_eq!((gap.severity, gap.count), (Severity::Error, 3));
    // sent before the gap, so its end may be in there
    let lost = found.iter().find(|finding| finding.what.contains("Persist")).unwrap();
    assert_eq!((lost.severity, lost.row), (Severity::Warning, Some(5)));
}

fn told(id: u32, t: u64) -> String {
    format!(r##"{{#Q,"t":{t},"k":"send","f":"node","to":"tree","m":"Lost","id":{id},"p":1}}"##)
}

#[test]
fn a_message_that_a_stopped_actor_never_ended_is_lost_however_short_the_run() {
    let stop = r##"{#Q,"t":900,"k":"stop","to":"tree","gen":0}"##.to_owned();
    let found = check(&model(&[told(1, 10), stop]), &Checks::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Error);
    assert!(found[0].what.contains("is lost"), "{found:?}");
    // without a stop nobody knows
    let found = check(&model(&[told(1, 10)]), &Checks::default());
    assert_eq!(found[0].severity, Severity::Info, "{found:?}");
}

#[test]
fn a_panic_is_seen_behind_any_number_of_refusals() {
    let refuse = |t: u64| {
        format!(
            r##"{{#Q,"t":{t},"k":"refuse","f":"node","to":"tree","m":"A","p":1,"why":"full"}}"##
        )
    };
    let mut lines: Vec<_> = (0..=200_000).map(refuse).collect();
    lines.push(r##"{#Q,"t":300000,"k":"panic","to":"tree","gen":0,"note":"boom"}"##.to_owned());
    let (mut feed, mut model) = (Feed::new(), Model::new());
    feed.begin_file("test.jsonl");
    for (q, line) in lines.iter().enumerate() {
        feed.push(line.replace("#Q", &format!("\"q\":{q}")).as_bytes());
        feed.push(b"\n");
    }
    model.absorb(&feed.take());
    let found = check(&model, &Checks::default());
    assert!(found[0].what.contains("boom"), "{:?}", found[0]);
}

#[test]
fn a_lost_message_without_a_gap_is_an_error() {
    let mut planted = lines();
    planted[11] = r##"{#Q,"t":220,"k":"slow","to":"store","id":6,"b":5}"##.to_owned();
    let checks = Checks { lost_after_ns: 50, ..Checks::default() };
    let found = check(&model(&planted), &checks);
    assert_eq!((found[0].severity, found[0].row), (Severity::Error, Some(5)));
    assert!(found[0].what.contains("Persist to store is lost"), "{}", found[0].what);
    // and not before so much time has passed
    let patient = Checks { lost_after_ns: 100, ..Checks::default() };
    assert!(check(&model(&planted), &patient).iter().all(|f| f.severity < Severity::Error));
}

#[test]
fn what_must_follow_is_looked_for_among_what_was_caused() {
    let violations = |text: &str| {
        let within: Within = text.parse().unwrap();
        let within = Within { within_ns: within.within_ns / 1000, ..within };
        let found = check(&model(&lines()), &Checks { within: vec![within], ..Checks::default() });
        found.iter().map(|finding| finding.row).collect::<Vec<_>>()
    };
    // times here are a thousandth of what is written; the head is at 100, what it led to was kept at 203
    assert_eq!(violations("Head then Persist in 110us"), []);
    assert_eq!(violations("Head then Persist in 90us"), [Some(0)]);
    assert_eq!(violations("Head never Persist in 110us"), [Some(0)]);
    assert_eq!(violations("Head never Persist in 90us"), []);
    // a name that no message has is told, and not only that it did not follow
    assert_eq!(violations("Fetch then Nothing in 100us"), [None, Some(2)]);
    assert_eq!(violations("Nothing then Fetch in 100us"), [None]);
    for wrong in [
        "A then B",
        "A then B in 2",
        "A in 2s",
        " then B in 2s",
        "A then B in 99999999999999999999s",
    ] {
        assert!(wrong.parse::<Within>().is_err(), "{wrong}");
    }
}

#[test]
fn latencies_are_those_of_the_rows() {
    let stats = stats(&model(&lines()));
    assert_eq!((stats.rows, stats.elapsed_ns), (7, 202.0));
    let persist = &stats.messages[0];
    assert_eq!((persist.type_name.as_str(), persist.count), ("Persist", 2));
    assert_eq!((persist.wait.p50_ns, persist.wait.max_ns), (1.0, 2.0));
    assert_eq!((persist.late.known, persist.late.p99_ns), (1, 9.0));
    assert_eq!(persist.slowest_row, Some(5));
    let store = stats.lanes.iter().find(|lane| lane.lane == "store").unwrap();
    assert_eq!((store.count, store.busy_ns), (2, 11.0));
}

#[test]
fn two_runs_are_compared_by_hash() {
    let (a, mut changed) = (model(&lines()), lines());
    assert!(
        diff(("a", &a), ("b", &a))
            .blocks
            .iter()
            .all(|block| block.missing.is_empty() && block.elapsed_ns[0] == block.elapsed_ns[1])
    );
    changed[9] = changed[9].replace("Persist", "Keep");
    changed[11] = changed[11].replace(r#""a":9"#, r#""a":19"#);
    let b = model(&changed);
    let diff = diff(("a", &a), ("b", &b));
    let five = diff.blocks.iter().find(|block| block.hash == hash(5)).unwrap();
    assert_eq!(five.number, Some(5));
    assert_eq!(five.elapsed_ns, [Some(120.0), Some(130.0)]);
    assert_eq!(
        (five.missing.as_slice(), five.extra.as_slice()),
        (&["Persist".to_owned()][..], &["Keep".to_owned()][..])
    );
    let persist = diff.messages.iter().find(|message| message.type_name == "Persist").unwrap();
    assert_eq!(persist.count, [2, 1]);
}
