//! Receipts as JSON-RPC shows them.

use alloy_consensus::{ReceiptEnvelope, Transaction as _};
use alloy_eips::{eip2718::Decodable2718, eip7840::BlobParams};
use alloy_primitives::{Bytes, Log as RawLog, keccak256};
use alloy_rpc_types_eth::{Log, TransactionReceipt};
use moorline_messages::{Block, Receipts, SealedHeader};
use moorline_rules::consensus_receipt;

use crate::block::{BlockError, recovered};

/// The receipt object of the `eth` namespace.
pub type RpcReceipt = TransactionReceipt<ReceiptEnvelope<Log>>;

/// Reads a receipt out of the form in which it is stored.
fn read(index: usize, receipt: &Bytes) -> Result<ReceiptEnvelope<RawLog>, BlockError> {
    let encoded = consensus_receipt(receipt).map_err(|_| BlockError::Receipt(index))?;
    ReceiptEnvelope::decode_2718_exact(&encoded).map_err(|_| BlockError::Receipt(index))
}

/// A receipt's consensus encoding, as it lies in the trie.
pub(crate) fn encoded(receipts: &Receipts) -> Result<Vec<Bytes>, BlockError> {
    let encode = |(index, receipt): (usize, &Bytes)| {
        consensus_receipt(receipt).map_err(|_| BlockError::Receipt(index))
    };
    receipts.items.iter().enumerate().map(encode).collect()
}

/// The logs of a block that `wanted` lets through, each with its place in it but without the hash of
/// its transaction.
pub(crate) fn logs(
    header: &SealedHeader,
    receipts: &Receipts,
    wanted: impl Fn(&RawLog) -> bool,
) -> Result<Vec<Log>, BlockError> {
    let (mut found, mut log_index) = (Vec::new(), 0_u64);
    for (index, receipt) in receipts.items.iter().enumerate() {
        for inner in read(index, receipt)?.into_logs() {
            if wanted(&inner) {
                found.push(placed(inner, header, index, log_index));
            }
            log_index = log_index.saturating_add(1);
        }
    }
    Ok(found)
}

/// Puts the hashes of their transactions into logs of one block.
pub(crate) fn name_transactions(logs: &mut [Log], transactions: &[Bytes]) {
    let mut last = None;
    for log in logs {
        let Some(index) = log.transaction_index else { continue };
        let hash = match last {
            Some((of, hash)) if of == index => hash,
            _ => {
                usize::try_from(index).ok().and_then(|index| transactions.get(index)).map(keccak256)
            }
        };
        last = Some((index, hash));
        log.transaction_hash = hash;
    }
}

fn placed(inner: RawLog, header: &SealedHeader, index: usize, log_index: u64) -> Log {
    Log {
        inner,
        block_hash: Some(header.hash()),
        block_number: Some(header.number),
        block_timestamp: Some(header.timestamp),
        transaction_hash: None,
        transaction_index: u64::try_from(index).ok(),
        log_index: Some(log_index),
        removed: false,
    }
}

/// Makes the JSON-RPC objects of a block's receipts. `blobs` are the blob parameters of its time. A
/// sender is recovered for each: keep that off async threads.
pub fn rpc_receipts(
    block: &Block,
    receipts: &Receipts,
    blobs: Option<&BlobParams>,
) -> Result<Vec<RpcReceipt>, BlockError> {
    let header = &block.header;
    if receipts.items.len() != block.body.transactions.len() {
        return Err(BlockError::Receipt(receipts.items.len()));
    }
    let blob_fee = blobs.zip(header.excess_blob_gas).map(|(blobs, gas)| blobs.calc_blob_fee(gas));
    let mut all = Vec::with_capacity(receipts.items.len());
    let (mut gas_below, mut log_index) = (0, 0_u64);
    for (index, (bytes, receipt)) in block.body.transactions.iter().zip(&receipts.items).enumerate()
    {
        let tx = recovered(index, bytes)?;
        let receipt = read(index, receipt)?;
        let hash = keccak256(bytes);
        let gas = receipt.cumulative_gas_used();
        let inner = receipt.map_logs(|log| {
            let mut log = placed(log, header, index, log_index);
            log.transaction_hash = Some(hash);
            log_index = log_index.saturating_add(1);
            log
        });
        let (from, blob_gas) = (tx.signer(), tx.blob_gas_used());
        all.push(TransactionReceipt {
            inner,
            transaction_hash: hash,
            transaction_index: u64::try_from(index).ok(),
            block_hash: Some(header.hash()),
            block_number: Some(header.number),
            gas_used: gas.saturating_sub(gas_below),
            effective_gas_price: tx.effective_gas_price(header.base_fee_per_gas),
            blob_gas_used: blob_gas,
            blob_gas_price: blob_gas.and(blob_fee),
            from,
            to: tx.to(),
            contract_address: tx.is_create().then(|| from.create(tx.nonce())),
        });
        gas_below = gas;
    }
    Ok(all)
}
