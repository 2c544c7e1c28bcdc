//! Transactions as bytes, checked field by field without being copied.

use alloy_consensus::transaction::from_eip155_value;
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_rlp::{Decodable, Error, Result};

use crate::rlp::{end, take_list, take_string};

/// EIP-2930.
const ACCESS_LIST_TYPE: u8 = 1;
/// EIP-1559.
const DYNAMIC_FEE_TYPE: u8 = 2;
/// EIP-4844.
const BLOB_TYPE: u8 = 3;
/// EIP-7702.
const SET_CODE_TYPE: u8 = 4;

/// Which transaction types a block may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownTypes {
    pub(crate) access_list: bool,
    pub(crate) dynamic_fee: bool,
    pub(crate) blob: bool,
    pub(crate) set_code: bool,
}

impl KnownTypes {
    /// Whether a transaction's type is in force. One without a type is legacy, which always is.
    pub(crate) fn include(self, tx: &[u8]) -> bool {
        match tx.first() {
            Some(&ACCESS_LIST_TYPE) => self.access_list,
            Some(&DYNAMIC_FEE_TYPE) => self.dynamic_fee,
            Some(&BLOB_TYPE) => self.blob,
            Some(&SET_CODE_TYPE) => self.set_code,
            _ => true,
        }
    }
}

/// Checks that these bytes decode as a transaction: every field of its type is there, canonical and
/// within its range, and nothing follows (EIP-2718 and the EIP of each type). It takes what
/// `decode_2718_exact` takes, and holds nothing but the bytes. Gives the blob hashes, none for any
/// other type than EIP-4844's; one in its network form, with the blobs in it, is no part of a block
/// and is refused.
pub(crate) fn check_transaction(tx: &[u8]) -> Result<BlobHashes<'_>> {
    let (kind, mut rest) = match tx.split_first() {
        Some((kind @ ACCESS_LIST_TYPE..=SET_CODE_TYPE, payload)) => (*kind, payload),
        _ => (0, tx),
    };
    let mut fields = take_list(&mut rest)?;
    end(rest)?;
    let mut blobs = BlobHashes(&[]);
    match kind {
        ACCESS_LIST_TYPE => {
            take::<u64>(&mut fields)?;
            take_legacy_fields(&mut fields)?;
            take_access_list(&mut fields)?;
        }
        DYNAMIC_FEE_TYPE => take_dynamic_fee_fields::<TxKind>(&mut fields)?,
        BLOB_TYPE => {
            take_dynamic_fee_fields::<Address>(&mut fields)?;
            take::<u128>(&mut fields)?;
            blobs = BlobHashes(take_list_of::<B256>(&mut fields)?);
        }
        SET_CODE_TYPE => {
            take_dynamic_fee_fields::<Address>(&mut fields)?;
            take_authorizations(&mut fields)?;
        }
        _ => take_legacy_fields(&mut fields)?,
    }
    if kind == 0 {
        let v = u128::decode(&mut fields)?;
        from_eip155_value(v).ok_or(Error::Custom("the signature's v is none of EIP-155"))?;
    } else {
        take::<bool>(&mut fields)?;
    }
    take::<U256>(&mut fields)?;
    take::<U256>(&mut fields)?;
    end(fields)?;
    Ok(blobs)
}

/// Nonce, gas price, gas limit, recipient, value and data.
fn take_legacy_fields(fields: &mut &[u8]) -> Result<()> {
    take::<u64>(fields)?;
    take::<u128>(fields)?;
    take::<u64>(fields)?;
    take::<TxKind>(fields)?;
    take::<U256>(fields)?;
    take_string(fields)?;
    Ok(())
}

/// The fields that EIP-1559's type has, and with which later types begin; `To` says whether a contract
/// may be created.
fn take_dynamic_fee_fields<To: Decodable>(fields: &mut &[u8]) -> Result<()> {
    take::<u64>(fields)?;
    take::<u64>(fields)?;
    take::<u128>(fields)?;
    take::<u128>(fields)?;
    take::<u64>(fields)?;
    take::<To>(fields)?;
    take::<U256>(fields)?;
    take_string(fields)?;
    take_access_list(fields)
}

/// EIP-2930: addresses, each with storage keys.
fn take_access_list(fields: &mut &[u8]) -> Result<()> {
    let mut accounts = take_list(fields)?;
    while !accounts.is_empty() {
        let mut account = take_list(&mut accounts)?;
        take::<Address>(&mut account)?;
        take_list_of::<B256>(&mut account)?;
        end(account)?;
    }
    Ok(())
}

/// EIP-7702. What is wrong with a signature in it makes it void, and not the transaction.
fn take_authorizations(fields: &mut &[u8]) -> Result<()> {
    let mut authorizations = take_list(fields)?;
    while !authorizations.is_empty() {
        let mut authorization = take_list(&mut authorizations)?;
        take::<U256>(&mut authorization)?;
        take::<Address>(&mut authorization)?;
        take::<u64>(&mut authorization)?;
        take::<u8>(&mut authorization)?;
        take::<U256>(&mut authorization)?;
        take::<U256>(&mut authorization)?;
        end(authorization)?;
    }
    Ok(())
}

/// Takes one value off the front, which must be canonical.
fn take<T: Decodable>(fields: &mut &[u8]) -> Result<()> {
    T::decode(fields).map(drop)
}

/// Takes a list of such values off the front and returns what it holds.
fn take_list_of<'a, T: Decodable>(fields: &mut &'a [u8]) -> Result<&'a [u8]> {
    let all = take_list(fields)?;
    let mut rest = all;
    while !rest.is_empty() {
        take::<T>(&mut rest)?;
    }
    Ok(all)
}

/// Blob hashes in the order of their transaction, known to be well-formed.
pub(crate) struct BlobHashes<'a>(&'a [u8]);

impl Iterator for BlobHashes<'_> {
    type Item = B256;

    fn next(&mut self) -> Option<B256> {
        B256::decode(&mut self.0).ok()
    }
}
