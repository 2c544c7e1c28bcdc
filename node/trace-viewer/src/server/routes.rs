//! What there is to be had.

use std::{io, mem, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    guard::{self, Guard},
    live::Ring,
};
use crate::{
    columns::Encoder,
    page::Page,
    snapshot::SNAPSHOT_ROWS_MAX,
    source::{EVENTS_TYPE, Piece, Source, spawn},
    watched::Watched,
};

/// How long a page may wait for something new.
const POLL_WAIT: Duration = Duration::from_secs(1);
/// How long changes are gathered once there are any, so that a busy node is not asked for each record.
const POLL_GATHER: Duration = Duration::from_millis(50);
/// Pages that may wait at a time.
const POLLS_MAX: usize = 16;
/// Readers of the records themselves at a time.
const EVENT_READERS_MAX: usize = 4;
/// Pieces of a file that wait for a reader.
const EVENT_PIECES_MAX: usize = 8;

/// Where the records themselves come from.
pub(super) enum Events {
    /// They are read again.
    Of(Source),
    /// They are kept, and go on.
    Live(Arc<Ring>),
}

pub(super) struct Site {
    watched: Arc<Watched>,
    page: Page,
    events: Events,
    diff: Option<Bytes>,
    polls: Arc<Semaphore>,
    event_readers: Arc<Semaphore>,
}

impl Site {
    pub(super) fn new(
        watched: Arc<Watched>,
        page: Page,
        events: Events,
        diff: Option<Bytes>,
    ) -> Self {
        let polls = Arc::new(Semaphore::new(POLLS_MAX));
        let event_readers = Arc::new(Semaphore::new(EVENT_READERS_MAX));
        Self { watched, page, events, diff, polls, event_readers }
    }
}

pub(super) fn router(site: Arc<Site>, guard: Guard) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/columns", get(columns))
        .route("/changes", get(changes))
        .route("/diff", get(diff))
        .route("/page.html", get(standalone))
        .route("/events.jsonl", get(events))
        .with_state(site)
        .layer(middleware::from_fn_with_state(guard, guard::stand))
}

async fn index(State(site): State<Arc<Site>>) -> Html<String> {
    Html(site.page.served())
}

async fn columns(State(site): State<Arc<Site>>) -> Response {
    let encoder = Encoder::whole(&site.watched, &site.watched.look());
    binary(site, encoder, None)
}

#[derive(Deserialize)]
struct Held {
    generation: u64,
    version: u64,
}

async fn changes(State(site): State<Arc<Site>>, Query(held): Query<Held>) -> Response {
    let Ok(place) = site.polls.clone().try_acquire_owned() else {
        return busy("too many pages wait for changes: close some\n");
    };
    let mut changed = site.watched.subscribe();
    let is_new = || {
        let look = site.watched.look();
        (look.generation(), look.model().version()) != (held.generation, held.version)
    };
    if !is_new() && tokio::time::timeout(POLL_WAIT, changed.changed()).await.is_err() {
        // the names of a big trace are megabytes, and would be sent every second for nothing
        return StatusCode::NO_CONTENT.into_response();
    }
    tokio::time::sleep(POLL_GATHER).await;
    let encoder =
        Encoder::changes(&site.watched, &site.watched.look(), held.generation, held.version);
    binary(site, encoder, Some(place))
}

async fn diff(State(site): State<Arc<Site>>) -> Response {
    match &site.diff {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no second trace\n").into_response(),
    }
}

async fn standalone(State(site): State<Arc<Site>>) -> Response {
    if site.watched.look().model().rows() > SNAPSHOT_ROWS_MAX {
        let text = "this trace is too large for one page: `moorline trace view --out FILE.html` keeps its last 1,000,000 rows\n";
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    }
    let encoder = Encoder::standalone(&site.watched, &site.watched.look(), site.diff.as_deref());
    let before = site.page.before_columns().to_owned();
    let pieces = stream::unfold(
        Download { site, encoder, before, carry: Vec::new(), over: false },
        next_piece,
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"trace.html\""),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

struct Download {
    site: Arc<Site>,
    encoder: Encoder,
    before: String,
    /// Bytes that do not make up a group of three yet.
    carry: Vec<u8>,
    over: bool,
}

async fn next_piece(mut this: Download) -> Option<(io::Result<Bytes>, Download)> {
    if this.over {
        return None;
    }
    let before = mem::take(&mut this.before);
    if !before.is_empty() {
        return Some((Ok(before.into()), this));
    }
    let chunk = this.encoder.next_chunk(&this.site.watched.look());
    let text = match chunk {
        Err(renumbered) => {
            this.over = true;
            return Some((Err(io::Error::other(renumbered)), this));
        }
        Ok(Some(chunk)) => {
            this.carry.extend(chunk);
            let whole = this.carry.len().saturating_sub(this.carry.len() % 3);
            let rest = this.carry.split_off(whole);
            STANDARD.encode(mem::replace(&mut this.carry, rest))
        }
        Ok(None) => {
            this.over = true;
            [STANDARD.encode(&this.carry).as_str(), this.site.page.after_columns()].concat()
        }
    };
    tokio::task::yield_now().await;
    Some((Ok(text.into()), this))
}

/// Sends what is encoded. A place is kept until all of it is sent.
fn binary(site: Arc<Site>, encoder: Encoder, place: Option<OwnedSemaphorePermit>) -> Response {
    let pieces = stream::unfold(Some((site, encoder, place)), |state| async {
        let (site, mut encoder, place) = state?;
        // between two pieces the others have their turn
        tokio::task::yield_now().await;
        let chunk = encoder.next_chunk(&site.watched.look());
        match chunk {
            Ok(Some(chunk)) => Some((Ok(Bytes::from(chunk)), Some((site, encoder, place)))),
            Ok(None) => None,
            Err(renumbered) => Some((Err(io::Error::other(renumbered)), None)),
        }
    });
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    (headers, Body::from_stream(pieces)).into_response()
}

async fn events(State(site): State<Arc<Site>>) -> Response {
    let Ok(place) = site.event_readers.clone().try_acquire_owned() else {
        return busy("too many read the records: end one\n");
    };
    let body = match &site.events {
        Events::Of(Source::Node(base)) => {
            let text = format!("these are the records of {base}/events.jsonl: ask there\n");
            return (StatusCode::NOT_FOUND, text).into_response();
        }
        Events::Of(source) => file_events(source.clone(), place),
        Events::Live(ring) => Some(ring.clone().body(&site.watched, place)),
    };
    match body {
        Some(body) => ([(header::CONTENT_TYPE, EVENTS_TYPE)], body).into_response(),
        None => busy("the system gives no thread\n"),
    }
}

fn file_events(source: Source, place: OwnedSemaphorePermit) -> Option<Body> {
    let (pieces, coming) = mpsc::channel::<Bytes>(EVENT_PIECES_MAX);
    let read = move || {
        let _place = place;
        source.run(&mut |piece| match piece {
            Piece::Bytes(bytes) => pieces.blocking_send(Bytes::copy_from_slice(bytes)).is_ok(),
            // the last line of the file before may be torn, and a reader skips an empty one
            Piece::File(_) => pieces.blocking_send(Bytes::from_static(b"\n")).is_ok(),
            _ => !pieces.is_closed(),
        });
    };
    spawn("trace-events", read).ok()?;
    let stream = stream::unfold(coming, |mut coming| async {
        let piece = coming.recv().await?;
        Some((Ok::<_, io::Error>(piece), coming))
    });
    Some(Body::from_stream(stream))
}

fn busy(text: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response()
}
