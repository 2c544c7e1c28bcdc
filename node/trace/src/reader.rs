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
    /// A pipe, a device or a socket.
    #[error("{0} is not a file; name a trace file (*.jsonl, *.jsonl.zst) or a directory of them")]
    NoFile(PathBuf),
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

/// The files that make up a trace: the file itself, with the other segments of its run, or the newest run of a directory; the newest flight recording when
/// it has no runs. Newest is by name, which begins with the moment.
///
/// # Errors
///
/// When there is nothing that could be read.
pub fn segments(path: &Path) -> Result<Segments, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let kind = std::fs::metadata(path).map_err(io)?;
    if kind.is_file() {
        return of_file(path);
    }
    if !kind.is_dir() {
        return Err(ReadError::NoFile(path.to_owned()));
    }
    let names = names(path).map_err(io)?;
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

/// Names of the recordings in a directory, in order.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(MAX_FILES) {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| group(name).is_some()) else { continue };
        // what is no file would be waited for
        if std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    // while a segment is being compressed both forms exist, and the plain one is whole
    names.dedup_by(|later, earlier| later.strip_suffix(".zst") == Some(earlier));
    Ok(names)
}

/// A file, or the whole run when it is a segment of one.
fn of_file(path: &Path) -> Result<Segments, ReadError> {
    let alone = Segments { files: vec![path.to_owned()], left_out: Vec::new() };
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(run) = name.and_then(group).filter(|run| run.starts_with("run-")) else {
        return Ok(alone);
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = parent.unwrap_or_else(|| Path::new("."));
    // a directory that cannot be listed may still hold a file that can be read
    let Ok(mut names) = names(dir) else { return Ok(alone) };
    names.retain(|name| group(name) == Some(run));
    let files: Vec<_> = names.iter().map(|name| dir.join(name)).collect();
    Ok(if files.is_empty() { alone } else { Segments { files, left_out: Vec::new() } })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
        dir
    }

    fn names_of(segments: &Segments) -> Vec<String> {
        let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        segments.files.iter().map(name).collect()
    }

    #[test]
    fn a_named_segment_stands_for_its_run() {
        let dir =
            dir_with(&["run-1-0.jsonl", "run-1-1.jsonl", "run-2-0.jsonl", "flight-3-x.jsonl"]);
        let whole = segments(&dir.path().join("run-1-1.jsonl")).unwrap();
        assert_eq!(names_of(&whole), ["run-1-0.jsonl", "run-1-1.jsonl"]);
        assert_eq!(names_of(&segments(dir.path()).unwrap()), ["run-2-0.jsonl"]);
        let flight = segments(&dir.path().join("flight-3-x.jsonl")).unwrap();
        assert_eq!(names_of(&flight), ["flight-3-x.jsonl"]);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = dir_with(&["run-1-0.jsonl"]);
        std::fs::create_dir(dir.path().join("run-2-0.jsonl")).unwrap();
        assert_eq!(names_of(&segments(dir.path()).unwrap()), ["run-1-0.jsonl"]);
        assert!(matches!(segments(Path::new("/dev/null")), Err(ReadError::NoFile(_))));
    }
}
