//! Files with a bound.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Size at which the next segment begins. Compressed ones are measured before compression.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of segments kept, of all runs together.
const KEPT_BYTES_MAX: u64 = 16 * SEGMENT_BYTES_MAX;

/// Segments kept. Far more than the bytes allow of full ones: a node that starts over and over must not push out
/// what it recorded before.
const KEPT_MAX: usize = 512;

const ZSTD_LEVEL: i32 = 1;

enum Sink {
    Plain(File),
    Zstd(zstd::stream::write::Encoder<'static, File>),
}

/// The segment that is being written.
pub(super) struct Segments {
    dir: PathBuf,
    run_unix_ms: u128,
    compress: bool,
    next: u64,
    sink: Option<Sink>,
    /// Bytes of whole lines that went into the segment.
    written_bytes: u64,
}

impl Segments {
    pub(super) fn new(dir: &Path, run_unix_ms: u128, compress: bool) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = dir.to_owned();
        Ok(Self { dir, run_unix_ms, compress, next: 0, sink: None, written_bytes: 0 })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the next write should begin a segment, which needs a header.
    pub(super) const fn wants_header(&self) -> bool {
        self.sink.is_none() || self.written_bytes >= SEGMENT_BYTES_MAX
    }

    /// The number of the segment that begins next.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Begins a segment, and deletes the oldest beyond the bound.
    pub(super) fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        self.finish()?;
        let ending = if self.compress { "jsonl.zst" } else { "jsonl" };
        let name = format!("run-{:013}-{:06}.{ending}", self.run_unix_ms, self.next);
        let path = self.dir.join(name);
        let file = File::create_new(&path)?;
        self.written_bytes = 0;
        if let Err(error) = self.open(file, header) {
            // an empty file is no segment, and would push out others
            self.give_up();
            fs::remove_file(&path).ok();
            return Err(error);
        }
        self.next = self.next.saturating_add(1);
        prune(&self.dir, is_segment, KEPT_MAX, KEPT_BYTES_MAX, &path);
        Ok(())
    }

    fn open(&mut self, file: File, header: &[u8]) -> io::Result<()> {
        self.sink = Some(match self.compress {
            true => Sink::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?),
            false => Sink::Plain(file),
        });
        self.write(header)
    }

    /// Appends whole lines, all or none where that is possible.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let before_bytes = self.written_bytes;
        match &mut self.sink {
            Some(Sink::Plain(file)) => {
                file.write_all(lines).inspect_err(|_| {
                    // what was written of them is told to be missing
                    file.set_len(before_bytes).ok();
                })?;
            }
            Some(Sink::Zstd(encoder)) => {
                encoder.write_all(lines)?;
                // what was recorded must be readable when the process is killed
                encoder.flush()?;
            }
            None => {}
        }
        self.written_bytes = before_bytes.saturating_add(lines.len() as u64);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.sink.take() {
            Some(Sink::Zstd(encoder)) => encoder.finish().map(drop),
            Some(Sink::Plain(_)) | None => Ok(()),
        }
    }

    /// Lets go of a segment that cannot be written to.
    pub(super) fn give_up(&mut self) {
        self.sink = None;
    }
}

fn is_segment(name: &str) -> bool {
    name.starts_with("run-") && (name.ends_with(".jsonl") || name.ends_with(".jsonl.zst"))
}

/// Deletes what `is_ours` knows by name, the first in the order of names first, until at most so many files and bytes
/// are left; never `current`. What cannot be deleted is left alone: another node may have done it.
pub(super) fn prune(
    dir: &Path,
    is_ours: fn(&str) -> bool,
    most: usize,
    most_bytes: u64,
    current: &Path,
) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut ours = Vec::new();
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            ours.push((entry.path(), bytes));
        }
    }
    ours.sort();
    let mut bytes: u64 = ours.iter().map(|(_, bytes)| *bytes).sum();
    let mut left = ours.len();
    for (path, freed) in ours {
        if left <= most && bytes <= most_bytes {
            return;
        }
        if path != current {
            fs::remove_file(path).ok();
            bytes = bytes.saturating_sub(freed);
            left = left.saturating_sub(1);
        }
    }
}
