//! How many sessions one neighbourhood has.

use std::{collections::BTreeMap, net::IpAddr};

use moorline_messages::{ADDRESS_SESSIONS_MAX, SUBNET_SESSIONS_MAX, Subnet, address_of, is_local};

/// Sessions, and dials under way, by neighbourhood.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    addresses: BTreeMap<IpAddr, usize>,
    subnets: BTreeMap<Subnet, usize>,
}

impl Neighbours {
    /// Those of these addresses.
    pub(crate) fn of(ips: impl Iterator<Item = IpAddr>) -> Self {
        let mut neighbours = Self::default();
        for ip in ips {
            let of_address = neighbours.addresses.entry(address_of(ip)).or_default();
            *of_address = of_address.saturating_add(1);
            let of_subnet = neighbours.subnets.entry(Subnet::of(ip)).or_default();
            *of_subnet = of_subnet.saturating_add(1);
        }
        neighbours
    }

    /// Whether one more there is within the bounds.
    pub(crate) fn have_room(&self, ip: IpAddr) -> bool {
        let at_address = self.addresses.get(&address_of(ip)).copied().unwrap_or(0);
        let in_subnet = self.subnets.get(&Subnet::of(ip)).copied().unwrap_or(0);
        is_local(ip) || (at_address < ADDRESS_SESSIONS_MAX && in_subnet < SUBNET_SESSIONS_MAX)
    }
}
