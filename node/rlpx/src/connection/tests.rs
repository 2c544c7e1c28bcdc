#![allow(clippy::arithmetic_side_effects)]

use alloy_primitives::{Address, Bytes, Log};
use alloy_rlp::Encodable;
use moorline_messages::{Blame, HashOrNumber, Receipts};
use tokio::{
    io::{DuplexStream, duplex},
    time::Instant,
};

use super::*;
use crate::{eth::HeadersRequest, frame, node_id, random_key, snappy};

struct Side {
    secret: [u8; 32],
    hello: Hello,
}

impl Side {
    fn speaking(versions: &[u8]) -> Self {
        let secret = random_key();
        let hello = Hello::new("test", versions, 0, node_id(&secret).unwrap());
        Self { secret, hello }
    }
}

type Connected = Result<Connection<DuplexStream>, ConnectionError>;

/// Connects two sides over a pipe that carries a few bytes at a time.
async fn meet(dialler: &Side, listener: &Side) -> (Connected, Connected) {
    let (a, b) = duplex(7);
    let timeouts = Timeouts::default();
    let dialling =
        Connection::initiate(a, listener.hello.id, &dialler.secret, &dialler.hello, &timeouts);
    let accepting = Connection::accept(b, &listener.secret, &listener.hello, &timeouts);
    tokio::join!(dialling, accepting)
}

async fn pair() -> Pair {
    let (a, b) = meet(&Side::speaking(&[70]), &Side::speaking(&[70, 69])).await;
    past_status(a.unwrap(), b.unwrap())
}

type Pair = (Connection<DuplexStream>, Connection<DuplexStream>);

/// Both ends as they are once Status was said.
fn past_status(a: Connection<DuplexStream>, b: Connection<DuplexStream>) -> Pair {
    a.reader.incoming().widen();
    b.reader.incoming().widen();
    (a, b)
}

/// Writes on one side while the other reads one message.
async fn carry(
    writing: impl Future<Output = Result<(), ConnectionError>>,
    reader: &mut Connection<DuplexStream>,
) -> Result<Message, ConnectionError> {
    let (written, read) = tokio::join!(writing, reader.read());
    written.unwrap();
    read
}

#[tokio::test]
async fn two_sides_settle_on_the_highest_shared_version_and_talk() {
    for (ours, theirs, agreed) in [
        (&[68, 69, 70][..], &[70, 69, 68][..], 70),
        (&[68, 69], &[70, 69], 69),
        (&[68], &[69, 68], 68),
    ] {
        let (dialler, listener) = (Side::speaking(ours), Side::speaking(theirs));
        let (a, b) = meet(&dialler, &listener).await;
        let (mut a, mut b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.version(), b.version()), (agreed, agreed));
        assert_eq!(b.peer().id, dialler.hello.id);
        let request =
            HeadersRequest { start: HashOrNumber::Number(5), limit: 3, skip: 0, reverse: true };
        let message = Message::Eth(EthMessage::GetBlockHeaders { request_id: 9, request });
        assert_eq!(carry(a.write(&message), &mut b).await.unwrap(), message);
        assert_eq!(carry(b.write(&Message::Ping), &mut a).await.unwrap(), Message::Ping);
    }
}

