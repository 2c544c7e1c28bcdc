//! What newer headers commit to beside the body: execution requests and block access lists.

use alloy_primitives::{B256, Bytes, keccak256};
use moorline_messages::Blame;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why a list of execution requests is malformed (EIP-7685).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RequestsError {
    /// A request holds nothing but its type, or not even that.
    #[error("execution request {0} is empty")]
    Empty(usize),
    /// Types do not ascend, or one comes twice.
    #[error("execution request {0} is not of a greater type than the one before")]
    Order(usize),
}

impl RequestsError {
    /// Whose fault it was: the caller's, which is neither a peer nor the chain.
    pub const fn blame(&self) -> Blame {
        Blame::Nobody
    }
}

/// Checks the form of `executionRequests` in `engine_newPayloadV4` and later: each request is a type
/// byte and at least one more, in strictly ascending order of type. Types themselves are opaque.
pub fn validate_requests(requests: &[Bytes]) -> Result<(), RequestsError> {
    let mut previous = None;
    for (index, request) in requests.iter().enumerate() {
        let kind = match request.split_first() {
            Some((kind, data)) if !data.is_empty() => *kind,
            _ => return Err(RequestsError::Empty(index)),
        };
        if previous.is_some_and(|previous| previous >= kind) {
            return Err(RequestsError::Order(index));
        }
        previous = Some(kind);
    }
    Ok(())
}

/// The header's `requestsHash`: sha256 over the sha256 of each request that holds more than its
/// type (EIP-7685).
pub fn requests_hash(requests: &[Bytes]) -> B256 {
    let mut all = Sha256::new();
    for request in requests.iter().filter(|request| request.len() > 1) {
        all.update(Sha256::digest(request));
    }
    B256::from_slice(&all.finalize())
}

/// The header's `blockAccessListHash`: keccak256 of the list's RLP (EIP-7928).
pub fn block_access_list_hash(block_access_list: &[u8]) -> B256 {
    keccak256(block_access_list)
}
