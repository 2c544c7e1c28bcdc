//! The page of a node that runs.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::{Body, Bytes};
use crossbeam_channel::{Receiver, Sender, bounded};
use futures_util::stream;
use moorline_trace::{Feed, Model};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Events, Patience, Serving, listen, serve};
use crate::{
    error::ViewerError,
    source::spawn,
    watched::{LIVE_ROWS_MAX, Watched},
};

/// Batches that may wait for the page.
const BATCHES_MAX: usize = 256;
/// Bytes of records that are kept for whoever asks for them.
const RING_MAX_BYTES: usize = 64 << 20;

/// What a node hands its records to. It never waits.
#[derive(Clone, Debug)]
pub struct LiveSender {
    batches: Sender<Bytes>,
    dropped: Arc<AtomicU64>,
}

impl LiveSender {
    /// Hands on records: whole lines of JSON. When the page is slow they are dropped and counted; the missing numbers
    /// show as a gap.
    pub fn offer(&self, lines: impl Into<Bytes>) -> bool {
        let taken = self.batches.try_send(lines.into()).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Batches that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Serves the page of a running node. The first lines should be a header; the page ends when the last sender is
/// dropped or the [`Serving`] is.
///
/// # Errors
///
/// When the address is not to be had, or not of this machine alone.
pub fn serve_live(addr: SocketAddr) -> Result<(LiveSender, Serving), ViewerError> {
    let listener = listen(addr)?;
    let watched = Watched::new("this node", Model::new(), true, Some(LIVE_ROWS_MAX));
    let (watched, ring) = (Arc::new(watched), Arc::new(Ring::default()));
    let (batches, arriving) = bounded(BATCHES_MAX);
    let (keeper, kept) = (watched.clone(), ring.clone());
    spawn("trace-live", move || keep(&keeper, &kept, &arriving))?;
    let serving = serve(listener, watched, Events::Live(ring), None, Patience::default())?;
    Ok((LiveSender { batches, dropped: Arc::default() }, serving))
}

fn keep(watched: &Watched, ring: &Ring, arriving: &Receiver<Bytes>) {
    let mut feed = Feed::new();
    feed.begin_file("this node");
    for lines in arriving {
        feed.push(&lines);
        ring.put(lines);
        watched.absorb(&feed.take());
    }
    watched.end();
}

/// The last records as they came.
#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
    grown: watch::Sender<u64>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { kept: Mutex::default(), grown: watch::Sender::new(0) }
    }
}

#[derive(Debug, Default)]
struct Kept {
    batches: VecDeque<Bytes>,
    bytes: usize,
    /// Batches before the first that is kept.
    forgotten: u64,
}

impl Ring {
    fn put(&self, lines: Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes = kept.bytes.saturating_add(lines.len());
        kept.batches.push_back(lines);
        while kept.bytes > RING_MAX_BYTES {
            let Some(oldest) = kept.batches.pop_front() else { break };
            kept.bytes = kept.bytes.saturating_sub(oldest.len());
            kept.forgotten = kept.forgotten.saturating_add(1);
        }
        drop(kept);
        self.grown.send_modify(|count| *count = count.saturating_add(1));
    }

    /// The batch of that number, or the first kept after it; and the number of the next.
    fn at(&self, number: u64) -> Option<(Bytes, u64)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = number.max(kept.forgotten);
        let index = usize::try_from(number.saturating_sub(kept.forgotten)).ok()?;
        kept.batches.get(index).map(|lines| (lines.clone(), number.saturating_add(1)))
    }

    /// A header, what is kept, and what comes.
    pub(super) fn body(self: Arc<Self>, watched: &Watched, place: OwnedSemaphorePermit) -> Body {
        let grown = self.grown.subscribe();
        let first = header_line(watched).map(Bytes::from);
        let state = (self, grown, first, 0_u64, place);
        Body::from_stream(stream::unfold(state, |state| async move {
            let (ring, mut grown, mut first, number, place) = state;
            if let Some(header) = first.take() {
                return Some((Ok::<_, io::Error>(header), (ring, grown, first, number, place)));
            }
            loop {
                grown.mark_unchanged();
                if let Some((lines, next)) = ring.at(number) {
                    return Some((Ok(lines), (ring, grown, first, next, place)));
                }
                grown.changed().await.ok()?;
            }
        }))
    }
}

/// The header, with the ports whose own records may be forgotten; none before the node has told its own.
fn header_line(watched: &Watched) -> Option<String> {
    let look = watched.look();
    let (model, about) = (look.model(), look.model().header());
    if about.run.is_empty() {
        return None;
    }
    let ports: Vec<_> = model
        .ports()
        .iter()
        .map(|(p, port)| {
            let to = model.lane_name(port.to);
            json!({"p": p, "name": port.name, "to": to, "items": port.items, "bytes": port.bytes})
        })
        .collect();
    let header = json!({
        "v": 1, "k": "hdr", "run": about.run, "by": about.by, "t0_unix_ns": about.t0_unix_ns,
        "clock": about.clock, "segment": 0, "ports": ports,
    });
    Some(format!("{header}\n"))
}
