//! Rules a header must keep, alone and beside its parent.
//!
//! Proof of stake is told by a difficulty of zero (EIP-3675). For older headers only what holds for
//! them is asked: proof-of-work seals and the difficulty formula are not judged.

use alloy_eips::{
    eip1559::INITIAL_BASE_FEE,
    eip4844::{DATA_GAS_PER_BLOB, fake_exponential},
    eip7840::BlobParams,
};
use alloy_primitives::{B64, U256};
use moorline_messages::{Breach, Header, SealedHeader};

use crate::spec::ChainSpec;

/// Most bytes of extra data (Yellow Paper 4.4.4).
pub const MAX_EXTRA_DATA_BYTES: usize = 32;
/// Least gas limit (Yellow Paper 4.4.4).
pub const MIN_GAS_LIMIT: u64 = 5_000;
/// Greatest gas limit (EIP-1985).
pub const MAX_GAS_LIMIT: u64 = i64::MAX.unsigned_abs();
/// The gas limit moves by less than one part in this many (Yellow Paper 4.4.4).
const GAS_LIMIT_BOUND_DIVISOR: u64 = 1_024;
/// The gas target is the limit divided by this (EIP-1559).
const ELASTICITY_MULTIPLIER: u64 = 2;
/// The base fee moves by at most one part in this many (EIP-1559).
const BASE_FEE_MAX_CHANGE_DENOMINATOR: u128 = 8;

/// Checks everything about a header that needs no other block. What follows from the parent is
/// [`validate_header_against_parent`]'s; a header is right when both say so.
pub fn validate_header_alone(spec: &ChainSpec, header: &Header) -> Result<(), Breach> {
    if header.extra_data.len() > MAX_EXTRA_DATA_BYTES {
        return Err(Breach::ExtraData(header.extra_data.len()));
    }
    if header.gas_used > header.gas_limit {
        return Err(Breach::GasUsed { used: header.gas_used, limit: header.gas_limit });
    }
    check_consensus(spec, header)?;
    check_fork_fields(spec, header)?;
    check_blob_gas(spec, header)
}

/// Checks everything about a header that follows from its parent: height, link, time, gas limit,
/// base fee, excess blob gas, and that proof of work does not come back.
pub fn validate_header_against_parent(
    spec: &ChainSpec,
    header: &SealedHeader,
    parent: &SealedHeader,
) -> Result<(), Breach> {
    if parent.number.checked_add(1) != Some(header.number) {
        return Err(Breach::Number { found: header.number, parent: parent.number });
    }
    if header.parent_hash != parent.hash() {
        return Err(Breach::ParentHash { found: header.parent_hash, expected: parent.hash() });
    }
    if header.timestamp <= parent.timestamp {
        return Err(Breach::Timestamp { found: header.timestamp, parent: parent.timestamp });
    }
    if parent.difficulty.is_zero() && !header.difficulty.is_zero() {
        return Err(Breach::DifficultyAfterMerge(header.difficulty.to_string()));
    }
    check_gas_limit(spec, header, parent)?;
    check_base_fee(spec, header, parent)?;
    check_excess_blob_gas(spec, header, parent)
}

/// EIP-3675: constants of proof of stake, and no proof of work where it cannot be.
fn check_consensus(spec: &ChainSpec, header: &Header) -> Result<(), Breach> {
    if !header.difficulty.is_zero() {
        let is_merged = spec.is_merged_from_genesis() || spec.is_shanghai(header.timestamp);
        if header.number > 0 && is_merged {
            return Err(Breach::DifficultyAfterMerge(header.difficulty.to_string()));
        }
        return Ok(());
    }
    if !header.ommers_hash_is_empty() {
        return Err(Breach::ProofOfStake("sha3Uncles"));
    }
    if header.nonce != B64::ZERO {
        return Err(Breach::ProofOfStake("nonce"));
    }
    Ok(())
}

/// Each field is there exactly when its fork is in force (EIP-1559, 4895, 4844, 4788, 7685, 7928,
/// 7843).
fn check_fork_fields(spec: &ChainSpec, header: &Header) -> Result<(), Breach> {
    let time = header.timestamp;
    let is_cancun = spec.is_cancun(time);
    let is_amsterdam = spec.is_amsterdam(time);
    let fields = [
        ("baseFeePerGas", header.base_fee_per_gas.is_some(), spec.is_london(header.number)),
        ("withdrawalsRoot", header.withdrawals_root.is_some(), spec.is_shanghai(time)),
        ("blobGasUsed", header.blob_gas_used.is_some(), is_cancun),
        ("excessBlobGas", header.excess_blob_gas.is_some(), is_cancun),
        ("parentBeaconBlockRoot", header.parent_beacon_block_root.is_some(), is_cancun),
        ("requestsHash", header.requests_hash.is_some(), spec.is_prague(time)),
        ("blockAccessListHash", header.block_access_list_hash.is_some(), is_amsterdam),
        ("slotNumber", header.slot_number.is_some(), is_amsterdam),
    ];
    match fields.into_iter().find(|(_, is_present, required)| is_present != required) {
        Some((field, _, required)) => Err(Breach::ForkField { field, required }),
        None => Ok(()),
    }
}

