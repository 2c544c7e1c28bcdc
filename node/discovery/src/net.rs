//! Addresses: which may be used, and which may be passed on to whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use moorline_messages::is_local;

/// What one sender is taken to be when packets are counted: an IPv4 address, or a /64 of IPv6,
/// which costs as much.
pub(crate) fn sender_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

/// Loopback.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether a packet can be sent there at all.
pub(crate) fn is_usable(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip == Ipv4Addr::BROADCAST);
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Whether a node at `teller` may name `told`: nobody outside may point into a local network, nor
/// anybody outside this machine at loopback (geth's `CheckRelayAddr`).
pub(crate) fn may_relay(teller: IpAddr, told: IpAddr) -> bool {
    if is_loopback(told) {
        return is_loopback(teller);
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
    }

    #[test]
    fn nothing_is_sent_to_nobody_or_to_everybody() {
        assert!(is_usable("1.2.3.4:30303".parse().unwrap()));
        for addr in ["1.2.3.4:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1", "255.255.255.255:1"] {
            assert!(!is_usable(addr.parse().unwrap()), "{addr}");
        }
    }
}
