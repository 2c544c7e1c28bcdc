//! The base protocol under every capability: hello, disconnect, ping and pong (devp2p `rlpx.md`,
//! "p2p Capability").

use alloy_primitives::B512;
use alloy_rlp::Encodable;
use bytes::{Bytes, BytesMut};
use moorline_messages::{DisconnectReason, PeerId};
use thiserror::Error;

use crate::rlp::{Items, RlpError, list_of, put_list_of};

/// Version of the base protocol: 5 compresses message data (EIP-706).
pub const P2P_VERSION: u64 = 5;
/// The largest hello that is read.
pub const MAX_HELLO_BYTES: usize = 2048;
/// Ids below this one belong to the base protocol; capabilities come after it.
pub const FIRST_CAPABILITY_ID: u64 = 0x10;
/// The only capability that we speak.
pub const ETH: &str = "eth";

/// Message ids of the base protocol.
pub(crate) mod id {
    pub(crate) const HELLO: u64 = 0x00;
    pub(crate) const DISCONNECT: u64 = 0x01;
    pub(crate) const PING: u64 = 0x02;
    pub(crate) const PONG: u64 = 0x03;
}

/// The whole body of a ping or a pong.
pub(crate) const EMPTY_LIST: [u8; 1] = [0xc0];

/// Most capabilities in a hello that are looked at.
const MAX_CAPABILITIES: usize = 128;
/// Most characters kept of a peer's client string.
const MAX_CLIENT_CHARS: usize = 256;

/// Why a base protocol message is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum P2pError {
    /// A hello that is too large to be one.
    #[error("a hello of {0} bytes, and {MAX_HELLO_BYTES} are allowed")]
    HelloSize(usize),
    /// A message is not what it should be.
    #[error("{message} is wrong: {error}")]
    Message {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        error: RlpError,
    },
    /// A ping or a pong whose body is neither an empty list nor nothing.
    #[error("a ping or pong has a body other than the empty list")]
    PingBody,
}

/// A subprotocol and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name, such as `eth`.
    pub name: String,
    /// Its version.
    pub version: u64,
}

impl Capability {
    /// This version of eth.
    pub fn eth(version: u8) -> Self {
        Self { name: ETH.to_owned(), version: version.into() }
    }
}

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of the base protocol.
    pub p2p_version: u64,
    /// What the node calls itself; of a peer's, up to 256 printable ASCII characters are kept.
    pub client: String,
    /// What it speaks.
    pub capabilities: Vec<Capability>,
    /// The TCP port it listens on, or 0.
    pub port: u16,
    /// Who it is.
    pub id: PeerId,
}

impl Hello {
    /// The hello of a node that speaks these versions of eth.
    pub fn new(client: &str, versions: &[u8], port: u16, id: PeerId) -> Self {
        Self {
            p2p_version: P2P_VERSION,
            client: client.to_owned(),
            capabilities: versions.iter().copied().map(Capability::eth).collect(),
            port,
            id,
        }
    }

    /// The highest version of eth that both speak. With eth the only capability we offer, it is the
    /// only shared one, so its ids begin at [`FIRST_CAPABILITY_ID`].
    pub fn shared_eth_version(&self, ours: &[u8]) -> Option<u8> {
        let speaks = |version: u8| self.capabilities.contains(&Capability::eth(version));
        ours.iter().copied().filter(|version| speaks(*version)).max()
    }

    /// Encodes the message's data.
    pub fn encode(&self) -> BytesMut {
        list_of(|out| {
            self.p2p_version.encode(out);
            self.client.encode(out);
            let mut capabilities: Vec<&Capability> = self.capabilities.iter().collect();
            capabilities.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
            let list = list_of(|out| {
                for capability in capabilities {
                    put_list_of(out, |out| {
                        capability.name.encode(out);
                        capability.version.encode(out);
                    });
                }
            });
            out.extend_from_slice(&list);
            self.port.encode(out);
            self.id.0.encode(out);
        })
    }

    /// Decodes the message's data. Further elements and unknown capabilities are ignored (EIP-8).
    pub fn decode(data: Bytes) -> Result<Self, P2pError> {
        if data.len() > MAX_HELLO_BYTES {
            return Err(P2pError::HelloSize(data.len()));
        }
        Self::read(data).map_err(|error| P2pError::Message { message: "hello", error })
    }

    fn read(data: Bytes) -> Result<Self, RlpError> {
        let mut items = Items::of_padded_message(data)?;
        let p2p_version = items.next()?;
        let client = printable(&items.next_string()?);
        let capabilities = read_capabilities(items.next_list()?)?;
        let port = items.next::<u64>()?;
        let id = PeerId(items.next::<B512>()?);
        // a port is of use only where it fits; a wrong one is no reason to part
        let port = u16::try_from(port).unwrap_or_default();
        Ok(Self { p2p_version, client, capabilities, port, id })
    }
}

