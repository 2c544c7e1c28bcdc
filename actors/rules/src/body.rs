//! Whether a body belongs to a header, and whether it keeps the rules.

use alloy_consensus::{Header, constants::EMPTY_OMMER_ROOT_HASH};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip4895::Withdrawal};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::root::{ordered_trie_root, ordered_trie_root_encoded};
use moorline_messages::{Blame, Body, Breach};
use thiserror::Error;

use crate::{
    block::block_rlp_len,
    spec::ChainSpec,
    transaction::{KnownTypes, check_transaction},
};

/// Most bytes of an RLP-encoded block from Osaka on (EIP-7934).
pub const MAX_BLOCK_BYTES: usize = 8_388_608;

/// What a header says about its body: equal keys mean equal bodies.
///
/// Peers skip and reorder, so that an answer is matched by key and never by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyKey {
    /// Root of the trie of transactions.
    pub transactions_root: B256,
    /// keccak256 of the RLP list of ommers.
    pub ommers_hash: B256,
    /// Root of the trie of withdrawals, from Shanghai on (EIP-4895).
    pub withdrawals_root: Option<B256>,
}

/// How a body differs from what its header says.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BodyMismatch {
    /// The ommers are not the header's.
    #[error("ommers hash is {found}, the header says {expected}")]
    Ommers {
        /// Hash of the ommers that came.
        found: B256,
        /// Hash in the header.
        expected: B256,
    },
    /// The withdrawals are not the header's, or are there when they should not be.
    #[error("withdrawals root is {found:?}, the header says {expected:?}")]
    Withdrawals {
        /// Root of the withdrawals that came, if any came.
        found: Option<B256>,
        /// Root in the header, if it has one.
        expected: Option<B256>,
    },
    /// The transactions are not the header's.
    #[error("transactions root is {found}, the header says {expected}")]
    Transactions {
        /// Root of the transactions that came.
        found: B256,
        /// Root in the header.
        expected: B256,
    },
}

impl BodyMismatch {
    /// Whose fault it was: the one who sent the body.
    pub const fn blame(&self) -> Blame {
        Blame::Peer
    }
}

/// The key that a header's body must have.
pub const fn body_key(header: &Header) -> BodyKey {
    BodyKey {
        transactions_root: header.transactions_root,
        ommers_hash: header.ommers_hash,
        withdrawals_root: header.withdrawals_root,
    }
}

/// The key that a body has. Costs a keccak over all of it.
pub fn key_of(body: &Body) -> BodyKey {
    BodyKey {
        transactions_root: transactions_root(&body.transactions),
        ommers_hash: ommers_hash(&body.ommers),
        withdrawals_root: body.withdrawals.as_deref().map(withdrawals_root),
    }
}

/// Whether a body is the one that a header commits to. The cheap parts are compared first.
pub fn body_matches(header: &Header, body: &Body) -> Result<(), BodyMismatch> {
    let expected = body_key(header);
    let ommers = ommers_hash(&body.ommers);
    if ommers != expected.ommers_hash {
        return Err(BodyMismatch::Ommers { found: ommers, expected: expected.ommers_hash });
    }
    let withdrawals = body.withdrawals.as_deref().map(withdrawals_root);
    if withdrawals != expected.withdrawals_root {
        return Err(BodyMismatch::Withdrawals {
            found: withdrawals,
            expected: expected.withdrawals_root,
        });
    }
    let transactions = transactions_root(&body.transactions);
    if transactions != expected.transactions_root {
        return Err(BodyMismatch::Transactions {
            found: transactions,
            expected: expected.transactions_root,
        });
    }
    Ok(())
}

/// Root of the trie of transactions, over their EIP-2718 bytes as they came.
pub fn transactions_root(transactions: &[Bytes]) -> B256 {
    ordered_trie_root_encoded(transactions)
}

/// Root of the trie of withdrawals (EIP-4895).
pub fn withdrawals_root(withdrawals: &[Withdrawal]) -> B256 {
    ordered_trie_root(withdrawals)
}

/// keccak256 of the RLP list of ommers.
pub fn ommers_hash(ommers: &Bytes) -> B256 {
    if *ommers == Body::NO_OMMERS { EMPTY_OMMER_ROOT_HASH } else { keccak256(ommers) }
}

/// Checks the rules that a body must keep once it is known to belong to its header: transactions that
/// decode and are of types in force, blob gas paid for the blobs carried (EIP-4844), the size limit (EIP-7934), no
/// ommers under proof of stake (EIP-3675).
pub fn validate_body(spec: &ChainSpec, header: &Header, body: &Body) -> Result<(), Breach> {
    let time = header.timestamp;
    let known = KnownTypes {
        access_list: spec.is_berlin(header.number),
        dynamic_fee: spec.is_london(header.number),
        blob: spec.is_cancun(time),
        set_code: spec.is_prague(time),
    };
    let mut blobs = 0_u64;
    for (index, tx) in body.transactions.iter().enumerate() {
        if !known.include(tx) {
            return Err(Breach::Transaction(index));
        }
        let hashes = check_transaction(tx).map_err(|_| Breach::Transaction(index))?;
        blobs = blobs.saturating_add(u64::try_from(hashes.count()).unwrap_or(u64::MAX));
    }
    let blob_gas = header.blob_gas_used.unwrap_or(0);
    if blobs.saturating_mul(DATA_GAS_PER_BLOB) != blob_gas {
        return Err(Breach::BlobCount { found: blobs, expected: blob_gas / DATA_GAS_PER_BLOB });
    }
    if header.difficulty.is_zero() && body.ommers != Body::NO_OMMERS {
        return Err(Breach::ProofOfStake("uncles"));
    }
    if spec.is_osaka(time) {
        let size = block_rlp_len(header, body);
        if size > MAX_BLOCK_BYTES {
            return Err(Breach::Size(size));
        }
    }
    Ok(())
}

/// The blob hashes of all transactions, in order (EIP-4844), or the first transaction that cannot be
/// decoded.
pub fn blob_versioned_hashes(body: &Body) -> Result<Vec<B256>, Breach> {
    let mut all = Vec::new();
    for (index, tx) in body.transactions.iter().enumerate() {
        all.extend(check_transaction(tx).map_err(|_| Breach::Transaction(index))?);
    }
    Ok(all)
}
