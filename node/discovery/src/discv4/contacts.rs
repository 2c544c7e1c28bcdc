//! Who proved an endpoint, until when that counts, and whose record is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use moorline_messages::{PeerId, address_of, is_local};

use super::{RECORD_STALE, SETTLE, later};

/// Most nodes whose endpoint proof is remembered.
pub(crate) const CONTACTS_MAX: usize = 4_096;
/// Most of them at one IPv4 address or in one /64 of IPv6.
pub(crate) const CONTACTS_PER_SENDER_MAX: usize = 16;
/// How long a proof counts (devp2p `discv4.md`, "Endpoint Proof").
pub(crate) const PROOF_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A record is asked for so often in a row.
const RECORD_TRIES: u8 = 3;
/// How long to wait before asking again.
const RECORD_RETRY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    pub(crate) addr: SocketAddr,
    proved_at: Instant,
    /// From when on questions may be put.
    pub(crate) ready_at: Instant,
    /// What the node last said its record's sequence number is.
    announced_seq: Option<u64>,
    record_seq: Option<u64>,
    record_at: Option<Instant>,
    record_tries: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Contacts {
    contacts: BTreeMap<PeerId, Contact>,
    /// Whose record is asked for when.
    due: BTreeSet<(Instant, PeerId)>,
}

impl Contacts {
    /// The node, if it proved that it is at this address, lately enough.
    pub(crate) fn proven(&self, id: &PeerId, addr: SocketAddr, now: Instant) -> Option<&Contact> {
        let contact = self.contacts.get(id)?;
        let counts = now.saturating_duration_since(contact.proved_at) < PROOF_TIME;
        (counts && contact.addr == addr).then_some(contact)
    }

    /// How long ago the node answered a ping from this address.
    pub(crate) fn proof_age(
        &self,
        id: &PeerId,
        addr: SocketAddr,
        now: Instant,
    ) -> Option<Duration> {
        let contact = self.proven(id, addr, now)?;
        Some(now.saturating_duration_since(contact.proved_at))
    }

    /// A ping of ours was answered from this address.
    pub(crate) fn prove(
        &mut self,
        id: PeerId,
        addr: SocketAddr,
        announced_seq: Option<u64>,
        now: Instant,
    ) {
        let known = self.contacts.get(&id).filter(|known| known.addr == addr).copied();
        if known.is_none() {
            self.make_room(&id, addr.ip());
        }
        // who has been known for a while has proved us as well
        let ready_at = known.map_or_else(|| later(now, SETTLE), |known| known.ready_at);
        let contact = Contact {
            addr,
            proved_at: now,
            ready_at,
            announced_seq,
            record_seq: known.and_then(|known| known.record_seq),
            record_at: known.and_then(|known| known.record_at),
            record_tries: 0,
        };
        self.contacts.insert(id, contact);
        self.want_record(&id, now);
    }

    /// The node said in a ping which record it has.
    pub(crate) fn announce(&mut self, id: &PeerId, seq: Option<u64>, now: Instant) {
        if let Some(contact) = self.contacts.get_mut(id)
            && contact.announced_seq != seq
        {
            contact.announced_seq = seq;
            self.want_record(id, now);
        }
    }

    /// Whether a verified record of this sequence number is news; an older one is not.
    pub(crate) fn record_came(&mut self, id: &PeerId, seq: u64, now: Instant) -> bool {
        let Some(contact) = self.contacts.get_mut(id) else { return false };
        contact.record_tries = 0;
        contact.record_at = Some(now);
        if contact.record_seq.is_some_and(|known| known > seq) {
            return false;
        }
        contact.record_seq = Some(seq);
        true
    }

    pub(crate) fn record_failed(&mut self, id: &PeerId, now: Instant) {
        let Some(contact) = self.contacts.get_mut(id) else { return };
        contact.record_tries = contact.record_tries.saturating_add(1);
        if contact.record_tries < RECORD_TRIES {
            self.due.insert((later(now, RECORD_RETRY), *id));
        }
    }

    /// The next node whose record is to be asked for now.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(PeerId, SocketAddr)> {
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                return None;
            }
            self.due.pop_first();
            if let Some(contact) = self.contacts.get(&id) {
                return Some((id, contact.addr));
            }
        }
        None
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.contacts.len()
    }

    /// Without a sequence number there is no record (EIP-868).
    fn want_record(&mut self, id: &PeerId, now: Instant) {
        let Some(contact) = self.contacts.get(id) else { return };
        let Some(announced) = contact.announced_seq else { return };
        let newer = contact.record_seq.is_none_or(|known| announced > known);
        let stale =
            contact.record_at.is_none_or(|at| now.saturating_duration_since(at) >= RECORD_STALE);
        let at = contact.ready_at.max(now);
        if (newer || stale) && !self.due.iter().any(|(_, due)| due == id) {
            self.due.insert((at, *id));
        }
    }

    /// Forgets the proof that is oldest: at the same sender where it has its share, else anywhere.
    fn make_room(&mut self, id: &PeerId, ip: IpAddr) {
        let sender = address_of(ip);
        let mut of_sender: Vec<_> = Vec::new();
        if !is_local(ip) {
            let others = self.contacts.iter().filter(|(other, _)| *other != id);
            of_sender.extend(others.filter(|(_, contact)| address_of(contact.addr.ip()) == sender));
        }
        let oldest = if of_sender.len() >= CONTACTS_PER_SENDER_MAX {
            of_sender.into_iter().min_by_key(|(_, contact)| contact.proved_at)
        } else if self.contacts.len() >= CONTACTS_MAX {
            self.contacts.iter().min_by_key(|(_, contact)| contact.proved_at)
        } else {
            None
        };
        if let Some(gone) = oldest.map(|(id, _)| *id) {
            self.contacts.remove(&gone);
            self.due.retain(|(_, due)| *due != gone);
        }
    }
}
