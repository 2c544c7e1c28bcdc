//! Genesis files in geth's format.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{
    Header,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS},
};
use alloy_eips::{eip1559::INITIAL_BASE_FEE, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams};
use alloy_genesis::Genesis;
use alloy_primitives::{B64, B256, Sealable};
use alloy_trie::root::state_root_ref_unhashed;
use moorline_messages::Blame;
use serde_json::Value;
use thiserror::Error;

use super::{BLOB_FORKS, ChainSpec, Fork, Schedule, ScheduleError};

/// What geth takes for the genesis gas limit where the file gives none.
const DEFAULT_GAS_LIMIT: u64 = 4_712_388;

/// The keys of an account in `alloc` that mean something.
const ACCOUNT_KEYS: [&str; 5] = ["balance", "nonce", "code", "storage", "secretKey"];

/// Why a genesis file cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GenesisError {
    /// It is not a genesis file.
    #[error("the genesis file cannot be read: {0}")]
    Json(String),
    /// A key that every chain needs is not there.
    #[error("the genesis file has no {0}")]
    Missing(&'static str),
    /// Its forks cannot be followed.
    #[error("the genesis file's schedule does not work: {0}")]
    Schedule(#[from] ScheduleError),
}

impl GenesisError {
    /// Whose fault it was: this node was configured wrongly.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

impl ChainSpec {
    /// Reads a chain from a genesis file as geth's `init` takes it. Keys that mean nothing here are
    /// ignored; the genesis hash follows from all the others, the state root from `alloc`.
    pub fn from_genesis_json(json: &str) -> Result<Self, GenesisError> {
        let mut value: Value = serde_json::from_str(json).map_err(unreadable)?;
        forget_unknown_account_keys(&mut value);
        let config = value.get("config").ok_or(GenesisError::Missing("config"))?;
        config.get("chainId").ok_or(GenesisError::Missing("config.chainId"))?;
        value.get("alloc").ok_or(GenesisError::Missing("alloc"))?;
        let gas_used = gas_used(&value)?;
        let genesis: Genesis = serde_json::from_value(value).map_err(unreadable)?;

        let schedule = Schedule::from_config(&genesis.config)?;
        let (blobs, warnings) = blob_schedule(&genesis.config.blob_schedule);
        let header = Header { gas_used, ..genesis_header(&genesis, &schedule) };
        let spec = Self {
            name: format!("chain {}", genesis.config.chain_id),
            chain_id: genesis.config.chain_id,
            genesis: Arc::new(header.seal_slow()),
            schedule,
            blobs,
            final_total_difficulty: None,
            warnings,
        };
        spec.check_schedule()?;
        Ok(spec)
    }
}

fn unreadable(error: serde_json::Error) -> GenesisError {
    GenesisError::Json(error.to_string())
}

/// alloy refuses accounts with keys it does not know; geth, whose format this is, ignores them.
fn forget_unknown_account_keys(genesis: &mut Value) {
    let accounts = genesis.get_mut("alloc").and_then(Value::as_object_mut);
    for account in accounts.into_iter().flat_map(|accounts| accounts.values_mut()) {
        if let Some(account) = account.as_object_mut() {
            account.retain(|key, _| ACCOUNT_KEYS.contains(&key.as_str()));
        }
    }
}

/// alloy's genesis has no `gasUsed`, which test chains may set.
fn gas_used(genesis: &Value) -> Result<u64, GenesisError> {
    let parsed = match genesis.get("gasUsed") {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
        Some(other) => other.as_u64(),
    };
    parsed.ok_or_else(|| GenesisError::Json("gasUsed is not a number".to_owned()))
}

/// The genesis header: what the file says, and the empty values of each fork in force.
fn genesis_header(genesis: &Genesis, schedule: &Schedule) -> Header {
    let number = genesis.number.unwrap_or_default();
    let is_active = |fork| schedule.is_active(fork, number, genesis.timestamp);
    let base_fee = genesis.base_fee_per_gas.map_or(INITIAL_BASE_FEE, |fee| {
        // A fee above 2^64 wei has no header to go into; the greatest one stands in for it.
        u64::try_from(fee).unwrap_or(u64::MAX)
    });
    let is_cancun = is_active(Fork::Cancun);
    let is_amsterdam = is_active(Fork::Amsterdam);
    Header {
        parent_hash: genesis.parent_hash.unwrap_or_default(),
        beneficiary: genesis.coinbase,
        state_root: state_root_ref_unhashed(&genesis.alloc),
        difficulty: genesis.difficulty,
        number,
        gas_limit: if genesis.gas_limit == 0 { DEFAULT_GAS_LIMIT } else { genesis.gas_limit },
        timestamp: genesis.timestamp,
        extra_data: genesis.extra_data.clone(),
        mix_hash: genesis.mix_hash,
        nonce: B64::from(genesis.nonce.to_be_bytes()),
        base_fee_per_gas: is_active(Fork::London).then_some(base_fee),
        withdrawals_root: is_active(Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: is_cancun.then(|| genesis.blob_gas_used.unwrap_or_default()),
        excess_blob_gas: is_cancun.then(|| genesis.excess_blob_gas.unwrap_or_default()),
        parent_beacon_block_root: is_cancun.then_some(B256::ZERO),
        requests_hash: is_active(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
        // The hash of an empty access list is that of an empty list of ommers (EIP-7928).
        block_access_list_hash: is_amsterdam.then_some(EMPTY_OMMER_ROOT_HASH),
        slot_number: is_amsterdam.then(|| genesis.slot_number.unwrap_or_default()),
        ..Header::default()
    }
}

/// Sorts the file's blob parameters by fork. Entries for forks that only inherit are read past, with
/// a warning where they say something else.
fn blob_schedule(
    entries: &BTreeMap<String, BlobParams>,
) -> (BTreeMap<Fork, BlobParams>, Vec<String>) {
    let mut blobs = BTreeMap::new();
    let mut inheriting = Vec::new();
    for (name, params) in entries {
        match Fork::from_name(name) {
            Some(fork) if BLOB_FORKS.contains(&fork) => {
                blobs.insert(fork, *params);
            }
            Some(fork) => inheriting.push((fork, *params)),
            None => {}
        }
    }
    let warnings = inheriting
        .into_iter()
        .filter(|(fork, params)| {
            let inherited = match fork {
                Fork::Osaka => blobs.get(&Fork::Prague),
                _ => BLOB_FORKS.iter().find_map(|fork| blobs.get(fork)),
            };
            inherited != Some(params)
        })
        .map(|(fork, _)| {
            format!(
                "blobSchedule.{} differs from what the fork inherits and is ignored",
                fork.name()
            )
        })
        .collect();
    (blobs, warnings)
}
