//! Between the actors' ports and the devp2p edge's channels.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use alloy_primitives::{B256, Bytes};
use futures_util::future::BoxFuture;
use moorline_kit::{Cause, Inbox, Port};
use moorline_messages::{
    Body, CloseReason, HashOrNumber, NodeRecord, PeerId, Receipts, RequestId, SessionCommand,
    SessionEvent, SessionId, StoreAnswer, StoreQuery,
};
use moorline_rlpx::ChainSource;
use moorline_rpc::StorePort;
use tokio::sync::{mpsc, watch};

/// Most commands without an answer that the trace remembers.
const ASKED_MAX: usize = 4_096;

/// What sessions were told to do, so that in a trace their answers have a cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<Mutex<Causes>>);

#[derive(Debug, Default)]
struct Causes {
    fetches: BTreeMap<(SessionId, RequestId), Cause>,
    /// In the order in which they were asked; some are answered.
    order: VecDeque<(SessionId, RequestId)>,
    dials: BTreeMap<PeerId, Cause>,
}

impl Causes {
    fn fetch(&mut self, asked: (SessionId, RequestId), cause: Cause) {
        self.fetches.insert(asked, cause);
        self.order.push_back(asked);
        // what is never answered must not pile up
        while self.order.len() > ASKED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.fetches.remove(&oldest);
            }
        }
    }
}

impl Asked {
    pub(crate) fn note(&self, command: &SessionCommand, cause: Cause) {
        let Ok(mut causes) = self.0.lock() else { return };
        match command {
            SessionCommand::Fetch { session, request, .. } => {
                causes.fetch((*session, *request), cause);
            }
            SessionCommand::Dial { node } => {
                causes.dials.insert(node.id, cause);
            }
            _ => {}
        }
        // of dials to peers that never come about, any may go
        if causes.dials.len() > ASKED_MAX {
            causes.dials.pop_first();
        }
    }

    pub(crate) fn cause_of(&self, event: &SessionEvent) -> Cause {
        let Ok(mut causes) = self.0.lock() else { return Cause::here() };
        let cause = match event {
            SessionEvent::Answered { session, request, .. } => {
                causes.fetches.remove(&(*session, *request))
            }
            SessionEvent::Opened { peer, .. } => causes.dials.remove(&peer.id),
            SessionEvent::DialFailed { node, .. } => causes.dials.remove(&node.id),
            SessionEvent::Closed { session, .. } => {
                causes.fetches.retain(|(asked, _), _| asked != session);
                None
            }
            SessionEvent::RangeUpdated { .. } => None,
        };
        cause.unwrap_or_else(Cause::here)
    }
}

/// Carries commands out until the peer manager is gone.
pub(crate) async fn commands(
    mut from: Inbox<SessionCommand>,
    to: mpsc::Sender<SessionCommand>,
    asked: Asked,
) {
    while let Some(envelope) = from.next_held().await {
        let (command, handling) = envelope.part();
        asked.note(&command, handling.cause());
        drop(handling);
        if to.send(command).await.is_err() {
            return;
        }
    }
}

/// Carries events in, and counts the sessions that stand. Waits while the peer manager has no room,
/// which slows the sessions down.
pub(crate) async fn events(
    mut from: mpsc::Receiver<SessionEvent>,
    to: Port<SessionEvent>,
    dial_failures: mpsc::Sender<(NodeRecord, CloseReason)>,
    sessions: watch::Sender<usize>,
    asked: Asked,
) {
    // a session says again that it is open whenever the peer manager lost its memory
    let mut open = BTreeSet::new();
    while let Some(event) = from.recv().await {
        match &event {
            SessionEvent::Opened { session, .. } => {
                open.insert(*session);
                sessions.send_replace(open.len());
            }
            SessionEvent::Closed { session, .. } => {
                open.remove(session);
                sessions.send_replace(open.len());
            }
            // only the last one is looked at
            SessionEvent::DialFailed { node, reason } => {
                drop(dial_failures.try_send((*node, reason.clone())));
            }
            SessionEvent::Answered { .. } | SessionEvent::RangeUpdated { .. } => {}
        }
        if asked.cause_of(&event).during(to.send(event)).await.is_err() {
            return;
        }
    }
}

/// What peers are served from: the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredChain(pub(crate) StorePort);

impl StoredChain {
    async fn ask(&self, query: StoreQuery) -> Option<StoreAnswer> {
        match self.0.ask(query).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a peer is not served");
                None
            }
            Err(_) => None,
        }
    }
}

impl ChainSource for StoredChain {
    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        skip: u64,
        reverse: bool,
        budget_bytes: usize,
    ) -> BoxFuture<'_, Vec<Bytes>> {
        Box::pin(async move {
            let query = StoreQuery::Headers { start, limit, skip, reverse, budget_bytes };
            match self.ask(query).await {
                Some(StoreAnswer::Headers(headers)) => headers,
                _ => Vec::new(),
            }
        })
    }

    fn bodies(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Body>> {
        Box::pin(async move {
            match self.ask(StoreQuery::Bodies { hashes, budget_bytes }).await {
                Some(StoreAnswer::Bodies(bodies)) => bodies,
                _ => Vec::new(),
            }
        })
    }

    fn receipts(&self, hashes: Vec<B256>, budget_bytes: usize) -> BoxFuture<'_, Vec<Receipts>> {
        Box::pin(async move {
            match self.ask(StoreQuery::Receipts { hashes, budget_bytes }).await {
                Some(StoreAnswer::Receipts(receipts)) => receipts,
                _ => Vec::new(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use alloy_primitives::B512;
    use moorline_kit::Limit;
    use moorline_messages::{Direction, PeerId, PeerInfo, SessionId};

    use super::*;

    fn opened(session: u64) -> SessionEvent {
        let peer = PeerInfo {
            id: PeerId(B512::ZERO),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 30303)),
            direction: Direction::Outbound,
            client: String::new(),
            eth_version: 69,
            range: None,
        };
        SessionEvent::Opened { session: SessionId(session), peer }
    }

    fn closed(session: u64) -> SessionEvent {
        SessionEvent::Closed {
            session: SessionId(session),
            peer: PeerId(B512::ZERO),
            reason: CloseReason::Silent("a test"),
        }
    }

    #[tokio::test]
    async fn a_session_that_introduces_itself_again_is_counted_once() {
        let (told, from) = mpsc::channel(8);
        let (to, mut heard) = Port::channel("events", Limit::new(8, 1 << 20));
        let (failures, _failures) = mpsc::channel(1);
        let (count, counted) = watch::channel(0);
        tokio::spawn(events(from, to, failures, count, Asked::default()));
        for (event, standing) in
            [(opened(1), 1), (opened(2), 2), (opened(1), 2), (opened(2), 2), (closed(1), 1)]
        {
            told.send(event).await.unwrap();
            heard.next().await.unwrap();
            assert_eq!(*counted.borrow(), standing);
        }
    }
}
