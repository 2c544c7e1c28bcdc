//! Transactions made once and used many times over.
//!
//! Encoding and signing a transaction costs far more than copying one, so a pool of them is made
//! when a generator starts, and each use only writes a fresh nonce over the old one.

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use rand::{Rng, rngs::StdRng};

use crate::genesis::CHAIN_ID;

/// Every nonce is four bytes long, so that one can be written over another.
const NONCE_BYTES: usize = 4;
const FIRST_NONCE: u32 = 0x1000_0000;
const FIRST_NONCE_NIBBLE: u32 = 0xf000_0000;

/// A transaction whose nonce can be replaced.
pub(crate) struct Template {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Gas it is taken to have used.
    pub(crate) gas: u64,
    /// Blobs it carries.
    pub(crate) blobs: u64,
}

impl Template {
    /// Writes the transaction with the nonce of the `serial`th use.
    pub(crate) fn write(&self, serial: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&(FIRST_NONCE | (serial & !FIRST_NONCE_NIBBLE)).to_be_bytes());
        out.extend_from_slice(&self.tail);
    }

    fn new(gas: u64, blobs: u64, encode: impl Fn(u64) -> Vec<u8>) -> Self {
        let bytes = encode(u64::from(u32::MAX));
        let other = encode(u64::from(FIRST_NONCE));
        // only the nonce differs, and its first byte does
        let at = bytes.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(bytes.len());
        let (head, rest) = bytes.split_at(at);
        let tail = rest.get(NONCE_BYTES..).unwrap_or_default();
        Self { head: head.to_vec(), tail: tail.to_vec(), gas, blobs }
    }
}

/// What the transactions of a pool look like.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// Transfers and short calls.
    Small,
    /// What mainnet carries, now and then with several kilobytes of call data.
    Mainnet,
}

/// Transactions by where they may be used.
pub(crate) struct Pool {
    /// Types 0, 1 and 2.
    pub(crate) plain: Vec<Template>,
    /// Type 4, from Prague on.
    pub(crate) set_code: Vec<Template>,
    /// Type 3, from Cancun on: the nth carry n+1 blobs.
    pub(crate) blob: Vec<Vec<Template>>,
}

/// Most blobs in one transaction: Osaka's limit (EIP-7594), used throughout.
pub(crate) const MAX_BLOBS_PER_TX: u64 = 6;

const PLAIN: usize = 768;
const SET_CODE: usize = 16;
const PER_BLOB_COUNT: usize = 8;

impl Pool {
    pub(crate) fn new(size: Size, rng: &mut StdRng) -> Self {
        Self {
            plain: (0..PLAIN).map(|_| plain(size, rng)).collect(),
            set_code: (0..SET_CODE).map(|_| set_code(size, rng)).collect(),
            blob: (1..=MAX_BLOBS_PER_TX)
                .map(|blobs| (0..PER_BLOB_COUNT).map(|_| blob(blobs, size, rng)).collect())
                .collect(),
        }
    }
}

fn hash(rng: &mut StdRng) -> B256 {
    B256::new(rng.random())
}

fn account(rng: &mut StdRng) -> Address {
    Address::new(rng.random())
}

fn signature(rng: &mut StdRng) -> Signature {
    // below 2^254, and so below half of the curve's order, which is what s must be (EIP-2)
    let scalar = |rng: &mut StdRng| {
        let mut bytes: [u8; 32] = rng.random();
        let [first, .., last] = &mut bytes;
        *first &= 0x3f;
        *last |= 1;
        U256::from_be_bytes(bytes)
    };
    Signature::new(scalar(rng), scalar(rng), rng.random())
}

/// Call data as contracts see it: a selector and words that are mostly addresses and amounts.
fn call_data(size: Size, rng: &mut StdRng) -> Bytes {
    let words = match (size, rng.random_range(0..100)) {
        (Size::Small, _) => rng.random_range(0..3),
        (Size::Mainnet, 0..50) => rng.random_range(2..8),
        (Size::Mainnet, 50..95) => rng.random_range(8..26),
        (Size::Mainnet, _) => rng.random_range(40..120),
    };
    let mut data = rng.random::<[u8; 4]>().to_vec();
    for _ in 0..words {
        let mut word: [u8; 32] = rng.random();
        let zeros = match rng.random_range(0..10) {
            0..4 => 12,
            4..7 => 23,
            _ => 0,
        };
        word.iter_mut().take(zeros).for_each(|byte| *byte = 0);
        data.extend_from_slice(&word);
    }
    data.into()
}

