//! The errors of the read methods.

use std::fmt::Display;

use moorline_http::Seldom;

use jsonrpsee::types::{
    ErrorObjectOwned,
    error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
};

/// `safe` or `finalized` before the consensus client named one that is here (execution-apis,
/// `schemas/block.yaml`).
pub(crate) const UNKNOWN_BLOCK_CODE: i32 = -39001;

/// A block that the chain has and this node has not, because it lies below where it began
/// (execution-apis, `eth/block.yaml`).
pub(crate) const PRUNED_HISTORY_CODE: i32 = 4444;

/// What this node does not keep, or could not read in one piece (EIP-1474, "Resource unavailable").
const UNAVAILABLE_CODE: i32 = -32002;

/// What no node without state can do (EIP-1474, "Method not supported").
const UNSUPPORTED_CODE: i32 = -32004;

/// More than one call may ask for (EIP-1474, "Limit exceeded").
const LIMIT_CODE: i32 = -32005;

pub(crate) fn no_receipts() -> ErrorObjectOwned {
    let reason = "this store keeps no receipts, and so no logs; they are kept in a data directory \
                  that was made with --receipts";
    error(UNAVAILABLE_CODE, reason.to_owned())
}

pub(crate) fn reorganised() -> ErrorObjectOwned {
    let reason = "the chain was reorganised while it was read; ask again";
    error(UNAVAILABLE_CODE, reason.to_owned())
}

pub(crate) fn unsupported(reason: String) -> ErrorObjectOwned {
    error(UNSUPPORTED_CODE, reason)
}

pub(crate) fn limit_exceeded(reason: impl Display) -> ErrorObjectOwned {
    error(LIMIT_CODE, reason.to_string())
}

pub(crate) fn invalid_params(reason: impl Display) -> ErrorObjectOwned {
    error(INVALID_PARAMS_CODE, format!("Invalid params: {reason}"))
}

pub(crate) fn internal(reason: impl Display) -> ErrorObjectOwned {
    static SAID: Seldom = Seldom::new();
    tracing::debug!(%reason, "a read could not be answered");
    if let Some(unsaid) = SAID.count() {
        tracing::warn!(%reason, unsaid, "reads could not be answered");
    }
    error(INTERNAL_ERROR_CODE, reason.to_string())
}

pub(crate) fn error(code: i32, message: String) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, message, None)
}
