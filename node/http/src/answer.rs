//! Answers on their way to the client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use jsonrpsee::server::HttpBody;
use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};

/// Bytes of an answer that are handed to the connection at a time.
const PART_BYTES: usize = 64 << 10;

/// Places that are kept until an answer was sent. It goes with the request, as an extension, and a method
/// may have a place of its own kept with it.
#[derive(Clone, Debug, Default)]
pub struct UntilSent(Arc<Mutex<Vec<Place>>>);

#[derive(Debug)]
struct Place {
    room: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
}

impl UntilSent {
    /// Waits for a place in the room, and keeps it. The calls of a batch have one place, since they have one
    /// answer: the second would wait for the first for ever.
    ///
    /// # Errors
    /// The room was closed.
    pub async fn hold(&self, room: &Arc<Semaphore>) -> Result<(), AcquireError> {
        let mut places = self.0.lock().await;
        if places.iter().all(|place| !Arc::ptr_eq(&place.room, room)) {
            let permit = Arc::clone(room).acquire_owned().await?;
            places.push(Place { room: Arc::clone(room), _permit: permit });
        }
        Ok(())
    }
}

/// An answer that is handed out in copies of small parts: what the connection has taken and not yet sent is
/// small too, and does not keep the rest in memory. So its end is the time to give up its places.
pub(crate) struct Sending {
    body: HttpBody,
    left: hyper::body::Bytes,
    _places: UntilSent,
}

impl Sending {
    pub(crate) fn new(body: HttpBody, places: UntilSent) -> Self {
        Self { body, left: hyper::body::Bytes::new(), _places: places }
    }
}

impl Body for Sending {
    type Data = hyper::body::Bytes;
    type Error = <HttpBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let count = self.left.len().min(PART_BYTES);
        let part = self.left.split_to(count);
        Poll::Ready(Some(Ok(Frame::data(hyper::body::Bytes::copy_from_slice(&part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = u64::try_from(self.left.len()).unwrap_or(u64::MAX);
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint.set_lower(rest.lower().saturating_add(left));
        hint
    }
}
