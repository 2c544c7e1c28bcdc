//! Two linked mainnet blocks from after BPO2, from their JSON.

use std::sync::Arc;

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Sealable};
use moorline_messages::{Block, Body, Breach};

use super::data::text;
use crate::{
    ChainSpec, block_rlp, block_rlp_len, body_matches, decode_block, validate_body,
    validate_header_against_parent, validate_header_alone,
};

fn block(number: u64) -> Option<Block> {
    let json = text(&format!("mainnet/block{number}.json"))?;
    let block: alloy_rpc_types_eth::Block = serde_json::from_str(&json).unwrap();
    let transactions =
        block.transactions.txns().map(|tx| Bytes::from(tx.inner.inner().encoded_2718())).collect();
    let header = block.header.inner.seal_slow();
    assert_eq!(header.hash(), block.header.hash);
    let body = Body {
        transactions,
        ommers: Body::NO_OMMERS,
        withdrawals: block.withdrawals.map(|withdrawals| withdrawals.to_vec()),
    };
    Some(Block { header: Arc::new(header), body: Arc::new(body) })
}

/// Both blocks; `None` where they are not beside this checkout.
pub(super) fn blocks() -> Option<[Block; 2]> {
    Some([block(24_476_000)?, block(24_476_001)?])
}

#[test]
fn linked_blocks_keep_every_rule() {
    let Some([parent, child]) = blocks() else { return };
    let spec = ChainSpec::mainnet();
    for block in [&parent, &child] {
        assert!(block.body.transactions.len() > 100);
        assert_eq!(validate_header_alone(&spec, &block.header), Ok(()));
        assert_eq!(body_matches(&block.header, &block.body), Ok(()));
        assert_eq!(validate_body(&spec, &block.header, &block.body), Ok(()));
        let rlp = block_rlp(&block.header, &block.body);
        assert_eq!(rlp.len(), block_rlp_len(&block.header, &block.body));
        assert_eq!(decode_block(&mut Bytes::from(rlp)).as_ref(), Ok(block));
    }
    assert_eq!(validate_header_against_parent(&spec, &child.header, &parent.header), Ok(()));
}

#[test]
fn the_excess_blob_gas_follows_the_schedule_in_force() {
    let Some([parent, child]) = blocks() else { return };
    // With BPO2 moved past these blocks, BPO1's target gives another excess.
    let mut spec = ChainSpec::mainnet();
    spec.override_fork_time("bpo2", 2_000_000_000).unwrap();
    assert!(matches!(
        validate_header_against_parent(&spec, &child.header, &parent.header),
        Err(Breach::ExcessBlobGas { .. })
    ));
}
