//! The table of peers, as text.

use std::cmp::Reverse;

use console::{measure_text_width, truncate_str};
use moorline_messages::PeerOrigin;
use moorline_rpc::{AdminPeer, NodePeers};

use super::View;

/// Room for text, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The widest and the narrowest that names of clients are shown.
const CLIENT_WIDTHS: (usize, usize) = (12, 40);
/// Of an id, as logs show it.
const ID_DIGITS: usize = 8;
const GAP: &str = "  ";

struct Column {
    title: &'static str,
    width: usize,
    /// Numbers stand to the right.
    right: bool,
    cell: fn(&AdminPeer) -> String,
}

/// Columns after id and client, the one that goes first where there is little room at the end.
const COLUMNS: [Column; 10] = [
    Column { title: "dir", width: 3, right: false, cell: direction },
    Column { title: "score", width: 7, right: true, cell: score },
    Column { title: "rate", width: 8, right: true, cell: rate },
    Column {
        title: "fly",
        width: 3,
        right: true,
        cell: |peer| peer.moorline.in_flight.to_string(),
    },
    Column { title: "bad", width: 3, right: true, cell: |peer| short_count(peer.moorline.faults) },
    Column { title: "why", width: 10, right: false, cell: why },
    Column { title: "delay", width: 7, right: true, cell: delay },
    Column {
        title: "eth",
        width: 3,
        right: true,
        cell: |peer| peer.protocols.eth.version.to_string(),
    },
    Column { title: "range", width: 19, right: true, cell: range },
    Column {
        title: "address",
        width: 21,
        right: false,
        cell: |peer| peer.network.remote_address.to_string(),
    },
];

/// In the order in which they are shown.
const ORDER: [&str; 10] =
    ["address", "dir", "eth", "range", "score", "rate", "delay", "bad", "fly", "why"];

/// Draws all that fits.
pub(super) fn draw(view: &View, size: Size) -> String {
    let mut lines = wrapped(heading(view), size.columns);
    let (shown, client) = columns_for(size.columns);
    lines.push(row("id", "client", client, &shown, |column| column.title.to_owned()));
    let mut peers: Vec<_> = view.peers.iter().collect();
    // the best first, those that never answered last
    peers.sort_by_key(|peer| {
        let never = peer.moorline.score_ms.is_none();
        (never, peer.moorline.score_ms, Reverse(peer.moorline.served_bytes))
    });
    let room = size.rows.saturating_sub(lines.len());
    let all_fit = peers.len() <= room;
    let count = if all_fit { peers.len() } else { room.saturating_sub(1) };
    for peer in peers.iter().take(count) {
        let name = shortened(&printable(&peer.name), client);
        lines.push(row(&id(peer), &name, client, &shown, |column| (column.cell)(peer)));
    }
    lines.truncate(size.rows);
    if !all_fit && lines.len() < size.rows {
        lines.push(format!("and {} more", peers.len().saturating_sub(count)));
    }
    lines
        .iter()
        .map(|line| truncate_str(line.trim_end(), size.columns, ""))
        .collect::<Vec<_>>()
        .join("\n")
}

fn heading(view: &View) -> Vec<String> {
    // those that the operator named are beyond the bounds
    let is_named = |peer: &&AdminPeer| peer.network.is_static || peer.network.trusted;
    let named = view.peers.iter().filter(is_named).count();
    let others = || view.peers.iter().filter(|peer| !is_named(peer));
    let inbound = others().filter(|peer| peer.network.inbound).count();
    let outbound = others().count().saturating_sub(inbound);
    let NodePeers { peers_max, inbound_max, dialling, candidates, banned, queued, .. } =
        view.node.moorline;
    vec![
        format!("{} of {peers_max} peers", others().count()),
        format!("{inbound} in (of {inbound_max})"),
        format!("{outbound} out"),
        format!("{named} named"),
        format!("{dialling} dialling"),
        format!("{candidates} candidates"),
        format!("{banned} banned"),
        format!("{queued} requests queued"),
    ]
}

