//! What the store says, and to whom.

use std::time::Duration;

use moorline_kit::{Outlet, Port};
use moorline_messages::{ActorName, StoreOutcome};

/// The ways out of the store: an outcome goes to the actor that its request names.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Outcomes of the tree's requests.
    pub tree: Port<StoreOutcome>,
    /// Outcomes of the downloader's requests.
    pub downloader: Port<StoreOutcome>,
}

/// The ports, with room for what they give back.
#[derive(Debug)]
pub(crate) struct Outlets {
    tree: Outlet<StoreOutcome>,
    downloader: Outlet<StoreOutcome>,
}

impl Outlets {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { tree: Outlet::new(ports.tree), downloader: Outlet::new(ports.downloader) }
    }

    pub(crate) fn tell(&mut self, to: ActorName, outcome: StoreOutcome) {
        match to {
            ActorName::Tree => self.tree.tell(outcome),
            ActorName::Downloader => self.downloader.tell(outcome),
            ActorName::PeerManager | ActorName::Store => {
                tracing::warn!(actor = %to, "the store has no port to this actor");
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.tree.flush();
        self.downloader.flush();
    }

    pub(crate) fn retry_in(&self) -> Option<Duration> {
        self.tree.retry_in().or_else(|| self.downloader.retry_in())
    }
}
