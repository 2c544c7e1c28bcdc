//! An endless chain that obeys every rule that can be checked without executing it.

use std::{fmt, str::FromStr, sync::Arc};

use alloy_consensus::{Header, constants::EMPTY_OMMER_ROOT_HASH};
use alloy_eips::{
    eip1559::{BaseFeeParams, calc_next_block_base_fee},
    eip4844::DATA_GAS_PER_BLOB,
    eip4895::Withdrawal,
    eip7685::EMPTY_REQUESTS_HASH,
    eip7840::BlobParams,
};
use alloy_primitives::{Address, B64, B256, Bytes, Sealable, U256};
use alloy_rlp::Encodable;
use alloy_trie::root::{ordered_trie_root_encoded, ordered_trie_root_with_encoder};
use moorline_messages::{Block, Body, SealedHeader};
use rand::{Rng, SeedableRng, rngs::StdRng};
use thiserror::Error;

use crate::{
    buffer::slices,
    genesis::{BLOCK_TIME_S, Fork, genesis_header},
    receipt,
    template::{MAX_BLOBS_PER_TX, Pool, Size, Template},
};

/// What the blocks look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// About 200 transactions of every type, 16 withdrawals, up to the schedule's blobs, 90 kB, and
    /// 50 kB of receipts.
    #[default]
    Mainnet,
    /// No more than 5 short transactions and 2 withdrawals, about 1 kB.
    Small,
    /// Headers and nothing else.
    Empty,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mainnet, Self::Small, Self::Empty];

    /// The name used on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Small => "small",
            Self::Empty => "empty",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no profile.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no profile {0:?}; choose mainnet, small or empty")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|profile| profile.as_str() == text);
        named.ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

/// An endless stream of blocks, the same for the same profile, seed and parent. It remembers nothing
/// but the last header.
///
/// Parents, heights, times, limits, fees, blob gas and the roots of transactions, withdrawals and
/// receipts are right; state roots and signatures mean nothing. A block's receipts are given by
/// [`receipts_of`](crate::receipts_of). No block carries requests (EIP-7685).
pub struct Generator {
    profile: Profile,
    pool: Arc<Pool>,
    rng: StdRng,
    parent: SealedHeader,
    used: u32,
}

// An established chain's bounds of the gas limit; the walk turns back there.
const GAS_LIMITS: std::ops::Range<u64> = 36_000_000..60_000_000;
const GAS_LIMIT_DIVISOR: u64 = 1024;
const CALM_BASE_FEE_WEI: u64 = 1_000_000_000;
const MAINNET_WITHDRAWALS: u64 = 16;
const BUILDERS: [&[u8]; 4] = [b"moorline", b"anchor builder", b"slack tide", b""];

