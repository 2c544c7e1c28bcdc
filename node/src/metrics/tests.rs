//! Metrics over real HTTP.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use alloy_primitives::B512;
use moorline_discovery::{Discovery, DiscoveryConfig, DiscoveryHandle, Mechanisms};
use moorline_kit::{Inbox, Limit};
use moorline_messages::{
    BlockNumHash, Direction, PeerCounts, PeerId, PeerOrigin, PeerPace, PeerSummary, ProgressReport,
    StoreQuery, TreeReport, TreeTarget,
};
use moorline_rlpx::{NetworkCounters, UnfinishedReceipts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

const PATIENT: Duration = Duration::from_secs(10);
/// No request of a test takes as long as this where nobody holds it up.
const IN_TIME: Duration = Duration::from_secs(30);

struct Rig {
    handle: MetricsHandle,
    seen: watch::Sender<Observed>,
    port: Port<StoreQuery>,
    /// Keeps what is told.
    _inbox: Inbox<StoreQuery>,
}

impl Rig {
    async fn showing(seen: Observed) -> Self {
        Self::patient_for(seen, PATIENT).await
    }

    async fn patient_for(seen: Observed, patience: Duration) -> Self {
        let (seen, watched) = watch::channel(seen);
        let limit = Limit::new(64, 1 << 20);
        let (port, inbox) = Port::channel("store queries", limit);
        let queues = vec![Queue::of(&port)];
        let (budget, unfinished) = (Budget::default(), UnfinishedReceipts::default());
        let discovery = Some(discovery().await.view());
        let network = NetworkCounters::default();
        let metrics = Metrics { watched, budget, unfinished, network, queues, discovery };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let handle = metrics.serve_patiently(addr, patience).await.unwrap();
        Self { handle, seen, port, _inbox: inbox }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.handle.local_addr()).await.unwrap()
    }

    /// What is answered to these bytes until the connection ends.
    async fn answer_to(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // a server that has heard enough may close while it is still told more
        drop(stream.write_all(request).await);
        rest_of(stream).await
    }

    async fn scrape(&self) -> Scrape {
        let answer = self.answer_to(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        Scrape::read(body)
    }
}

/// One that ends at once: what it says of itself outlives it.
async fn discovery() -> DiscoveryHandle {
    let filter = moorline_rules::ChainSpec::mainnet().fork_filter(alloy_eip2124::Head::default());
    let (_, forks) = watch::channel(filter);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mechanisms = Mechanisms { discv4: true, discv5: false, dns: false };
    let config = DiscoveryConfig { mechanisms, ..DiscoveryConfig::new([7; 32], addr, 0, forks) };
    Discovery::start(config).await.unwrap()
}

async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    drop(timeout(IN_TIME, stream.read_to_end(&mut answer)).await.expect("it is never closed"));
    String::from_utf8(answer).unwrap()
}

/// What was read, line by line, as the format has it.
#[derive(Debug, Default)]
struct Scrape {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    fn read(body: &str) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        let lines = body.strip_suffix("# EOF\n").expect("it ends where it should");
        for line in lines.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect(line);
                assert!(name.starts_with("moorline_") && !text.is_empty(), "{line}");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert_eq!(name, family, "{line}");
                assert!(["gauge", "counter"].contains(&kind), "{line}");
                let before = scrape.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{line} comes twice");
            } else {
                scrape.sample(&family, line);
            }
        }
        scrape
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        let counts = self.families[family] == "counter";
        let expected = if counts { format!("{family}_total") } else { family.to_owned() };
        assert_eq!(name, expected, "{line}");
        read_labels(labels);
        assert_eq!(self.samples.insert(series.to_owned(), value), None, "{line} comes twice");
    }

    fn expect(&self, series: &str, value: f64) {
        assert_eq!(self.samples.get(series), Some(&value), "{series} in {:#?}", self.samples);
    }
}

/// `name="value"` after commas; in a value, a backslash goes before itself, a quote and an n.
fn read_labels(labels: &str) {
    let mut rest = labels;
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{labels}");
        let mut escaped = false;
        let end = value.char_indices().find_map(|(at, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(at)
        });
        let after = &value[end.expect(labels) + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(rest.is_empty() || after.starts_with(','), "{labels}");
    }
}

