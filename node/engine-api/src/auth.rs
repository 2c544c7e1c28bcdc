//! The layer in front of JSON-RPC: no good token, no entry.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use moorline_http::Seldom;
use tower::{Layer, Service};

use crate::{JwtSecret, TokenError};

/// Puts [`JwtGuard`] in front of a service.
#[derive(Clone, Debug)]
pub(crate) struct JwtLayer {
    secret: JwtSecret,
    refusals: Arc<Seldom>,
}

impl JwtLayer {
    pub(crate) fn new(secret: JwtSecret) -> Self {
        Self { secret, refusals: Arc::default() }
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = JwtGuard<S>;

    fn layer(&self, inner: S) -> JwtGuard<S> {
        JwtGuard { secret: self.secret.clone(), refusals: Arc::clone(&self.refusals), inner }
    }
}

/// Lets requests with a good token through, and answers all others with status 401.
#[derive(Clone, Debug)]
pub(crate) struct JwtGuard<S> {
    secret: JwtSecret,
    refusals: Arc<Seldom>,
    inner: S,
}

impl<S, B> Service<HttpRequest<B>> for JwtGuard<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let checked =
            bearer(request.headers()).and_then(|token| self.secret.check(token, SystemTime::now()));
        match checked {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(error) => {
                tracing::debug!(%error, "an Engine API request is refused");
                if let Some(unsaid) = self.refusals.count() {
                    tracing::warn!(%error, unsaid, "Engine API requests are refused");
                }
                Box::pin(ready(Ok(refusal(error))))
            }
        }
    }
}

/// The scheme is compared without regard to case (RFC 9110).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let header = headers.get(AUTHORIZATION).ok_or(TokenError::Missing)?;
    let (scheme, token) =
        header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    Ok(token.trim())
}

fn refusal(error: TokenError) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(error.to_string()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
