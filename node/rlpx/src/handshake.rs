//! The RLPx handshake: one `auth` packet, one `ack` packet, and the secrets that follow
//! (devp2p `rlpx.md`, "Initial Handshake"; EIP-8). Bytes in, bytes out.

use alloy_primitives::{B256, Keccak256, keccak256};
use alloy_rlp::Encodable;
use bytes::{Bytes, BytesMut};
use moorline_messages::PeerId;
use rand::{Rng, RngCore};
use secp256k1::{
    Message, PublicKey, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use thiserror::Error;

use crate::{
    ecies::{self, EciesError},
    key::{self, KeyError},
    rlp::{Items, RlpError, list_of},
};

/// The longest `auth` or `ack` body that is read. Nobody has shown itself by then, so nothing larger
/// is worth the memory.
pub const MAX_PACKET_BYTES: usize = 2048;

/// Handshake version, which peers must ignore when it differs (EIP-8).
const VERSION: u8 = 4;

/// Random padding of 100 to 199 bytes, which tells these packets from those before EIP-8.
const PADDING_BYTES: std::ops::Range<usize> = 100..200;

/// Why a handshake failed. Whoever sent the packet is not proved to be anybody yet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The size prefix is beyond what a packet may have.
    #[error("a handshake packet of {0} bytes; {min} to {MAX_PACKET_BYTES} are allowed", min = ecies::OVERHEAD_BYTES)]
    Size(usize),
    /// It cannot be decrypted.
    #[error(transparent)]
    Ecies(#[from] EciesError),
    /// The decrypted body is not RLP of the right shape.
    #[error("the handshake body is wrong: {0}")]
    Body(#[from] RlpError),
    /// A key in it is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature proves nothing.
    #[error("the handshake signature is invalid")]
    Signature,
}

/// What both sides know after the handshake, seen from one of them.
#[derive(Clone)]
pub struct Secrets {
    pub(crate) aes: B256,
    pub(crate) mac: B256,
    pub(crate) egress_mac: Keccak256,
    pub(crate) ingress_mac: Keccak256,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// How many bytes follow the two of a packet's size prefix.
pub fn body_length(prefix: [u8; 2]) -> Result<usize, HandshakeError> {
    let size = usize::from(u16::from_be_bytes(prefix));
    if (ecies::OVERHEAD_BYTES..=MAX_PACKET_BYTES).contains(&size) {
        Ok(size)
    } else {
        Err(HandshakeError::Size(size))
    }
}

/// The side that dialled, waiting for an `ack`.
#[derive(Debug)]
#[cfg_attr(feature = "fuzzing", derive(Clone))]
pub struct Initiator {
    secret: SecretKey,
    ephemeral: SecretKey,
    nonce: B256,
    auth: Vec<u8>,
}

impl Initiator {
    /// Begins a handshake with the node of this id. [`Initiator::auth`] is to be sent.
    pub fn new(secret: &[u8; 32], remote: PeerId) -> Result<Self, HandshakeError> {
        let secret = key::secret_key(secret)?;
        let mut nonce = B256::ZERO;
        rand::rng().fill_bytes(nonce.as_mut_slice());
        Self::with(secret, key::new_secret(), nonce, remote)
    }

    fn with(
        secret: SecretKey,
        ephemeral: SecretKey,
        nonce: B256,
        remote: PeerId,
    ) -> Result<Self, HandshakeError> {
        let remote = key::public_key(&remote.0.0)?;
        let token = B256::from(ecies::agree(&remote, &secret));
        let signature = sign(&ephemeral, token ^ nonce);
        let body = list_of(|out| {
            signature.as_slice().encode(out);
            key::id_of(&PublicKey::from_secret_key_global(&secret)).0.encode(out);
            nonce.encode(out);
            VERSION.encode(out);
        });
        let auth = seal_packet(&remote, body);
        Ok(Self { secret, ephemeral, nonce, auth })
    }

    /// The packet that opens the handshake.
    pub fn auth(&self) -> &[u8] {
        &self.auth
    }

    /// Ends the handshake with the `ack` packet, its size prefix included.
    pub fn finish(self, ack: &[u8]) -> Result<Secrets, HandshakeError> {
        let items = open_packet(&self.secret, ack)?;
        self.agree(items, ack)
    }

    pub(crate) fn agree(self, mut items: Items, ack: &[u8]) -> Result<Secrets, HandshakeError> {
        let remote_ephemeral = key::public_key(&fixed(&mut items)?)?;
        let remote_nonce = B256::from(fixed::<32>(&mut items)?);
        let shared = ecies::agree(&remote_ephemeral, &self.ephemeral);
        let session = session_keys(shared, remote_nonce, self.nonce);
        Ok(Secrets {
            aes: session.aes,
            mac: session.mac,
            egress_mac: absorb(session.mac ^ remote_nonce, &self.auth),
            ingress_mac: absorb(session.mac ^ self.nonce, ack),
        })
    }
}

/// The side that was dialled: who dialled it, what to answer, and the secrets.
#[derive(Debug)]
pub struct Response {
    /// Who proved to hold the key of this id, once the first frame authenticates.
    pub remote: PeerId,
    /// The packet to send.
    pub ack: Vec<u8>,
    /// The secrets.
    pub secrets: Secrets,
}

impl Response {
    /// Answers an `auth` packet, its size prefix included.
    pub fn to(secret: &[u8; 32], auth: &[u8]) -> Result<Self, HandshakeError> {
        let mut nonce = B256::ZERO;
        rand::rng().fill_bytes(nonce.as_mut_slice());
        let auth_body = AuthBody::open(&key::secret_key(secret)?, auth)?;
        Self::with(auth_body, auth, key::new_secret(), nonce)
    }

    fn with(
        body: AuthBody,
        auth: &[u8],
        ephemeral: SecretKey,
        nonce: B256,
    ) -> Result<Self, HandshakeError> {
        let answer = list_of(|out| {
            key::id_of(&PublicKey::from_secret_key_global(&ephemeral)).0.encode(out);
            nonce.encode(out);
            VERSION.encode(out);
        });
        let ack = seal_packet(&body.remote, answer);
        let secrets = body.secrets(auth, &ack, &ephemeral, nonce);
        Ok(Self { remote: key::id_of(&body.remote), ack, secrets })
    }
}

/// What an `auth` packet says.
pub(crate) struct AuthBody {
    pub(crate) remote: PublicKey,
    remote_ephemeral: PublicKey,
    remote_nonce: B256,
}

impl AuthBody {
    fn open(secret: &SecretKey, auth: &[u8]) -> Result<Self, HandshakeError> {
        Self::read(secret, open_packet(secret, auth)?)
    }

    pub(crate) fn read(secret: &SecretKey, mut items: Items) -> Result<Self, HandshakeError> {
        let signature = fixed::<65>(&mut items)?;
        let remote = key::public_key(&fixed(&mut items)?)?;
        let remote_nonce = B256::from(fixed::<32>(&mut items)?);
        let token = B256::from(ecies::agree(&remote, secret));
        let remote_ephemeral = recover(&signature, token ^ remote_nonce)?;
        Ok(Self { remote, remote_ephemeral, remote_nonce })
    }

    fn secrets(&self, auth: &[u8], ack: &[u8], ephemeral: &SecretKey, nonce: B256) -> Secrets {
        let shared = ecies::agree(&self.remote_ephemeral, ephemeral);
        let session = session_keys(shared, nonce, self.remote_nonce);
        Secrets {
            aes: session.aes,
            mac: session.mac,
            egress_mac: absorb(session.mac ^ self.remote_nonce, ack),
            ingress_mac: absorb(session.mac ^ nonce, auth),
        }
    }
}

struct SessionKeys {
    aes: B256,
    mac: B256,
}

fn session_keys(ephemeral: [u8; 32], recipient_nonce: B256, initiator_nonce: B256) -> SessionKeys {
    let nonces = keccak256([recipient_nonce.as_slice(), initiator_nonce.as_slice()].concat());
    let shared = keccak256([ephemeral.as_slice(), nonces.as_slice()].concat());
    let aes = keccak256([ephemeral.as_slice(), shared.as_slice()].concat());
    let mac = keccak256([ephemeral.as_slice(), aes.as_slice()].concat());
    SessionKeys { aes, mac }
}

fn absorb(seed: B256, packet: &[u8]) -> Keccak256 {
    let mut state = Keccak256::new();
    state.update(seed);
    state.update(packet);
    state
}

fn sign(secret: &SecretKey, digest: B256) -> [u8; 65] {
    let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), secret);
    let (id, compact) = signature.serialize_compact();
    let mut bytes = [0; 65];
    let (last, rest) = bytes.split_last_mut().unzip();
    if let (Some(last), Some(rest)) = (last, rest) {
        rest.copy_from_slice(&compact);
        *last = u8::try_from(i32::from(id)).unwrap_or_default();
    }
    bytes
}

fn recover(signature: &[u8; 65], digest: B256) -> Result<PublicKey, HandshakeError> {
    let [compact @ .., id] = signature;
    let id = RecoveryId::try_from(i32::from(*id)).map_err(|_| HandshakeError::Signature)?;
    RecoverableSignature::from_compact(compact, id)
        .and_then(|signature| SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &signature))
        .map_err(|_| HandshakeError::Signature)
}

