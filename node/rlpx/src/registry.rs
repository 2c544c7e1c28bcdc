//! Who is connected: slots are claimed before a session begins, and come free when it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moorline_messages::{DisconnectReason, FetchItems, PeerId, RequestId, SessionId};
use tokio::sync::{Notify, mpsc};

use crate::admission::Origin;

/// Most dials under way at once.
const MAX_PENDING_DIALS: usize = 64;

/// How a running session is reached.
#[derive(Clone, Debug)]
pub(crate) struct SessionLink {
    pub(crate) fetches: mpsc::Sender<(RequestId, FetchItems)>,
    pub(crate) closing: mpsc::Sender<DisconnectReason>,
    /// Have the session say `Opened` again. Several calls before it does count as one.
    pub(crate) introduce: Arc<Notify>,
}

#[derive(Debug)]
pub(crate) struct Registry {
    own: PeerId,
    max_inbound: usize,
    max_sessions: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    dialling: BTreeSet<PeerId>,
    /// Let in beyond all bounds, and counted towards none.
    favoured: BTreeSet<PeerId>,
    peers: BTreeMap<PeerId, Place>,
    places: u64,
    sessions: BTreeMap<SessionId, SessionLink>,
}

/// What one peer takes up.
#[derive(Debug)]
struct Place {
    /// Where it came from, where it came by itself.
    origin: Option<Origin>,
    /// Whose place it is: a connection that gives way to another has none any more.
    number: u64,
    /// Whether both sides have agreed on this connection.
    is_settled: bool,
}

impl Entries {
    /// Those who count: where they came from, where they came by themselves.
    fn strangers(&self) -> impl Iterator<Item = Option<&Origin>> {
        let strangers = self.peers.iter().filter(|(peer, _)| !self.favoured.contains(*peer));
        strangers.map(|(_, place)| place.origin.as_ref())
    }
}

impl Registry {
    pub(crate) fn new(own: PeerId, max_inbound: usize, max_sessions: usize) -> Self {
        Self { own, max_inbound, max_sessions, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // every change is a single insert or remove, so a panic elsewhere leaves nothing half done
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a node as being dialled, until the guard is dropped.
    pub(crate) fn begin_dial(self: &Arc<Self>, peer: PeerId) -> Result<Dial, DisconnectReason> {
        let mut entries = self.entries();
        if entries.peers.contains_key(&peer) || entries.dialling.contains(&peer) {
            return Err(DisconnectReason::AlreadyConnected);
        }
        let is_full =
            !entries.favoured.contains(&peer) && entries.strangers().count() >= self.max_sessions;
        if entries.dialling.len() >= MAX_PENDING_DIALS || is_full {
            return Err(DisconnectReason::TooManyPeers);
        }
        entries.dialling.insert(peer);
        Ok(Dial { registry: Arc::clone(self), peer })
    }

    /// Takes one of the free slots for a peer that said hello; `origin` where it connected to us. Two
    /// that dial each other at a time both keep the connection that the lower id opened: each keeping
    /// its own, they would be left with none.
    pub(crate) fn claim(
        self: &Arc<Self>,
        peer: PeerId,
        origin: Option<Origin>,
    ) -> Result<Slot, DisconnectReason> {
        let mut entries = self.entries();
        let ours_counts = self.own < peer;
        let gives_way = |place: &Place| {
            origin.is_some() && place.origin.is_none() && !place.is_settled && !ours_counts
        };
        if (origin.is_some() && ours_counts && entries.dialling.contains(&peer))
            || entries.peers.get(&peer).is_some_and(|place| !gives_way(place))
        {
            return Err(DisconnectReason::AlreadyConnected);
        }
        let inbound = || entries.strangers().flatten();
        let fits = || {
            entries.strangers().count() < self.max_sessions
                && origin.is_none_or(|origin| {
                    inbound().count() < self.max_inbound && origin.fits(inbound())
                })
        };
        if !entries.favoured.contains(&peer) && !fits() {
            return Err(DisconnectReason::TooManyPeers);
        }
        entries.places = entries.places.saturating_add(1);
        let number = entries.places;
        entries.peers.insert(peer, Place { origin, number, is_settled: false });
        Ok(Slot { registry: Arc::clone(self), peer, number, session: None })
    }

    /// Lets these in beyond all bounds from now on, and nobody else.
    pub(crate) fn favour(&self, peers: BTreeSet<PeerId>) {
        self.entries().favoured = peers;
    }

    /// Has every session say `Opened` again.
    pub(crate) fn introduce_all(&self) {
        self.entries().sessions.values().for_each(|link| link.introduce.notify_one());
    }

    pub(crate) fn link(&self, session: SessionId) -> Option<SessionLink> {
        self.entries().sessions.get(&session).cloned()
    }
}

/// A dial under way.
#[derive(Debug)]
pub(crate) struct Dial {
    registry: Arc<Registry>,
    peer: PeerId,
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.registry.entries().dialling.remove(&self.peer);
    }
}

/// A peer's place among the connected.
#[derive(Debug)]
pub(crate) struct Slot {
    registry: Arc<Registry>,
    peer: PeerId,
    number: u64,
    session: Option<SessionId>,
}

impl Slot {
    /// Both sides have said who they are: from now on this is the connection, unless it gave way.
    pub(crate) fn settle(&self) -> Result<(), DisconnectReason> {
        let mut entries = self.registry.entries();
        let place = entries.peers.get_mut(&self.peer).filter(|it| it.number == self.number);
        place.ok_or(DisconnectReason::AlreadyConnected)?.is_settled = true;
        Ok(())
    }

