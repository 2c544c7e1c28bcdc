use std::time::Duration;

use alloy_primitives::B256;
use moorline_messages::{BlockNumHash, HashOrNumber};

use super::*;
use crate::parts::{NEXT_PART_WAIT, PARTS_BYTES_MIN, PARTS_MAX};

fn headers(limit: u64) -> FetchItems {
    FetchItems::Headers { top: HashOrNumber::Number(9), limit }
}

fn bodies(count: usize) -> FetchItems {
    FetchItems::Bodies { blocks: vec![BlockNumHash::new(1, B256::ZERO); count] }
}

const FIRST: B256 = B256::repeat_byte(1);

fn receipts(count: usize) -> FetchItems {
    let block = |number: usize| BlockNumHash::new(number as u64, B256::repeat_byte(number as u8));
    FetchItems::Receipts { blocks: (1..=count).map(block).collect() }
}

/// So many receipts of this size, in a block.
fn part(count: usize, bytes: usize) -> Receipts {
    Receipts { items: vec![vec![7; bytes].into(); count] }
}

/// Receipts come, in a message of 100 bytes.
fn came(
    outstanding: &mut Outstanding,
    id: u64,
    blocks: Vec<Receipts>,
    incomplete: bool,
) -> Result<Option<ReceiptsStep>, ConnectionError> {
    outstanding.receipts_answered(id, blocks, incomplete, 100, Instant::now())
}

#[track_caller]
fn asks_on(step: Result<Option<ReceiptsStep>, ConnectionError>) -> (u64, u64) {
    match step {
        Ok(Some(ReceiptsStep::AskOn { id, block: FIRST, first_receipt })) => (id, first_receipt),
        other => panic!("expected to ask on for the first block, got {other:?}"),
    }
}

#[track_caller]
fn blocks_of(step: Result<Option<ReceiptsStep>, ConnectionError>) -> Vec<usize> {
    match step {
        Ok(Some(ReceiptsStep::Answered { request: RequestId(1), blocks, .. })) => {
            blocks.iter().map(|block| block.items.len()).collect()
        }
        other => panic!("expected an answer, got {other:?}"),
    }
}

#[test]
fn a_block_that_is_cut_off_after_others_is_left_out() {
    let mut outstanding = Outstanding::default();
    let id = outstanding.ask(RequestId(1), &receipts(5));
    let blocks = vec![part(2, 9), part(3, 9), part(1, 9)];
    assert_eq!(blocks_of(came(&mut outstanding, id, blocks, true)), [2, 3]);
    assert!(outstanding.asked.is_empty());
}

#[test]
fn the_parts_of_a_block_that_is_cut_off_alone_are_joined() {
    let mut outstanding = Outstanding::default();
    let id = outstanding.ask(RequestId(1), &receipts(5));
    let step = came(&mut outstanding, id, vec![part(2, 9)], true);
    let (id, first_receipt) = asks_on(step);
    assert_eq!(first_receipt, 2);
    let (id, first_receipt) = asks_on(came(&mut outstanding, id, vec![part(3, 9)], true));
    assert_eq!(first_receipt, 5);
    let step = came(&mut outstanding, id, vec![part(1, 9)], false).unwrap().unwrap();
    let (request, blocks, wire_bytes) = (RequestId(1), vec![part(6, 9)], 300);
    assert_eq!(step, ReceiptsStep::Answered { request, blocks, wire_bytes });
    assert!(outstanding.asked.is_empty());
}

#[test]
fn a_block_that_is_gone_when_its_rest_is_asked_for_is_lacked() {
    for gone in [vec![], vec![part(0, 0)]] {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &receipts(5));
        let (id, _) = asks_on(came(&mut outstanding, id, vec![part(2, 9)], true));
        let step = came(&mut outstanding, id, gone, false);
        assert_eq!(blocks_of(step), [] as [usize; 0]);
        assert!(outstanding.asked.is_empty());
    }
}

