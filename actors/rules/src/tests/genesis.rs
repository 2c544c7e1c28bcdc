//! Genesis files, presets and what a schedule answers.

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, U256, b256};
use serde_json::{Value, json};

use super::data::text;
use crate::{Activation, ChainSpec, GenesisError, OverrideError, ScheduleError};

fn genesis_with(config: Value) -> Value {
    let mut base = json!({
        "chainId": 7, "homesteadBlock": 0, "londonBlock": 0, "terminalTotalDifficulty": 0,
        "somethingNew": {"nested": [1]},
        "blobSchedule": {
            "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3338477},
            "prague": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5007716},
        },
    });
    for (key, value) in config.as_object().unwrap() {
        base[key] = value.clone();
    }
    json!({
        "config": base, "nonce": "0x0", "timestamp": "0x10", "extraData": "0x", "gasLimit": "0x1c9c380",
        "difficulty": "0x0", "alloc": {}, "hive": true,
    })
}

fn spec_with(config: Value) -> Result<ChainSpec, GenesisError> {
    ChainSpec::from_genesis_json(&genesis_with(config).to_string())
}

#[test]
fn a_real_genesis_file_gives_the_known_hash() {
    let Some(json) = text("geth-ethtest/genesis.json") else { return };
    let spec = ChainSpec::from_genesis_json(&json).unwrap();
    // The block hash of the first call in newpayload.json, which names the genesis block.
    assert_eq!(
        spec.genesis().hash(),
        b256!("bd6a252af394d80904c5993b859574bd4669642cea00a116970ec7887db67533")
    );
    assert_eq!(spec.name(), "chain 3503995874084926");
    assert_eq!(spec.chain_id(), 3_503_995_874_084_926);
    assert_eq!(spec.terminal_total_difficulty(), U256::from(131_072));
    assert!(spec.is_merged_from_genesis());
    assert!(spec.warnings().is_empty());
    assert!(spec.is_shanghai(0) && !spec.is_cancun(59) && spec.is_cancun(60));
    assert!(!spec.is_prague(119) && spec.is_prague(120) && !spec.is_osaka(u64::MAX));
}

#[test]
fn presets_have_the_genesis_blocks_of_the_public_networks() {
    for (name, chain_id, hash, final_difficulty) in [
        (
            "mainnet",
            1,
            b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
            U256::from(58_750_003_716_598_352_816_469_u128),
        ),
        (
            "sepolia",
            11_155_111,
            b256!("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9"),
            U256::from(17_000_018_015_853_232_u64),
        ),
        (
            "hoodi",
            560_048,
            b256!("bbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b"),
            U256::from(1),
        ),
    ] {
        let spec = ChainSpec::preset(name).unwrap();
        assert_eq!(spec.name(), name);
        assert_eq!(spec.chain_id(), chain_id);
        assert_eq!(spec.genesis().hash(), hash);
        assert_eq!(spec.terminal_total_difficulty(), final_difficulty);
        assert_eq!(spec.check_schedule(), Ok(()));
    }
    assert_eq!(ChainSpec::preset("ropsten"), None);
}

