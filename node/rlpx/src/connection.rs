//! One connection to a peer, as a conversation of messages: handshake, hello, compression, Status.
//!
//! [`Connection`] holds no opinion on what is said. A session is built on it, and so is a peer that
//! lies: [`Connection::write_raw`], [`Connection::write_raw_frame`] and
//! [`Connection::write_unframed`] send what no honest node sends.

use std::time::Duration;

use alloy_eip2124::ForkId;
use alloy_primitives::{B256, U256};
use bytes::{Buf, Bytes, BytesMut};
use moorline_messages::{AnnouncedRange, DisconnectReason, NodeRecord, PeerId};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    ConnectionError,
    eth::{self, EthMessage, Status, StatusChain},
    frame::{self, FrameDecoder, FrameEncoder, MAX_FRAME_BYTES},
    handshake::{self, Initiator, Response, Secrets},
    p2p::{self, FIRST_CAPABILITY_ID, Hello, MAX_HELLO_BYTES, P2P_VERSION},
    snappy,
};

/// How much is read from a socket at once, so that memory grows with what has arrived and not with
/// what a frame's header claims.
const READ_CHUNK_BYTES: usize = 64 << 10;

/// How long each part of a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// For the RLPx handshake, for hello and for Status, each.
    pub handshake: Duration,
    /// Without a whole frame, beyond the time that [`Timeouts::minimum_bytes_per_s`] grants it.
    pub idle: Duration,
    /// Between two pings.
    pub ping_interval: Duration,
    /// Until a message that we send is taken.
    pub write: Duration,
    /// The slowest a frame may trickle in.
    pub minimum_bytes_per_s: u64,
    /// For a goodbye, and for all sessions to end at shutdown.
    pub goodbye: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            ping_interval: Duration::from_secs(15),
            write: Duration::from_secs(20),
            minimum_bytes_per_s: 32 << 10,
            goodbye: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    fn of_frame(&self, wanted_bytes: usize) -> Duration {
        let wanted_bytes = u64::try_from(wanted_bytes).unwrap_or(u64::MAX);
        let at_slowest_ms = wanted_bytes
            .saturating_mul(1000)
            .checked_div(self.minimum_bytes_per_s)
            .unwrap_or_default();
        self.idle.saturating_add(Duration::from_millis(at_slowest_ms))
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

/// What a node says of itself in a Status, whatever the version of eth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalStatus {
    /// The network's id.
    pub network_id: u64,
    /// The genesis block.
    pub genesis: B256,
    /// The forks passed, and the next one (EIP-2124).
    pub fork_id: ForkId,
    /// For eth/68: the total difficulty at which the chain merged.
    pub total_difficulty: U256,
    /// What the node serves.
    pub range: AnnouncedRange,
}

impl LocalStatus {
    /// The Status as this version of eth has it.
    pub fn at(&self, version: u8) -> Status {
        let chain = if version >= 69 {
            StatusChain::Range(self.range)
        } else {
            StatusChain::Head {
                total_difficulty: self.total_difficulty,
                head: self.range.latest_hash,
            }
        };
        Status {
            version,
            network_id: self.network_id,
            genesis: self.genesis,
            fork_id: self.fork_id,
            chain,
        }
    }
}

/// A connection on which hello was said. `S` is a TCP stream, or anything else that carries bytes.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    reader: MessageReader<S>,
    writer: MessageWriter<S>,
    peer: Hello,
    version: u8,
    timeouts: Timeouts,
}

