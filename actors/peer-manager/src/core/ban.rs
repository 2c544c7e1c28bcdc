//! Peers that are not welcome for a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use moorline_messages::{PeerBan, PeerId, address_of, is_local};

use super::after;

/// How long a peer that lied stays away the first time; doubled for each further time.
pub(crate) const BAN_TIME: Duration = Duration::from_secs(600);
/// Longest ban.
const BAN_TIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long one that the operator named stays away: it may be the only one there is.
pub(crate) const STATIC_BAN_TIME: Duration = Duration::from_secs(15);
/// A ban that has been over for this long counts no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Bans that are remembered; past it the one that ends first is forgotten, of those without an address as
/// long as there are any.
const BANS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Ban {
    ip: Option<IpAddr>,
    until: Instant,
    times: u32,
}

/// What a ban holds of an address, unless it is a local one.
fn bannable(ip: IpAddr) -> Option<IpAddr> {
    (!is_local(ip) && !ip.is_unspecified()).then(|| address_of(ip))
}

/// Who is banned, and until when.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    bans: BTreeMap<PeerId, Ban>,
}

impl Bans {
    /// Those of an earlier peer manager, but for peers that the operator names now.
    pub(crate) fn remembered(
        now: Instant,
        bans: &[PeerBan],
        is_named: impl Fn(PeerId) -> bool,
    ) -> Self {
        let ban = |it: &PeerBan| {
            let left = Duration::from_millis(it.left_ms).min(BAN_TIME_MAX);
            let ip = it.ip.and_then(bannable);
            (it.peer, Ban { ip, until: after(now, left), times: it.times })
        };
        let strangers = bans.iter().filter(|it| !is_named(it.peer));
        Self { bans: strangers.take(BANS_MAX).map(ban).collect() }
    }

    /// The operator wants this peer.
    pub(crate) fn lift(&mut self, peer: PeerId) {
        self.bans.remove(&peer);
    }

    /// Bans a peer, and the address that it came from unless it is a local one. Returns for how long.
    pub(crate) fn ban(&mut self, now: Instant, peer: PeerId, ip: Option<IpAddr>) -> Duration {
        let times = self.bans.get(&peer).map_or(0, |ban| ban.times).saturating_add(1);
        let factor = 2_u32.saturating_pow(times.saturating_sub(1));
        let time = BAN_TIME.saturating_mul(factor).min(BAN_TIME_MAX);
        let ip = ip.and_then(bannable);
        self.insert(now, peer, Ban { ip, until: after(now, time), times });
        time
    }

    /// Bans a peer that the operator named, and nobody else from its address.
    pub(crate) fn ban_named(&mut self, now: Instant, peer: PeerId) -> Duration {
        self.insert(now, peer, Ban { ip: None, until: after(now, STATIC_BAN_TIME), times: 0 });
        STATIC_BAN_TIME
    }

    fn insert(&mut self, now: Instant, peer: PeerId, ban: Ban) {
        self.bans.retain(|_, ban| after(ban.until, FORGOTTEN_AFTER) > now);
        let order = |id: &PeerId, ban: &Ban| (ban.ip.is_some(), ban.until, *id);
        if self.bans.len() >= BANS_MAX
            && !self.bans.contains_key(&peer)
            && let Some((first, oldest)) = self.bans.iter().min_by_key(|(id, ban)| order(id, ban))
        {
            if oldest.ip.is_some() && ban.ip.is_none() {
                return;
            }
            let first = *first;
            self.bans.remove(&first);
        }
        self.bans.insert(peer, ban);
    }

    pub(crate) fn is_banned(&self, now: Instant, peer: PeerId) -> bool {
        self.bans.get(&peer).is_some_and(|ban| ban.until > now)
    }

    /// What counts as an address, of all that are banned now.
    pub(crate) fn addresses(&self, now: Instant) -> BTreeSet<IpAddr> {
        self.bans.values().filter(|ban| ban.until > now).filter_map(|ban| ban.ip).collect()
    }

    /// When the first of these is free again.
    pub(crate) fn address_is_free_at(&self, now: Instant) -> Option<Instant> {
        let active = self.bans.values().filter(|ban| ban.ip.is_some() && ban.until > now);
        active.map(|ban| ban.until).min()
    }

    /// How many peers are banned now.
    pub(crate) fn count(&self, now: Instant) -> usize {
        self.bans.values().filter(|ban| ban.until > now).count()
    }

    /// What is to be known again after the next start. A few seconds with a peer that the operator
    /// named are not.
    pub(crate) fn book(&self, now: Instant) -> Vec<PeerBan> {
        let lasting = self.bans.iter().filter(|(_, ban)| ban.times > 0);
        let ban = |(peer, ban): (&PeerId, &Ban)| {
            let left = ban.until.saturating_duration_since(now).as_millis();
            let left_ms = u64::try_from(left).unwrap_or(u64::MAX);
            PeerBan { peer: *peer, ip: ban.ip, left_ms, times: ban.times }
        };
        lasting.map(ban).collect()
    }
}
