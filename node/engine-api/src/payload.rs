//! `engine_newPayload`: from parameters to a block whose hash is right, or to the reason why not.

use std::sync::Arc;

use alloy_rpc_types_engine::{
    ExecutionPayload, ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3,
    ExecutionPayloadV4,
};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use moorline_messages::{Block, SealedHeader};
use moorline_rules::{
    ChainSpec, PayloadError, PayloadParts, block_from_payload, validate_requests,
};
use serde_json::value::RawValue;

use crate::{
    access_list::check_access_list,
    errors::{invalid_params, unsupported_fork},
    params::{Arguments, fields, read},
    status::PayloadStatus,
};

/// The versions of `engine_newPayload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NewPayload {
    V1,
    V2,
    V3,
    V4,
    V5,
}

/// `executionPayload`, for error messages.
const PAYLOAD: &str = "executionPayload";

/// Fields of the payload structures, each version's following those of the one before.
const PAYLOAD_FIELDS: [&str; 19] = [
    "parentHash",
    "feeRecipient",
    "stateRoot",
    "receiptsRoot",
    "logsBloom",
    "prevRandao",
    "blockNumber",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "baseFeePerGas",
    "blockHash",
    "transactions",
    "withdrawals",
    "blobGasUsed",
    "excessBlobGas",
    "blockAccessList",
    "slotNumber",
];

/// A payload that is INVALID whatever its ancestors are.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The answer.
    pub(crate) status: PayloadStatus,
    /// The block's header, where its hash is right: then the fault is the block's and not the call's.
    pub(crate) bad: Option<Arc<SealedHeader>>,
}

impl Rejected {
    fn bad(header: Arc<SealedHeader>, reason: String) -> Self {
        Self { status: PayloadStatus::invalid(reason), bad: Some(header) }
    }
}

impl NewPayload {
    /// The fields that this version's payload may have.
    fn known_fields(self) -> &'static [&'static str] {
        let count = match self {
            Self::V1 => 14,
            Self::V2 => 15,
            Self::V3 | Self::V4 => 17,
            Self::V5 => 19,
        };
        PAYLOAD_FIELDS.get(..count).unwrap_or(&PAYLOAD_FIELDS)
    }

    /// Reads the parameters (-32602), then checks the fork they are of (-38005).
    pub(crate) fn read(
        self,
        params: &Params<'_>,
        spec: &ChainSpec,
    ) -> Result<PayloadParts, ErrorObjectOwned> {
        let mut arguments = Arguments::of(params)?;
        let payload = self.read_payload(arguments.required(PAYLOAD)?)?;
        let mut parts = PayloadParts::new(payload);
        if self >= Self::V3 {
            let blob_hashes = arguments.read("expectedBlobVersionedHashes")?;
            parts = parts.with_cancun(blob_hashes, arguments.read("parentBeaconBlockRoot")?);
        }
        if self >= Self::V4 {
            let requests: Vec<_> = arguments.read("executionRequests")?;
            validate_requests(&requests).map_err(invalid_params)?;
            parts = parts.with_requests(requests);
        }
        arguments.end()?;
        self.check_fork(&parts.payload, spec)?;
        Ok(parts)
    }

    fn read_payload(self, raw: &RawValue) -> Result<ExecutionPayload, ErrorObjectOwned> {
        let found = fields(raw, self.known_fields())
            .map_err(|error| invalid_params(format_args!("{PAYLOAD}: {error}")))?;
        Ok(match self {
            Self::V2 if found.contains("withdrawals") => {
                ExecutionPayload::V2(read::<ExecutionPayloadV2>(raw, PAYLOAD)?)
            }
            Self::V1 | Self::V2 => ExecutionPayload::V1(read::<ExecutionPayloadV1>(raw, PAYLOAD)?),
            Self::V3 | Self::V4 => ExecutionPayload::V3(read::<ExecutionPayloadV3>(raw, PAYLOAD)?),
            Self::V5 => ExecutionPayload::V4(read::<ExecutionPayloadV4>(raw, PAYLOAD)?),
        })
    }

    /// Each version is for some forks only ("Update the methods of previous forks" in each of
    /// execution-apis' files). What is wrong with a V1 payload after Shanghai, its header shows.
    fn check_fork(
        self,
        payload: &ExecutionPayload,
        spec: &ChainSpec,
    ) -> Result<(), ErrorObjectOwned> {
        let time = payload.timestamp();
        let fits = match self {
            Self::V1 => true,
            Self::V2 => !spec.is_cancun(time),
            Self::V3 => spec.is_cancun(time) && !spec.is_prague(time),
            Self::V4 => spec.is_prague(time) && !spec.is_amsterdam(time),
            Self::V5 => spec.is_amsterdam(time) && !spec.is_bogota(time),
        };
        if !fits {
            return Err(unsupported_fork(format_args!(
                "engine_newPayload{self:?} does not take payloads of timestamp {time}"
            )));
        }
        let has_withdrawals = !matches!(payload, ExecutionPayload::V1(_));
        if self == Self::V2 && has_withdrawals != spec.is_shanghai(time) {
            let must = if has_withdrawals { "absent before" } else { "present from" };
            return Err(invalid_params(format_args!("withdrawals must be {must} Shanghai on")));
        }
        Ok(())
    }

    /// Makes the block out of it, or says why there is none.
    pub(crate) fn block(self, parts: PayloadParts) -> Result<Block, Rejected> {
        let access_list = match &parts.payload {
            ExecutionPayload::V4(payload) => Some(payload.block_access_list.clone()),
            _ => None,
        };
        let block = block_from_payload(parts).map_err(|error| self.rejected(error))?;
        if let Some(list) = access_list {
            check_access_list(&list, block.body.transactions.len(), block.header.gas_limit)
                .map_err(|error| Rejected::bad(Arc::clone(&block.header), error.to_string()))?;
        }
        Ok(block)
    }

    fn rejected(self, error: PayloadError) -> Rejected {
        let reason = error.to_string();
        match error {
            PayloadError::Breach { header, .. } => Rejected::bad(header, reason),
            PayloadError::BlockHash { .. } if self == Self::V1 => {
                Rejected { status: PayloadStatus::invalid_block_hash(reason), bad: None }
            }
            _ => Rejected { status: PayloadStatus::invalid(reason), bad: None },
        }
    }
}
