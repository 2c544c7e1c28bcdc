//! Blocks, in the shape in which they travel.

use std::{fmt, sync::Arc};

use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, BlockNumber, Bytes, Sealed};
use serde::{Deserialize, Serialize};

use crate::Weigh;

/// A header together with its hash. Whoever seals one has computed the hash.
pub type SealedHeader = Sealed<Header>;

/// A block's height and hash: enough to name it, to order it and to find it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BlockNumHash {
    /// Height; the genesis block is 0.
    pub number: BlockNumber,
    /// keccak256 of the header's RLP.
    pub hash: B256,
}

impl BlockNumHash {
    /// Names a block.
    pub const fn new(number: BlockNumber, hash: B256) -> Self {
        Self { number, hash }
    }

    /// Names the block of this header.
    pub fn of(header: &SealedHeader) -> Self {
        Self { number: header.number, hash: header.hash() }
    }
}

impl fmt::Display for BlockNumHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// A block named by its hash, or by its height on whatever chain the answerer considers canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HashOrNumber {
    /// By hash: the answer can be checked.
    Hash(B256),
    /// By height: the answer proves nothing until it hash-links to something trusted.
    Number(BlockNumber),
}

/// What a block holds beside its header, as the bytes it arrived in.
///
/// Roots are proved over these bytes; transactions are decoded only when somebody reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Each transaction in its EIP-2718 form: `type || payload`, or an RLP list when legacy.
    pub transactions: Vec<Bytes>,
    /// The RLP list of ommer headers; `0xc0` ever since the merge (EIP-3675).
    pub ommers: Bytes,
    /// Present from Shanghai on (EIP-4895).
    pub withdrawals: Option<Vec<Withdrawal>>,
}

impl Body {
    /// RLP of an empty list of ommers.
    pub const NO_OMMERS: Bytes = Bytes::from_static(&[0xc0]);
}

impl Weigh for Body {
    fn weight_bytes(&self) -> usize {
        let transactions: usize =
            self.transactions.iter().map(|tx| tx.len().saturating_add(32)).sum();
        let withdrawals = self.withdrawals.as_ref().map_or(0, |list| list.len().saturating_mul(48));
        transactions.saturating_add(withdrawals).saturating_add(self.ommers.len())
    }
}

/// The receipts of one block, as the bytes they travel and lie in.
///
/// Each is the list `[type, status or root, cumulative gas, logs]` of eth/69 (EIP-7642), without the bloom,
/// which follows from the logs. Their root is that of the consensus encoding, which has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// One for each transaction, in order.
    pub items: Vec<Bytes>,
}

impl Weigh for Receipts {
    fn weight_bytes(&self) -> usize {
        self.items.iter().map(|receipt| receipt.len().saturating_add(32)).sum()
    }
}

/// A header and the body that matches its roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The header and its hash.
    pub header: Arc<SealedHeader>,
    /// The body.
    pub body: Arc<Body>,
}

impl Block {
    /// Height and hash.
    pub fn num_hash(&self) -> BlockNumHash {
        BlockNumHash::of(&self.header)
    }
}

impl Weigh for Block {
    fn weight_bytes(&self) -> usize {
        self.header.weight_bytes().saturating_add(self.body.weight_bytes())
    }
}

impl Weigh for SealedHeader {
    fn weight_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.extra_data.len())
    }
}

/// What the consensus client last said (Engine API, `ForkchoiceStateV1`). A zero hash means that it
/// did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forkchoice {
    /// The head of the chain to follow.
    pub head: B256,
    /// The newest block that a justified checkpoint protects.
    pub safe: B256,
    /// The newest block that a finalized checkpoint protects.
    pub finalized: B256,
}
