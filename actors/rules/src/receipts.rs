//! Receipts against what their header says.

use alloy_consensus::{Header, constants::EMPTY_RECEIPTS};
use alloy_primitives::{Address, B256, Bloom, Bytes};
use alloy_rlp::{BufMut, Decodable, Encodable, Error, Result as RlpResult};
use alloy_trie::root::ordered_trie_root_encoded;
use moorline_messages::{Breach, Receipts};

use crate::{
    rlp::{end, take_item, take_list, take_string},
    spec::ChainSpec,
};

/// The greatest transaction type (EIP-2718).
const MAX_TYPE: u8 = 0x7f;

/// What a header says about its receipts: equal roots mean equal receipts, and then the rest follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptsKey {
    /// Root of the trie of receipts.
    pub root: B256,
    /// The union of their blooms.
    pub bloom: Bloom,
    /// Gas used up to and including the last of them.
    pub gas_used: u64,
}

/// Whether a block has no receipts: then there is nothing to fetch or to keep of them.
pub fn has_no_receipts(header: &Header) -> bool {
    header.receipts_root == EMPTY_RECEIPTS
}

/// The key that receipts have, or `None` if one of them cannot be read. Costs a keccak over all of it.
pub fn receipts_key(receipts: &Receipts) -> Option<ReceiptsKey> {
    let mut bloom = Bloom::ZERO;
    let mut gas_used = 0;
    let mut encoded = Vec::with_capacity(receipts.items.len());
    for receipt in &receipts.items {
        let fields = Fields::of(receipt).ok()?;
        bloom |= fields.bloom;
        gas_used = u64::decode(&mut &*fields.cumulative_gas).ok()?;
        encoded.push(fields.encode());
    }
    Some(ReceiptsKey { root: receipts_root(&encoded), bloom, gas_used })
}

/// Checks what a header says about receipts that are known to be its own: the union of their blooms
/// and, before Amsterdam, the gas used (Yellow Paper 4.4.4).
pub fn validate_receipts(
    spec: &ChainSpec,
    header: &Header,
    receipts: &ReceiptsKey,
) -> Result<(), Breach> {
    if receipts.bloom != header.logs_bloom {
        return Err(Breach::LogsBloom);
    }
    // from Amsterdam on the header counts what receipts do not (EIP-7778)
    if !spec.is_amsterdam(header.timestamp) && receipts.gas_used != header.gas_used {
        let (found, expected) = (header.gas_used, receipts.gas_used);
        return Err(Breach::ReceiptsGas { found, expected });
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
pub fn consensus_receipt(receipt: &[u8]) -> RlpResult<Bytes> {
    Fields::of(receipt).map(|fields| fields.encode())
}

/// A receipt as eth/69 sends it, taken apart.
struct Fields<'a> {
    /// None when legacy.
    kind: Option<u8>,
    status: &'a [u8],
    cumulative_gas: &'a [u8],
    bloom: Bloom,
    logs: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(mut receipt: &'a [u8]) -> RlpResult<Self> {
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
        Ok(Self { kind, status, cumulative_gas, bloom: logs_bloom(logs)?, logs })
    }

    fn encode(&self) -> Bytes {
        let Self { kind, status, cumulative_gas, bloom, logs } = self;
        let payload_length = [status.len(), cumulative_gas.len(), bloom.length(), logs.len()]
            .into_iter()
            .fold(0, usize::saturating_add);
        let mut out = Vec::with_capacity(payload_length.saturating_add(10));
        out.extend(*kind);
        alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
        out.put_slice(status);
        out.put_slice(cumulative_gas);
        bloom.encode(&mut out);
        out.put_slice(logs);
        out.into()
    }
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

fn exact<const N: usize>(bytes: &[u8]) -> RlpResult<[u8; N]> {
    bytes.try_into().map_err(|_| Error::UnexpectedLength)
}
