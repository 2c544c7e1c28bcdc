//! Where a trace comes from: a file, a directory, a running node.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use moorline_trace::{Feed, batch::Batch, reader};

use crate::{error::ViewerError, watched::Watched};

/// How often a file that may grow is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// How many batches may wait for whoever keeps them.
const BATCHES_MAX: usize = 8;
/// Waits before a node is asked again.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a trace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or the newest run in a directory.
    Path(PathBuf),
    /// A running node: where its page is, without a slash at the end.
    Node(String),
}

/// What a source says.
pub(crate) enum Piece<'a> {
    /// All begins anew.
    Anew,
    /// A file begins.
    File(&'a str),
    /// More of it.
    Bytes(&'a [u8]),
    /// Something could not be read.
    Skip(String),
    /// All that was there has been read.
    CaughtUp,
    /// Nothing new; it is time to see whether anybody still listens.
    Idle,
}

/// Takes what a source says, and answers whether it wants more.
type Sink<'a> = &'a mut dyn FnMut(Piece<'_>) -> bool;

impl Source {
    /// Finds the file, directory or node that a text names.
    ///
    /// # Errors
    ///
    /// When it is not there, or not on this machine.
    pub fn open(text: &str) -> Result<Self, ViewerError> {
        if text.contains("://") {
            let base = node_address(text)?;
            events(&base)
                .map_err(|reason| ViewerError::Unreachable { url: base.clone(), reason })?;
            return Ok(Self::Node(base));
        }
        let path = PathBuf::from(text);
        reader::segments(&path)?;
        Ok(Self::Path(path))
    }

    /// What is being looked at, in words.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Node(base) => base.clone(),
        }
    }

    /// Hands out what there is and goes on with what comes, until the sink wants no more.
    pub(crate) fn run(&self, sink: Sink<'_>) {
        match self {
            Self::Path(path) => follow_files(path, sink),
            Self::Node(base) => follow_node(base, sink),
        }
    }
}

/// Reads a source on threads of their own, for as long as anybody holds what it reads into.
///
/// # Errors
///
/// When the system gives no thread.
pub fn watch(source: &Source) -> Result<(Arc<Watched>, Receiver<()>), ViewerError> {
    let watched = Arc::new(Watched::new(&source.name(), Default::default(), true, keep(source)));
    let (batches, arriving) = bounded(BATCHES_MAX);
    let (caught_up, ready) = bounded(1);
    let source = source.clone();
    spawn("trace-read", move || read(&source, &batches))?;
    let held = Arc::downgrade(&watched);
    spawn("trace-keep", move || {
        for step in arriving {
            let Some(watched) = held.upgrade() else { return };
            match step {
                Step::Anew => watched.restart(),
                Step::Batch(batch) => watched.absorb(&batch),
                Step::CaughtUp => drop(caught_up.try_send(())),
                Step::Idle => {}
            }
        }
    })?;
    Ok((watched, ready))
}

fn keep(source: &Source) -> Option<usize> {
    matches!(source, Source::Node(_)).then_some(crate::watched::LIVE_ROWS_MAX)
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ViewerError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(ViewerError::Start)
}

enum Step {
    Anew,
    Batch(Box<Batch>),
    CaughtUp,
    Idle,
}

fn read(source: &Source, steps: &Sender<Step>) {
    let mut feed = Feed::new();
    source.run(&mut |piece| {
        let step = match piece {
            Piece::Anew => {
                feed = Feed::new();
                Step::Anew
            }
            Piece::File(name) => {
                feed.begin_file(name);
                Step::Batch(Box::new(feed.take()))
            }
            Piece::Bytes(bytes) => {
                feed.push(bytes);
                Step::Batch(Box::new(feed.take()))
            }
            Piece::Skip(what) => {
                feed.skip(&what);
                Step::Batch(Box::new(feed.take()))
            }
            Piece::CaughtUp => Step::CaughtUp,
            Piece::Idle => Step::Idle,
        };
        steps.send(step).is_ok()
    });
}

