use moorline_trace::{
    Feed, check::Severity, diff::diff as compare, follow::follow, stats::stats as count,
};

use super::*;

const HEADER: &str = r#"{"v":1,"k":"hdr","run":"r","by":"t","t0_unix_ns":"1700000000000000000","clock":"real","segment":0,"ports":[{"p":1,"name":"tree requests","to":"tree","items":8,"bytes":1000},{"p":2,"name":"store requests","to":"store","items":4,"bytes":1000}]}
"#;

/// A block is told of and stored; a timer rings; the store's second message is dropped, and one is lost.
const BODY: &str = r#"{"q":0,"t":1000,"k":"send","f":"engine-api","to":"tree","m":"NewPayload","id":1,"p":1,"d":1,"key":{"n":7}}
{"q":1,"t":3000,"k":"send","f":"tree","to":"store","m":"Persist","id":2,"c":1,"r":1,"p":2,"d":1,"key":{"n":7}}
{"q":2,"t":3500,"k":"send","f":"tree","to":"store","m":"Walk","id":3,"c":1,"r":1,"p":2,"d":2,"note":"geth\u0007"}
{"q":3,"t":4000,"k":"done","to":"tree","m":"NewPayload","id":1,"p":1,"w":500,"b":2500}
{"q":4,"t":9000,"k":"done","to":"store","m":"Persist","id":2,"p":2,"d":1,"w":1000,"b":2000,"a":3000000}
{"q":5,"t":9500,"k":"drop","to":"store","m":"Walk","id":3,"p":2,"w":6000}
{"q":6,"t":2500000,"k":"timer","to":"tree","m":"timer: due","id":4}
{"q":7,"t":2501000,"k":"done","to":"tree","m":"timer: due","id":4,"b":1000,"bad":true}
{"q":8,"t":2600000,"k":"send","f":"store","to":"tree","m":"StoreOutcome::Persisted","id":5,"c":2,"r":1,"p":1,"d":8,"key":{"n":7}}
{"q":9,"t":2700000,"k":"refuse","f":"engine-api","to":"tree","m":"NewPayload","p":1,"d":8,"why":"full"}
{"q":10,"t":2800000,"k":"panic","to":"store","note":"boom\u001b[2J"}
{"q":13,"t":9000000,"k":"stop","to":"tree"}
"#;

fn model(body: &str) -> Model {
    let mut feed = Feed::new();
    feed.begin_file("run.jsonl");
    feed.push(HEADER.as_bytes());
    feed.push(body.as_bytes());
    let mut model = Model::new();
    model.absorb(&feed.take());
    assert_eq!(model.skipped(), []);
    model
}

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let rows = [vec!["a".into(), "12345".into()], vec!["longer".into(), "1".into()]];
    assert_eq!(table(&["x", "n"], &rows), "x           n\na       12345\nlonger      1\n");
}

#[test]
fn what_would_steer_a_terminal_is_shown_and_not_obeyed() {
    let tamed = tame("\u{1b}[2J\u{202e}geth\r\n");
    assert_eq!(tamed, "\\u{1b}[2J\\u{202e}geth\\u{d}\\u{a}");
}

#[test]
fn stats_are_three_tables() {
    assert_eq!(
        stats(&count(&model(BODY))),
        r"5 rows in 9.0 ms; 2 records are missing

message                  count  open  dropped  panicked  bad  wait p50  wait p99  busy p50  busy p99  busy max  async p99
NewPayload                   1     0        0         0    0    500 ns    500 ns    2.5 us    2.5 us    2.5 us          -
Persist                      1     0        0         0    0    1.0 us    1.0 us    2.0 us    2.0 us    2.0 us     3.0 ms
StoreOutcome::Persisted      1     1        0         0    0         -         -         -         -         -          -
Walk                         1     0        1         0    0    6.0 us    6.0 us         -         -         -          -
timer: due                   1     0        0         1    1         -         -    1.0 us    1.0 us    1.0 us          -

lane   messages    busy  panics  refused
tree          3  0.04 %       0        1
store         2  0.02 %       1        0

port            to     messages  deepest  limit
tree requests   tree          2        8      8
store requests  store         2        2      4
"
    );
}

