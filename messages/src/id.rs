//! Names of things that are not blocks.

use std::fmt;

use alloy_primitives::B512;
use serde::{Deserialize, Serialize};

/// Correlates a request with its outcomes. Unique within the actor that issued it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The first id of an incarnation of an actor. Incarnations never share ids, so an outcome
    /// meant for the one that panicked is recognised as stale by the one that followed.
    pub const fn first_of(incarnation: u32) -> Self {
        Self((incarnation as u64) << 40)
    }

    /// The incarnation that issued this id.
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// Returns this id and moves on to the next.
    pub const fn take(&mut self) -> Self {
        let current = *self;
        self.0 = self.0.wrapping_add(1);
        current
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:x}", self.0)
    }
}

/// One connection to a peer. A peer that reconnects gets a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// A devp2p node id: the uncompressed secp256k1 public key without its prefix byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub B512);

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