#[tokio::test]
async fn sides_without_a_shared_version_part() {
    let (a, b) = meet(&Side::speaking(&[68]), &Side::speaking(&[69])).await;
    for end in [a, b] {
        assert!(matches!(
            end.unwrap_err(),
            ConnectionError::NoCommonVersion
                | ConnectionError::Remote(DisconnectReason::UselessPeer)
                | ConnectionError::Network(_)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_of_another_identity_is_refused() {
    let mut liar = Side::speaking(&[69]);
    liar.hello.id = node_id(&random_key()).unwrap();
    let (_, b) = meet(&liar, &Side::speaking(&[69])).await;
    assert_eq!(b.unwrap_err(), ConnectionError::Local(DisconnectReason::UnexpectedIdentity));
}

#[tokio::test]
async fn a_node_that_meets_itself_parts() {
    let side = Side::speaking(&[69]);
    let (a, b) = meet(&side, &side).await;
    let expected = ConnectionError::Local(DisconnectReason::SelfConnection);
    assert!(a.unwrap_err() == expected || b.unwrap_err() == expected);
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_it_and_prove_nothing_of_whoever_sent_them() {
    let (mut a, mut b) = pair().await;
    let refused = carry(a.write_unframed(&[0x55; 32]), &mut b).await.unwrap_err();
    assert_eq!(refused, ConnectionError::Frame(frame::FrameError::Mac));
    assert_eq!(refused.blame(), Blame::Nobody);
}

#[tokio::test]
async fn a_snappy_bomb_is_a_breach() {
    let (mut a, mut b) = pair().await;
    let bomb = [0x14, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let refused = carry(a.write_raw_frame(&bomb), &mut b).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Snappy(snappy::SnappyError::Length { .. })));
}

#[tokio::test]
async fn a_message_above_ten_mebibytes_is_a_breach_but_for_receipts_above_sixteen() {
    for (id, bytes_max) in [
        (eth::id::TRANSACTIONS, eth::MAX_MESSAGE_BYTES),
        (eth::id::RECEIPTS, eth::MAX_RECEIPTS_MESSAGE_BYTES),
    ] {
        expect_refused(id, &vec![0; bytes_max + 1]).await;
    }
}

#[tokio::test]
async fn a_blocks_receipts_of_twelve_mebibytes_are_taken() {
    let items = vec![large_receipt(1 << 20); 12];
    let receipts = EthMessage::Receipts {
        request_id: 1,
        last_block_incomplete: false,
        blocks: vec![Receipts { items }],
    };
    let (mut a, mut b) = pair_speaking(&[69]).await;
    let sent = Message::Eth(receipts.clone());
    assert_eq!(carry(a.write(&sent), &mut b).await.unwrap(), sent);
}

/// A receipt with one log of so many bytes, in the form of eth/69.
fn large_receipt(bytes: usize) -> Bytes {
    let log = Log::new_unchecked(Address::ZERO, Vec::new(), vec![7; bytes].into());
    let fields: [&dyn Encodable; 4] = [&2_u8, &1_u8, &21_000_u64, &vec![log]];
    let mut receipt = Vec::new();
    alloy_rlp::encode_list::<_, dyn Encodable>(&fields, &mut receipt);
    receipt.into()
}

async fn expect_refused(id: u8, data: &[u8]) {
    let (mut a, mut b) = pair_speaking(&[69]).await;
    let refused = carry(a.write_raw(id, data), &mut b).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Snappy(snappy::SnappyError::Length { .. })));
}

/// Both ends of a connection on which both speak these versions of eth.
async fn pair_speaking(versions: &[u8]) -> Pair {
    let (a, b) = duplex(1 << 20);
    let (dialler, listener) = (Side::speaking(versions), Side::speaking(versions));
    let timeouts = Timeouts::default();
    let (a, b) = tokio::join!(
        Connection::initiate(a, listener.hello.id, &dialler.secret, &dialler.hello, &timeouts),
        Connection::accept(b, &listener.secret, &listener.hello, &timeouts),
    );
    past_status(a.unwrap(), b.unwrap())
}

#[tokio::test]
async fn ids_that_do_not_exist_are_a_breach_and_unassigned_base_ids_are_skipped() {
    let (mut a, mut b) = pair().await;
    let writing = async {
        a.write_raw_frame(&[0x05, 0x00]).await?;
        a.write(&Message::Pong).await
    };
    assert_eq!(carry(writing, &mut b).await.unwrap(), Message::Pong);
    let refused = carry(a.write_raw(0x20, &[0xc0]), &mut b).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Eth(_)));
}

