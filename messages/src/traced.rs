//! What each message says of itself in a trace.

use std::borrow::Cow;

use crate::{
    BlockNumHash, Conduct, DiscoveryEvent, DownloadOutcome, DownloadRequest, FetchCommand,
    FetchItems, FetchOutcome, FetchRequest, FetchedItems, HashOrNumber, Lifecycle, PayloadBlocks,
    PeerBookReport, PeerCommand, PeerReport, PeersReport, ProgressReport, SessionCommand,
    SessionEvent, StoreBatch, StoreOutcome, StoreQuery, StoreRequest, TraceBlocks, TraceKey,
    Traced, TreeEvent, TreeReport, TreeRequest,
};

fn of_block(block: HashOrNumber) -> TraceBlocks {
    match block {
        HashOrNumber::Hash(hash) => TraceBlocks::Hash(hash),
        HashOrNumber::Number(number) => TraceBlocks::Number(number),
    }
}

impl Traced for TreeRequest {
    fn label(&self) -> &'static str {
        match self {
            Self::ForkchoiceUpdated(_) => "TreeRequest::ForkchoiceUpdated",
            Self::NewPayload(_) => "TreeRequest::NewPayload",
            Self::BadPayload { .. } => "TreeRequest::BadPayload",
        }
    }

    fn key(&self) -> TraceKey {
        TraceKey::blocks(match self {
            Self::ForkchoiceUpdated(forkchoice) => TraceBlocks::Hash(forkchoice.head),
            Self::NewPayload(block) => TraceBlocks::One(block.num_hash()),
            Self::BadPayload { header, .. } => TraceBlocks::One(BlockNumHash::of(header)),
        })
    }
}

impl Traced for TreeEvent {
    fn label(&self) -> &'static str {
        match self {
            Self::Download(DownloadRequest::BlockSet { .. }) => "TreeEvent::Download::BlockSet",
            Self::Download(DownloadRequest::BlockRange { .. }) => "TreeEvent::Download::BlockRange",
            Self::Download(DownloadRequest::Cancel { .. }) => "TreeEvent::Download::Cancel",
        }
    }

    fn key(&self) -> TraceKey {
        let Self::Download(request) = self;
        let blocks = match request {
            DownloadRequest::BlockSet { hashes, .. } => {
                hashes.first().map_or(TraceBlocks::None, |hash| TraceBlocks::Hash(*hash))
            }
            DownloadRequest::BlockRange { head, count, .. } => {
                TraceBlocks::Below { top: *head, len: *count }
            }
            DownloadRequest::Cancel { .. } => TraceBlocks::None,
        };
        TraceKey::blocks(blocks).request(request.id())
    }
}

impl Traced for TreeReport {
    fn label(&self) -> &'static str {
        "TreeReport"
    }

    fn key(&self) -> TraceKey {
        TraceKey::blocks(TraceBlocks::One(self.tip))
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        self.trouble.clone().map(Cow::from)
    }

    fn is_trouble(&self) -> bool {
        self.invalid || self.trouble.is_some()
    }
}

impl Traced for DownloadOutcome {
    fn label(&self) -> &'static str {
        match self {
            Self::NewDownloadStarted { .. } => "DownloadOutcome::NewDownloadStarted",
            Self::Blocks { .. } => "DownloadOutcome::Blocks",
            Self::Failed { .. } => "DownloadOutcome::Failed",
        }
    }

    fn key(&self) -> TraceKey {
        match self {
            Self::NewDownloadStarted { request, target, remaining_blocks } => {
                let blocks = TraceBlocks::Below { top: *target, len: *remaining_blocks };
                TraceKey::blocks(blocks).request(*request)
            }
            Self::Blocks { request, blocks, .. } => {
                TraceKey::blocks(TraceBlocks::run_of(blocks)).request(*request)
            }
            Self::Failed { request, .. } => TraceKey::default().request(*request),
        }
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Failed { reason, .. } => Some(reason.to_string().into()),
            Self::NewDownloadStarted { .. } | Self::Blocks { .. } => None,
        }
    }

    fn is_trouble(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl Traced for ProgressReport {
    fn label(&self) -> &'static str {
        "ProgressReport"
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        self.stalled.map(|stall| stall.to_string().into())
    }

    fn is_trouble(&self) -> bool {
        self.stalled.is_some()
    }
}

