//! Walking RLP without decoding or copying it.

use alloy_rlp::{Error, Header, Result};

/// Takes one whole item, its header included, off the front.
pub(crate) fn take_item<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8]> {
    let start = *buf;
    let mut rest = start;
    let payload_length = Header::decode(&mut rest)?.payload_length;
    let header_length = start.len().checked_sub(rest.len()).ok_or(Error::InputTooShort)?;
    let length = header_length.checked_add(payload_length).ok_or(Error::InputTooShort)?;
    let (item, after) = start.split_at_checked(length).ok_or(Error::InputTooShort)?;
    *buf = after;
    Ok(item)
}

/// Takes one list off the front and returns what it holds.
pub(crate) fn take_list<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8]> {
    Header::decode_bytes(buf, true)
}

/// Takes one byte string off the front and returns its bytes.
pub(crate) fn take_string<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8]> {
    Header::decode_bytes(buf, false)
}

/// Whether the item at the front is a list.
pub(crate) fn is_list(buf: &[u8]) -> bool {
    buf.first().is_some_and(|byte| *byte >= alloy_rlp::EMPTY_LIST_CODE)
}

/// Nothing may follow.
pub(crate) fn end(buf: &[u8]) -> Result<()> {
    if buf.is_empty() { Ok(()) } else { Err(Error::UnexpectedLength) }
}
