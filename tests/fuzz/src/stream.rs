//! A stream that gives bytes in pieces and takes whatever is written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
};

#[derive(Debug)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    given: usize,
    piece: usize,
    pieces: usize,
}

/// Pieces that are given before all the rest comes at once.
const PIECES_MAX: usize = 40;

impl Pieces {
    /// Gives at most `piece` bytes at a time for a while, then the rest and the end of the stream.
    pub(crate) fn new(bytes: Vec<u8>, piece: usize) -> Self {
        Self { bytes, given: 0, piece: piece.max(1), pieces: 0 }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.bytes[self.given..];
        let piece = if self.pieces < PIECES_MAX { self.piece } else { left.len() };
        let count = left.len().min(piece).min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.given += count;
        self.pieces += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs what waits for nothing but [`Pieces`], and has its timeouts.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