impl FetchItems {
    fn traced(&self) -> TraceBlocks {
        match self {
            Self::Headers { top: HashOrNumber::Number(number), limit } if *limit > 1 => {
                let top = BlockNumHash { number: *number, ..BlockNumHash::default() };
                TraceBlocks::Run { top, low: number.saturating_sub(limit.saturating_sub(1)) }
            }
            Self::Headers { top: HashOrNumber::Hash(top), limit } => {
                TraceBlocks::Below { top: *top, len: *limit }
            }
            Self::Headers { top, .. } => of_block(*top),
            Self::Bodies { blocks } | Self::Receipts { blocks } => TraceBlocks::of(blocks.clone()),
        }
    }
}

impl FetchedItems {
    fn traced(&self) -> TraceBlocks {
        match self {
            // headers say themselves what they are, and may not be what was asked
            Self::Headers(headers) => TraceBlocks::chain_of(headers),
            Self::Bodies(_) | Self::Receipts(_) => TraceBlocks::OfCause,
        }
    }
}

impl Traced for FetchRequest {
    fn label(&self) -> &'static str {
        match self.items {
            FetchItems::Headers { .. } => "FetchRequest::Headers",
            FetchItems::Bodies { .. } => "FetchRequest::Bodies",
            FetchItems::Receipts { .. } => "FetchRequest::Receipts",
        }
    }

    fn key(&self) -> TraceKey {
        TraceKey::blocks(self.items.traced()).request(self.id)
    }
}

impl Traced for FetchCommand {
    fn label(&self) -> &'static str {
        "FetchCommand::Cancel"
    }

    fn key(&self) -> TraceKey {
        let Self::Cancel { ids } = self;
        ids.first().map_or_else(TraceKey::default, |id| TraceKey::default().request(*id))
    }
}

impl Traced for FetchOutcome {
    fn label(&self) -> &'static str {
        match self.result {
            Ok(FetchedItems::Headers(_)) => "FetchOutcome::Headers",
            Ok(FetchedItems::Bodies(_)) => "FetchOutcome::Bodies",
            Ok(FetchedItems::Receipts(_)) => "FetchOutcome::Receipts",
            Err(_) => "FetchOutcome::Failed",
        }
    }

    fn key(&self) -> TraceKey {
        // the hashes were in the answer that this is made of
        let blocks = match &self.result {
            Ok(FetchedItems::Headers(headers)) => TraceBlocks::run_of(headers),
            Ok(FetchedItems::Bodies(_) | FetchedItems::Receipts(_)) | Err(_) => {
                TraceBlocks::OfCause
            }
        };
        let key = TraceKey::blocks(blocks).request(self.id);
        match self.peer {
            Some(peer) => key.peer(peer),
            None => key,
        }
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        self.result.as_ref().err().map(|error| error.to_string().into())
    }

    fn is_trouble(&self) -> bool {
        self.result.is_err()
    }
}

impl Traced for PeerReport {
    fn label(&self) -> &'static str {
        "PeerReport"
    }

    fn key(&self) -> TraceKey {
        TraceKey::blocks(TraceBlocks::OfCause).request(self.request).peer(self.peer)
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self.conduct {
            Conduct::Served => "served",
            Conduct::Lacked => "lacked",
            Conduct::OtherBranch => "other branch",
            Conduct::WrongAnchor => "wrong anchor",
            Conduct::BrokenLink => "broken link",
            Conduct::UnaskedBody => "unasked body",
            Conduct::UnaskedReceipts => "unasked receipts",
            Conduct::TooMany => "too many",
        }))
    }

    fn is_trouble(&self) -> bool {
        self.conduct.blame() == crate::Blame::Peer
    }
}

impl Traced for PeersReport {
    fn label(&self) -> &'static str {
        "PeersReport"
    }
}

impl Traced for PeerBookReport {
    fn label(&self) -> &'static str {
        "PeerBookReport"
    }
}

impl Traced for DiscoveryEvent {
    fn label(&self) -> &'static str {
        "DiscoveryEvent::Found"
    }

    fn key(&self) -> TraceKey {
        let Self::Found { node, .. } = self;
        TraceKey::default().peer(node.id)
    }
}

