//! What the consensus client is told of a block (execution-apis, `PayloadStatusV1`).

use alloy_primitives::B256;
use moorline_messages::TreeVerdict;
use serde::Serialize;

/// `PayloadStatusV1`. alloy's own lacks `INVALID_BLOCK_HASH`, which V1 still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayloadStatus {
    pub(crate) status: Status,
    pub(crate) latest_valid_hash: Option<B256>,
    pub(crate) validation_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    Valid,
    Invalid,
    Syncing,
    Accepted,
    InvalidBlockHash,
}

impl PayloadStatus {
    const fn without_hash(status: Status) -> Self {
        Self { status, latest_valid_hash: None, validation_error: None }
    }

    pub(crate) const fn syncing() -> Self {
        Self::without_hash(Status::Syncing)
    }

    /// `latestValidHash` is null, since no ancestor was ever fully validated here.
    pub(crate) fn invalid(reason: String) -> Self {
        Self { validation_error: Some(reason), ..Self::without_hash(Status::Invalid) }
    }

    /// As [`Self::invalid`], in the words of `engine_newPayloadV1`.
    pub(crate) fn invalid_block_hash(reason: String) -> Self {
        Self { validation_error: Some(reason), ..Self::without_hash(Status::InvalidBlockHash) }
    }

    /// What a verdict on block `hash` means. Only `genesis` needs no execution to be valid; a tree
    /// that says so of another block is not believed.
    pub(crate) fn of_verdict(verdict: TreeVerdict, hash: B256, genesis: B256) -> Self {
        match verdict {
            TreeVerdict::Valid if hash == genesis => {
                Self { latest_valid_hash: Some(hash), ..Self::without_hash(Status::Valid) }
            }
            TreeVerdict::Accepted => Self::without_hash(Status::Accepted),
            TreeVerdict::Invalid { reason } => Self::invalid(reason),
            TreeVerdict::Syncing => Self::syncing(),
            TreeVerdict::Valid | TreeVerdict::Inconsistent { .. } => {
                tracing::error!(%hash, "the tree gave a verdict that it cannot have");
                Self::syncing()
            }
        }
    }
}
