//! Where a trace comes from: a file, a directory, a running node.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use moorline_trace::{Feed, ReadError, batch::Batch, reader};

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

/// What the records themselves are served as.
pub(crate) const EVENTS_TYPE: &str = "application/jsonl; charset=utf-8";

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
    /// What there is to say of the source; nothing when it is as it should be.
    State(Option<&'a str>),
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
            events(&base)?;
            return Ok(Self::Node(base));
        }
        let path = PathBuf::from(text);
        if let Some(first) = reader::segments(&path)?.files.first() {
            File::open(first).map_err(|source| ReadError::Io { path: first.clone(), source })?;
        }
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
                Step::State(said) => watched.say(said),
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
    State(Option<String>),
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
            Piece::State(said) => Step::State(said.map(str::to_owned)),
            Piece::CaughtUp => Step::CaughtUp,
            Piece::Idle => Step::Idle,
        };
        steps.send(step).is_ok()
    });
}

/// The run in a directory that is being read, or a file alone.
struct Run<'a> {
    path: &'a Path,
    /// What the names of its files begin with; of the newest run there was when it was first looked at.
    name: Option<String>,
}

impl Run<'_> {
    /// Its files in order, and what there is to say of the source.
    fn look(&mut self) -> (Vec<PathBuf>, Option<String>) {
        let found = match reader::segments(self.path) {
            Ok(found) => found,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let newest = found.files.first().map(|file| run_of(&stem(file)));
        self.name = self.name.take().or_else(|| newest.clone());
        let name = self.name.as_deref().unwrap_or_default();
        let is_newer = newest.filter(|newest| newest != name);
        let others = found.left_out.iter().map(|name| self.path.join(name));
        let mut files: Vec<_> = found.files.into_iter().chain(others).collect();
        files.retain(|file| run_of(&stem(file)) == name);
        files.sort();
        let said = is_newer.map(|run| format!("a newer run is there: {run}; open it anew to see"));
        (files, said)
    }

    fn after(&mut self, done: Option<&String>) -> Option<PathBuf> {
        let is_next = |file: &PathBuf| done.is_none_or(|done| stem(file) > *done);
        self.look().0.into_iter().find(is_next)
    }
}

fn follow_files(path: &Path, sink: Sink<'_>) {
    let mut run = Run { path, name: None };
    let mut waits = Waits::new(sink);
    let mut done: Option<String> = None;
    while waits.wanted {
        let Some(file) = run.after(done.as_ref()) else {
            let (_, said) = run.look();
            waits.pause(said);
            continue;
        };
        waits.tell(Piece::File(&file_name(&file)));
        let read = Tail::open(&file, &mut run, &mut waits).and_then(|tail| tail.copy());
        match read {
            Ok(End::Over) => done = Some(stem(&file)),
            Ok(End::Unwanted) => return,
            Ok(End::Rewritten) => {
                done = None;
                waits.tell(Piece::Anew);
            }
            // it was deleted since it was listed: the next look tells
            Err(error) if error.kind() == io::ErrorKind::NotFound => waits.pause(None),
            Err(error) => {
                waits.tell(Piece::Skip(format!("the rest of a file: {error}")));
                done = Some(stem(&file));
            }
        }
    }
}

/// Whoever listens, and what was told already.
struct Waits<'a> {
    sink: Sink<'a>,
    wanted: bool,
    caught_up: bool,
    said: Option<String>,
}

impl<'a> Waits<'a> {
    fn new(sink: Sink<'a>) -> Self {
        Self { sink, wanted: true, caught_up: false, said: None }
    }

    fn tell(&mut self, piece: Piece<'_>) {
        self.wanted = self.wanted && (self.sink)(piece);
    }

    /// Says that all is read, once, and how the source is, when that has changed; then waits.
    fn pause(&mut self, said: Option<String>) {
        if said != self.said {
            self.tell(Piece::State(said.as_deref()));
            self.said = said;
        }
        self.tell(if self.caught_up { Piece::Idle } else { Piece::CaughtUp });
        self.caught_up = true;
        if self.wanted {
            thread::sleep(POLL);
        }
    }
}

/// How the reading of a file ended.
enum End {
    /// Another one follows it.
    Over,
    /// Nobody listens any more.
    Unwanted,
    /// It became shorter, or another took its name.
    Rewritten,
}

/// A file, and what is written to it until another follows: its end is reached only then.
struct Tail<'a, 'w, 'r> {
    path: &'a Path,
    stem: String,
    file: File,
    position: u64,
    run: &'a mut Run<'r>,
    waits: &'a mut Waits<'w>,
    /// Another file follows: one look more, for what was written before that was begun.
    last_look: bool,
    end: End,
}