impl Traced for PeerCommand {
    fn label(&self) -> &'static str {
        match self {
            Self::Add { .. } => "PeerCommand::Add",
            Self::Remove { .. } => "PeerCommand::Remove",
            Self::Trust { .. } => "PeerCommand::Trust",
            Self::Distrust { .. } => "PeerCommand::Distrust",
        }
    }

    fn key(&self) -> TraceKey {
        TraceKey::default().peer(match self {
            Self::Add { node } => node.id,
            Self::Remove { peer } | Self::Trust { peer } | Self::Distrust { peer } => *peer,
        })
    }
}

impl Traced for SessionCommand {
    fn label(&self) -> &'static str {
        match self {
            Self::Dial { .. } => "SessionCommand::Dial",
            Self::Fetch { items: FetchItems::Headers { .. }, .. } => {
                "SessionCommand::Fetch::Headers"
            }
            Self::Fetch { items: FetchItems::Bodies { .. }, .. } => "SessionCommand::Fetch::Bodies",
            Self::Fetch { items: FetchItems::Receipts { .. }, .. } => {
                "SessionCommand::Fetch::Receipts"
            }
            Self::Disconnect { .. } => "SessionCommand::Disconnect",
            Self::AnnounceRange { .. } => "SessionCommand::AnnounceRange",
            Self::Favour { .. } => "SessionCommand::Favour",
            Self::Introduce => "SessionCommand::Introduce",
        }
    }

    fn key(&self) -> TraceKey {
        match self {
            Self::Dial { node } => TraceKey::default().peer(node.id),
            Self::Fetch { session, request, items } => {
                TraceKey::blocks(items.traced()).request(*request).session(*session)
            }
            Self::Disconnect { session, .. } => TraceKey::default().session(*session),
            Self::AnnounceRange { tip, .. } => TraceKey::blocks(TraceBlocks::One(*tip)),
            Self::Favour { .. } | Self::Introduce => TraceKey::default(),
        }
    }
}

impl Traced for SessionEvent {
    fn label(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "SessionEvent::Opened",
            Self::DialFailed { .. } => "SessionEvent::DialFailed",
            Self::Answered { items: FetchedItems::Headers(_), .. } => {
                "SessionEvent::Answered::Headers"
            }
            Self::Answered { items: FetchedItems::Bodies(_), .. } => {
                "SessionEvent::Answered::Bodies"
            }
            Self::Answered { items: FetchedItems::Receipts(_), .. } => {
                "SessionEvent::Answered::Receipts"
            }
            Self::RangeUpdated { .. } => "SessionEvent::RangeUpdated",
            Self::Closed { .. } => "SessionEvent::Closed",
        }
    }

    fn key(&self) -> TraceKey {
        match self {
            Self::Opened { session, peer } => TraceKey::default().session(*session).peer(peer.id),
            Self::DialFailed { node, .. } => TraceKey::default().peer(node.id),
            Self::Answered { session, request, items, .. } => {
                TraceKey::blocks(items.traced()).request(*request).session(*session)
            }
            Self::RangeUpdated { session, .. } => TraceKey::default().session(*session),
            Self::Closed { session, peer, .. } => TraceKey::default().session(*session).peer(*peer),
        }
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Opened { peer, .. } => Some(peer.client.clone().into()),
            Self::DialFailed { reason, .. } | Self::Closed { reason, .. } => {
                Some(reason.to_string().into())
            }
            Self::Answered { .. } | Self::RangeUpdated { .. } => None,
        }
    }

    fn is_trouble(&self) -> bool {
        match self {
            Self::DialFailed { .. } => true,
            Self::Closed { reason, .. } => reason.blame() == crate::Blame::Peer,
            Self::Opened { .. } | Self::Answered { .. } | Self::RangeUpdated { .. } => false,
        }
    }
}

