//! Which addresses are one neighbourhood, and which are the operator's own.

use std::net::{IpAddr, Ipv6Addr};

/// Addresses that are counted together, since whoever has one of them has the others cheaply: a /24
/// of IPv4, a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subnet {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first three groups of an IPv6 address.
    V6([u16; 3]),
}

impl Subnet {
    /// That of an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                Self::V6([a, b, c])
            }
        }
    }
}

/// Most sessions with one address, see [`address_of`], that is not local.
pub const ADDRESS_SESSIONS_MAX: usize = 2;
/// Most sessions with one [`Subnet`] that is not local: who has one address there has the others
/// cheaply, and no single hand should hold our view of the chain.
pub const SUBNET_SESSIONS_MAX: usize = 4;

/// What counts as one address: an IPv4 address, or a /64 of IPv6, which costs as much.
pub fn address_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// An address of this machine or of its local network, where neighbours are no sign of one hand.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbourhoods_are_24_and_48_bits_wide() {
        assert_eq!(Subnet::of(ip("1.2.3.4")), Subnet::of(ip("1.2.3.250")));
        assert_eq!(Subnet::of(ip("1.2.3.4")), Subnet::of(ip("::ffff:1.2.3.9")));
        assert_ne!(Subnet::of(ip("1.2.3.4")), Subnet::of(ip("1.2.4.4")));
        assert_eq!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:1:ffff::1")));
        assert_ne!(Subnet::of(ip("2001:db8:1::1")), Subnet::of(ip("2001:db8:2::1")));
    }

    #[test]
    fn loopback_and_private_networks_are_local() {
        for local in ["127.0.0.9", "10.1.2.3", "192.168.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(is_local(ip(local)), "{local}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_local(ip(far)), "{far}");
        }
    }
}
