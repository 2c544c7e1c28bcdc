//! What the store says, and to whom.

use moorline_kit::Port;
use moorline_messages::StoreOutcome;

/// The ways out of the store: an outcome goes to the actor that its request names.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Outcomes of the tree's requests.
    pub tree: Port<StoreOutcome>,
    /// Outcomes of the downloader's requests.
    pub downloader: Port<StoreOutcome>,
}
