//! Addresses: which may be used, and which may be passed on to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use moorline_messages::is_local;

/// Loopback.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// IPv4 networks in which no node is, with the length of their prefixes (IANA's registry of special
/// addresses, as geth's `CheckRelayAddr` has it), without those for documentation: nobody is there.
const SPECIAL_V4: [(Ipv4Addr, u32); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The same of IPv6, and those that lead into IPv4: 6to4, Teredo and NAT64.
const SPECIAL_V6: [(Ipv6Addr, u32); 8] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Whether a node can be there at all.
pub(crate) fn is_usable(addr: SocketAddr) -> bool {
    let special = match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SPECIAL_V4
            .iter()
            .any(|(of, bits)| (ip.to_bits() ^ of.to_bits()).leading_zeros() >= *bits),
        IpAddr::V6(ip) => SPECIAL_V6
            .iter()
            .any(|(of, bits)| (ip.to_bits() ^ of.to_bits()).leading_zeros() >= *bits),
    };
    addr.port() != 0 && !special
}

/// Whether it is in a local network, or in the one between a provider and its customers.
pub(crate) fn is_inside(ip: IpAddr) -> bool {
    is_local(ip) || is_shared(ip)
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(ip) if matches!(ip.octets(), [100, 64..=127, ..]))
}

/// Whether a node at `teller` may name `told`: nobody outside may point into a local network, nor
/// anybody outside this machine at loopback (geth's `CheckRelayAddr`).
pub(crate) fn may_relay(teller: IpAddr, told: IpAddr) -> bool {
    if is_loopback(told) {
        return is_loopback(teller);
    }
    if is_shared(told) {
        return is_inside(teller);
    }
    !is_local(told) || is_local(teller)
}

/// The same address, an IPv4 one that came mapped into IPv6 as IPv4.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_outside_points_inside() {
        assert!(may_relay(ip("8.8.8.8"), ip("9.9.9.9")));
        assert!(may_relay(ip("10.0.0.1"), ip("192.168.1.1")));
        assert!(may_relay(ip("127.0.0.1"), ip("127.0.0.2")));
        assert!(!may_relay(ip("8.8.8.8"), ip("10.0.0.1")));
        assert!(!may_relay(ip("8.8.8.8"), ip("127.0.0.1")));
        assert!(!may_relay(ip("10.0.0.1"), ip("127.0.0.1")));
        assert!(!may_relay(ip("8.8.8.8"), ip("::ffff:127.0.0.1")));
        assert!(!may_relay(ip("8.8.8.8"), ip("100.64.0.1")));
        assert!(
            !may_relay(ip("100.64.0.1"), ip("10.0.0.1")),
            "a provider's customers are not ours"
        );
        assert!(may_relay(ip("100.64.0.1"), ip("100.127.255.255")));
        assert!(may_relay(ip("10.0.0.1"), ip("100.64.0.1")));
        assert!(may_relay(ip("8.8.8.8"), ip("100.63.0.1")));
        assert!(may_relay(ip("8.8.8.8"), ip("100.128.0.1")));
    }

    #[test]
    fn nothing_is_sent_to_where_nobody_can_be() {
        for good in [
            "1.2.3.4",
            "10.0.0.1",
            "127.0.0.1",
            "192.0.1.1",
            "192.0.2.1",
            "198.17.0.1",
            "198.20.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "223.255.255.255",
            "::1",
            "fd00::1",
            "2001:200::1",
            "2001:db8::1",
            "2a00::1",
        ] {
            assert!(is_usable(SocketAddr::new(ip(good), 30_303)), "{good}");
            assert!(!is_usable(SocketAddr::new(ip(good), 0)), "{good} at no port");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.9",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:240.0.0.1",
            "64:ff9b::a00:1",
            "100::1",
            "2001::1",
            "2002:a00:1::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_usable(SocketAddr::new(ip(bad), 30_303)), "{bad}");
        }
    }
}