    /// Makes the session reachable.
    pub(crate) fn attach(&mut self, session: SessionId, link: SessionLink) {
        self.registry.entries().sessions.insert(session, link);
        self.session = Some(session);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        if entries.peers.get(&self.peer).is_some_and(|place| place.number == self.number) {
            entries.peers.remove(&self.peer);
        }
        if let Some(session) = self.session {
            entries.sessions.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B512;
    use moorline_messages::{ADDRESS_SESSIONS_MAX, SUBNET_SESSIONS_MAX};

    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId(B512::repeat_byte(byte))
    }

    /// An inbound peer of this address.
    fn from(ip: [u8; 4]) -> Option<Origin> {
        Some(Origin::of(ip.into()))
    }

    const HERE: [u8; 4] = [127, 0, 0, 1];

    #[test]
    fn slots_run_out_and_come_back() {
        let registry = Arc::new(Registry::new(peer(0), 1, 2));
        let inbound = registry.claim(peer(1), from(HERE)).unwrap();
        let refused = |byte, origin| registry.claim(peer(byte), origin).unwrap_err();
        assert_eq!(refused(2, from(HERE)), DisconnectReason::TooManyPeers);
        let _outbound = registry.claim(peer(2), None).unwrap();
        assert_eq!(refused(3, None), DisconnectReason::TooManyPeers);
        assert_eq!(refused(1, None), DisconnectReason::AlreadyConnected);
        drop(inbound);
        registry.claim(peer(3), from(HERE)).unwrap();
    }

    #[test]
    fn whom_the_operator_named_is_let_in_and_takes_nobodys_slot() {
        let registry = Arc::new(Registry::new(peer(0), 1, 1));
        let _stranger = registry.claim(peer(1), from(HERE)).unwrap();
        assert!(registry.claim(peer(2), from(HERE)).is_err());
        assert!(registry.begin_dial(peer(2)).is_err());
        registry.favour(BTreeSet::from([peer(1), peer(2)]));
        registry.begin_dial(peer(2)).unwrap();
        let _named = registry.claim(peer(2), from(HERE)).unwrap();
        let _another = registry.claim(peer(3), from(HERE)).unwrap();
        assert!(registry.claim(peer(4), from(HERE)).is_err());
    }

    #[test]
    fn of_two_that_dial_each_other_both_keep_what_the_lower_one_dialled() {
        let refused = Some(DisconnectReason::AlreadyConnected);
        for our_dial_is_first in [true, false] {
            let lower = Arc::new(Registry::new(peer(1), 9, 9));
            let _dial = lower.begin_dial(peer(2)).unwrap();
            let ours = our_dial_is_first.then(|| lower.claim(peer(2), None).unwrap());
            assert_eq!(lower.claim(peer(2), from(HERE)).err(), refused);
            let ours = ours.unwrap_or_else(|| lower.claim(peer(2), None).unwrap());
            ours.settle().unwrap();

            let higher = Arc::new(Registry::new(peer(2), 9, 9));
            let _dial = higher.begin_dial(peer(1)).unwrap();
            let ours = our_dial_is_first.then(|| higher.claim(peer(1), None).unwrap());
            let theirs = higher.claim(peer(1), from(HERE)).unwrap();
            match ours {
                Some(ours) => assert_eq!(ours.settle().err(), refused),
                None => assert_eq!(higher.claim(peer(1), None).err(), refused),
            }
            theirs.settle().unwrap();
            assert_eq!(higher.claim(peer(1), from(HERE)).err(), refused, "it is settled");
            drop(theirs);
            higher.claim(peer(1), from(HERE)).unwrap();
        }
    }

    #[test]
    fn one_address_or_subnet_cannot_take_all_slots() {
        let registry = Arc::new(Registry::new(peer(0), 34, 50));
        // those we dialled do not count: we chose them
        let _dialled: Vec<Slot> =
            (200..220).map(|byte| registry.claim(peer(byte), None).unwrap()).collect();
        let mut slots: Vec<Slot> = (0..9)
            .filter_map(|byte| registry.claim(peer(byte), from([192, 0, 2, 1])).ok())
            .collect();
        assert_eq!(slots.len(), ADDRESS_SESSIONS_MAX);
        slots.extend(
            (10..99).filter_map(|byte| registry.claim(peer(byte), from([192, 0, 2, byte])).ok()),
        );
        assert_eq!(slots.len(), SUBNET_SESSIONS_MAX);
        let elsewhere = registry.claim(peer(100), from([198, 51, 100, 1])).unwrap();
        // a place comes free where it was taken
        drop(elsewhere);
        assert!(registry.claim(peer(101), from([192, 0, 2, 101])).is_err());
        slots.pop();
        registry.claim(peer(101), from([192, 0, 2, 101])).unwrap();
    }

    #[test]
    fn nobody_is_dialled_twice_at_once() {
        let registry = Arc::new(Registry::new(peer(0), 9, 99));
        let dial = registry.begin_dial(peer(1)).unwrap();
        assert!(registry.begin_dial(peer(1)).is_err());
        drop(dial);
        let _slot = registry.claim(peer(1), from(HERE)).unwrap();
        assert!(registry.begin_dial(peer(1)).is_err());
        assert!(registry.begin_dial(peer(2)).is_ok());
    }
}
