//! Who is connected: slots are claimed before a session begins, and come free when it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moorline_messages::{Direction, DisconnectReason, FetchItems, PeerId, RequestId, SessionId};
use tokio::sync::{Notify, mpsc};

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
    max_inbound: usize,
    max_sessions: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    dialling: BTreeSet<PeerId>,
    peers: BTreeMap<PeerId, Direction>,
    sessions: BTreeMap<SessionId, SessionLink>,
}

impl Registry {
    pub(crate) fn new(max_inbound: usize, max_sessions: usize) -> Self {
        Self { max_inbound, max_sessions, entries: Mutex::default() }
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
        if entries.dialling.len() >= MAX_PENDING_DIALS || entries.peers.len() >= self.max_sessions {
            return Err(DisconnectReason::TooManyPeers);
        }
        entries.dialling.insert(peer);
        Ok(Dial { registry: Arc::clone(self), peer })
    }

    /// Takes one of the free slots for a peer that said hello.
    pub(crate) fn claim(
        self: &Arc<Self>,
        peer: PeerId,
        direction: Direction,
    ) -> Result<Slot, DisconnectReason> {
        let mut entries = self.entries();
        if entries.peers.contains_key(&peer) {
            return Err(DisconnectReason::AlreadyConnected);
        }
        let inbound = entries.peers.values().filter(|each| **each == Direction::Inbound).count();
        let full = entries.peers.len() >= self.max_sessions
            || (direction == Direction::Inbound && inbound >= self.max_inbound);
        if full {
            return Err(DisconnectReason::TooManyPeers);
        }
        entries.peers.insert(peer, direction);
        Ok(Slot { registry: Arc::clone(self), peer, session: None })
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
    session: Option<SessionId>,
}

impl Slot {
    /// Makes the session reachable.
    pub(crate) fn attach(&mut self, session: SessionId, link: SessionLink) {
        self.registry.entries().sessions.insert(session, link);
        self.session = Some(session);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        entries.peers.remove(&self.peer);
        if let Some(session) = self.session {
            entries.sessions.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B512;

    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId(B512::repeat_byte(byte))
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let registry = Arc::new(Registry::new(1, 2));
        let inbound = registry.claim(peer(1), Direction::Inbound).unwrap();
        let refused = |byte, direction| registry.claim(peer(byte), direction).unwrap_err();
        assert_eq!(refused(2, Direction::Inbound), DisconnectReason::TooManyPeers);
        let _outbound = registry.claim(peer(2), Direction::Outbound).unwrap();
        assert_eq!(refused(3, Direction::Outbound), DisconnectReason::TooManyPeers);
        assert_eq!(refused(1, Direction::Outbound), DisconnectReason::AlreadyConnected);
        drop(inbound);
        registry.claim(peer(3), Direction::Inbound).unwrap();
    }

    #[test]
    fn nobody_is_dialled_twice_at_once() {
        let registry = Arc::new(Registry::new(9, 99));
        let dial = registry.begin_dial(peer(1)).unwrap();
        assert!(registry.begin_dial(peer(1)).is_err());
        drop(dial);
        let _slot = registry.claim(peer(1), Direction::Inbound).unwrap();
        assert!(registry.begin_dial(peer(1)).is_err());
        assert!(registry.begin_dial(peer(2)).is_ok());
    }
}
