//! What an honest network makes of it.

use std::time::Duration;

use alloy_primitives::B256;
use moorline_messages::{Conduct, DownloadFailure, DownloadOutcome, FetchError, HashOrNumber};

use super::rig::{MemoryStore, Rig, chain, hashes, head, peer};
use crate::core::Input;

#[test]
fn one_unknown_block_is_fetched_by_hash_proved_stored_and_delivered() {
    let mut rig = Rig::new();
    let blocks = rig.chain(5);
    let request = rig.ask_set([head(&blocks)]);
    rig.expect_started(request, head(&blocks));

    let (fetch, top, limit) = rig.expect_header_fetch();
    assert_eq!((top, limit), (HashOrNumber::Hash(head(&blocks)), 1));
    rig.expect_silence();
    rig.headers(fetch, peer(1), &[&blocks[4]]);

    let (fetch, wanted) = rig.expect_body_fetch();
    assert_eq!(wanted, [blocks[4].num_hash()]);
    rig.bodies(fetch, peer(1), &[&blocks[4]]);

    assert_eq!(rig.delivered(request), [head(&blocks)]);
    assert_eq!(rig.reports, [(peer(1), Conduct::Served), (peer(1), Conduct::Served)]);
    rig.expect_silence();
}

#[test]
fn a_range_of_any_length_comes_ascending_and_each_block_once() {
    for count in [1, 2, 511, 512, 513, 1_025, 5_000] {
        let mut rig = Rig::new();
        let blocks = rig.chain(count);
        let request = rig.ask_range(head(&blocks), count);
        rig.serve_all(&blocks);
        assert_eq!(rig.delivered(request), hashes(&blocks), "{count}");
        assert!(rig.body_asks.values().all(|asks| *asks == 1));
        assert_eq!(rig.header_asks, count.div_ceil(512), "{count}");
        rig.expect_silence();
    }
}

#[test]
fn a_range_ends_where_it_was_told_to() {
    let mut rig = Rig::new();
    let blocks = rig.chain(2_000);
    let request = rig.ask_range(head(&blocks), 700);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks[1_300..]));
    assert!(rig.store.headers.len() == 700);
}

#[test]
fn no_request_is_larger_than_the_gap() {
    let mut rig = Rig::new();
    let blocks = rig.chain(100);
    rig.ask_range(head(&blocks), 3);
    let (_, _, limit) = rig.expect_header_fetch();
    assert_eq!(limit, 3);
}

#[test]
fn after_the_first_headers_many_peers_can_be_asked_at_once() {
    let mut rig = Rig::new();
    let blocks = rig.chain(5_000);
    rig.ask_range(head(&blocks), 5_000);
    let (fetch, ..) = rig.expect_header_fetch();
    rig.expect_started(moorline_messages::RequestId(2), head(&blocks));
    rig.expect_silence();
    let first: Vec<_> = blocks.iter().rev().take(512).collect();
    rig.headers(fetch, peer(1), &first);
    let tops: Vec<_> = rig
        .fetches
        .iter()
        .filter_map(|fetch| match fetch.items {
            moorline_messages::FetchItems::Headers { top, .. } => Some(top),
            _ => None,
        })
        .collect();
    assert_eq!(tops.len(), 9);
    assert_eq!(tops[0], HashOrNumber::Hash(blocks[4_487].header.hash()));
    assert_eq!(tops[1], HashOrNumber::Number(4_488 - 512));
}

#[test]
fn headers_that_come_out_of_order_wait_until_they_link() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    let request = rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    while let Some(request) = rig.fetches.pop_back() {
        rig.serve(request, peer(2), &blocks);
    }
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn bodies_are_asked_for_while_headers_are_still_coming() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    assert!(!rig.body_asks.is_empty());
    assert!(rig.body_asks.keys().all(|hash| hashes(&blocks[2_488..]).contains(hash)));
}

