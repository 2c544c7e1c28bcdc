//! What is worth a line in the log. The core says it, the shell writes it.

use std::{net::SocketAddr, time::Duration};

use moorline_messages::{
    CloseReason, Direction, DisconnectReason, NodeRecord, PeerCommand, PeerId,
};

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A session stands and is used.
    Connected { peer: PeerId, client: String, addr: SocketAddr, direction: Direction },
    /// A session is not welcome.
    Refused { peer: PeerId, reason: DisconnectReason },
    /// A session is over.
    Lost { peer: PeerId, reason: CloseReason },
    /// A peer did what no honest peer does.
    Banned { peer: PeerId, why: String, time: Duration },
    /// The operator named more peers than are kept.
    TooManyNamed { command: PeerCommand },
    /// A peer that the operator named cannot be used; `first` of its streak.
    Unreachable { node: NodeRecord, reason: CloseReason, first: bool },
}

impl Note {
    /// Writes the line.
    pub(crate) fn log(&self) {
        match self {
            Self::Connected { peer, client, addr, direction } => {
                tracing::debug!(%peer, client, %addr, ?direction, "peer connected");
            }
            Self::Refused { peer, reason } => {
                tracing::debug!(%peer, ?reason, "peer refused");
            }
            Self::Lost { peer, reason } => tracing::debug!(%peer, %reason, "peer lost"),
            Self::Banned { peer, why, time } => {
                tracing::info!(%peer, why, ban_s = time.as_secs(), "peer banned");
            }
            Self::TooManyNamed { command } => {
                tracing::warn!(?command, "not taken: too many peers are named; remove one first");
            }
            Self::Unreachable { node, reason, first: true } => {
                tracing::warn!(
                    %node,
                    %reason,
                    "a peer from the configuration cannot be used; it is dialled again from time to \
                     time, check its address, its network and that it runs"
                );
            }
            Self::Unreachable { node, reason, first: false } => {
                tracing::debug!(peer = %node.id, %reason, "the peer still cannot be used");
            }
        }
    }
}
