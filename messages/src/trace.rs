//! What a trace says of a message: names and sizes, never what is in it.

use std::{borrow::Cow, sync::Arc};

use alloy_primitives::{B256, BlockNumber};

use crate::{ActorName, BlockNumHash, PeerId, RequestId, SealedHeader, SessionId, Weigh};

/// Who sends and who receives: an actor, or a part of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// One of the four.
    Actor(ActorName),
    /// The consensus client, behind the Engine API.
    EngineApi,
    /// The peers, behind devp2p.
    Rlpx,
    /// Whoever reads, by JSON-RPC.
    Rpc,
    /// Whoever runs the node.
    Node,
}

impl Lane {
    /// All of them: the actors in the order in which data flows, then the outside.
    pub const ALL: [Self; 8] = [
        Self::Actor(ActorName::Tree),
        Self::Actor(ActorName::Downloader),
        Self::Actor(ActorName::PeerManager),
        Self::Actor(ActorName::Store),
        Self::EngineApi,
        Self::Rlpx,
        Self::Rpc,
        Self::Node,
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Actor(ActorName::Tree) => 0,
            Self::Actor(ActorName::Downloader) => 1,
            Self::Actor(ActorName::PeerManager) => 2,
            Self::Actor(ActorName::Store) => 3,
            Self::EngineApi => 4,
            Self::Rlpx => 5,
            Self::Rpc => 6,
            Self::Node => 7,
        }
    }

    /// The name in traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actor(actor) => actor.as_str(),
            Self::EngineApi => "engine-api",
            Self::Rlpx => "rlpx",
            Self::Rpc => "rpc",
            Self::Node => "node",
        }
    }
}

impl From<ActorName> for Lane {
    fn from(actor: ActorName) -> Self {
        Self::Actor(actor)
    }
}

/// The blocks that a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TraceBlocks {
    /// None, or too many to name.
    #[default]
    None,
    /// Whatever its cause is about: an answer that does not repeat the question.
    OfCause,
    /// One, by height.
    Number(BlockNumber),
    /// One, by hash.
    Hash(B256),
    /// One.
    One(BlockNumHash),
    /// From a block down to a height, each the parent of the one before. A zero hash is not known.
    Run {
        /// The highest.
        top: BlockNumHash,
        /// Height of the lowest.
        low: BlockNumber,
    },
    /// From a block down, so many, whose heights are not known to whoever speaks of them.
    Below {
        /// The highest.
        top: B256,
        /// How many.
        len: u64,
    },
    /// A run, hash by hash from the highest down.
    Chain {
        /// Height of the highest.
        top: BlockNumber,
        /// Their hashes.
        hashes: Arc<[B256]>,
    },
    /// Several runs: the highest block of each, and how many it has.
    Runs(Arc<[(BlockNumHash, u64)]>),
}

/// Most hashes of a chain that a message names one by one in a trace.
const CHAIN_MAX: usize = 1_024;

/// Most runs that a message names one by one. Beyond, it names all between the lowest and the highest.
const RUNS_MAX: usize = 256;

impl TraceBlocks {
    /// Headers from the highest down, hash by hash as far as each names the next as its parent. Where
    /// hashes first come in, so that a trace can be searched for any of them.
    pub fn chain_of(headers: &[Arc<SealedHeader>]) -> Self {
        let Some(top) = headers.first() else { return Self::None };
        if headers.len() == 1 {
            return Self::One(BlockNumHash::of(top));
        }
        let mut hashes = Vec::with_capacity(headers.len().min(CHAIN_MAX));
        let mut expected = top.hash();
        for header in headers.iter().take(CHAIN_MAX) {
            if header.hash() != expected {
                break;
            }
            hashes.push(expected);
            expected = header.parent_hash;
        }
        Self::Chain { top: top.number, hashes: hashes.into() }
    }

