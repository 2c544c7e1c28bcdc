//! How much runs at once, and on what.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::Backend,
    core::{Bounds, Core},
};

/// What the actor is built from, and rebuilt from after a panic.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where it is kept. It stays open across restarts of the actor.
    pub backend: Arc<dyn Backend>,
    /// Requests that may share one commit.
    pub commit_batches_max: usize,
    /// Bytes that may share one commit; a heavier request goes alone.
    pub commit_bytes_max: usize,
    /// After a commit of several batches, or of one with several blocks, batches wait so long for more.
    /// After any other, and while nothing was written for so long, a batch is written at once.
    pub commit_pause: Duration,
    /// Bytes that need not wait for more.
    pub commit_bytes_aim: usize,
    /// Reads that may run at once; at least one.
    pub reads_max: usize,
}

impl StoreConfig {
    /// The usual bounds: commits of at most 256 requests and 32 MiB, 20 ms behind one of several blocks
    /// where less than 1 MiB waits, and four reads at once.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            commit_batches_max: 256,
            commit_bytes_max: 32 << 20,
            commit_pause: Duration::from_millis(20),
            commit_bytes_aim: 1 << 20,
            reads_max: 4,
        }
    }

    pub(crate) fn core(&self) -> Core {
        Core::new(Bounds {
            commit_batches_max: self.commit_batches_max,
            commit_bytes_max: self.commit_bytes_max,
            commit_pause: self.commit_pause,
            commit_bytes_aim: self.commit_bytes_aim,
            reads_max: self.reads_max.max(1),
        })
    }
}
