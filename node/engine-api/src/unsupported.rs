//! Methods of the specification that this node cannot fulfil: it builds no payloads and keeps no blobs.
//! Each has its honest answer, and none is a capability.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{B256, FixedBytes};
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObjectOwned, Params},
};
use moorline_rules::ChainSpec;
use serde_json::Value;

use crate::{
    errors::{too_large_request, unknown_payload, unsupported_fork},
    methods::EngineMethods,
    params::Arguments,
};

const GET_PAYLOAD: [&str; 6] = [
    "engine_getPayloadV1",
    "engine_getPayloadV2",
    "engine_getPayloadV3",
    "engine_getPayloadV4",
    "engine_getPayloadV5",
    "engine_getPayloadV6",
];

/// Most blob hashes in one call (execution-apis, `engine/cancun.md`).
const BLOBS_MAX: usize = 128;

/// The versions of `engine_getBlobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GetBlobs {
    V1,
    V2,
    V3,
    V4,
}

/// Adds them to the module.
pub(crate) fn register(module: &mut RpcModule<EngineMethods>) -> Result<(), RegisterMethodError> {
    for name in GET_PAYLOAD {
        module.register_method(name, |params, _, _| get_payload(&params))?;
    }
    for (name, version) in [
        ("engine_getBlobsV1", GetBlobs::V1),
        ("engine_getBlobsV2", GetBlobs::V2),
        ("engine_getBlobsV3", GetBlobs::V3),
        ("engine_getBlobsV4", GetBlobs::V4),
    ] {
        module.register_method(name, move |params, engine, _| {
            version.answer(&params, &engine.spec, SystemTime::now())
        })?;
    }
    Ok(())
}

fn get_payload(params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
    let mut arguments = Arguments::of(params)?;
    let id: FixedBytes<8> = arguments.read("payloadId")?;
    arguments.end()?;
    Err(unknown_payload(format_args!("{id} was never given out; this node builds no payloads")))
}

impl GetBlobs {
    /// What there is to say without any blobs: V1 names each as missing, and is over with Osaka; the
    /// later ones are null as a whole.
    fn answer(
        self,
        params: &Params<'_>,
        spec: &ChainSpec,
        now: SystemTime,
    ) -> Result<Value, ErrorObjectOwned> {
        let mut arguments = Arguments::of(params)?;
        let hashes: Vec<B256> = arguments.read("blobVersionedHashes")?;
        if self == Self::V4 {
            // which cells are wanted, of none
            arguments.optional()?;
        }
        arguments.end()?;
        if hashes.len() > BLOBS_MAX {
            let asked = hashes.len();
            let reason = format_args!("{asked} blobs are asked for, and {BLOBS_MAX} are allowed");
            return Err(too_large_request(reason));
        }
        if self != Self::V1 {
            return Ok(Value::Null);
        }
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if spec.is_osaka(seconds) {
            return Err(unsupported_fork("engine_getBlobsV1 is not for Osaka and later"));
        }
        Ok(Value::Array(vec![Value::Null; hashes.len()]))
    }
}
