//! A door for `tests/fuzz` to what is read of a request before its token is found good. Built with the
//! feature `fuzzing` alone.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::{JwtSecret, TokenError, auth::bearer};

/// Whether a request whose `Authorization` header has this value is let in at `now`.
pub fn admit(secret: &JwtSecret, header: &[u8], now: SystemTime) -> Result<(), TokenError> {
    let value = HeaderValue::from_bytes(header).map_err(|_| TokenError::Missing)?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    secret.check(bearer(&headers)?, now)
}
