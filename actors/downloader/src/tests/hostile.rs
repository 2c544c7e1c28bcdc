//! What lying peers make of it: nothing.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Sealable};
use moorline_messages::{
    Block, Breach, Conduct, DownloadFailure, FetchItems, HashOrNumber, Header, RequestId,
};

use super::rig::{MemoryStore, Rig, chain, hashes, head, peer};
use crate::{Budget, core::Input};

/// What an honest peer had to be asked while one of them sent what it sends.
fn honest_header_requests(
    rig: &mut Rig,
    blocks: &[Block],
    lie: impl Fn(&mut Rig, RequestId, u64, u64),
) -> u64 {
    let mut honest = 0;
    while let Some(fetch) = rig.fetches.pop_front() {
        match &fetch.items {
            FetchItems::Headers { top: HashOrNumber::Number(number), limit }
                if !fetch.avoid.contains(&peer(66)) =>
            {
                lie(rig, fetch.id, *number, *limit);
            }
            items => {
                honest += u64::from(matches!(items, FetchItems::Headers { .. }));
                rig.serve(fetch, peer(1), blocks);
            }
        }
    }
    honest
}

#[test]
fn one_forged_header_at_a_time_does_not_make_everybody_go_one_by_one() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    let forged = chain(&rig.genesis, 3_000, 9);
    let request = rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let honest = honest_header_requests(&mut rig, &blocks, |rig, fetch, number, _| {
        rig.headers(fetch, peer(66), &[&forged[number as usize - 1]]);
    });
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(honest <= 10, "{honest} requests for 2,488 headers");
    rig.expect_nothing_held();
}

#[test]
fn unproved_headers_with_fat_extra_data_are_not_held() {
    let budget = Budget { buffer_bytes: 16 << 20, ..Budget::default() };
    let mut rig = Rig::within(budget, MemoryStore::default(), 0);
    let blocks = rig.chain(6_000);
    let request = rig.ask_range(head(&blocks), 6_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    honest_header_requests(&mut rig, &blocks, |rig, fetch, top, limit| {
        let mut parent_hash = B256::ZERO;
        let mut headers = Vec::new();
        for number in top + 1 - limit..=top {
            let extra_data = vec![0; 30_000].into();
            let header = Header { number, parent_hash, extra_data, ..Header::default() };
            let header = header.seal_slow();
            parent_hash = header.hash();
            headers.push(Arc::new(header));
        }
        headers.reverse();
        rig.give(Input::Headers { fetch, peer: peer(66), headers });
        rig.pass(Duration::from_millis(200));
        assert!(rig.progress.buffered_bytes <= 24 << 20, "{}", rig.progress.buffered_bytes);
    });
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_body_sent_over_and_over_is_a_body_nobody_asked_for() {
    let mut rig = Rig::new();
    let blocks = rig.chain(6);
    rig.ask_range(head(&blocks), 6);
    let (fetch, _, _) = rig.expect_header_fetch();
    rig.headers(fetch, peer(1), &blocks.iter().rev().collect::<Vec<_>>());
    let (fetch, wanted) = rig.expect_body_fetch();
    let one = blocks.iter().find(|block| block.header.hash() == wanted[0].hash).unwrap();
    rig.bodies(fetch, peer(66), &[one; 6]);
    assert_eq!(rig.reports.last(), Some(&(peer(66), Conduct::UnaskedBody)));
    assert!(rig.fetches[0].avoid.contains(&peer(66)));
}

#[test]
fn headers_that_do_not_start_at_the_hash_asked_for_are_a_lie() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    let forged = chain(&rig.genesis, 10, 9);
    let request = rig.ask_range(head(&blocks), 10);
    let fetch = rig.fetches.pop_front().unwrap();
    rig.serve_forged(&fetch, &forged);
    assert_eq!(rig.reports, [(peer(66), Conduct::WrongAnchor)]);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_forged_tail_after_a_true_head_is_dropped_and_blamed() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20);
    let forged = chain(&rig.genesis, 20, 9);
    let request = rig.ask_range(head(&blocks), 20);
    let (fetch, ..) = rig.expect_header_fetch();
    let mut answer: Vec<_> = blocks.iter().rev().take(8).collect();
    answer.extend(forged.iter().rev().skip(8));
    rig.headers(fetch, peer(66), &answer);
    assert!(rig.reports.contains(&(peer(66), Conduct::BrokenLink)), "{:?}", rig.reports);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_header_repeated_over_and_over_is_a_broken_link() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 20);
    let (fetch, ..) = rig.expect_header_fetch();
    rig.headers(fetch, peer(66), &[&blocks[19]; 20]);
    assert!(rig.reports.contains(&(peer(66), Conduct::BrokenLink)));
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn more_headers_than_asked_for_are_refused() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20);
    let request = rig.ask_range(head(&blocks), 5);
    let (fetch, ..) = rig.expect_header_fetch();
    let answer: Vec<_> = blocks.iter().rev().collect();
    rig.headers(fetch, peer(66), &answer);
    assert_eq!(rig.reports, [(peer(66), Conduct::TooMany)]);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks[15..]));
}

