//! What the tree says, and to whom.

use moorline_kit::Port;
use moorline_messages::{StoreRequest, TreeEvent, TreeReport};

/// The ways out of the tree.
#[derive(Clone, Debug)]
pub struct Ports {
    /// To the downloader: what is missing.
    pub download: Port<TreeEvent>,
    /// To the store: what to write and to read.
    pub store: Port<StoreRequest>,
    /// To whoever shows progress, or waits for the end of a sync.
    pub status: Option<Port<TreeReport>>,
}
