//! What can go wrong on a connection, and whose fault it is.

use moorline_messages::{Blame, CloseReason, DisconnectReason};
use thiserror::Error;

use crate::{
    eth::EthError, frame::FrameError, handshake::HandshakeError, p2p::P2pError, snappy::SnappyError,
};

/// Why a connection cannot go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConnectionError {
    /// The network failed, or the peer closed without a word.
    #[error("the network failed: {0}")]
    Network(String),
    /// The peer took too long.
    #[error("the peer was silent for too long during {0}")]
    Silent(&'static str),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A frame is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Compressed data is wrong.
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    /// A message of the base protocol is wrong.
    #[error(transparent)]
    P2p(#[from] P2pError),
    /// A message of eth is wrong.
    #[error(transparent)]
    Eth(#[from] EthError),
    /// A message that may not come now, or ever.
    #[error("message id {0:#04x} is out of place")]
    UnexpectedId(u64),
    /// Another message of eth came before Status.
    #[error("the first message of eth is not a Status")]
    StatusNotFirst,
    /// What the peer says contradicts what was said before.
    #[error("{0}")]
    Breach(String),
    /// The peer said goodbye.
    #[error("the peer disconnected: {0:?}")]
    Remote(DisconnectReason),
    /// We said goodbye.
    #[error("we disconnected: {0:?}")]
    Local(DisconnectReason),
    /// It is on another network.
    #[error("the peer is on another network: {0}")]
    OtherNetwork(String),
    /// No version of eth in common.
    #[error("the peer speaks no version of eth that we speak")]
    NoCommonVersion,
}

impl From<std::io::Error> for ConnectionError {
    fn from(error: std::io::Error) -> Self {
        Self::Network(error.to_string())
    }
}

impl ConnectionError {
    /// Whose fault it was.
    pub fn blame(&self) -> Blame {
        CloseReason::from(self.clone()).blame()
    }

    /// What to tell the peer, where there is anything to tell and somebody to hear it.
    pub const fn disconnect_reason(&self) -> Option<DisconnectReason> {
        match self {
            Self::Network(_) | Self::Remote(_) | Self::Handshake(_) => None,
            Self::Silent(_) => Some(DisconnectReason::PingTimeout),
            Self::Local(reason) => Some(*reason),
            Self::OtherNetwork(_) | Self::NoCommonVersion => Some(DisconnectReason::UselessPeer),
            Self::Frame(_)
            | Self::Snappy(_)
            | Self::P2p(_)
            | Self::Eth(_)
            | Self::UnexpectedId(_)
            | Self::StatusNotFirst
            | Self::Breach(_) => Some(DisconnectReason::ProtocolBreach),
        }
    }
}

impl From<ConnectionError> for CloseReason {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Network(text) => Self::Network(text),
            // bytes changed on the way, which whoever sent them does not answer for
            ConnectionError::Frame(error @ FrameError::Mac) => Self::Network(error.to_string()),
            ConnectionError::Silent(during) => Self::Silent(during),
            ConnectionError::Remote(reason) => Self::Remote(reason),
            ConnectionError::Local(reason) => Self::Local(reason),
            ConnectionError::OtherNetwork(text) => Self::OtherNetwork(text),
            ConnectionError::NoCommonVersion => Self::NoCommonVersion,
            breach => Self::Breach(breach.to_string()),
        }
    }
}
