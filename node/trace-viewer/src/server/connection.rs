//! One connection, bounded in how long it may keep the server waiting.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Sleep, sleep},
};

/// Connections at a time; one more waits in the system's own queue until another ends.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// How long a client may take over the head of a request, and may keep a connection without one.
pub(crate) const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it asked for.
pub(crate) const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest head of a request, in bytes.
const REQUEST_HEAD_MAX_BYTES: usize = 16 << 10;
/// Wait after the system refused to accept, which it does when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Waits of a server, in which tests are less patient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) request_head: Duration,
    pub(crate) write_stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request_head: REQUEST_HEAD_TIMEOUT, write_stall: WRITE_STALL_TIMEOUT }
    }
}

/// Accepts until `stop` says so; connections that are open then end with it.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            serve(stream, router, patience, stop).await;
            drop(slot);
        });
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    let io = TokioIo::new(Stalling::new(stream, patience.write_stall));
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(patience.request_head)
        .max_buf_size(REQUEST_HEAD_MAX_BYTES);
    let connection = pin!(server.serve_connection(io, TowerToHyperService::new(router)));
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        // a client that went away or was too slow is not the server's trouble
        _ = connection => {}
    }
}

/// A stream that fails when the other side has taken nothing for a while.
struct Stalling {
    stream: TcpStream,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, stalled: None }
    }

    /// Passes on what a write came to, and counts how long it has come to nothing.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