fn peer(byte: u8, client: &str, delay_ms: Option<u64>) -> PeerSummary {
    PeerSummary {
        id: PeerId(B512::repeat_byte(byte)),
        client: client.to_owned(),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 30_303)),
        direction: Direction::Outbound,
        origin: PeerOrigin::Static,
        connected_s: 60,
        eth_version: 69,
        range: None,
        score_ms: delay_ms.map(|ms| ms * 2),
        delay_ms,
        headers: Some(PeerPace { delay_ms: 30, items_per_s: 700, served_items: 4 }),
        bodies: None,
        receipts: None,
        faults: 2,
        in_flight: 3,
        served_items: 4,
        served_bytes: 5,
        bytes_per_s: 6,
    }
}

#[test]
fn a_peer_that_nothing_is_said_of_is_connected_for_longer_all_the_same() {
    let then = moorline_kit::now();
    let mut seen = Observed { peers_at: Some(then), ..Observed::default() };
    seen.peers.peers = vec![PeerSummary { connected_s: 5, ..peer(1, "geth", None) }];
    let later = seen.peers_now(then + Duration::from_secs(60));
    assert_eq!(later.peers[0].connected_s, 65);
}

fn busy() -> Observed {
    let target = TreeTarget { hash: alloy_primitives::B256::ZERO, number: Some(600) };
    let mut seen = Observed {
        tree: Some(TreeReport {
            tip: BlockNumHash { number: 16, ..BlockNumHash::default() },
            target: Some(target),
            synced: false,
            invalid: false,
            trouble: None,
        }),
        progress: ProgressReport {
            headers: 300,
            blocks: 200,
            receipts: 190,
            bytes: 123_456,
            refetched: 1,
            evicted: 7,
            remaining_headers: 300,
            remaining_blocks: 400,
            highest: 600,
            in_flight: 24,
            in_flight_bytes: 1_000_000,
            buffered_bytes: 2_000_000,
            queued: 512,
            stalled: None,
        },
        store_failures: 3,
        ..Observed::default()
    };
    seen.pace.percent = 25.0;
    seen.pace.eta = Some(Duration::from_millis(1_500));
    seen.restarts.insert(ActorName::PeerManager, 2);
    seen.peers.peers = vec![peer(1, "Geth/v1", Some(52)), peer(2, "reth/v2", None)];
    seen.peers.dialling = 5;
    seen.peers.candidates = 60;
    seen.peers.banned = 7;
    seen.peers.counts =
        PeerCounts { dials: 80, dial_failures: 9, refused: 10, timeouts: 11, bans: 12 };
    seen
}

