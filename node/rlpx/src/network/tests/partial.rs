//! Blocks whose receipts are too many for one message.

use tokio::time::{advance, pause, resume};

use super::{super::rig::receipt, *};
use crate::parts::NEXT_PART_WAIT;

/// Four receipts of a mebibyte in block 2, small ones in the others.
fn chain_with_a_heavy_block() -> Arc<MemoryChain> {
    MemoryChain::with_receipts(9, |number| {
        let bytes = if number == 2 { 1 << 20 } else { 20 };
        Receipts { items: (1..=4).map(|count| receipt(count * 21_000, bytes)).collect() }
    })
}

/// Asks for block 2, of which the peer sends the first receipt alone. Returns the request for the rest.
async fn begun(node: &Node, session: SessionId, peer: &mut Peer, chain: &MemoryChain) -> u64 {
    node.fetch(session, 1, receipts(chain, 2..=3)).await;
    let request_id = peer.asked().await;
    let blocks = vec![Receipts { items: chain.receipts(2).items[..1].to_vec() }];
    peer.say(EthMessage::Receipts { request_id, last_block_incomplete: true, blocks }).await;
    peer.asked().await
}

async fn blocks_fetched(node: &mut Node) -> Vec<Receipts> {
    let FetchedItems::Receipts(found) = node.answered().await.1 else { panic!("not receipts") };
    found.iter().map(|block| Receipts::clone(block)).collect()
}

#[tokio::test]
async fn a_block_that_fills_several_messages_is_had_whole_or_not_at_all() {
    let chain = chain_with_a_heavy_block();
    for version in eth::VERSIONS {
        let mut one =
            Node::with(NetworkConfig { versions: vec![version], ..config(&chain) }, &chain);
        let other = Node::start(&chain);
        one.dial(&other).await;
        let (session, _) = one.opened().await;
        // cut off after block 1 in eth/70, whole in the others
        one.fetch(session, 1, receipts(&chain, 1..=5)).await;
        let whole = if version == 70 { 1 } else { 2 };
        let expected: Vec<_> = (1..=whole).map(|number| chain.receipts(number)).collect();
        assert_eq!(blocks_fetched(&mut one).await, expected, "eth/{version}");
        one.fetch(session, 2, receipts(&chain, 2..=5)).await;
        let (request, items, wire_bytes) = one.answered().await;
        let FetchedItems::Receipts(found) = items else { panic!("not receipts") };
        assert_eq!((request, found.len()), (RequestId(2), 1));
        assert_eq!(*found[0], chain.receipts(2));
        assert!(wire_bytes > 100_000, "all its messages count: {wire_bytes}");
    }
}

#[tokio::test]
async fn the_rest_of_a_block_is_asked_for_from_where_it_was_cut_off() {
    let chain = chain_with_a_heavy_block();
    let mut node = Node::start(&chain);
    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, receipts(&chain, 2..=5)).await;
    let all = chain.receipts(2).items;
    let mut ids = Vec::new();
    for (sent, last) in [(0, 1), (1, 3), (3, 4)] {
        let EthMessage::GetReceipts { request_id, first_receipt, hashes } = peer.hear_eth().await
        else {
            panic!("not a request for receipts")
        };
        assert_eq!(first_receipt, sent as u64);
        let blocks = if sent == 0 { 2..=5 } else { 2..=2 };
        assert_eq!(hashes, blocks.map(|number| chain.hash(number)).collect::<Vec<_>>());
        let blocks = vec![Receipts { items: all[sent..last].to_vec() }];
        let last_block_incomplete = last < 4;
        peer.say(EthMessage::Receipts { request_id, last_block_incomplete, blocks }).await;
        ids.push(request_id);
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "each part has an id of its own");
    assert_eq!(blocks_fetched(&mut node).await, [chain.receipts(2)]);
}

#[tokio::test]
async fn a_peer_that_lost_a_block_after_its_first_part_lacks_it() {
    let chain = chain_with_a_heavy_block();
    let mut node = Node::start(&chain);
    let (session, mut peer) = node.met(&chain).await;
    for gone in [vec![], vec![Receipts::default()]] {
        let request_id = begun(&node, session, &mut peer, &chain).await;
        let last_block_incomplete = false;
        peer.say(EthMessage::Receipts { request_id, last_block_incomplete, blocks: gone }).await;
        assert_eq!(blocks_fetched(&mut node).await, []);
    }
}