    /// Headers in either order, as a run.
    pub fn run_of(headers: &[Arc<SealedHeader>]) -> Self {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Self::None;
        };
        Self::between(BlockNumHash::of(first), BlockNumHash::of(last), headers.len())
    }

    /// Blocks in any order: as a run when their heights are consecutive, else as several.
    pub fn of(mut blocks: Vec<BlockNumHash>) -> Self {
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        blocks.dedup();
        let (Some(top), Some(low)) = (blocks.first(), blocks.last()) else { return Self::None };
        let follows = |higher: &BlockNumHash, lower: &BlockNumHash| {
            lower.number.checked_add(1) == Some(higher.number)
        };
        let runs: Vec<_> = blocks
            .chunk_by(follows)
            .filter_map(|run| Some((*run.first()?, run.len() as u64)))
            .take(RUNS_MAX.saturating_add(1))
            .collect();
        if runs.len() == 1 || runs.len() > RUNS_MAX {
            return Self::between(*top, *low, blocks.len());
        }
        Self::Runs(runs.into())
    }

    fn between(first: BlockNumHash, last: BlockNumHash, len: usize) -> Self {
        let (top, low) = if first.number >= last.number { (first, last) } else { (last, first) };
        if len == 1 { Self::One(top) } else { Self::Run { top, low: low.number } }
    }
}

/// What a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceKey {
    /// Blocks.
    pub blocks: TraceBlocks,
    /// A peer, by the first 8 bytes of its id.
    pub peer: Option<u64>,
    /// A session.
    pub session: Option<SessionId>,
    /// A request, unique within the actor that made it.
    pub request: Option<RequestId>,
}

impl TraceKey {
    /// About blocks.
    pub fn blocks(blocks: TraceBlocks) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// And a request.
    #[must_use]
    pub fn request(mut self, request: RequestId) -> Self {
        self.request = Some(request);
        self
    }

    /// And a peer.
    #[must_use]
    pub fn peer(mut self, peer: PeerId) -> Self {
        self.peer = peer.0.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        self
    }

    /// And a session.
    #[must_use]
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// 64 bits over everything that is named here.
    pub fn digest(&self, seed: u64) -> u64 {
        let mut digest = Digest(seed);
        match &self.blocks {
            TraceBlocks::None => {}
            TraceBlocks::OfCause => digest.add(1),
            TraceBlocks::Number(number) => digest.add(*number),
            TraceBlocks::Hash(hash) => digest.add_hash(hash),
            TraceBlocks::One(block) => digest.add_block(block),
            TraceBlocks::Run { top, low } => {
                digest.add_block(top);
                digest.add(*low);
            }
            TraceBlocks::Below { top, len } => {
                digest.add_hash(top);
                digest.add(*len);
            }
            TraceBlocks::Chain { top, hashes } => {
                digest.add(*top);
                hashes.iter().for_each(|hash| digest.add_hash(hash));
            }
            TraceBlocks::Runs(runs) => runs.iter().for_each(|(top, len)| {
                digest.add_block(top);
                digest.add(*len);
            }),
        }
        digest.add(self.peer.unwrap_or(0));
        digest.add(self.request.map_or(0, |request| request.0));
        digest.0
    }
}

/// Each word is mixed in by a multiplication with an odd number, as FNV does with bytes.
struct Digest(u64);

impl Digest {
    const fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn add_hash(&mut self, hash: &B256) {
        self.add(hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)));
    }

    fn add_block(&mut self, block: &BlockNumHash) {
        self.add(block.number);
        self.add_hash(&block.hash);
    }
}

/// A message that a trace can tell of.
pub trait Traced: Weigh {
    /// Its name: type and variants.
    fn label(&self) -> &'static str;

    /// What it is about.
    fn key(&self) -> TraceKey {
        TraceKey::default()
    }

    /// A few words that help whoever looks: an error, a conduct, a client's name.
    fn note(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// Whether it tells of a failure.
    fn is_trouble(&self) -> bool {
        false
    }
}

/// Where a port is in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePort {
    /// Number, unique in the run.
    pub number: u16,
    /// The name given at creation.
    pub name: &'static str,
    /// Where it leads.
    pub to: Lane,
    /// Most messages.
    pub items: usize,
    /// Most bytes.
    pub bytes: usize,
}