#[tokio::test]
async fn everything_that_is_reported_is_read_over_http() {
    let rig = Rig::showing(busy()).await;
    rig.port.tell(StoreQuery::Status).unwrap();
    let scrape = rig.scrape().await;
    let usual = Budget::default();
    for (series, value) in [
        ("moorline_tip_block", 16.0),
        ("moorline_highest_block", 600.0),
        ("moorline_target_block", 600.0),
        ("moorline_synced", 0.0),
        ("moorline_headers_total", 300.0),
        ("moorline_blocks_total", 200.0),
        ("moorline_receipts_total", 190.0),
        ("moorline_proved_bytes_total", 123_456.0),
        ("moorline_refetched_blocks_total", 1.0),
        ("moorline_evicted_headers_total", 7.0),
        ("moorline_remaining_headers", 300.0),
        ("moorline_remaining_blocks", 400.0),
        ("moorline_fetches_in_flight", 24.0),
        ("moorline_progress_ratio", 0.25),
        ("moorline_eta_seconds", 1.5),
        ("moorline_in_flight_bytes", 1_000_000.0),
        ("moorline_in_flight_limit_bytes", usual.in_flight_bytes as f64),
        ("moorline_buffered_bytes", 2_000_000.0),
        ("moorline_buffered_limit_bytes", usual.buffer_bytes as f64),
        ("moorline_unfinished_receipts_bytes", 0.0),
        ("moorline_unfinished_receipts_limit_bytes", UnfinishedReceipts::BYTES_MAX as f64),
        ("moorline_queued_blocks", 512.0),
        ("moorline_queued_limit_blocks", usual.queue_items as f64),
        ("moorline_stalled{reason=\"no_peer\"}", 0.0),
        ("moorline_actor_restarts_total{actor=\"peer-manager\"}", 2.0),
        ("moorline_actor_restarts_total{actor=\"store\"}", 0.0),
        ("moorline_store_failures_total", 3.0),
        ("moorline_peers", 2.0),
        ("moorline_connections_turned_away_total{reason=\"subnet\"}", 0.0),
        ("moorline_handshakes_failed_total{direction=\"outbound\",reason=\"silent\"}", 0.0),
        ("moorline_sessions_opened_total{direction=\"inbound\"}", 0.0),
        ("moorline_served_items_total{kind=\"receipts\"}", 0.0),
        ("moorline_served_requests_delayed_total", 0.0),
        ("moorline_peer_delay_seconds{peer=\"0101010101010101\",client=\"Geth/v1\"}", 0.052),
        ("moorline_peer_in_flight{peer=\"0202020202020202\",client=\"reth/v2\"}", 3.0),
        ("moorline_peer_score_seconds{peer=\"0101010101010101\",client=\"Geth/v1\"}", 0.104),
        (
            "moorline_peer_served_items_total{peer=\"0101010101010101\",client=\"Geth/v1\",kind=\"headers\"}",
            4.0,
        ),
        (
            "moorline_peer_kind_delay_seconds{peer=\"0101010101010101\",client=\"Geth/v1\",kind=\"headers\"}",
            0.03,
        ),
        (
            "moorline_peer_kind_items_per_second{peer=\"0101010101010101\",client=\"Geth/v1\",kind=\"headers\"}",
            700.0,
        ),
        ("moorline_peers_connected{direction=\"outbound\",origin=\"static\"}", 2.0),
        ("moorline_peers_connected{direction=\"inbound\",origin=\"inbound\"}", 0.0),
        ("moorline_peers_dialling", 5.0),
        ("moorline_peers_candidates", 60.0),
        ("moorline_peers_banned", 7.0),
        ("moorline_peers_dials_total", 80.0),
        ("moorline_peers_dial_failures_total", 9.0),
        ("moorline_peers_refused_total", 10.0),
        ("moorline_peers_timeouts_total", 11.0),
        ("moorline_peers_bans_total", 12.0),
        ("moorline_discovery_table_nodes{protocol=\"discv4\"}", 0.0),
        ("moorline_discovery_packets_dropped_total{reason=\"unproven\"}", 0.0),
        ("moorline_discovery_candidates_total{via=\"dns\"}", 0.0),
        ("moorline_discovery_refused_total{reason=\"full\"}", 0.0),
        ("moorline_peer_served_bytes_total{peer=\"0101010101010101\",client=\"Geth/v1\"}", 5.0),
        ("moorline_peer_faults_total{peer=\"0101010101010101\",client=\"Geth/v1\"}", 2.0),
        ("moorline_port_waiting_messages{port=\"store queries\"}", 1.0),
        ("moorline_port_limit_messages{port=\"store queries\"}", 64.0),
    ] {
        scrape.expect(series, value);
    }
    let unknown = "moorline_peer_delay_seconds{peer=\"0202020202020202\",client=\"reth/v2\"}";
    assert_eq!(scrape.samples.get(unknown), None, "it never answered");
}

#[tokio::test]
async fn the_manual_names_every_series_and_every_reason_for_a_stall() {
    let manual = include_str!("../../../docs/src/operating.md");
    let scrape = Rig::showing(busy()).await.scrape().await;
    for series in scrape.samples.keys() {
        let name = series.split('{').next().unwrap();
        let named = ["`", "{"].map(|end| manual.contains(&format!("`{name}{end}")));
        assert!(named.contains(&true), "{name} is not in the manual");
    }
    for (_, reason) in finding::DROPS {
        assert!(manual.contains(&format!("`{reason}`")), "{reason}");
    }
    for (_, reason) in finding::REFUSALS {
        assert!(manual.contains(&format!("`{reason}`")), "{reason}");
    }
    for (stall, reason) in REASONS {
        assert!(manual.contains(&format!("| `{stall}` | `{reason}` |")), "{reason}");
    }
}

