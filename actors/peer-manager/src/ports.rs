//! Whom the actor tells what.

use moorline_kit::Port;
use moorline_messages::{FetchOutcome, PeerBookReport, PeersReport, SessionCommand};

/// The outward vocabulary.
#[derive(Clone, Debug)]
pub struct Ports {
    /// To the downloader: exactly one outcome per request.
    pub fetched: Port<FetchOutcome>,
    /// To the devp2p edge.
    pub sessions: Port<SessionCommand>,
    /// To whoever watches the peers.
    pub peers: Port<PeersReport>,
    /// To whoever keeps what is to be known again after the next start.
    pub book: Port<PeerBookReport>,
}
