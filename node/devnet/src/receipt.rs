//! What transactions did, as if anybody had executed them.
//!
//! Receipts lie in no file of blocks, so they follow from the block: every transaction succeeds, gas is
//! shared evenly, and logs are chosen from a fixed pool by the transaction's own bytes. Making a log
//! and its bloom costs far more than copying one, so the pool is made once.

use std::sync::LazyLock;

use alloy_consensus::{Header, constants::EMPTY_RECEIPTS};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, keccak256};
use alloy_rlp::{BufMut, Encodable};
use moorline_messages::{Block, Receipts};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::buffer::slices;

/// Transactions begin with their type, if that is not legacy; legacy ones with a list's header.
const FIRST_NON_TYPE: u8 = 0x80;
/// Type of transactions with blobs (EIP-4844).
const BLOB_TYPE: u8 = 3;
/// Longest transaction that calls no contract and logs nothing.
const TRANSFER_BYTES_MAX: usize = 180;

const LOGS: usize = 512;
const CONTRACTS: u8 = 64;
const EVENTS: u8 = 24;

/// A log and the bits it sets.
struct PooledLog {
    encoded: Vec<u8>,
    bloom: Bloom,
}

/// The same for every chain, so that a block alone says which of them it has.
static POOL: LazyLock<Vec<PooledLog>> = LazyLock::new(|| {
    let mut rng = StdRng::seed_from_u64(0x6c6f_6773);
    (0..LOGS).map(|_| pooled_log(&mut rng)).collect()
});

/// Most are transfers of tokens; the others hold one to eight words of data.
fn pooled_log(rng: &mut StdRng) -> PooledLog {
    let is_transfer = rng.random_bool(0.6);
    let account = |rng: &mut StdRng| Address::new(rng.random()).into_word();
    let event = if is_transfer { 0 } else { rng.random_range(1..EVENTS) };
    let more_topics = if is_transfer { 2 } else { rng.random_range(0..4) };
    let mut topics = vec![keccak256([event])];
    topics.extend((0..more_topics).map(|_| account(rng)));
    let words = if is_transfer { 1 } else { rng.random_range(1..9) };
    let amount = |rng: &mut StdRng| B256::left_padding_from(&rng.random::<[u8; 9]>());
    let data: Vec<u8> = (0..words).flat_map(|_| amount(rng)).collect();
    let contract = Address::from_word(keccak256([rng.random_range(0..CONTRACTS)]));
    let mut bloom = Bloom::ZERO;
    bloom.accrue_raw_log(contract, &topics);
    let encoded = alloy_rlp::encode(Log::new_unchecked(contract, topics, data.into()));
    PooledLog { encoded, bloom }
}

/// What one transaction did.
struct Outcome {
    kind: u8,
    cumulative_gas: u64,
    logs: Vec<&'static PooledLog>,
}

fn outcomes(gas_used: u64, transactions: &[Bytes]) -> Vec<Outcome> {
    let count = u128::try_from(transactions.len()).unwrap_or(u128::MAX);
    let outcome = |(index, transaction): (u128, &Bytes)| {
        let gas = u128::from(gas_used).saturating_mul(index).checked_div(count).unwrap_or_default();
        Outcome {
            kind: transaction.first().copied().filter(|kind| *kind < FIRST_NON_TYPE).unwrap_or(0),
            cumulative_gas: u64::try_from(gas).unwrap_or(gas_used),
            logs: logs(transaction),
        }
    };
    (1..).zip(transactions).map(outcome).collect()
}

/// One to three mostly, now and then up to 13; none of a transaction that calls nobody, or that is
/// there for its blobs.
fn logs(transaction: &[u8]) -> Vec<&'static PooledLog> {
    if transaction.len() <= TRANSFER_BYTES_MAX || transaction.first() == Some(&BLOB_TYPE) {
        return Vec::new();
    }
    let mut draws = Draws::of(transaction);
    let count = match draws.below(100) {
        0..60 => 1,
        60..82 => 2,
        82..96 => 3,
        _ => draws.below(10).saturating_add(4),
    };
    let pool = &*POOL;
    let log = |_| pool.get(usize::try_from(draws.below(LOGS as u64)).unwrap_or_default());
    (0..count).filter_map(log).collect()
}

/// Numbers that follow from a transaction: FNV-1a of its bytes, and splitmix64 from there on.
struct Draws(u64);

impl Draws {
    fn of(transaction: &[u8]) -> Self {
        // the nonce is near one end, the signature at the other
        let ends = transaction.iter().take(32).chain(transaction.iter().rev().take(32));
        Self(ends.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or_default()
    }
}

impl Outcome {
    fn bloom(&self) -> Bloom {
        self.logs.iter().fold(Bloom::ZERO, |bloom, log| bloom | log.bloom)
    }

    /// The list `[type, status, cumulative gas, logs]` of eth/69 (EIP-7642).
    fn put_flat(&self, out: &mut Vec<u8>) {
        self.put_list(out, [&self.kind, &true, &self.cumulative_gas]);
    }

    /// What the header's root is over: `type || [status, cumulative gas, bloom, logs]`, the type left
    /// out when legacy (EIP-2718).
    fn put_consensus(&self, out: &mut dyn BufMut) {
        if self.kind != 0 {
            out.put_u8(self.kind);
        }
        self.put_list(out, [&true, &self.cumulative_gas, &self.bloom()]);
    }

    fn put_list(&self, out: &mut dyn BufMut, fields: [&dyn Encodable; 3]) {
        let list = |payload_length| alloy_rlp::Header { list: true, payload_length };
        let logs = list(self.logs.iter().map(|log| log.encoded.len()).sum());
        let all = fields.iter().fold(logs.length_with_payload(), |length, field| {
            length.saturating_add(field.length())
        });
        list(all).encode(out);
        fields.iter().for_each(|field| field.encode(out));
        logs.encode(out);
        self.logs.iter().for_each(|log| out.put_slice(&log.encoded));
    }
}

/// Lets a header say what its transactions did: everything else in it must be set.
pub(crate) fn commit(header: &mut Header, transactions: &[Bytes]) {
    let outcomes = outcomes(header.gas_used, transactions);
    header.receipts_root =
        alloy_trie::root::ordered_trie_root_with_encoder(&outcomes, |outcome, out| {
            outcome.put_consensus(out)
        });
    header.logs_bloom = outcomes.iter().fold(Bloom::ZERO, |bloom, one| bloom | one.bloom());
    header.state_root = mark(header);
}

/// The receipts of a block that a [`Generator`](crate::Generator) made, or that has none; nothing for
/// any other block, whose receipts do not follow from it.
pub fn receipts_of(block: &Block) -> Option<Receipts> {
    let header = &block.header;
    if header.receipts_root == EMPTY_RECEIPTS {
        return Some(Receipts::default());
    }
    if header.state_root != mark(header) {
        return None;
    }
    let outcomes = outcomes(header.gas_used, &block.body.transactions);
    Some(Receipts { items: slices(&outcomes, |outcome, out| outcome.put_flat(out)) })
}

/// The state root of a block made here, by which a peer knows it without making the root of its
/// receipts anew.
fn mark(header: &Header) -> B256 {
    let seen = [header.parent_hash, header.transactions_root, header.receipts_root];
    keccak256(seen.concat())
}
