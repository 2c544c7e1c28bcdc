//! discv4 packets (devp2p `discv4.md`): `hash || signature || type || data`.

use std::net::{IpAddr, SocketAddr};

use alloy_primitives::{B256, B512, keccak256};
use alloy_rlp::{Decodable, Encodable, Header};
use moorline_messages::PeerId;

use crate::{
    DropReason,
    key::{NodeKey, SIGNATURE_BYTES, signer},
};

/// No datagram is longer.
pub(crate) const PACKET_BYTES_MAX: usize = 1_280;
/// Most nodes that fit into one packet, whatever their addresses.
pub(crate) const NEIGHBORS_PER_PACKET: usize = 12;
/// Most nodes that a packet is read for; one answer has no more in all.
pub(crate) const NEIGHBORS_MAX: usize = 16;

const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = HASH_BYTES + SIGNATURE_BYTES;
const VERSION: u8 = 4;

/// Where a node says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
}

impl Endpoint {
    pub(crate) fn of(addr: SocketAddr, tcp: u16) -> Self {
        Self { ip: Some(addr.ip()), udp: addr.port(), tcp }
    }
}

/// A node that another node names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbor {
    pub(crate) id: PeerId,
    pub(crate) endpoint: Endpoint,
}

/// What a packet says. What follows the fields that are known is ignored (EIP-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Ping { from: Endpoint, to: Endpoint, expiration: u64, record_seq: Option<u64> },
    Pong { to: Endpoint, ping_hash: B256, expiration: u64, record_seq: Option<u64> },
    FindNode { target: B512, expiration: u64 },
    Neighbors { nodes: Vec<Neighbor>, expiration: u64 },
    RecordRequest { expiration: u64 },
    RecordResponse { request_hash: B256, record: Vec<u8> },
}

/// A packet whose hash and signature are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) sender: PeerId,
    pub(crate) hash: B256,
    pub(crate) packet: Packet,
}

/// Takes the two cheap steps first: size and hash say whether this is discv4 at all.
pub(crate) fn decode(datagram: &[u8]) -> Result<Received, DropReason> {
    if datagram.len() > PACKET_BYTES_MAX {
        return Err(DropReason::Size);
    }
    let (hash, signed) = datagram.split_first_chunk::<HASH_BYTES>().ok_or(DropReason::Size)?;
    let (signature, typed) =
        signed.split_first_chunk::<SIGNATURE_BYTES>().ok_or(DropReason::Size)?;
    let (kind, mut data) = typed.split_first().ok_or(DropReason::Size)?;
    if keccak256(signed).0 != *hash {
        return Err(DropReason::Foreign);
    }
    let sender = signer(keccak256(typed), signature).ok_or(DropReason::Signature)?;
    let packet = decode_data(*kind, &mut data)?;
    Ok(Received { sender, hash: B256::from(*hash), packet })
}

pub(crate) fn decode_data(kind: u8, data: &mut &[u8]) -> Result<Packet, DropReason> {
    let read: fn(&mut &[u8]) -> alloy_rlp::Result<Packet> = match kind {
        1 => decode_ping,
        2 => decode_pong,
        3 => decode_find_node,
        4 => decode_neighbors,
        5 => |items| Ok(Packet::RecordRequest { expiration: u64::decode(items)? }),
        6 => decode_record_response,
        _ => return Err(DropReason::Malformed),
    };
    let mut items = Header::decode_bytes(data, true).map_err(|_| DropReason::Malformed)?;
    read(&mut items).map_err(|_| DropReason::Malformed)
}

fn decode_ping(items: &mut &[u8]) -> alloy_rlp::Result<Packet> {
    // versions are not compared: EIP-8 wants packets of later ones understood
    Header::decode_bytes(items, false)?;
    Ok(Packet::Ping {
        from: decode_endpoint(items)?,
        to: decode_endpoint(items)?,
        expiration: u64::decode(items)?,
        record_seq: decode_seq(items),
    })
}

fn decode_pong(items: &mut &[u8]) -> alloy_rlp::Result<Packet> {
    Ok(Packet::Pong {
        to: decode_endpoint(items)?,
        ping_hash: B256::decode(items)?,
        expiration: u64::decode(items)?,
        record_seq: decode_seq(items),
    })
}

fn decode_find_node(items: &mut &[u8]) -> alloy_rlp::Result<Packet> {
    Ok(Packet::FindNode { target: B512::decode(items)?, expiration: u64::decode(items)? })
}

fn decode_neighbors(items: &mut &[u8]) -> alloy_rlp::Result<Packet> {
    let mut list = Header::decode_bytes(items, true)?;
    let mut nodes = Vec::new();
    while !list.is_empty() && nodes.len() < NEIGHBORS_MAX {
        let mut fields = Header::decode_bytes(&mut list, true)?;
        let endpoint = decode_endpoint_fields(&mut fields)?;
        nodes.push(Neighbor { id: PeerId(B512::decode(&mut fields)?), endpoint });
    }
    Ok(Packet::Neighbors { nodes, expiration: u64::decode(items)? })
}

