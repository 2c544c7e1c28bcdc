//! What stands right in front of jsonrpsee: requests are read whole, and so many are answered at a time.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jsonrpsee::{
    core::BoxError,
    server::{
        HttpBody, HttpRequest, HttpResponse,
        http::response::{malformed, too_large},
    },
};
use tokio::{sync::Semaphore, time::timeout};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use crate::{
    HttpPatience,
    answer::{Sending, UntilSent},
    connection::Pace,
};

/// A service that answers requests, whatever it is made of.
pub type Answering = BoxCloneSyncService<HttpRequest, HttpResponse, BoxError>;

/// Reads requests and lets some through at a time.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) inner: Answering,
    /// Answers that are made or sent.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) request_max_bytes: u32,
    pub(crate) patience: HttpPatience,
}

impl Service<HttpRequest> for Calls {
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let this = self.clone();
        Box::pin(this.answer(request))
    }
}

impl Calls {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, BoxError> {
        let (mut parts, body) = request.into_parts();
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(refusal) => return Ok(refusal),
        };
        if let Some(pace) = parts.extensions.get::<Pace>() {
            pace.unhurried();
        }
        let places = parts.extensions.get_or_insert_default::<UntilSent>().clone();
        if !matches!(timeout(self.patience.room, places.hold(&self.room)).await, Ok(Ok(()))) {
            tracing::debug!("a request is refused, too many answers are made or sent");
            return Ok(unavailable("too many answers are being made or sent"));
        }
        let made = self.inner.oneshot(HttpRequest::from_parts(parts, body));
        let Ok(made) = timeout(self.patience.make, made).await else {
            tracing::debug!("a request is given up, its answer takes too long");
            return Ok(unavailable("the answer takes too long; ask for less at a time"));
        };
        let mut response = made?;
        response.extensions_mut().remove::<UntilSent>();
        Ok(response.map(|body| HttpBody::new(Sending::new(body, places))))
    }

    /// The whole body, or why it is not taken.
    async fn read(&self, body: HttpBody) -> Result<HttpBody, HttpResponse> {
        let most = self.request_max_bytes;
        if body.size_hint().lower() > u64::from(most) {
            return Err(too_large(most));
        }
        let limited = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
        match limited.collect().await {
            Ok(body) => Ok(HttpBody::from(Vec::from(body.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large(most)),
            Err(_) => Err(malformed()),
        }
    }
}

fn unavailable(reason: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(reason));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
