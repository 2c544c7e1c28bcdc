#![allow(clippy::arithmetic_side_effects)]

use moorline_trace::Feed;
use serde_json::Value;

use super::*;

fn push(watched: &Watched, feed: &mut Feed, text: &str) {
    feed.push(text.as_bytes());
    watched.absorb(&feed.take());
}

fn message(encoder: &mut Encoder, watched: &Watched) -> (Value, Vec<u8>) {
    let mut all = Vec::new();
    while let Some(chunk) = encoder.next_chunk(&watched.look()).unwrap() {
        all.extend(chunk);
    }
    let length = u32::from_le_bytes(all[..4].try_into().unwrap()) as usize;
    let body = 8 + length.next_multiple_of(8);
    (serde_json::from_slice(&all[8..8 + length]).unwrap(), all.split_off(body))
}

fn column<'a>(json: &Value, body: &'a [u8], name: &str, item_bytes: usize) -> Option<&'a [u8]> {
    let place = json["columns"].as_array().unwrap().iter().find(|c| c["name"] == name)?;
    let (at, items) = (place["offset"].as_u64()? as usize, place["length"].as_u64()? as usize);
    assert_eq!(at % 8, 0, "{name} begins between");
    Some(&body[at..at + items * item_bytes])
}

fn f64s(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks(8).map(|item| f64::from_le_bytes(item.try_into().unwrap())).collect()
}

const HEADER: &str = r#"{"v":1,"k":"hdr","run":"r","by":"t","t0_unix_ns":"1700000000000000000","clock":"real","segment":0,"ports":[]}
"#;

#[test]
fn all_rows_come_back_out_of_the_whole() {
    let watched = Watched::new("here", Model::new(), false, None);
    let mut feed = Feed::new();
    push(&watched, &mut feed, HEADER);
    push(
        &watched,
        &mut feed,
        "{\"q\":0,\"t\":5,\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"A</script>\",\"id\":1}\n\
         {\"q\":1,\"t\":7,\"k\":\"send\",\"f\":\"tree\",\"to\":\"store\",\"m\":\"B\",\"id\":2,\"c\":1,\"r\":1,\"note\":\"<b>\"}\n\
         {\"q\":2,\"t\":9,\"k\":\"done\",\"to\":\"tree\",\"m\":\"A\",\"id\":1,\"w\":3,\"b\":4}\n",
    );
    let (json, body) = message(&mut Encoder::whole(&watched, &watched.look()), &watched);
    assert_eq!((json["rows"].as_u64(), json["first_row"].as_u64()), (Some(2), Some(0)));
    assert_eq!(json["run"], "r");
    assert_eq!(json["types"][0], "A</script>");
    assert_eq!(f64s(column(&json, &body, "t", 8).unwrap()), [5.0, 7.0]);
    assert_eq!(column(&json, &body, "state", 1).unwrap(), [1, 0]);
    let cause = column(&json, &body, "cause", 4).unwrap();
    assert_eq!(cause, [&(-1_i32).to_le_bytes()[..], &0_i32.to_le_bytes()[..]].concat());
    assert_eq!(body.len() % 8, 0);
}

#[test]
fn changes_hold_new_rows_and_complete_old_ones() {
    let watched = Watched::new("here", Model::new(), true, None);
    let mut feed = Feed::new();
    push(&watched, &mut feed, HEADER);
    push(
        &watched,
        &mut feed,
        "{\"q\":0,\"t\":5,\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"A\",\"id\":1}\n",
    );
    let (generation, version) = (watched.look().generation(), watched.look().model().version());
    push(
        &watched,
        &mut feed,
        "{\"q\":1,\"t\":9,\"k\":\"done\",\"to\":\"tree\",\"m\":\"A\",\"id\":1,\"w\":3,\"b\":4}\n\
         {\"q\":2,\"t\":11,\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"A\",\"id\":2}\n",
    );
    let mut encoder = Encoder::changes(&watched, &watched.look(), generation, version);
    let (json, body) = message(&mut encoder, &watched);
    assert_eq!((json["first_row"].as_u64(), json["rows"].as_u64()), (Some(1), Some(2)));
    assert_eq!(f64s(column(&json, &body, "t", 8).unwrap()), [11.0]);
    assert_eq!(column(&json, &body, "patched", 4).unwrap(), 0_u32.to_le_bytes());
    assert_eq!(column(&json, &body, "patched_busy", 4).unwrap(), 4_f32.to_le_bytes());
    assert_eq!(column(&json, &body, "patched_state", 1).unwrap(), [1]);

    let mut encoder = Encoder::changes(&watched, &watched.look(), generation + 1, version);
    let (json, _) = message(&mut encoder, &watched);
    assert_ne!(json["generation"].as_u64(), Some(generation), "a stale page was not told");
}