#[test]
fn bodies_do_not_wait_until_a_slow_disk_has_their_headers() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3);
    let request = rig.ask_range(head(&blocks), 3);
    rig.store_answers = false;
    let (fetch, _, _) = rig.expect_header_fetch();
    rig.headers(fetch, peer(1), &[&blocks[2], &blocks[1], &blocks[0]]);
    rig.answer_reads();
    let (fetch, _) = rig.expect_body_fetch();
    rig.bodies(fetch, peer(1), &[&blocks[2], &blocks[1], &blocks[0]]);
    rig.expect_started(request, head(&blocks));
    rig.expect_silence();
    rig.store_answers = true;
    rig.answer_store();
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_partial_answer_is_a_prefix_and_the_rest_is_asked_for() {
    let mut rig = Rig::new();
    let blocks = rig.chain(40);
    let request = rig.ask_range(head(&blocks), 40);
    let (fetch, ..) = rig.expect_header_fetch();
    let part: Vec<_> = blocks.iter().rev().take(15).collect();
    rig.headers(fetch, peer(1), &part);
    assert_eq!(rig.reports, [(peer(1), Conduct::Served)]);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn one_skipped_body_in_a_full_answer_misaligns_nothing() {
    let mut rig = Rig::new();
    let blocks = rig.chain(6);
    let request = rig.ask_range(head(&blocks), 6);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    let (fetch, wanted) = rig.expect_body_fetch();
    let skipped = wanted[2].hash;
    let answer: Vec<_> = wanted
        .iter()
        .filter(|block| block.hash != skipped)
        .map(|wanted| blocks.iter().find(|b| b.header.hash() == wanted.hash).unwrap())
        .collect();
    rig.bodies(fetch, peer(1), &answer);
    let again = rig.fetches.pop_front().unwrap();
    assert_eq!(again.avoid, [peer(1)], "the peer that skipped it is not asked again");
    rig.serve(again, peer(2), &blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served));
    assert_eq!(rig.store.written_twice, 0);
}

#[test]
fn a_peer_that_sends_one_body_at_a_time_is_slow_and_nothing_worse() {
    let mut rig = Rig::new();
    let blocks = rig.chain(30);
    let request = rig.ask_range(head(&blocks), 30);
    while let Some(fetch) = rig.fetches.pop_front() {
        match fetch.items {
            moorline_messages::FetchItems::Bodies { blocks: wanted } => {
                let one = blocks.iter().find(|b| b.header.hash() == wanted[0].hash).unwrap();
                rig.bodies(fetch.id, peer(1), &[one]);
            }
            _ => rig.serve(fetch, peer(1), &blocks),
        }
    }
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served));
}

#[test]
fn overlapping_ranges_fetch_no_body_twice() {
    let mut rig = Rig::new();
    let blocks = rig.chain(900);
    let long = rig.ask_range(head(&blocks), 900);
    let short = rig.ask_range(blocks[699].header.hash(), 300);
    let mut told_long = Vec::new();
    let mut told_short = Vec::new();
    while let Some(request) = rig.fetches.pop_front() {
        rig.serve(request, peer(1), &blocks);
        for outcome in std::mem::take(&mut rig.told) {
            if let moorline_messages::DownloadOutcome::Blocks { request, blocks, .. } = outcome {
                let hashes = blocks.iter().map(|header| header.hash());
                if request == long {
                    told_long.extend(hashes);
                } else {
                    assert_eq!(request, short);
                    told_short.extend(hashes);
                }
            }
        }
    }
    assert_eq!(told_long, hashes(&blocks));
    assert_eq!(told_short, hashes(&blocks[400..700]));
    assert!(rig.body_asks.values().all(|asks| *asks == 1));
}

#[test]
fn forks_share_what_they_share_and_nothing_else() {
    let mut rig = Rig::new();
    let trunk = rig.chain(50);
    let mut fork = trunk[..30].to_vec();
    fork.extend(chain(&trunk[29].header, 20, 1));
    let one = rig.ask_range(head(&trunk), 50);
    rig.serve_all(&trunk);
    assert_eq!(rig.delivered(one), hashes(&trunk));
    let other = rig.ask_range(head(&fork), 50);
    rig.serve_all(&fork);
    assert_eq!(rig.delivered(other), hashes(&fork));
    assert!(rig.body_asks.values().all(|asks| *asks == 1), "no body was asked for twice");
}

#[test]
fn a_set_of_several_blocks_is_delivered_whole_and_ascending() {
    let mut rig = Rig::new();
    let blocks = rig.chain(9);
    let wanted = [blocks[7].header.hash(), blocks[2].header.hash(), blocks[4].header.hash()];
    let request = rig.ask_set(wanted);
    rig.serve_all(&blocks);
    let delivered: Vec<_> = std::mem::take(&mut rig.told)
        .into_iter()
        .filter_map(|outcome| match outcome {
            moorline_messages::DownloadOutcome::Blocks { request: of, blocks, .. } => {
                assert_eq!(of, request);
                Some(blocks)
            }
            _ => None,
        })
        .collect();
    assert_eq!(delivered.len(), 1);
    let numbers: Vec<_> = delivered[0].iter().map(|header| header.number).collect();
    assert_eq!(numbers, [3, 5, 8]);
}

