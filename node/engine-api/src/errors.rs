//! The error codes of the Engine API (execution-apis, `engine/common.md`). Their `data` is null, so
//! the reason goes into the message.

use std::fmt::Display;

use jsonrpsee::types::{ErrorObjectOwned, error::INVALID_PARAMS_CODE};

const INVALID_FORKCHOICE_STATE: i32 = -38002;
const INVALID_PAYLOAD_ATTRIBUTES: i32 = -38003;
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

fn error(code: i32, kind: &str, reason: impl Display) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, format!("{kind}: {reason}"), None)
}
