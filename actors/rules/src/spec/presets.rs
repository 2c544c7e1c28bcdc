//! The public networks, from alloy's fork schedules and their well-known genesis headers.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip1559::INITIAL_BASE_FEE, eip7840::BlobParams};
use alloy_hardforks::{EthereumHardfork, ethereum};
use alloy_primitives::{B64, B256, Bytes, Sealable, U256, b64, b256, bytes};

use super::{ChainSpec, Fork, Schedule};

impl ChainSpec {
    /// Ethereum's main network.
    pub fn mainnet() -> Self {
        Self {
            final_total_difficulty: Some(ethereum::MAINNET_PARIS_FINAL_TD),
            ..preset("mainnet", 1, mainnet_genesis(), EthereumHardfork::mainnet())
        }
    }

    /// The Sepolia test network.
    pub fn sepolia() -> Self {
        Self {
            final_total_difficulty: Some(ethereum::SEPOLIA_PARIS_FINAL_TD),
            ..preset("sepolia", 11_155_111, sepolia_genesis(), EthereumHardfork::sepolia())
        }
    }

    /// The Hoodi test network.
    pub fn hoodi() -> Self {
        preset("hoodi", 560_048, hoodi_genesis(), EthereumHardfork::hoodi())
    }

    /// A public network by name: `mainnet`, `sepolia` or `hoodi`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "mainnet" => Some(Self::mainnet()),
            "sepolia" => Some(Self::sepolia()),
            "hoodi" => Some(Self::hoodi()),
            _ => None,
        }
    }
}

fn preset(
    name: &str,
    chain_id: u64,
    genesis: Header,
    forks: impl IntoIterator<Item = (EthereumHardfork, alloy_hardforks::ForkCondition)>,
) -> ChainSpec {
    ChainSpec {
        name: name.to_owned(),
        chain_id,
        genesis: Arc::new(genesis.seal_slow()),
        schedule: Schedule::from_hardforks(forks),
        blobs: BTreeMap::from([
            (Fork::Cancun, BlobParams::cancun()),
            (Fork::Prague, BlobParams::prague()),
            (Fork::Bpo1, BlobParams::bpo1()),
            (Fork::Bpo2, BlobParams::bpo2()),
        ]),
        final_total_difficulty: None,
        warnings: Vec::new(),
    }
}

fn mainnet_genesis() -> Header {
    Header {
        state_root: b256!("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"),
        extra_data: bytes!("11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa"),
        gas_limit: 5_000,
        difficulty: U256::from(17_179_869_184_u64),
        nonce: b64!("0000000000000042"),
        ..Header::default()
    }
}

fn sepolia_genesis() -> Header {
    Header {
        state_root: b256!("5eb6e371a698b8d68f665192350ffcecbbbf322916f4b51bd79bb6887da3f494"),
        extra_data: Bytes::from_static(b"Sepolia, Athens, Attica, Greece!"),
        gas_limit: 30_000_000,
        difficulty: U256::from(131_072),
        timestamp: 1_633_267_481,
        base_fee_per_gas: Some(INITIAL_BASE_FEE),
        ..Header::default()
    }
}

fn hoodi_genesis() -> Header {
    Header {
        state_root: b256!("da87d7f5f91c51508791bbcbd4aa5baf04917830b86985eeb9ad3d5bfb657576"),
        gas_limit: 36_000_000,
        difficulty: U256::from(1),
        timestamp: 1_742_212_800,
        nonce: B64::from(0x1234_u64.to_be_bytes()),
        base_fee_per_gas: Some(INITIAL_BASE_FEE),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    }
}
