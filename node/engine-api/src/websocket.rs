//! WebSocket. Every message of a connection becomes one HTTP request to the service behind, and is
//! answered before the next one is read: that keeps their order (execution-apis, `engine/common.md`,
//! "Message ordering"), which jsonrpsee's own WebSocket server, running them side by side, does not.

use std::{
    future::{Future, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::io::{BufReader, BufWriter};
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use moorline_http::UntilSent;
use soketto::{
    Incoming, Receiver, Sender,
    data::ByteSlice125,
    handshake::http::{Server as Handshake, is_upgrade_request},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tower::{Layer, Service, ServiceExt};

use crate::server::BODY_MAX_BYTES;

/// WebSocket connections at a time. A consensus client opens one.
pub(crate) const SOCKETS_MAX: usize = 16;
/// A client that has sent nothing whole for so long is asked whether it is still there; after as long again
/// without a message or a pong its place is free.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a client that does not read its answer.
const SEND_WAIT: Duration = Duration::from_secs(30);

type Stream = BufReader<BufWriter<Compat<TokioIo<Upgraded>>>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts [`WebSocketService`] in front of a service for HTTP.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketLayer {
    room: Arc<Semaphore>,
    ended: watch::Receiver<()>,
}

impl WebSocketLayer {
    /// Connections end when the other side of `ended` is dropped.
    pub(crate) fn new(ended: watch::Receiver<()>) -> Self {
        Self { room: Arc::new(Semaphore::new(SOCKETS_MAX)), ended }
    }
}

impl<S> Layer<S> for WebSocketLayer {
    type Service = WebSocketService<S>;

    fn layer(&self, inner: S) -> WebSocketService<S> {
        WebSocketService { layer: self.clone(), inner }
    }
}

/// Turns upgrade requests into connections, and passes all others on.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketService<S> {
    layer: WebSocketLayer,
    inner: S,
}

impl<S> Service<HttpRequest> for WebSocketService<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        if !is_upgrade_request(&request) {
            return Box::pin(self.inner.call(request));
        }
        let Ok(permit) = Arc::clone(&self.layer.room).try_acquire_owned() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many WebSocket connections");
        };
        let mut handshake = Handshake::new();
        let Ok(response) = handshake.receive_request(&request) else {
            return refusal(StatusCode::BAD_REQUEST, "malformed WebSocket handshake");
        };
        let connection = Connection {
            inner: self.inner.clone(),
            ended: self.layer.ended.clone(),
            _permit: permit,
        };
        tokio::spawn(connection.serve(request, handshake));
        Box::pin(ready(Ok(response.map(|()| HttpBody::empty()))))
    }
}

fn refusal(
    status: StatusCode,
    reason: &'static str,
) -> Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>> {
    let mut response = HttpResponse::new(HttpBody::from(reason));
    *response.status_mut() = status;
    Box::pin(ready(Ok(response)))
}

/// What comes of listening to a client.
enum Heard {
    /// A message, whole.
    Message,
    /// It is there.
    Pong,
    /// Nothing will come any more.
    Nothing,
}

/// One client.
struct Connection<S> {
    inner: S,
    ended: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    async fn serve(mut self, request: HttpRequest, handshake: Handshake) {
        let upgraded = match hyper::upgrade::on(request).await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a connection was not upgraded"),
        };
        let io = BufWriter::new(TokioIo::new(upgraded).compat());
        let mut socket = handshake.into_builder(BufReader::new(io));
        let most = usize::try_from(BODY_MAX_BYTES).unwrap_or(usize::MAX);
        socket.set_max_message_size(most);
        socket.set_max_frame_size(most);
        let (mut sender, mut receiver) = socket.finish();
        while let Some(message) = self.next(&mut receiver, &mut sender).await {
            // kept until the answer is sent
            let places = UntilSent::default();
            let answered = match self.answer(message, &places).await {
                Some(answer) => send(&mut sender, &answer).await,
                None => false,
            };
            if !answered {
                break;
            }
        }
        drop(timeout(SEND_WAIT, sender.close()).await);
    }

    /// The next message; `None` when the connection has ended, or is to end: the server stops, or the client
    /// gives no sign of life.
    async fn next(
        &mut self,
        receiver: &mut Receiver<Stream>,
        sender: &mut Sender<Stream>,
    ) -> Option<Vec<u8>> {
        let (mut message, mut is_asked) = (Vec::new(), false);
        loop {
            match self.hear(receiver, sender, &mut message, &mut is_asked).await {
                Heard::Message => return Some(message),
                Heard::Pong => is_asked = false,
                Heard::Nothing => return None,
            }
        }
    }

    async fn hear(
        &mut self,
        receiver: &mut Receiver<Stream>,
        sender: &mut Sender<Stream>,
        message: &mut Vec<u8>,
        is_asked: &mut bool,
    ) -> Heard {
        // what is received so far is lost with the future that receives it
        let mut receiving = pin!(receiver.receive(message));
        loop {
            tokio::select! {
                biased;
                _ = self.ended.changed() => return Heard::Nothing,
                received = receiving.as_mut() => return match received {
                    Ok(Incoming::Data(_)) => Heard::Message,
                    Ok(Incoming::Pong(_)) => Heard::Pong,
                    Ok(Incoming::Closed(_)) => Heard::Nothing,
                    Err(error) => {
                        tracing::debug!(%error, "a WebSocket connection ended");
                        Heard::Nothing
                    }
                },
                () = sleep(SILENCE_MAX) => {}
            }
            if *is_asked || !ping(sender).await {
                tracing::debug!("a WebSocket client is silent, its connection ends");
                return Heard::Nothing;
            }
            *is_asked = true;
        }
    }

    /// What the service says to a message, as text; `None` if it is too busy to say anything.
    async fn answer(&mut self, message: Vec<u8>, places: &UntilSent) -> Option<String> {
        let mut request = HttpRequest::new(HttpBody::from(message));
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request.extensions_mut().insert(places.clone());
        let response = self.inner.clone().oneshot(request).await.ok()?;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let body = response.into_body().collect().await.ok()?;
        String::from_utf8(body.to_bytes().into()).ok()
    }
}

/// Asks whether the client is there.
async fn ping(sender: &mut Sender<Stream>) -> bool {
    let Ok(nothing) = ByteSlice125::try_from([].as_slice()) else { return false };
    let sent = async {
        sender.send_ping(nothing).await?;
        sender.flush().await
    };
    matches!(timeout(SEND_WAIT, sent).await, Ok(Ok(())))
}

/// Sends a text, unless it is jsonrpsee's answer to what is owed none: a notification, or a batch of them.
async fn send(sender: &mut Sender<Stream>, text: &str) -> bool {
    if matches!(text, "" | "null") {
        return true;
    }
    let sent = async {
        sender.send_text(text).await?;
        sender.flush().await
    };
    matches!(timeout(SEND_WAIT, sent).await, Ok(Ok(())))
}