#[test]
fn a_message_larger_than_a_piece_is_whole() {
    let watched = Watched::new("here", Model::new(), false, None);
    let mut feed = Feed::new();
    let rows = 200_001_u64;
    let lines: String = (0..rows)
        .map(|n| format!("{{\"q\":{n},\"t\":{n},\"k\":\"send\",\"f\":\"rlpx\",\"to\":\"tree\",\"m\":\"A\",\"id\":{}}}\n", n + 1))
        .collect();
    push(&watched, &mut feed, &lines);
    let mut encoder = Encoder::whole(&watched, &watched.look());
    let (json, body) = message(&mut encoder, &watched);
    let expected: Vec<f64> = (0..rows).map(|n| n as f64).collect();
    assert_eq!(f64s(column(&json, &body, "t", 8).unwrap()), expected);
    assert_eq!(f64s(column(&json, &body, "id", 8).unwrap()).last(), Some(&(rows as f64)));
}

#[test]
fn rows_that_are_renumbered_meanwhile_end_the_message() {
    let watched = Watched::new("here", Model::new(), true, None);
    push(&watched, &mut Feed::new(), HEADER);
    let mut encoder = Encoder::whole(&watched, &watched.look());
    watched.restart();
    assert_eq!(encoder.next_chunk(&watched.look()), Err(Renumbered));
}

const H1: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const H2: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// Two rows of which each field has a value of its own.
fn two_rows() -> String {
    format!(
        concat!(
            r#"{{"q":0,"t":5,"k":"send","f":"rlpx","to":"tree","m":"A","id":11}}"#,
            "\n",
            r#"{{"q":1,"t":7,"k":"send","f":"tree","to":"store","m":"B","id":12,"c":11,"r":11,"p":6,"d":9,"sz":99,"bad":true,"note":"geth","#,
            r#""key":{{"n":20,"to":21,"h":"0x{}","hs":["0x{}","0x{}"],"p":"00000000000000ff","s":31,"of":"c"}}}}"#,
            "\n",
            r#"{{"q":2,"t":9,"k":"done","to":"store","m":"B","id":12,"p":6,"d":8,"w":3,"b":4,"a":2}}"#,
            "\n",
        ),
        H1, H1, H2
    )
}

fn items(json: &Value, body: &[u8], name: &str) -> Vec<f64> {
    let all = json["columns"].as_array().unwrap();
    let kind = all.iter().find(|c| c["name"] == name).map(|c| c["type"].as_str().unwrap());
    let bytes = |size| column(json, body, name, size).unwrap().chunks(size);
    match kind.unwrap() {
        "f64" => f64s(column(json, body, name, 8).unwrap()),
        "f32" => bytes(4).map(|item| f32::from_le_bytes(item.try_into().unwrap()).into()).collect(),
        "i32" => bytes(4).map(|item| i32::from_le_bytes(item.try_into().unwrap()).into()).collect(),
        "u32" => bytes(4).map(|item| u32::from_le_bytes(item.try_into().unwrap()).into()).collect(),
        "u16" => bytes(2).map(|item| u16::from_le_bytes(item.try_into().unwrap()).into()).collect(),
        kind => {
            assert_eq!(kind, "u8", "{name}");
            bytes(1).map(|item| f64::from(item[0])).collect()
        }
    }
}

