//! `kill -9` a hundred times in the course of one sync: `tests/bench/kill.sh`.

use std::time::Duration;

use moorline_devnet::Profile;
use moorline_tests::torment::{Torment, Tormented};

use crate::{MOORLINE, option};

/// Little is fetched twice.
pub(crate) async fn a_hundred_times() {
    let torment = Torment {
        profile: option("PROFILE", Profile::Small),
        blocks: option("BLOCKS", 250_000),
        peers: option("PEERS", 4),
        work: Duration::from_millis(option("WORK_MS", 300)),
        kills: option("KILLS", 100),
        seed: option("SEED", 4),
    };
    let Torment { profile, blocks, peers, work, kills, .. } = torment;
    let tormented = Tormented::new(MOORLINE, torment).await;
    let outcome = tokio::task::block_in_place(|| tormented.run());
    let (headers, bodies) = (outcome.headers_twice_percent(), outcome.bodies_twice_percent());
    println!(
        "{blocks} {profile} blocks from {peers} peers that work {} ms on an answer, {kills} kills: \
         {headers:.2} % of headers and {bodies:.2} % of bodies twice, in {:.1} s",
        work.as_millis(),
        outcome.took.as_secs_f64(),
    );
    assert!(headers < 2.0 && bodies < 2.0, "2 % may be fetched twice");
}
