//! What a network counts of its connections and of what it serves, for whoever shows it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use moorline_messages::{Direction, DisconnectReason};

use crate::{ConnectionError, frame::FrameError};

/// Why a connection that a peer opened was closed before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address connected a moment ago.
    Address,
    /// Its subnet connected too often within the last moments.
    Subnet,
    /// As many handshakes were under way as there may be.
    Handshakes,
}

impl TurnedAway {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Address, Self::Subnet, Self::Handshakes];

    /// The reason in a word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Subnet => "subnet",
            Self::Handshakes => "handshakes",
        }
    }
}

/// Why no session came of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It could not be made, or broke off.
    Network,
    /// The peer took too long.
    Silent,
    /// The peer is nobody that it could be: the handshake proves nothing, or its frames do not.
    Unproved,
    /// What the peer said is wrong.
    Breach,
    /// The peer is on another network.
    OtherNetwork,
    /// No version of eth in common.
    NoCommonVersion,
    /// There is no slot for it: too many peers, or too many of its address or subnet.
    TooManyPeers,
    /// It is connected already.
    AlreadyConnected,
    /// The peer left.
    Remote,
    /// We left for another reason.
    Local,
}

impl HandshakeFailure {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Network,
        Self::Silent,
        Self::Unproved,
        Self::Breach,
        Self::OtherNetwork,
        Self::NoCommonVersion,
        Self::TooManyPeers,
        Self::AlreadyConnected,
        Self::Remote,
        Self::Local,
    ];

    /// The reason in a word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Silent => "silent",
            Self::Unproved => "unproved",
            Self::Breach => "breach",
            Self::OtherNetwork => "other_network",
            Self::NoCommonVersion => "no_common_version",
            Self::TooManyPeers => "too_many_peers",
            Self::AlreadyConnected => "already_connected",
            Self::Remote => "remote",
            Self::Local => "local",
        }
    }

    const fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::Network(_) => Self::Network,
            ConnectionError::Silent(_) => Self::Silent,
            ConnectionError::Handshake(_) | ConnectionError::Frame(FrameError::Mac) => {
                Self::Unproved
            }
            ConnectionError::OtherNetwork(_) => Self::OtherNetwork,
            ConnectionError::NoCommonVersion => Self::NoCommonVersion,
            ConnectionError::Remote(_) => Self::Remote,
            ConnectionError::Local(DisconnectReason::TooManyPeers) => Self::TooManyPeers,
            ConnectionError::Local(DisconnectReason::AlreadyConnected) => Self::AlreadyConnected,
            ConnectionError::Local(_) => Self::Local,
            ConnectionError::Frame(_)
            | ConnectionError::Snappy(_)
            | ConnectionError::P2p(_)
            | ConnectionError::Eth(_)
            | ConnectionError::UnexpectedId(_)
            | ConnectionError::StatusNotFirst
            | ConnectionError::Breach(_) => Self::Breach,
        }
    }
}

/// What peers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedKind {
    /// Headers.
    Headers,
    /// Bodies.
    Bodies,
    /// Receipts, of which an item is a block's.
    Receipts,
    /// Transactions of the pool, of which there are none.
    PooledTransactions,
}

impl ServedKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Headers, Self::Bodies, Self::Receipts, Self::PooledTransactions];

    /// The kind in a word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Receipts => "receipts",
            Self::PooledTransactions => "pooled_transactions",
        }
    }
}

/// How much of one kind was served: answers that the network took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests answered, if only with an empty list.
    pub requests: u64,
    /// Items in the answers.
    pub items: u64,
    /// Bytes of the answers on the wire.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct ServedCount {
    requests: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    inbound_failed: [AtomicU64; HandshakeFailure::ALL.len()],
    outbound_failed: [AtomicU64; HandshakeFailure::ALL.len()],
    inbound_opened: AtomicU64,
    outbound_opened: AtomicU64,
    served: [ServedCount; ServedKind::ALL.len()],
    requests_delayed: AtomicU64,
}

/// Counts since the network was started, which only grow. Clones show the same, and outlive it.
#[derive(Clone, Debug, Default)]
pub struct NetworkCounters(Arc<Counts>);

