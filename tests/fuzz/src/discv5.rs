//! discv5: what a packet says of its sender before anything is decrypted. It is the one step of the
//! crate's decoding that can be called from outside, and the one in which lengths and records are read.

use discv5::packet::PacketKind;
use enr::NodeId;

use crate::{Target, discv4::nodes, script::Script};

/// The authentication data of ordinary packets, challenges and handshakes.
pub(crate) const AUTH_DATA: Target =
    Target { name: "discv5_auth_data", max_len: 1240, read: auth_data, seeds: auth_data_seeds };

fn auth_data(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let kind = script.byte() % 4;
    PacketKind::decode(kind, script.rest()).is_ok_and(|kind| !kind.encode().is_empty())
}

fn auth_data_seeds() -> Vec<Vec<u8>> {
    let src_id = NodeId::new(&[9; 32]);
    let handshake = |enr_record| PacketKind::Handshake {
        src_id,
        id_nonce_sig: vec![2; 64],
        ephem_pubkey: vec![3; 33],
        enr_record,
    };
    let record = nodes()[1].record_text().parse().expect("the record is good");
    let kinds = [
        (0, PacketKind::Message { src_id }),
        (1, PacketKind::WhoAreYou { id_nonce: [2; 16], enr_seq: 3 }),
        (2, handshake(None)),
        (2, handshake(Some(record))),
    ];
    kinds.map(|(number, kind)| [vec![number], kind.encode()].concat()).to_vec()
}
