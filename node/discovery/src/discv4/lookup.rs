//! Walking towards a random place: who is near asks who is nearer.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use alloy_primitives::{B256, B512, keccak256};
use moorline_messages::PeerId;

use super::{
    Discv4, Effect, FRESH, Now, Seed, TABLE_POOR_NODES, later,
    table::{BUCKET_NODES, distance},
    wire::Neighbor,
};
use crate::{
    key::{is_key, place_of},
    net::{is_usable, may_relay},
};

/// Nodes that are asked at the same time.
pub(crate) const LOOKUP_PARALLEL: usize = 3;
/// Nodes that one lookup asks at most.
pub(crate) const LOOKUP_ASKED_MAX: usize = 48;
/// Nodes that one lookup keeps in mind at most.
pub(crate) const LOOKUP_NODES_MAX: usize = 64;
/// How long one lookup may take.
pub(crate) const LOOKUP_TIME: Duration = Duration::from_secs(30);
/// Lower ports belong to other services, which must not be made to get our packets.
const PORT_MIN: u16 = 1_025;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// Not asked yet.
    Fresh,
    /// Pinged; its pong is awaited.
    Proving,
    /// It proved where it is and will be asked at the next opportunity.
    Proved,
    /// Asked for its neighbours.
    Asked,
    /// It answered, or never will.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    node: Seed,
    leg: Leg,
}

/// One walk.
#[derive(Debug)]
pub(crate) struct Lookup {
    target: B512,
    place: B256,
    stops: BTreeMap<B256, Stop>,
    asked: usize,
    ends_at: Instant,
    /// When the next stop that is proved may be asked.
    ready_at: Option<Instant>,
}

impl Lookup {
    fn new(target: B512, ends_at: Instant) -> Self {
        let place = keccak256(target);
        Self { target, place, stops: BTreeMap::new(), asked: 0, ends_at, ready_at: None }
    }

    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        Some(self.ready_at.map_or(self.ends_at, |ready| ready.min(self.ends_at)))
    }

    fn add(&mut self, node: Seed) {
        let key = distance(place_of(&node.id), self.place);
        self.stops.entry(key).or_insert(Stop { node, leg: Leg::Fresh });
        while self.stops.len() > LOOKUP_NODES_MAX {
            let farthest = self.stops.iter().rfind(|(_, stop)| stop.leg == Leg::Fresh);
            let Some(key) = farthest.map(|(key, _)| *key) else { return };
            self.stops.remove(&key);
        }
    }

    fn set(&mut self, id: &PeerId, leg: Leg) -> Option<Leg> {
        let stop = self.stops.get_mut(&distance(place_of(id), self.place))?;
        Some(std::mem::replace(&mut stop.leg, leg))
    }

    fn leg_of(&self, id: &PeerId) -> Option<Leg> {
        self.stops.get(&distance(place_of(id), self.place)).map(|stop| stop.leg)
    }

    fn under_way(&self) -> usize {
        let moving = |stop: &&Stop| matches!(stop.leg, Leg::Proving | Leg::Proved | Leg::Asked);
        self.stops.values().filter(moving).count()
    }

    /// The nearest node that was not asked, as long as it is among those that count.
    fn next(&self) -> Option<Seed> {
        let near = self.stops.values().take(BUCKET_NODES);
        near.filter(|stop| stop.leg == Leg::Fresh).map(|stop| stop.node).next()
    }
}

impl Discv4 {
    /// Moves the lookup on as far as it goes now; starts and ends it.
    pub(super) fn advance_lookup(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(mut lookup) = self.lookup.take().or_else(|| self.start_lookup(now)) else {
            return;
        };
        lookup.ready_at = None;
        self.ask_proved(now, &mut lookup, effects);
        while lookup.under_way() < LOOKUP_PARALLEL && lookup.asked < LOOKUP_ASKED_MAX {
            let Some(node) = lookup.next() else { break };
            lookup.asked = lookup.asked.saturating_add(1);
            let leg = self.first_leg(now, node, effects);
            lookup.set(&node.id, leg);
            self.ask_proved(now, &mut lookup, effects);
        }
        if lookup.under_way() == 0 || now.at >= lookup.ends_at {
            self.lookup_at = later(now.at, self.lookup_every);
        } else {
            self.lookup = Some(lookup);
        }
    }