#[test]
fn forks_in_force_at_genesis_add_their_empty_fields() {
    let all = spec_with(json!({
        "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0, "osakaTime": 0, "amsterdamTime": 16,
    }));
    let header = all.unwrap().genesis().inner().clone();
    assert_eq!(header.base_fee_per_gas, Some(1_000_000_000));
    assert_eq!(header.withdrawals_root, Some(EMPTY_WITHDRAWALS));
    assert_eq!(header.parent_beacon_block_root, Some(B256::ZERO));
    assert_eq!((header.blob_gas_used, header.excess_blob_gas), (Some(0), Some(0)));
    assert_eq!(header.requests_hash, Some(EMPTY_REQUESTS_HASH));
    assert_eq!(header.block_access_list_hash, Some(EMPTY_OMMER_ROOT_HASH));
    assert_eq!(header.slot_number, Some(0));

    let bare = ChainSpec::from_genesis_json(r#"{"config": {"chainId": 7}, "alloc": {}}"#).unwrap();
    assert_eq!(bare.genesis().gas_limit, 4_712_388);
    assert_eq!(bare.genesis().base_fee_per_gas, None);
    let header = spec_with(json!({"shanghaiTime": 17})).unwrap().genesis().inner().clone();
    assert_eq!(header.withdrawals_root, None);
}

#[test]
fn what_a_genesis_file_says_goes_into_its_header() {
    let mut genesis = genesis_with(json!({"shanghaiTime": 0, "cancunTime": 0}));
    for (key, value) in [
        ("gasUsed", json!("0x5")),
        ("baseFeePerGas", json!("0x7")),
        ("excessBlobGas", json!("0x20000")),
        ("blobGasUsed", json!("0x40000")),
        ("parentHash", json!(B256::repeat_byte(9))),
        ("alloc", json!({"00000961ef480eb55e80d19ad83579a64c007002": {"balance": "1", "tag": 1}})),
    ] {
        genesis[key] = value;
    }
    let header =
        ChainSpec::from_genesis_json(&genesis.to_string()).unwrap().genesis().inner().clone();
    assert_eq!(header.gas_used, 5);
    assert_eq!(header.base_fee_per_gas, Some(7));
    assert_eq!((header.excess_blob_gas, header.blob_gas_used), (Some(0x20000), Some(0x40000)));
    assert_eq!(header.parent_hash, B256::repeat_byte(9));
    assert_ne!(header.state_root, alloy_trie::EMPTY_ROOT_HASH);
}

#[test]
fn a_genesis_file_that_cannot_work_is_refused_in_a_sentence() {
    let bpo =
        spec_with(json!({"shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0, "bpo1Time": 9}));
    assert_eq!(bpo, Err(ScheduleError::NoBlobParams("bpo1").into()));

    let order = spec_with(json!({"shanghaiTime": 0, "cancunTime": 90, "pragueTime": 80}));
    assert_eq!(
        order.unwrap_err().to_string(),
        "the genesis file's schedule does not work: \
         fork prague is scheduled for 80, before fork cancun at 90"
    );

    let gap = spec_with(json!({"shanghaiTime": 0, "pragueTime": 80}));
    assert_eq!(gap, Err(ScheduleError::Missing { earlier: "cancun", later: "prague" }.into()));

    let zero = json!({"cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 0}});
    let fraction = spec_with(json!({"shanghaiTime": 0, "cancunTime": 0, "blobSchedule": zero}));
    assert_eq!(fraction, Err(ScheduleError::BlobParams("cancun").into()));

    assert!(matches!(ChainSpec::from_genesis_json("{"), Err(GenesisError::Json(_))));
    assert_eq!(ChainSpec::from_genesis_json("{}"), Err(GenesisError::Missing("config")));
    assert_eq!(
        ChainSpec::from_genesis_json(r#"{"config":{}}"#),
        Err(GenesisError::Missing("config.chainId"))
    );
    assert_eq!(
        ChainSpec::from_genesis_json(r#"{"config":{"chainId":1}}"#),
        Err(GenesisError::Missing("alloc"))
    );
}

#[test]
fn blob_parameters_follow_the_latest_fork_that_sets_them() {
    let spec = ChainSpec::mainnet();
    let at = |time| {
        spec.blob_params(time)
            .map(|params| (params.target_blob_count, params.max_blob_count, params.update_fraction))
    };
    assert_eq!(at(1_710_338_134), None);
    assert_eq!(at(1_710_338_135), Some((3, 6, 3_338_477)));
    assert_eq!(at(1_746_612_311), Some((6, 9, 5_007_716)));
    assert_eq!(at(1_764_798_551), Some((6, 9, 5_007_716)));
    assert_eq!(at(1_765_290_071), Some((10, 15, 8_346_193)));
    assert_eq!(at(1_767_747_671), Some((14, 21, 11_684_671)));
    assert_eq!(spec.blob_params(1_764_798_550).unwrap().blob_base_cost, 0);
    assert_eq!(spec.blob_params(1_764_798_551).unwrap().blob_base_cost, 8_192);
}

#[test]
fn blob_entries_of_inheriting_forks_are_read_past_with_a_warning_on_conflict() {
    let config = |osaka_target: u64| {
        json!({
            "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0, "osakaTime": 100,
            "blobSchedule": {
                "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3338477},
                "prague": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5007716},
                "osaka": {"target": osaka_target, "max": 9, "baseFeeUpdateFraction": 5007716},
            },
        })
    };
    assert!(spec_with(config(6)).unwrap().warnings().is_empty());
    let conflicting = spec_with(config(7)).unwrap();
    assert_eq!(conflicting.warnings().len(), 1);
    assert_eq!(conflicting.blob_params(100).unwrap().target_blob_count, 6);
}

#[test]
fn fork_times_can_be_moved_unless_that_makes_another_chain() {
    let mut spec = ChainSpec::mainnet();
    let end = 2_000_000_000;
    assert!(!spec.is_amsterdam(end));
    spec.override_fork_time("amsterdam", end).unwrap();
    assert!(!spec.is_amsterdam(end - 1) && spec.is_amsterdam(end));
    assert_eq!(spec.check_schedule(), Ok(()));
    assert!(
        spec.fork_schedule().any(|(name, at)| (name, at) == ("amsterdam", Activation::Time(end)))
    );
    assert_eq!(spec.fork_id(30_000_000, end - 1).next, end);

    spec.override_fork_time("Osaka", end + 1).unwrap();
    assert!(matches!(
        spec.check_schedule(),
        Err(ScheduleError::Order { earlier: "osaka", later: "amsterdam", .. })
    ));
    let refused = [
        ("cancun", OverrideError::ChangesGenesis("cancun")),
        ("london", OverrideError::NotTimed("london")),
    ];
    for (fork, why) in refused {
        assert_eq!(spec.override_fork_time(fork, 0), Err(why));
    }
    assert!(matches!(
        spec.override_fork_time("lisbon", 0),
        Err(OverrideError::UnknownFork(name, known)) if name == "lisbon" && known.contains("bpo5")
    ));
    spec.override_fork_time("bpo3", end).unwrap();
    assert!(spec.check_schedule().is_err());
}

#[test]
fn every_timed_fork_can_be_overridden() {
    for fork in crate::Fork::ALL.into_iter().filter(|fork| fork.is_timed()) {
        let mut spec = ChainSpec::mainnet();
        spec.override_fork_time(fork.name(), 3_000_000_000).unwrap();
        assert!(
            spec.fork_schedule()
                .any(|entry| { entry == (fork.name(), Activation::Time(3_000_000_000)) })
        );
    }
}

#[test]
fn sepolia_is_scheduled_for_amsterdam_and_the_others_are_not_yet() {
    assert!(ChainSpec::sepolia().is_amsterdam(1_791_294_816));
    assert!(!ChainSpec::sepolia().is_amsterdam(1_791_294_815));
    assert!(!ChainSpec::mainnet().is_amsterdam(u64::MAX));
    assert!(!ChainSpec::hoodi().is_amsterdam(u64::MAX));
}