#[tokio::test]
async fn what_came_in_part_is_forgotten_when_no_more_of_it_comes() {
    let chain = chain_with_a_heavy_block();
    let idle = Duration::from_secs(3600);
    let timeouts = Timeouts { idle, ..Timeouts::default() };
    let mut node = Node::with(NetworkConfig { timeouts, ..config(&chain) }, &chain);
    let unfinished = node.handle.unfinished_receipts();
    let (session, mut peer) = node.met(&chain).await;
    let late = begun(&node, session, &mut peer, &chain).await;
    assert!(unfinished.bytes() > 1 << 20, "{}", unfinished.bytes());

    pause();
    advance(NEXT_PART_WAIT + timeouts.ping_interval).await;
    resume();
    until(|| unfinished.bytes() == 0).await;

    let blocks = vec![Receipts { items: chain.receipts(2).items[1..].to_vec() }];
    peer.say(EthMessage::Receipts { request_id: late, last_block_incomplete: false, blocks }).await;
    node.fetch(session, 2, receipts(&chain, 1..=1)).await;
    let (request_id, blocks) = (peer.asked().await, vec![chain.receipts(1)]);
    peer.say(EthMessage::Receipts { request_id, last_block_incomplete: false, blocks }).await;
    assert_eq!(node.answered().await.0, RequestId(2), "nothing was said of the late part");
}

/// A session with a block begun, and another peer, of which nobody hears: so there is no room for the
/// news that the session ended.
async fn begun_and_unheard(node: &mut Node, chain: &MemoryChain) -> (SessionId, Peer, Peer) {
    let (session, mut peer) = node.met(chain).await;
    begun(node, session, &mut peer, chain).await;
    assert!(node.handle.unfinished_receipts().bytes() > 0);
    let other = node.meet(chain).await;
    until(|| node.events.len() == 1).await;
    (session, peer, other)
}

#[tokio::test]
async fn what_came_in_part_is_forgotten_when_a_session_ends_in_any_way() {
    let chain = chain_with_a_heavy_block();
    let mut node = Node::start(&chain);
    let unfinished = node.handle.unfinished_receipts();

    let (session, _peer, _other) = begun_and_unheard(&mut node, &chain).await;
    let reason = DisconnectReason::Requested;
    node.command(SessionCommand::Disconnect { session, reason }).await;
    until(|| unfinished.bytes() == 0).await;
    node.opened().await;
    assert_eq!(node.closed().await, CloseReason::Local(reason));

    let (_, peer, _other) = begun_and_unheard(&mut node, &chain).await;
    drop(peer);
    until(|| unfinished.bytes() == 0).await;
    node.opened().await;
    assert!(matches!(node.closed().await, CloseReason::Network(_)));

    let (_, mut peer, _other) = begun_and_unheard(&mut node, &chain).await;
    peer.connection.write_raw(0x30, &[0xc0]).await.unwrap();
    until(|| unfinished.bytes() == 0).await;
    node.opened().await;
    assert!(matches!(node.closed().await, CloseReason::Breach(_)));

    let (_, _peer, _other) = begun_and_unheard(&mut node, &chain).await;
    drop(node);
    until(|| unfinished.bytes() == 0).await;
}

#[tokio::test]
async fn parts_that_break_the_rules_are_breaches() {
    let chain = chain_with_a_heavy_block();
    let mut node = Node::start(&chain);
    for (blocks, about) in [
        (vec![], "empty part"),
        (vec![Receipts::default()], "empty part"),
        (vec![chain.receipts(1); 3], "3 items"),
    ] {
        let (session, mut peer) = node.met(&chain).await;
        node.fetch(session, 1, receipts(&chain, 2..=3)).await;
        let request_id = peer.asked().await;
        peer.say(EthMessage::Receipts { request_id, last_block_incomplete: true, blocks }).await;
        node.expect_breach(about).await;
    }
    let (session, mut peer) = node.met(&chain).await;
    node.fetch(session, 1, receipts(&chain, 2..=3)).await;
    let request_id = peer.asked().await;
    peer.say(EthMessage::BlockBodies { request_id, bodies: vec![] }).await;
    node.expect_breach("Bodies in answer to a request for Receipts").await;
}
