//! Two mainnet blocks with their receipts, either side of Shanghai.

use alloy_primitives::{B256, Bytes, hex};
use alloy_rlp::Decodable;
use moorline_messages::{Breach, Header, Receipts, SealedHeader};

use super::data::text;
use crate::{
    ChainSpec, block_rlp, body_matches, consensus_receipt, decode_block, receipts_key,
    rlp::{take_item, take_list},
    validate_body, validate_header_against_parent, validate_header_alone, validate_receipts,
};

struct Sample {
    header: SealedHeader,
    /// header and body joined as a block.
    rlp: Bytes,
    receipts: Receipts,
}

fn sample(number: u64) -> Option<Sample> {
    let file = text(&format!("receipts/block-data-{number}.yaml"))?;
    let field = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        hex::decode(line.trim().trim_matches('"')).unwrap()
    };
    let header = field("header");
    let body = field("body");
    let receipts = field("receipts");

    let fields = take_list(&mut &body[..]).unwrap();
    let payload = [&header[..], fields].concat();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    rlp.extend(payload);

    let mut list = take_list(&mut &receipts[..]).unwrap();
    let mut items = Vec::new();
    while !list.is_empty() {
        items.push(Bytes::copy_from_slice(take_item(&mut list).unwrap()));
    }
    let header = Header::decode_sealed(&mut &header[..]).unwrap();
    Some(Sample { header, rlp: rlp.into(), receipts: Receipts { items } })
}

const NUMBERS: [u64; 2] = [17_034_869, 17_034_870];

#[test]
fn receipts_without_blooms_prove_against_root_bloom_and_gas() {
    let spec = ChainSpec::mainnet();
    for number in NUMBERS {
        let Some(sample) = sample(number) else { return };
        assert!(sample.receipts.items.len() > 50);
        let key = receipts_key(&sample.receipts).unwrap();
        assert_eq!(key.root, sample.header.receipts_root);
        assert_eq!(validate_receipts(&spec, &sample.header, &key), Ok(()));
    }
}

#[test]
fn the_blocks_keep_every_rule_across_shanghai() {
    let spec = ChainSpec::mainnet();
    let (Some(last), Some(first)) = (sample(NUMBERS[0]), sample(NUMBERS[1])) else { return };
    for sample in [&last, &first] {
        let block = decode_block(&mut sample.rlp.clone()).unwrap();
        assert_eq!(block.header.as_ref(), &sample.header);
        assert_eq!(body_matches(&block.header, &block.body), Ok(()));
        assert_eq!(validate_header_alone(&spec, &block.header), Ok(()));
        assert_eq!(validate_body(&spec, &block.header, &block.body), Ok(()));
        assert!(block_rlp(&block.header, &block.body) == sample.rlp);
    }
    assert_eq!(validate_header_against_parent(&spec, &first.header, &last.header), Ok(()));
}

#[test]
fn a_header_that_says_otherwise_than_its_receipts_is_found_out() {
    let spec = ChainSpec::mainnet();
    let (Some(one), Some(other)) = (sample(NUMBERS[0]), sample(NUMBERS[1])) else { return };
    let key = receipts_key(&one.receipts).unwrap();
    assert_ne!(key.root, other.header.receipts_root);
    let mut header = one.header.inner().clone();
    header.logs_bloom = other.header.logs_bloom;
    assert_eq!(validate_receipts(&spec, &header, &key), Err(Breach::LogsBloom));

    let mut header = one.header.inner().clone();
    header.gas_used -= 1;
    let (found, expected) = (header.gas_used, one.header.gas_used);
    assert_eq!(
        validate_receipts(&spec, &header, &key),
        Err(Breach::ReceiptsGas { found, expected })
    );
}

#[test]
fn receipts_that_cannot_be_read_have_no_key() {
    let one_log_short = Bytes::from_static(&[0x01, 0x80]);
    assert_eq!(receipts_key(&Receipts { items: vec![one_log_short] }), None);
    let none = receipts_key(&Receipts::default()).unwrap();
    assert_eq!(none.root, alloy_consensus::constants::EMPTY_RECEIPTS);
}

#[test]
fn a_receipt_from_before_byzantium_keeps_its_state_root() {
    let state_root = B256::repeat_byte(7);
    let mut payload = vec![0x80];
    alloy_rlp::Encodable::encode(&state_root, &mut payload);
    payload.extend([0x82, 0x52, 0x08, 0xc0]);
    let mut flat = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut flat);
    flat.extend(payload);

    let receipt = consensus_receipt(&flat).unwrap();
    let mut fields = take_list(&mut &receipt[..]).unwrap();
    assert_eq!(B256::decode(&mut fields), Ok(state_root));
}

#[test]
fn malformed_receipts_are_refused() {
    let good = hex!("c60201825208c0");
    assert!(consensus_receipt(&good).is_ok());
    for bad in [
        &hex!("c0")[..],
        // A type that is none, a missing field, a field too many, logs that are no list.
        &hex!("c7818001825208c0"),
        &hex!("c50201825208"),
        &hex!("c70201825208c0c0"),
        &hex!("c6020182520880"),
        &hex!("c60201825208c000"),
    ] {
        assert!(consensus_receipt(bad).is_err(), "{}", hex::encode(bad));
    }
}
