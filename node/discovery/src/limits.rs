//! How many packets are looked at: per sender and over all.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use moorline_messages::address_of;

/// Most senders that are counted one by one. Whoever is quiet for a moment needs no entry.
pub(crate) const COUNTED_SENDERS_MAX: usize = 4_096;
/// Shortest time between two clearings of quiet senders.
const CLEARING_EVERY: Duration = Duration::from_millis(100);

/// So many at once, and so many a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    per_second: u32,
    /// When the allowance would be whole again.
    whole_at: Instant,
}

impl Allowance {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1), whole_at: now }
    }

    /// Takes one, unless none is left. A second's worth may be taken at once.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1).checked_div(self.per_second).unwrap_or_default();
        let whole_at = self.whole_at.max(now).checked_add(each);
        match whole_at {
            Some(at) if at.saturating_duration_since(now) <= Duration::from_secs(1) => {
                self.whole_at = at;
                true
            }
            _ => false,
        }
    }

    fn is_whole(&self, now: Instant) -> bool {
        self.whole_at <= now
    }
}

/// Counts datagrams before anything is computed for them.
#[derive(Debug)]
pub(crate) struct PacketLimits {
    per_sender_per_second: u32,
    overall: Allowance,
    senders: BTreeMap<IpAddr, Allowance>,
    cleared_at: Instant,
}

impl PacketLimits {
    pub(crate) fn new(per_sender_per_second: u32, per_second: u32, now: Instant) -> Self {
        Self {
            per_sender_per_second,
            overall: Allowance::new(per_second, now),
            senders: BTreeMap::new(),
            cleared_at: now,
        }
    }

    /// Whether a packet of this sender is looked at.
    pub(crate) fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        let sender = address_of(ip);
        if self.senders.len() >= COUNTED_SENDERS_MAX && !self.senders.contains_key(&sender) {
            self.clear_quiet(now);
            if self.senders.len() >= COUNTED_SENDERS_MAX {
                return false;
            }
        }
        let fresh = || Allowance::new(self.per_sender_per_second, now);
        // the sender first, so that one who talks too much takes nothing from the rest
        self.senders.entry(sender).or_insert_with(fresh).take(now) && self.overall.take(now)
    }

    fn clear_quiet(&mut self, now: Instant) {
        if now.saturating_duration_since(self.cleared_at) >= CLEARING_EVERY {
            self.cleared_at = now;
            self.senders.retain(|_, allowance| !allowance.is_whole(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sender(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn one_loud_sender_silences_only_itself() {
        let now = start();
        let mut limits = PacketLimits::new(10, 100, now);
        let admitted = (0..1_000).filter(|_| limits.admit(sender(1), now)).count();
        assert_eq!(admitted, 10);
        assert!(limits.admit(sender(2), now));
        assert!(limits.admit(sender(1), now + Duration::from_millis(101)));
    }

    #[test]
    fn all_senders_together_have_a_limit() {
        let now = start();
        let mut limits = PacketLimits::new(10, 100, now);
        let admitted = (0..1_000).filter(|number| limits.admit(sender(*number), now)).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn forged_senders_take_no_more_room_than_there_is_and_are_soon_forgotten() {
        let now = start();
        let mut limits = PacketLimits::new(10, 1_000_000, now);
        for number in 0..20_000 {
            limits.admit(sender(number), now);
        }
        assert_eq!(limits.senders.len(), COUNTED_SENDERS_MAX);
        let later = now + Duration::from_millis(150);
        assert!(limits.admit(sender(1_000_000), later));
        assert_eq!(limits.senders.len(), 1);
    }
}
