//! Transactions as bytes: how far one must be opened to be counted.

use alloy_primitives::B256;
use alloy_rlp::{Error, Result};

use crate::rlp::{end, is_list, take_item, take_list, take_string};

/// EIP-2930.
const ACCESS_LIST_TYPE: u8 = 1;
/// EIP-1559.
const DYNAMIC_FEE_TYPE: u8 = 2;
/// EIP-4844.
const BLOB_TYPE: u8 = 3;
/// EIP-7702.
const SET_CODE_TYPE: u8 = 4;

/// Fields of a blob transaction before `blob_versioned_hashes` (EIP-4844).
const FIELDS_BEFORE_BLOB_HASHES: usize = 10;

/// Which transaction types a block may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownTypes {
    pub(crate) access_list: bool,
    pub(crate) dynamic_fee: bool,
    pub(crate) blob: bool,
    pub(crate) set_code: bool,
}

/// Whether these bytes are a transaction of a known type: a list, or a type byte and a list, and
/// nothing after it (EIP-2718). Signatures and fields are not looked at.
pub(crate) fn is_well_formed(tx: &[u8], known: KnownTypes) -> bool {
    let Some((first, payload)) = tx.split_first() else { return false };
    let mut list = match *first {
        ACCESS_LIST_TYPE if known.access_list => payload,
        DYNAMIC_FEE_TYPE if known.dynamic_fee => payload,
        BLOB_TYPE if known.blob => payload,
        SET_CODE_TYPE if known.set_code => payload,
        _ if is_list(tx) => tx,
        _ => return false,
    };
    take_list(&mut list).is_ok() && list.is_empty()
}

/// The blob hashes of one transaction, none for any other type than EIP-4844's. A blob transaction
/// in its network form, with the blobs in it, has fewer fields and is refused: blocks do not hold
/// them.
pub(crate) fn blob_hashes(tx: &[u8]) -> Result<BlobHashes<'_>> {
    let Some((&BLOB_TYPE, mut payload)) = tx.split_first() else { return Ok(BlobHashes(&[])) };
    let mut fields = take_list(&mut payload)?;
    end(payload)?;
    for _ in 0..FIELDS_BEFORE_BLOB_HASHES {
        take_item(&mut fields)?;
    }
    let hashes = take_list(&mut fields)?;
    let mut rest = hashes;
    while !rest.is_empty() {
        if take_string(&mut rest)?.len() != B256::len_bytes() {
            return Err(Error::UnexpectedLength);
        }
    }
    Ok(BlobHashes(hashes))
}

/// Blob hashes in the order of their transaction, known to be well-formed.
pub(crate) struct BlobHashes<'a>(&'a [u8]);

impl Iterator for BlobHashes<'_> {
    type Item = B256;

    fn next(&mut self) -> Option<B256> {
        take_string(&mut self.0).ok().and_then(|hash| B256::try_from(hash).ok())
    }
}
