//! Doors for `tests/fuzz` to what lies behind encryption, signatures and a session. Built with the
//! feature `fuzzing` alone.

use bytes::Bytes;
use moorline_messages::{FetchItems, PeerId, Receipts, RequestId};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    ChainSource, Connection, ConnectionError, EthMessage, Timeouts, UnfinishedReceipts,
    handshake::{AuthBody, HandshakeError, Initiator, Response, Secrets},
    key,
    outstanding::{Outstanding, ReceiptsStep},
    p2p::{self, Hello},
    rlp::Items,
    serve::{self, Question},
    wire::{FrameReader, MessageReader},
};

/// Reads what an `auth` packet opens to; gives who sent it.
pub fn read_auth_body(secret: &[u8; 32], body: Bytes) -> Result<PeerId, HandshakeError> {
    let items = Items::of_padded_message(body)?;
    Ok(key::id_of(&AuthBody::read(&key::secret_key(secret)?, items)?.remote))
}

/// Reads what an `ack` packet opens to, and ends the handshake with it.
pub fn read_ack_body(initiator: &Initiator, body: Bytes) -> Result<Secrets, HandshakeError> {
    initiator.clone().agree(Items::of_padded_message(body.clone())?, &body)
}

/// Answers whoever opened this stream as [`Connection::accept`] does, the answer to the `auth` packet
/// being made elsewhere, or beforehand.
pub async fn accept_with<S: AsyncRead + AsyncWrite>(
    stream: S,
    answer: impl FnOnce(&[u8]) -> Result<Response, HandshakeError>,
    hello: &Hello,
    timeouts: &Timeouts,
) -> Result<Connection<S>, ConnectionError> {
    Connection::accept_with(stream, answer, hello, timeouts).await
}

/// Reads all that comes after the handshake: a hello, and messages until one is refused or the stream
/// ends. Gives how many were read, the hello included.
pub async fn read_all<S: AsyncRead + AsyncWrite>(
    stream: S,
    secrets: &Secrets,
    version: u8,
) -> (usize, ConnectionError) {
    let (reading, _writing) = tokio::io::split(stream);
    let mut frames = FrameReader::new(reading, secrets, Timeouts::default());
    if let Err(error) = frames.read_hello().await {
        return (0, error);
    }
    let mut messages = MessageReader::new(frames, version);
    let mut count = 1_usize;
    loop {
        match messages.read().await {
            Ok(_) => count = count.saturating_add(1),
            Err(error) => return (count, error),
        }
    }
}

/// Reads a message of the base protocol that is no hello: a disconnect, or else a ping or a pong.
/// False where it is refused.
pub fn read_base_message(is_disconnect: bool, data: &[u8]) -> bool {
    if is_disconnect {
        p2p::decode_disconnect(Bytes::copy_from_slice(data));
        return true;
    }
    p2p::check_ping(data).is_ok()
}

/// What a session answers to a message, if that is a request.
pub async fn answer(
    chain: &dyn ChainSource,
    version: u8,
    message: EthMessage,
) -> Option<EthMessage> {
    let (request_id, question) = match message {
        EthMessage::GetBlockHeaders { request_id, request } => {
            (request_id, Question::Headers(request))
        }
        EthMessage::GetBlockBodies { request_id, hashes } => (request_id, Question::Bodies(hashes)),
        EthMessage::GetReceipts { request_id, first_receipt, hashes } => {
            (request_id, Question::Receipts { first_receipt, hashes })
        }
        _ => return None,
    };
    Some(serve::answer(chain, version, request_id, question).await.message)
}

/// The requests of a session that are out, and the blocks whose receipts have come in part.
#[derive(Debug)]
pub struct Requests(Outstanding);

impl Requests {
    /// Parts are counted in `unfinished`.
    pub fn new(unfinished: UnfinishedReceipts) -> Self {
        Self(Outstanding::new(unfinished))
    }

    /// Notes a request; gives its id on the wire.
    pub fn ask(&mut self, request: RequestId, items: &FetchItems) -> u64 {
        self.0.ask(request, items)
    }

    /// Takes receipts in. Gives the id under which the rest of a block is to be asked for, or none.
    pub fn receipts(
        &mut self,
        id: u64,
        blocks: Vec<Receipts>,
        last_block_incomplete: bool,
        wire_bytes: usize,
        now: Instant,
    ) -> Result<Option<u64>, ConnectionError> {
        let step = self.0.receipts_answered(id, blocks, last_block_incomplete, wire_bytes, now)?;
        Ok(step.and_then(|step| match step {
            ReceiptsStep::AskOn { id, .. } => Some(id),
            ReceiptsStep::Answered { .. } => None,
        }))
    }

    /// Forgets parts that nothing followed in time.
    pub fn forget_overdue_parts(&mut self, now: Instant) {
        self.0.forget_overdue_parts(now);
    }
}
