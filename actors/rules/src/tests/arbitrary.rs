//! Nothing that comes from outside can panic.

use alloy_primitives::{Bytes, Sealable};
use moorline_messages::{Body, Header, Receipts};
use proptest::{collection::vec, prelude::*};

use super::data::test_chain;
use crate::{
    BlockReader, ChainSpec, blob_versioned_hashes, block_rlp, block_rlp_len, body_matches,
    consensus_receipt, decode_block,
    header::{next_base_fee, next_excess_blob_gas},
    logs_bloom, receipts_key, validate_body, validate_header_against_parent, validate_header_alone,
};

fn arbitrary_header() -> impl Strategy<Value = Header> {
    let numbers = any::<[u64; 7]>();
    (numbers, any::<[Option<u64>; 3]>(), any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(
        |(numbers, optional, is_pow, extra)| Header {
            number: numbers[0],
            gas_limit: numbers[1],
            gas_used: numbers[2],
            timestamp: numbers[3],
            base_fee_per_gas: optional[0],
            blob_gas_used: optional[1],
            excess_blob_gas: optional[2],
            difficulty: alloy_primitives::U256::from(u8::from(is_pow)),
            extra_data: extra.into(),
            ..Header::default()
        },
    )
}

proptest! {
    #[test]
    fn decoders_survive_arbitrary_bytes(bytes in vec(any::<u8>(), 0..600)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_block(&mut bytes.clone());
        prop_assert!(BlockReader::new(bytes.clone()).count() <= bytes.len());
        let _ = consensus_receipt(&bytes);
        let _ = logs_bloom(&bytes);
        let _ = receipts_key(&Receipts { items: vec![bytes.clone()] });
        let _ = ChainSpec::from_genesis_json(&String::from_utf8_lossy(&bytes));
        let blob = Bytes::from([&[3], &bytes[..]].concat());
        for tx in [bytes, blob] {
            let body = Body { transactions: vec![tx], ommers: Body::NO_OMMERS, withdrawals: None };
            let _ = blob_versioned_hashes(&body);
            let _ = body_matches(&Header::default(), &body);
            let _ = validate_body(&ChainSpec::mainnet(), &Header::default(), &body);
        }
    }

    #[test]
    fn a_damaged_block_never_panics_and_never_passes_for_the_whole_one(
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let Some(chain) = test_chain() else { return Ok(()) };
        let block = &chain.blocks[30];
        let mut rlp = block_rlp(&block.header, &block.body);
        let at = at.index(rlp.len());
        rlp[at] ^= flip;
        if let Ok(damaged) = decode_block(&mut Bytes::from(rlp)) {
            let is_same_header = damaged.header.hash() == block.header.hash();
            prop_assert!(!is_same_header || body_matches(&block.header, &damaged.body).is_err());
        }
    }

    #[test]
    fn whatever_decodes_encodes_back(
        transactions in vec(vec(any::<u8>(), 1..80), 0..150),
        header in arbitrary_header(),
    ) {
        let transactions = transactions
            .into_iter()
            .map(|mut tx| { tx[0] &= 0x7f; Bytes::from(tx) })
            .collect();
        // Optional fields of a header must not have gaps before they can be read back.
        let header = Header { base_fee_per_gas: None, blob_gas_used: None, excess_blob_gas: None, ..header };
        let body = Body { transactions, ommers: Body::NO_OMMERS, withdrawals: Some(vec![]) };
        let rlp = block_rlp(&header, &body);
        prop_assert_eq!(rlp.len(), block_rlp_len(&header, &body));
        let block = decode_block(&mut Bytes::from(rlp)).unwrap();
        prop_assert_eq!(block.header.inner(), &header);
        prop_assert_eq!(block.body.as_ref(), &body);
    }

    #[test]
    fn header_rules_survive_any_figures(
        header in arbitrary_header(),
        parent in arbitrary_header(),
    ) {
        let parent = parent.seal_slow();
        let header = Header {
            number: parent.number.wrapping_add(1),
            parent_hash: parent.hash(),
            ..header
        };
        for spec in [ChainSpec::mainnet(), ChainSpec::sepolia(), ChainSpec::hoodi()] {
            let _ = validate_header_alone(&spec, &header);
            let sealed = header.clone().seal_slow();
            let _ = validate_header_against_parent(&spec, &sealed, &parent);
            let params = spec.blob_params(u64::MAX).unwrap();
            let _ = next_excess_blob_gas(&params, &parent);
        }
        let _ = next_base_fee(parent.gas_used, parent.gas_limit, header.number);
    }
}