#[tokio::test]
async fn a_ping_with_a_body_is_a_breach_and_one_without_even_a_list_is_not() {
    let (mut a, mut b) = pair().await;
    for (bare, message) in [([0x02, 0x00], Message::Ping), ([0x03, 0x00], Message::Pong)] {
        assert_eq!(carry(a.write_raw_frame(&bare), &mut b).await.unwrap(), message);
    }
    let ping = [0x02, 0x02, 0x04, 0xc1, 0x01];
    let refused = carry(a.write_raw_frame(&ping), &mut b).await.unwrap_err();
    assert_eq!(refused, ConnectionError::P2p(p2p::P2pError::PingBody));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_is_heard_compressed_or_not() {
    let (mut a, mut b) = pair().await;
    let bare = carry(a.write_raw_frame(&[0x01, 0x04]), &mut b).await.unwrap();
    assert_eq!(bare, Message::Disconnect(DisconnectReason::TooManyPeers));
    let leaving = async {
        a.disconnect(DisconnectReason::ClientQuitting).await;
        Ok(())
    };
    let heard = carry(leaving, &mut b).await.unwrap();
    assert_eq!(heard, Message::Disconnect(DisconnectReason::ClientQuitting));
    assert!(matches!(b.read().await, Err(ConnectionError::Network(_))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_silent_for_too_long() {
    let (_a, mut b) = pair().await;
    let started = Instant::now();
    assert_eq!(b.read().await, Err(ConnectionError::Silent("the session")));
    assert!(started.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_after_twenty_seconds() {
    let (mut a, _b) = pair().await;
    let refused = a.write_raw(eth::id::TRANSACTIONS, &[7; 4096]).await;
    assert_eq!(refused, Err(ConnectionError::Silent("a write")));
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_never_shakes_hands_is_left_after_five_seconds() {
    let (_a, b) = duplex(64);
    let side = Side::speaking(&[69]);
    let refused = Connection::accept(b, &side.secret, &side.hello, &Timeouts::default()).await;
    assert_eq!(refused.unwrap_err(), ConnectionError::Silent("the handshake"));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_below_the_minimum_rate_is_given_up() {
    let (mut a, mut b) = pair().await;
    // a whole header promises a megabyte, of which a byte a second arrives
    let wire = a.encode_frame(&vec![1; 1 << 20]).unwrap();
    let started = Instant::now();
    let trickling = async {
        for chunk in wire.chunks(64) {
            if a.write_unframed(chunk).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        biased;
        read = b.read() => assert_eq!(read, Err(ConnectionError::Silent("the session"))),
        () = trickling => panic!("the frame was awaited to its end"),
    }
    // 30 s, and 32 s for a megabyte at 32 KiB a second
    assert!(started.elapsed() < Duration::from_secs(63));
}

#[tokio::test]
async fn a_frame_before_status_is_no_larger_than_a_hello() {
    let meeting = meet(&Side::speaking(&[70]), &Side::speaking(&[70])).await;
    let (mut a, mut b) = (meeting.0.unwrap(), meeting.1.unwrap());
    // what its header promises is enough to refuse it
    let wire = a.encode_frame(&[0x10; 2050]).unwrap();
    let refused = carry(a.write_unframed(&wire[..32]), &mut b).await.unwrap_err();
    let too_large = frame::FrameError::Size { size: 2050, limit: 2049 };
    assert_eq!(refused, ConnectionError::Frame(too_large));
    assert_eq!(refused.blame(), Blame::Peer);
}

#[tokio::test]
async fn news_are_recognised_and_not_expanded() {
    let (mut a, mut b) = pair().await;
    for id in [
        eth::id::TRANSACTIONS,
        eth::id::NEW_POOLED_TRANSACTION_HASHES,
        eth::id::NEW_BLOCK_HASHES,
        eth::id::NEW_BLOCK,
    ] {
        let news = Message::Eth(EthMessage::Gossip { id, data: Bytes::new() });
        assert_eq!(carry(a.write_raw(id, &[7; 100]), &mut b).await.unwrap(), news);
        // a length that it may have, and nothing that is snappy
        let frame = [0x10 + id, 100, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(carry(a.write_raw_frame(&frame), &mut b).await.unwrap(), news);
    }
}

#[tokio::test]
async fn statuses_are_exchanged_and_nothing_of_eth_comes_before_them() {
    let status = LocalStatus {
        network_id: 1,
        genesis: B256::repeat_byte(1),
        fork_id: ForkId { hash: alloy_eip2124::ForkHash([1; 4]), next: 0 },
        total_difficulty: U256::ZERO,
        range: AnnouncedRange { earliest: 0, latest: 0, latest_hash: B256::repeat_byte(1) },
        head: B256::repeat_byte(1),
    };
    let (mut a, mut b) = pair().await;
    let ours = status.at(70);
    let (one, other) = tokio::join!(a.exchange_status(&ours), b.exchange_status(&ours));
    assert_eq!((one.unwrap(), other.unwrap()), (ours.clone(), ours.clone()));

    let (mut a, mut b) = pair().await;
    let gossip = async { a.write_raw(eth::id::TRANSACTIONS, &[0xc0]).await };
    let (_, refused, _) = tokio::join!(gossip, b.exchange_status(&ours), async {});
    assert_eq!(refused.unwrap_err(), ConnectionError::StatusNotFirst);
}