#[test]
fn a_set_asked_for_again_half_way_is_delivered_with_each_block_once() {
    let mut rig = Rig::new();
    let blocks = rig.chain(9);
    let wanted = [blocks[7].header.hash(), blocks[2].header.hash()];
    let request = rig.ask_set(wanted);
    while rig.store.bodies.is_empty() {
        let fetch = rig.fetches.pop_front().unwrap();
        rig.serve(fetch, peer(1), &blocks[..3]);
    }
    let hashes = wanted.into_iter().collect();
    let again = moorline_messages::DownloadRequest::BlockSet { id: request, hashes };
    rig.give(Input::Request(again));
    rig.pass(Duration::from_secs(1));
    rig.serve_all(&blocks);
    let delivered = rig.told.iter().find_map(|outcome| match outcome {
        DownloadOutcome::Blocks { blocks, .. } => Some(blocks.iter().map(|b| b.number).collect()),
        _ => None,
    });
    assert_eq!(delivered, Some(vec![3, 8]));
}

#[test]
fn a_set_for_which_there_is_no_room_is_not_taken_up_in_part() {
    let mut rig = Rig::new();
    rig.ask_set((0..=64).map(B256::repeat_byte));
    rig.expect_silence();
    rig.ask_set((0..64).map(B256::repeat_byte));
    assert_eq!(rig.told.len(), 64);
}

#[test]
fn asking_again_for_what_is_under_way_adds_nothing() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 20);
    rig.expect_started(request, head(&blocks));
    assert_eq!(rig.fetches.len(), 1);
    let again = moorline_messages::DownloadRequest::BlockRange {
        id: request,
        head: head(&blocks),
        count: 20,
    };
    rig.give(Input::Request(again));
    assert_eq!(rig.fetches.len(), 1);
    assert!(rig.told.is_empty());
}

#[test]
fn a_tree_that_restarted_gets_its_blocks_under_the_new_id_without_a_second_fetch() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1_500);
    rig.ask_range(head(&blocks), 1_500);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let again = rig.ask_range_as(1, head(&blocks), 1_500);
    rig.told.clear();
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(again), hashes(&blocks));
    assert_eq!(rig.header_asks, 3);
    assert!(rig.body_asks.values().all(|asks| *asks == 1));
}

#[test]
fn a_cancelled_download_asks_for_nothing_more() {
    let mut rig = Rig::new();
    let blocks = rig.chain(2_000);
    let request = rig.ask_range(head(&blocks), 2_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    rig.give(Input::Request(moorline_messages::DownloadRequest::Cancel { id: request }));
    let asked = std::mem::take(&mut rig.fetches);
    rig.told.clear();
    for request in asked {
        rig.serve(request, peer(1), &blocks);
    }
    rig.pass(Duration::from_secs(60));
    rig.expect_silence();
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served), "nobody is blamed");
}

#[test]
fn payloads_that_the_store_has_are_not_fetched() {
    let mut store = MemoryStore::default();
    let genesis = Rig::new().genesis;
    let blocks = chain(&genesis, 20, 0);
    for block in &blocks[12..] {
        store.put(block);
    }
    let mut rig = Rig::over(store, 0);
    let request = rig.ask_range(head(&blocks), 20);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert_eq!(rig.body_asks.len(), 12);
}

#[test]
fn after_a_restart_stored_headers_and_bodies_are_not_fetched_again() {
    let mut rig = Rig::new();
    let blocks = rig.chain(4_000);
    rig.ask_range(head(&blocks), 4_000);
    for _ in 0..12 {
        let request = rig.fetches.pop_front().unwrap();
        rig.serve(request, peer(1), &blocks);
    }
    let (headers, bodies) = (rig.store.headers.len(), rig.store.bodies.len());
    assert!(headers > 512 && bodies > 0 && bodies < 4_000);

    let mut rig = Rig::over(rig.store, 1);
    let request = rig.ask_range(head(&blocks), 4_000);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert_eq!(rig.body_asks.len(), 4_000 - bodies);
    assert_eq!(rig.store.headers.len(), 4_000);
    assert_eq!(rig.header_asks, (4_000 - headers as u64).div_ceil(512));
}