impl StoreBatch {
    fn traced(&self) -> TraceBlocks {
        let bodies = self.bodies.iter().map(|(block, _)| *block);
        let receipts = self.receipts.iter().map(|(block, _)| *block);
        let headers = self.headers.iter().map(|header| BlockNumHash::of(header));
        let blocks: Vec<_> =
            bodies.chain(receipts).chain(headers).chain(self.canonical.iter().copied()).collect();
        match self.forkchoice {
            Some(forkchoice) if blocks.is_empty() => TraceBlocks::Hash(forkchoice.head),
            _ => TraceBlocks::of(blocks),
        }
    }
}

impl Traced for StoreRequest {
    fn label(&self) -> &'static str {
        match self {
            Self::Persist { batch, .. } if !batch.canonical.is_empty() => {
                "StoreRequest::Persist::Canonical"
            }
            Self::Persist { batch, .. } if !batch.bodies.is_empty() => {
                "StoreRequest::Persist::Bodies"
            }
            Self::Persist { batch, .. } if !batch.receipts.is_empty() => {
                "StoreRequest::Persist::Receipts"
            }
            Self::Persist { batch, .. } if !batch.headers.is_empty() => {
                "StoreRequest::Persist::Headers"
            }
            Self::Persist { .. } => "StoreRequest::Persist",
            Self::Load { .. } => "StoreRequest::Load",
            Self::Find { .. } => "StoreRequest::Find",
            Self::Walk { .. } => "StoreRequest::Walk",
        }
    }

    fn key(&self) -> TraceKey {
        let blocks = match self {
            Self::Persist { batch, .. } => batch.traced(),
            Self::Load { .. } => TraceBlocks::None,
            Self::Find { hashes, .. } => match hashes.as_slice() {
                [hash] => TraceBlocks::Hash(*hash),
                _ => TraceBlocks::None,
            },
            Self::Walk { top, limit, .. } => TraceBlocks::Run {
                top: *top,
                low: top.number.saturating_sub(limit.saturating_sub(1)),
            },
        };
        TraceKey::blocks(blocks).request(self.id())
    }
}

impl Traced for StoreOutcome {
    fn label(&self) -> &'static str {
        match self {
            Self::Persisted { .. } => "StoreOutcome::Persisted",
            Self::Loaded { .. } => "StoreOutcome::Loaded",
            Self::Found { .. } => "StoreOutcome::Found",
            Self::Walked { .. } => "StoreOutcome::Walked",
            Self::Failed { .. } => "StoreOutcome::Failed",
        }
    }

    fn key(&self) -> TraceKey {
        let (Self::Persisted { request }
        | Self::Loaded { request, .. }
        | Self::Found { request, .. }
        | Self::Walked { request, .. }
        | Self::Failed { request, .. }) = self;
        TraceKey::blocks(TraceBlocks::OfCause).request(*request)
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Failed { error, .. } => Some(error.to_string().into()),
            _ => None,
        }
    }

    fn is_trouble(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl Traced for StoreQuery {
    fn label(&self) -> &'static str {
        match self {
            Self::Status => "StoreQuery::Status",
            Self::Headers { .. } => "StoreQuery::Headers",
            Self::Bodies { .. } => "StoreQuery::Bodies",
            Self::Receipts { .. } => "StoreQuery::Receipts",
            Self::PayloadBodies { .. } => "StoreQuery::PayloadBodies",
            Self::Block { .. } => "StoreQuery::Block",
        }
    }

    fn key(&self) -> TraceKey {
        TraceKey::blocks(match self {
            Self::Status => TraceBlocks::None,
            Self::Headers { start, .. } => of_block(*start),
            Self::Bodies { hashes, .. }
            | Self::Receipts { hashes, .. }
            | Self::PayloadBodies { blocks: PayloadBlocks::Hashes(hashes), .. } => {
                match hashes.as_slice() {
                    [hash] => TraceBlocks::Hash(*hash),
                    _ => TraceBlocks::None,
                }
            }
            Self::PayloadBodies { blocks: PayloadBlocks::Range { start, .. }, .. } => {
                TraceBlocks::Number(*start)
            }
            Self::Block { block } => of_block(*block),
        })
    }
}

impl Traced for Lifecycle {
    fn label(&self) -> &'static str {
        "Lifecycle::Restarted"
    }

    fn note(&self) -> Option<Cow<'static, str>> {
        let Self::Restarted { actor, .. } = self;
        Some(Cow::Borrowed(actor.as_str()))
    }
}
