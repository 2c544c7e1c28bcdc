//! What decodes as a transaction, against alloy's decoder, which keeps what it decodes.

use std::sync::LazyLock;

use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702,
};
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip2930::{AccessList, AccessListItem},
    eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use alloy_rlp::{Encodable, Header};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{data::test_chain, mainnet};
use crate::{
    rlp::take_item,
    transaction::{BlobHashes, check_transaction},
};

/// What alloy makes of it: the blob hashes, or none where it does not decode.
fn decoded(tx: &[u8]) -> Option<Vec<B256>> {
    let tx = EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(tx).ok()?;
    let blobs = tx.as_eip4844().map(|tx| tx.tx().blob_versioned_hashes.clone());
    Some(blobs.unwrap_or_default())
}

fn checked(tx: &[u8]) -> Option<Vec<B256>> {
    check_transaction(tx).ok().map(BlobHashes::collect)
}

/// Real transactions, every type among them.
fn real() -> Option<Vec<Bytes>> {
    let chain = test_chain()?;
    let blocks = chain.blocks.into_iter().chain(mainnet::blocks()?);
    let all: Vec<_> = blocks.flat_map(|block| block.body.transactions.clone()).collect();
    for kind in 0..=4 {
        let is_kind = |tx: &&Bytes| if tx[0] >= 0xc0 { kind == 0 } else { tx[0] == kind };
        assert!(all.iter().any(|tx| is_kind(&tx)), "none of type {kind}");
    }
    Some(all)
}

#[test]
fn every_real_transaction_decodes() {
    let Some(all) = real() else { return };
    assert!(all.len() > 600);
    for tx in all {
        assert!(checked(&tx).is_some(), "{tx}");
        assert_eq!(checked(&tx), decoded(&tx), "{tx}");
    }
}

/// RLP as a tree, so that one item can be replaced and every length around it stays right.
enum Item {
    Leaf(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn read(item: &[u8]) -> Self {
        let mut rest = item;
        if !Header::decode(&mut rest).unwrap().list {
            return Self::Leaf(item.to_vec());
        }
        let mut items = Vec::new();
        while !rest.is_empty() {
            items.push(Self::read(take_item(&mut rest).unwrap()));
        }
        Self::List(items)
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
        }
    }

    /// The tree with the item at this place, counted in the order of its bytes, replaced by these.
    fn write(&self, at: &mut Option<usize>, instead: &[u8], out: &mut Vec<u8>) {
        match at {
            Some(0) => {
                *at = None;
                out.extend(instead);
                return;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match self {
            Self::Leaf(bytes) => out.extend(bytes),
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.write(at, instead, &mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend(payload);
            }
        }
    }
}

/// Items that a field may be replaced by: nothing, numbers of every size up to too large, some with
/// leading zeros or written too long, addresses, hashes, lists, one more than there should be.
fn instead() -> impl Strategy<Value = Vec<u8>> {
    let string = |length: usize| {
        vec(any::<u8>(), length).prop_map(|bytes| {
            let mut out = Vec::new();
            bytes.as_slice().encode(&mut out);
            out
        })
    };
    prop_oneof![
        Just(vec![]),
        Just(vec![0xc0]),
        Just(vec![0x80]),
        Just(vec![0x00]),
        Just(vec![0x81, 0x01]),
        Just(vec![0x82, 0x00, 0x01]),
        Just(vec![0xb8, 0x01, 0xff]),
        Just(vec![0xc1, 0xc0]),
        Just(vec![0xc1, 0x80]),
        Just(vec![0xc0, 0x80]),
        Just(vec![0x80, 0x80]),
        (0_u8..40).prop_map(|byte| vec![byte]),
        (0_usize..40).prop_flat_map(string),
        prop_oneof![Just(8), Just(9), Just(16), Just(17), Just(20), Just(32), Just(33)]
            .prop_flat_map(string),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_transaction_with_another_field_decodes_where_alloy_says_so(
        which in any::<Index>(),
        at in any::<Index>(),
        instead in instead(),
    ) {
        let Some(all) = REAL.as_ref() else { return Ok(()) };
        let tx = which.get(all);
        let typed = usize::from(tx[0] < 0xc0);
        let (kind, list) = tx.split_at(typed);
        let tree = Item::read(list);
        let mut changed = kind.to_vec();
        tree.write(&mut Some(at.index(tree.count())), &instead, &mut changed);
        prop_assert_eq!(checked(&changed), decoded(&changed), "{}", Bytes::from(changed));
    }

    #[test]
    fn a_damaged_transaction_decodes_where_alloy_says_so(
        which in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 1..3),
        kept in prop_oneof![Just(None), any::<Index>().prop_map(Some)],
        more in vec(any::<u8>(), 0..2),
    ) {
        let Some(all) = REAL.as_ref() else { return Ok(()) };
        let mut tx = which.get(all).to_vec();
        for (at, byte) in damage {
            // the first bytes hold the type, the lengths and most of the fields
            let at = at.index(tx.len().min(90));
            tx[at] = byte;
        }
        let kept = kept.map_or(tx.len(), |kept| kept.index(tx.len()));
        tx.truncate(kept);
        tx.extend(more);
        prop_assert_eq!(checked(&tx), decoded(&tx), "{}", Bytes::from(tx));
    }
}

/// One with something in every list, for each type that has lists.
fn full() -> Vec<Bytes> {
    let item = |byte| AccessListItem {
        address: Address::repeat_byte(byte),
        storage_keys: vec![B256::repeat_byte(1), B256::ZERO],
    };
    let access_list = AccessList(vec![item(1), item(2)]);
    let signature = Signature::test_signature();
    let authorization =
        Authorization { chain_id: U256::from(7), address: Address::repeat_byte(3), nonce: 300 };
    let authorization_list = vec![authorization.into_signed(signature); 2];
    let blob_versioned_hashes = vec![B256::repeat_byte(4); 2];
    let all: [EthereumTxEnvelope<TxEip4844>; 4] = [
        TxEip2930 { access_list: access_list.clone(), ..TxEip2930::default() }
            .into_signed(signature)
            .into(),
        TxEip1559 { access_list: access_list.clone(), ..TxEip1559::default() }
            .into_signed(signature)
            .into(),
        TxEip4844 {
            access_list: access_list.clone(),
            blob_versioned_hashes,
            ..TxEip4844::default()
        }
        .into_signed(signature)
        .into(),
        TxEip7702 { access_list, authorization_list, ..TxEip7702::default() }
            .into_signed(signature)
            .into(),
    ];
    all.iter().map(|tx| tx.encoded_2718().into()).collect()
}

/// What is damaged: half of the time a full one, otherwise a real one, the rare types as likely as the
/// frequent ones.
static REAL: LazyLock<Option<Vec<Bytes>>> = LazyLock::new(|| {
    let kind = |tx: &Bytes| tx[0].min(0xc0);
    let mut all = real()?;
    all.retain(|tx| tx.len() < 2_000);
    all.sort_by_key(|tx| (kind(tx), tx.len()));
    all.dedup_by_key(|tx| (kind(tx), tx.len()));
    let types: Vec<_> = all.chunk_by(|a, b| kind(a) == kind(b)).collect();
    let most = types.iter().map(|some| some.len()).max()?;
    let mut even: Vec<_> =
        types.iter().flat_map(|some| some.iter().cycle().take(most)).cloned().collect();
    let count = even.len();
    even.extend(full().into_iter().cycle().take(count));
    Some(even)
});
