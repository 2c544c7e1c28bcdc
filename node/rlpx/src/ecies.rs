//! ECIES as RLPx uses it: secp256k1, a one-round concatenation KDF, AES-128-CTR and HMAC-SHA256
//! (devp2p `rlpx.md`, "ECIES Encryption").

use aes::{
    Aes128,
    cipher::{KeyIvInit, StreamCipher},
};
use ctr::Ctr128BE;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngCore;
use secp256k1::{PublicKey, SecretKey, ecdh::shared_secret_point};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::key;

/// Bytes that sealing adds: ephemeral public key, initialisation vector, tag.
pub(crate) const OVERHEAD_BYTES: usize = 65 + 16 + 32;

/// Why a sealed message cannot be opened. Each means the same to us: these bytes were not made for
/// this key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EciesError {
    /// Shorter than a sealed empty message.
    #[error("the encrypted message is too short")]
    Short,
    /// The ephemeral key is not an uncompressed point on the curve.
    #[error("the encrypted message starts with an invalid public key")]
    Point,
    /// The tag does not fit the bytes.
    #[error("the encrypted message does not authenticate")]
    Tag,
}

/// The x coordinate of the shared point.
pub(crate) fn agree(public: &PublicKey, secret: &SecretKey) -> [u8; 32] {
    let mut x = [0; 32];
    for (to, from) in x.iter_mut().zip(shared_secret_point(public, secret)) {
        *to = from;
    }
    x
}

/// Encryption and authentication keys (NIST SP 800-56 concatenation KDF, one SHA-256 round).
fn derive(shared: &[u8; 32]) -> ([u8; 16], [u8; 32]) {
    let key = Sha256::new().chain_update(1_u32.to_be_bytes()).chain_update(shared).finalize();
    let (encryption, authentication) = key.split_at(16);
    let mut encryption_key = [0; 16];
    encryption_key.copy_from_slice(encryption);
    (encryption_key, Sha256::digest(authentication).into())
}

fn tag_over(key: &[u8; 32], iv: &[u8; 16], ciphertext: &[u8], auth_data: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&sha256_block(key).into());
    mac.update(iv);
    mac.update(ciphertext);
    mac.update(auth_data);
    mac
}

/// HMAC pads a key of 32 bytes with zeros to the hash's block of 64.
fn sha256_block(key: &[u8; 32]) -> [u8; 64] {
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}

/// Encrypts `plain` for `recipient`; `auth_data` is authenticated and not sent.
pub(crate) fn seal(recipient: &PublicKey, plain: &[u8], auth_data: &[u8]) -> Vec<u8> {
    let ephemeral = key::new_secret();
    let (encryption, authentication) = derive(&agree(recipient, &ephemeral));
    let mut iv = [0; 16];
    rand::rng().fill_bytes(&mut iv);
    let mut ciphertext = plain.to_vec();
    Ctr128BE::<Aes128>::new(&encryption.into(), &iv.into()).apply_keystream(&mut ciphertext);
    let tag = tag_over(&authentication, &iv, &ciphertext, auth_data).finalize().into_bytes();
    let public = PublicKey::from_secret_key_global(&ephemeral).serialize_uncompressed();
    [&public[..], &iv[..], &ciphertext[..], &tag[..]].concat()
}

/// Decrypts what was sealed for `secret`. The tag is compared in constant time, before decryption.
pub(crate) fn open(
    secret: &SecretKey,
    sealed: &[u8],
    auth_data: &[u8],
) -> Result<Vec<u8>, EciesError> {
    let (public, rest) = sealed.split_first_chunk::<65>().ok_or(EciesError::Short)?;
    let (iv, rest) = rest.split_first_chunk::<16>().ok_or(EciesError::Short)?;
    let (ciphertext, tag) = rest.split_last_chunk::<32>().ok_or(EciesError::Short)?;
    let public = PublicKey::from_byte_array_uncompressed(*public).map_err(|_| EciesError::Point)?;
    let (encryption, authentication) = derive(&agree(&public, secret));
    tag_over(&authentication, iv, ciphertext, auth_data)
        .verify(&(*tag).into())
        .map_err(|_| EciesError::Tag)?;
    let mut plain = ciphertext.to_vec();
    Ctr128BE::<Aes128>::new(&encryption.into(), iv.into()).apply_keystream(&mut plain);
    Ok(plain)
}
