//! Files that are there whole or not at all.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use eyre::{Context, Result};

/// Has a file written under another name, and gives it its own once it is whole. What is no file, as
/// a pipe, takes it as it comes.
///
/// # Errors
/// Those of `write`, and of the file system.
pub(crate) fn write_whole<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if path.exists() && !path.is_file() {
        return write(path);
    }
    let partial = partial_name(path);
    let written = write(&partial);
    if written.is_err() {
        // what went wrong is told already
        drop(fs::remove_file(&partial));
        return written;
    }
    fs::rename(&partial, path).wrap_err_with(|| format!("cannot write {}", path.display()))?;
    written
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".partial");
    PathBuf::from(name)
}
