//! The half of a session that reads: messages in, events and questions out.

use std::sync::{Arc, Mutex, PoisonError};

use moorline_messages::{
    AnnouncedRange, Body, DisconnectReason, FetchedItems, Receipts, RequestId, SessionEvent,
    SessionId,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Outgoing, Pulse, task_failed, writer_gone};
use crate::{
    ConnectionError, Message, MessageReader,
    eth::{self, EthMessage, seal_header},
    outstanding::{Kind, Outstanding, ReceiptsStep},
    serve::Question,
    tolerance::Tolerance,
};

/// The half that decrypts, decompresses and decodes.
pub(super) struct Reading {
    pub(super) session: SessionId,
    pub(super) reader: MessageReader<TcpStream>,
    pub(super) events: mpsc::Sender<SessionEvent>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) asking_on: mpsc::Sender<EthMessage>,
    pub(super) questions: mpsc::Sender<(u64, Question)>,
    pub(super) outstanding: Arc<Mutex<Outstanding>>,
    pub(super) range: Arc<Mutex<Option<AnnouncedRange>>>,
    pub(super) tolerance: Tolerance,
    pub(super) pulse: Arc<Pulse>,
}

impl Reading {
    /// Converses until something goes wrong or `draining` is cancelled, and then only empties the
    /// socket.
    pub(super) async fn run(
        mut self,
        draining: CancellationToken,
        verdict: oneshot::Sender<ConnectionError>,
    ) {
        tokio::select! {
            biased;
            () = draining.cancelled() => {}
            ended = self.converse() => {
                // fails only when the session has ended for another reason
                let _ = verdict.send(ended.err().unwrap_or_else(task_failed));
            }
        }
        // nothing more comes of what came in part
        drop(self.outstanding);
        self.reader.drain().await;
    }

    async fn converse(&mut self) -> Result<(), ConnectionError> {
        loop {
            let received = self.reader.read().await?;
            match received.message {
                Message::Disconnect(reason) => return Err(ConnectionError::Remote(reason)),
                Message::Ping => {
                    self.tolerance.ping(Instant::now())?;
                    self.send(Message::Pong).await?;
                }
                Message::Pong => self.pulse.answered(),
                Message::Eth(message) => self.on_eth(message, received.wire_bytes).await?,
            }
        }
    }

    async fn on_eth(
        &mut self,
        message: EthMessage,
        wire_bytes: usize,
    ) -> Result<(), ConnectionError> {
        match message {
            EthMessage::BlockHeaders { request_id, headers } => {
                let Some(request) = self.matched(request_id, Kind::Headers, headers.len())? else {
                    return Ok(());
                };
                let headers = headers.iter().map(|raw| seal_header(raw));
                let items = FetchedItems::Headers(headers.collect::<Result<_, _>>()?);
                self.tell_answer(request, items, wire_bytes).await
            }
            EthMessage::BlockBodies { request_id, bodies } => {
                let Some(request) = self.matched(request_id, Kind::Bodies, bodies.len())? else {
                    return Ok(());
                };
                let bodies = bodies.into_iter().map(Arc::<Body>::new).collect();
                self.tell_answer(request, FetchedItems::Bodies(bodies), wire_bytes).await
            }
            EthMessage::Receipts { request_id, last_block_incomplete, blocks } => {
                let step = {
                    let mut asked = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
                    asked.receipts_answered(
                        request_id,
                        blocks,
                        last_block_incomplete,
                        wire_bytes,
                        Instant::now(),
                    )?
                };
                self.on_receipts(step).await
            }
            EthMessage::GetBlockHeaders { request_id, request } => {
                self.serve(request_id, Question::Headers(request)).await
            }
            EthMessage::GetBlockBodies { request_id, hashes } => {
                self.serve(request_id, Question::Bodies(hashes)).await
            }
            EthMessage::GetReceipts { request_id, first_receipt, hashes } => {
                self.serve(request_id, Question::Receipts { first_receipt, hashes }).await
            }
            EthMessage::GetPooledTransactions { request_id } => {
                self.serve(request_id, Question::PooledTransactions).await
            }
            EthMessage::BlockRangeUpdate(range) => self.on_range(range).await,
            EthMessage::Gossip { id, .. } if eth::is_news(id) => {
                // it is dropped, and its sender does not get to send without end
                sleep(self.tolerance.news(wire_bytes, Instant::now())).await;
                Ok(())
            }
            EthMessage::Status(_) => Err(ConnectionError::Breach("a second Status".to_owned())),
            EthMessage::Gossip { .. } | EthMessage::NoPooledTransactions { .. } => {
                Err(ConnectionError::Breach("an answer that nobody asked for".to_owned()))
            }
        }
    }

    fn matched(
        &self,
        id: u64,
        kind: Kind,
        count: usize,
    ) -> Result<Option<RequestId>, ConnectionError> {
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.answered(id, kind, count)
    }

    async fn on_receipts(&self, step: Option<ReceiptsStep>) -> Result<(), ConnectionError> {
        match step {
            None => Ok(()),
            Some(ReceiptsStep::Answered { request, blocks, wire_bytes }) => {
                let blocks = blocks.into_iter().map(Arc::<Receipts>::new).collect();
                self.tell_answer(request, FetchedItems::Receipts(blocks), wire_bytes).await
            }
            Some(ReceiptsStep::AskOn { id: request_id, block, first_receipt }) => {
                let hashes = vec![block];
                let message = EthMessage::GetReceipts { request_id, first_receipt, hashes };
                // where there is no room, the clock of the request answers for us
                let _ = self.asking_on.try_send(message);
                Ok(())
            }
        }
    }

    async fn tell_answer(
        &self,
        request: RequestId,
        items: FetchedItems,
        wire_bytes: usize,
    ) -> Result<(), ConnectionError> {
        let session = self.session;
        self.tell(SessionEvent::Answered { session, request, items, wire_bytes }).await
    }

    /// Waits while the listener is busy: then the peer waits too, since we do not read on.
    async fn tell(&self, event: SessionEvent) -> Result<(), ConnectionError> {
        self.pulse.suspend(true);
        let sent = self.events.send(event).await;
        self.pulse.suspend(false);
        sent.map_err(|_| ConnectionError::Local(DisconnectReason::ClientQuitting))
    }

    async fn on_range(&mut self, range: AnnouncedRange) -> Result<(), ConnectionError> {
        let told = {
            let mut told = self.range.lock().unwrap_or_else(PoisonError::into_inner);
            told.replace(range)
        };
        let wait = self.tolerance.range(told.as_ref(), &range, Instant::now())?;
        self.tell(SessionEvent::RangeUpdated { session: self.session, range }).await?;
        sleep(wait).await;
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), ConnectionError> {
        let outgoing = Outgoing { message, served: None };
        self.outgoing.send(outgoing).await.map_err(|_| writer_gone())
    }

    async fn serve(&self, request_id: u64, question: Question) -> Result<(), ConnectionError> {
        self.questions.send((request_id, question)).await.map_err(|_| task_failed())
    }
}
