//! `kill -9` again and again in the course of one sync.

use std::time::Duration;

use moorline_devnet::Profile;
use moorline_tests::torment::{IN_FLIGHT_BODIES, Torment, Tormented};

use crate::MOORLINE;

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_killed_ten_times_loses_nothing_that_it_had_written() {
    let torment = Torment {
        profile: Profile::Small,
        blocks: 5_000,
        peers: 2,
        work: Duration::from_millis(100),
        kills: 10,
        seed: 4,
    };
    let (kills, peers) = (torment.kills, torment.peers);
    let tormented = Tormented::new(MOORLINE, torment).await;
    let outcome = tokio::task::block_in_place(|| tormented.run());
    assert!(outcome.kills_of_writers > 0, "nothing was said to be on disk that could be lost");
    let twice = outcome.bodies_served - outcome.bodies_needed;
    assert!(twice <= kills * peers * IN_FLIGHT_BODIES, "{twice} bodies were served twice");
}
