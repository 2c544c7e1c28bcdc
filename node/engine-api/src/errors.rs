//! The error codes of the Engine API (execution-apis, `engine/common.md`). Their `data` is null, so
//! the reason goes into the message.
//!
//! Two of them are never said: -38006 (too deep a reorganisation), since how deep one is shows only
//! once it was fetched, after the answer; and -32000, which would need `data`.

use std::fmt::Display;

use jsonrpsee::types::{
    ErrorObjectOwned,
    error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
};

const UNKNOWN_PAYLOAD: i32 = -38001;
const INVALID_FORKCHOICE_STATE: i32 = -38002;
const INVALID_PAYLOAD_ATTRIBUTES: i32 = -38003;
const TOO_LARGE_REQUEST: i32 = -38004;
const UNSUPPORTED_FORK: i32 = -38005;

pub(crate) fn invalid_params(reason: impl Display) -> ErrorObjectOwned {
    error(INVALID_PARAMS_CODE, "Invalid params", reason)
}

pub(crate) fn invalid_forkchoice_state(reason: impl Display) -> ErrorObjectOwned {
    error(INVALID_FORKCHOICE_STATE, "Invalid forkchoice state", reason)
}

pub(crate) fn invalid_payload_attributes(reason: impl Display) -> ErrorObjectOwned {
    error(INVALID_PAYLOAD_ATTRIBUTES, "Invalid payload attributes", reason)
}

pub(crate) fn unsupported_fork(reason: impl Display) -> ErrorObjectOwned {
    error(UNSUPPORTED_FORK, "Unsupported fork", reason)
}

pub(crate) fn unknown_payload(reason: impl Display) -> ErrorObjectOwned {
    error(UNKNOWN_PAYLOAD, "Unknown payload", reason)
}

pub(crate) fn too_large_request(reason: impl Display) -> ErrorObjectOwned {
    error(TOO_LARGE_REQUEST, "Too large request", reason)
}

pub(crate) fn internal(reason: impl Display) -> ErrorObjectOwned {
    tracing::warn!(%reason, "an Engine API call could not be answered");
    error(INTERNAL_ERROR_CODE, "Internal error", reason)
}

fn error(code: i32, kind: &str, reason: impl Display) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, format!("{kind}: {reason}"), None)
}
