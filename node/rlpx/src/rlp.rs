//! Walking RLP that arrived from outside, without copying and without recursion.

use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, Encodable, Header};
use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Why bytes are not the RLP they should be. Always the sender's fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RlpError {
    /// The encoding itself is wrong.
    #[error("malformed RLP: {0}")]
    Malformed(alloy_rlp::Error),
    /// A list or message goes on where it should end.
    #[error("bytes are left over after {0}")]
    Trailing(&'static str),
    /// A list holds more items than its message may carry.
    #[error("more than {limit} {items}")]
    TooMany {
        /// What the items are.
        items: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A value is well-formed and makes no sense.
    #[error("{0}")]
    Senseless(&'static str),
}

impl From<alloy_rlp::Error> for RlpError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self::Malformed(error)
    }
}

/// What is left of one list's payload. Items come out as slices of the buffer that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    rest: Bytes,
}

impl Items {
    /// The items of a message that is exactly one list.
    pub(crate) fn of_message(message: Bytes) -> Result<Self, RlpError> {
        let mut outer = Self { rest: message };
        let items = outer.next_list()?;
        outer.end("the message")?;
        Ok(items)
    }

    /// The items of a list that other bytes may follow (EIP-8).
    pub(crate) fn of_padded_message(message: Bytes) -> Result<Self, RlpError> {
        Self { rest: message }.next_list()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn end(&self, of_what: &'static str) -> Result<(), RlpError> {
        if self.is_empty() { Ok(()) } else { Err(RlpError::Trailing(of_what)) }
    }

    /// Counts the items by their headers alone, so that a bound is checked before anything is
    /// allocated for them.
    pub(crate) fn count(&self, items: &'static str, limit: usize) -> Result<usize, RlpError> {
        let mut walk = self.clone();
        let mut count = 0_usize;
        while !walk.is_empty() {
            walk.next_raw()?;
            count = count.saturating_add(1);
            if count > limit {
                return Err(RlpError::TooMany { items, limit });
            }
        }
        Ok(count)
    }

    fn split(&mut self, length: usize) -> Result<Bytes, RlpError> {
        if length > self.rest.len() {
            return Err(alloy_rlp::Error::InputTooShort.into());
        }
        Ok(self.rest.split_to(length))
    }

    /// Header of the next item, and how many bytes that header takes.
    fn header(&self) -> Result<(Header, usize), RlpError> {
        let mut view: &[u8] = &self.rest;
        let header = Header::decode(&mut view)?;
        Ok((header, self.rest.len().saturating_sub(view.len())))
    }

    /// The next item with its own header.
    pub(crate) fn next_raw(&mut self) -> Result<Bytes, RlpError> {
        let (header, taken) = self.header()?;
        self.split(taken.saturating_add(header.payload_length))
    }

    /// The next item with its own header, which must be a list.
    pub(crate) fn next_raw_list(&mut self) -> Result<Bytes, RlpError> {
        let (header, taken) = self.header()?;
        if !header.list {
            return Err(alloy_rlp::Error::UnexpectedString.into());
        }
        self.split(taken.saturating_add(header.payload_length))
    }

    /// Whether the next item is a list.
    pub(crate) fn next_is_list(&self) -> Result<bool, RlpError> {
        Ok(self.header()?.0.list)
    }

    /// The items of the next item, which must be a list.
    pub(crate) fn next_list(&mut self) -> Result<Self, RlpError> {
        let (header, taken) = self.header()?;
        if !header.list {
            return Err(alloy_rlp::Error::UnexpectedString.into());
        }
        self.split(taken)?;
        Ok(Self { rest: self.split(header.payload_length)? })
    }

    /// The content of the next item, which must be a byte string.
    pub(crate) fn next_string(&mut self) -> Result<Bytes, RlpError> {
        let (header, taken) = self.header()?;
        if header.list {
            return Err(alloy_rlp::Error::UnexpectedList.into());
        }
        self.split(taken)?;
        self.split(header.payload_length)
    }

    /// The next item, as a type that decodes itself.
    pub(crate) fn next<T: Decodable>(&mut self) -> Result<T, RlpError> {
        let raw = self.next_raw()?;
        let mut view: &[u8] = &raw;
        let value = T::decode(&mut view)?;
        if view.is_empty() { Ok(value) } else { Err(RlpError::Trailing("an item")) }
    }

    /// The rest of the list as hashes, of which there may be so many.
    pub(crate) fn hashes(mut self, limit: usize) -> Result<Vec<B256>, RlpError> {
        let mut hashes = Vec::with_capacity(self.count("hashes", limit)?);
        while !self.is_empty() {
            hashes.push(self.next()?);
        }
        Ok(hashes)
    }
}

/// Encodes a list whose items are already encoded.
pub(crate) fn put_list(payload: &[u8], out: &mut BytesMut) {
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.put_slice(payload);
}

/// Encodes a list, whatever `fill` writes being its items.
pub(crate) fn list_of(fill: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    put_list_of(&mut out, fill);
    out
}

/// Appends a list, whatever `fill` writes being its items.
pub(crate) fn put_list_of(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let mut payload = BytesMut::new();
    fill(&mut payload);
    put_list(&payload, out);
}

/// Encodes a list of hashes.
pub(crate) fn put_hashes(hashes: &[B256], out: &mut BytesMut) {
    Header { list: true, payload_length: hashes.len().saturating_mul(33) }.encode(out);
    for hash in hashes {
        hash.encode(out);
    }
}