fn follow_files(path: &Path, sink: Sink<'_>) {
    let mut caught_up = false;
    let mut done: Option<String> = None;
    let mut first_run: Option<String> = None;
    loop {
        let files = reader::segments(path).map(|found| found.files).unwrap_or_default();
        if first_run.is_none() {
            first_run = files.first().map(|file| run_of(&stem(file)));
        }
        let ours = |file: &&PathBuf| Some(run_of(&stem(file))) == first_run;
        let next = files
            .iter()
            .filter(ours)
            .find(|file| done.as_ref().is_none_or(|done| stem(file) > *done));
        let Some(file) = next else {
            if !pause(sink, &mut caught_up) {
                return;
            }
            continue;
        };
        let this = stem(file);
        if !sink(Piece::File(&file_name(file))) {
            return;
        }
        let followed = || {
            let files = reader::segments(path).map(|found| found.files).unwrap_or_default();
            files.iter().filter(ours).any(|file| stem(file) > this)
        };
        match follow_file(file, &followed, sink, &mut caught_up) {
            Ok(true) => {}
            Ok(false) => return,
            // it was compressed or deleted since it was listed: the next look tells
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !pause(sink, &mut caught_up) {
                    return;
                }
                continue;
            }
            Err(error) => {
                if !sink(Piece::Skip(format!("the rest of a file: {error}"))) {
                    return;
                }
            }
        }
        done = Some(this);
    }
}

/// Reads a file, and what is written to it until another follows; `Ok(false)` when nobody listens any more.
fn follow_file(
    path: &Path,
    followed: &dyn Fn() -> bool,
    sink: Sink<'_>,
    caught_up: &mut bool,
) -> io::Result<bool> {
    if path.extension().is_some_and(|extension| extension == "zst") {
        let mut wanted = true;
        reader::read_file(path, |bytes| {
            wanted = sink(Piece::Bytes(bytes));
            wanted
        })?;
        return Ok(wanted);
    }
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut position = 0_u64;
    let mut last_look = false;
    loop {
        let read = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read > 0 {
            position = position.saturating_add(read as u64);
            if !sink(Piece::Bytes(buffer.get(..read).unwrap_or_default())) {
                return Ok(false);
            }
            continue;
        }
        if last_look {
            return Ok(true);
        }
        // one look more, for what was written before the next file was begun
        last_look = followed();
        if !last_look && !pause(sink, caught_up) {
            return Ok(false);
        }
        if file.metadata()?.len() < position {
            file.seek(SeekFrom::Start(0))?;
            position = 0;
            if !sink(Piece::Anew) {
                return Ok(false);
            }
        }
    }
}

fn pause(sink: Sink<'_>, caught_up: &mut bool) -> bool {
    let piece = if *caught_up { Piece::Idle } else { Piece::CaughtUp };
    *caught_up = true;
    let wanted = sink(piece);
    if wanted {
        thread::sleep(POLL);
    }
    wanted
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name without what tells whether it is compressed, which changes while it is read.
fn stem(path: &Path) -> String {
    let name = file_name(path);
    name.strip_suffix(".zst").unwrap_or(&name).to_owned()
}

fn run_of(stem: &str) -> String {
    stem.rsplit_once('-').map_or(stem, |(run, _)| run).to_owned()
}

fn node_address(text: &str) -> Result<String, ViewerError> {
    let wrong = || ViewerError::Url { url: text.to_owned() };
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.parse::<u16>().is_ok() { host } else { authority }
    });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if local { Ok(format!("http://{authority}")) } else { Err(wrong()) }
}

fn events(base: &str) -> Result<impl Read, String> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(CONNECT_TIMEOUT))
        .max_redirects(0)
        .proxy(None)
        .build();
    let response = ureq::Agent::new_with_config(config)
        .get(format!("{base}/events.jsonl"))
        .call()
        .map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("it answered {}", response.status()));
    }
    Ok(response.into_body().into_reader())
}

fn follow_node(base: &str, sink: Sink<'_>) {
    let mut wait = RECONNECT_FIRST;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        if let Ok(mut body) = events(base) {
            wait = RECONNECT_FIRST;
            // a node tells all that it has kept each time it is asked
            let begun = [Piece::Anew, Piece::File(base), Piece::CaughtUp];
            if !begun.into_iter().all(&mut *sink) {
                return;
            }
            while let Some(read) = body.read(&mut buffer).ok().filter(|read| *read > 0) {
                if !sink(Piece::Bytes(buffer.get(..read).unwrap_or_default())) {
                    return;
                }
            }
        }
        if !sink(Piece::Idle) {
            return;
        }
        thread::sleep(wait);
        wait = wait.saturating_mul(2).min(RECONNECT_LAST);
    }
}