/// EIP-4844: blob gas in whole blobs, up to the schedule's maximum.
fn check_blob_gas(spec: &ChainSpec, header: &Header) -> Result<(), Breach> {
    let (Some(found), Some(params)) = (header.blob_gas_used, spec.blob_params(header.timestamp))
    else {
        return Ok(());
    };
    let max = params.max_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
    if found > max || !found.is_multiple_of(DATA_GAS_PER_BLOB) {
        return Err(Breach::BlobGasUsed { found, max });
    }
    Ok(())
}

/// Yellow Paper 4.4.4 and EIP-1985; the first London block doubles its parent's limit (EIP-1559).
fn check_gas_limit(
    spec: &ChainSpec,
    header: &SealedHeader,
    parent: &SealedHeader,
) -> Result<(), Breach> {
    let is_first_london = spec.is_london(header.number) && !spec.is_london(parent.number);
    let factor = if is_first_london { ELASTICITY_MULTIPLIER } else { 1 };
    let parent_limit = parent.gas_limit.saturating_mul(factor);
    let found = header.gas_limit;
    let bound = parent_limit / GAS_LIMIT_BOUND_DIVISOR;
    let is_in_bounds = (MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&found);
    if !is_in_bounds || found.abs_diff(parent_limit) >= bound {
        return Err(Breach::GasLimit { found, parent: parent_limit });
    }
    Ok(())
}

/// EIP-1559.
fn check_base_fee(
    spec: &ChainSpec,
    header: &SealedHeader,
    parent: &SealedHeader,
) -> Result<(), Breach> {
    if !spec.is_london(header.number) {
        return Ok(());
    }
    let missing = Breach::ForkField { field: "baseFeePerGas", required: true };
    let Some(found) = header.base_fee_per_gas else { return Err(missing) };
    let expected = if spec.is_london(parent.number) {
        let Some(parent_fee) = parent.base_fee_per_gas else { return Err(missing) };
        next_base_fee(parent.gas_used, parent.gas_limit, parent_fee)
    } else {
        INITIAL_BASE_FEE
    };
    if found != expected {
        return Err(Breach::BaseFee { found, expected });
    }
    Ok(())
}

/// The base fee of the block after one with these figures, in wei (EIP-1559). Saturates at `u64`.
pub fn next_base_fee(gas_used: u64, gas_limit: u64, base_fee: u64) -> u64 {
    let target = gas_limit / ELASTICITY_MULTIPLIER;
    let fee = u128::from(base_fee);
    let distance = u128::from(gas_used.abs_diff(target));
    let change = fee
        .saturating_mul(distance)
        .checked_div(u128::from(target))
        .and_then(|scaled| scaled.checked_div(BASE_FEE_MAX_CHANGE_DENOMINATOR))
        .unwrap_or(0);
    let next = match gas_used.cmp(&target) {
        std::cmp::Ordering::Equal => fee,
        std::cmp::Ordering::Greater => fee.saturating_add(change.max(1)),
        std::cmp::Ordering::Less => fee.saturating_sub(change),
    };
    u64::try_from(next).unwrap_or(u64::MAX)
}

/// EIP-4844, EIP-7918.
fn check_excess_blob_gas(
    spec: &ChainSpec,
    header: &SealedHeader,
    parent: &SealedHeader,
) -> Result<(), Breach> {
    let (Some(found), Some(params)) = (header.excess_blob_gas, spec.blob_params(header.timestamp))
    else {
        return Ok(());
    };
    let expected = next_excess_blob_gas(&params, parent);
    if found != expected {
        return Err(Breach::ExcessBlobGas { found, expected });
    }
    Ok(())
}

/// The excess blob gas of the block after `parent`, by the parameters in force in *that* block
/// (EIP-4844, EIP-7892). A parent from before Cancun counts as zero. Saturates at `u64`.
pub fn next_excess_blob_gas(params: &BlobParams, parent: &Header) -> u64 {
    let excess = parent.excess_blob_gas.unwrap_or(0);
    let used = parent.blob_gas_used.unwrap_or(0);
    let target = params.target_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
    let sum = excess.saturating_add(used);
    if sum < target {
        return 0;
    }
    if is_below_reserve_price(params, excess, parent.base_fee_per_gas.unwrap_or(0)) {
        let above_target = params.max_blob_count.saturating_sub(params.target_blob_count);
        let scaled = u128::from(used)
            .saturating_mul(u128::from(above_target))
            .checked_div(u128::from(params.max_blob_count))
            .unwrap_or(0);
        return excess.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
    }
    sum.saturating_sub(target)
}

/// EIP-7918: whether blobs cost less than the execution gas that goes with them. Never before
/// Osaka, where the base cost is zero.
fn is_below_reserve_price(params: &BlobParams, excess: u64, base_fee: u64) -> bool {
    // A denominator of zero is refused with the schedule; alloy's function would panic at it.
    if params.blob_base_cost == 0 || params.update_fraction == 0 {
        return false;
    }
    let blob_fee =
        fake_exponential(params.min_blob_fee, u128::from(excess), params.update_fraction);
    let execution = U256::from(params.blob_base_cost).saturating_mul(U256::from(base_fee));
    let blob = U256::from(DATA_GAS_PER_BLOB).saturating_mul(U256::from(blob_fee));
    execution > blob
}
