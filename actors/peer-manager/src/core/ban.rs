//! Peers that are not welcome for a time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use moorline_messages::PeerId;

use super::after;

/// How long a peer that lied stays away.
pub(crate) const BAN_TIME: Duration = Duration::from_secs(600);
/// How long one that the operator named stays away: it may be the only one there is.
pub(crate) const STATIC_BAN_TIME: Duration = Duration::from_secs(15);
/// Bans that are remembered; past it the one that ends first is forgotten.
const BANS_MAX: usize = 1_024;

/// Who is banned, and until when.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    until: BTreeMap<PeerId, Instant>,
}

impl Bans {
    pub(crate) fn ban(&mut self, now: Instant, peer: PeerId, time: Duration) {
        self.until.retain(|_, until| *until > now);
        if self.until.len() >= BANS_MAX
            && let Some(first) = self.until.iter().min_by_key(|(id, until)| (**until, **id))
        {
            let first = *first.0;
            self.until.remove(&first);
        }
        self.until.insert(peer, after(now, time));
    }

    pub(crate) fn is_banned(&self, now: Instant, peer: PeerId) -> bool {
        self.until.get(&peer).is_some_and(|until| *until > now)
    }
}
