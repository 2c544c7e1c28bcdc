//! What the devp2p edge counts of its connections, and of what it serves.

use std::fmt;

use moorline_messages::Direction;
use moorline_rlpx::{HandshakeFailure, NetworkCounters, ServedKind, TurnedAway};

use super::Sheet;

const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")];

pub(super) fn network(sheet: &mut Sheet<'_>, counters: &NetworkCounters) -> fmt::Result {
    let turned_away =
        TurnedAway::ALL.map(|why| ([("reason", why.label())], counters.turned_away(why)));
    let help = "Connections of peers that were closed before their handshake";
    sheet.counters("connections_turned_away", help, turned_away)?;
    let failed = DIRECTIONS.into_iter().flat_map(|(direction, name)| {
        HandshakeFailure::ALL.map(|why| {
            let labels = [("direction", name), ("reason", why.label())];
            (labels, counters.handshakes_failed(direction, why))
        })
    });
    sheet.counters("handshakes_failed", "Connections of which no session came", failed)?;
    let opened = DIRECTIONS
        .map(|(direction, name)| ([("direction", name)], counters.sessions_opened(direction)));
    sheet.counters("sessions_opened", "Sessions that began", opened)?;
    let served =
        ServedKind::ALL.map(|kind| ([("kind", kind.label().to_owned())], counters.served(kind)));
    let of = |which: fn(&moorline_rlpx::Served) -> u64| {
        served.clone().map(|(labels, served)| (labels, which(&served)))
    };
    let help = "Requests of peers that were answered";
    sheet.counters("served_requests", help, of(|served| served.requests))?;
    let help = "Headers, bodies and blocks' receipts that peers were sent";
    sheet.counters("served_items", help, of(|served| served.items))?;
    let help = "Bytes of these answers on the wire";
    sheet.counters("served_bytes", help, of(|served| served.bytes))?;
    let help = "Requests of peers that had to wait because they come too fast";
    sheet.counter("served_requests_delayed", help, counters.requests_delayed())
}
