//! What peers are worth, for whoever watches, and for the next start.

use std::time::{Duration, Instant};

use moorline_messages::{PeerId, PeerInfo, PeerOrigin, PeerPace, PeerSummary, SessionId};

use super::{Kind, Peer, Peers, Record, after};

/// Bodies that a peer's score is about.
const SCORED_BODIES: u64 = 32;
/// How far back the flow of bytes looks.
const FLOW_TIME: Duration = Duration::from_secs(10);
/// How long a peer that is asked may be of no use before another may take its place.
const USELESS_AFTER: Duration = Duration::from_secs(120);
/// Requests that it must have been given in that time.
const USELESS_REQUESTS_MIN: u64 = 4;

/// Bytes a second lately: older ones count less and less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    bytes_per_s: f64,
    at: Option<Instant>,
}

impl Flow {
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        let more = bytes as f64 / FLOW_TIME.as_secs_f64();
        *self = Self { bytes_per_s: self.bytes_per_s(now) + more, at: Some(now) };
    }

    fn bytes_per_s(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let time = now.saturating_duration_since(at).as_secs_f64();
        self.bytes_per_s * (-time / FLOW_TIME.as_secs_f64()).exp()
    }
}

impl Record {
    fn pace(&self, kind: Kind) -> Option<PeerPace> {
        let (delay_ms, items_per_s) = self.meter.seen(kind)?;
        let served_items = self.served.get(kind as usize).copied().unwrap_or(0);
        Some(PeerPace { delay_ms, items_per_s, served_items })
    }

    pub(super) fn served_items(&self) -> u64 {
        self.served.iter().fold(0, |sum, items| sum.saturating_add(*items))
    }
}

impl Peers {
    /// Everybody who is connected, ascending by id.
    pub(crate) fn summaries(
        &self,
        now: Instant,
        origin: impl Fn(&PeerInfo) -> PeerOrigin,
    ) -> Vec<PeerSummary> {
        let summary = |(id, session): (&PeerId, &SessionId)| {
            let (peer, record) = (self.sessions.get(session)?, self.records.get(id)?);
            Some(PeerSummary {
                id: *id,
                client: peer.info.client.clone(),
                addr: peer.info.addr,
                direction: peer.info.direction,
                origin: origin(&peer.info),
                connected_s: now.saturating_duration_since(peer.since).as_secs(),
                eth_version: peer.info.eth_version,
                range: peer.info.range,
                score_ms: record.meter.score_ms(now, Kind::Bodies, SCORED_BODIES),
                delay_ms: record.meter.delay_ms(),
                headers: record.pace(Kind::Headers),
                bodies: record.pace(Kind::Bodies),
                receipts: record.pace(Kind::Receipts),
                faults: record.faults,
                in_flight: u64::try_from(peer.in_flight).unwrap_or(u64::MAX),
                served_items: record.served_items(),
                served_bytes: record.served_bytes,
                bytes_per_s: record.flow.bytes_per_s(now) as u64,
            })
        };
        self.by_id.iter().filter_map(summary).collect()
    }

    /// Who served, the best first: those who are connected, then those who are gone, the newest of
    /// these first.
    pub(crate) fn by_merit(&self, now: Instant) -> Vec<PeerId> {
        let served = self.records.iter().filter(|(_, record)| record.served_items() > 0);
        let mut all: Vec<_> = served
            .map(|(id, record)| {
                let is_gone = !self.by_id.contains_key(id);
                let away = now.saturating_duration_since(if is_gone { record.seen } else { now });
                let score_ms = record.meter.score_ms(now, Kind::Bodies, SCORED_BODIES);
                (is_gone, away, score_ms.unwrap_or(u64::MAX), *id)
            })
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(.., id)| id).collect()
    }

    /// Who of these was asked and was of no use for a while; the one with most faults.
    pub(crate) fn useless(
        &self,
        now: Instant,
        which: impl Fn(&PeerInfo) -> bool,
    ) -> Option<SessionId> {
        let is_useless = |peer: &Peer| {
            let had_time = after(peer.useful_at, USELESS_AFTER) <= now;
            had_time && peer.asked >= USELESS_REQUESTS_MIN
        };
        let useless = self.sessions.iter().filter(|(_, it)| which(&it.info) && is_useless(it));
        let faults = |peer: &Peer| self.records.get(&peer.info.id).map_or(0, |it| it.faults);
        useless.max_by_key(|(id, peer)| (faults(peer), **id)).map(|(id, _)| *id)
    }
}
