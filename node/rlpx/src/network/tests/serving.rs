//! What peers are served, and what is counted of it.

use super::{super::rig::receipt, *};
use crate::{ANSWER_BYTES, Served, ServedKind};

#[tokio::test]
async fn what_is_served_is_counted_once_it_is_written() {
    let chain = MemoryChain::of(9);
    let mut node = Node::start(&chain);
    let counters = node.handle.counters();
    let (_, mut peer) = node.met(&chain).await;
    let request =
        HeadersRequest { start: HashOrNumber::Number(1), limit: 3, skip: 0, reverse: false };
    peer.say(EthMessage::GetBlockHeaders { request_id: 1, request }).await;
    peer.hear_eth().await;
    for hashes in [vec![chain.hash(1), chain.hash(2)], vec![B256::ZERO]] {
        peer.say(EthMessage::GetBlockBodies { request_id: 2, hashes }).await;
        peer.hear_eth().await;
    }
    let hashes = vec![chain.hash(1)];
    peer.say(EthMessage::GetReceipts { request_id: 3, first_receipt: 0, hashes }).await;
    peer.hear_eth().await;
    peer.say(EthMessage::GetPooledTransactions { request_id: 4 }).await;
    peer.hear_eth().await;

    let counts = |kind| {
        let Served { requests, items, bytes } = counters.served(kind);
        (requests, items, bytes)
    };
    until(|| counts(ServedKind::PooledTransactions).0 == 1).await;
    for (kind, expected) in [
        (ServedKind::Headers, (1, 3)),
        (ServedKind::Bodies, (2, 2)),
        (ServedKind::Receipts, (1, 1)),
        (ServedKind::PooledTransactions, (1, 0)),
    ] {
        let (requests, items, bytes) = counts(kind);
        assert_eq!((requests, items), expected, "{kind:?}");
        assert!(bytes >= requests * 64, "{kind:?}: {bytes}");
    }
    let (requests, items, bytes) = counts(ServedKind::Headers);
    assert!(requests == 1 && items == 3 && bytes < 2000, "compressed: {bytes}");
    assert_eq!(counters.sessions_opened(Direction::Inbound), 1);
    assert_eq!(counters.requests_delayed(), 0);
}

/// As geth's conformance tool asks: it has all of a large block, and cannot know that.
#[tokio::test]
async fn who_has_all_of_a_large_block_gets_the_next_ones() {
    let chain = MemoryChain::with_receipts(9, |number| {
        let bytes = if number == 2 { ANSWER_BYTES / 2 } else { 20 };
        Receipts { items: (1..=4).map(|count| receipt(count * 21_000, bytes)).collect() }
    });
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let hashes = || (1..=4).map(|number| chain.hash(number)).collect::<Vec<_>>();
    let mut got = vec![Receipts::default(); 4];
    let mut at = 0;
    for _ in 0..20 {
        let (first_receipt, hashes) = (got[at].items.len() as u64, hashes().split_off(at));
        peer.say(EthMessage::GetReceipts { request_id: 66, first_receipt, hashes }).await;
        let EthMessage::Receipts { last_block_incomplete, blocks, .. } = peer.hear_eth().await
        else {
            panic!("not receipts")
        };
        for (step, block) in blocks.iter().enumerate() {
            got[at + step].items.extend(block.items.iter().cloned());
        }
        at += blocks.len() - 1;
        if !last_block_incomplete && at == 3 {
            break;
        }
    }
    let all: Vec<Receipts> = (1..=4).map(|number| chain.receipts(number)).collect();
    assert!(got == all, "{:?}", got.iter().map(|block| block.items.len()).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_beyond_1024_items_and_answers_beyond_two_mebibytes_are_not_served_whole() {
    let chain = MemoryChain::heavy(1500, 8 << 10);
    let mut node = Node::start(&chain);
    let (_, mut peer) = node.met(&chain).await;
    let hashes: Vec<B256> = (0..1024).rev().map(|number| chain.hash(number)).collect();
    peer.say(EthMessage::GetBlockBodies { request_id: 1, hashes: hashes.clone() }).await;
    let EthMessage::BlockBodies { bodies, .. } = peer.hear_eth().await else {
        panic!("not bodies")
    };
    // in the order asked for, until two mebibytes are reached
    assert_eq!(bodies.len(), ANSWER_BYTES.div_ceil(bodies[0].transactions[0].len() + 9));
    assert!(bodies.iter().enumerate().all(|(at, body)| *body == chain.body(1023 - at)));
    peer.say(EthMessage::GetReceipts { request_id: 2, first_receipt: 0, hashes }).await;
    let EthMessage::Receipts { blocks, .. } = peer.hear_eth().await else { panic!("not receipts") };
    assert_eq!(blocks.len(), 1024);

    let hashes = (0..1025).map(|number| chain.hash(number)).collect();
    peer.say(EthMessage::GetBlockBodies { request_id: 3, hashes }).await;
    node.expect_breach("1024").await;
}
