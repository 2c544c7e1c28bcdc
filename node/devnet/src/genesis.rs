//! The devnet's rules: one genesis block, and every fork through BPO2 within its first 96 blocks.

use std::collections::BTreeMap;

use alloy_consensus::{
    Header,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_RECEIPTS, EMPTY_TRANSACTIONS, EMPTY_WITHDRAWALS},
};
use alloy_eips::eip7840::BlobParams;
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, Sealable, U256, address};
use alloy_trie::root::state_root_ref_unhashed;
use moorline_messages::SealedHeader;
use serde_json::{Value, json};

/// The chain id and the network id.
pub const CHAIN_ID: u64 = 7_700_177;

/// The genesis block's time: 2026-01-01, in seconds.
pub const GENESIS_TIME: u64 = 1_767_225_600;

/// From one block to the next, in seconds.
pub const BLOCK_TIME_S: u64 = 12;

/// From one fork to the next, in blocks: Cancun is block 16, BPO2 is block 80.
pub const FORK_SPACING_BLOCKS: u64 = 16;

const GAS_LIMIT: u64 = 45_000_000;
const BASE_FEE_WEI: u64 = 1_000_000_000;
// The text decides the fork hashes; with this one none of them begins with a zero byte, which some
// clients cannot send (they strip it).
const EXTRA_DATA: &[u8] = b"moorline devnet";

/// The forks a devnet block can be under, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fork {
    Shanghai,
    Cancun,
    Prague,
    Osaka,
    Bpo1,
    Bpo2,
}

impl Fork {
    const ALL: [Self; 6] =
        [Self::Shanghai, Self::Cancun, Self::Prague, Self::Osaka, Self::Bpo1, Self::Bpo2];

    /// When the fork begins, in seconds. Shanghai begins with the genesis block.
    pub(crate) const fn time(self) -> u64 {
        let spacing_s = FORK_SPACING_BLOCKS.saturating_mul(BLOCK_TIME_S);
        GENESIS_TIME.saturating_add(spacing_s.saturating_mul(self as u64))
    }

    /// The fork in force at a time.
    pub(crate) fn at(timestamp: u64) -> Self {
        let begun = Self::ALL.into_iter().rev().find(|fork| fork.time() <= timestamp);
        begun.unwrap_or(Self::Shanghai)
    }

    /// How many blobs its blocks aim at and may carry (EIP-4844, EIP-7691, EIP-7892).
    pub(crate) const fn blobs(self) -> Option<BlobParams> {
        match self {
            Self::Shanghai => None,
            Self::Cancun => Some(BlobParams::cancun()),
            Self::Prague => Some(BlobParams::prague()),
            Self::Osaka => Some(BlobParams::osaka()),
            Self::Bpo1 => Some(BlobParams::bpo1()),
            Self::Bpo2 => Some(BlobParams::bpo2()),
        }
    }
}

const FUNDED: [Address; 3] = [
    address!("0x1000000000000000000000000000000000000001"),
    address!("0x2000000000000000000000000000000000000002"),
    address!("0x3000000000000000000000000000000000000003"),
];

fn alloc() -> BTreeMap<Address, GenesisAccount> {
    let balance = U256::from(10).pow(U256::from(24));
    FUNDED.into_iter().map(|at| (at, GenesisAccount::default().with_balance(balance))).collect()
}

fn schedule_entry(params: BlobParams) -> Value {
    json!({
        "target": params.target_blob_count,
        "max": params.max_blob_count,
        "baseFeeUpdateFraction": params.update_fraction,
    })
}

/// The genesis block in the form that geth, reth and the others read as `genesis.json`.
pub fn genesis_json() -> String {
    let mut config = serde_json::Map::new();
    config.insert("chainId".into(), json!(CHAIN_ID));
    for fork in [
        "homestead",
        "eip150",
        "eip155",
        "eip158",
        "byzantium",
        "constantinople",
        "petersburg",
        "istanbul",
        "muirGlacier",
        "berlin",
        "london",
        "mergeNetsplit",
    ] {
        config.insert(format!("{fork}Block"), json!(0));
    }
    for (fork, name) in
        Fork::ALL.into_iter().zip(["shanghai", "cancun", "prague", "osaka", "bpo1", "bpo2"])
    {
        config.insert(format!("{name}Time"), json!(fork.time()));
    }
    config.insert("terminalTotalDifficulty".into(), json!(0));
    config.insert("depositContractAddress".into(), json!(Address::ZERO));
    config.insert(
        "blobSchedule".into(),
        json!({
            "cancun": schedule_entry(BlobParams::cancun()),
            "prague": schedule_entry(BlobParams::prague()),
            "osaka": schedule_entry(BlobParams::osaka()),
            "bpo1": schedule_entry(BlobParams::bpo1()),
            "bpo2": schedule_entry(BlobParams::bpo2()),
        }),
    );
    let alloc: BTreeMap<_, _> = alloc()
        .into_iter()
        .map(|(at, account)| (at, json!({ "balance": account.balance })))
        .collect();
    let genesis = json!({
        "config": config,
        "nonce": "0x0",
        "timestamp": format!("{GENESIS_TIME:#x}"),
        "extraData": Bytes::from_static(EXTRA_DATA),
        "gasLimit": format!("{GAS_LIMIT:#x}"),
        "difficulty": "0x0",
        "mixHash": B256::ZERO,
        "coinbase": Address::ZERO,
        "baseFeePerGas": format!("{BASE_FEE_WEI:#x}"),
        "alloc": alloc,
    });
    format!("{genesis:#}\n")
}

/// The genesis block's header.
pub fn genesis_header() -> SealedHeader {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root: state_root_ref_unhashed(&alloc()),
        transactions_root: EMPTY_TRANSACTIONS,
        receipts_root: EMPTY_RECEIPTS,
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        timestamp: GENESIS_TIME,
        extra_data: Bytes::from_static(EXTRA_DATA),
        gas_limit: GAS_LIMIT,
        base_fee_per_gas: Some(BASE_FEE_WEI),
        ..Header::default()
    }
    .seal_slow()
}