/// A message, wherever it is. Ids count from 1 in a run; 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    /// Of the message, timer, start or restart.
    pub id: u64,
    /// Of the trigger that it all began with; its own when it is one.
    pub root: u64,
}

impl TraceId {
    /// Outside of any handling.
    pub const NONE: Self = Self { id: 0, root: 0 };
}

/// Why a port gave a message back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBecause {
    /// No room.
    Full,
    /// Nobody is behind it.
    Closed,
}

/// One thing that happened, as the seam tells it to whoever records. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRecord {
    /// Since the run began.
    pub at_ns: u64,
    /// What.
    pub event: TraceEvent,
}

/// What happened. `docs/src/trace.md` has the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A port was made.
    Port(TracePort),
    /// A message was told to a port.
    Send {
        /// By whom.
        from: Lane,
        /// To whom.
        to: Lane,
        /// Its name.
        label: &'static str,
        /// Its id and root.
        message: TraceId,
        /// What was being handled; 0 for nothing.
        cause: u64,
        /// The port's number.
        port: u16,
        /// Messages in the port, with this one.
        depth: u32,
        /// What it weighs.
        bytes: u64,
        /// What it is about.
        key: TraceKey,
        /// A few words.
        note: Option<Cow<'static, str>>,
        /// Whether it tells of a failure.
        trouble: bool,
    },
    /// The handling of a message or a timer is over.
    Done {
        /// By whom.
        to: Lane,
        /// Its name.
        label: &'static str,
        /// Its id.
        id: u64,
        /// The port's number; `None` for a timer.
        port: Option<u16>,
        /// Messages left in the port.
        depth: u32,
        /// Time in the port.
        wait_ns: u64,
        /// Time of the actor's thread.
        busy_ns: u64,
        /// The rest, until its very end.
        async_ns: u64,
        /// Whether its handling panicked.
        panicked: bool,
    },
    /// A message left its port and was never handled.
    Drop {
        /// Whose it was.
        to: Lane,
        /// Its name.
        label: &'static str,
        /// Its id.
        id: u64,
        /// The port's number.
        port: u16,
        /// Messages left in the port.
        depth: u32,
        /// Time since it was told.
        wait_ns: u64,
    },
    /// A port gave a message back.
    Refuse {
        /// To whom.
        from: Lane,
        /// Whose port.
        to: Lane,
        /// Its name.
        label: &'static str,
        /// What was being handled; 0 for nothing.
        cause: u64,
        /// The port's number.
        port: u16,
        /// Messages in the port.
        depth: u32,
        /// Why.
        because: RefusedBecause,
    },
    /// An actor's clock rang.
    Timer {
        /// Whose.
        to: Lane,
        /// What for.
        reason: &'static str,
        /// Its id and root.
        timer: TraceId,
        /// What was being handled when it was set; 0 for nothing.
        cause: u64,
    },
    /// Records found no room, and are missing.
    Gap {
        /// How many.
        records: u64,
        /// When the first was made; the last is as old as this record.
        since_ns: u64,
    },
    /// A handling lasts.
    Slow {
        /// Whose.
        to: Lane,
        /// Of which message.
        id: u64,
        /// So far.
        busy_ns: u64,
    },
    /// An actor stands.
    Start {
        /// Which.
        actor: ActorName,
        /// Its id, the cause of whatever it says at first.
        id: u64,
    },
    /// An actor has ended by itself.
    Stop {
        /// Which.
        actor: ActorName,
        /// How often it was rebuilt before.
        incarnation: u32,
    },
    /// An actor panicked.
    Panic {
        /// Which.
        actor: ActorName,
        /// Which incarnation.
        incarnation: u32,
        /// What it was handling; 0 for nothing.
        id: u64,
        /// What it said, and where.
        note: Box<str>,
    },
    /// An actor stands again.
    Restart {
        /// Which.
        actor: ActorName,
        /// Which incarnation.
        incarnation: u32,
        /// Its id, the cause of whatever it says at first.
        id: u64,
        /// The wait before it.
        backoff_ns: u64,
    },
}