/// As many on each line as fit.
fn wrapped(words: Vec<String>, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len().saturating_add(word.len()).saturating_add(2) <= columns => {
                line.push_str(", ");
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Which columns fit, in the order in which they are shown, and how wide the names of clients may be.
fn columns_for(columns: usize) -> (Vec<&'static Column>, usize) {
    let (narrowest, widest) = CLIENT_WIDTHS;
    let mut left =
        columns.saturating_sub(ID_DIGITS).saturating_sub(GAP.len()).saturating_sub(narrowest);
    let mut fitting = Vec::new();
    for column in &COLUMNS {
        let needed = GAP.len().saturating_add(column.width);
        let Some(rest) = left.checked_sub(needed) else { break };
        left = rest;
        fitting.push(column);
    }
    let shown = ORDER
        .iter()
        .filter_map(|title| fitting.iter().copied().find(|column| column.title == *title));
    (shown.collect(), narrowest.saturating_add(left).min(widest))
}

fn row(
    id: &str,
    client: &str,
    client_width: usize,
    columns: &[&Column],
    cell: impl Fn(&Column) -> String,
) -> String {
    let mut line = format!("{id:<ID_DIGITS$}{GAP}{}", padded(client, client_width, false));
    for column in columns {
        line.push_str(GAP);
        let text = shortened(&cell(column), column.width);
        line.push_str(&padded(&text, column.width, column.right));
    }
    line
}

fn padded(text: &str, width: usize, right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(measure_text_width(text)));
    if right { format!("{fill}{text}") } else { format!("{text}{fill}") }
}

fn shortened(text: &str, width: usize) -> String {
    truncate_str(text, width, "…").into_owned()
}

/// What a peer calls itself may hold what a terminal obeys, or turns around.
fn printable(name: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().filter(|c| !c.is_control() && !turns(*c)).collect()
}

fn id(peer: &AdminPeer) -> String {
    peer.enode.id.to_string()
}

fn direction(peer: &AdminPeer) -> String {
    if peer.network.inbound { "in" } else { "out" }.to_owned()
}

fn score(peer: &AdminPeer) -> String {
    peer.moorline.score_ms.map_or_else(|| "-".to_owned(), short_ms)
}

fn delay(peer: &AdminPeer) -> String {
    peer.moorline.delay_ms.map_or_else(|| "-".to_owned(), short_ms)
}

fn rate(peer: &AdminPeer) -> String {
    let bytes = peer.moorline.bytes_per_second;
    match bytes {
        0 => "0".to_owned(),
        1..1_000 => format!("{bytes} B/s"),
        1_000..1_000_000 => format!("{} kB/s", bytes / 1_000),
        _ => format!("{:.1} MB/s", bytes as f64 / 1e6),
    }
}

fn range(peer: &AdminPeer) -> String {
    let eth = &peer.protocols.eth;
    match (eth.earliest_block, eth.latest_block) {
        (Some(earliest), Some(latest)) => format!("{earliest}-{latest}"),
        _ => "-".to_owned(),
    }
}

fn why(peer: &AdminPeer) -> String {
    match peer.moorline.origin {
        PeerOrigin::Static => "static",
        PeerOrigin::Trusted => "trusted",
        PeerOrigin::Remembered => "remembered",
        PeerOrigin::Discv4 => "discv4",
        PeerOrigin::Discv5 => "discv5",
        PeerOrigin::Dns => "dns",
        PeerOrigin::Inbound => "inbound",
    }
    .to_owned()
}

fn short_ms(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..10_000_000 => format!("{} s", ms / 1_000),
        _ => "hours".to_owned(),
    }
}