fn access_list(rng: &mut StdRng) -> AccessList {
    let entries = rng.random_range(1..4);
    let item = |rng: &mut StdRng| {
        let keys = rng.random_range(0..4);
        AccessListItem {
            address: account(rng),
            storage_keys: (0..keys).map(|_| hash(rng)).collect(),
        }
    };
    AccessList((0..entries).map(|_| item(rng)).collect())
}

fn encoded<T>(tx: T, signature: Signature) -> Vec<u8>
where
    T: SignableTransaction<Signature>,
    alloy_consensus::Signed<T>: Into<TxEnvelope>,
{
    let envelope: TxEnvelope = tx.into_signed(signature).into();
    envelope.encoded_2718()
}

fn gas_price(rng: &mut StdRng) -> u128 {
    rng.random_range(1_000_000_000..60_000_000_000)
}

fn plain(size: Size, rng: &mut StdRng) -> Template {
    let transfer = rng.random_bool(match size {
        Size::Small => 0.7,
        Size::Mainnet => 0.3,
    });
    let (input, gas) = if transfer {
        (Bytes::new(), 21_000)
    } else {
        (call_data(size, rng), rng.random_range(40_000..260_000))
    };
    let (to, sig) = (TxKind::Call(account(rng)), signature(rng));
    let value = U256::from(rng.random::<u64>());
    let max_fee_per_gas = gas_price(rng);
    match rng.random_range(0..100) {
        0..20 => {
            let tx = TxLegacy {
                chain_id: Some(CHAIN_ID),
                gas_price: max_fee_per_gas,
                gas_limit: gas,
                to,
                value,
                input,
                nonce: 0,
            };
            Template::new(gas, 0, |nonce| encoded(TxLegacy { nonce, ..tx.clone() }, sig))
        }
        20..25 => {
            let tx = TxEip2930 {
                chain_id: CHAIN_ID,
                gas_price: max_fee_per_gas,
                gas_limit: gas,
                to,
                value,
                access_list: access_list(rng),
                input,
                nonce: 0,
            };
            Template::new(gas, 0, |nonce| encoded(TxEip2930 { nonce, ..tx.clone() }, sig))
        }
        _ => {
            let tx = TxEip1559 {
                chain_id: CHAIN_ID,
                gas_limit: gas,
                max_fee_per_gas,
                max_priority_fee_per_gas: max_fee_per_gas / 10,
                to,
                value,
                input,
                ..TxEip1559::default()
            };
            Template::new(gas, 0, |nonce| encoded(TxEip1559 { nonce, ..tx.clone() }, sig))
        }
    }
}

fn set_code(size: Size, rng: &mut StdRng) -> Template {
    let authority = |rng: &mut StdRng| {
        let inner = Authorization {
            chain_id: U256::from(CHAIN_ID),
            address: account(rng),
            nonce: rng.random_range(0..1000),
        };
        let sig = signature(rng);
        SignedAuthorization::new_unchecked(inner, u8::from(sig.v()), sig.r(), sig.s())
    };
    let authorities = rng.random_range(1..4);
    let tx = TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit: 120_000,
        max_fee_per_gas: gas_price(rng),
        max_priority_fee_per_gas: 1_000_000_000,
        to: account(rng),
        authorization_list: (0..authorities).map(|_| authority(rng)).collect(),
        input: call_data(size, rng),
        ..TxEip7702::default()
    };
    let sig = signature(rng);
    Template::new(tx.gas_limit, 0, |nonce| encoded(TxEip7702 { nonce, ..tx.clone() }, sig))
}

fn blob(blobs: u64, size: Size, rng: &mut StdRng) -> Template {
    let versioned = |rng: &mut StdRng| {
        let mut hash = hash(rng);
        // the version of a KZG commitment (EIP-4844)
        if let Some(version) = hash.first_mut() {
            *version = 1;
        }
        hash
    };
    let tx = TxEip4844 {
        chain_id: CHAIN_ID,
        gas_limit: 21_000,
        max_fee_per_gas: gas_price(rng),
        max_priority_fee_per_gas: 1_000_000_000,
        to: account(rng),
        blob_versioned_hashes: (0..blobs).map(|_| versioned(rng)).collect(),
        max_fee_per_blob_gas: gas_price(rng),
        input: call_data(size, rng),
        ..TxEip4844::default()
    };
    let sig = signature(rng);
    Template::new(tx.gas_limit, blobs, |nonce| encoded(TxEip4844 { nonce, ..tx.clone() }, sig))
}