#[test]
fn a_long_forged_chain_by_number_costs_its_sender_and_nothing_else() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    let forged = chain(&rig.genesis, 3_000, 9);
    let request = rig.ask_range(head(&blocks), 3_000);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    // the liar answers every request by number, and honest peers the rest
    while let Some(fetch) = rig.fetches.pop_front() {
        let by_number = matches!(
            fetch.items,
            FetchItems::Headers { top: moorline_messages::HashOrNumber::Number(_), .. }
        );
        if by_number && !fetch.avoid.contains(&peer(66)) {
            rig.serve_forged(&fetch, &forged);
        } else {
            rig.serve(fetch, peer(1), &blocks);
        }
    }
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.reports.contains(&(peer(66), Conduct::OtherBranch)));
    assert!(rig.store.headers.len() == 3_000, "nothing forged was stored");
}

#[test]
fn a_peer_on_another_branch_in_good_faith_is_not_called_a_liar() {
    assert_eq!(Conduct::OtherBranch.blame(), moorline_messages::Blame::Nobody);
}

#[test]
fn bodies_of_other_blocks_are_a_lie_and_are_fetched_from_others() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    let forged = chain(&rig.genesis, 10, 9);
    let request = rig.ask_range(head(&blocks), 10);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    let (fetch, _) = rig.expect_body_fetch();
    rig.bodies(fetch, peer(66), &[&forged[3], &forged[4]]);
    assert!(rig.reports.contains(&(peer(66), Conduct::UnaskedBody)));
    let again = rig.fetches.front().unwrap();
    assert_eq!(again.avoid, [peer(66)]);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn true_bodies_before_a_false_one_are_kept() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    let forged = chain(&rig.genesis, 10, 9);
    let request = rig.ask_range(head(&blocks), 10);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    let (fetch, wanted) = rig.expect_body_fetch();
    let first = blocks.iter().find(|b| b.header.hash() == wanted[0].hash).unwrap();
    rig.bodies(fetch, peer(66), &[first, &forged[4]]);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert_eq!(rig.body_asks[&first.header.hash()], 1);
}

#[test]
fn an_answer_that_comes_in_another_order_is_as_good_as_any() {
    let mut rig = Rig::new();
    let blocks = rig.chain(10);
    let request = rig.ask_range(head(&blocks), 10);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    let (fetch, wanted) = rig.expect_body_fetch();
    let mut answer: Vec<_> = wanted
        .iter()
        .map(|wanted| blocks.iter().find(|b| b.header.hash() == wanted.hash).unwrap())
        .collect();
    answer.reverse();
    rig.bodies(fetch, peer(1), &answer);
    assert_eq!(rig.delivered(request), hashes(&blocks));
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served));
}

#[test]
fn nine_liars_in_ten_peers_delay_the_sync_and_do_not_stop_it() {
    let mut rig = Rig::new();
    let blocks = rig.chain(1_500);
    let forged = chain(&rig.genesis, 1_500, 9);
    let request = rig.ask_range(head(&blocks), 1_500);
    let mut turn = 0_u8;
    for _ in 0..20_000 {
        let Some(fetch) = rig.fetches.pop_front() else {
            if rig.told.iter().any(is_last) {
                break;
            }
            rig.pass(std::time::Duration::from_secs(1));
            continue;
        };
        // the peer manager asks whoever is not to be avoided, in turn
        let choices: Vec<u8> = (1..=10).filter(|n| !fetch.avoid.contains(&peer(*n))).collect();
        turn = turn.wrapping_add(1);
        let chosen = choices.get(turn as usize % choices.len().max(1)).copied().unwrap_or(10);
        if chosen == 10 {
            rig.serve(fetch, peer(10), &blocks);
        } else {
            rig.serve(fetch, peer(chosen), &forged);
        }
    }
    assert_eq!(rig.delivered(request), hashes(&blocks));
    let blamed = |conduct: Conduct| conduct.blame() == moorline_messages::Blame::Peer;
    assert!(!rig.reports.iter().any(|(who, conduct)| *who == peer(10) && blamed(*conduct)));
}

fn is_last(outcome: &moorline_messages::DownloadOutcome) -> bool {
    use moorline_messages::DownloadOutcome::Blocks;
    matches!(outcome, Blocks { remaining_blocks: 0, .. })
}

