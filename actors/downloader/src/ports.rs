//! Whom the downloader tells, and what.

use moorline_kit::Port;
use moorline_messages::{
    DownloadOutcome, FetchCommand, FetchRequest, PeerReport, ProgressReport, StoreRequest,
};

/// The downloader's outward vocabulary.
#[derive(Clone, Debug)]
pub struct Ports {
    /// To the tree: what came of its requests.
    pub outcomes: Port<DownloadOutcome>,
    /// To the peer manager: what is wanted.
    pub fetches: Port<FetchRequest>,
    /// To the peer manager: what is not wanted any more.
    pub commands: Port<FetchCommand>,
    /// To the peer manager: how a peer behaved.
    pub reports: Port<PeerReport>,
    /// To the store: what was proved.
    pub store: Port<StoreRequest>,
    /// To whoever watches.
    pub progress: Port<ProgressReport>,
}
