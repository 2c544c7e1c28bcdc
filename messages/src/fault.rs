//! Whose fault it was.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::BlockNumHash;

/// Every error in this project can say whom it is to be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// A peer sent what it should not have: it earns a penalty.
    Peer,
    /// The chain itself breaks a rule: INVALID for the consensus client, and no peer's fault.
    Chain,
    /// This node or its host failed: said loudly.
    Node,
    /// Nobody: it happens, and is tried again.
    Nobody,
}

/// A rule of the chain that a block breaks although its hash is right.
///
/// Each can be decided without state; the rule's source is named in its documentation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Breach {
    /// Height is not the parent's plus one (Yellow Paper 4.4.4).
    #[error("number {found} does not follow its parent's {parent}")]
    Number {
        /// Height claimed.
        found: u64,
        /// Height of the parent.
        parent: u64,
    },
    /// The parent hash names another block.
    #[error("parent hash {found} is not {expected}")]
    ParentHash {
        /// Parent hash in the header.
        found: B256,
        /// Hash of the block below it.
        expected: B256,
    },
    /// Timestamp is not strictly greater than the parent's (Yellow Paper 4.4.4).
    #[error("timestamp {found} is not later than its parent's {parent}")]
    Timestamp {
        /// Timestamp claimed, in seconds.
        found: u64,
        /// Timestamp of the parent, in seconds.
        parent: u64,
    },
    /// More than 32 bytes of extra data (Yellow Paper 4.4.4).
    #[error("extra data is {0} bytes, and 32 are allowed")]
    ExtraData(usize),
    /// Gas used exceeds the limit.
    #[error("gas used {used} exceeds the limit {limit}")]
    GasUsed {
        /// Gas used.
        used: u64,
        /// Gas limit.
        limit: u64,
    },
    /// Gas limit moved by a 1024th of the parent's or more, or left its bounds (EIP-1985).
    #[error("gas limit {found} may not follow {parent}")]
    GasLimit {
        /// Limit claimed.
        found: u64,
        /// The parent's limit (doubled at the London block, EIP-1559).
        parent: u64,
    },
    /// Base fee is not what the parent implies (EIP-1559).
    #[error("base fee {found} should be {expected}")]
    BaseFee {
        /// Fee claimed, in wei.
        found: u64,
        /// Fee implied, in wei.
        expected: u64,
    },
    /// Excess blob gas is not what the parent implies (EIP-4844, EIP-7918).
    #[error("excess blob gas {found} should be {expected}")]
    ExcessBlobGas {
        /// Excess claimed.
        found: u64,
        /// Excess implied.
        expected: u64,
    },
    /// Blob gas used is above the schedule's maximum or not a multiple of a blob's (EIP-4844).
    #[error("blob gas used {found} is not a multiple of 131072 up to {max}")]
    BlobGasUsed {
        /// Blob gas claimed.
        found: u64,
        /// The most that this block may use.
        max: u64,
    },
    /// A header field is present before its fork or absent after it.
    #[error("field {field} must be {}", if *.required { "present" } else { "absent" })]
    ForkField {
        /// The field's name in the execution specifications.
        field: &'static str,
        /// Whether the fork in force requires it.
        required: bool,
    },
    /// A constant of proof of stake is not what EIP-3675 demands.
    #[error("field {0} is not its proof-of-stake constant (EIP-3675)")]
    ProofOfStake(&'static str),
    /// Proof-of-work difficulty came back after the merge (EIP-3675).
    #[error("difficulty {0} after the merge")]
    DifficultyAfterMerge(String),
    /// The blobs its transactions carry do not add up to the header's blob gas (EIP-4844).
    #[error("transactions carry {found} blobs, the header pays for {expected}")]
    BlobCount {
        /// Blobs found in the body.
        found: u64,
        /// Blobs the header accounts for.
        expected: u64,
    },
    /// A transaction is empty or cannot be decoded.
    #[error("transaction {0} cannot be decoded")]
    Transaction(usize),
    /// The encoded block exceeds 8 MiB (EIP-7934).
    #[error("block is {0} bytes of RLP, and 8388608 are allowed")]
    Size(usize),
    /// The header's bloom is not that of its receipts' logs (Yellow Paper 4.4.4).
    #[error("the logs bloom is not that of the receipts")]
    LogsBloom,
    /// Gas used is not what the last receipt says (Yellow Paper 4.4.4; not from Amsterdam on).
    #[error("gas used is {found}, and {expected} by the receipts")]
    ReceiptsGas {
        /// Gas used by the header.
        found: u64,
        /// Gas used by the receipts.
        expected: u64,
    },
    /// An ancestor is invalid, and so is everything above it.
    #[error("ancestor {0} is invalid")]
    Ancestor(BlockNumHash),
}
