//! Append-only record files: e2store records, as in the era files that other clients read.
//!
//! A file begins with an empty `Version` record. Then come headers, bodies and blocks' receipts, each a
//! record of its own: two bytes of type, four of length (little-endian), two reserved, then the payload.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_rlp::Encodable;
use moorline_messages::{SealedHeader, StoreError};

use crate::{
    codec::{BODY_BYTES_MAX, HEADER_BYTES_MAX, RECEIPTS_BYTES_MAX, packed_bytes_max},
    index::{io_error, lasting},
    keys::{LogEnd, Pointer},
    ledger::{RecordKind, RecordLog},
};

/// A file is closed and the next begun where a record would take it past this many bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Records that wait in memory for more of their commit; beyond, they are written on.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Files kept open for reading.
const OPEN_FILES_MAX: usize = 64;

/// An e2store record's header: type, length, reserved.
const RECORD_HEADER_BYTES: usize = 8;

/// What the first read of a record asks for; most headers need no second one.
const FIRST_READ_BYTES: usize = 1 << 10;

/// e2store `Version`, without a payload: the first record of every file.
const VERSION_RECORD: [u8; RECORD_HEADER_BYTES] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];

/// The types of era1 records, and `CompressedSlimReceipts` of the ere format, receipts without bloom
/// (eth-clients/e2store-format-specs, types/0x0a00.md).
const fn type_of(kind: RecordKind) -> [u8; 2] {
    match kind {
        RecordKind::Header => [0x03, 0x00],
        RecordKind::Body => [0x04, 0x00],
        RecordKind::Receipts => [0x0a, 0x00],
    }
}

/// What a packer makes at most; a longer length is damage, and must not decide how much memory is taken.
const fn payload_bytes_max(kind: RecordKind) -> usize {
    match kind {
        RecordKind::Header => packed_bytes_max(HEADER_BYTES_MAX),
        RecordKind::Body => packed_bytes_max(BODY_BYTES_MAX),
        RecordKind::Receipts => packed_bytes_max(RECEIPTS_BYTES_MAX),
    }
}

/// Most bytes that a store takes up which holds nothing but its genesis block, whose body is empty lists.
pub(crate) fn founding_bytes_max(genesis: &SealedHeader) -> u64 {
    let header = packed_bytes_max(genesis.inner().length());
    let (body, framing) = (packed_bytes_max(8), RECORD_HEADER_BYTES.saturating_mul(3));
    bytes_u64(header.saturating_add(body).saturating_add(framing))
}

/// The record files of one store.
#[derive(Debug)]
pub(crate) struct RecordFiles {
    dir: PathBuf,
    file_bytes_max: u64,
    writer: Mutex<Writer>,
    readers: Mutex<BTreeMap<u32, Arc<File>>>,
}

#[derive(Debug, Default)]
struct Writer {
    end: LogEnd,
    /// The last bytes before `end`, not yet handed to the file.
    buffer: Vec<u8>,
    /// Open on the file that `end` names.
    file: Option<File>,
    /// Whether bytes were handed to that file since it was last synced.
    unsynced: bool,
    /// Whether a file was begun whose directory entry is not synced.
    has_begun_file: bool,
    /// Set once a sync failed: the next may succeed, since the system reports such a failure once.
    broken: Option<StoreError>,
}

impl Writer {
    /// Offset in the file up to which it has been written.
    fn written_bytes(&self) -> u64 {
        self.end.offset.saturating_sub(bytes_u64(self.buffer.len()))
    }

    /// The file that `end` names, opened if need be; put back by the caller.
    fn take_file(&mut self, dir: &Path) -> io::Result<File> {
        match self.file.take() {
            Some(file) => Ok(file),
            None => {
                let path = path_of(dir, self.end.file);
                OpenOptions::new().write(true).create(true).truncate(false).open(path)
            }
        }
    }

