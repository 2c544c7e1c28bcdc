//! How a peer behaves.

use std::fmt;

/// What sets a peer apart from an honest one. Up to the first request all of them shake hands, say
/// hello and send a Status, but for those whose fault lies earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// Serves what it has.
    #[default]
    Honest,
    /// Has headers alone: answers every request for bodies, or receipts, with none.
    LacksBodies,
    /// Has headers and bodies: answers every request for receipts with none.
    LacksReceipts,
    /// Answers with the first item of those asked for.
    ShortAnswers,
    /// Answers with whole bodies of other blocks.
    SwapsBodies,
    /// Answers with receipts of other blocks.
    SwapsReceipts,
    /// Forges a header in the middle of every answer of two or more, so that the next does not link.
    BreaksLink,
    /// Fills an answer with its first header, over and over.
    RepeatsHeaders,
    /// Answers with a few bytes that claim to expand to 4 GiB.
    SnappyBomb,
    /// Answers with the largest frame there can be, 16 MiB less one byte, which no message may fill.
    OversizeFrame,
    /// Answers the RLPx handshake with bytes that are none.
    GarbageBeforeHandshake,
    /// Says goodbye after so many requests on a connection.
    DisconnectsAfter(u64),
    /// Never answers a request; pings it answers.
    Silent,
    /// Answers a byte at a time, ten of them a second.
    Dribbles,
    /// Says in its Status that it is on another network, with another genesis block.
    OtherNetwork,
}

impl Behaviour {
    /// All of them; one that disconnects does so after two requests.
    pub const ALL: [Self; 15] = [
        Self::Honest,
        Self::LacksBodies,
        Self::LacksReceipts,
        Self::ShortAnswers,
        Self::SwapsBodies,
        Self::SwapsReceipts,
        Self::BreaksLink,
        Self::RepeatsHeaders,
        Self::SnappyBomb,
        Self::OversizeFrame,
        Self::GarbageBeforeHandshake,
        Self::DisconnectsAfter(2),
        Self::Silent,
        Self::Dribbles,
        Self::OtherNetwork,
    ];
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Honest => "serves honestly",
            Self::LacksBodies => "has no bodies",
            Self::LacksReceipts => "has no receipts",
            Self::ShortAnswers => "sends one item at a time",
            Self::SwapsBodies => "sends bodies of other blocks",
            Self::SwapsReceipts => "sends receipts of other blocks",
            Self::BreaksLink => "forges headers",
            Self::RepeatsHeaders => "repeats one header",
            Self::SnappyBomb => "sends a compression bomb",
            Self::OversizeFrame => "sends 16 MiB frames",
            Self::GarbageBeforeHandshake => "answers the handshake with garbage",
            Self::DisconnectsAfter(requests) => {
                return write!(f, "disconnects after {requests} requests");
            }
            Self::Silent => "never answers",
            Self::Dribbles => "sends ten bytes a second",
            Self::OtherNetwork => "is on another network",
        };
        f.write_str(text)
    }
}
