//! A made-up chain, and a store in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_RECEIPTS, EMPTY_TRANSACTIONS};
use alloy_primitives::{Address, B256, B512, Bytes, Log, Sealable, U256};
use alloy_rlp::Encodable;
use moorline_messages::{
    Block, Body, FoundBlock, Header, PeerId, Receipts, SealedHeader, Span, StoreOutcome,
    StoreRequest, StoredState,
};
use moorline_rules::{ChainSpec, body::withdrawals_root, receipts::receipts_key};

pub(super) fn spec() -> Arc<ChainSpec> {
    let genesis = r#"{"config":{"chainId":7,"homesteadBlock":0,"eip150Block":0,"eip155Block":0,
        "eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0,
        "istanbulBlock":0,"berlinBlock":0,"londonBlock":0,"terminalTotalDifficulty":0,
        "shanghaiTime":0},"nonce":"0x0","timestamp":"0x0","extraData":"0x","gasLimit":"0x1c9c380",
        "difficulty":"0x0","mixHash":"0x0000000000000000000000000000000000000000000000000000000000000000",
        "coinbase":"0x0000000000000000000000000000000000000000","alloc":{}}"#;
    Arc::new(ChainSpec::from_genesis_json(genesis).unwrap())
}

/// A chain whose every body is different: one withdrawal, of the block's own amount.
pub(super) fn chain(parent: &SealedHeader, count: u64, salt: u64) -> Vec<Block> {
    blocks(parent, count, salt, 1)
}

/// A chain whose bodies have many withdrawals each.
pub(super) fn fat(parent: &SealedHeader, count: u64, withdrawals: usize) -> Vec<Block> {
    blocks(parent, count, 0, withdrawals)
}

fn blocks(parent: &SealedHeader, count: u64, salt: u64, withdrawals: usize) -> Vec<Block> {
    let mut parent = parent.clone();
    let mut blocks = Vec::new();
    for _ in 0..count {
        let number = parent.number + 1;
        let withdrawal = alloy_withdrawal(number, salt);
        let body = Body {
            transactions: Vec::new(),
            ommers: Body::NO_OMMERS,
            withdrawals: Some(vec![withdrawal; withdrawals]),
        };
        let key = receipts_key(&receipts_of(number)).unwrap();
        let header = Header {
            parent_hash: parent.hash(),
            number,
            timestamp: parent.timestamp + 12,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            transactions_root: EMPTY_TRANSACTIONS,
            withdrawals_root: body.withdrawals.as_deref().map(withdrawals_root),
            receipts_root: key.root,
            logs_bloom: key.bloom,
            gas_used: key.gas_used,
            ..Header::default()
        };
        parent = header.seal_slow();
        blocks.push(Block { header: Arc::new(parent.clone()), body: Arc::new(body) });
    }
    blocks
}

fn alloy_withdrawal(number: u64, salt: u64) -> alloy_eips::eip4895::Withdrawal {
    alloy_eips::eip4895::Withdrawal {
        index: number,
        validator_index: salt,
        address: Address::ZERO,
        amount: number,
    }
}

/// The receipts of the block at a height: one, with a log.
pub(super) fn receipts_of(number: u64) -> Receipts {
    let log = Log::new_unchecked(Address::ZERO, vec![B256::from(U256::from(number))], Bytes::new());
    let fields: [&dyn Encodable; 4] = [&2_u8, &1_u8, &(21_000 + number), &vec![log]];
    let mut receipt = Vec::new();
    alloy_rlp::encode_list::<_, dyn Encodable>(&fields, &mut receipt);
    Receipts { items: vec![receipt.into()] }
}

pub(super) fn peer(number: u8) -> PeerId {
    PeerId(B512::repeat_byte(number))
}

/// The store, as far as the downloader sees it.
#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) headers: BTreeMap<B256, Arc<SealedHeader>>,
    pub(super) bodies: BTreeSet<B256>,
    pub(super) keeps_receipts: bool,
    pub(super) receipts: BTreeSet<B256>,
    pub(super) spans: Vec<Span>,
    pub(super) written_twice: u64,
    pub(super) headers_written_twice: u64,
}

impl MemoryStore {
    pub(super) fn with_receipts() -> Self {
        Self { keeps_receipts: true, ..Self::default() }
    }

    pub(super) fn put(&mut self, block: &Block) {
        self.headers.insert(block.header.hash(), Arc::clone(&block.header));
        self.bodies.insert(block.header.hash());
    }

    /// Whether a block's receipts are here, or nobody keeps any, or it has none.
    pub(super) fn needs_no_more_receipts(&self, header: &SealedHeader) -> bool {
        let has_none = header.receipts_root == EMPTY_RECEIPTS;
        !self.keeps_receipts || has_none || self.receipts.contains(&header.hash())
    }

    fn found(&self, hash: &B256) -> Option<FoundBlock> {
        let header = Arc::clone(self.headers.get(hash)?);
        let has_receipts = self.receipts.contains(hash);
        Some(FoundBlock { header, has_body: self.bodies.contains(hash), has_receipts })
    }

    pub(super) fn answer(
        &mut self,
        tip: &Arc<SealedHeader>,
        request: StoreRequest,
    ) -> StoreOutcome {
        match request {
            StoreRequest::Persist { id, batch, .. } => {
                for header in batch.headers {
                    let before = self.headers.insert(header.hash(), header);
                    self.headers_written_twice += u64::from(before.is_some());
                }
                for (block, _) in batch.bodies {
                    assert!(
                        self.headers.contains_key(&block.hash),
                        "a body came before its header"
                    );
                    if !self.bodies.insert(block.hash) {
                        self.written_twice += 1;
                    }
                }
                for (block, _) in batch.receipts {
                    assert!(self.keeps_receipts, "receipts came to a store that keeps none");
                    self.written_twice += u64::from(!self.receipts.insert(block.hash));
                }
                self.spans.extend(batch.spans);
                StoreOutcome::Persisted { request: id }
            }
            StoreRequest::Load { id, .. } => StoreOutcome::Loaded {
                request: id,
                state: StoredState {
                    tip: Arc::clone(tip),
                    forkchoice: Default::default(),
                    keeps_receipts: self.keeps_receipts,
                    spans: self.spans.clone(),
                },
            },
            StoreRequest::Find { id, hashes, .. } => StoreOutcome::Found {
                request: id,
                blocks: hashes.iter().map(|hash| self.found(hash)).collect(),
            },
            StoreRequest::Walk { id, top, limit, .. } => {
                let mut blocks = Vec::new();
                let mut next = top.hash;
                while let Some(found) = self.found(&next).filter(|_| (blocks.len() as u64) < limit)
                {
                    next = found.header.parent_hash;
                    blocks.push(found);
                }
                StoreOutcome::Walked { request: id, blocks }
            }
        }
    }
}

pub(super) fn hashes(blocks: &[Block]) -> Vec<B256> {
    blocks.iter().map(|block| block.header.hash()).collect()
}

pub(super) fn head(blocks: &[Block]) -> B256 {
    blocks.last().unwrap().header.hash()
}
