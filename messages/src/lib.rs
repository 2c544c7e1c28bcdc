//! The contract between Moorline's actors: every message they exchange and the chain vocabulary
//! those messages are written in.
//!
//! Plain data only. Nothing here knows how a message travels, who runs an actor or how bytes are
//! kept; that is why an actor can be exercised with nothing but this crate and a probe.
//!
//! The suffix of a name is its speech act:
//!
//! | suffix | meaning | example |
//! |---|---|---|
//! | `Event` | a fact of mine | [`TreeEvent::Download`] |
//! | `Request` | please | [`DownloadRequest::BlockRange`] |
//! | `Outcome` | what came of it, possibly several | [`DownloadOutcome::Blocks`] |
//! | `Report` | what I saw | [`PeerReport`] |
//! | `Command` | do | [`SessionCommand::Dial`] |
//! | `Query`, `Answer` | a read by an edge | [`StoreQuery::Block`] |
//!
//! Every request carries a [`RequestId`], may be repeated without harm, and is answered by
//! outcomes that echo the id, so that an actor that restarted drops what is stale.

mod chain;
mod download;
mod fault;
mod fetch;
mod id;
mod lifecycle;
mod peer;
mod session;
mod store;
mod subnet;
mod trace;
mod traced;
mod tree;
mod weigh;

pub use chain::{Block, BlockNumHash, Body, Forkchoice, HashOrNumber, Receipts, SealedHeader};
pub use download::{DownloadFailure, DownloadOutcome, DownloadRequest, ProgressReport, Stall};
pub use fault::{Blame, Breach};
pub use fetch::{
    FetchCommand, FetchError, FetchItems, FetchOutcome, FetchRequest, FetchedItems, Priority,
};
pub use id::{PeerId, RequestId, SessionId};
pub use lifecycle::{ActorName, Lifecycle};
pub use peer::{
    Conduct, DiscoveryEvent, PeerBan, PeerBookReport, PeerCommand, PeerCounts, PeerOrigin,
    PeerPace, PeerReport, PeerSummary, PeersReport,
};
pub use session::{
    AnnouncedRange, CloseReason, Direction, DisconnectReason, NodeRecord, NodeRecordError,
    PeerInfo, SessionCommand, SessionEvent,
};
pub use store::{
    FoundBlock, PayloadBlocks, Span, StoreAnswer, StoreBatch, StoreError, StoreOutcome, StoreQuery,
    StoreRequest, StoreStatus, StoredBlock, StoredState,
};
pub use subnet::{ADDRESS_SESSIONS_MAX, SUBNET_SESSIONS_MAX, Subnet, address_of, is_local};
pub use trace::{
    Lane, RefusedBecause, TraceBlocks, TraceEvent, TraceId, TraceKey, TracePort, TraceRecord,
    Traced,
};
pub use tree::{TreeEvent, TreeReport, TreeRequest, TreeTarget, TreeVerdict};
pub use weigh::Weigh;

/// One Ethereum block header, as `alloy-consensus` models it, fork fields optional.
pub use alloy_consensus::Header;
