//! Who may connect: limits by address and by subnet, so that no single network takes up what there is
//! for all (eclipse and Sybil attacks; Marcus et al. 2018, "Low-Resource Eclipse Attacks").

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use moorline_messages::{ADDRESS_SESSIONS_MAX, SUBNET_SESSIONS_MAX, Subnet, address_of, is_local};
use tokio::time::Instant;

use crate::counters::TurnedAway;

/// Most connections from one /24 or /48 in the time in which one address may connect once.
pub const MAX_CONNECTIONS_PER_SUBNET: usize = 8;

/// Most connections remembered by the throttle. Beyond that the oldest is forgotten: whoever fills it
/// keeps nobody out, and the handshakes under way have their own limit.
const MAX_REMEMBERED: usize = 4096;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    address: IpAddr,
    subnet: Subnet,
    is_local: bool,
}

impl Origin {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self { address: address_of(ip), subnet: Subnet::of(ip), is_local: is_local(ip) }
    }

    /// Whether one more session fits beside those that peers opened from there.
    pub(crate) fn fits<'a>(&self, others: impl Iterator<Item = &'a Self>) -> bool {
        if self.is_local {
            return true;
        }
        let (mut of_address, mut of_subnet) = (0_usize, 0_usize);
        for other in others {
            of_address = of_address.saturating_add(usize::from(other.address == self.address));
            of_subnet = of_subnet.saturating_add(usize::from(other.subnet == self.subnet));
        }
        of_address < ADDRESS_SESSIONS_MAX && of_subnet < SUBNET_SESSIONS_MAX
    }
}

/// Keeps one address, or one subnet, from connecting all the time. Local ones may: a router or a container's
/// proxy there stands for everybody behind it.
#[derive(Debug)]
pub(crate) struct Throttle {
    period: Option<Duration>,
    /// In the order in which they came.
    recent: VecDeque<(Instant, Origin)>,
    addresses: BTreeSet<IpAddr>,
    subnets: BTreeMap<Subnet, usize>,
}

impl Throttle {
    pub(crate) const fn new(period: Option<Duration>) -> Self {
        Self {
            period,
            recent: VecDeque::new(),
            addresses: BTreeSet::new(),
            subnets: BTreeMap::new(),
        }
    }

    /// Whether this connection may go on to a handshake. One that may not does not count.
    pub(crate) fn admit(&mut self, origin: Origin, now: Instant) -> Result<(), TurnedAway> {
        let Some(period) = self.period else { return Ok(()) };
        if origin.is_local {
            return Ok(());
        }
        while let Some((came, _)) = self.recent.front() {
            let is_recent = now.saturating_duration_since(*came) < period;
            if is_recent && self.recent.len() < MAX_REMEMBERED {
                break;
            }
            self.forget_oldest();
        }
        if self.addresses.contains(&origin.address) {
            return Err(TurnedAway::Address);
        }
        let of_subnet = self.subnets.get(&origin.subnet).copied().unwrap_or_default();
        if of_subnet >= MAX_CONNECTIONS_PER_SUBNET {
            return Err(TurnedAway::Subnet);
        }
        self.recent.push_back((now, origin));
        self.addresses.insert(origin.address);
        self.subnets.insert(origin.subnet, of_subnet.saturating_add(1));
        Ok(())
    }

