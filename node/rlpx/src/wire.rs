//! Messages on a stream: what is read and written once the handshake is over.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use alloy_primitives::Bytes as AlloyBytes;
use bytes::{Buf, Bytes, BytesMut};
use moorline_messages::DisconnectReason;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    ConnectionError, Timeouts,
    eth::{self, EthMessage, Status},
    frame::{self, FrameDecoder, FrameEncoder, MAX_FRAME_BYTES},
    handshake::Secrets,
    p2p::{self, FIRST_CAPABILITY_ID, Hello, MAX_HELLO_BYTES},
    snappy,
};

/// How much is read from a socket at once, so that memory grows with what has arrived and not with
/// what a frame's header claims.
const READ_CHUNK_BYTES: usize = 64 << 10;

/// The largest frame before Status: that of a hello and its id. Whoever has not shown its network is
/// not worth more memory.
const MAX_MEETING_FRAME_BYTES: usize = MAX_HELLO_BYTES.saturating_add(1);
/// The largest frame of a peer that was never asked for anything. Clients send news of transactions
/// 100 kB to 1 MiB at a time, and no request is so large.
const MAX_UNASKED_FRAME_BYTES: usize = 2 << 20;

/// What both directions of a connection know of the frames that come: how large they may be, which is
/// more once the peer has been asked for something, and whether one has come in part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming(Arc<IncomingFrames>);

#[derive(Debug)]
struct IncomingFrames {
    limit_bytes: AtomicUsize,
    under_way: AtomicBool,
}

impl Default for IncomingFrames {
    fn default() -> Self {
        Self {
            limit_bytes: AtomicUsize::new(MAX_MEETING_FRAME_BYTES),
            under_way: AtomicBool::new(false),
        }
    }
}

impl Incoming {
    /// The peer was asked for something, and answers are as large as a frame can be.
    pub(crate) fn widen(&self) {
        self.0.limit_bytes.store(MAX_FRAME_BYTES, Ordering::Relaxed);
    }

    /// Nothing was asked of the peer yet.
    pub(crate) fn narrow(&self) {
        self.0.limit_bytes.store(MAX_UNASKED_FRAME_BYTES, Ordering::Relaxed);
    }

    /// Whether the peer is in the middle of a frame, and can say nothing else.
    pub(crate) fn is_under_way(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed)
    }

    fn limit_bytes(&self) -> usize {
        self.0.limit_bytes.load(Ordering::Relaxed)
    }

    fn set_under_way(&self, under_way: bool) {
        self.0.under_way.store(under_way, Ordering::Relaxed);
    }
}

/// A message of either protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The peer leaves.
    Disconnect(DisconnectReason),
    /// Are you there?
    Ping,
    /// I am.
    Pong,
    /// A message of eth.
    Eth(EthMessage),
}

/// A message and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Its frame's size on the wire, in bytes.
    pub wire_bytes: usize,
}

/// The receiving direction before hello: frames, of no more than a hello's size.
#[derive(Debug)]
pub(crate) struct FrameReader<S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
    decoder: Box<FrameDecoder>,
    incoming: Incoming,
    timeouts: Timeouts,
}

impl<S: AsyncRead> FrameReader<S> {
    pub(crate) fn new(stream: ReadHalf<S>, secrets: &Secrets, timeouts: Timeouts) -> Self {
        let decoder = Box::new(FrameDecoder::new(secrets, MAX_MEETING_FRAME_BYTES));
        let incoming = Incoming::default();
        Self { stream, buffer: BytesMut::new(), decoder, incoming, timeouts }
    }

    /// The content of the next frame. Cancelling loses nothing.
    async fn read(&mut self) -> Result<BytesMut, ConnectionError> {
        let started = Instant::now();
        loop {
            self.decoder.set_limit(self.incoming.limit_bytes());
            let content = self.decoder.decode(&mut self.buffer)?;
            self.incoming.set_under_way(self.decoder.is_under_way());
            if let Some(content) = content {
                return Ok(content);
            }
            let wanted = self.decoder.wanted();
            let missing = wanted.saturating_sub(self.buffer.len());
            self.buffer.reserve(missing.min(READ_CHUNK_BYTES));
            let deadline = started.checked_add(self.timeouts.of_frame(wanted)).unwrap_or(started);
            let reading = timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
            if reading.map_err(|_| ConnectionError::Silent("the session"))?? == 0 {
                return Err(ConnectionError::Network("the peer closed the connection".to_owned()));
            }
        }
    }