#[test]
fn a_chain_whose_numbers_do_not_add_up_is_the_chains_own_fault() {
    let mut rig = Rig::new();
    let blocks = rig.chain(5);
    let liar = Header {
        parent_hash: blocks[4].header.hash(),
        number: 77,
        ..blocks[4].header.inner().clone()
    }
    .seal_slow();
    let request = rig.ask_range(liar.hash(), 3);
    let (fetch, ..) = rig.expect_header_fetch();
    let headers =
        vec![Arc::new(liar), Arc::clone(&blocks[4].header), Arc::clone(&blocks[3].header)];
    rig.give(Input::Headers { fetch, peer: peer(1), headers });
    assert!(matches!(
        rig.expect_failed(request),
        DownloadFailure::Invalid { breach: Breach::Number { found: 77, parent: 5 }, .. }
    ));
    assert!(rig.reports.iter().all(|(_, conduct)| *conduct == Conduct::Served), "no peer's fault");
}

#[test]
fn a_number_that_lies_across_two_answers_condemns_the_liar_and_not_its_parent() {
    let mut rig = Rig::new();
    let blocks = rig.chain(5);
    let liar = Header {
        parent_hash: blocks[4].header.hash(),
        number: 77,
        ..blocks[4].header.inner().clone()
    }
    .seal_slow();
    let request = rig.ask_range(liar.hash(), 3);
    let (fetch, ..) = rig.expect_header_fetch();
    rig.give(Input::Headers { fetch, peer: peer(1), headers: vec![Arc::new(liar.clone())] });
    let fetch = rig.fetches.pop_front().unwrap();
    rig.headers(fetch.id, peer(1), &[&blocks[4]]);
    let DownloadFailure::Invalid { block, breach } = rig.expect_failed(request) else {
        panic!("not called invalid")
    };
    assert_eq!(block, moorline_messages::BlockNumHash::of(&liar));
    assert_eq!(breach, Breach::Number { found: 77, parent: 5 });
}

#[test]
fn an_empty_block_that_pays_for_blobs_is_invalid_though_nobody_is_asked_for_its_body() {
    let mut rig = Rig::new();
    let liar = Header {
        parent_hash: rig.genesis.hash(),
        number: 1,
        transactions_root: alloy_consensus::constants::EMPTY_TRANSACTIONS,
        ommers_hash: alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH,
        withdrawals_root: Some(alloy_consensus::constants::EMPTY_WITHDRAWALS),
        blob_gas_used: Some(131_072),
        ..Header::default()
    }
    .seal_slow();
    let request = rig.ask_range(liar.hash(), 1);
    let (fetch, ..) = rig.expect_header_fetch();
    rig.give(Input::Headers { fetch, peer: peer(1), headers: vec![Arc::new(liar)] });
    assert!(matches!(
        rig.expect_failed(request),
        DownloadFailure::Invalid { breach: Breach::BlobCount { found: 0, expected: 1 }, .. }
    ));
    assert!(rig.store.bodies.is_empty());
}

#[test]
fn an_answer_is_reported_on_once_whatever_part_of_it_is_used() {
    let mut rig = Rig::new();
    let blocks = rig.chain(20);
    let forged = chain(&rig.genesis, 20, 9);
    rig.ask_range(head(&blocks), 20);
    let (fetch, ..) = rig.expect_header_fetch();
    let mut answer: Vec<_> = blocks.iter().rev().take(8).collect();
    answer.extend(forged.iter().rev().skip(8));
    rig.headers(fetch, peer(66), &answer);
    assert_eq!(rig.reports, [(peer(66), Conduct::BrokenLink)]);
}

#[test]
fn an_answer_to_nothing_is_ignored() {
    let mut rig = Rig::new();
    let blocks = rig.chain(3);
    rig.headers(moorline_messages::RequestId(999), peer(66), &[&blocks[0]]);
    rig.bodies(moorline_messages::RequestId(999), peer(66), &[&blocks[0]]);
    rig.headers(moorline_messages::RequestId(999), peer(66), &[]);
    rig.expect_silence();
    assert!(rig.store.headers.is_empty());
    assert!(rig.reports.is_empty(), "{:?}", rig.reports);
}

impl Rig {
    /// Serves a request from a forged chain, by position rather than by hash.
    fn serve_forged(
        &mut self,
        fetch: &moorline_messages::FetchRequest,
        forged: &[moorline_messages::Block],
    ) {
        let FetchItems::Headers { top, limit } = fetch.items else { panic!("not for headers") };
        let top = match top {
            moorline_messages::HashOrNumber::Hash(_) => forged.len(),
            moorline_messages::HashOrNumber::Number(number) => number as usize,
        };
        let answer: Vec<_> = forged[..top].iter().rev().take(limit as usize).collect();
        self.headers(fetch.id, peer(66), &answer);
    }
}
