//! Block access lists (EIP-7928): what can be told of one without executing its block.

use alloy_eips::eip7928::{BlockAccessListGasError, BlockAccessListValidationError, bal::Bal};
use alloy_primitives::Address;
use alloy_rlp::Decodable;
use thiserror::Error;

/// Most bytes of a contract's code from Amsterdam on, as geth has it.
const CODE_MAX_BYTES: usize = 65_536;

/// What is wrong with an access list, and so with its block.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum AccessListError {
    /// It is no list of accounts.
    #[error("the block access list cannot be decoded: {0}")]
    Malformed(alloy_rlp::Error),
    /// Something in it is out of order, there twice, empty, or of a transaction that is not there.
    #[error("the block access list is wrong: {0}")]
    Structure(#[from] BlockAccessListValidationError),
    /// It names more than the block's gas could have touched.
    #[error("the block access list is too long: {0}")]
    Gas(#[from] BlockAccessListGasError),
    /// A contract has more code than one may.
    #[error(
        "the block access list gives {address} {found} bytes of code; {CODE_MAX_BYTES} are allowed"
    )]
    Code { address: Address, found: usize },
}

/// Checks the list of a block with so many transactions under this gas limit.
pub(crate) fn check_access_list(
    mut rlp: &[u8],
    transactions: usize,
    gas_limit: u64,
) -> Result<(), AccessListError> {
    let list = Bal::decode(&mut rlp).map_err(AccessListError::Malformed)?;
    if !rlp.is_empty() {
        return Err(AccessListError::Malformed(alloy_rlp::Error::UnexpectedLength));
    }
    list.validate_structure(transactions)?;
    list.validate_gas_limit(gas_limit)?;
    for account in list.iter() {
        let longest = account.code_changes.iter().map(|change| change.new_code.len()).max();
        if let Some(found) = longest.filter(|bytes| *bytes > CODE_MAX_BYTES) {
            return Err(AccessListError::Code { address: account.address, found });
        }
    }
    Ok(())
}