    fn write_out(&mut self, dir: &Path) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let offset = self.written_bytes();
        let file = self.take_file(dir).map_err(unwritten)?;
        let written = file.write_all_at(&self.buffer, offset);
        self.unsynced = true;
        if written.is_err() {
            // gives a full disk its room back; what lies beyond the end counts for nothing anyway
            drop(file.set_len(offset));
        } else {
            self.buffer.clear();
        }
        self.file = Some(file);
        written.map_err(unwritten)
    }

    fn sync(&mut self, dir: &Path) -> Result<(), StoreError> {
        self.ready()?;
        self.write_out(dir)?;
        if self.unsynced {
            let file = self.take_file(dir).map_err(unwritten)?;
            let synced = file.sync_data();
            self.file = Some(file);
            self.breaking(synced)?;
            self.unsynced = false;
        }
        if self.has_begun_file {
            // the directory entry of a new file has to survive too
            let dir = File::open(dir).map_err(unwritten)?;
            self.breaking(dir.sync_all())?;
            self.has_begun_file = false;
        }
        Ok(())
    }

    /// Whether writing makes sense at all.
    fn ready(&self) -> Result<(), StoreError> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn breaking(&mut self, synced: io::Result<()>) -> Result<(), StoreError> {
        synced.map_err(unwritten).inspect_err(|error| self.broken = Some(lasting(error)))
    }

    /// Leaves the file at hand and begins the next.
    fn begin_file(&mut self, dir: &Path) -> Result<(), StoreError> {
        self.sync(dir)?;
        let number = self.end.file.saturating_add(1);
        self.file = None;
        self.end = LogEnd { file: number, offset: bytes_u64(VERSION_RECORD.len()) };
        self.buffer.extend_from_slice(&VERSION_RECORD);
        self.has_begun_file = true;
        Ok(())
    }
}

impl RecordFiles {
    /// Opens the files of a directory, which the index knows up to `end`, and cuts off what lies
    /// beyond: an append that a crash interrupted before the index learnt of it.
    pub(crate) fn open(dir: &Path, end: LogEnd, file_bytes_max: u64) -> Result<Self, StoreError> {
        let files = Self {
            dir: dir.to_owned(),
            file_bytes_max,
            writer: Mutex::new(Writer { end, ..Writer::default() }),
            readers: Mutex::default(),
        };
        files.cut_tail(end)?;
        Ok(files)
    }

    fn cut_tail(&self, end: LogEnd) -> Result<(), StoreError> {
        let tail =
            |error: io::Error| io_error("cut the unfinished tail off the block files", &error);
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
        list(&self.dir).map_err(|error| io_error("list the block files", &error))
    }
}

impl RecordLog for RecordFiles {
    fn end(&self) -> LogEnd {
        lock(&self.writer).end
    }

    fn append(&self, kind: RecordKind, payload: &[u8]) -> Result<Pointer, StoreError> {
        let len = u32::try_from(payload.len())
            .map_err(|_| StoreError::Rejected("a record exceeds 4 GiB".to_owned()))?;
        let record_bytes = bytes_u64(RECORD_HEADER_BYTES.saturating_add(payload.len()));
        let mut writer = lock(&self.writer);
        writer.ready()?;
        let end = writer.end.offset.saturating_add(record_bytes);
        if writer.end.file == 0 || end > self.file_bytes_max {
            writer.begin_file(&self.dir)?;
        }
        let pointer = Pointer::to(writer.end)?;
        writer.buffer.extend_from_slice(&type_of(kind));
        writer.buffer.extend_from_slice(&len.to_le_bytes());
        writer.buffer.extend_from_slice(&[0; 2]);
        writer.buffer.extend_from_slice(payload);
        writer.end.offset = writer.end.offset.saturating_add(record_bytes);
        if writer.buffer.len() >= BUFFER_BYTES_MAX {
            writer.write_out(&self.dir)?;
            // one huge record does not hold its memory for good
            writer.buffer.shrink_to(BUFFER_BYTES_MAX);
        }
        Ok(pointer)
    }

