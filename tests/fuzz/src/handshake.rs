//! The RLPx handshake: what a node reads of somebody whom it does not know at all.

use std::sync::OnceLock;

use alloy_primitives::hex;
use alloy_rlp::{Encodable, Header};
use bytes::Bytes;
use moorline_messages::PeerId;
use moorline_rlpx::{
    fuzzing::{read_ack_body, read_auth_body},
    handshake::{Initiator, Response, body_length},
    node_id,
};

use crate::{Target, script::Script};

/// The key that EIP-8 has its examples sealed for.
pub(crate) const OURS: [u8; 32] =
    hex!("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291");
pub(crate) const THEIRS: [u8; 32] = [9; 32];

/// `auth` and `ack` packets as they come from the wire.
pub(crate) const PACKETS: Target =
    Target { name: "handshake_packets", max_len: 1024, read: packets, seeds: packet_seeds };

/// What these packets say, once they are opened.
pub(crate) const BODIES: Target =
    Target { name: "handshake_bodies", max_len: 512, read: bodies, seeds: body_seeds };

struct Parties {
    ours: PeerId,
    /// We dialled them.
    initiator: Initiator,
}

fn parties() -> &'static Parties {
    static PARTIES: OnceLock<Parties> = OnceLock::new();
    PARTIES.get_or_init(|| {
        let (ours, theirs) = (node_id(&OURS).unwrap(), node_id(&THEIRS).unwrap());
        let initiator = Initiator::new(&OURS, theirs).unwrap();
        Parties { ours, initiator }
    })
}

fn packets(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let is_auth = script.below(2) == 0;
    let packet = script.rest();
    if let Some(prefix) = packet.first_chunk() {
        let _ = body_length(*prefix);
    }
    if is_auth {
        Response::to(&OURS, packet).is_ok()
    } else {
        parties().initiator.clone().finish(packet).is_ok()
    }
}

fn packet_seeds() -> Vec<Vec<u8>> {
    let auth = Initiator::new(&THEIRS, parties().ours).unwrap().auth().to_vec();
    let ack = Response::to(&THEIRS, parties().initiator.auth()).unwrap().ack;
    vec![[vec![0], auth].concat(), [vec![1], ack].concat()]
}

fn bodies(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let is_auth = script.below(2) == 0;
    let body = Bytes::copy_from_slice(script.rest());
    if is_auth {
        read_auth_body(&OURS, body).is_ok()
    } else {
        read_ack_body(&parties().initiator, body).is_ok()
    }
}

/// The body of an auth packet that recovers to some ephemeral key.
fn auth_body() -> Vec<u8> {
    // any signature whose r is on the curve and whose s is small recovers to somebody
    let mut signature = [1_u8; 65];
    signature[64] = 0;
    list(&[&signature[..], node_id(&THEIRS).unwrap().0.as_slice(), &[5; 32], &[4]])
}

fn ack_body() -> Vec<u8> {
    list(&[node_id(&THEIRS).unwrap().0.as_slice(), &[5; 32], &[4]])
}

fn list(strings: &[&[u8]]) -> Vec<u8> {
    let mut items = Vec::new();
    strings.iter().for_each(|string| string.encode(&mut items));
    let mut out = Vec::new();
    Header { list: true, payload_length: items.len() }.encode(&mut out);
    [out, items].concat()
}

fn body_seeds() -> Vec<Vec<u8>> {
    let padded = [ack_body(), vec![0; 100]].concat();
    vec![
        [vec![0], auth_body()].concat(),
        [vec![1], ack_body()].concat(),
        [vec![1], padded].concat(),
    ]
}
