//! A page that needs nobody to serve it, for a bug report.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use moorline_trace::{Model, load};

use crate::{
    columns::Encoder,
    error::ViewerError,
    page::Page,
    source::Source,
    watched::{Watched, is_a_trace},
};

/// Rows of a standalone page; of more, the last ones are kept. A browser takes these in about three seconds.
pub const SNAPSHOT_ROWS_MAX: usize = 1_000_000;

/// What to write, and where.
#[derive(Clone, Debug)]
pub struct SnapshotArgs {
    /// The trace: a file or a directory.
    pub trace: PathBuf,
    /// The HTML file, which is overwritten.
    pub out: PathBuf,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Rows in the page.
    pub rows: usize,
    /// Oldest rows that were left out; the page says so too.
    pub trimmed_rows: u64,
}

/// Writes a trace as one HTML file.
///
/// # Errors
///
/// When the trace cannot be read, or the file cannot be written.
pub fn snapshot(args: &SnapshotArgs) -> Result<Snapshot, ViewerError> {
    let name = args.trace.display().to_string();
    if name.contains("://")
        && let Source::Node(url) = Source::open(&name)?
    {
        return Err(ViewerError::PageOfNode { url });
    }
    let mut model = load(&args.trace)?.model;
    is_a_trace(&name, &model)?;
    model.trim(SNAPSHOT_ROWS_MAX);
    write_file(&args.out, &name, model)
        .map_err(|source| ViewerError::Write { path: args.out.clone(), source })
}

fn write_file(out: &Path, source: &str, model: Model) -> io::Result<Snapshot> {
    let written = Snapshot { rows: model.rows(), trimmed_rows: model.trimmed_rows() };
    let watched = Watched::new(source, model, false, None);
    let page = Page::of_this_build();
    let mut file = BufWriter::new(File::create(out)?);
    file.write_all(page.before_columns().as_bytes())?;
    let mut base64 = EncoderWriter::new(&mut file, &STANDARD);
    let look = watched.look();
    let mut encoder = Encoder::whole(&watched, &look);
    while let Some(chunk) = encoder.next_chunk(&look).map_err(io::Error::other)? {
        base64.write_all(&chunk)?;
    }
    base64.finish()?;
    drop(base64);
    file.write_all(page.after_columns().as_bytes())?;
    file.flush()?;
    Ok(written)
}
