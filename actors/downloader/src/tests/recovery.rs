//! What a neighbour's restart or a lost message costs.

use std::time::Duration;

use moorline_messages::{ActorName, StoreRequest};

use super::rig::{Rig, hashes, head, is_for_headers, peer};
use crate::core::Input;

#[test]
fn what_was_in_flight_is_asked_again_when_the_peer_manager_restarts() {
    let mut rig = Rig::new();
    let blocks = rig.chain(600);
    let request = rig.ask_range(head(&blocks), 600);
    let first = rig.fetches.pop_front().unwrap();
    rig.serve(first, peer(1), &blocks);
    let lost = rig.fetches.len();
    rig.fetches.clear();
    rig.restart(ActorName::PeerManager);
    assert_eq!(rig.fetches.len(), lost);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn what_the_store_lost_is_written_again_when_it_restarts() {
    let mut rig = Rig::new();
    let blocks = rig.chain(600);
    let request = rig.ask_range(head(&blocks), 600);
    let first = rig.fetches.pop_front().unwrap();
    rig.store_answers = false;
    rig.serve(first, peer(1), &blocks);
    rig.lose_what_the_store_was_told();
    rig.store_answers = true;
    rig.restart(ActorName::Store);
    rig.pass(Duration::from_millis(1));
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn a_message_lost_anywhere_costs_time_and_not_progress() {
    let mut rig = Rig::new();
    let blocks = rig.chain(30);
    let request = rig.ask_range(head(&blocks), 30);
    rig.fetches.clear();
    rig.pass(Duration::from_secs(60));
    rig.store_answers = false;
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    rig.lose_what_the_store_was_told();
    rig.store_answers = true;
    rig.pass(Duration::from_secs(60));
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(request), hashes(&blocks));
}

#[test]
fn what_is_proved_goes_to_the_store_before_the_end() {
    let mut rig = Rig::new();
    let blocks = rig.chain(30);
    rig.ask_range(head(&blocks), 30);
    let headers = rig.fetches.pop_front().unwrap();
    rig.serve(headers, peer(1), &blocks);
    rig.store_answers = false;
    let bodies = rig.fetches.pop_front().unwrap();
    rig.serve(bodies, peer(1), &blocks[..20]);
    let bodies = rig.fetches.pop_front().unwrap();
    rig.serve(bodies, peer(1), &blocks);
    rig.give(Input::Stopping);
    let written = |request: &StoreRequest| match request {
        StoreRequest::Persist { batch, .. } => batch.bodies.len(),
        _ => 0,
    };
    assert_eq!(rig.asked_of_the_store().map(written).sum::<usize>(), 30);
}

#[test]
fn a_head_that_is_fetched_first_does_not_make_the_stored_headers_below_it_be_read_and_written_anew()
{
    let mut rig = Rig::new();
    let blocks = rig.chain(3_000);
    rig.ask_set([head(&blocks)]);
    rig.serve_all(&blocks);
    rig.ask_range(blocks[2_998].header.hash(), 2_999);
    // all headers come, and no body
    rig.serve_headers(peer(1), &blocks);
    let mut rig = Rig::over(std::mem::take(&mut rig.store), 1);
    let set = rig.ask_set([head(&blocks)]);
    assert_eq!(rig.delivered(set).len(), 1);
    let range = rig.ask_range(blocks[2_998].header.hash(), 2_999);
    rig.serve_all(&blocks);
    assert_eq!(rig.delivered(range), hashes(&blocks[..2_999]));
    assert_eq!(rig.header_asks, 0);
    // the head alone is looked for in the store, and linked from there
    assert!(rig.store.headers_written_twice <= 1, "{}", rig.store.headers_written_twice);
}

#[test]
fn a_download_that_goes_on_begins_with_headers_that_are_proved_on_arrival() {
    let mut rig = Rig::new();
    let blocks = rig.chain(8_000);
    rig.ask_range(head(&blocks), 8_000);
    let first = rig.take_headers().unwrap();
    rig.serve(first, peer(1), &blocks);
    let mut rig = Rig::over(std::mem::take(&mut rig.store), 1);
    rig.ask_range(head(&blocks), 8_000);
    let mut out = Vec::new();
    for _ in 0..7 {
        let asked = rig.fetches.iter().filter(|fetch| is_for_headers(fetch)).count();
        out.push(asked);
        // all of them come, in the order in which they link
        for _ in 0..asked {
            let fetch = rig.take_headers().unwrap();
            rig.serve(fetch, peer(1), &blocks);
        }
    }
    assert_eq!(out, [1, 1, 1, 1, 1, 2, 4]);
}
