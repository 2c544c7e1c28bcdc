//! Fork ids against go-ethereum's vectors.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_eip2124::{ForkHash, ForkId, Head, ValidationError};
use alloy_hardforks::EthereumHardfork;
use alloy_primitives::{Sealed, b256, hex};
use serde_json::Value;

use super::{ChainSpec, Fork, Schedule};
use crate::tests::data::json;

const VECTORS: &str = "vectors/forkid.json";

fn number(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap()
}

fn hash(vector: &Value, key: &str) -> ForkHash {
    ForkHash(hex::decode(vector[key].as_str().unwrap()).unwrap().try_into().unwrap())
}

/// Holesky is no preset any more, but its vectors still test the arithmetic.
fn holesky() -> ChainSpec {
    let genesis = Header { timestamp: 1_695_902_100, ..Header::default() };
    let hash = b256!("b5f7f912443c940f21fd611f12828d75b534364ed9e95ca4e307729a4661bde4");
    ChainSpec {
        genesis: Arc::new(Sealed::new_unchecked(genesis, hash)),
        schedule: Schedule::from_hardforks(EthereumHardfork::holesky()),
        ..ChainSpec::hoodi()
    }
}

/// The vectors were written before Amsterdam was scheduled anywhere.
fn before_amsterdam(mut spec: ChainSpec) -> ChainSpec {
    spec.schedule.forks.remove(&Fork::Amsterdam);
    spec
}

#[test]
fn fork_ids_are_the_ones_geth_announces() {
    let Some(vectors) = json(VECTORS) else { return };
    let mut checked = 0;
    for (chain, cases) in vectors["creation"].as_object().unwrap() {
        let spec = before_amsterdam(match chain.as_str() {
            "holesky" => holesky(),
            name => ChainSpec::preset(name).unwrap(),
        });
        for case in cases.as_array().unwrap() {
            let found = spec.fork_id(number(case, "head"), number(case, "time"));
            let expected = ForkId { hash: hash(case, "hash"), next: number(case, "next") };
            assert_eq!(found, expected, "{chain}: {}", case["note"]);
            checked += 1;
        }
    }
    assert_eq!(checked, 78);
}

#[test]
fn fork_ids_of_others_are_judged_as_geth_judges_them() {
    let Some(vectors) = json(VECTORS) else { return };
    let cases = vectors["validation"].as_array().unwrap();
    for case in cases {
        let mut spec = ChainSpec::mainnet();
        if case["config"] == "mainnet_no_timestamp_forks" {
            spec.schedule.forks.retain(|fork, _| !fork.is_timed());
        }
        let head = Head {
            number: number(case, "head"),
            timestamp: number(case, "time"),
            ..Head::default()
        };
        let remote = ForkId { hash: hash(case, "remote_hash"), next: number(case, "remote_next") };
        let verdict = match spec.fork_filter(head).validate(remote) {
            Ok(()) => "accept",
            Err(ValidationError::RemoteStale { .. }) => "ErrRemoteStale",
            Err(ValidationError::LocalIncompatibleOrStale { .. }) => "ErrLocalIncompatibleOrStale",
        };
        assert_eq!(verdict, case["want"], "{}", case["note"]);
    }
    assert_eq!(cases.len(), 45);
}

#[test]
fn fork_ids_encode_as_geth_encodes_them() {
    let Some(vectors) = json(VECTORS) else { return };
    let cases = vectors["encoding"].as_array().unwrap();
    for case in cases {
        let id = ForkId { hash: hash(case, "hash"), next: number(case, "next") };
        assert_eq!(hex::encode(alloy_rlp::encode(id)), case["rlp"].as_str().unwrap());
    }
    assert_eq!(cases.len(), 3);
}

#[test]
fn presets_announce_the_known_fork_ids() {
    let table = [
        (ChainSpec::mainnet(), [0x5167_e2a6, 0xcba2_a1c0, 0x07c9_462e]),
        (ChainSpec::sepolia(), [0xe2ae_4999, 0x5607_8a1e, 0x2689_56b6]),
        (ChainSpec::hoodi(), [0xe7e0_e7ff, 0x3893_353e, 0x23aa_1351]),
    ];
    for (spec, hashes) in table {
        for (fork, hash) in [Fork::Osaka, Fork::Bpo1, Fork::Bpo2].into_iter().zip(hashes) {
            let time = spec.schedule.time_of(fork).unwrap();
            let found = spec.fork_id(30_000_000, time).hash;
            assert_eq!(found, ForkHash(u32::to_be_bytes(hash)), "{} {fork:?}", spec.name());
        }
    }
    let sepolia = ChainSpec::sepolia();
    assert_eq!(sepolia.fork_id(30_000_000, 1_761_607_008).next, 1_791_294_816);
}