#[tokio::test]
async fn a_peer_that_left_leaves_no_series_and_a_stall_names_its_reason() {
    let rig = Rig::showing(busy()).await;
    assert!(rig.scrape().await.samples.keys().any(|series| series.contains("Geth")));
    rig.seen.send_modify(|seen| {
        seen.peers.peers.clear();
        seen.pace.eta = None;
        seen.pace.idle = Duration::from_secs(24);
        seen.pace.stalled = Some(Stall::Lacking);
    });
    let scrape = rig.scrape().await;
    assert!(!scrape.samples.keys().any(|series| series.contains("client=")));
    assert_eq!(scrape.samples.get("moorline_eta_seconds"), None);
    scrape.expect("moorline_idle_seconds", 24.0);
    let reasons = scrape.samples.iter().filter(|(series, _)| series.contains("_stalled{"));
    let values: Vec<f64> = reasons.map(|(_, value)| *value).collect();
    assert_eq!((values.len(), values.iter().sum()), (REASONS.len(), 1.0));
    scrape.expect("moorline_stalled{reason=\"lacking\"}", 1.0);
}

#[tokio::test]
async fn what_a_peer_calls_itself_cannot_break_a_line() {
    let mut seen = busy();
    let names =
        ["a\"} 1\nmoorline_tip_block 9\n", "back\\slash", "", "\u{202e}é", &"x".repeat(9_999)];
    seen.peers.peers =
        names.iter().zip(1..).map(|(name, byte)| peer(byte, name, Some(1))).collect();
    let rig = Rig::showing(seen).await;
    let scrape = rig.scrape().await;
    scrape.expect("moorline_tip_block", 16.0);
    let delays = scrape.samples.keys().filter(|series| series.contains("_peer_delay_"));
    assert!(delays.clone().all(|series| series.chars().count() < 160));
    assert_eq!(delays.count(), names.len());
}

#[tokio::test]
async fn nothing_but_a_plain_get_of_the_one_path_is_answered() {
    let rig = Rig::showing(busy()).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "404"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example:9100\r\n\r\n".to_owned(), "421"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n".to_owned(), "405"),
        (format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20)), "4"),
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = rig.answer_to(request.as_bytes()).await;
        // one that is cut off in the middle of its words may never hear the answer
        let told = answer.is_empty() && request.len() > 1 << 20;
        assert!(told || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(!answer.contains("moorline_"), "{answer}");
    }
    rig.scrape().await.expect("moorline_tip_block", 16.0);
}

#[tokio::test]
async fn clients_that_never_finish_keep_nobody_out_for_long() {
    let patience = Duration::from_millis(300);
    let rig = Rig::patient_for(busy(), patience).await;
    let begun = moorline_kit::now();
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    rig.scrape().await.expect("moorline_tip_block", 16.0);
    assert!(begun.elapsed() >= patience * 2, "only so many are served at a time");
    for stream in slow {
        assert_eq!(rest_of(stream).await, "");
    }
}

#[tokio::test]
async fn the_port_is_free_again_once_the_handle_is_gone_and_a_taken_one_is_told() {
    let rig = Rig::showing(busy()).await;
    let addr = rig.handle.local_addr();
    let another = || Metrics {
        watched: rig.seen.subscribe(),
        budget: Budget::default(),
        unfinished: UnfinishedReceipts::default(),
        network: NetworkCounters::default(),
        queues: Vec::new(),
        discovery: None,
    };
    let refused = another().serve(addr).await.unwrap_err();
    assert!(refused.to_string().contains("choose another --metrics.port"), "{refused}");
    let open = rig.connect().await;
    let again = another();
    drop(rig.handle);
    assert_eq!(rest_of(open).await, "");
    again.serve(addr).await.unwrap();
}
