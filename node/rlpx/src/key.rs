//! Node keys and the ids that follow from them.

use alloy_primitives::B512;
use moorline_messages::PeerId;
use secp256k1::{PublicKey, SecretKey};
use thiserror::Error;

/// Why 32 bytes are not a node key, or 64 bytes not a node id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Zero, or not below the order of secp256k1.
    #[error("these 32 bytes are not a secp256k1 private key")]
    Secret,
    /// Not a point on secp256k1.
    #[error("this node id is not a point on secp256k1")]
    Id,
}

/// The node id of a secret key: its uncompressed public key without the prefix byte.
pub fn node_id(secret: &[u8; 32]) -> Result<PeerId, KeyError> {
    Ok(id_of(&PublicKey::from_secret_key_global(&secret_key(secret)?)))
}

/// A new secret key from the operating system's randomness.
pub fn random_key() -> [u8; 32] {
    new_secret().secret_bytes()
}

pub(crate) fn new_secret() -> SecretKey {
    SecretKey::new(&mut rand::rng())
}

pub(crate) fn secret_key(secret: &[u8; 32]) -> Result<SecretKey, KeyError> {
    SecretKey::from_byte_array(*secret).map_err(|_| KeyError::Secret)
}

pub(crate) fn id_of(key: &PublicKey) -> PeerId {
    let [_, id @ ..] = key.serialize_uncompressed();
    PeerId(B512::from(id))
}

/// The public key behind a node id; fails unless it is a point on the curve.
pub(crate) fn public_key(id: &[u8; 64]) -> Result<PublicKey, KeyError> {
    let mut uncompressed = [4; 65];
    let [_, rest @ ..] = &mut uncompressed;
    *rest = *id;
    PublicKey::from_byte_array_uncompressed(uncompressed).map_err(|_| KeyError::Id)
}