    fn rewind(&self, end: LogEnd) {
        let mut writer = lock(&self.writer);
        let written = writer.written_bytes();
        if writer.end.file == end.file && end.offset >= written {
            let kept = usize::try_from(end.offset.saturating_sub(written)).unwrap_or(usize::MAX);
            writer.buffer.truncate(kept);
            writer.end = end;
            return;
        }
        // what cannot be cut off now is written over, or cut off when the store is opened
        for number in end.file.saturating_add(1)..=writer.end.file {
            drop(fs::remove_file(path_of(&self.dir, number)));
        }
        writer.buffer.clear();
        if writer.end.file != end.file {
            writer.file = None;
        }
        writer.end = end;
        // what is kept may have been handed to the file with what is taken back, and not be synced
        writer.unsynced = end.file != 0;
        if let Ok(file) = OpenOptions::new().write(true).open(path_of(&self.dir, end.file)) {
            drop(file.set_len(end.offset));
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        lock(&self.writer).sync(&self.dir)
    }

    fn read(&self, pointer: Pointer, kind: RecordKind) -> Result<Vec<u8>, StoreError> {
        let name = file_name(pointer.file());
        let file = self.reader(pointer.file()).map_err(|error| unopened(&name, &error))?;
        let unread = |error: io::Error| unread(&name, pointer, &error);
        let mut record = vec![0; FIRST_READ_BYTES];
        let got = read_at_most(&file, &mut record, pointer.offset()).map_err(unread)?;
        record.truncate(got);
        let len = payload_len(&record, kind).ok_or_else(|| {
            StoreError::Damaged(format!("{name} has no {kind} at byte {}", pointer.offset()))
        })?;
        let end = record_end(pointer, len);
        let most = file.metadata().map_or(0, |metadata| metadata.len());
        if end > most {
            return Err(StoreError::Damaged(format!(
                "{name} ends at byte {most}, before a record that ends at byte {end}"
            )));
        }
        let record_bytes =
            usize::try_from(len).unwrap_or(usize::MAX).saturating_add(RECORD_HEADER_BYTES);
        record.resize(record_bytes, 0);
        if let Some(rest) = record.get_mut(got..) {
            let offset = pointer.offset().saturating_add(bytes_u64(got));
            file.read_exact_at(rest, offset).map_err(unread)?;
        }
        record.drain(..RECORD_HEADER_BYTES);
        Ok(record)
    }

    fn reaches(&self, pointer: Pointer, kind: RecordKind) -> bool {
        let Ok(file) = self.reader(pointer.file()) else { return false };
        let mut header = [0; RECORD_HEADER_BYTES];
        file.read_exact_at(&mut header, pointer.offset()).is_ok()
            && payload_len(&header, kind).is_some_and(|len| {
                file.metadata().is_ok_and(|file| record_end(pointer, len) <= file.len())
            })
    }
}

fn unwritten(error: io::Error) -> StoreError {
    io_error("write a block file", &error)
}

fn unopened(name: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Damaged(format!("{name} is gone")),
        _ => io_error(&format!("open {name}"), error),
    }
}

fn unread(name: &str, pointer: Pointer, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::Damaged(format!(
            "{name} ends within the record at byte {}",
            pointer.offset()
        )),
        _ => io_error(&format!("read {name}"), error),
    }
}

/// Reads until the buffer is full or the file ends; says how much there was.
fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The length of a record's payload, if the record begins as one of its kind and within its bound.
fn payload_len(record: &[u8], kind: RecordKind) -> Option<u32> {
    let (header, _) = record.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let [first, second, a, b, c, d, 0, 0] = *header else { return None };
    let len = u32::from_le_bytes([a, b, c, d]);
    let fits = usize::try_from(len).is_ok_and(|len| len <= payload_bytes_max(kind));
    ([first, second] == type_of(kind) && fits).then_some(len)
}

/// Number and length of every record file in a directory.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeMap<u32, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("blocks-")?.strip_suffix(".e2s")?.parse().ok());
        if let Some(number) = number {
            files.insert(number, entry.metadata()?.len());
        }
    }
    Ok(files)
}

fn file_name(number: u32) -> String {
    format!("blocks-{number:06}.e2s")
}

fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number))
}

/// Where a record ends in its file, in bytes.
fn record_end(pointer: Pointer, len: u32) -> u64 {
    pointer.offset().saturating_add(bytes_u64(RECORD_HEADER_BYTES)).saturating_add(u64::from(len))
}

fn bytes_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
