//! Files and directories of a trace.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use thiserror::Error;

use crate::{batch::Batch, feed::Feed, model::Model};

/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// How many batches may wait for the model.
const MAX_BATCHES: usize = 8;
/// The most files of a directory that are looked at.
pub const MAX_FILES: usize = 100_000;

/// Why a trace could not be read at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file or directory cannot be opened or read.
    #[error(
        "{path} cannot be read: {source}; name a trace file (*.jsonl, *.jsonl.zst) or a directory of them"
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory in which nothing was recorded.
    #[error(
        "{0} holds no trace: neither run-*.jsonl nor flight-*.jsonl; record one with `moorline node --trace DIR`"
    )]
    NoTrace(PathBuf),
}

/// The files of one run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// The files to be read.
    pub files: Vec<PathBuf>,
    /// Names of the files of other runs in the same directory, which are left out.
    pub left_out: Vec<String>,
}

/// A trace that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds.
    pub model: Model,
    /// What was read and what was not.
    pub segments: Segments,
}

/// The files that make up a trace: the file itself, or the newest run of a directory; the newest flight recording when
/// it has no runs. Newest is by name, which begins with the moment.
///
/// # Errors
///
/// When there is nothing that could be read.
pub fn segments(path: &Path) -> Result<Segments, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(Segments { files: vec![path.to_owned()], left_out: Vec::new() });
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)?.take(MAX_FILES) {
        let name = entry.map_err(io)?.file_name();
        if let Some(name) = name.to_str().filter(|name| group(name).is_some()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    // while a segment is being compressed both forms exist, and the plain one is whole
    names.dedup_by(|later, earlier| later.strip_suffix(".zst") == Some(earlier));
    let of = |prefix| {
        names.iter().filter_map(|name| group(name)).filter(move |group| group.starts_with(prefix))
    };
    let newest = of("run-").next_back().or_else(|| of("flight-").next_back());
    let Some(newest) = newest.map(str::to_owned) else {
        return Err(ReadError::NoTrace(path.to_owned()));
    };
    let (files, left_out): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| group(name) == Some(&newest));
    Ok(Segments { files: files.iter().map(|name| path.join(name)).collect(), left_out })
}

/// What the files of one run have in common: the name up to the number of the segment.
fn group(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".zst").unwrap_or(name).strip_suffix(".jsonl")?;
    if stem.starts_with("flight-") {
        return Some(stem);
    }
    let rest = stem.strip_prefix("run-")?;
    let run = rest.rsplit_once('-').map_or(rest, |(run, _)| run);
    stem.get(..run.len().saturating_add(4))
}

/// Reads a trace as it is now. What cannot be read of it is in the model's list of what was skipped.
///
/// # Errors
///
/// When there is nothing that could be read.
pub fn load(path: &Path) -> Result<Loaded, ReadError> {
    let segments = segments(path)?;
    // a file that is not there at all is an error; one that breaks off is not
    for file in segments.files.iter().take(1) {
        File::open(file).map_err(|source| ReadError::Io { path: file.clone(), source })?;
    }
    let mut model = Model::new();
    let (batches, arriving) = bounded(MAX_BATCHES);
    thread::scope(|scope| {
        let files = &segments.files;
        scope.spawn(move || read_all(files, &batches));
        absorb_all(&mut model, &arriving);
    });
    Ok(Loaded { model, segments })
}

fn absorb_all(model: &mut Model, batches: &Receiver<Batch>) {
    for batch in batches {
        model.absorb(&batch);
    }
}

fn read_all(files: &[PathBuf], batches: &Sender<Batch>) {
    let mut feed = Feed::new();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        feed.begin_file(&name.unwrap_or_default());
        if let Err(error) = read_file(file, |bytes| {
            feed.push(bytes);
            batches.send(feed.take()).is_ok()
        }) {
            feed.skip(&format!("the rest of a file: {error}"));
        }
    }
    feed.end_file();
    // when nobody listens any more, nobody wants it
    let _ = batches.send(feed.take());
}

/// Reads a file piece by piece until its end, or until the sink answers `false`. Names that end in `.zst` are decoded.
///
/// # Errors
///
/// When a read fails, or the compressed data breaks off; what came before has been handed out.
pub fn read_file(path: &Path, mut sink: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let file = File::open(path)?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        copy(zstd::stream::read::Decoder::new(file)?, &mut sink)
    } else {
        copy(file, &mut sink)
    }
}

fn copy(mut source: impl Read, sink: &mut impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if !sink(buffer.get(..read).unwrap_or_default()) {
            return Ok(());
        }
    }
}
