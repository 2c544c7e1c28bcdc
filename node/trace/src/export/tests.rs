//! What other tools are given.

use serde_json::Value;

use crate::{Feed, Model};

use super::{MAX_SPANS, otlp, perfetto};

fn model(rows: u64) -> Model {
    let (mut feed, mut model) = (Feed::new(), Model::new());
    feed.push(br#"{"v":1,"k":"hdr","run":"r","t0_unix_ns":"1000"}"#);
    feed.push(b"\n");
    for id in 1..=rows {
        let cause = id.saturating_sub(1);
        let links = if id > 1 { format!(r#","c":{cause},"r":1"#) } else { String::new() };
        let t = id.saturating_mul(10);
        feed.push(format!("{{\"q\":{id},\"t\":{t},\"k\":\"send\",\"f\":\"tree\",\"to\":\"store\",\"m\":\"A\",\"id\":{id}{links}}}\n").as_bytes());
    }
    feed.push(b"{\"q\":99999,\"t\":99,\"k\":\"done\",\"to\":\"store\",\"id\":2,\"w\":3,\"b\":4,\"a\":5,\"bad\":true}\n");
    model.absorb(&feed.take());
    model
}

fn spans(model: &Model) -> Vec<Vec<Value>> {
    let mut out = Vec::new();
    otlp(model, &mut out).unwrap();
    String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| {
            let request: Value = serde_json::from_str(line).unwrap();
            let resources = request["resourceSpans"].as_array().unwrap().clone();
            let spans =
                resources.iter().flat_map(|r| r["scopeSpans"][0]["spans"].as_array().unwrap());
            spans.cloned().collect()
        })
        .collect()
}

#[test]
fn a_span_says_when_how_and_because_of_what() {
    let traces = spans(&model(3));
    assert_eq!(traces.len(), 1);
    let [first, second, _] = &traces[0][..] else { panic!() };
    assert_eq!(second["startTimeUnixNano"], "1020");
    assert_eq!(second["endTimeUnixNano"], "1032");
    assert_eq!(second["parentSpanId"], first["spanId"]);
    assert_eq!(second["links"][0]["spanId"], first["spanId"]);
    assert_eq!(second["status"]["code"], 2);
    assert!(first.get("parentSpanId").is_none());
    assert_eq!(first["traceId"].as_str().unwrap().len(), 32);
}

#[test]
fn a_trigger_that_led_to_very_much_is_split() {
    let traces = spans(&model(4500));
    let sizes: Vec<_> = traces.iter().map(Vec::len).collect();
    assert_eq!(sizes, [MAX_SPANS, MAX_SPANS, 500]);
    assert_ne!(traces[0][0]["traceId"], traces[1][0]["traceId"]);
    // its cause is in the trace before
    assert!(traces[1][0].get("parentSpanId").is_none());
    assert!(traces[1][0].get("links").is_some());
}

#[test]
fn a_perfetto_file_is_a_series_of_packets() {
    let mut out = Vec::new();
    perfetto(&model(3), &mut out).unwrap();
    assert_eq!(out.first(), Some(&0x0a));
    assert!(out.windows(5).any(|window| window == b"store"));
}
