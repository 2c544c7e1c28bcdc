//! What comes in. Nothing is answered with more than a pong and a ping before the sender has proved
//! that it is where it says.

use std::net::SocketAddr;

use alloy_primitives::{B256, B512, keccak256};
use moorline_messages::PeerId;

use super::{
    Discv4, Effect, Now, Seed, expiration,
    pending::{Awaited, Query},
    wire::{self, Endpoint, NEIGHBORS_MAX, NEIGHBORS_PER_PACKET, Neighbor, Packet, Received},
};
use crate::{
    DropReason,
    net::{canonical, is_usable, may_relay},
    record::SignedRecord,
};

impl Discv4 {
    pub(super) fn datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        bytes: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        let from = canonical(from);
        if !is_usable(from) {
            return Err(DropReason::Address);
        }
        if !self.limits.admit(from.ip(), now.at) {
            return Err(DropReason::Rate);
        }
        self.received(now, from, wire::decode(bytes)?, effects)
    }

    /// Takes a packet whose sender is known for who it is.
    pub(crate) fn received(
        &mut self,
        now: Now,
        from: SocketAddr,
        received: Received,
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        let Received { sender, hash, packet } = received;
        if sender == self.key.id() {
            return Err(DropReason::Address);
        }
        if packet.expiration().is_some_and(|expiration| is_expired(expiration, now)) {
            return Err(DropReason::Expired);
        }
        match packet {
            Packet::Ping { from: endpoint, record_seq, .. } => {
                self.pinged(
                    now,
                    Seed { id: sender, addr: from, tcp: endpoint.tcp },
                    hash,
                    record_seq,
                    effects,
                );
                Ok(())
            }
            Packet::Pong { ping_hash, record_seq, .. } => {
                self.ponged(now, sender, from, ping_hash, record_seq)
            }
            Packet::FindNode { target, .. } => self.asked_nodes(now, sender, from, target, effects),
            Packet::Neighbors { nodes, .. } => self.told_nodes(now, sender, from, nodes),
            Packet::RecordRequest { .. } => self.asked_record(now, sender, from, hash, effects),
            Packet::RecordResponse { request_hash, record } => {
                self.told_record(now, sender, from, request_hash, &record, effects)
            }
        }
    }

    fn pinged(
        &mut self,
        now: Now,
        node: Seed,
        hash: B256,
        record_seq: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let pong = Packet::Pong {
            to: Endpoint::of(node.addr, node.tcp),
            ping_hash: hash,
            expiration: expiration(now),
            record_seq: Some(self.record_seq),
        };
        self.answer(node.addr, &pong, effects);
        if self.contacts.proven(&node.id, node.addr, now.at).is_some() {
            self.contacts.announce(&node.id, record_seq, now.at);
        } else if !self.ping(now, node, true, effects) {
            self.drops.count(DropReason::Busy);
        }
    }

    fn ponged(
        &mut self,
        now: Now,
        id: PeerId,
        from: SocketAddr,
        ping_hash: B256,
        record_seq: Option<u64>,
    ) -> Result<(), DropReason> {
        self.check_pending(&id, Query::Ping, from)?;
        let Some(Awaited::Pong { hash, tcp, .. }) = self.pending.get_mut(&id, Query::Ping) else {
            return Err(DropReason::Unsolicited);
        };
        if *hash != ping_hash {
            return Err(DropReason::Unsolicited);
        }
        let tcp = *tcp;
        self.pending.take(&id, Query::Ping);
        self.contacts.prove(id, from, record_seq, now.at);
        self.note_answered(id, from, tcp, now.at);
        self.leg_proved(&id);
        Ok(())
    }

    fn asked_nodes(
        &mut self,
        now: Now,
        id: PeerId,
        from: SocketAddr,
        target: B512,
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        self.contacts.proven(&id, from, now.at).ok_or(DropReason::Unproven)?;
        let known = self.table.closest(keccak256(target), NEIGHBORS_MAX);
        let told: Vec<_> = known
            .into_iter()
            .filter(|node| node.id != id && may_relay(from.ip(), node.addr.ip()))
            .map(|node| Neighbor { id: node.id, endpoint: Endpoint::of(node.addr, node.tcp) })
            .collect();
        let mut chunks = told.chunks(NEIGHBORS_PER_PACKET);
        // one packet at least: an empty table is an answer too
        let mut next = Some(chunks.next().unwrap_or_default());
        while let Some(nodes) = next {
            let packet = Packet::Neighbors { nodes: nodes.to_vec(), expiration: expiration(now) };
            self.answer(from, &packet, effects);
            next = chunks.next();
        }
        Ok(())
    }

    fn told_nodes(
        &mut self,
        now: Now,
        id: PeerId,
        from: SocketAddr,
        told: Vec<Neighbor>,
    ) -> Result<(), DropReason> {
        self.check_pending(&id, Query::FindNode, from)?;
        let Some(Awaited::Neighbors { nodes, answered, .. }) =
            self.pending.get_mut(&id, Query::FindNode)
        else {
            return Err(DropReason::Unsolicited);
        };
        *answered = true;
        let room = NEIGHBORS_MAX.saturating_sub(nodes.len());
        nodes.extend(told.into_iter().take(room));
        if nodes.len() < NEIGHBORS_MAX {
            return Ok(());
        }
        if let Some(Awaited::Neighbors { nodes, .. }) = self.pending.take(&id, Query::FindNode) {
            self.leg_done(now, &id, from.ip(), &nodes);
        }
        Ok(())
    }

    fn asked_record(
        &mut self,
        now: Now,
        id: PeerId,
        from: SocketAddr,
        request_hash: B256,
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        self.contacts.proven(&id, from, now.at).ok_or(DropReason::Unproven)?;
        let packet = Packet::RecordResponse { request_hash, record: self.record.clone() };
        self.answer(from, &packet, effects);
        Ok(())
    }

    fn told_record(
        &mut self,
        now: Now,
        id: PeerId,
        from: SocketAddr,
        request_hash: B256,
        record: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), DropReason> {
        self.check_pending(&id, Query::Record, from)?;
        let Some(Awaited::Record { hash }) = self.pending.get_mut(&id, Query::Record) else {
            return Err(DropReason::Unsolicited);
        };
        if *hash != request_hash {
            return Err(DropReason::Unsolicited);
        }
        self.pending.take(&id, Query::Record);
        let record = SignedRecord::decode(record).filter(|record| record.id() == id);
        let Some(record) = record else {
            self.contacts.record_failed(&id, now.at);
            return Err(DropReason::Record);
        };
        if self.contacts.record_came(&id, record.seq(), now.at) {
            // where it answers is what counts, whatever address the record names
            effects.push(Effect::Found { record: Box::new(record), ip: from.ip() });
        }
        Ok(())
    }
}

/// The packet is no longer good. Times beyond 2^63 are negative ones of a sender in Go.
fn is_expired(expiration: u64, now: Now) -> bool {
    expiration < now.unix_s || i64::try_from(expiration).is_err()
}
