//! A stored block as JSON-RPC shows it.

use alloy_consensus::{
    EthereumTxEnvelope, Header, TxEip4844,
    transaction::{Recovered, SignerRecoverable, TransactionInfo},
};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_rpc_types_eth::{BlockTransactions, Transaction};
use moorline_messages::{Blame, Block};
use moorline_rules::block_rlp_len;
use thiserror::Error;

/// A transaction as it lies in a block: a blob transaction without its blobs.
pub type BlockTransaction = EthereumTxEnvelope<TxEip4844>;

/// The transaction object of the `eth` namespace.
pub type RpcTransaction = Transaction<BlockTransaction>;

/// The block object of the `eth` namespace.
pub type RpcBlock = alloy_rpc_types_eth::Block<RpcTransaction>;

/// Why a block that is here cannot be shown.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BlockError {
    /// A transaction is of a type this build does not know.
    #[error("transaction {0} cannot be decoded")]
    Transaction(usize),
    /// A transaction's signature is nobody's, as in chains that were generated; none is checked before.
    #[error(
        "transaction {0} has no sender, since its signature is nobody's; ask without transactions in full"
    )]
    Sender(usize),
    /// A receipt is of a type this build does not know, or belongs to no transaction.
    #[error("receipt {0} cannot be decoded")]
    Receipt(usize),
    /// The ommers are no list of headers.
    #[error("the ommers cannot be decoded")]
    Ommers,
}

impl BlockError {
    /// Whose fault it was: the body was proved against its header, so this build is too old for it, or
    /// the chain has what an execution would not accept.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Sender(_) => Blame::Chain,
            Self::Transaction(_) | Self::Receipt(_) | Self::Ommers => Blame::Node,
        }
    }
}

/// Makes the JSON-RPC object of a block, with transactions in full or as hashes. In full means
/// recovering a sender for each, some 30 us apiece: keep that off async threads.
pub fn rpc_block(block: &Block, full: bool) -> Result<RpcBlock, BlockError> {
    let transactions = if full {
        BlockTransactions::Full(full_transactions(block)?)
    } else {
        BlockTransactions::Hashes(block.body.transactions.iter().map(keccak256).collect())
    };
    let size = U256::from(block_rlp_len(&block.header, &block.body));
    let header = (*block.header).clone();
    Ok(RpcBlock {
        header: alloy_rpc_types_eth::Header::from_consensus(header, None, Some(size)),
        uncles: ommer_hashes(block)?,
        transactions,
        withdrawals: block.body.withdrawals.clone().map(Into::into),
    })
}

fn full_transactions(block: &Block) -> Result<Vec<RpcTransaction>, BlockError> {
    let all = block.body.transactions.iter().enumerate();
    all.map(|(index, bytes)| shown(block, index, bytes)).collect()
}

/// Makes the JSON-RPC object of one transaction of a block; `None` where the block has not so many.
pub fn rpc_transaction(block: &Block, index: usize) -> Result<Option<RpcTransaction>, BlockError> {
    let transaction = block.body.transactions.get(index);
    transaction.map(|bytes| shown(block, index, bytes)).transpose()
}

fn shown(block: &Block, index: usize, bytes: &Bytes) -> Result<RpcTransaction, BlockError> {
    let info = TransactionInfo {
        hash: Some(keccak256(bytes)),
        index: u64::try_from(index).ok(),
        block_hash: Some(block.header.hash()),
        block_number: Some(block.header.number),
        base_fee: block.header.base_fee_per_gas,
        block_timestamp: Some(block.header.timestamp),
    };
    Ok(Transaction::from_transaction(recovered(index, bytes)?, info))
}

/// A transaction and its sender.
pub(crate) fn recovered(
    index: usize,
    bytes: &Bytes,
) -> Result<Recovered<BlockTransaction>, BlockError> {
    let tx = BlockTransaction::decode_2718_exact(bytes);
    let tx = tx.map_err(|_| BlockError::Transaction(index))?;
    // the first blocks of mainnet hold signatures that EIP-2 forbids since
    tx.try_into_recovered_unchecked().map_err(|_| BlockError::Sender(index))
}

fn ommer_hashes(block: &Block) -> Result<Vec<B256>, BlockError> {
    let ommers =
        Vec::<Header>::decode(&mut block.body.ommers.as_ref()).map_err(|_| BlockError::Ommers)?;
    Ok(ommers.iter().map(Header::hash_slow).collect())
}
