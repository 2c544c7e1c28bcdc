//! Each rule, broken in a real header or body.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B64, B256, Bytes, Sealable, Signature, U256};
use moorline_messages::{Block, Body, Breach, Header, SealedHeader};

use super::data::{TestChain, test_chain};
use crate::{
    ChainSpec,
    header::{next_base_fee, next_excess_blob_gas},
    validate_body, validate_header_against_parent, validate_header_alone,
};

/// Something done to a header, under the name of the field it is done to.
type Change = (&'static str, fn(&mut Header));

/// A block under Prague, and the block under it.
struct Rig {
    chain: TestChain,
    parent: Arc<SealedHeader>,
    block: Block,
}

impl Rig {
    fn new() -> Option<Self> {
        let chain = test_chain()?;
        let (parent, block) = (chain.blocks[298].header.clone(), chain.blocks[299].clone());
        Some(Self { chain, parent, block })
    }

    /// What is wrong with the header once it was changed like this.
    fn alone(&self, change: impl FnOnce(&mut Header)) -> Result<(), Breach> {
        let mut header = self.block.header.inner().clone();
        change(&mut header);
        validate_header_alone(&self.chain.spec, &header)
    }

    /// What is wrong with the header beside its parent once it was changed like this.
    fn beside_parent(&self, change: impl FnOnce(&mut Header)) -> Result<(), Breach> {
        let mut header = self.block.header.inner().clone();
        change(&mut header);
        validate_header_against_parent(&self.chain.spec, &header.seal_slow(), &self.parent)
    }

    /// What is wrong with the body once header and body were changed like this.
    fn body(&self, change: impl FnOnce(&mut Header, &mut Body)) -> Result<(), Breach> {
        let mut header = self.block.header.inner().clone();
        let mut body = Body::clone(&self.block.body);
        change(&mut header, &mut body);
        validate_body(&self.chain.spec, &header, &body)
    }

    /// One of this type.
    fn transaction(&self, kind: u8) -> Bytes {
        let mut transactions = self.chain.blocks.iter().flat_map(|block| &block.body.transactions);
        transactions.find(|tx| tx[0] == kind).unwrap().clone()
    }
}

#[test]
fn the_unchanged_block_is_right() {
    let Some(rig) = Rig::new() else { return };
    assert_eq!(rig.alone(|_| ()), Ok(()));
    assert_eq!(rig.beside_parent(|_| ()), Ok(()));
    assert_eq!(rig.body(|_, _| ()), Ok(()));
}

#[test]
fn number_must_follow_the_parents() {
    let Some(rig) = Rig::new() else { return };
    for found in [299, 301, u64::MAX] {
        let breach = rig.beside_parent(|header| header.number = found);
        assert_eq!(breach, Err(Breach::Number { found, parent: 299 }));
    }
}

#[test]
fn parent_hash_must_be_the_parents() {
    let Some(rig) = Rig::new() else { return };
    let found = B256::repeat_byte(1);
    assert_eq!(
        rig.beside_parent(|header| header.parent_hash = found),
        Err(Breach::ParentHash { found, expected: rig.parent.hash() })
    );
}

#[test]
fn timestamp_must_be_later_than_the_parents() {
    let Some(rig) = Rig::new() else { return };
    let parent = rig.parent.timestamp;
    for found in [parent, parent - 1] {
        let breach = rig.beside_parent(|header| header.timestamp = found);
        assert_eq!(breach, Err(Breach::Timestamp { found, parent }));
    }
}

#[test]
fn extra_data_is_at_most_32_bytes() {
    let Some(rig) = Rig::new() else { return };
    assert_eq!(rig.alone(|header| header.extra_data = vec![0; 32].into()), Ok(()));
    let breach = rig.alone(|header| header.extra_data = vec![0; 33].into());
    assert_eq!(breach, Err(Breach::ExtraData(33)));
}

#[test]
fn gas_used_stays_within_the_limit() {
    let Some(rig) = Rig::new() else { return };
    let limit = rig.block.header.gas_limit;
    assert_eq!(rig.alone(|header| header.gas_used = limit), Ok(()));
    let breach = rig.alone(|header| header.gas_used = limit + 1);
    assert_eq!(breach, Err(Breach::GasUsed { used: limit + 1, limit }));
}

#[test]
fn gas_limit_moves_by_less_than_a_1024th() {
    let Some(rig) = Rig::new() else { return };
    let parent = rig.parent.gas_limit;
    let bound = parent / 1_024;
    for found in [parent + bound - 1, parent - bound + 1] {
        assert_eq!(rig.beside_parent(|header| header.gas_limit = found), Ok(()));
    }
    for found in [parent + bound, parent - bound, 4_999, 1 << 63, u64::MAX] {
        let breach = rig.beside_parent(|header| header.gas_limit = found);
        assert_eq!(breach, Err(Breach::GasLimit { found, parent }));
    }
}

#[test]
fn gas_limit_stays_within_its_bounds() {
    let spec = ChainSpec::sepolia();
    for (parent_limit, found, is_right) in [
        (5_001, 5_000, true),
        (5_000, 4_999, false),
        (i64::MAX as u64 - 1, i64::MAX as u64, true),
        (i64::MAX as u64, 1 << 63, false),
    ] {
        let parent = Header {
            gas_limit: parent_limit,
            gas_used: parent_limit / 2,
            base_fee_per_gas: Some(7),
            ..Header::default()
        };
        let parent = parent.seal_slow();
        let child = Header {
            number: 1,
            timestamp: 1,
            parent_hash: parent.hash(),
            gas_limit: found,
            base_fee_per_gas: Some(7),
            ..Header::default()
        };
        let verdict = validate_header_against_parent(&spec, &child.seal_slow(), &parent);
        let breach = Err(Breach::GasLimit { found, parent: parent_limit });
        assert_eq!(verdict, if is_right { Ok(()) } else { breach });
    }
}

#[test]
fn base_fee_follows_from_the_parent() {
    let Some(rig) = Rig::new() else { return };
    let expected = rig.block.header.base_fee_per_gas.unwrap();
    let breach = rig.beside_parent(|header| header.base_fee_per_gas = Some(expected + 1));
    assert_eq!(breach, Err(Breach::BaseFee { found: expected + 1, expected }));
    let breach = rig.beside_parent(|header| header.base_fee_per_gas = None);
    assert_eq!(breach, Err(Breach::ForkField { field: "baseFeePerGas", required: true }));
}

#[test]
fn base_fee_moves_as_eip_1559_says() {
    // Vectors of the EIP's reference implementation: at, below and above the target.
    assert_eq!(next_base_fee(10_000_000, 20_000_000, 1_000_000_000), 1_000_000_000);
    assert_eq!(next_base_fee(9_000_000, 20_000_000, 1_000_000_000), 987_500_000);
    assert_eq!(next_base_fee(11_000_000, 20_000_000, 1_000_000_000), 1_012_500_000);
    assert_eq!(next_base_fee(11_000_000, 20_000_000, 1), 2);
    assert_eq!(next_base_fee(0, 0, 7), 7);
    assert_eq!(next_base_fee(u64::MAX, 2, u64::MAX), u64::MAX);
}

#[test]
fn the_first_london_block_doubles_the_limit_and_starts_at_one_gwei() {
    let spec = ChainSpec::mainnet();
    let proof_of_work = |number, gas_limit, base_fee_per_gas| Header {
        number,
        gas_limit,
        base_fee_per_gas,
        timestamp: number,
        difficulty: U256::from(1),
        ..Header::default()
    };
    let parent = proof_of_work(12_964_999, 15_000_000, None).seal_slow();
    let child = |gas_limit, fee| {
        let header = Header {
            parent_hash: parent.hash(),
            ..proof_of_work(12_965_000, gas_limit, Some(fee))
        };
        assert_eq!(validate_header_alone(&spec, &header), Ok(()));
        validate_header_against_parent(&spec, &header.seal_slow(), &parent)
    };
    assert_eq!(child(30_000_000, 1_000_000_000), Ok(()));
    assert_eq!(
        child(15_000_000, 1_000_000_000),
        Err(Breach::GasLimit { found: 15_000_000, parent: 30_000_000 })
    );
    assert_eq!(child(30_000_000, 7), Err(Breach::BaseFee { found: 7, expected: 1_000_000_000 }));
}

#[test]
fn excess_blob_gas_follows_from_the_parent() {
    let Some(rig) = Rig::new() else { return };
    let expected = rig.block.header.excess_blob_gas.unwrap();
    let breach = rig.beside_parent(|header| header.excess_blob_gas = Some(expected + 1));
    assert_eq!(breach, Err(Breach::ExcessBlobGas { found: expected + 1, expected }));
}

#[test]
fn excess_blob_gas_has_a_reserve_price_from_osaka_on() {
    let blob = 131_072;
    let spec = ChainSpec::mainnet();
    let parent = |excess: u64, used: u64, base_fee| Header {
        excess_blob_gas: Some(excess * blob),
        blob_gas_used: Some(used * blob),
        base_fee_per_gas: Some(base_fee),
        ..Header::default()
    };
    let prague = spec.blob_params(1_746_612_311).unwrap();
    let osaka = spec.blob_params(1_764_798_551).unwrap();
    for params in [prague, osaka] {
        assert_eq!(next_excess_blob_gas(&params, &Header::default()), 0);
        assert_eq!(next_excess_blob_gas(&params, &parent(3, 2, 1)), 0);
        assert_eq!(next_excess_blob_gas(&params, &parent(3, 4, 1)), blob);
        // 8192 * 16 = 131072 * 1: the price is not below the reserve yet.
        assert_eq!(next_excess_blob_gas(&params, &parent(3, 6, 16)), 3 * blob);
    }
    assert_eq!(next_excess_blob_gas(&prague, &parent(3, 6, 17)), 3 * blob);
    assert_eq!(next_excess_blob_gas(&osaka, &parent(3, 6, 17)), 3 * blob + 6 * blob * 3 / 9);
}

#[test]
fn blob_gas_comes_in_whole_blobs_up_to_the_maximum() {
    let Some(rig) = Rig::new() else { return };
    let max = 9 * 131_072;
    assert_eq!(rig.alone(|header| header.blob_gas_used = Some(max)), Ok(()));
    for found in [1, 131_071, max + 131_072, u64::MAX] {
        let breach = rig.alone(|header| header.blob_gas_used = Some(found));
        assert_eq!(breach, Err(Breach::BlobGasUsed { found, max }));
    }
}

#[test]
fn fork_fields_are_there_from_their_fork_on() {
    let Some(rig) = Rig::new() else { return };
    let left_out: [Change; 6] = [
        ("baseFeePerGas", |header| header.base_fee_per_gas = None),
        ("withdrawalsRoot", |header| header.withdrawals_root = None),
        ("blobGasUsed", |header| header.blob_gas_used = None),
        ("excessBlobGas", |header| header.excess_blob_gas = None),
        ("parentBeaconBlockRoot", |header| header.parent_beacon_block_root = None),
        ("requestsHash", |header| header.requests_hash = None),
    ];
    for (field, change) in left_out {
        assert_eq!(rig.alone(change), Err(Breach::ForkField { field, required: true }));
    }
    let too_early: [Change; 2] = [
        ("blockAccessListHash", |header| header.block_access_list_hash = Some(B256::ZERO)),
        ("slotNumber", |header| header.slot_number = Some(1)),
    ];
    for (field, change) in too_early {
        assert_eq!(rig.alone(change), Err(Breach::ForkField { field, required: false }));
    }

    let mut spec = rig.chain.spec.clone();
    for fork in ["osaka", "amsterdam"] {
        spec.override_fork_time(fork, rig.block.header.timestamp).unwrap();
    }
    assert_eq!(
        validate_header_alone(&spec, &rig.block.header),
        Err(Breach::ForkField { field: "blockAccessListHash", required: true })
    );
    assert_eq!(
        rig.alone(|header| header.timestamp = 59),
        Err(Breach::ForkField { field: "blobGasUsed", required: false })
    );
}

#[test]
fn proof_of_stake_headers_hold_its_constants() {
    let Some(rig) = Rig::new() else { return };
    let breach = rig.alone(|header| header.ommers_hash = B256::ZERO);
    assert_eq!(breach, Err(Breach::ProofOfStake("sha3Uncles")));
    let breach = rig.alone(|header| header.nonce = B64::with_last_byte(1));
    assert_eq!(breach, Err(Breach::ProofOfStake("nonce")));
    let ommers = Bytes::from_static(&[0xc1, 0xc0]);
    let breach = rig.body(|_, body| body.ommers = ommers);
    assert_eq!(breach, Err(Breach::ProofOfStake("uncles")));
}

#[test]
fn proof_of_work_does_not_come_back() {
    let Some(rig) = Rig::new() else { return };
    let breach = Err(Breach::DifficultyAfterMerge("7".to_owned()));
    assert_eq!(rig.alone(|header| header.difficulty = U256::from(7)), breach);
    assert_eq!(rig.beside_parent(|header| header.difficulty = U256::from(7)), breach);
    // The genesis block alone may carry it.
    assert_eq!(validate_header_alone(&rig.chain.spec, rig.chain.spec.genesis()), Ok(()));

    let proof_of_work = Header { number: 1, difficulty: U256::from(7), ..Header::default() };
    assert_eq!(validate_header_alone(&ChainSpec::mainnet(), &proof_of_work), Ok(()));
    // Shanghai came after the merge.
    let late = Header { timestamp: 1_681_338_455, ..proof_of_work.clone() };
    assert_eq!(validate_header_alone(&ChainSpec::mainnet(), &late), breach);
    // A chain whose genesis block reaches the terminal difficulty has no proof of work at all.
    let chain = |terminal: u64| {
        let json = format!(
            r#"{{"config": {{"chainId": 7, "terminalTotalDifficulty": {terminal}}}, "alloc": {{}}}}"#
        );
        ChainSpec::from_genesis_json(&json).unwrap()
    };
    assert_eq!(validate_header_alone(&chain(0), &proof_of_work), breach);
    assert_eq!(validate_header_alone(&chain(1), &proof_of_work), Ok(()));
}

#[test]
fn transactions_are_of_types_in_force_and_whole() {
    let Some(rig) = Rig::new() else { return };
    let index = rig.block.body.transactions.len();
    let tx = rig.block.body.transactions[0].clone();
    let trailing = Bytes::from([&tx[..], &[0]].concat());
    let string_inside = Bytes::from_static(&[2, 0x80]);
    let no_type = Bytes::from_static(&[0x80]);
    let later_type = Bytes::from_static(&[5, 0xc0]);
    let bare_blob_type = Bytes::from_static(&[3, 0xc0]);
    let with_blobs = Bytes::from_static(&[3, 0xc1, 0xc0]);
    for bad in
        [Bytes::new(), trailing, string_inside, no_type, later_type, bare_blob_type, with_blobs]
    {
        let breach = rig.body(|_, body| body.transactions.push(bad.clone()));
        assert_eq!(breach, Err(Breach::Transaction(index)), "{bad}");
    }
}

#[test]
fn transaction_types_begin_with_their_fork() {
    let Some(rig) = Rig::new() else { return };
    let spec = ChainSpec::mainnet();
    for (kind, (number, timestamp), (earlier_number, earlier_timestamp)) in [
        (1, (12_244_000, 0), (12_243_999, 0)),
        (2, (12_965_000, 0), (12_964_999, 0)),
        (3, (20_000_000, 1_710_338_135), (20_000_000, 1_710_338_134)),
        (4, (20_000_000, 1_746_612_311), (20_000_000, 1_746_612_310)),
    ] {
        let blob_gas_used = (kind == 3).then_some(131_072);
        let transactions = vec![rig.transaction(kind)];
        let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: None };
        let verdict = |number, timestamp| {
            let header = Header { number, timestamp, blob_gas_used, ..Header::default() };
            validate_body(&spec, &header, &body)
        };
        assert_eq!(verdict(number, timestamp), Ok(()), "type {kind}");
        let early = verdict(earlier_number, earlier_timestamp);
        assert_eq!(early, Err(Breach::Transaction(0)), "type {kind}");
    }
}

