//! `Status` in its two forms, and the ranges that nodes announce (EIP-7642).

use alloy_eip2124::{ForkHash, ForkId};
use alloy_primitives::{B256, U256};
use alloy_rlp::Encodable;
use bytes::BytesMut;
use moorline_messages::AnnouncedRange;

use crate::rlp::{Items, RlpError, list_of};

/// Which network and chain a node is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version of eth in use.
    pub version: u8,
    /// The network's id, on public networks the chain id.
    pub network_id: u64,
    /// The genesis block.
    pub genesis: B256,
    /// The forks passed, and the next one (EIP-2124).
    pub fork_id: ForkId,
    /// How far the node's chain goes.
    pub chain: StatusChain,
}

/// How far a node's chain goes, as its version of eth says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChain {
    /// eth/68: the head and its total difficulty, which the merge froze.
    Head {
        /// Total difficulty.
        total_difficulty: U256,
        /// Hash of the head block.
        head: B256,
    },
    /// eth/69 and later: the blocks it serves.
    Range(AnnouncedRange),
}

impl Status {
    pub(super) fn encode(&self) -> BytesMut {
        list_of(|out| {
            self.version.encode(out);
            self.network_id.encode(out);
            match &self.chain {
                StatusChain::Head { total_difficulty, head } => {
                    total_difficulty.encode(out);
                    head.encode(out);
                    self.genesis.encode(out);
                    self.fork_id.encode(out);
                }
                StatusChain::Range(range) => {
                    self.genesis.encode(out);
                    self.fork_id.encode(out);
                    encode_range(range, out);
                }
            }
        })
    }

    pub(super) fn read(version: u8, mut items: Items) -> Result<Self, RlpError> {
        if items.next::<u8>()? != version {
            return Err(RlpError::Senseless("a Status of another version than was agreed on"));
        }
        let network_id = items.next()?;
        let status = if version >= 69 {
            let genesis = items.next()?;
            let fork_id = read_fork_id(&mut items)?;
            let chain = StatusChain::Range(read_range(&mut items)?);
            Self { version, network_id, genesis, fork_id, chain }
        } else {
            let chain = StatusChain::Head { total_difficulty: items.next()?, head: items.next()? };
            let genesis = items.next()?;
            let fork_id = read_fork_id(&mut items)?;
            Self { version, network_id, genesis, fork_id, chain }
        };
        items.end("the Status")?;
        Ok(status)
    }

    /// The range it announces, where its version has one.
    pub const fn range(&self) -> Option<AnnouncedRange> {
        match self.chain {
            StatusChain::Range(range) => Some(range),
            StatusChain::Head { .. } => None,
        }
    }
}

/// ethereumjs drops leading zeros of the hash, so shorter ones are filled up again.
fn read_fork_id(items: &mut Items) -> Result<ForkId, RlpError> {
    let mut fields = items.next_list()?;
    let hash = fields.next_string()?;
    if hash.len() > 4 {
        return Err(RlpError::Senseless("a fork hash of more than four bytes"));
    }
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().rev().zip(hash.iter().rev()) {
        *to = *from;
    }
    Ok(ForkId { hash: ForkHash(bytes), next: fields.next()? })
}

pub(super) fn encode_range(range: &AnnouncedRange, out: &mut BytesMut) {
    range.earliest.encode(out);
    range.latest.encode(out);
    range.latest_hash.encode(out);
}

/// Reads a range that makes sense: not upside down, and with a hash.
pub(super) fn read_range(items: &mut Items) -> Result<AnnouncedRange, RlpError> {
    let range = AnnouncedRange {
        earliest: items.next()?,
        latest: items.next()?,
        latest_hash: items.next()?,
    };
    if range.earliest > range.latest {
        return Err(RlpError::Senseless("a range whose earliest block is above its latest"));
    }
    if range.latest_hash.is_zero() {
        return Err(RlpError::Senseless("a range without the hash of its latest block"));
    }
    Ok(range)
}
