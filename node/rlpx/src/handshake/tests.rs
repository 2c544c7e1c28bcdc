#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::testdata::{load, load_bytes, unhex, unhex_array};

#[derive(Deserialize)]
struct Vectors {
    keys: Keys,
    nonces_sig: Nonces,
    auth: Vec<Packet>,
    ack: Vec<Packet>,
    derivation_recipient_auth2_ack2: Derived,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Keys {
    keyA: String,
    keyB: String,
    ephA: String,
    ephB: String,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Nonces {
    nonceA: String,
    nonceB: String,
    authSignature: String,
}

#[derive(Deserialize)]
struct Packet {
    input: String,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Derived {
    AES: String,
    MAC: String,
    FooIngressHash: String,
}

fn key(text: &str) -> SecretKey {
    key::secret_key(&unhex_array(text)).unwrap()
}

fn vectors() -> Option<Vectors> {
    load("vectors/rlpx_eip8.json")
}

#[test]
fn auth_packets_of_other_versions_and_with_more_fields_are_read() {
    let Some(vectors) = vectors() else { return };
    for packet in &vectors.auth {
        let auth = unhex(&packet.input);
        let body = AuthBody::open(&key(&vectors.keys.keyB), &auth).unwrap();
        assert_eq!(body.remote, PublicKey::from_secret_key_global(&key(&vectors.keys.keyA)));
        assert_eq!(
            body.remote_ephemeral,
            PublicKey::from_secret_key_global(&key(&vectors.keys.ephA))
        );
        assert_eq!(body.remote_nonce.0, unhex_array(&vectors.nonces_sig.nonceA));
    }
    assert_eq!(vectors.auth.len(), 2);
}

#[test]
fn ack_packets_end_the_handshake_and_give_the_secrets() {
    let Some(vectors) = vectors() else { return };
    let keys = &vectors.keys;
    let remote = key::id_of(&PublicKey::from_secret_key_global(&key(&keys.keyB)));
    for packet in &vectors.ack {
        let mut initiator = Initiator::with(
            key(&keys.keyA),
            key(&keys.ephA),
            B256::from(unhex_array(&vectors.nonces_sig.nonceA)),
            remote,
        )
        .unwrap();
        initiator.auth = unhex(&vectors.auth[1].input);
        let secrets = initiator.finish(&unhex(&packet.input)).unwrap();
        assert_eq!(secrets.aes.0, unhex_array(&vectors.derivation_recipient_auth2_ack2.AES));
        assert_eq!(secrets.mac.0, unhex_array(&vectors.derivation_recipient_auth2_ack2.MAC));
    }
    assert_eq!(vectors.ack.len(), 2);
}

#[test]
fn the_recipient_derives_the_same_secrets_and_mac_state() {
    let Some(vectors) = vectors() else { return };
    let auth = unhex(&vectors.auth[0].input);
    let body = AuthBody::open(&key(&vectors.keys.keyB), &auth).unwrap();
    let ack = unhex(&vectors.ack[0].input);
    let nonce = B256::from(unhex_array(&vectors.nonces_sig.nonceB));
    let mut secrets = body.secrets(&auth, &ack, &key(&vectors.keys.ephB), nonce);
    let derived = &vectors.derivation_recipient_auth2_ack2;
    assert_eq!(secrets.aes.0, unhex_array(&derived.AES));
    assert_eq!(secrets.mac.0, unhex_array(&derived.MAC));
    secrets.ingress_mac.update(b"foo");
    assert_eq!(secrets.ingress_mac.finalize().0, unhex_array(&derived.FooIngressHash));
}

#[test]
fn a_signature_names_the_ephemeral_key() {
    let Some(vectors) = vectors() else { return };
    let keys = &vectors.keys;
    let recipient = PublicKey::from_secret_key_global(&key(&keys.keyB));
    let token = B256::from(ecies::agree(&recipient, &key(&keys.keyA)));
    let nonce = B256::from(unhex_array(&vectors.nonces_sig.nonceA));
    let ephemeral = PublicKey::from_secret_key_global(&key(&keys.ephA));
    let theirs = unhex_array(&vectors.nonces_sig.authSignature);
    assert_eq!(recover(&theirs, token ^ nonce), Ok(ephemeral));
    let ours = sign(&key(&keys.ephA), token ^ nonce);
    assert_eq!(recover(&ours, token ^ nonce), Ok(ephemeral));
}

#[test]
fn a_captured_auth_body_is_read() {
    let (Some(body), Some(secret)) =
        (load_bytes("besu/rlpx/test.initiatormessage"), load_bytes("besu/rlpx/test.keypair"))
    else {
        return;
    };
    let secret = key(std::str::from_utf8(&secret).unwrap());
    let body = unhex(std::str::from_utf8(&body).unwrap());
    let items = Items::of_padded_message(Bytes::from(body)).unwrap();
    AuthBody::read(&secret, items).unwrap();
}

#[test]
fn two_sides_agree() {
    let (a, b) = (key::new_secret().secret_bytes(), key::new_secret().secret_bytes());
    let initiator = Initiator::new(&a, crate::node_id(&b).unwrap()).unwrap();
    let response = Response::to(&b, initiator.auth()).unwrap();
    assert_eq!(response.remote, crate::node_id(&a).unwrap());
    let ours = initiator.finish(&response.ack).unwrap();
    assert_eq!((ours.aes, ours.mac), (response.secrets.aes, response.secrets.mac));
    assert_eq!(ours.egress_mac.finalize(), response.secrets.ingress_mac.finalize());
    assert_eq!(ours.ingress_mac.finalize(), response.secrets.egress_mac.finalize());
}

#[test]
fn a_packet_longer_than_2048_bytes_is_refused_by_its_prefix() {
    assert_eq!(body_length(2048_u16.to_be_bytes()), Ok(2048));
    assert_eq!(body_length(2049_u16.to_be_bytes()), Err(HandshakeError::Size(2049)));
    assert_eq!(body_length([0, 112]), Err(HandshakeError::Size(112)));
}

#[test]
fn a_point_off_the_curve_is_an_error() {
    let secret = key::new_secret();
    let mut packet = vec![0, 200];
    packet.push(4);
    packet.extend([0x11; 199]);
    assert!(matches!(
        AuthBody::open(&secret, &packet).map(|_| ()),
        Err(HandshakeError::Ecies(EciesError::Point))
    ));
}

#[test]
fn every_truncation_and_every_flipped_byte_is_an_error() {
    let (a, b) = (key::new_secret().secret_bytes(), key::new_secret().secret_bytes());
    let initiator = Initiator::new(&a, crate::node_id(&b).unwrap()).unwrap();
    let auth = initiator.auth();
    for at in 0..auth.len() {
        assert!(Response::to(&b, &auth[..at]).is_err(), "cut at {at}");
        let mut flipped = auth.to_vec();
        flipped[at] ^= 0x01;
        assert!(Response::to(&b, &flipped).is_err(), "flipped at {at}");
    }
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic(packet in prop::collection::vec(any::<u8>(), 0..700)) {
        let secret = [7; 32];
        prop_assert!(Response::to(&secret, &packet).is_err());
        let initiator = Initiator::new(&secret, crate::node_id(&[9; 32]).unwrap()).unwrap();
        prop_assert!(initiator.finish(&packet).is_err());
    }

    #[test]
    fn arbitrary_bodies_under_a_valid_seal_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let secret = [7; 32];
        let public = PublicKey::from_secret_key_global(&key::secret_key(&secret).unwrap());
        let packet = seal_packet(&public, BytesMut::from(body.as_slice()));
        prop_assert!(Response::to(&secret, &packet).is_err());
    }
}
