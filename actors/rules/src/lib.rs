//! What makes a block right without state.
//!
//! Everything here is a pure function of bytes and of a chain's schedule: fork schedules and fork
//! ids ([`spec`]), header rules ([`header`]), body roots and body rules ([`body`]), receipts
//! ([`receipts`]), the commitments of the newer forks ([`commitments`]), the block an execution
//! payload stands for ([`payload`]), and blocks as RLP ([`block`]).
//!
//! Two kinds of failure are kept apart, because they are held against different parties:
//!
//! - a *mismatch* ([`body::BodyMismatch`], or another [`receipts::ReceiptsKey`]): the data does not
//!   belong to the header, so whoever sent it is at fault;
//! - a *breach* ([`moorline_messages::Breach`]): the data belongs to the header and breaks a rule of
//!   the chain, so the block is invalid and nobody who passed it on is at fault.

pub mod block;
pub mod body;
pub mod commitments;
pub mod header;
pub mod payload;
pub mod receipts;
mod rlp;
pub mod spec;
mod transaction;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use block::{BlockReader, BlockRlpError, block_rlp, block_rlp_len, decode_block};
pub use body::{
    BodyKey, BodyMismatch, blob_versioned_hashes, body_key, body_matches, key_of, validate_body,
};
pub use commitments::{RequestsError, block_access_list_hash, requests_hash, validate_requests};
pub use header::{MAX_EXTRA_DATA_BYTES, validate_header_against_parent, validate_header_alone};
pub use payload::{PayloadError, PayloadParts, block_from_payload};
pub use receipts::{
    ReceiptsKey, consensus_receipt, has_no_receipts, logs_bloom, receipts_key, receipts_root,
    validate_receipts,
};
pub use spec::{Activation, ChainSpec, Fork, GenesisError, OverrideError, ScheduleError};
