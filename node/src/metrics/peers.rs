//! Who the peers are, and how each does.

use std::fmt;

use moorline_messages::{Direction, PeerOrigin, PeerPace, PeerSummary, PeersReport};

use super::Sheet;

/// The longest name of a client that is passed on, in characters.
const CLIENT_NAME_MAX: usize = 64;

const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")];

const ORIGINS: [(PeerOrigin, &str); 7] = [
    (PeerOrigin::Static, "static"),
    (PeerOrigin::Trusted, "trusted"),
    (PeerOrigin::Remembered, "remembered"),
    (PeerOrigin::Discv4, "discv4"),
    (PeerOrigin::Discv5, "discv5"),
    (PeerOrigin::Dns, "dns"),
    (PeerOrigin::Inbound, "inbound"),
];

pub(super) fn peers(sheet: &mut Sheet<'_>, report: &PeersReport) -> fmt::Result {
    let peers = &report.peers;
    sheet.gauge("peers", "Peers that are connected", peers.len() as u64)?;
    let connected = DIRECTIONS.iter().flat_map(|(direction, direction_name)| {
        ORIGINS.iter().map(|(origin, origin_name)| {
            let labels = [("direction", *direction_name), ("origin", *origin_name)];
            let is_one =
                |peer: &&PeerSummary| peer.direction == *direction && peer.origin == *origin;
            (labels, peers.iter().filter(is_one).count() as u64)
        })
    });
    let help = "Peers that are connected, by who dialled whom and why they are here";
    sheet.gauges("peers_connected", help, connected)?;
    sheet.gauge("peers_dialling", "Dials under way", report.dialling)?;
    let help = "Nodes that were found and are not connected";
    sheet.gauge("peers_candidates", help, report.candidates)?;
    sheet.gauge("peers_banned", "Peers that are banned now", report.banned)?;
    let counts = &report.counts;
    sheet.counter("peers_dials", "Dials ordered", counts.dials)?;
    sheet.counter("peers_dial_failures", "Dials that came to nothing", counts.dial_failures)?;
    let help = "Sessions that were not welcome: no slot was free, or the peer is banned";
    sheet.counter("peers_refused", help, counts.refused)?;
    let help = "Answers that did not come in time";
    sheet.counter("peers_timeouts", help, counts.timeouts)?;
    sheet.counter("peers_bans", "Bans", counts.bans)?;
    each(sheet, peers)?;
    by_kind(sheet, peers)
}

fn each(sheet: &mut Sheet<'_>, peers: &[PeerSummary]) -> fmt::Result {
    let labels: Vec<_> = peers.iter().map(labels_of).collect();
    let rows = |of: fn(&PeerSummary) -> u64| {
        labels.iter().cloned().zip(peers.iter().map(of)).collect::<Vec<_>>()
    };
    let known = |of: fn(&PeerSummary) -> Option<u64>| {
        let seconds = |(labels, peer): (&Labels, _)| Some((labels.clone(), seconds(of(peer)?)));
        labels.iter().zip(peers).filter_map(seconds).collect::<Vec<_>>()
    };
    let help = "A peer's usual time to answer";
    sheet.gauges("peer_delay_seconds", help, known(|peer| peer.delay_ms))?;
    let help = "What a peer is chosen by: the time it is expected to take, faults counted in";
    sheet.gauges("peer_score_seconds", help, known(|peer| peer.score_ms))?;
    let help = "Requests that a peer has not answered yet";
    sheet.gauges("peer_in_flight", help, rows(|peer| peer.in_flight))?;
    let help = "Bytes of a peer's answers on the wire";
    sheet.counters("peer_served_bytes", help, rows(|peer| peer.served_bytes))?;
    let help = "Late and wrong answers of a peer";
    sheet.counters("peer_faults", help, rows(|peer| peer.faults))
}

fn by_kind(sheet: &mut Sheet<'_>, peers: &[PeerSummary]) -> fmt::Result {
    let paces: Vec<(KindLabels, PeerPace)> = peers.iter().flat_map(paces_of).collect();
    let rows = |of: fn(&PeerPace) -> u64| {
        paces.iter().map(|(labels, pace)| (labels.clone(), of(pace))).collect::<Vec<_>>()
    };
    let help = "A peer's usual time to answer for a kind of item";
    let delays = paces.iter().map(|(labels, pace)| (labels.clone(), seconds(pace.delay_ms)));
    sheet.gauges("peer_kind_delay_seconds", help, delays)?;
    let help = "Items of a kind at which a peer works a second, once it has begun";
    sheet.gauges("peer_kind_items_per_second", help, rows(|pace| pace.items_per_s))?;
    let help = "Headers, bodies and blocks' receipts that a peer sent";
    sheet.counters("peer_served_items", help, rows(|pace| pace.served_items))
}

type Labels = [(&'static str, String); 2];
type KindLabels = [(&'static str, String); 3];

fn paces_of(peer: &PeerSummary) -> Vec<(KindLabels, PeerPace)> {
    let kinds = [("headers", peer.headers), ("bodies", peer.bodies), ("receipts", peer.receipts)];
    let with = |(kind, pace): (&str, Option<PeerPace>)| {
        let [id, client] = labels_of(peer);
        Some(([id, client, ("kind", kind.to_owned())], pace?))
    };
    kinds.into_iter().filter_map(with).collect()
}

/// Names a peer. There are as many of these as peers that are connected, which has a bound. The id is
/// longer than in logs, so that nobody makes up a second peer of the same name.
fn labels_of(peer: &PeerSummary) -> Labels {
    let id = peer.id.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let shown = |c: &char| !c.is_control();
    let client = peer.client.chars().filter(shown).take(CLIENT_NAME_MAX).collect();
    [("peer", id), ("client", client)]
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
