//! The demonstration's consensus client: the real Engine API, over HTTP, with a token.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use alloy_primitives::{B256, U64, U256};
use eyre::{Result, bail};
use moorline_engine_api::{EngineClient, JwtSecret};
use moorline_messages::Block;
use moorline_rules::blob_versioned_hashes;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Consensus {
    jwt: JwtSecret,
    client: EngineClient,
}

impl Consensus {
    /// A client whose secret lies in a file, where others may use it too.
    pub(super) fn new(secret: &Path) -> Result<Self> {
        let jwt = JwtSecret::create(secret)?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(Self { client: EngineClient::new(nowhere, jwt.clone()), jwt })
    }

    pub(super) fn jwt(&self) -> JwtSecret {
        self.jwt.clone()
    }

    /// Drives the node at this address from now on.
    pub(super) fn drive(&mut self, addr: SocketAddr) {
        self.client = EngineClient::new(addr, self.jwt.clone());
    }

    /// Names a head.
    pub(super) async fn follow(&self, head: B256) -> Result<()> {
        let state = json!({
            "headBlockHash": head,
            "safeBlockHash": B256::ZERO,
            "finalizedBlockHash": B256::ZERO,
        });
        let answer = self.client.call("engine_forkchoiceUpdatedV3", json!([state, null])).await?;
        expect(answer.get("payloadStatus").unwrap_or(&answer), "SYNCING")
    }

    /// Hands a block over, as a consensus client does with one it got from its own peers.
    pub(super) async fn deliver(&self, block: &Block) -> Result<()> {
        let header = &block.header;
        let hashes = blob_versioned_hashes(&block.body)?;
        let params = json!([payload(block), hashes, header.parent_beacon_block_root, []]);
        let answer = self.client.call("engine_newPayloadV4", params).await?;
        expect(&answer, "SYNCING")
    }
}

/// A node that does not execute can say no more than this.
fn expect(status: &Value, expected: &str) -> Result<()> {
    if status.get("status").is_some_and(|status| status == expected) {
        return Ok(());
    }
    bail!("the node answered {status} where {expected} is due");
}

/// `ExecutionPayloadV3` (execution-apis, cancun).
fn payload(block: &Block) -> Value {
    let header = &block.header;
    let withdrawals: Vec<Value> =
        block.body.withdrawals.iter().flatten().map(|w| json!(w)).collect();
    json!({
        "parentHash": header.parent_hash,
        "feeRecipient": header.beneficiary,
        "stateRoot": header.state_root,
        "receiptsRoot": header.receipts_root,
        "logsBloom": header.logs_bloom,
        "prevRandao": header.mix_hash,
        "blockNumber": U64::from(header.number),
        "gasLimit": U64::from(header.gas_limit),
        "gasUsed": U64::from(header.gas_used),
        "timestamp": U64::from(header.timestamp),
        "extraData": header.extra_data,
        "baseFeePerGas": U256::from(header.base_fee_per_gas.unwrap_or_default()),
        "blockHash": header.hash(),
        "transactions": block.body.transactions,
        "withdrawals": withdrawals,
        "blobGasUsed": U64::from(header.blob_gas_used.unwrap_or_default()),
        "excessBlobGas": U64::from(header.excess_blob_gas.unwrap_or_default()),
    })
}