#[test]
fn each_column_holds_what_its_name_says() {
    let watched = Watched::new("here", Model::new(), false, None);
    push(&watched, &mut Feed::new(), &(HEADER.to_owned() + &two_rows()));
    let (json, body) = message(&mut Encoder::whole(&watched, &watched.look()), &watched);
    assert_eq!((&json["skipped"], &json["rows"]), (&Value::Array(Vec::new()), &2.into()));
    let lane = |name: &str| {
        json["lanes"].as_array().unwrap().iter().position(|l| l == name).unwrap() as f64
    };
    let second = [
        ("t", 7.0),
        ("wait", 3.0),
        ("busy", 4.0),
        ("late", 2.0),
        ("kind", 0.0),
        ("state", 1.0),
        ("bad", 1.0),
        ("from", lane("tree")),
        ("to", lane("store")),
        ("type", 1.0),
        ("port", 6.0),
        ("depth", 9.0),
        ("depth_after", 8.0),
        ("bytes", 99.0),
        ("id", 12.0),
        ("cause", 0.0),
        ("root", 0.0),
        ("note", 1.0),
        ("low", 20.0),
        ("high", 21.0),
        ("hash", 1.0),
        ("len", 0.0),
        ("list_at", 0.0),
        ("list_len", 2.0),
        ("inherits", 1.0),
        ("peer", 1.0),
        ("session", 31.0),
    ];
    for (name, expected) in second {
        assert_eq!(items(&json, &body, name).get(1), Some(&expected), "{name}");
    }
    let per_row = json["columns"].as_array().unwrap().iter().filter(|c| c["length"] == 2);
    assert_eq!(per_row.count(), second.len() + 3, "a column that is not looked at");
    assert_eq!(items(&json, &body, "list_hash"), [1.0, 2.0]);
    assert_eq!(items(&json, &body, "list_number"), [21.0, 20.0]);
    let hashes = [[0x11_u8; 32], [0x22_u8; 32]].concat();
    assert_eq!(column(&json, &body, "hashes", 1), Some(&hashes[..]));
    assert_eq!(items(&json, &body, "root")[0], -1.0);
    assert!(items(&json, &body, "session")[0].is_nan());
}

#[test]
fn changes_hold_new_hashes_alone_and_each_field_that_completes_a_row() {
    let watched = Watched::new("here", Model::new(), true, None);
    let mut feed = Feed::new();
    let rows = two_rows();
    let (begun, done) = rows.split_at(rows.find(r#"{"q":2"#).unwrap());
    push(&watched, &mut feed, HEADER);
    push(&watched, &mut feed, begun);
    let (generation, version) = (watched.look().generation(), watched.look().model().version());
    let third = two_rows().lines().nth(1).unwrap().replace("\"q\":1", "\"q\":3");
    let third = third.replace("\"id\":12", "\"id\":13").replace(H2, &H2.replace('2', "3"));
    push(&watched, &mut feed, &format!("{done}{third}\n"));
    let mut encoder = Encoder::changes(&watched, &watched.look(), generation, version);
    let (json, body) = message(&mut encoder, &watched);
    assert_eq!((&json["first_row"], &json["first_hash"]), (&2.into(), &2.into()));
    assert_eq!(column(&json, &body, "hashes", 1), Some(&[0x33_u8; 32][..]));
    assert_eq!(
        (&json["first_entry"], items(&json, &body, "list_hash")),
        (&2.into(), vec![1.0, 3.0])
    );
    for (name, expected) in [
        ("patched", 1.0),
        ("patched_wait", 3.0),
        ("patched_busy", 4.0),
        ("patched_late", 2.0),
        ("patched_state", 1.0),
        ("patched_bad", 1.0),
        ("patched_depth_after", 8.0),
    ] {
        assert_eq!(items(&json, &body, name), [expected], "{name}");
    }
}
