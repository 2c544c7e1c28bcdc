//! Comings and goings of actors.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Weigh;

/// The four actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorName {
    /// What is missing?
    Tree,
    /// Fetch it, prove it.
    Downloader,
    /// From whom?
    PeerManager,
    /// Keep it.
    Store,
}

impl ActorName {
    /// All of them, in the order in which data flows.
    pub const ALL: [Self; 4] = [Self::Tree, Self::Downloader, Self::PeerManager, Self::Store];

    /// The name used in logs, traces and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Downloader => "downloader",
            Self::PeerManager => "peer-manager",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the supervisor of an actor tells the actor's neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// The actor panicked and stands again with an empty memory. Its queue survived; the message it
    /// was handling did not. Ask again for what you still want of it.
    Restarted {
        /// Who.
        actor: ActorName,
        /// How often it was rebuilt since the node started; the first incarnation is 0.
        incarnation: u32,
    },
}

impl Weigh for Lifecycle {
    fn weight_bytes(&self) -> usize {
        0
    }
}