    fn forget_oldest(&mut self) {
        let Some((_, origin)) = self.recent.pop_front() else { return };
        self.addresses.remove(&origin.address);
        if let Some(of_subnet) = self.subnets.get_mut(&origin.subnet) {
            *of_subnet = of_subnet.saturating_sub(1);
            if *of_subnet == 0 {
                self.subnets.remove(&origin.subnet);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    fn origin(ip: &str) -> Origin {
        Origin::of(ip.parse().unwrap())
    }

    #[test]
    fn an_address_may_connect_once_in_a_period_and_a_local_one_always() {
        let mut throttle = Throttle::new(Some(PERIOD));
        let start = Instant::now();
        for stranger in ["192.0.2.1", "2001:db8::1"] {
            let stranger = origin(stranger);
            assert_eq!(throttle.admit(stranger, start), Ok(()));
            let early = start + Duration::from_secs(29);
            assert_eq!(throttle.admit(stranger, early), Err(TurnedAway::Address));
        }
        // the same host under another address, and under another name of the same one
        assert_eq!(throttle.admit(origin("2001:db8::ffff:1"), start), Err(TurnedAway::Address));
        assert_eq!(throttle.admit(origin("::ffff:192.0.2.1"), start), Err(TurnedAway::Address));
        assert_eq!(throttle.admit(origin("192.0.2.1"), start + PERIOD), Ok(()));
        for _ in 0..3 {
            for local in ["127.0.0.1", "::1", "10.0.0.1"] {
                assert_eq!(throttle.admit(origin(local), start), Ok(()), "{local}");
            }
        }
    }

    #[test]
    fn a_subnet_may_connect_a_few_times_in_a_period_unless_it_is_local() {
        let mut throttle = Throttle::new(Some(PERIOD));
        let start = Instant::now();
        let mut admitted = |subnet: &dyn Fn(usize) -> String, now| {
            (0..40).filter(|at| throttle.admit(origin(&subnet(*at)), now).is_ok()).count()
        };
        let public = |at: usize| format!("203.0.113.{at}");
        let site = |at: usize| format!("2001:db8:7:{at:x}::1");
        assert_eq!(admitted(&public, start), MAX_CONNECTIONS_PER_SUBNET);
        assert_eq!(admitted(&|at| format!("203.0.112.{at}"), start), MAX_CONNECTIONS_PER_SUBNET);
        assert_eq!(admitted(&site, start), MAX_CONNECTIONS_PER_SUBNET);
        assert_eq!(admitted(&|at| format!("192.168.1.{at}"), start), 40);
        assert_eq!(admitted(&|at| format!("fd00::{at:x}:0:0:0:1"), start), 40);
        assert_eq!(admitted(&public, start + PERIOD), MAX_CONNECTIONS_PER_SUBNET);
    }

    #[test]
    fn a_flood_of_addresses_keeps_nobody_out_and_takes_no_more_than_its_bound() {
        let mut throttle = Throttle::new(Some(PERIOD));
        let start = Instant::now();
        let from = |at: u32| Origin::of(Ipv4Addr::from(0x0b00_0000 + at * 256).into());
        for at in 0..5000 {
            assert_eq!(throttle.admit(from(at), start), Ok(()), "{at}");
        }
        assert_eq!(throttle.recent.len(), MAX_REMEMBERED);
        assert_eq!((throttle.addresses.len(), throttle.subnets.len()), (4096, 4096));
        assert_eq!(throttle.admit(from(4999), start), Err(TurnedAway::Address));
        throttle.admit(from(0), start + PERIOD).unwrap();
        assert_eq!((throttle.addresses.len(), throttle.subnets.len()), (1, 1));
    }

    #[test]
    fn without_a_period_everybody_may_connect() {
        let mut throttle = Throttle::new(None);
        for _ in 0..40 {
            assert_eq!(throttle.admit(origin("192.0.2.1"), Instant::now()), Ok(()));
        }
        assert!(throttle.recent.is_empty());
    }

    /// How many of these fit one after another.
    fn fitting(ips: impl Iterator<Item = String>) -> usize {
        let mut there = Vec::new();
        for ip in ips {
            let origin = origin(&ip);
            if origin.fits(there.iter()) {
                there.push(origin);
            }
        }
        there.len()
    }

    #[test]
    fn an_address_and_a_subnet_have_few_sessions_and_own_networks_any_number() {
        assert_eq!(fitting((0..9).map(|_| "192.0.2.1".to_owned())), ADDRESS_SESSIONS_MAX);
        assert_eq!(fitting((0..9).map(|at| format!("192.0.2.{at}"))), SUBNET_SESSIONS_MAX);
        assert_eq!(fitting((0..9).map(|at| format!("192.0.{at}.1"))), 9);
        assert_eq!(fitting((0..9).map(|at| format!("2001:db8::{at}"))), ADDRESS_SESSIONS_MAX);
        let of_a_site = (0..9).map(|at| format!("2001:db8:0:{at}::1"));
        assert_eq!(fitting(of_a_site), SUBNET_SESSIONS_MAX);
        for own in
            ["127.0.0.1", "::1", "10.1.2.3", "172.16.0.9", "192.168.0.1", "fd00::1", "fe80::1"]
        {
            assert_eq!(fitting((0..9).map(|_| own.to_owned())), 9, "{own}");
        }
    }
}