fn decode_record_response(items: &mut &[u8]) -> alloy_rlp::Result<Packet> {
    let request_hash = B256::decode(items)?;
    let mut rest = *items;
    Header::decode_bytes(&mut rest, true)?;
    let length = items.len().saturating_sub(rest.len());
    let record = items.get(..length).unwrap_or_default().to_vec();
    Ok(Packet::RecordResponse { request_hash, record })
}

/// The sequence number that EIP-868 added; anything else in its place is somebody's extension.
fn decode_seq(items: &mut &[u8]) -> Option<u64> {
    u64::decode(items).ok()
}

fn decode_endpoint(items: &mut &[u8]) -> alloy_rlp::Result<Endpoint> {
    let mut fields = Header::decode_bytes(items, true)?;
    decode_endpoint_fields(&mut fields)
}

fn decode_endpoint_fields(fields: &mut &[u8]) -> alloy_rlp::Result<Endpoint> {
    let ip = Header::decode_bytes(fields, false)?;
    let ip = <[u8; 4]>::try_from(ip)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(ip).map(IpAddr::from))
        .ok();
    let ip = ip.map(|ip| ip.to_canonical());
    Ok(Endpoint { ip, udp: u16::decode(fields)?, tcp: u16::decode(fields)? })
}

/// The datagram, and its hash by which an answer names it.
pub(crate) fn encode(key: &NodeKey, packet: &Packet) -> (Vec<u8>, B256) {
    let mut typed = vec![packet.kind()];
    let mut items = Vec::new();
    packet.encode_items(&mut items);
    put_list(&items, &mut typed);
    let mut signed = key.sign(keccak256(&typed)).to_vec();
    signed.extend_from_slice(&typed);
    let hash = keccak256(&signed);
    let mut datagram = Vec::with_capacity(HEAD_BYTES.saturating_add(typed.len()));
    datagram.extend_from_slice(hash.as_slice());
    datagram.extend_from_slice(&signed);
    (datagram, hash)
}

impl Packet {
    fn kind(&self) -> u8 {
        match self {
            Self::Ping { .. } => 1,
            Self::Pong { .. } => 2,
            Self::FindNode { .. } => 3,
            Self::Neighbors { .. } => 4,
            Self::RecordRequest { .. } => 5,
            Self::RecordResponse { .. } => 6,
        }
    }

    /// Until when the packet is good, in seconds of Unix time. Record responses carry no such time
    /// and are held to the hash of their request.
    pub(crate) fn expiration(&self) -> Option<u64> {
        match self {
            Self::Ping { expiration, .. }
            | Self::Pong { expiration, .. }
            | Self::FindNode { expiration, .. }
            | Self::Neighbors { expiration, .. }
            | Self::RecordRequest { expiration } => Some(*expiration),
            Self::RecordResponse { .. } => None,
        }
    }

    fn encode_items(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping { from, to, expiration, record_seq } => {
                VERSION.encode(out);
                put_endpoint(from, out);
                put_endpoint(to, out);
                expiration.encode(out);
                record_seq.iter().for_each(|seq| seq.encode(out));
            }
            Self::Pong { to, ping_hash, expiration, record_seq } => {
                put_endpoint(to, out);
                ping_hash.encode(out);
                expiration.encode(out);
                record_seq.iter().for_each(|seq| seq.encode(out));
            }
            Self::FindNode { target, expiration } => {
                target.encode(out);
                expiration.encode(out);
            }
            Self::Neighbors { nodes, expiration } => {
                let mut list = Vec::new();
                for node in nodes {
                    let mut fields = Vec::new();
                    put_endpoint_fields(&node.endpoint, &mut fields);
                    node.id.0.encode(&mut fields);
                    put_list(&fields, &mut list);
                }
                put_list(&list, out);
                expiration.encode(out);
            }
            Self::RecordRequest { expiration } => expiration.encode(out),
            Self::RecordResponse { request_hash, record } => {
                request_hash.encode(out);
                out.extend_from_slice(record);
            }
        }
    }
}

fn put_list(items: &[u8], out: &mut Vec<u8>) {
    Header { list: true, payload_length: items.len() }.encode(out);
    out.extend_from_slice(items);
}

fn put_endpoint(endpoint: &Endpoint, out: &mut Vec<u8>) {
    let mut fields = Vec::new();
    put_endpoint_fields(endpoint, &mut fields);
    put_list(&fields, out);
}

fn put_endpoint_fields(endpoint: &Endpoint, out: &mut Vec<u8>) {
    match endpoint.ip {
        None => [0_u8; 4].as_slice().encode(out),
        Some(IpAddr::V4(ip)) => ip.octets().as_slice().encode(out),
        Some(IpAddr::V6(ip)) => ip.octets().as_slice().encode(out),
    }
    endpoint.udp.encode(out);
    endpoint.tcp.encode(out);
}
