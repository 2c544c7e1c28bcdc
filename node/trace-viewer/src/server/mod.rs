//! The page over HTTP, to this machine alone and read-only.

mod connection;
mod guard;
mod live;
mod routes;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use axum::{body::Bytes, http::HeaderValue};
pub use live::{LiveSender, serve_live};
use tokio::sync::watch;

use crate::{
    error::ViewerError,
    page::Page,
    source::{Source, spawn, watch as watch_source},
    watched::Watched,
};
use connection::Patience;
use guard::Guard;
use routes::{Events, Site};

/// What to look at, and where to serve it.
#[derive(Clone, Debug)]
pub struct ViewArgs {
    /// A file, a directory, or the `http://` address of a running node.
    pub source: String,
    /// A second trace, a file or a directory, to compare it with.
    pub against: Option<PathBuf>,
    /// Where to serve the page; port 0 for any that is free.
    pub listen: SocketAddr,
}

/// A page that is being served; it ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Where it is served.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address to open in a browser.
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads a trace and serves its page. Returns when what was there has been read; what comes later is shown as it comes.
///
/// # Errors
///
/// When the trace cannot be read, or the address is not to be had or not of this machine alone.
pub fn view(args: &ViewArgs) -> Result<Serving, ViewerError> {
    let listener = listen(args.listen)?;
    let source = Source::open(&args.source)?;
    let (watched, ready) = watch_source(&source)?;
    // a thread that ended without a word has nothing more to tell
    let _ = ready.recv();
    watched.is_a_trace()?;
    let diff = match &args.against {
        Some(against) => Some(compare(&watched, &args.source, against)?),
        None => None,
    };
    serve(listener, watched, Events::Of(source), diff, Patience::default())
}

fn compare(watched: &Watched, name: &str, against: &Path) -> Result<Bytes, ViewerError> {
    let other = moorline_trace::load(against)?.model;
    let look = watched.look();
    let against = against.display().to_string();
    let diff = moorline_trace::diff::diff((name, look.model()), (&against, &other));
    Ok(serde_json::to_vec(&diff).unwrap_or_default().into())
}

/// Whether a trace may be shown at an address.
///
/// # Errors
///
/// When it is not 127.0.0.1 or ::1.
pub fn may_show_at(addr: SocketAddr) -> Result<(), ViewerError> {
    let usual = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    // others are this machine too, and no name that the guard knows
    if usual.contains(&addr.ip()) { Ok(()) } else { Err(ViewerError::NotLoopback { addr }) }
}

fn listen(addr: SocketAddr) -> Result<TcpListener, ViewerError> {
    may_show_at(addr)?;
    let listener = TcpListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| ViewerError::Listen { addr, source })
}

fn serve(
    listener: TcpListener,
    watched: Arc<Watched>,
    events: Events,
    diff: Option<Bytes>,
    patience: Patience,
) -> Result<Serving, ViewerError> {
    let addr = listener.local_addr().map_err(ViewerError::Start)?;
    let page = Page::of_this_build();
    let policy = HeaderValue::from_str(&page.policy_header())
        .map_err(|error| ViewerError::Start(io::Error::other(error)))?;
    let router = routes::router(
        Arc::new(Site::new(watched, page, events, diff)),
        Guard { port: addr.port(), policy },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ViewerError::Start)?;
    let (stop, stopping) = watch::channel(false);
    let thread = spawn("trace-view", move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => connection::accept(listener, router, patience, stopping).await,
                Err(error) => tracing::error!(%error, "the page of the trace is not served"),
            }
        });
    })?;
    Ok(Serving { addr, stop, thread: Some(thread) })
}