/// A string item of exactly this length.
fn fixed<const N: usize>(items: &mut Items) -> Result<[u8; N], HandshakeError> {
    let bytes = items.next_string()?;
    <[u8; N]>::try_from(bytes.as_ref())
        .map_err(|_| HandshakeError::Body(RlpError::Senseless("a field has the wrong length")))
}

fn seal_packet(recipient: &PublicKey, mut body: BytesMut) -> Vec<u8> {
    let mut padding = [0_u8; PADDING_BYTES.end];
    let mut rng = rand::rng();
    rng.fill_bytes(&mut padding);
    let length = rng.random_range(PADDING_BYTES);
    body.extend(padding.iter().take(length));
    // bodies are under 450 bytes, so the size always fits its two bytes
    let size = u16::try_from(body.len().saturating_add(ecies::OVERHEAD_BYTES)).unwrap_or(u16::MAX);
    let prefix = size.to_be_bytes();
    let mut packet = prefix.to_vec();
    packet.extend(ecies::seal(recipient, &body, &prefix));
    packet
}

fn open_packet(secret: &SecretKey, packet: &[u8]) -> Result<Items, HandshakeError> {
    let (prefix, sealed) = packet.split_first_chunk::<2>().ok_or(EciesError::Short)?;
    if body_length(*prefix)? != sealed.len() {
        return Err(HandshakeError::Size(sealed.len()));
    }
    let body = ecies::open(secret, sealed, prefix)?;
    Ok(Items::of_padded_message(Bytes::from(body))?)
}

#[cfg(test)]
mod tests;