#[test]
fn a_new_head_joins_the_part_that_is_stored() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    rig.ask_range(blocks[1_999].header.hash(), 2_000);
    for _ in 0..3 {
        let request = rig.fetches.pop_front().unwrap();
        rig.serve(request, peer(1), &blocks);
    }
    let stored = rig.store.headers.len() as u64;
    let mut rig = Rig::over(rig.store, 1);
    let request = rig.ask_range(head(&blocks), 3_000);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    let missing = 3_000 - stored;
    assert!(rig.header_asks <= missing.div_ceil(512) + 1, "{}", rig.header_asks);
}

#[test]
fn nothing_is_delivered_before_the_store_has_it() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1);
    let request = rig.ask_range(head(&blocks), 1);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    let bodies = rig.fetches.pop_front().unwrap();
    rig.store_answers = false;
    rig.serve(bodies, peer(1), &blocks);
    rig.told.retain(|o| matches!(o, moorline_messages::DownloadOutcome::Blocks { .. }));
    rig.expect_silence();
    rig.store_answers = true;
    rig.answer_store();
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_tree_without_room_is_not_flooded() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1_200);
    let request = rig.ask_range(head(&blocks), 1_200);
    rig.give(Input::TreeHasRoom(false));
    rig.serve_all(&blocks);
    assert!(rig.delivered(request).is_empty());
    rig.give(Input::TreeHasRoom(true));
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_block_that_nobody_has_fails_after_everybody_was_asked() {
    let mut rig = Rig::new();
    let request = rig.ask_set([B256::repeat_byte(9)]);
    let mut asked = 0;
    for number in 1..200 {
        if let Some(fetch) = rig.fetches.pop_front() {
            asked += 1;
            rig.headers(fetch.id, peer(number), &[]);
        }
        rig.pass(Duration::from_secs(1));
    }
    let failure = rig.expect_failed(request);
    assert_eq!(
        failure,
        DownloadFailure::Unobtainable { hash: B256::repeat_byte(9), attempts: asked }
    );
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Lacked));
}

#[test]
fn headers_that_nobody_has_below_the_head_fail_too() {
    let mut rig = Rig::new();
    let blocks = rig.chain(2_000);
    let request = rig.ask_range(head(&blocks), 2_000);
    // every peer has only the upper half
    for _ in 0..400 {
        if let Some(fetch) = rig.fetches.pop_front() {
            rig.serve(fetch, peer(1), &blocks[1_000..]);
        } else {
            rig.pass(Duration::from_secs(1));
        }
        if rig.told.iter().any(|told| matches!(told, DownloadOutcome::Failed { .. })) {
            break;
        }
    }
    let failure = rig.expect_failed(request);
    let missing = blocks[999].header.hash();
    assert!(
        matches!(failure, DownloadFailure::Unobtainable { hash, .. } if hash == missing),
        "{failure:?}"
    );
}

#[test]
fn waiting_for_peers_is_no_attempt() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1);
    let request = rig.ask_set([head(&blocks)]);
    for _ in 0..50 {
        let fetch = rig.fetches.pop_front().unwrap();
        rig.give(Input::FetchFailed { fetch: fetch.id, peer: None, error: FetchError::NoPeer });
        rig.pass(Duration::from_secs(10));
    }
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_timeout_is_retried_elsewhere_at_once() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1);
    let request = rig.ask_set([head(&blocks)]);
    let fetch = rig.fetches.pop_front().unwrap();
    rig.failed(fetch.id, peer(1), FetchError::TimedOut);
    let fetch = rig.fetches.pop_front().expect("no wait before another peer");
    assert_eq!(fetch.avoid, [peer(1)]);
    rig.serve(fetch, peer(2), &blocks);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn the_same_inputs_give_the_same_requests() {
    let run = || {
        let mut rig = Rig::new();
        let blocks = rig.chain(2_000);
        rig.ask_range(head(&blocks), 2_000);
        let mut seen = Vec::new();
        while let Some(request) = rig.fetches.pop_front() {
            seen.push(format!("{request:?}"));
            rig.serve(request, peer(1), &blocks);
        }
        seen
    };
    assert_eq!(run(), run());
}

#[test]
fn progress_is_reported_and_ends_at_nothing_missing() {
    let mut rig = Rig::new();
    let blocks = rig.chain(700);
    rig.ask_range(head(&blocks), 700);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.progress.remaining_blocks, 700);
    rig.serve_all(&blocks);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.progress.remaining_blocks, rig.progress.blocks), (0, 700));
    assert_eq!(rig.progress.headers, 700);
    assert_eq!(rig.progress.refetched, 0);
}
