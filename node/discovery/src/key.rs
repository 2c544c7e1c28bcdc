//! The node's key, and what the keys of others signed.

use std::fmt;

use alloy_primitives::{B256, B512, keccak256};
use moorline_messages::PeerId;
use secp256k1::{
    Message, PublicKey, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId, Signature},
};

/// Bytes of a signature with its recovery id.
pub(crate) const SIGNATURE_BYTES: usize = 65;

/// The key that the node's packets and record are signed with.
#[derive(Clone)]
pub(crate) struct NodeKey {
    secret: SecretKey,
    id: PeerId,
    #[cfg(feature = "fuzzing")]
    is_mute: bool,
}

impl NodeKey {
    /// None unless the bytes are a secp256k1 private key.
    pub(crate) fn new(bytes: &[u8; 32]) -> Option<Self> {
        let secret = SecretKey::from_byte_array(*bytes).ok()?;
        Some(Self {
            secret,
            id: id_of(&PublicKey::from_secret_key_global(&secret)),
            #[cfg(feature = "fuzzing")]
            is_mute: false,
        })
    }

    /// The same key, which saves itself the work of signing: its signatures are zeros.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn mute(self) -> Self {
        Self { is_mute: true, ..self }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn secret_bytes(&self) -> [u8; 32] {
        self.secret.secret_bytes()
    }

    /// `r`, `s` and the recovery id.
    pub(crate) fn sign(&self, digest: B256) -> [u8; SIGNATURE_BYTES] {
        #[cfg(feature = "fuzzing")]
        if self.is_mute {
            return [0; SIGNATURE_BYTES];
        }
        let signature =
            SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (id, compact) = signature.serialize_compact();
        let mut out = [0; SIGNATURE_BYTES];
        let [rest @ .., last] = &mut out;
        *rest = compact;
        *last = u8::try_from(i32::from(id)).unwrap_or_default();
        out
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id)
    }
}

/// Who signed the digest, if the signature is one.
pub(crate) fn signer(digest: B256, signature: &[u8; SIGNATURE_BYTES]) -> Option<PeerId> {
    let [compact @ .., id] = signature;
    let id = RecoveryId::try_from(i32::from(*id)).ok()?;
    let signature = RecoverableSignature::from_compact(compact, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &signature).ok()?;
    Some(id_of(&key))
}

/// Whether the owner of a compressed public key signed the digest.
pub(crate) fn is_signed_by(
    key: &[u8; 33],
    digest: B256,
    signature: &[u8; SIGNATURE_BYTES],
) -> bool {
    let [compact @ .., _] = signature;
    let (Ok(key), Ok(mut signature)) =
        (PublicKey::from_byte_array_compressed(*key), Signature::from_compact(compact))
    else {
        return false;
    };
    signature.normalize_s();
    SECP256K1.verify_ecdsa(Message::from_digest(digest.0), &signature, &key).is_ok()
}

/// Whether 33 bytes are a compressed point on secp256k1.
pub(crate) fn is_compressed_key(key: &[u8; 33]) -> bool {
    PublicKey::from_byte_array_compressed(*key).is_ok()
}

/// Whether an id is a point on secp256k1. One that is not belongs to nobody.
pub(crate) fn is_key(id: &PeerId) -> bool {
    let mut uncompressed = [4; 65];
    let [_, rest @ ..] = &mut uncompressed;
    *rest = id.0.0;
    PublicKey::from_byte_array_uncompressed(uncompressed).is_ok()
}

/// Where an id lies in the space that distances are measured in (discv4, "Node Identities").
pub(crate) fn place_of(id: &PeerId) -> B256 {
    keccak256(id.0)
}

fn id_of(key: &PublicKey) -> PeerId {
    let [_, id @ ..] = key.serialize_uncompressed();
    PeerId(B512::from(id))
}