fn read_capabilities(mut items: Items) -> Result<Vec<Capability>, RlpError> {
    let mut capabilities = Vec::with_capacity(items.count("capabilities", MAX_CAPABILITIES)?);
    while !items.is_empty() {
        let mut pair = items.next_list()?;
        let name = printable(&pair.next_string()?);
        capabilities.push(Capability { name, version: pair.next()? });
    }
    Ok(capabilities)
}

/// Text of a peer's making, fit for a log line: printable ASCII, so that it can neither move the
/// cursor nor turn the line around.
fn printable(text: &[u8]) -> String {
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    text.iter().copied().filter(printable).map(char::from).take(MAX_CLIENT_CHARS).collect()
}

/// Encodes a disconnect's data.
pub(crate) fn encode_disconnect(reason: DisconnectReason) -> BytesMut {
    list_of(|out| (reason as u8).encode(out))
}

/// Decodes a disconnect's data: `[reason]`, or the bare number that some clients send. What cannot
/// be understood counts as a reason of a subprotocol's own, since the peer is leaving anyway.
pub(crate) fn decode_disconnect(data: Bytes) -> DisconnectReason {
    let code = match data.as_ref() {
        [] => Some(DisconnectReason::Requested as u8),
        [code] if *code < 0x80 => Some(*code),
        [0x80] => Some(0),
        _ => Items::of_padded_message(data)
            .ok()
            .and_then(|mut items| if items.is_empty() { Some(0) } else { items.next::<u8>().ok() }),
    };
    code.map_or(DisconnectReason::Subprotocol, DisconnectReason::from_code)
}

/// A ping or pong carries an empty list. Besu sends no data at all, which does no harm.
pub(crate) fn check_ping(data: &[u8]) -> Result<(), P2pError> {
    if data.is_empty() || data == EMPTY_LIST { Ok(()) } else { Err(P2pError::PingBody) }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello::new("moorline/v0.1.0", &[70, 69, 68], 30303, PeerId(B512::repeat_byte(7)))
    }

    #[test]
    fn a_hello_comes_back_with_its_capabilities_in_order() {
        let back = Hello::decode(hello().encode().freeze()).unwrap();
        assert_eq!(back.client, "moorline/v0.1.0");
        let versions: Vec<u64> = back.capabilities.iter().map(|cap| cap.version).collect();
        assert_eq!(versions, [68, 69, 70]);
        assert_eq!((back.port, back.id), (30303, hello().id));
    }

    #[test]
    fn the_highest_shared_version_wins() {
        assert_eq!(hello().shared_eth_version(&[68, 69]), Some(69));
        assert_eq!(hello().shared_eth_version(&[71]), None);
    }

    #[test]
    fn a_hello_may_carry_more_than_we_know() {
        let more = list_of(|out| {
            5_u64.encode(out);
            "geth\n\u{7}\u{202e}".encode(out);
            put_list_of(out, |_| ());
            0_u64.encode(out);
            B512::ZERO.encode(out);
            "a later field".encode(out);
        });
        let back = Hello::decode(more.freeze()).unwrap();
        assert_eq!(back.client, "geth");
    }

    #[test]
    fn an_oversize_hello_is_refused() {
        let big = Hello { client: "x".repeat(MAX_HELLO_BYTES), ..hello() };
        assert!(matches!(Hello::decode(big.encode().freeze()), Err(P2pError::HelloSize(_))));
    }

    #[test]
    fn a_ping_has_an_empty_list_or_as_besu_sends_it_nothing() {
        assert_eq!(check_ping(&[0xc0]), Ok(()));
        assert_eq!(check_ping(&[]), Ok(()));
        for body in [&[0x80][..], &[0xc0, 0xc0], &[0xc1, 0x01]] {
            assert_eq!(check_ping(body), Err(P2pError::PingBody), "{body:?}");
        }
    }

    #[test]
    fn disconnects_are_understood_in_each_form() {
        for (bytes, reason) in [
            (&[0xc1, 0x04][..], DisconnectReason::TooManyPeers),
            (&[0x04], DisconnectReason::TooManyPeers),
            (&[0x80], DisconnectReason::Requested),
            (&[0xc0], DisconnectReason::Requested),
            (&[], DisconnectReason::Requested),
            (&[0xc1, 0x10], DisconnectReason::Subprotocol),
            (&[0xff, 0xff], DisconnectReason::Subprotocol),
        ] {
            assert_eq!(decode_disconnect(Bytes::copy_from_slice(bytes)), reason, "{bytes:?}");
        }
        let ours = encode_disconnect(DisconnectReason::ClientQuitting).freeze();
        assert_eq!(decode_disconnect(ours), DisconnectReason::ClientQuitting);
    }
}
