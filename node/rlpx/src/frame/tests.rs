#![allow(clippy::arithmetic_side_effects)]

use alloy_primitives::{B256, keccak256};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::testdata::{load, unhex, unhex_array};

/// Secrets of both sides of one connection.
fn secrets() -> (Secrets, Secrets) {
    let mut egress = Keccak256::new();
    egress.update(b"there");
    let mut ingress = Keccak256::new();
    ingress.update(b"back");
    let ours = Secrets {
        aes: keccak256(b"aes"),
        mac: keccak256(b"mac"),
        egress_mac: egress.clone(),
        ingress_mac: ingress.clone(),
    };
    let theirs = Secrets { egress_mac: ingress, ingress_mac: egress, ..ours.clone() };
    (ours, theirs)
}

fn pair() -> (FrameEncoder, FrameDecoder) {
    let (ours, theirs) = secrets();
    (FrameEncoder::new(&ours), FrameDecoder::new(&theirs, MAX_FRAME_BYTES))
}

#[derive(Deserialize)]
struct Captured {
    aes_secret: String,
    mac_secret: String,
    egress_gen: Vec<String>,
    ingress_gen: Vec<String>,
    messages: Vec<CapturedMessage>,
}

#[derive(Deserialize)]
struct CapturedMessage {
    data: String,
    frame_size: usize,
}

impl Captured {
    fn decoder(&self) -> FrameDecoder {
        let absorb = |parts: &[String]| {
            let mut state = Keccak256::new();
            parts.iter().for_each(|part| state.update(unhex(part)));
            state
        };
        let secrets = Secrets {
            aes: B256::from(unhex_array(&self.aes_secret)),
            mac: B256::from(unhex_array(&self.mac_secret)),
            egress_mac: absorb(&self.egress_gen),
            ingress_mac: absorb(&self.ingress_gen),
        };
        FrameDecoder::new(&secrets, MAX_FRAME_BYTES)
    }
}

fn captured() -> Option<Vec<Captured>> {
    Some(vec![load("besu/rlpx/peer1.json")?, load("besu/rlpx/peer2.json")?])
}

#[test]
fn captured_sessions_decode() {
    let Some(sessions) = captured() else { return };
    for session in sessions {
        let mut decoder = session.decoder();
        for message in &session.messages {
            let mut source = BytesMut::from(unhex(&message.data).as_slice());
            let content = decoder.decode(&mut source).unwrap().unwrap();
            assert_eq!(content.len(), message.frame_size);
            assert!(source.is_empty());
        }
    }
}

#[test]
fn captured_sessions_decode_byte_by_byte() {
    let Some(sessions) = captured() else { return };
    for session in sessions {
        let mut decoder = session.decoder();
        let mut source = BytesMut::new();
        let mut sizes = Vec::new();
        for message in &session.messages {
            for byte in unhex(&message.data) {
                source.extend([byte]);
                sizes.extend(decoder.decode(&mut source).unwrap().map(|content| content.len()));
            }
        }
        let expected: Vec<usize> = session.messages.iter().map(|msg| msg.frame_size).collect();
        assert_eq!(sizes, expected);
    }
}

#[test]
fn captured_sessions_decode_in_one_piece() {
    let Some(sessions) = captured() else { return };
    for session in sessions {
        let mut decoder = session.decoder();
        let all: Vec<u8> = session.messages.iter().flat_map(|msg| unhex(&msg.data)).collect();
        let mut source = BytesMut::from(all.as_slice());
        for message in &session.messages {
            assert_eq!(decoder.decode(&mut source).unwrap().unwrap().len(), message.frame_size);
        }
    }
}

#[test]
fn a_captured_session_with_any_byte_changed_does_not_authenticate() {
    let Some(sessions) = captured() else { return };
    let session = &sessions[1];
    let whole = unhex(&session.messages[0].data);
    for at in 0..whole.len() {
        let mut changed = BytesMut::from(whole.as_slice());
        changed[at] ^= 0x10;
        let refused = session.decoder().decode(&mut changed);
        assert_eq!(refused, Err(FrameError::Mac), "byte {at}");
    }
}

#[derive(Deserialize)]
struct Golden {
    frame_golden: GoldenFrame,
}

#[derive(Deserialize)]
struct GoldenFrame {
    frame: String,
    content: String,
}

#[test]
fn ciphertext_is_the_golden_one() {
    let Some(vectors) = load::<Golden>("vectors/rlpx_eip8.json") else { return };
    let golden = unhex(&vectors.frame_golden.frame);
    let (mut secrets, _) = secrets();
    secrets.aes = keccak256(b"");
    secrets.mac = keccak256(b"");
    let mut out = BytesMut::new();
    FrameEncoder::new(&secrets).encode(&[&unhex(&vectors.frame_golden.content)], &mut out).unwrap();
    // the vector's MACs come from a stub
    assert_eq!(out.len(), golden.len());
    assert_eq!(out[..16], golden[..16]);
    assert_eq!(out[32..48], golden[32..48]);
}

#[test]
fn an_oversize_frame_is_refused_by_its_header() {
    let (mut encoder, mut decoder) = pair();
    let mut wire = BytesMut::new();
    encoder.encode(&[&[1; 2000]], &mut wire).unwrap();
    decoder.set_limit(1999);
    wire.truncate(32);
    let refused = decoder.decode(&mut wire);
    assert_eq!(refused, Err(FrameError::Size { size: 2000, limit: 1999 }));
}

#[test]
fn a_frame_that_three_bytes_cannot_size_is_not_sent() {
    let (mut encoder, _) = pair();
    let mut wire = BytesMut::new();
    let content = vec![0; MAX_FRAME_BYTES + 1];
    assert!(matches!(encoder.encode(&[&content], &mut wire), Err(FrameError::Size { .. })));
    assert!(wire.is_empty());
}

#[test]
fn an_empty_frame_is_refused() {
    let (mut encoder, mut decoder) = pair();
    let mut wire = BytesMut::new();
    encoder.encode(&[], &mut wire).unwrap();
    assert_eq!(decoder.decode(&mut wire), Err(FrameError::Empty));
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back_however_it_is_cut(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..6),
        cut in 1_usize..100,
    ) {
        let (mut encoder, mut decoder) = pair();
        let mut wire = BytesMut::new();
        for content in &contents {
            let before = wire.len();
            encoder.encode(&[&content[..1], &content[1..]], &mut wire).unwrap();
            prop_assert_eq!(wire.len() - before, wire_bytes(content.len()));
        }
        let mut source = BytesMut::new();
        let mut back = Vec::new();
        for piece in wire.chunks(cut) {
            source.extend_from_slice(piece);
            while let Some(content) = decoder.decode(&mut source).unwrap() {
                back.push(content.to_vec());
            }
        }
        prop_assert_eq!(back, contents);
    }

    #[test]
    fn arbitrary_bytes_never_authenticate(bytes in prop::collection::vec(any::<u8>(), 32..300)) {
        let (_, mut decoder) = pair();
        let mut source = BytesMut::from(bytes.as_slice());
        prop_assert_eq!(decoder.decode(&mut source), Err(FrameError::Mac));
    }
}
