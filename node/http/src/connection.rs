//! Connections, each bounded in how long it may keep the server waiting.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, StatusCode, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonrpsee::{
    core::BoxError,
    server::{HttpBody, HttpRequest, HttpResponse},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt;

use crate::{Answering, HttpPatience};

/// Wait after the system refused to accept, which it does when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest head of a request, in bytes, and most of an answer that waits in a connection.
const CONNECTION_BUFFER_BYTES: usize = 64 << 10;

/// Accepts until the other side of `ended` speaks or is gone; connections then finish the call they are at.
pub(crate) async fn accept(
    listener: TcpListener,
    connections_max: usize,
    service: Answering,
    patience: HttpPatience,
    mut ended: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let next = async {
            // a permit first: who has no place waits in the system's queue, and costs nothing
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, permit))
        };
        let accepted = tokio::select! {
            biased;
            _ = ended.changed() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (service, ended) = (service.clone(), ended.clone());
                tokio::spawn(async move {
                    serve(stream, service, patience, ended).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    service: Answering,
    patience: HttpPatience,
    mut ended: watch::Receiver<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "a connection is gone already");
    }
    let (pace, mut until) = Pace::new(patience.head);
    let answered =
        service_fn(move |request| answer(request, service.clone(), pace.clone(), patience));
    let mut server = hyper::server::conn::http1::Builder::new();
    server.max_buf_size(CONNECTION_BUFFER_BYTES);
    let connection = server.serve_connection(TokioIo::new(stream), answered).with_upgrades();
    let mut connection = pin!(connection);
    let mut is_ending = false;
    loop {
        let end = *until.borrow_and_update();
        tokio::select! {
            biased;
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection failed");
                }
                return;
            }
            _ = ended.changed(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            // it lasts as long as the connection, which has the other end
            _ = until.changed() => {}
            () = at(end) => return tracing::debug!("a connection was too slow, or idle for too long"),
        }
    }
}

/// Waits for a moment, or for ever where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    service: Answering,
    pace: Pace,
    patience: HttpPatience,
) -> Result<hyper::Response<Paced>, BoxError> {
    pace.within(patience.body);
    let mut request: HttpRequest = request.map(HttpBody::new);
    request.extensions_mut().insert(pace.clone());
    let mut response: HttpResponse = service.oneshot(request).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        // a stranger is not to keep a place that others need
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    pace.within(patience.send);
    Ok(response.map(|body| Paced { body, pace, idle: patience.idle }))
}

/// When a connection is to end, unless something comes of it before. It goes with a request, as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Pace(watch::Sender<Option<Instant>>);

impl Pace {
    fn new(wait: Duration) -> (Self, watch::Receiver<Option<Instant>>) {
        let (until, seen) = watch::channel(Instant::now().checked_add(wait));
        (Self(until), seen)
    }

    fn within(&self, wait: Duration) {
        self.0.send_replace(Instant::now().checked_add(wait));
    }

    /// The client has done its part: from here on the node is the one who is waited for.
    pub(crate) fn unhurried(&self) {
        self.0.send_replace(None);
    }
}

/// An answer after which a connection is idle.
struct Paced {
    body: HttpBody,
    pace: Pace,
    idle: Duration,
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.pace.within(self.idle);
    }
}

impl Body for Paced {
    type Data = hyper::body::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