#[test]
fn findings_are_a_line_each_and_none_is_said() {
    let finding = |severity, count, t_ns, what: &str| Finding {
        severity,
        what: what.to_owned(),
        count,
        row: None,
        t_ns,
    };
    let found = [
        finding(Severity::Error, 12, 2_800_000.0, "store panicked: boom\u{1b}[2J"),
        finding(Severity::Warning, 1, 3_500.0, "Walk to store was dropped and never handled"),
        finding(Severity::Info, 1, 2_700_000.0, "a port of tree took no more: full"),
    ];
    assert_eq!(
        findings(&found),
        r"severity  count  first at  what
error        12    2.8 ms  store panicked: boom\u{1b}[2J
warning       1    3.5 us  Walk to store was dropped and never handled
info          1    2.7 ms  a port of tree took no more: full
"
    );
    assert_eq!(findings(&[]), "nothing is wrong\n");
}

#[test]
fn what_was_followed_is_its_hops_and_the_split_of_the_critical_path() {
    let model = model(BODY);
    assert_eq!(
        followed(&model, &follow(&model, &"7".parse().unwrap())),
        r"3 hops; nothing says that it is on disk; the last was StoreOutcome::Persisted at 2.6 ms

message                  hop  from        to         at  parent  via    wait    busy  note
NewPayload                 0  engine-api  tree   1.0 us       -    0  500 ns  2.5 us
Persist                    1  tree        store  3.0 us       0    0  1.0 us  2.0 us
StoreOutcome::Persisted    2  store       tree   2.6 ms       1    0       -       -

the critical path

message      queue  handling  others  network   async   total
NewPayload  500 ns    1.5 us    0 ns     0 ns    0 ns  2.0 us
Persist     1.0 us    2.0 us    0 ns     0 ns  3.0 ms  3.0 ms
all         1.5 us    3.5 us    0 ns     0 ns  3.0 ms  3.0 ms
"
    );
    // what is on disk is a body, and not only what led to it
    let bodies = BODY.replace(r#""m":"Persist""#, r#""m":"Persist::Bodies""#);
    let model = self::model(&bodies);
    let text = followed(&model, &follow(&model, &"7".parse().unwrap()));
    assert!(text.starts_with("3 hops; on disk at 2.6 ms\n"), "{text}");
    assert!(text.contains("\nStoreOutcome::Persisted    0 ns"), "{text}");
    let none = follow(&model, &"8".parse().unwrap());
    assert_eq!(followed(&model, &none), "nothing in this trace names it\n");
}

#[test]
fn two_runs_stand_beside_one_another() {
    let key =
        r#""key":{"n":7,"h":"0x1111111111111111111111111111111111111111111111111111111111111111"}"#;
    let a = BODY.replace(r#""key":{"n":7}"#, key);
    let b = a.replace(r#""w":500,"b":2500"#, r#""w":900,"b":5000"#).replace("\"Walk\"", "\"Find\"");
    let (a, b) = (model(&a), model(&b));
    assert_eq!(
        diff(&compare(("one\u{7}", &a), ("other", &b))),
        r"A is one\u{7}
B is other

message                  count A  count B  busy p99 A  busy p99 B  wait p99 A  wait p99 B
Find                           0        1           -           -           -      6.0 us
NewPayload                     1        1      2.5 us      5.0 us      500 ns      900 ns
Persist                        1        1      2.0 us      2.0 us      1.0 us      1.0 us
StoreOutcome::Persisted        1        1           -           -           -           -
Walk                           1        0           -           -      6.0 us           -
timer: due                     1        1      1.0 us      1.0 us           -           -

1 blocks compared

block           number  elapsed A  elapsed B  hops A  hops B
0x111111111111       7     3.0 ms     3.0 ms       3       3
"
    );
}
