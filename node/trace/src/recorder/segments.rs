//! Files with a bound.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Size at which the next segment begins. Compressed ones are measured before compression.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Segments kept, of all runs together.
const SEGMENTS_MAX: usize = 16;

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
        let file = File::create_new(self.dir.join(name))?;
        self.next = self.next.saturating_add(1);
        self.sink = Some(match self.compress {
            true => Sink::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?),
            false => Sink::Plain(file),
        });
        self.written_bytes = 0;
        delete_oldest(&self.dir, is_segment, SEGMENTS_MAX)?;
        self.write(header)
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.written_bytes = self.written_bytes.saturating_add(lines.len() as u64);
        match &mut self.sink {
            Some(Sink::Plain(file)) => file.write_all(lines),
            Some(Sink::Zstd(encoder)) => {
                encoder.write_all(lines)?;
                // what was recorded must be readable when the process is killed
                encoder.flush()
            }
            None => Ok(()),
        }
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

/// Deletes what `is_ours` knows by name, the first in the order of names first, until `most` are left.
pub(super) fn delete_oldest(dir: &Path, is_ours: fn(&str) -> bool, most: usize) -> io::Result<()> {
    let mut ours = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_ours) {
            ours.push(name);
        }
    }
    ours.sort();
    let beyond = ours.len().saturating_sub(most);
    for name in ours.into_iter().take(beyond) {
        fs::remove_file(dir.join(name))?;
    }
    Ok(())
}