    fn start_lookup(&mut self, now: Now) -> Option<Lookup> {
        if now.at < self.lookup_at {
            return None;
        }
        let target = self.random_target();
        let mut lookup = Lookup::new(target, later(now.at, LOOKUP_TIME));
        let near = self.table.closest(lookup.place, BUCKET_NODES);
        if near.len() < TABLE_POOR_NODES {
            self.seeds.iter().for_each(|seed| lookup.add(*seed));
        }
        near.iter().for_each(|node| {
            lookup.add(Seed { id: node.id, addr: node.addr, tcp: node.tcp });
        });
        Some(lookup)
    }

    /// Who proved its endpoint lately is asked; anybody else is pinged first.
    fn first_leg(&mut self, now: Now, node: Seed, effects: &mut Vec<Effect>) -> Leg {
        let age = self.contacts.proof_age(&node.id, node.addr, now.at);
        if age.is_some_and(|age| age < FRESH) {
            return Leg::Proved;
        }
        if self.ping(now, node, false, effects) { Leg::Proving } else { Leg::Over }
    }

    fn ask_proved(&mut self, now: Now, lookup: &mut Lookup, effects: &mut Vec<Effect>) {
        let target = lookup.target;
        let mut ready_at: Option<Instant> = None;
        for stop in lookup.stops.values_mut().filter(|stop| stop.leg == Leg::Proved) {
            let Seed { id, addr, .. } = stop.node;
            match self.contacts.proven(&id, addr, now.at).map(|contact| contact.ready_at) {
                None => stop.leg = Leg::Over,
                Some(at) if at > now.at => {
                    ready_at = Some(ready_at.map_or(at, |earlier| earlier.min(at)));
                }
                Some(_) => {
                    let asked = self.find_node(now, id, addr, target, effects);
                    stop.leg = if asked { Leg::Asked } else { Leg::Over };
                }
            }
        }
        lookup.ready_at = ready_at;
    }

    pub(super) fn leg_proved(&mut self, id: &PeerId) {
        if let Some(lookup) = &mut self.lookup
            && lookup.leg_of(id) == Some(Leg::Proving)
        {
            lookup.set(id, Leg::Proved);
        }
    }

    pub(super) fn leg_failed(&mut self, id: &PeerId) {
        if let Some(lookup) = &mut self.lookup {
            lookup.set(id, Leg::Over);
        }
    }

    /// A node told its neighbours. They are taken up as places to go, and as nothing more.
    pub(super) fn leg_done(&mut self, now: Now, id: &PeerId, teller: IpAddr, told: &[Neighbor]) {
        let (local, on_ipv6) = (self.key.id(), self.on_ipv6);
        let Some(lookup) = &mut self.lookup else { return };
        if lookup.set(id, Leg::Over).is_none() || now.at >= lookup.ends_at {
            return;
        }
        let usable = told.iter().filter_map(|node| usable(teller, node));
        let reachable = |seed: &Seed| seed.id != local && seed.addr.is_ipv6() == on_ipv6;
        usable.filter(reachable).for_each(|seed| lookup.add(seed));
    }
}

fn usable(teller: IpAddr, node: &Neighbor) -> Option<Seed> {
    let addr = SocketAddr::new(node.endpoint.ip?, node.endpoint.udp);
    let sound = addr.port() >= PORT_MIN && is_usable(addr) && may_relay(teller, addr.ip());
    (sound && is_key(&node.id)).then_some(Seed { id: node.id, addr, tcp: node.endpoint.tcp })
}