#[test]
fn parts_that_no_honest_peer_sends_are_breaches() {
    let mut outstanding = Outstanding::default();
    for nothing in [vec![], vec![part(0, 0)]] {
        let id = outstanding.ask(RequestId(1), &receipts(5));
        assert!(came(&mut outstanding, id, nothing, true).is_err(), "nothing of it");
    }
    let id = outstanding.ask(RequestId(1), &receipts(1));
    let two = vec![part(1, 9), part(1, 9)];
    assert!(came(&mut outstanding, id, two.clone(), true).is_err(), "too many");
    for (rest, incomplete) in
        [(vec![], true), (vec![part(0, 0)], true), (two.clone(), false), (two, true)]
    {
        let id = outstanding.ask(RequestId(1), &receipts(5));
        let (id, _) = asks_on(came(&mut outstanding, id, vec![part(2, 9)], true));
        assert!(came(&mut outstanding, id, rest, incomplete).is_err());
    }
    let id = outstanding.ask(RequestId(1), &bodies(5));
    assert!(came(&mut outstanding, id, vec![], false).is_err(), "another kind");
    assert!(came(&mut outstanding, id + 1, vec![], false).is_err(), "never asked");
}

/// As many parts as a block may come in and none of them the last, with so many bytes in each.
fn parts_without_end(bytes: usize) -> Result<Option<ReceiptsStep>, ConnectionError> {
    let mut outstanding = Outstanding::default();
    let mut id = outstanding.ask(RequestId(1), &receipts(5));
    for _ in 1..PARTS_MAX {
        (id, _) = asks_on(came(&mut outstanding, id, vec![part(1, bytes - 32)], true));
    }
    let step = came(&mut outstanding, id, vec![part(1, bytes - 32)], true);
    assert!(outstanding.asked.is_empty());
    step
}

#[test]
fn parts_without_end_are_given_up_and_a_breach_where_next_to_nothing_is_in_them() {
    let least = PARTS_BYTES_MIN / PARTS_MAX as usize;
    assert_eq!(blocks_of(parts_without_end(least)), [] as [usize; 0], "never part of a block's");
    for little in [33, least - 1] {
        assert!(matches!(parts_without_end(little), Err(ConnectionError::Breach(_))), "{little}");
    }
}

/// The first part, of so many bytes, of a block that is asked for.
fn begun(
    outstanding: &mut Outstanding,
    bytes: usize,
) -> Result<Option<ReceiptsStep>, ConnectionError> {
    let id = outstanding.ask(RequestId(1), &receipts(5));
    let item = bytes / 4 - 32;
    came(outstanding, id, vec![part(4, item)], true)
}

const MIB: usize = 1 << 20;

#[test]
fn parts_are_kept_up_to_a_bound_over_all_requests_of_a_session() {
    let mut outstanding = Outstanding::default();
    for _ in 0..8 {
        asks_on(begun(&mut outstanding, SESSION_PARTS_BYTES_MAX / 8));
    }
    assert_eq!(outstanding.unfinished.bytes(), SESSION_PARTS_BYTES_MAX);
    assert_eq!(blocks_of(begun(&mut outstanding, 4 * 33)), [] as [usize; 0]);
    assert_eq!(outstanding.unfinished.bytes(), SESSION_PARTS_BYTES_MAX);
}

#[test]
fn parts_are_kept_up_to_a_bound_over_all_sessions_of_a_network() {
    let unfinished = UnfinishedReceipts::default();
    let session = || Outstanding::new(unfinished.clone());
    let (mut one, mut other, mut third) = (session(), session(), session());
    let (id, _) = asks_on(begun(&mut one, 30 * MIB));
    asks_on(begun(&mut other, 30 * MIB));
    assert_eq!(blocks_of(begun(&mut third, 5 * MIB)), [] as [usize; 0], "no room");
    assert_eq!(unfinished.bytes(), 60 * MIB, "nothing is kept of what did not fit");
    asks_on(begun(&mut third, 4 * MIB));
    assert_eq!(unfinished.bytes(), UnfinishedReceipts::BYTES_MAX);

    // a block that is whole makes room, as does a session's end
    assert_eq!(blocks_of(came(&mut one, id, vec![part(1, 9)], false)), [5]);
    assert_eq!(unfinished.bytes(), 34 * MIB);
    asks_on(begun(&mut third, 20 * MIB));
    drop(other);
    drop(third);
    assert_eq!(unfinished.bytes(), 0);
}