    /// Reads whatever still comes, and forgets it, until the peer closes.
    pub(crate) async fn drain(&mut self) {
        let mut forgotten = [0; 4096];
        while self.stream.read(&mut forgotten).await.is_ok_and(|count| count > 0) {}
    }

    /// A hello, which is not compressed, or the disconnect that takes its place.
    pub(crate) async fn read_hello(&mut self) -> Result<Hello, ConnectionError> {
        let mut content = self.read().await?;
        let id = take_id(&mut content)?;
        let data = content.freeze();
        match id {
            p2p::id::HELLO => Ok(Hello::decode(data)?),
            p2p::id::DISCONNECT => Err(ConnectionError::Remote(p2p::decode_disconnect(data))),
            id => Err(ConnectionError::UnexpectedId(id)),
        }
    }
}

/// Takes the message id off a frame's content. All known ids are below 0x80: one byte of RLP.
fn take_id(content: &mut BytesMut) -> Result<u64, ConnectionError> {
    let first = content.first().copied().unwrap_or_default();
    content.advance(1.min(content.len()));
    match first {
        0x80 => Ok(0),
        1..0x80 => Ok(first.into()),
        _ => Err(ConnectionError::UnexpectedId(first.into())),
    }
}

/// The receiving direction of a connection.
#[derive(Debug)]
pub struct MessageReader<S> {
    frames: FrameReader<S>,
    version: u8,
}

impl<S: AsyncRead> MessageReader<S> {
    /// After hello: messages of this version of eth. Frames stay small until Status was read.
    pub(crate) const fn new(frames: FrameReader<S>, version: u8) -> Self {
        Self { frames, version }
    }

    /// What is known of the frames that come.
    pub(crate) fn incoming(&self) -> Incoming {
        self.frames.incoming.clone()
    }

    /// The next message. Cancelling loses nothing.
    pub async fn read(&mut self) -> Result<Received, ConnectionError> {
        loop {
            let content = self.frames.read().await?;
            let wire_bytes = frame::wire_bytes(content.len());
            if let Some(message) = decode(self.version, content)? {
                return Ok(Received { message, wire_bytes });
            }
        }
    }

    /// Reads whatever still comes, and forgets it, until the peer closes.
    pub(crate) async fn drain(&mut self) {
        self.frames.drain().await;
    }

    /// The peer's Status. Pings before it need no answer: Status shows that we live.
    pub(crate) async fn read_status(&mut self) -> Result<Status, ConnectionError> {
        loop {
            match self.read().await?.message {
                Message::Eth(EthMessage::Status(status)) => {
                    self.frames.incoming.widen();
                    return Ok(status);
                }
                Message::Eth(_) => return Err(ConnectionError::StatusNotFirst),
                Message::Disconnect(reason) => return Err(ConnectionError::Remote(reason)),
                Message::Ping | Message::Pong => {}
            }
        }
    }
}

/// Decodes a frame's content; nothing for ids of the base protocol that were never assigned.
fn decode(version: u8, mut content: BytesMut) -> Result<Option<Message>, ConnectionError> {
    let id = take_id(&mut content)?;
    let message = match id {
        p2p::id::DISCONNECT => {
            // some peers part without compressing
            let data = snappy::decompress(&content, MAX_HELLO_BYTES)
                .map_or_else(|_| content.freeze(), Bytes::from);
            Message::Disconnect(p2p::decode_disconnect(data))
        }
        p2p::id::PING => {
            p2p::check_ping(&snappy::decompress(&content, MAX_HELLO_BYTES)?)?;
            Message::Ping
        }
        p2p::id::PONG => {
            p2p::check_ping(&snappy::decompress(&content, MAX_HELLO_BYTES)?)?;
            Message::Pong
        }
        p2p::id::HELLO => return Err(ConnectionError::UnexpectedId(id)),
        _ => {
            let Some(id) = id.checked_sub(FIRST_CAPABILITY_ID) else { return Ok(None) };
            let id = u8::try_from(id).unwrap_or(u8::MAX);
            if eth::is_news(id) {
                // nobody looks at it, so it is not worth expanding
                snappy::check_length(&content, eth::MAX_MESSAGE_BYTES)?;
                return Ok(Some(Message::Eth(EthMessage::Gossip { id, data: AlloyBytes::new() })));
            }
            let bytes_max = match id {
                eth::id::RECEIPTS => eth::MAX_RECEIPTS_MESSAGE_BYTES,
                _ => eth::MAX_MESSAGE_BYTES,
            };
            let data = snappy::decompress(&content, bytes_max)?;
            Message::Eth(EthMessage::decode(version, id, data.into())?)
        }
    };
    Ok(Some(message))
}