#[test]
fn blobs_add_up_to_the_blob_gas() {
    let Some(rig) = Rig::new() else { return };
    let blob = rig.transaction(3);
    let breach = rig.body(|_, body| body.transactions.push(blob.clone()));
    assert_eq!(breach, Err(Breach::BlobCount { found: 1, expected: 0 }));
    let breach = rig.body(|header, _| header.blob_gas_used = Some(2 * 131_072));
    assert_eq!(breach, Err(Breach::BlobCount { found: 0, expected: 2 }));
    let paid = rig.body(|header, body| {
        header.blob_gas_used = Some(131_072);
        body.transactions.push(blob);
    });
    assert_eq!(paid, Ok(()));
}

#[test]
fn blocks_are_at_most_8_mib_from_osaka_on() {
    let Some(mut rig) = Rig::new() else { return };
    let large = TxLegacy { input: vec![0; 0x80_0000].into(), ..TxLegacy::default() };
    let large = Bytes::from(large.into_signed(Signature::test_signature()).encoded_2718());
    assert_eq!(rig.body(|_, body| body.transactions.push(large.clone())), Ok(()));

    let time = rig.block.header.timestamp;
    rig.chain.spec.override_fork_time("osaka", time).unwrap();
    let breach = rig.body(|_, body| body.transactions.push(large));
    assert!(matches!(breach, Err(Breach::Size(size)) if size > 8_388_608));
    assert_eq!(rig.body(|_, _| ()), Ok(()));
}
