//! Why a store cannot be opened, and what to do about it.

use std::{io, path::PathBuf};

use alloy_primitives::B256;
use moorline_messages::{Blame, StoreError};
use thiserror::Error;

/// Why a store cannot be opened. Each is one sentence that says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{} is in use by another process: stop that process or choose another data directory",
        .dir.display()
    )]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The path leads to something else.
    #[error("{} is not a directory: choose another data directory", .dir.display())]
    NotADirectory {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The process may not read or write there.
    #[error(
        "{} may not be read or written by this user: change its owner or choose another data directory",
        .dir.display()
    )]
    NoRights {
        /// The store's directory.
        dir: PathBuf,
    },
    /// There is no room.
    #[error("the disk that holds {} is full: make room and start again ({detail})", .dir.display())]
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// What could not be written.
        detail: String,
    },
    /// It holds another chain.
    #[error(
        "{} holds the chain with id {found_chain_id} and genesis {found}, not the one with id \
         {expected_chain_id} and genesis {expected}: choose that chain or another data directory",
        .dir.display()
    )]
    OtherChain {
        /// The store's directory.
        dir: PathBuf,
        /// Chain id found (EIP-155).
        found_chain_id: u64,
        /// Genesis hash found.
        found: B256,
        /// Chain id asked for.
        expected_chain_id: u64,
        /// Genesis hash asked for.
        expected: B256,
    },
    /// It was founded to keep receipts, or to keep none, and the other is asked for.
    #[error(
        "{} was founded {}: choose another --datadir, or go on {} them",
        .dir.display(),
        if *.keeps_receipts { "with receipts, and cannot do without them later" }
        else { "without receipts, and cannot get them later" },
        if *.keeps_receipts { "with" } else { "without" }
    )]
    OtherReceipts {
        /// The store's directory.
        dir: PathBuf,
        /// Whether it keeps receipts.
        keeps_receipts: bool,
    },
    /// A later version wrote it.
    #[error(
        "{} was written by a newer version (its layout is {found}, this version knows {known}): \
         start the newer version or choose another data directory",
        .dir.display()
    )]
    NewerSchema {
        /// The store's directory.
        dir: PathBuf,
        /// Layout found.
        found: u32,
        /// Newest layout known.
        known: u32,
    },
    /// An earlier version wrote it.
    #[error(
        "{} was written by an older version (its layout is {found}, this version reads none below {known}): \
         choose another --datadir and sync again",
        .dir.display()
    )]
    OlderSchema {
        /// The store's directory.
        dir: PathBuf,
        /// Layout found.
        found: u32,
        /// Oldest layout that is read.
        known: u32,
    },
    /// What is there is not what was written.
    #[error(
        "{} is damaged ({detail}): move it aside and sync again",
        .dir.display()
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The disk or the operating system refuses.
    #[error("{} cannot be opened ({detail}): check the disk or choose another data directory", .dir.display())]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What was refused.
        detail: String,
    },
}

impl OpenError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }

    pub(crate) fn of_io(dir: PathBuf, doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{
            AlreadyExists, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
            StorageFull,
        };
        match error.kind() {
            NotADirectory | AlreadyExists => Self::NotADirectory { dir },
            PermissionDenied | ReadOnlyFilesystem => Self::NoRights { dir },
            StorageFull | QuotaExceeded => Self::Full { dir, detail: error.to_string() },
            _ => Self::Io { dir, detail: format!("cannot {doing}: {error}") },
        }
    }

    pub(crate) fn of_store(dir: PathBuf, error: StoreError) -> Self {
        match error {
            StoreError::Full(detail) => Self::Full { dir, detail },
            StoreError::Damaged(detail) => Self::Damaged { dir, detail },
            StoreError::Io(detail) | StoreError::Rejected(detail) => Self::Io { dir, detail },
        }
    }
}
