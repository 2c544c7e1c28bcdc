//! Frames: what every message travels in after the handshake, encrypted and authenticated
//! (devp2p `rlpx.md`, "Framing"). Bytes in, bytes out.

use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use alloy_primitives::Keccak256;
use bytes::BytesMut;
use ctr::Ctr128BE;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::handshake::Secrets;

/// The largest frame the three bytes of its size can express: 16 MiB less one byte.
pub const MAX_FRAME_BYTES: usize = 0x00ff_ffff;

/// A frame's header and the header's MAC.
const HEADER_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

/// Header data `[0, 0]`: a capability id and a context id that nobody uses any more.
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];

/// Why a frame is refused. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// A MAC does not fit: the peer does not hold the secrets, or the bytes were changed.
    #[error("a frame does not authenticate")]
    Mac,
    /// Larger than what is allowed at this point of the conversation.
    #[error("a frame of {size} bytes, and {limit} are allowed here")]
    Size {
        /// What its header says.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// No content, not even a message id.
    #[error("an empty frame")]
    Empty,
}

struct MacState {
    keccak: Keccak256,
    cipher: Aes256,
}

impl MacState {
    fn new(keccak: Keccak256, secrets: &Secrets) -> Self {
        Self { keccak, cipher: Aes256::new(&secrets.mac.0.into()) }
    }

    fn digest(&self) -> [u8; 16] {
        let digest = self.keccak.clone().finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Mixes `seed` in, which is how both kinds of MAC end.
    fn mix(&mut self, seed: &[u8; 16]) -> [u8; 16] {
        let mut block = self.digest().into();
        self.cipher.encrypt_block(&mut block);
        for (to, from) in block.iter_mut().zip(seed) {
            *to ^= *from;
        }
        self.keccak.update(block);
        self.digest()
    }

    fn header(&mut self, ciphertext: &[u8; 16]) -> [u8; 16] {
        self.mix(ciphertext)
    }

    fn body(&mut self, ciphertext: &[u8]) -> [u8; 16] {
        self.keccak.update(ciphertext);
        let seed = self.digest();
        self.mix(&seed)
    }
}

/// Bytes of a frame's content with its padding.
const fn padded(length: usize) -> usize {
    length.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// Size on the wire of a frame with this much content: header, padding and MACs included.
pub const fn wire_bytes(content: usize) -> usize {
    padded(content).saturating_add(HEADER_BYTES + MAC_BYTES)
}

/// The sending half.
pub struct FrameEncoder {
    cipher: Ctr128BE<Aes256>,
    mac: MacState,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameEncoder(..)")
    }
}

impl FrameEncoder {
    /// Begins where the handshake ended.
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            cipher: Ctr128BE::new(&secrets.aes.0.into(), &[0; 16].into()),
            mac: MacState::new(secrets.egress_mac.clone(), secrets),
        }
    }

    /// Appends one frame, whose content is `parts` one after another. Fails beyond
    /// [`MAX_FRAME_BYTES`], and then nothing was written.
    pub fn encode(&mut self, parts: &[&[u8]], out: &mut BytesMut) -> Result<(), FrameError> {
        let size = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if size > MAX_FRAME_BYTES {
            return Err(FrameError::Size { size, limit: MAX_FRAME_BYTES });
        }
        let [.., high, middle, low] = size.to_be_bytes();
        let [first, second, third] = HEADER_DATA;
        let mut header = [high, middle, low, first, second, third, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.cipher.apply_keystream(&mut header);
        let header_mac = self.mac.header(&header);
        out.reserve(wire_bytes(size));
        out.extend_from_slice(&header);
        out.extend_from_slice(&header_mac);

        let mut body = out.split_off(out.len());
        for part in parts {
            body.extend_from_slice(part);
        }
        body.resize(padded(size), 0);
        self.cipher.apply_keystream(&mut body);
        let body_mac = self.mac.body(&body);
        out.unsplit(body);
        out.extend_from_slice(&body_mac);
        Ok(())
    }
}

/// The receiving half. Feed it whatever arrives; a frame comes out once it is whole.
pub struct FrameDecoder {
    cipher: Ctr128BE<Aes256>,
    mac: MacState,
    limit: usize,
    /// Content length of the frame whose header was read.
    pending: Option<usize>,
}

impl std::fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameDecoder").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl FrameDecoder {
    /// Begins where the handshake ended, with frames of up to `limit` bytes of content.
    pub fn new(secrets: &Secrets, limit: usize) -> Self {
        Self {
            cipher: Ctr128BE::new(&secrets.aes.0.into(), &[0; 16].into()),
            mac: MacState::new(secrets.ingress_mac.clone(), secrets),
            limit,
            pending: None,
        }
    }

    /// Changes how much content a frame may have.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many bytes the next step needs: a header, or the rest of a frame whose header was read.
    pub fn wanted(&self) -> usize {
        self.pending.map_or(HEADER_BYTES, |size| padded(size).saturating_add(MAC_BYTES))
    }

    /// Whether a frame's header was read, and not yet the rest of it.
    pub fn is_under_way(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes one frame's content off the front of `source`, or nothing while it is not whole.
    pub fn decode(&mut self, source: &mut BytesMut) -> Result<Option<BytesMut>, FrameError> {
        let size = match self.pending {
            Some(size) => size,
            None => match self.read_header(source)? {
                Some(size) => size,
                None => return Ok(None),
            },
        };
        if source.len() < self.wanted() {
            return Ok(None);
        }
        let mut content = source.split_to(padded(size));
        let mac = source.split_to(MAC_BYTES);
        if !bool::from(self.mac.body(&content).ct_eq(&mac)) {
            return Err(FrameError::Mac);
        }
        self.cipher.apply_keystream(&mut content);
        content.truncate(size);
        self.pending = None;
        Ok(Some(content))
    }

    fn read_header(&mut self, source: &mut BytesMut) -> Result<Option<usize>, FrameError> {
        if source.len() < HEADER_BYTES {
            return Ok(None);
        }
        let read = source.split_to(HEADER_BYTES);
        let Some((header, mac)) = read.split_first_chunk::<16>() else { return Ok(None) };
        let mut header = *header;
        if !bool::from(self.mac.header(&header).ct_eq(mac)) {
            return Err(FrameError::Mac);
        }
        self.cipher.apply_keystream(&mut header);
        let [high, middle, low, ..] = header;
        let size =
            usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
        if size > self.limit {
            return Err(FrameError::Size { size, limit: self.limit });
        }
        if size == 0 {
            return Err(FrameError::Empty);
        }
        self.pending = Some(size);
        Ok(Some(size))
    }
}

#[cfg(test)]
mod tests;