impl Connection<TcpStream> {
    /// Dials a node and says hello.
    pub async fn connect(
        node: &NodeRecord,
        secret: &[u8; 32],
        hello: &Hello,
        timeouts: &Timeouts,
    ) -> Result<Self, ConnectionError> {
        let connecting = timeout(timeouts.connect, TcpStream::connect(node.addr)).await;
        let stream = connecting.map_err(|_| ConnectionError::Silent("connecting"))??;
        stream.set_nodelay(true)?;
        Self::initiate(stream, node.id, secret, hello, timeouts).await
    }
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    /// Says hello on a stream to the node of this id.
    pub async fn initiate(
        stream: S,
        remote: PeerId,
        secret: &[u8; 32],
        hello: &Hello,
        timeouts: &Timeouts,
    ) -> Result<Self, ConnectionError> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let shaking = async {
            let initiator = Initiator::new(secret, remote)?;
            writing.write_all(initiator.auth()).await?;
            let ack = read_packet(&mut reading).await?;
            Ok::<_, ConnectionError>(initiator.finish(&ack)?)
        };
        let secrets = within(timeouts.handshake, "the handshake", shaking).await?;
        Self::open(reading, writing, &secrets, remote, hello, timeouts).await
    }

    /// Answers whoever opened this stream, and says hello.
    pub async fn accept(
        stream: S,
        secret: &[u8; 32],
        hello: &Hello,
        timeouts: &Timeouts,
    ) -> Result<Self, ConnectionError> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let shaking = async {
            let auth = read_packet(&mut reading).await?;
            let response = Response::to(secret, &auth)?;
            writing.write_all(&response.ack).await?;
            Ok::<_, ConnectionError>(response)
        };
        let response = within(timeouts.handshake, "the handshake", shaking).await?;
        Self::open(reading, writing, &response.secrets, response.remote, hello, timeouts).await
    }

    async fn open(
        reading: ReadHalf<S>,
        writing: WriteHalf<S>,
        secrets: &Secrets,
        remote: PeerId,
        hello: &Hello,
        timeouts: &Timeouts,
    ) -> Result<Self, ConnectionError> {
        let mut frames = FrameReader::new(reading, secrets, *timeouts);
        let mut writer = MessageWriter::new(writing, secrets, *timeouts);
        // both at once: two nodes that each wait for the other to read would wait for ever
        let meeting = async {
            let writing = or_never(writer.write_hello(hello));
            let ((), peer) = tokio::try_join!(writing, frames.read_hello())?;
            Ok(peer)
        };
        let met = within(timeouts.handshake, "hello", meeting).await;
        let agreed = met.and_then(|peer| {
            let version = agree(&peer, remote, hello)?;
            Ok((peer, version))
        });
        let (peer, version) = match agreed {
            Ok(agreed) => agreed,
            Err(error) => {
                writer.say_goodbye(&error).await;
                return Err(error);
            }
        };
        frames.decoder.set_limit(MAX_FRAME_BYTES);
        writer.version = version;
        let reader = MessageReader { frames, version };
        Ok(Self { reader, writer, peer, version, timeouts: *timeouts })
    }

    /// Sends our Status, and waits for the peer's, which must come before any other message of eth.
    /// What it says is not judged here.
    pub async fn exchange_status(&mut self, ours: &Status) -> Result<Status, ConnectionError> {
        let Self { reader, writer, .. } = self;
        let ours = Message::Eth(EthMessage::Status(ours.clone()));
        let exchanging = async {
            let writing = or_never(writer.write(&ours));
            let ((), status) = tokio::try_join!(writing, reader.read_status())?;
            Ok(status)
        };
        within(self.timeouts.handshake, "Status", exchanging).await
    }

    /// The next message. Cancelling loses nothing.
    pub async fn read(&mut self) -> Result<Message, ConnectionError> {
        Ok(self.reader.read().await?.message)
    }

    /// Sends a message.
    pub async fn write(&mut self, message: &Message) -> Result<(), ConnectionError> {
        self.writer.write(message).await
    }

    /// Sends a message of eth with any id (before the capability's offset) and any data.
    pub async fn write_raw(&mut self, id: u8, data: &[u8]) -> Result<(), ConnectionError> {
        let id = u64::from(id).saturating_add(FIRST_CAPABILITY_ID);
        self.writer.write_compressed(id, data).await
    }

    /// Sends a frame with any content: message id and compressed data, or neither.
    pub async fn write_raw_frame(&mut self, content: &[u8]) -> Result<(), ConnectionError> {
        self.writer.write_frame(&[content]).await
    }

    /// Sends bytes that are no frame at all.
    pub async fn write_unframed(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.writer.write_bytes(bytes).await
    }

    /// Tells the peer why we leave, and closes.
    pub async fn disconnect(mut self, reason: DisconnectReason) {
        self.writer.disconnect(reason).await;
    }

    /// How the peer introduced itself.
    pub const fn peer(&self) -> &Hello {
        &self.peer
    }

    /// The version of eth agreed on.
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// Parts the directions, so that they may be driven at once.
    pub fn split(self) -> (MessageReader<S>, MessageWriter<S>) {
        (self.reader, self.writer)
    }
}

/// The version of eth to speak with this peer.
fn agree(peer: &Hello, remote: PeerId, ours: &Hello) -> Result<u8, ConnectionError> {
    if peer.p2p_version < P2P_VERSION {
        return Err(ConnectionError::Local(DisconnectReason::IncompatibleP2p));
    }
    if peer.id != remote {
        return Err(ConnectionError::Local(DisconnectReason::UnexpectedIdentity));
    }
    if peer.id == ours.id {
        return Err(ConnectionError::Local(DisconnectReason::SelfConnection));
    }
    let versions: Vec<u8> = ours
        .capabilities
        .iter()
        .filter(|capability| capability.name == p2p::ETH)
        .filter_map(|capability| u8::try_from(capability.version).ok())
        .filter(|version| eth::message_count(*version).is_some())
        .collect();
    peer.shared_eth_version(&versions).ok_or(ConnectionError::NoCommonVersion)
}

