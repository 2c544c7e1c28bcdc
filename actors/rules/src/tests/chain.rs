//! Every rule over 600 real blocks.

use alloy_primitives::Bytes;
use moorline_messages::{BlockNumHash, Body};

use super::data::test_chain;
use crate::{
    BlockReader, BodyMismatch, blob_versioned_hashes, block_rlp, block_rlp_len, body_key,
    body_matches, decode_block, key_of, validate_body, validate_header_against_parent,
    validate_header_alone,
};

#[test]
fn the_chain_hangs_together_from_genesis_to_head() {
    let Some(chain) = test_chain() else { return };
    assert_eq!(chain.blocks.len(), 600);
    let mut parent = chain.spec.genesis().clone();
    for block in &chain.blocks {
        let at = block.num_hash();
        assert_eq!(validate_header_alone(&chain.spec, &block.header), Ok(()), "{at}");
        assert_eq!(
            validate_header_against_parent(&chain.spec, &block.header, &parent),
            Ok(()),
            "{at}"
        );
        parent = block.header.clone();
    }
    assert_eq!(
        BlockNumHash::of(&parent).to_string(),
        "600 (0x44e3809c9a3cda717f00aea3a9da336d149612c8d5657fbc0028176ef8d94d2a)"
    );
}

#[test]
fn every_body_is_its_headers_and_keeps_the_rules() {
    let Some(chain) = test_chain() else { return };
    let (mut transactions, mut withdrawals, mut blobs) = (0, 0, 0);
    for block in &chain.blocks {
        assert_eq!(body_matches(&block.header, &block.body), Ok(()));
        assert_eq!(key_of(&block.body), body_key(&block.header));
        assert_eq!(validate_body(&chain.spec, &block.header, &block.body), Ok(()));
        transactions += block.body.transactions.len();
        withdrawals += block.body.withdrawals.as_ref().map_or(0, Vec::len);
        blobs += blob_versioned_hashes(&block.body).unwrap().len();
    }
    assert!(transactions > 500, "{transactions}");
    assert_eq!(withdrawals, 54);
    assert!(blobs > 0);
}

#[test]
fn blocks_encode_to_the_bytes_they_came_from() {
    let Some(chain) = test_chain() else { return };
    let mut all = Vec::new();
    for block in &chain.blocks {
        let rlp = block_rlp(&block.header, &block.body);
        assert_eq!(rlp.len(), block_rlp_len(&block.header, &block.body));
        all.extend(rlp);
    }
    assert!(all == chain.rlp, "the encoded chain differs from chain.rlp");
}

#[test]
fn transactions_are_slices_of_the_bytes_they_came_in() {
    let Some(chain) = test_chain() else { return };
    let range = chain.rlp.as_ptr_range();
    for tx in chain.blocks.iter().flat_map(|block| &block.body.transactions) {
        assert!(range.contains(&tx.as_ptr()));
    }
}

#[test]
fn a_body_of_another_block_is_told_by_its_roots() {
    let Some(chain) = test_chain() else { return };
    let with_transactions = |block: &&moorline_messages::Block| !block.body.transactions.is_empty();
    let mut blocks = chain.blocks.iter().filter(with_transactions);
    let (one, other) = (blocks.next().unwrap(), blocks.next().unwrap());
    let mut body = Body::clone(&one.body);

    body.transactions.clone_from(&other.body.transactions);
    assert!(matches!(
        body_matches(&one.header, &body),
        Err(BodyMismatch::Transactions { expected, .. }) if expected == one.header.transactions_root
    ));

    let no_withdrawals = Body { withdrawals: None, ..Body::clone(&one.body) };
    assert!(matches!(
        body_matches(&one.header, &no_withdrawals),
        Err(BodyMismatch::Withdrawals { found: None, expected: Some(_) })
    ));

    let ommers = Bytes::from_static(&[0xc1, 0xc0]);
    let ommers = Body { ommers, ..Body::clone(&one.body) };
    assert!(matches!(body_matches(&one.header, &ommers), Err(BodyMismatch::Ommers { .. })));
}

#[test]
fn a_chain_cut_short_reads_up_to_the_cut_and_says_where() {
    let Some(chain) = test_chain() else { return };
    let mut reader = BlockReader::new(chain.rlp.slice(..chain.rlp.len() - 1));
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 599);
    let last = chain.blocks.last().unwrap();
    assert_eq!(reader.offset(), chain.rlp.len() - block_rlp_len(&last.header, &last.body));
    assert!(reader.next().is_none());

    let mut reader = BlockReader::new(chain.rlp.slice(1..));
    assert_eq!(reader.next().unwrap().unwrap_err().offset, 0);
    assert!(reader.next().is_none());
}

#[test]
fn a_block_with_more_or_other_fields_than_a_block_has_is_refused() {
    let Some(chain) = test_chain() else { return };
    let block = &chain.blocks[0];
    let wrap = |payload: Vec<u8>| {
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend(payload);
        decode_block(&mut Bytes::from(out))
    };
    let header = alloy_rlp::encode(block.header.inner());

    let good = [&header[..], &[0xc0, 0xc0, 0xc0]].concat();
    assert!(wrap(good.clone()).is_ok());
    let without_withdrawals = [&header[..], &[0xc0, 0xc0]].concat();
    assert_eq!(wrap(without_withdrawals).unwrap().body.withdrawals, None);

    let trailing = [&good[..], &[0xc0]].concat();
    let empty_transaction = [&header[..], &[0xc1, 0x80, 0xc0, 0xc0]].concat();
    let list_in_a_string = [&header[..], &[0xc3, 0x82, 0xc1, 0x01, 0xc0, 0xc0]].concat();
    let ommers_as_string = [&header[..], &[0xc0, 0x80, 0xc0]].concat();
    let no_ommers = [&header[..], &[0xc0]].concat();
    for bad in [trailing, empty_transaction, list_in_a_string, ommers_as_string, no_ommers] {
        assert!(wrap(bad).is_err());
    }
}