impl NetworkCounters {
    /// Connections that peers opened, and that were closed before their handshake.
    pub fn turned_away(&self, why: TurnedAway) -> u64 {
        get(self.0.turned_away.get(why as usize))
    }

    /// Connections of which no session came, among those that were not turned away; outbound, failed
    /// dials.
    pub fn handshakes_failed(&self, direction: Direction, why: HandshakeFailure) -> u64 {
        get(self.failed(direction).get(why as usize))
    }

    /// Sessions that began.
    pub fn sessions_opened(&self, direction: Direction) -> u64 {
        get(Some(self.opened(direction)))
    }

    /// What was served of this kind.
    pub fn served(&self, kind: ServedKind) -> Served {
        let count = self.0.served.get(kind as usize);
        Served {
            requests: get(count.map(|count| &count.requests)),
            items: get(count.map(|count| &count.items)),
            bytes: get(count.map(|count| &count.bytes)),
        }
    }

    /// Requests that had to wait, because their peer had more served lately than
    /// [`SERVED_REQUESTS_PER_S`](crate::SERVED_REQUESTS_PER_S) or
    /// [`SERVED_BYTES_PER_S`](crate::SERVED_BYTES_PER_S) allow.
    pub fn requests_delayed(&self) -> u64 {
        get(Some(&self.0.requests_delayed))
    }

    fn failed(&self, direction: Direction) -> &[AtomicU64] {
        match direction {
            Direction::Inbound => &self.0.inbound_failed,
            Direction::Outbound => &self.0.outbound_failed,
        }
    }

    fn opened(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Inbound => &self.0.inbound_opened,
            Direction::Outbound => &self.0.outbound_opened,
        }
    }

    pub(crate) fn count_turned_away(&self, why: TurnedAway) {
        add(self.0.turned_away.get(why as usize), 1);
    }

    pub(crate) fn count_failed(&self, direction: Direction, error: &ConnectionError) {
        add(self.failed(direction).get(HandshakeFailure::of(error) as usize), 1);
    }

    pub(crate) fn count_opened(&self, direction: Direction) {
        add(Some(self.opened(direction)), 1);
    }

    pub(crate) fn count_served(&self, kind: ServedKind, items: u64, bytes: u64) {
        if let Some(count) = self.0.served.get(kind as usize) {
            add(Some(&count.requests), 1);
            add(Some(&count.items), items);
            add(Some(&count.bytes), bytes);
        }
    }

    pub(crate) fn count_delayed(&self) {
        add(Some(&self.0.requests_delayed), 1);
    }
}

fn get(count: Option<&AtomicU64>) -> u64 {
    count.map(|count| count.load(Ordering::Relaxed)).unwrap_or_default()
}

fn add(count: Option<&AtomicU64>, more: u64) {
    if let Some(count) = count {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_word_of_its_own() {
        assert!(TurnedAway::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
        assert!(HandshakeFailure::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
        assert!(ServedKind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
        let mut words: Vec<&str> = HandshakeFailure::ALL.iter().map(|why| why.label()).collect();
        words.extend(TurnedAway::ALL.iter().map(|why| why.label()));
        words.extend(ServedKind::ALL.iter().map(|kind| kind.label()));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn clones_count_the_same() {
        let counters = NetworkCounters::default();
        let shown = counters.clone();
        counters.count_turned_away(TurnedAway::Subnet);
        counters.count_failed(Direction::Inbound, &ConnectionError::StatusNotFirst);
        counters.count_opened(Direction::Outbound);
        counters.count_served(ServedKind::Bodies, 3, 100);
        counters.count_served(ServedKind::Bodies, 1, 50);
        counters.count_delayed();
        assert_eq!(shown.turned_away(TurnedAway::Subnet), 1);
        assert_eq!(shown.handshakes_failed(Direction::Inbound, HandshakeFailure::Breach), 1);
        assert_eq!(shown.handshakes_failed(Direction::Outbound, HandshakeFailure::Breach), 0);
        assert_eq!(shown.sessions_opened(Direction::Outbound), 1);
        let bodies = Served { requests: 2, items: 4, bytes: 150 };
        assert_eq!(shown.served(ServedKind::Bodies), bodies);
        assert_eq!(shown.served(ServedKind::Headers), Served::default());
        assert_eq!(shown.requests_delayed(), 1);
    }
}