fn short_count(count: u64) -> String {
    if count > 999 { "1k+".to_owned() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node() -> Value {
        json!({"id": "00", "name": "moorline", "enode": "", "ip": "127.0.0.1",
            "ports": {"discovery": 1, "listener": 2}, "listenAddr": "",
            "protocols": {"eth": {"network": 1, "genesis": format!("0x{}", "00".repeat(32)),
                "head": format!("0x{}", "00".repeat(32))}},
            "moorline": {"peersMax": 50, "inboundMax": 30, "dialling": 3, "candidates": 128,
                "banned": 2, "queued": 17, "dials": 0, "dialFailures": 0, "refused": 0,
                "timeouts": 0, "bans": 0}})
    }

    fn peer(byte: u8, client: &str, score_ms: Option<u64>) -> Value {
        json!({"enode": format!("enode://{}@192.168.100.200:30303", format!("{byte:02x}").repeat(64)),
            "id": "00", "name": client, "caps": ["eth/69"],
            "network": {"remoteAddress": "192.168.100.200:30303", "inbound": byte.is_multiple_of(2),
                "trusted": false, "static": false},
            "protocols": {"eth": {"version": 69, "earliestBlock": 0, "latestBlock": 23_812_345,
                "latestBlockHash": format!("0x{}", "00".repeat(32))}},
            "moorline": {"origin": "discv4", "connectedSeconds": 61, "scoreMs": score_ms,
                "delayMs": score_ms, "headers": null, "bodies": null, "receipts": null,
                "faults": 1, "inFlight": 4, "servedItems": 5, "servedBytes": 6,
                "bytesPerSecond": 3_456_789}})
    }

    fn view(peers: &[Value]) -> View {
        View {
            node: serde_json::from_value(node()).unwrap(),
            peers: serde_json::from_value(Value::from(peers.to_vec())).unwrap(),
        }
    }

    fn many() -> View {
        let client = "Geth/v1.17.5-stable-01234567/linux-amd64/go1.26.1";
        let peers: Vec<_> =
            (1..=48).map(|byte| peer(byte, client, Some(u64::from(byte)))).collect();
        view(&peers)
    }

    #[test]
    fn a_table_fits_its_terminal_and_says_how_many_do_not() {
        for (columns, rows) in [(80, 23), (200, 49), (40, 10), (132, 40), (10, 5)] {
            let text = draw(&many(), Size { columns, rows });
            assert!(text.lines().count() <= rows, "{columns}x{rows}: {text}");
            let widest = text.lines().map(measure_text_width).max().unwrap();
            assert!(widest <= columns, "{columns}x{rows}: {text}");
        }
        let small = draw(&many(), Size { columns: 80, rows: 23 });
        assert!(small.ends_with("and 29 more"), "{small}");
        assert!(!small.contains("address"), "{small}");
        let large = draw(&many(), Size { columns: 200, rows: 60 });
        assert!(!large.contains("more"), "{large}");
        for column in &COLUMNS {
            assert!(large.contains(column.title), "{} in {large}", column.title);
        }
    }

    #[test]
    fn the_best_stand_first_and_those_that_never_answered_last() {
        let view = view(&[peer(1, "a", None), peer(2, "b", Some(90)), peer(3, "c", Some(20))]);
        let text = draw(&view, Size { columns: 80, rows: 24 });
        let ids: Vec<_> = text.lines().skip(3).map(|line| &line[..2]).collect();
        assert_eq!(ids, ["03", "02", "01"], "{text}");
        assert!(text.starts_with("3 of 50 peers, 1 in (of 30), 2 out, 0 named, 3 dialling"));
    }

    #[test]
    fn what_a_peer_calls_itself_moves_no_column() {
        let names =
            ["\u{1b}[2J\u{7}evil", "\u{202e}turned", "日本語のクライアント名がとても長い", ""];
        let peers: Vec<_> =
            names.iter().zip(1..).map(|(name, byte)| peer(byte, name, Some(1))).collect();
        let text = draw(&view(&peers), Size { columns: 100, rows: 24 });
        assert!(
            !text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{text:?}"
        );
        let places: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once("3.5 MB/s"))
            .map(|(before, _)| measure_text_width(before))
            .collect();
        assert_eq!(places.len(), names.len());
        assert!(places.windows(2).all(|pair| pair.first() == pair.last()), "{text}");
    }
}
