//! Receipts against the header's root and bloom.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, Bytes};
use alloy_rlp::{BufMut, Encodable, Error, Result as RlpResult};
use alloy_trie::root::ordered_trie_root_encoded;
use moorline_messages::Blame;
use thiserror::Error;

use crate::rlp::{end, is_list, take_item, take_list, take_string};

/// The greatest transaction type (EIP-2718).
const MAX_TYPE: u8 = 0x7f;

/// How receipts differ from what their header says.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReceiptsMismatch {
    /// A receipt cannot be read.
    #[error("receipt {0} cannot be decoded")]
    Malformed(usize),
    /// The receipts are not the header's.
    #[error("receipts root is {found}, the header says {expected}")]
    Root {
        /// Root of the receipts that came.
        found: B256,
        /// Root in the header.
        expected: B256,
    },
    /// The receipts are the header's, and the header's bloom is not theirs.
    #[error("the header's bloom is not that of its receipts")]
    Bloom,
}

impl ReceiptsMismatch {
    /// Whose fault it was: the sender's, unless the header contradicts itself.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_) | Self::Root { .. } => Blame::Peer,
            Self::Bloom => Blame::Chain,
        }
    }
}

/// Whether these receipts, each in its consensus encoding, are the ones a header commits to, and
/// whether the header's bloom is the union of theirs.
pub fn receipts_match(header: &Header, receipts: &[Bytes]) -> Result<(), ReceiptsMismatch> {
    let found = receipts_root(receipts);
    if found != header.receipts_root {
        return Err(ReceiptsMismatch::Root { found, expected: header.receipts_root });
    }
    let mut bloom = Bloom::ZERO;
    for (index, receipt) in receipts.iter().enumerate() {
        let logs = logs_of(receipt).map_err(|_| ReceiptsMismatch::Malformed(index))?;
        bloom |= logs_bloom(logs).map_err(|_| ReceiptsMismatch::Malformed(index))?;
    }
    if bloom != header.logs_bloom {
        return Err(ReceiptsMismatch::Bloom);
    }
    Ok(())
}

/// Root of the trie of receipts, over their consensus encoding:
/// `type || rlp([status, cumulativeGasUsed, bloom, logs])`, the type left out when legacy (EIP-2718).
pub fn receipts_root(receipts: &[Bytes]) -> B256 {
    ordered_trie_root_encoded(receipts)
}

/// Turns a receipt as eth/69 sends it, the list `[type, status, cumulativeGasUsed, logs]`, into its
/// consensus encoding by computing the bloom (EIP-7642).
pub fn consensus_receipt(mut receipt: &[u8]) -> RlpResult<Bytes> {
    let mut fields = take_list(&mut receipt)?;
    end(receipt)?;
    let kind = match take_string(&mut fields)? {
        [] => None,
        [kind @ 1..=MAX_TYPE] => Some(*kind),
        _ => return Err(Error::Custom("receipt type is not a transaction type")),
    };
    let status = take_item(&mut fields)?;
    let cumulative_gas = take_item(&mut fields)?;
    let logs = take_item(&mut fields)?;
    end(fields)?;
    let bloom = logs_bloom(logs)?;

    let payload_length = [status.len(), cumulative_gas.len(), bloom.length(), logs.len()]
        .into_iter()
        .fold(0, usize::saturating_add);
    let mut out = Vec::with_capacity(payload_length.saturating_add(10));
    out.extend(kind);
    alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
    out.put_slice(status);
    out.put_slice(cumulative_gas);
    bloom.encode(&mut out);
    out.put_slice(logs);
    Ok(out.into())
}

/// The bloom of an RLP list of logs, each `[address, [topic, ...], data]` (Yellow Paper 4.4.1).
pub fn logs_bloom(mut logs: &[u8]) -> RlpResult<Bloom> {
    let mut list = take_list(&mut logs)?;
    end(logs)?;
    let mut bloom = Bloom::ZERO;
    let mut topics = Vec::new();
    while !list.is_empty() {
        let mut log = take_list(&mut list)?;
        let address = exact::<20>(take_string(&mut log)?)?;
        let mut topic_list = take_list(&mut log)?;
        topics.clear();
        while !topic_list.is_empty() {
            topics.push(B256::from(exact::<32>(take_string(&mut topic_list)?)?));
        }
        take_string(&mut log)?;
        end(log)?;
        bloom.accrue_raw_log(Address::from(address), &topics);
    }
    Ok(bloom)
}

/// The list of logs in a receipt's consensus encoding.
fn logs_of(receipt: &[u8]) -> RlpResult<&[u8]> {
    let mut list = match receipt.split_first() {
        Some((1..=MAX_TYPE, typed)) => typed,
        _ if is_list(receipt) => receipt,
        _ => return Err(Error::Custom("receipt has no known type")),
    };
    let mut fields = take_list(&mut list)?;
    end(list)?;
    for _status_gas_and_bloom in 0..3 {
        take_item(&mut fields)?;
    }
    let logs = take_item(&mut fields)?;
    end(fields)?;
    Ok(logs)
}

fn exact<const N: usize>(bytes: &[u8]) -> RlpResult<[u8; N]> {
    bytes.try_into().map_err(|_| Error::UnexpectedLength)
}
