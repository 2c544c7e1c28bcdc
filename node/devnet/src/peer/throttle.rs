//! A stream that can be made to write a byte at a time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Interval, interval},
};

/// Between two bytes of a stream that dribbles.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);

/// A TCP stream that dribbles once its switch is on.
pub(crate) struct Throttle {
    stream: TcpStream,
    dribbles: Arc<AtomicBool>,
    pace: Interval,
}

impl Throttle {
    pub(crate) fn new(stream: TcpStream, dribbles: Arc<AtomicBool>) -> Self {
        Self { stream, dribbles, pace: interval(BYTE_INTERVAL) }
    }
}

impl AsyncRead for Throttle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Throttle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.dribbles.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        ready!(self.pace.poll_tick(cx));
        let byte = buf.get(..1).unwrap_or_default();
        Pin::new(&mut self.stream).poll_write(cx, byte)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
