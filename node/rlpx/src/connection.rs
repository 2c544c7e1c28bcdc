//! One connection to a peer, as a conversation of messages: handshake, hello, compression, Status.
//!
//! [`Connection`] holds no opinion on what is said. A session is built on it, and so is a peer that
//! lies: [`Connection::write_raw`], [`Connection::write_raw_frame`] and
//! [`Connection::write_unframed`] send what no honest node sends.

use std::{net::SocketAddr, time::Duration};

use alloy_eip2124::ForkId;
use alloy_primitives::{B256, U256};
use bytes::BytesMut;
use moorline_messages::{AnnouncedRange, DisconnectReason, NodeRecord, PeerId};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};

use crate::{
    ConnectionError, Message, MessageReader, MessageWriter, Timeouts,
    eth::{self, EthMessage, Status, StatusChain},
    handshake::{self, HandshakeError, Initiator, Response, Secrets},
    p2p::{self, FIRST_CAPABILITY_ID, Hello, P2P_VERSION},
    wire::FrameReader,
};

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
    /// For eth/68: the hash of the highest block that is here.
    pub head: B256,
}

impl LocalStatus {
    /// The Status as this version of eth has it.
    pub fn at(&self, version: u8) -> Status {
        let chain = if version >= 69 {
            StatusChain::Range(self.range)
        } else {
            StatusChain::Head { total_difficulty: self.total_difficulty, head: self.head }
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
        let stream = connect(node.addr, timeouts).await?;
        Self::initiate(stream, node.id, secret, hello, timeouts).await
    }
}

/// Opens a TCP connection.
pub(crate) async fn connect(
    addr: SocketAddr,
    timeouts: &Timeouts,
) -> Result<TcpStream, ConnectionError> {
    let connecting = timeout(timeouts.connect, TcpStream::connect(addr)).await;
    let stream = connecting.map_err(|_| ConnectionError::Silent("connecting"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
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
        Self::accept_with(stream, |auth| Response::to(secret, auth), hello, timeouts).await
    }

    pub(crate) async fn accept_with(
        stream: S,
        answer: impl FnOnce(&[u8]) -> Result<Response, HandshakeError>,
        hello: &Hello,
        timeouts: &Timeouts,
    ) -> Result<Self, ConnectionError> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let shaking = async {
            let auth = read_packet(&mut reading).await?;
            let response = answer(&auth)?;
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
        let peer = within(timeouts.handshake, "hello", meeting).await?;
        let version = match agree(&peer, remote, hello) {
            Ok(version) => version,
            Err(error) => {
                if let Some(reason) = error.disconnect_reason() {
                    let parting = async { tokio::join!(writer.disconnect(reason), frames.drain()) };
                    let _ = timeout(timeouts.goodbye, parting).await;
                }
                return Err(error);
            }
        };
        writer.set_version(version);
        let reader = MessageReader::new(frames, version);
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

    /// The bytes of a frame with any content, for [`Connection::write_unframed`] to send in pieces,
    /// late or changed. Each frame builds on those before it, so they must be sent in order.
    pub fn encode_frame(&mut self, content: &[u8]) -> Result<BytesMut, ConnectionError> {
        self.writer.encode_frame(&[content])
    }

    /// Sends bytes as they are.
    pub async fn write_unframed(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.writer.write_bytes(bytes).await
    }

    /// Tells the peer why we leave, and closes once it has closed or the time for goodbyes is over:
    /// closing with its bytes unread would take back what we said.
    pub async fn disconnect(mut self, reason: DisconnectReason) {
        let parting = async { tokio::join!(self.writer.disconnect(reason), self.reader.drain()) };
        let _ = timeout(self.timeouts.goodbye, parting).await;
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

#[cfg(test)]
mod tests;
