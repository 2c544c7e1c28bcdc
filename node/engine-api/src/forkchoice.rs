//! `engine_forkchoiceUpdated`: the parameters, and the payload attributes of a node that never
//! builds.

use alloy_primitives::FixedBytes;
use alloy_rpc_types_engine::{ForkchoiceState, PayloadAttributes};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use moorline_messages::Forkchoice;
use moorline_rules::ChainSpec;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    errors::{invalid_params, invalid_payload_attributes, unsupported_fork},
    params::{Arguments, fields, read},
    status::PayloadStatus,
};

/// The versions of `engine_forkchoiceUpdated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ForkchoiceUpdated {
    V1,
    V2,
    V3,
    V4,
}

/// What the call asks for. Attributes are kept unread: they count only once the head is VALID.
pub(crate) struct Update {
    pub(crate) forkchoice: Forkchoice,
    pub(crate) attributes: Option<Box<RawValue>>,
}

/// The answer. `payloadId` is null, since nothing is built.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    pub(crate) payload_status: PayloadStatus,
    pub(crate) payload_id: Option<FixedBytes<8>>,
}

const STATE: &str = "forkchoiceState";
const STATE_FIELDS: [&str; 3] = ["headBlockHash", "safeBlockHash", "finalizedBlockHash"];

/// Fields of the attribute structures, each version's following those of the one before.
const ATTRIBUTE_FIELDS: [&str; 7] = [
    "timestamp",
    "prevRandao",
    "suggestedFeeRecipient",
    "withdrawals",
    "parentBeaconBlockRoot",
    "slotNumber",
    "targetGasLimit",
];

impl ForkchoiceUpdated {
    /// Reads the parameters (-32602), all but the attributes.
    pub(crate) fn read(self, params: &Params<'_>) -> Result<Update, ErrorObjectOwned> {
        let mut arguments = Arguments::of(params)?;
        let raw = arguments.required(STATE)?;
        fields(raw, &STATE_FIELDS)
            .map_err(|error| invalid_params(format_args!("{STATE}: {error}")))?;
        let state: ForkchoiceState = read(raw, STATE)?;
        let attributes = arguments.optional()?.map(RawValue::to_owned);
        if self == Self::V4
            && let Some(columns) = arguments.optional()?
        {
            // a hint for sampling blobs, of which this node has none; its form is checked all the same
            read::<FixedBytes<16>>(columns, "custodyColumns")?;
        }
        arguments.end()?;
        let forkchoice = Forkchoice {
            head: state.head_block_hash,
            safe: state.safe_block_hash,
            finalized: state.finalized_block_hash,
        };
        Ok(Update { forkchoice, attributes })
    }

    /// Checks attributes on top of a VALID head: their structure, their fork, their time, in this
    /// order (execution-apis, `engine/amsterdam.md`, point 1 of `engine_forkchoiceUpdatedV4`).
    pub(crate) fn check_attributes(
        self,
        raw: &RawValue,
        head_timestamp: u64,
        spec: &ChainSpec,
    ) -> Result<(), ErrorObjectOwned> {
        let found = fields(raw, self.known_attributes()).map_err(invalid_payload_attributes)?;
        let attributes: PayloadAttributes =
            serde_json::from_str(raw.get()).map_err(invalid_payload_attributes)?;
        let time = attributes.timestamp;
        for name in self.required_attributes(spec.is_shanghai(time)) {
            if !found.contains(name) {
                return Err(invalid_payload_attributes(format_args!("{name} is missing")));
            }
        }
        if self == Self::V2 && found.contains("withdrawals") && !spec.is_shanghai(time) {
            return Err(invalid_payload_attributes("withdrawals must be absent before Shanghai"));
        }
        if !self.takes_time(time, spec) {
            return Err(unsupported_fork(format_args!(
                "engine_forkchoiceUpdated{self:?} does not take attributes of timestamp {time}"
            )));
        }
        if time <= head_timestamp {
            let reason = format_args!("timestamp {time} is not after the head's {head_timestamp}");
            return Err(invalid_payload_attributes(reason));
        }
        Ok(())
    }

    fn known_attributes(self) -> &'static [&'static str] {
        let count = match self {
            Self::V1 => 3,
            Self::V2 => 4,
            Self::V3 => 5,
            Self::V4 => 7,
        };
        ATTRIBUTE_FIELDS.get(..count).unwrap_or(&ATTRIBUTE_FIELDS)
    }

    fn required_attributes(self, is_shanghai: bool) -> &'static [&'static str] {
        let count = match self {
            Self::V1 => 3,
            Self::V2 if !is_shanghai => 3,
            Self::V2 => 4,
            Self::V3 => 5,
            Self::V4 => 7,
        };
        ATTRIBUTE_FIELDS.get(..count).unwrap_or(&ATTRIBUTE_FIELDS)
    }

    fn takes_time(self, time: u64, spec: &ChainSpec) -> bool {
        match self {
            Self::V1 => true,
            Self::V2 => !spec.is_cancun(time),
            Self::V3 => spec.is_cancun(time) && !spec.is_amsterdam(time),
            Self::V4 => spec.is_amsterdam(time) && !spec.is_bogota(time),
        }
    }
}