impl<'a, 'w, 'r> Tail<'a, 'w, 'r> {
    fn open(path: &'a Path, run: &'a mut Run<'r>, waits: &'a mut Waits<'w>) -> io::Result<Self> {
        let (file, stem) = (File::open(path)?, stem(path));
        Ok(Self { path, stem, file, position: 0, run, waits, last_look: false, end: End::Over })
    }

    fn copy(mut self) -> io::Result<End> {
        let mut buffer = vec![0; CHUNK_BYTES];
        if self.path.extension().is_some_and(|extension| extension == "zst") {
            let mut decoder = zstd::stream::read::Decoder::new(self)?;
            while let Some(read) = some_bytes(&mut decoder, &mut buffer)
                .or_else(|error| decoder.get_ref().get_ref().forgive(error))?
            {
                let bytes = buffer.get(..read).unwrap_or_default();
                decoder.get_mut().get_mut().waits.tell(Piece::Bytes(bytes));
            }
            return Ok(decoder.finish().into_inner().end());
        }
        while let Some(read) = some_bytes(&mut self, &mut buffer)? {
            self.waits.tell(Piece::Bytes(buffer.get(..read).unwrap_or_default()));
        }
        Ok(self.end())
    }

    fn end(self) -> End {
        if self.waits.wanted { self.end } else { End::Unwanted }
    }

    /// A compressed stream that is left before its end is no fault of the file.
    fn forgive(&self, error: io::Error) -> io::Result<Option<usize>> {
        let left = !self.waits.wanted || matches!(self.end, End::Rewritten);
        if left { Ok(None) } else { Err(error) }
    }

    /// Whether there is nothing more to wait for.
    fn is_over(&mut self) -> io::Result<bool> {
        if self.last_look {
            return Ok(true);
        }
        let (files, said) = self.run.look();
        self.last_look = files.iter().any(|file| stem(file) > self.stem);
        if self.last_look {
            return Ok(false);
        }
        let held = self.file.metadata()?;
        let is_there = std::fs::metadata(self.path).ok();
        let other = is_there.as_ref().is_some_and(|there| there.ino() != held.ino());
        if other || held.len() < self.position {
            self.end = End::Rewritten;
            return Ok(true);
        }
        let gone = || format!("{} is gone; what was read of it stays", file_name(self.path));
        let said = if is_there.is_some() { said } else { Some(gone()) };
        self.waits.pause(said);
        Ok(false)
    }
}

impl Read for Tail<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.waits.wanted {
            let read = self.file.read(into)?;
            if read > 0 {
                self.position = self.position.saturating_add(read as u64);
                return Ok(read);
            }
            if self.is_over()? {
                break;
            }
        }
        Ok(0)
    }
}

fn some_bytes(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map(|read| Some(read).filter(|read| *read > 0)),
        }
    }
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

fn events(base: &str) -> Result<impl Read, ViewerError> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(CONNECT_TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let (url, agent) = (base.to_owned(), ureq::Agent::new_with_config(config));
    let response = match agent.get(format!("{base}/events.jsonl")).call() {
        Ok(response) => response,
        Err(error) => return Err(ViewerError::Unreachable { url, reason: error.to_string() }),
    };
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    match response.status().as_u16() {
        200 if kind == Some(EVENTS_TYPE) => Ok(response.into_body().into_reader()),
        200 => Err(ViewerError::NoTrace { url, answer: "something else".to_owned() }),
        status => Err(ViewerError::NoTrace { url, answer: format!("status {status}") }),
    }
}

fn follow_node(base: &str, sink: Sink<'_>) {
    let mut wait = RECONNECT_FIRST;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        if let Ok(mut body) = events(base) {
            wait = RECONNECT_FIRST;
            // a node tells all that it has kept each time it is asked
            let begun = [Piece::Anew, Piece::State(None), Piece::File(base), Piece::CaughtUp];
            if !begun.into_iter().all(&mut *sink) {
                return;
            }
            while let Some(read) = body.read(&mut buffer).ok().filter(|read| *read > 0) {
                if !sink(Piece::Bytes(buffer.get(..read).unwrap_or_default())) {
                    return;
                }
            }
        }
        if !sink(Piece::State(Some("the node does not answer, and is asked again"))) {
            return;
        }
        thread::sleep(wait);
        wait = wait.saturating_mul(2).min(RECONNECT_LAST);
    }
}
