//! What a consensus client says.

use alloy_primitives::B256;
use moorline_messages::{Block, Body, Header};
use moorline_rules::blob_versioned_hashes;
use serde_json::{Value, json};

/// The call that hands a block over, in the version of its fork.
pub fn payload(block: &Block) -> (&'static str, Value) {
    let (header, body): (&Header, &Body) = (&block.header, &block.body);
    let quantity = |number: u64| format!("{number:#x}");
    let mut payload = json!({
        "parentHash": header.parent_hash, "feeRecipient": header.beneficiary,
        "stateRoot": header.state_root, "receiptsRoot": header.receipts_root,
        "logsBloom": header.logs_bloom, "prevRandao": header.mix_hash,
        "blockNumber": quantity(header.number), "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used), "timestamp": quantity(header.timestamp),
        "extraData": header.extra_data,
        "baseFeePerGas": quantity(header.base_fee_per_gas.unwrap()),
        "blockHash": block.header.hash(), "transactions": body.transactions,
        "withdrawals": body.withdrawals,
    });
    let Some(beacon_root) = header.parent_beacon_block_root else {
        return ("engine_newPayloadV2", json!([payload]));
    };
    payload["blobGasUsed"] = json!(quantity(header.blob_gas_used.unwrap()));
    payload["excessBlobGas"] = json!(quantity(header.excess_blob_gas.unwrap()));
    // there are none to be named in a transaction that cannot be read
    let blobs = blob_versioned_hashes(body).unwrap_or_default();
    if header.requests_hash.is_none() {
        return ("engine_newPayloadV3", json!([payload, blobs, beacon_root]));
    }
    ("engine_newPayloadV4", json!([payload, blobs, beacon_root, []]))
}

/// The parameters that name head, safe and finalized.
pub fn forkchoice([head, safe, finalized]: [B256; 3]) -> Value {
    json!([{"headBlockHash": head, "safeBlockHash": safe, "finalizedBlockHash": finalized}, null])
}