async fn within<T>(
    limit: Duration,
    during: &'static str,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    timeout(limit, work).await.map_err(|_| ConnectionError::Silent(during))?
}

/// A write that fails leaves the verdict to the read beside it: why a peer would not listen is often
/// in what it said before.
async fn or_never(
    writing: impl Future<Output = Result<(), ConnectionError>>,
) -> Result<(), ConnectionError> {
    if writing.await.is_err() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Reads a handshake packet, size prefix included.
async fn read_packet<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ConnectionError> {
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix).await?;
    let mut body = vec![0; handshake::body_length(prefix)?];
    stream.read_exact(&mut body).await?;
    let mut packet = prefix.to_vec();
    packet.append(&mut body);
    Ok(packet)
}

#[derive(Debug)]
struct FrameReader<S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
    decoder: Box<FrameDecoder>,
    timeouts: Timeouts,
}

impl<S: AsyncRead> FrameReader<S> {
    fn new(stream: ReadHalf<S>, secrets: &Secrets, timeouts: Timeouts) -> Self {
        // a byte more than the largest hello, for its id
        let decoder = Box::new(FrameDecoder::new(secrets, MAX_HELLO_BYTES.saturating_add(1)));
        Self { stream, buffer: BytesMut::new(), decoder, timeouts }
    }

    /// The content of the next frame. Cancelling loses nothing.
    async fn read(&mut self) -> Result<BytesMut, ConnectionError> {
        let started = Instant::now();
        loop {
            if let Some(content) = self.decoder.decode(&mut self.buffer)? {
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

    /// A hello, which is not compressed, or the disconnect that takes its place.
    async fn read_hello(&mut self) -> Result<Hello, ConnectionError> {
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

    /// The peer's Status. Pings before it need no answer: Status shows that we live.
    async fn read_status(&mut self) -> Result<Status, ConnectionError> {
        loop {
            match self.read().await?.message {
                Message::Eth(EthMessage::Status(status)) => return Ok(status),
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
            let data = snappy::decompress(&content, eth::MAX_MESSAGE_BYTES)?;
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
}

impl<S> std::fmt::Debug for MessageWriter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageWriter").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<S: AsyncWrite> MessageWriter<S> {
    fn new(stream: WriteHalf<S>, secrets: &Secrets, timeouts: Timeouts) -> Self {
        Self {
            stream,
            encoder: Box::new(FrameEncoder::new(secrets)),
            compressor: Box::new(snap::raw::Encoder::new()),
            outgoing: BytesMut::new(),
            version: 0,
            timeouts,
        }
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

    /// Tells the peer why we leave, and closes. Takes no longer than a goodbye may.
    pub async fn disconnect(&mut self, reason: DisconnectReason) {
        let limit = self.timeouts.goodbye;
        let leaving = async {
            self.write(&Message::Disconnect(reason)).await?;
            Ok::<_, ConnectionError>(self.stream.shutdown().await?)
        };
        // whether it hears us makes no difference any more
        let _ = timeout(limit, leaving).await;
    }

    async fn write_hello(&mut self, hello: &Hello) -> Result<(), ConnectionError> {
        self.write_frame(&[&[0x80], &hello.encode()]).await
    }

    /// Tells a peer with which no session came about why, unless it left by itself.
    async fn say_goodbye(&mut self, error: &ConnectionError) {
        if let Some(reason) = error.disconnect_reason() {
            self.disconnect(reason).await;
        }
    }

    async fn write_compressed(&mut self, id: u64, data: &[u8]) -> Result<(), ConnectionError> {
        let data = snappy::compress(&mut self.compressor, data)?;
        let mut content = BytesMut::new();
        alloy_rlp::Encodable::encode(&id, &mut content);
        self.write_frame(&[&content, &data]).await
    }

    async fn write_frame(&mut self, parts: &[&[u8]]) -> Result<(), ConnectionError> {
        self.encoder.encode(parts, &mut self.outgoing)?;
        let frame = self.outgoing.split();
        self.write_bytes(&frame).await
    }

    async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let writing = timeout(self.timeouts.write, self.stream.write_all(bytes)).await;
        Ok(writing.map_err(|_| ConnectionError::Silent("a write"))??)
    }
}

#[cfg(test)]
mod tests;
