//! The block that an execution payload stands for, and whether its hash is right.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, Sealable};
use alloy_rpc_types_engine::{ExecutionPayload, ExecutionPayloadV1, ExecutionPayloadV3};
use moorline_messages::{Blame, Block, Body, Breach, SealedHeader};
use thiserror::Error;

use crate::{
    body::{blob_versioned_hashes, transactions_root, withdrawals_root},
    commitments::{block_access_list_hash, requests_hash},
};

/// What `engine_newPayload` was called with. Versions of the method differ in what they fill in:
/// V3 the blob hashes and the beacon root, V4 the execution requests as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadParts {
    /// The payload, of whichever structure the method takes.
    pub payload: ExecutionPayload,
    /// Hash tree root of the parent beacon block, from V3 on (EIP-4788).
    pub parent_beacon_block_root: Option<B256>,
    /// The blob hashes that the consensus client expects, from V3 on (EIP-4844).
    pub expected_blob_versioned_hashes: Option<Vec<B256>>,
    /// Execution requests, from V4 on (EIP-7685). Their form is
    /// [`validate_requests`](crate::validate_requests)'s to check.
    pub execution_requests: Option<Vec<Bytes>>,
}

impl PayloadParts {
    /// What `engine_newPayloadV1` and `V2` take: the payload alone.
    pub fn new(payload: impl Into<ExecutionPayload>) -> Self {
        Self {
            payload: payload.into(),
            parent_beacon_block_root: None,
            expected_blob_versioned_hashes: None,
            execution_requests: None,
        }
    }

    /// Adds what `engine_newPayloadV3` takes beside the payload.
    pub fn with_cancun(mut self, blob_versioned_hashes: Vec<B256>, beacon_root: B256) -> Self {
        self.expected_blob_versioned_hashes = Some(blob_versioned_hashes);
        self.parent_beacon_block_root = Some(beacon_root);
        self
    }

    /// Adds what `engine_newPayloadV4` and later take beside that.
    pub fn with_requests(mut self, execution_requests: Vec<Bytes>) -> Self {
        self.execution_requests = Some(execution_requests);
        self
    }
}

/// Why a payload is INVALID whatever its ancestors are, with a null `latestValidHash`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    /// The hash is right and the block breaks a rule all the same, so that the hash stands for an invalid
    /// block wherever it is met: a transaction is empty or cannot be decoded.
    #[error("{breach}")]
    Breach {
        /// The block's header.
        header: Arc<SealedHeader>,
        /// The rule.
        breach: Breach,
    },
    /// The transactions carry other blobs than the consensus client expects.
    #[error("the transactions' blob hashes are not the expected ones")]
    BlobVersionedHashes,
    /// The base fee does not fit a header.
    #[error("base fee is above 2^64 wei")]
    BaseFee,
    /// The block these parts make has another hash. `INVALID_BLOCK_HASH` for `engine_newPayloadV1`.
    #[error("block hash is {found}, the payload says {claimed}")]
    BlockHash {
        /// The hash recomputed from the payload.
        found: B256,
        /// The payload's `blockHash`.
        claimed: B256,
    },
}

impl PayloadError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Chain
    }
}

/// Makes the block out of a payload and proves that it is the one the payload names: the hash is right,
/// every transaction decodes, and the blob hashes are the expected ones (execution-apis,
/// `engine_newPayloadV1` to `V5`). Transactions stay the bytes they came as.
pub fn block_from_payload(parts: PayloadParts) -> Result<Block, PayloadError> {
    let PayloadParts {
        payload,
        parent_beacon_block_root,
        expected_blob_versioned_hashes,
        execution_requests,
    } = parts;
    let claimed = payload.as_v1().block_hash;
    let (mut header, body) = header_and_body(payload)?;
    header.parent_beacon_block_root = parent_beacon_block_root;
    header.requests_hash = execution_requests.as_deref().map(requests_hash);

    let header = Arc::new(header.seal_slow());
    if header.hash() != claimed {
        return Err(PayloadError::BlockHash { found: header.hash(), claimed });
    }
    let blob_hashes = match blob_versioned_hashes(&body) {
        Ok(hashes) => hashes,
        Err(breach) => return Err(PayloadError::Breach { header, breach }),
    };
    if expected_blob_versioned_hashes.is_some_and(|expected| expected != blob_hashes) {
        return Err(PayloadError::BlobVersionedHashes);
    }
    Ok(Block { header, body: Arc::new(body) })
}

/// Unfolds the payload, newest structure first.
fn header_and_body(payload: ExecutionPayload) -> Result<(Header, Body), PayloadError> {
    match payload {
        ExecutionPayload::V1(v1) => paris(v1),
        ExecutionPayload::V2(v2) => {
            let (header, body) = paris(v2.payload_inner)?;
            Ok(shanghai(header, body, v2.withdrawals))
        }
        ExecutionPayload::V3(v3) => cancun(v3),
        ExecutionPayload::V4(v4) => {
            let (header, body) = cancun(v4.payload_inner)?;
            let header = Header {
                block_access_list_hash: Some(block_access_list_hash(&v4.block_access_list)),
                slot_number: Some(v4.slot_number),
                ..header
            };
            Ok((header, body))
        }
    }
}

fn cancun(v3: ExecutionPayloadV3) -> Result<(Header, Body), PayloadError> {
    let (header, body) = paris(v3.payload_inner.payload_inner)?;
    let (header, body) = shanghai(header, body, v3.payload_inner.withdrawals);
    let header = Header {
        blob_gas_used: Some(v3.blob_gas_used),
        excess_blob_gas: Some(v3.excess_blob_gas),
        ..header
    };
    Ok((header, body))
}

fn shanghai(
    header: Header,
    body: Body,
    withdrawals: Vec<alloy_eips::eip4895::Withdrawal>,
) -> (Header, Body) {
    let root = withdrawals_root(&withdrawals);
    (
        Header { withdrawals_root: Some(root), ..header },
        Body { withdrawals: Some(withdrawals), ..body },
    )
}

/// EIP-3675: what the payload leaves out are constants of proof of stake, which are the default
/// header's.
fn paris(v1: ExecutionPayloadV1) -> Result<(Header, Body), PayloadError> {
    let base_fee = u64::try_from(v1.base_fee_per_gas).map_err(|_| PayloadError::BaseFee)?;
    let header = Header {
        parent_hash: v1.parent_hash,
        beneficiary: v1.fee_recipient,
        state_root: v1.state_root,
        transactions_root: transactions_root(&v1.transactions),
        receipts_root: v1.receipts_root,
        logs_bloom: v1.logs_bloom,
        number: v1.block_number,
        gas_limit: v1.gas_limit,
        gas_used: v1.gas_used,
        timestamp: v1.timestamp,
        extra_data: v1.extra_data,
        mix_hash: v1.prev_randao,
        base_fee_per_gas: Some(base_fee),
        ..Header::default()
    };
    let body = Body { transactions: v1.transactions, ommers: Body::NO_OMMERS, withdrawals: None };
    Ok((header, body))
}