/// The sending direction of a connection.
pub struct MessageWriter<S> {
    stream: WriteHalf<S>,
    encoder: Box<FrameEncoder>,
    compressor: Box<snap::raw::Encoder>,
    outgoing: BytesMut,
    version: u8,
    timeouts: Timeouts,
    written_bytes: u64,
}

impl<S> std::fmt::Debug for MessageWriter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageWriter").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<S: AsyncWrite> MessageWriter<S> {
    pub(crate) fn new(stream: WriteHalf<S>, secrets: &Secrets, timeouts: Timeouts) -> Self {
        Self {
            stream,
            encoder: Box::new(FrameEncoder::new(secrets)),
            compressor: Box::new(snap::raw::Encoder::new()),
            outgoing: BytesMut::new(),
            version: 0,
            timeouts,
            written_bytes: 0,
        }
    }

    /// How many bytes the network took so far, frames' own included.
    pub(crate) const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Settles on a version of eth, once hello was heard.
    pub(crate) fn set_version(&mut self, version: u8) {
        self.version = version;
    }

    /// Sends a message, and returns once the network took it.
    pub async fn write(&mut self, message: &Message) -> Result<(), ConnectionError> {
        match message {
            Message::Disconnect(reason) => {
                self.write_compressed(p2p::id::DISCONNECT, &p2p::encode_disconnect(*reason)).await
            }
            Message::Ping => self.write_compressed(p2p::id::PING, &p2p::EMPTY_LIST).await,
            Message::Pong => self.write_compressed(p2p::id::PONG, &p2p::EMPTY_LIST).await,
            Message::Eth(message) => {
                let id = u64::from(message.id()).saturating_add(FIRST_CAPABILITY_ID);
                self.write_compressed(id, &message.encode(self.version)).await
            }
        }
    }

    /// Tells the peer why we leave, and closes this direction. Takes no longer than a goodbye may.
    pub async fn disconnect(&mut self, reason: DisconnectReason) {
        let limit = self.timeouts.goodbye;
        let leaving = async {
            self.write(&Message::Disconnect(reason)).await?;
            Ok::<_, ConnectionError>(self.stream.shutdown().await?)
        };
        // whether it hears us makes no difference any more
        let _ = timeout(limit, leaving).await;
    }

    pub(crate) async fn write_hello(&mut self, hello: &Hello) -> Result<(), ConnectionError> {
        self.write_frame(&[&[0x80], &hello.encode()]).await
    }

    pub(crate) async fn write_compressed(
        &mut self,
        id: u64,
        data: &[u8],
    ) -> Result<(), ConnectionError> {
        let data = snappy::compress(&mut self.compressor, data)?;
        let mut content = BytesMut::new();
        alloy_rlp::Encodable::encode(&id, &mut content);
        self.write_frame(&[&content, &data]).await
    }

    pub(crate) async fn write_frame(&mut self, parts: &[&[u8]]) -> Result<(), ConnectionError> {
        let frame = self.encode_frame(parts)?;
        self.write_bytes(&frame).await
    }

    pub(crate) fn encode_frame(&mut self, parts: &[&[u8]]) -> Result<BytesMut, ConnectionError> {
        self.encoder.encode(parts, &mut self.outgoing)?;
        Ok(self.outgoing.split())
    }

    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let writing = timeout(self.timeouts.write, self.stream.write_all(bytes)).await;
        writing.map_err(|_| ConnectionError::Silent("a write"))??;
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        Ok(())
    }
}
