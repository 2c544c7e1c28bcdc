//! Requests that were cancelled before they came.

use std::collections::BTreeSet;

use moorline_messages::RequestId;

/// Cancelled requests that have yet to come: as many as one message may name.
pub(crate) const CANCELLED_EARLY_MAX: usize = 4_096;

/// Requests and cancellations come through two ports. A full one holds requests back at the sender,
/// while the cancellation of one of these gets through.
#[derive(Debug, Default)]
pub(crate) struct CancelledEarly {
    /// The newest request that came. They come in the order of their ids.
    newest: Option<RequestId>,
    /// All newer than that.
    ids: BTreeSet<RequestId>,
}

impl CancelledEarly {
    /// A cancellation came, maybe before what it is about.
    pub(crate) fn cancelled(&mut self, id: RequestId) {
        if Some(id) > self.newest {
            self.ids.insert(id);
        }
        if self.ids.len() > CANCELLED_EARLY_MAX {
            self.ids.pop_last();
        }
    }

    /// A request came. Says whether nobody waits for it any longer.
    pub(crate) fn came(&mut self, id: RequestId) -> bool {
        let is_cancelled = self.ids.remove(&id);
        self.newest = self.newest.max(Some(id));
        // what is older has come, or was lost on the way
        self.ids.retain(|early| Some(*early) > self.newest);
        is_cancelled
    }
}
