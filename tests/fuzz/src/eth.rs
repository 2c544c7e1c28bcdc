//! Messages of eth and of the base protocol under it, uncompressed.

use alloy_eip2124::{ForkHash, ForkId};
use alloy_primitives::{B256, B512, Bytes, U256};
use futures_util::{FutureExt, future::BoxFuture};
use moorline_devnet::{Generator, Profile, receipts_of};
use moorline_messages::{AnnouncedRange, Block, Body, HashOrNumber, PeerId, Receipts};
use moorline_rlpx::{
    ChainSource, EthMessage, LocalStatus,
    eth::{HeadersRequest, MAX_ITEMS, MAX_RECEIPTS_MESSAGE_BYTES, Status, VERSIONS, seal_header},
    fuzzing::{answer, read_base_message},
    p2p::Hello,
};

use crate::{Target, script::Script};

/// Hello, disconnect, ping and pong.
pub(crate) const P2P: Target = Target { name: "p2p", max_len: 2304, read: p2p, seeds: p2p_seeds };

/// Every message id in every version of eth, and the answers to requests.
pub(crate) const ETH: Target = Target { name: "eth", max_len: 2048, read: eth, seeds: eth_seeds };

fn p2p(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    match script.below(3) {
        0 => {
            let Ok(hello) = Hello::decode(Bytes::copy_from_slice(script.rest()).0) else {
                return false;
            };
            hello.shared_eth_version(&VERSIONS).is_some()
        }
        1 => read_base_message(true, script.rest()),
        _ => read_base_message(false, script.rest()),
    }
}

fn p2p_seeds() -> Vec<Vec<u8>> {
    let hello = Hello::new("geth/v1", &VERSIONS, 30303, PeerId(B512::ZERO)).encode();
    let rest: [&[u8]; 6] = [&[1, 0xc1, 4], &[1, 4], &[1], &[2], &[2, 0xc0], &[1, 0x80]];
    let rest = rest.map(<[u8]>::to_vec);
    [vec![[vec![0], hello.to_vec()].concat()], rest.to_vec()].concat()
}

fn eth(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let version = VERSIONS[script.below(VERSIONS.len())];
    // and some ids that do not exist
    let id = script.byte() % 0x14;
    let Ok(message) = EthMessage::decode(version, id, Bytes::copy_from_slice(script.rest())) else {
        return false;
    };
    let encoded = Bytes::from(message.encode(version).freeze());
    assert_eq!(EthMessage::decode(version, id, encoded).as_ref(), Ok(&message));
    if let EthMessage::BlockHeaders { headers, .. } = &message {
        headers.iter().for_each(|raw| drop(seal_header(raw)));
    }
    let answer = answer(&Source, version, message).now_or_never().expect("the source is at hand");
    if let Some(answer) = answer {
        assert!(answer.encode(version).len() <= MAX_RECEIPTS_MESSAGE_BYTES);
    }
    true
}

/// Has a little of everything, and holds those who ask to what a source may rely on.
struct Source;

impl ChainSource for Source {
    fn headers(
        &self,
        start: HashOrNumber,
        limit: u64,
        skip: u64,
        reverse: bool,
        _: usize,
    ) -> BoxFuture<'_, Vec<Bytes>> {
        let most = u64::try_from(MAX_ITEMS).unwrap();
        assert!((1..=most).contains(&limit), "{limit} headers are asked for");
        if let HashOrNumber::Number(number) = start {
            let steps = u128::from(limit - 1) * (u128::from(skip) + 1);
            let room = if reverse { number } else { u64::MAX - number };
            assert!(steps <= room.into(), "the range ends outside of all heights");
        }
        Box::pin(async move { vec![Bytes::from_static(&[0xc0]); limit.min(4) as usize] })
    }

    fn bodies(&self, hashes: Vec<B256>, _: usize) -> BoxFuture<'_, Vec<Body>> {
        assert!(hashes.len() <= MAX_ITEMS);
        Box::pin(async move { vec![Body::default(); hashes.len().min(4)] })
    }

    fn receipts(&self, hashes: Vec<B256>, _: usize) -> BoxFuture<'_, Vec<Receipts>> {
        assert!(hashes.len() <= MAX_ITEMS);
        let receipt = Bytes::from_static(&[0xc4, 2, 1, 0x80, 0xc0]);
        Box::pin(async move { vec![Receipts { items: vec![receipt; 3] }; hashes.len().min(4)] })
    }
}

/// Every message, in every version; inputs of [`ETH`].
pub(crate) fn eth_seeds() -> Vec<Vec<u8>> {
    let blocks: Vec<Block> = Generator::new(Profile::Small, 1).take(24).collect();
    let mut seeds = Vec::new();
    for (at, version) in VERSIONS.into_iter().enumerate() {
        let at = u8::try_from(at).unwrap();
        let mut messages = messages(version);
        messages.extend(blocks.iter().step_by(4).flat_map(answers));
        if version < 69 {
            messages.retain(|message| !matches!(message, EthMessage::BlockRangeUpdate(_)));
        }
        let seed =
            |message: &EthMessage| [&[at, message.id()][..], &message.encode(version)].concat();
        seeds.extend(messages.iter().map(seed));
    }
    seeds
}

/// What a node says of itself.
pub(crate) fn status(version: u8) -> Status {
    let hash = B256::repeat_byte(3);
    let status = LocalStatus {
        network_id: 1,
        genesis: hash,
        fork_id: ForkId { hash: ForkHash([1, 2, 3, 4]), next: 7 },
        total_difficulty: U256::from(17),
        range: AnnouncedRange { earliest: 1, latest: 9, latest_hash: hash },
        head: hash,
    };
    status.at(version)
}

fn messages(version: u8) -> Vec<EthMessage> {
    let hash = B256::repeat_byte(3);
    let range = AnnouncedRange { earliest: 1, latest: 9, latest_hash: hash };
    let request_id = 1111;
    let headers = |start, limit, skip, reverse| EthMessage::GetBlockHeaders {
        request_id,
        request: HeadersRequest { start, limit, skip, reverse },
    };
    vec![
        EthMessage::Status(status(version)),
        headers(HashOrNumber::Hash(hash), 1024, 0, true),
        headers(HashOrNumber::Number(5), u64::MAX, u64::MAX, false),
        EthMessage::GetBlockBodies { request_id, hashes: vec![hash; 2] },
        EthMessage::GetReceipts { request_id, first_receipt: 2, hashes: vec![hash; 2] },
        EthMessage::BlockRangeUpdate(range),
        EthMessage::GetPooledTransactions { request_id },
        EthMessage::NoPooledTransactions { request_id },
        EthMessage::Gossip { id: 2, data: Bytes::from_static(&[0xc0]) },
    ]
}

/// What answers requests for a block.
fn answers(block: &Block) -> Vec<EthMessage> {
    let request_id = 1111;
    let header = Bytes::from(alloy_rlp::encode(block.header.inner()));
    let bodies = vec![Body::clone(&block.body)];
    let receipts = receipts_of(block).expect("the generator's own block");
    vec![
        EthMessage::BlockHeaders { request_id, headers: vec![header] },
        EthMessage::BlockBodies { request_id, bodies },
        EthMessage::Receipts { request_id, last_block_incomplete: false, blocks: vec![receipts] },
    ]
}
