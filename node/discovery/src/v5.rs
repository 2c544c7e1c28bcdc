//! discv5 by the crate of that name: its set-up, and the walks that it is sent on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alloy_eip2124::ForkId;
use discv5::{ConfigBuilder, Discv5, Enr, Event, ListenConfig, QueryError, RateLimiterBuilder};
use enr::NodeId;
use futures_util::future::BoxFuture;
use tokio::{net::UdpSocket, sync::mpsc};

use crate::{
    Bounds, DiscoveryError,
    key::NodeKey,
    net::is_loopback,
    record::{LocalRecord, SignedRecord, signing_key},
};

/// How often each node of the table is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a sender that was banned for flooding stays so at least; the crate looks every 5
/// minutes. Senders can be forged, so not for long.
const BAN_TIME: Duration = Duration::from_secs(30);
/// discv5 looks at this many times as many datagrams as discv4: it answers strangers with a
/// challenge that costs it little.
const PACKETS_FACTOR: u64 = 4;
/// Sessions that are kept.
pub(crate) const SESSIONS_MAX: usize = 1_000;

/// A running discv5 on a socket that discv4 shares.
pub(crate) struct V5 {
    discv5: Discv5,
    pub(crate) events: mpsc::Receiver<Event>,
}

impl V5 {
    pub(crate) async fn start(
        key: &NodeKey,
        record: &LocalRecord,
        listen_addr: SocketAddr,
        address_is_set: bool,
        socket: Arc<UdpSocket>,
        bounds: &Bounds,
    ) -> Result<Self, DiscoveryError> {
        let failed = |error: &dyn std::fmt::Display| DiscoveryError::Discv5(error.to_string());
        let config =
            config(listen_addr, address_is_set, socket, bounds).map_err(|error| failed(&error))?;
        let mut discv5 = Discv5::new(record.enr().clone(), signing_key(key)?, config)
            .map_err(|error| failed(&error))?;
        discv5.start().await.map_err(|error| failed(&error))?;
        let events = discv5.event_stream().await.map_err(|error| failed(&error))?;
        Ok(Self { discv5, events })
    }

    /// Takes a node into the table to begin with.
    pub(crate) fn add(&self, record: &SignedRecord) {
        // a full bucket or an address of the other family is no reason to do anything
        let _ = self.discv5.add_enr(record.enr().clone());
    }

    /// A walk towards a random place. What it finds comes as events, and the nearest as its result.
    pub(crate) fn lookup(&self) -> BoxFuture<'static, Result<Vec<Enr>, QueryError>> {
        Box::pin(self.discv5.find_node(NodeId::random()))
    }

    pub(crate) fn table_nodes(&self) -> usize {
        self.discv5.with_kbuckets(|buckets| buckets.read().iter_ref().count())
    }

    pub(crate) fn local_enr(&self) -> Enr {
        self.discv5.local_enr()
    }

    /// Signs the record again for another fork and has it told to others. discv5 may change its
    /// address at any time, so both are done while it cannot.
    pub(crate) fn sign_again(
        &self,
        record: &mut LocalRecord,
        fork_id: ForkId,
    ) -> Result<bool, DiscoveryError> {
        let shared = self.discv5.external_enr();
        let mut enr = shared.write();
        record.adopt(enr.clone());
        let changed = record.set_fork_id(fork_id)?;
        *enr = record.enr().clone();
        Ok(changed)
    }

    pub(crate) fn shutdown(&mut self) {
        self.discv5.shutdown();
    }
}

fn config(
    listen_addr: SocketAddr,
    address_is_set: bool,
    socket: Arc<UdpSocket>,
    bounds: &Bounds,
) -> Result<discv5::Config, &'static str> {
    let listen = match listen_addr {
        SocketAddr::V4(_) => ListenConfig::FromSockets { ipv4: Some(socket), ipv6: None },
        SocketAddr::V6(_) => ListenConfig::FromSockets { ipv4: None, ipv6: Some(socket) },
    };
    let second = Duration::from_secs(1);
    let per_sender = u64::from(bounds.packets_per_sender_per_second.max(1));
    let overall = u64::from(bounds.packets_per_second.max(1)).saturating_mul(PACKETS_FACTOR);
    let limits = RateLimiterBuilder::new()
        .total_n_every(overall, second)
        .ip_n_every(per_sender, second)
        .node_n_every(per_sender, second)
        .build()?;
    let mut builder = ConfigBuilder::new(listen);
    builder
        .enable_packet_filter()
        .filter_rate_limiter(Some(limits))
        // several nodes behind one address are not an offence
        .filter_max_nodes_per_ip(None)
        .filter_max_bans_per_ip(None)
        .ban_duration(Some(BAN_TIME))
        .session_cache_capacity(SESSIONS_MAX)
        .ping_interval(PING_EVERY);
    if !is_loopback(listen_addr.ip()) {
        builder.ip_limit();
    }
    if address_is_set {
        // what the operator says is not up to a vote
        builder.disable_enr_update();
    }
    Ok(builder.build())
}
