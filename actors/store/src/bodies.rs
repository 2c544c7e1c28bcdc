//! Append-only body files: e2store records, as in the era files that other clients read.
//!
//! A file begins with an empty `Version` record. Each body is a `CompressedBody` record: two bytes of
//! type, four of length (little-endian), two reserved, then the payload.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moorline_messages::StoreError;

use crate::{
    index::io_error,
    keys::{BodiesEnd, BodyPointer},
    ledger::BodyLog,
};

/// A file is closed and the next begun where a record would take it past this many bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Files kept open for reading.
const OPEN_FILES_MAX: usize = 64;

/// An e2store record's header: type, length, reserved.
const RECORD_HEADER_BYTES: usize = 8;

/// e2store `Version`, without a payload: the first record of every file.
const VERSION_RECORD: [u8; RECORD_HEADER_BYTES] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];

/// era1 `CompressedBody`.
const COMPRESSED_BODY: [u8; 2] = [0x04, 0x00];

/// The body files of one store.
#[derive(Debug)]
pub(crate) struct BodyFiles {
    dir: PathBuf,
    file_bytes_max: u64,
    writer: Mutex<Writer>,
    readers: Mutex<BTreeMap<u32, Arc<File>>>,
}

#[derive(Debug, Default)]
struct Writer {
    end: BodiesEnd,
    /// Open on the file that `end` names.
    file: Option<File>,
}

/// What goes into one file in one append.
struct Run {
    file: u32,
    offset: u64,
    bytes: Vec<u8>,
}

impl BodyFiles {
    /// Opens the files of a directory, which the index knows up to `end`, and cuts off what lies
    /// beyond: an append that a crash interrupted before the index learnt of it.
    pub(crate) fn open(
        dir: &Path,
        end: BodiesEnd,
        file_bytes_max: u64,
    ) -> Result<Self, StoreError> {
        let files = Self {
            dir: dir.to_owned(),
            file_bytes_max,
            writer: Mutex::new(Writer { end, file: None }),
            readers: Mutex::default(),
        };
        files.cut_tail(end)?;
        Ok(files)
    }

    fn cut_tail(&self, end: BodiesEnd) -> Result<(), StoreError> {
        let tail =
            |error: io::Error| io_error("cut the unfinished tail off the body files", &error);
        for (number, len) in list(&self.dir).map_err(tail)? {
            if number > end.file {
                fs::remove_file(path_of(&self.dir, number)).map_err(tail)?;
            } else if number == end.file && len > end.offset {
                let path = path_of(&self.dir, number);
                let file = OpenOptions::new().write(true).open(path).map_err(tail)?;
                file.set_len(end.offset).map_err(tail)?;
            }
        }
        if end.file == 0 {
            return Ok(());
        }
        let path = path_of(&self.dir, end.file);
        let len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if len < end.offset {
            return Err(StoreError::Damaged(format!(
                "{} holds {len} bytes, and {} were written",
                path.display(),
                end.offset
            )));
        }
        Ok(())
    }

    /// Lays records out over the files.
    fn lay_out(
        &self,
        end: BodiesEnd,
        records: &[Vec<u8>],
    ) -> Result<(Vec<Run>, Vec<BodyPointer>), StoreError> {
        let mut runs = vec![Run { file: end.file, offset: end.offset, bytes: Vec::new() }];
        let mut pointers = Vec::with_capacity(records.len());
        let mut at = end;
        for record in records {
            let len = u32::try_from(record.len())
                .map_err(|_| StoreError::Rejected("a body exceeds 4 GiB".to_owned()))?;
            let record_bytes = bytes_u64(RECORD_HEADER_BYTES).saturating_add(u64::from(len));
            if at.file == 0 || at.offset.saturating_add(record_bytes) > self.file_bytes_max {
                at = BodiesEnd {
                    file: at.file.saturating_add(1),
                    offset: bytes_u64(VERSION_RECORD.len()),
                };
                runs.push(Run { file: at.file, offset: 0, bytes: VERSION_RECORD.to_vec() });
            }
            if let Some(run) = runs.last_mut() {
                run.bytes.extend_from_slice(&COMPRESSED_BODY);
                run.bytes.extend_from_slice(&len.to_le_bytes());
                run.bytes.extend_from_slice(&[0; 2]);
                run.bytes.extend_from_slice(record);
            }
            pointers.push(BodyPointer { file: at.file, offset: at.offset, len });
            at.offset = at.offset.saturating_add(record_bytes);
        }
        runs.retain(|run| !run.bytes.is_empty());
        Ok((runs, pointers))
    }

