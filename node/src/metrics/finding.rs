//! What discovery counts.

use std::fmt;

use moorline_discovery::{DiscoveryCounters, DropReason, Refusal, Via};

use super::Sheet;

const WAYS: [(Via, &str); 3] =
    [(Via::Discv4, "discv4"), (Via::Discv5, "discv5"), (Via::Dns, "dns")];

pub(super) const DROPS: [(DropReason, &str); 11] = [
    (DropReason::Size, "size"),
    (DropReason::Foreign, "foreign"),
    (DropReason::Signature, "signature"),
    (DropReason::Malformed, "malformed"),
    (DropReason::Expired, "expired"),
    (DropReason::Unsolicited, "unsolicited"),
    (DropReason::Unproven, "unproven"),
    (DropReason::Rate, "rate"),
    (DropReason::Address, "address"),
    (DropReason::Record, "record"),
    (DropReason::Busy, "busy"),
];

pub(super) const REFUSALS: [(Refusal, &str); 7] = [
    (Refusal::NoForkId, "no_fork_id"),
    (Refusal::OtherFork, "other_fork"),
    (Refusal::NoAddress, "no_address"),
    (Refusal::Repeated, "repeated"),
    (Refusal::Crowded, "crowded"),
    (Refusal::Rate, "rate"),
    (Refusal::Full, "full"),
];

pub(super) fn discovery(sheet: &mut Sheet<'_>, counters: &DiscoveryCounters) -> fmt::Result {
    let tables = [
        ([("protocol", "discv4")], counters.discv4_table_nodes as u64),
        ([("protocol", "discv5")], counters.discv5_table_nodes as u64),
    ];
    sheet.gauges("discovery_table_nodes", "Nodes in a table", tables)?;
    let help = "Datagrams that were taken for discv4";
    sheet.counter("discovery_packets_received", help, counters.discv4_packets_in)?;
    let help = "Datagrams that discv4 sent";
    sheet.counter("discovery_packets_sent", help, counters.discv4_packets_out)?;
    let dropped = DROPS.map(|(reason, name)| {
        ([("reason", name)], counters.dropped.get(&reason).copied().unwrap_or(0))
    });
    let help = "Datagrams of discv4 that were not acted upon";
    sheet.counters("discovery_packets_dropped", help, dropped)?;
    let help = "Texts that were fetched from DNS";
    sheet.counter("discovery_dns_requests", help, counters.dns_requests)?;
    let help = "Texts from DNS that were missing, or not what their tree says";
    sheet.counter("discovery_dns_failures", help, counters.dns_failures)?;
    let found = WAYS
        .map(|(via, name)| ([("via", name)], counters.candidates.get(&via).copied().unwrap_or(0)));
    sheet.counters("discovery_candidates", "Nodes that were found and handed on", found)?;
    let refused = REFUSALS.map(|(reason, name)| {
        ([("reason", name)], counters.refused.get(&reason).copied().unwrap_or(0))
    });
    sheet.counters("discovery_refused", "Nodes that were found and not handed on", refused)
}