#[test]
fn room_comes_free_however_a_block_ends() {
    let unfinished = UnfinishedReceipts::default();
    let ends: [fn(&mut Outstanding, u64); 5] = [
        |outstanding, id| drop(came(outstanding, id, vec![], false)),
        |outstanding, id| drop(came(outstanding, id, vec![part(1, 33 * MIB)], true)),
        |outstanding, id| drop(came(outstanding, id, vec![part(0, 0)], true)),
        |outstanding, id| drop(outstanding.answered(id, Kind::Bodies, 1)),
        |outstanding, _| {
            for _ in 0..MAX_OUTSTANDING {
                outstanding.ask(RequestId(2), &bodies(1));
            }
        },
    ];
    for (end, index) in ends.into_iter().zip(0..) {
        let mut outstanding = Outstanding::new(unfinished.clone());
        let (id, _) = asks_on(begun(&mut outstanding, MIB));
        assert_eq!(unfinished.bytes(), MIB);
        end(&mut outstanding, id);
        assert_eq!(unfinished.bytes(), 0, "end {index}");
    }
}

#[test]
fn a_block_whose_next_part_is_overdue_is_forgotten() {
    let mut outstanding = Outstanding::default();
    let start = Instant::now();
    let part_at = |outstanding: &mut Outstanding, id, after| {
        let blocks = vec![part(1, 9)];
        outstanding.receipts_answered(id, blocks, true, 100, start + after)
    };
    let other = outstanding.ask(RequestId(2), &receipts(5));
    let first = outstanding.ask(RequestId(1), &receipts(5));
    let (id, _) = asks_on(part_at(&mut outstanding, first, NEXT_PART_WAIT));
    let (id, _) = asks_on(part_at(&mut outstanding, id, NEXT_PART_WAIT * 2));
    outstanding.forget_overdue_parts(start + NEXT_PART_WAIT * 3);
    assert_eq!(outstanding.asked.keys().collect::<Vec<_>>(), [&other, &id], "each part counts");
    let late = NEXT_PART_WAIT * 3 + Duration::from_millis(1);
    outstanding.forget_overdue_parts(start + late);
    assert_eq!(outstanding.unfinished.bytes(), 0);
    assert_eq!(outstanding.asked.keys().collect::<Vec<_>>(), [&other], "no part of it came");

    assert_eq!(part_at(&mut outstanding, id, late), Ok(None), "as an answer that comes too late");
    assert_eq!(outstanding.strays, 1);
    assert_eq!(outstanding.unfinished.bytes(), 0);
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let mut outstanding = Outstanding::default();
    let first = outstanding.ask(RequestId(70), &headers(3));
    let second = outstanding.ask(RequestId(71), &bodies(2));
    assert_eq!(outstanding.answered(second, Kind::Bodies, 2), Ok(Some(RequestId(71))));
    assert_eq!(outstanding.answered(first, Kind::Headers, 0), Ok(Some(RequestId(70))));
}

#[test]
fn answers_that_no_honest_peer_gives_are_breaches() {
    let mut outstanding = Outstanding::default();
    let id = outstanding.ask(RequestId(1), &headers(3));
    assert!(outstanding.answered(id, Kind::Headers, 4).is_err(), "more than asked for");
    let id = outstanding.ask(RequestId(2), &headers(3));
    assert!(outstanding.answered(id, Kind::Bodies, 1).is_err(), "another kind");
    assert!(outstanding.answered(id + 1, Kind::Headers, 1).is_err(), "never asked");
    assert!(outstanding.answered(0, Kind::Headers, 1).is_err(), "never asked");
}

#[test]
fn a_repeated_answer_is_ignored_and_a_flood_of_them_is_not() {
    let mut outstanding = Outstanding::default();
    let id = outstanding.ask(RequestId(1), &headers(3));
    outstanding.answered(id, Kind::Headers, 1).unwrap();
    for _ in 0..MAX_STRAYS {
        assert_eq!(outstanding.answered(id, Kind::Headers, 1), Ok(None));
    }
    assert!(outstanding.answered(id, Kind::Headers, 1).is_err());
}

#[test]
fn memory_of_requests_is_bounded_and_a_late_answer_is_ignored() {
    let mut outstanding = Outstanding::default();
    let first = outstanding.ask(RequestId(0), &headers(3));
    for request in 1..=u64::try_from(MAX_OUTSTANDING).unwrap() {
        outstanding.ask(RequestId(request), &headers(3));
    }
    assert_eq!(outstanding.asked.len(), MAX_OUTSTANDING);
    assert_eq!(outstanding.answered(first, Kind::Headers, 3), Ok(None));
}