impl Generator {
    /// The blocks after the devnet's genesis block.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let size = match profile {
            Profile::Mainnet => Size::Mainnet,
            Profile::Small | Profile::Empty => Size::Small,
        };
        let pool = Arc::new(Pool::new(size, &mut rng));
        Self { profile, pool, rng, parent: genesis_header(), used: 0 }
    }

    /// The blocks of another branch on top of `parent`, which must be a block of this chain.
    pub fn fork_at(&self, parent: &SealedHeader, seed: u64) -> Self {
        Self {
            profile: self.profile,
            pool: Arc::clone(&self.pool),
            rng: StdRng::seed_from_u64(seed),
            parent: parent.clone(),
            used: 0,
        }
    }

    /// The block that the next one builds on.
    pub const fn parent(&self) -> &SealedHeader {
        &self.parent
    }

    fn next_block(&mut self) -> Block {
        let timestamp = self.parent.timestamp.saturating_add(BLOCK_TIME_S);
        let fork = Fork::at(timestamp);
        let pool = Arc::clone(&self.pool);
        let chosen = self.choose(&pool, fork);
        let transactions = self.write(&chosen);
        let withdrawals = self.withdrawals();
        let mut header = self.header(fork, timestamp);
        header.gas_used =
            chosen.iter().fold(0_u64, |gas, tx| gas.saturating_add(tx.gas)).min(header.gas_limit);
        header.blob_gas_used = header.blob_gas_used.map(|_| {
            let blobs = chosen.iter().fold(0_u64, |blobs, tx| blobs.saturating_add(tx.blobs));
            blobs.saturating_mul(DATA_GAS_PER_BLOB)
        });
        header.transactions_root = ordered_trie_root_encoded(&transactions);
        header.withdrawals_root =
            Some(ordered_trie_root_with_encoder(&withdrawals, |one, out| one.encode(out)));
        receipt::commit(&mut header, &transactions);
        let header = header.seal_slow();
        self.parent = header.clone();
        let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: Some(withdrawals) };
        Block { header: Arc::new(header), body: Arc::new(body) }
    }

    /// A header whose fields follow from its parent; those that follow from the body are not set.
    fn header(&mut self, fork: Fork, timestamp: u64) -> Header {
        let parent = self.parent.clone();
        let base_fee = calc_next_block_base_fee(
            parent.gas_used,
            parent.gas_limit,
            parent.base_fee_per_gas.unwrap_or_default(),
            BaseFeeParams::ethereum(),
        );
        let builder = BUILDERS.get(self.rng.random_range(0..BUILDERS.len())).copied();
        Header {
            parent_hash: parent.hash(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: Address::with_last_byte(self.rng.random_range(1..32)),
            difficulty: U256::ZERO,
            number: parent.number.saturating_add(1),
            gas_limit: self.gas_limit(parent.gas_limit),
            timestamp,
            extra_data: Bytes::from_static(builder.unwrap_or_default()),
            mix_hash: self.hash(),
            nonce: B64::ZERO,
            base_fee_per_gas: Some(base_fee),
            blob_gas_used: fork.blobs().map(|_| 0),
            excess_blob_gas: fork.blobs().map(|params| excess_blob_gas(&parent, params)),
            parent_beacon_block_root: (fork >= Fork::Cancun).then(|| self.hash()),
            requests_hash: (fork >= Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }

    /// Which transactions the next block carries.
    fn choose<'a>(&mut self, pool: &'a Pool, fork: Fork) -> Vec<&'a Template> {
        let count = match self.profile {
            Profile::Mainnet => {
                // demand that falls when gas is dear and rises when it is cheap keeps the fee near 1 gwei
                let dear = self.parent.base_fee_per_gas.unwrap_or_default() > CALM_BASE_FEE_WEI;
                self.rng.random_range(if dear { 80..240 } else { 180..320 })
            }
            Profile::Small => self.rng.random_range(0..6),
            Profile::Empty => 0,
        };
        // a window of the pool, so that no transaction occurs twice in a block
        let start = self.rng.random_range(0..pool.plain.len());
        let plain = pool.plain.iter().cycle().skip(start).take(count);
        let mut chosen: Vec<_> = plain.collect();
        if chosen.is_empty() {
            return chosen;
        }
        if fork >= Fork::Prague {
            self.replace_one(&mut chosen, &pool.set_code);
        }
        let mut blobs = self.blob_budget(fork);
        // one slot at least is left for a plain transaction
        for _ in 1..chosen.len() {
            if blobs == 0 {
                break;
            }
            let carried = self.rng.random_range(1..=blobs.min(MAX_BLOBS_PER_TX));
            let index = usize::try_from(carried.saturating_sub(1)).unwrap_or_default();
            if let Some(templates) = pool.blob.get(index)
                && self.replace_one(&mut chosen, templates)
            {
                blobs = blobs.saturating_sub(carried);
            }
        }
        chosen
    }

    /// Puts one of `templates` in the place of a plain transaction; false where chance hit another.
    fn replace_one<'a>(&mut self, chosen: &mut [&'a Template], templates: &'a [Template]) -> bool {
        let index = self.rng.random_range(0..chosen.len());
        let template = templates.get(self.rng.random_range(0..templates.len()));
        match (chosen.get_mut(index), template) {
            (Some(slot), Some(template)) if slot.blobs == 0 => {
                *slot = template;
                true
            }
            _ => false,
        }
    }

    /// How many blobs the block may carry; empty and full blocks both occur.
    fn blob_budget(&mut self, fork: Fork) -> u64 {
        let Some(params) = fork.blobs() else { return 0 };
        let max = params.max_blob_count;
        // the greater of two draws comes to two thirds on average, which is Prague's target
        let draws = (self.rng.random_range(0..=max), self.rng.random_range(0..=max));
        draws.0.max(draws.1)
    }

    /// Encodes the chosen transactions.
    fn write(&mut self, chosen: &[&Template]) -> Vec<Bytes> {
        slices(chosen, |template, buffer| {
            template.write(self.used, buffer);
            self.used = self.used.wrapping_add(1);
        })
    }

    fn withdrawals(&mut self) -> Vec<Withdrawal> {
        let count = match self.profile {
            Profile::Mainnet => MAINNET_WITHDRAWALS,
            Profile::Small => self.rng.random_range(0..3),
            Profile::Empty => 0,
        };
        let first = self.parent.number.saturating_mul(MAINNET_WITHDRAWALS);
        let withdrawal = |offset: u64| {
            let index = first.saturating_add(offset);
            Withdrawal {
                index,
                validator_index: index.checked_rem(1_000_000).unwrap_or_default(),
                address: Address::new(self.rng.random()),
                amount: self.rng.random_range(1_000_000..40_000_000),
            }
        };
        (0..count).map(withdrawal).collect()
    }

    fn gas_limit(&mut self, parent: u64) -> u64 {
        // strictly less than a 1024th of the parent's (EIP-1985)
        let step = parent.checked_div(GAS_LIMIT_DIVISOR).unwrap_or_default().saturating_sub(1);
        let step = self.rng.random_range(0..=step);
        if parent < GAS_LIMITS.start || (parent < GAS_LIMITS.end && self.rng.random()) {
            parent.saturating_add(step)
        } else {
            parent.saturating_sub(step)
        }
    }

    fn hash(&mut self) -> B256 {
        B256::new(self.rng.random())
    }
}

/// Blob gas carried over from the parent, by the schedule of the block itself (EIP-7918).
fn excess_blob_gas(parent: &Header, params: BlobParams) -> u64 {
    params.next_block_excess_blob_gas_osaka(
        parent.excess_blob_gas.unwrap_or_default(),
        parent.blob_gas_used.unwrap_or_default(),
        parent.base_fee_per_gas.unwrap_or_default(),
    )
}

impl Iterator for Generator {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        Some(self.next_block())
    }
}