    /// Appends one run and syncs its file.
    fn write_run(&self, writer: &mut Writer, run: &Run) -> io::Result<()> {
        if writer.end.file != run.file {
            writer.file = None;
        }
        let file = match writer.file.take() {
            Some(file) => file,
            None => {
                let path = path_of(&self.dir, run.file);
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(false).open(path)?;
                // the directory entry of a new file has to survive too
                File::open(&self.dir)?.sync_all()?;
                file
            }
        };
        let written = file.write_all_at(&run.bytes, run.offset).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // gives a full disk its room back; what lies beyond the end counts for nothing anyway
            drop(file.set_len(run.offset));
            return Err(error);
        }
        let offset = run.offset.saturating_add(bytes_u64(run.bytes.len()));
        *writer = Writer { end: BodiesEnd { file: run.file, offset }, file: Some(file) };
        Ok(())
    }

    fn reader(&self, number: u32) -> io::Result<Arc<File>> {
        let mut readers = lock(&self.readers);
        if let Some(file) = readers.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path_of(&self.dir, number))?);
        if readers.len() >= OPEN_FILES_MAX {
            // the oldest blocks are the least asked for
            readers.pop_first();
        }
        readers.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Number and length in bytes of every file, ascending.
    pub(crate) fn sizes(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        list(&self.dir).map_err(|error| io_error("list the body files", &error))
    }
}

impl BodyLog for BodyFiles {
    fn append(&self, records: &[Vec<u8>]) -> Result<Vec<BodyPointer>, StoreError> {
        let mut writer = lock(&self.writer);
        let (runs, pointers) = self.lay_out(writer.end, records)?;
        for run in &runs {
            self.write_run(&mut writer, run)
                .map_err(|error| io_error("write a body file", &error))?;
        }
        Ok(pointers)
    }

    fn end(&self) -> BodiesEnd {
        lock(&self.writer).end
    }

    fn read(&self, pointer: BodyPointer) -> Result<Vec<u8>, StoreError> {
        let BodyPointer { file, offset, len } = pointer;
        let name = file_name(file);
        let reader = self.reader(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Damaged(format!("{name} is gone")),
            _ => io_error(&format!("open {name}"), &error),
        })?;
        let most = reader.metadata().map_or(0, |metadata| metadata.len());
        let end = record_end(pointer);
        if end > most {
            return Err(StoreError::Damaged(format!(
                "{name} ends at byte {most}, before a record that ends at byte {end}"
            )));
        }
        let payload_len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut record = vec![0; payload_len.saturating_add(RECORD_HEADER_BYTES)];
        reader
            .read_exact_at(&mut record, offset)
            .map_err(|error| io_error(&format!("read {name}"), &error))?;
        let header = [&COMPRESSED_BODY[..], &len.to_le_bytes(), &[0; 2]].concat();
        if !record.starts_with(&header) {
            return Err(StoreError::Damaged(format!("{name} has no body at byte {offset}")));
        }
        Ok(record.split_off(RECORD_HEADER_BYTES))
    }
}

/// Number and length of every body file in a directory.
fn list(dir: &Path) -> io::Result<BTreeMap<u32, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("bodies-")?.strip_suffix(".e2s")?.parse().ok());
        if let Some(number) = number {
            files.insert(number, entry.metadata()?.len());
        }
    }
    Ok(files)
}

fn file_name(number: u32) -> String {
    format!("bodies-{number:06}.e2s")
}

fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number))
}

/// Where a record ends in its file, in bytes.
pub(crate) fn record_end(pointer: BodyPointer) -> u64 {
    pointer
        .offset
        .saturating_add(bytes_u64(RECORD_HEADER_BYTES))
        .saturating_add(u64::from(pointer.len))
}

fn bytes_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
