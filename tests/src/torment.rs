//! `kill -9` again and again in the course of one sync.
//!
//! Each run lives until its peers have given some answers more, a random number of them, and then for
//! a random part of the time that a peer works on one: so the moments are spread over the whole sync,
//! and lie anywhere between two answers. What a run had said to be on disk is asked of its metrics just before.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use moorline_devnet::{Behaviour, Chain, Devnet, Pace, Profile};
use moorline_store::StoreStats;

use crate::{Child, World, peer_args, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where the runs keep their blocks, below the world.
const STORE: &str = "copy/store";

/// A peer answers so many requests for bodies at a time, and for so many bodies.
pub const IN_FLIGHT_BODIES: u64 = 4 * 128;

/// How a sync is tormented.
pub struct Torment {
    /// What the chain is like.
    pub profile: Profile,
    /// How long it is.
    pub blocks: u64,
    /// Who serves it.
    pub peers: u64,
    /// What a peer works on an answer.
    pub work: Duration,
    /// How often it is killed.
    pub kills: u64,
    /// What the moments are drawn from.
    pub seed: u64,
}

/// What came of it.
pub struct Outcome {
    headers_needed: u64,
    headers_served: u64,
    /// Bodies of the chain that are not empty.
    pub bodies_needed: u64,
    /// Bodies that the peers gave.
    pub bodies_served: u64,
    /// Kills before which the run had said that something was on disk.
    pub kills_of_writers: u64,
    /// How long all of it took.
    pub took: Duration,
}

/// Random numbers that a seed repeats (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

impl Outcome {
    fn percent_twice(served: u64, needed: u64) -> f64 {
        served.saturating_sub(needed) as f64 * 100.0 / needed as f64
    }

    /// Headers that were served more than once, of those needed.
    pub fn headers_twice_percent(&self) -> f64 {
        Self::percent_twice(self.headers_served, self.headers_needed)
    }

    /// Bodies that were served more than once, of those needed.
    pub fn bodies_twice_percent(&self) -> f64 {
        Self::percent_twice(self.bodies_served, self.bodies_needed)
    }
}

/// What a store held.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    tip: u64,
    headers: u64,
    bodies: u64,
}

impl Held {
    fn of(stats: &StoreStats) -> Self {
        Self { tip: stats.tip.number, headers: stats.headers, bodies: stats.bodies }
    }

    /// Whether all of what a run said that it wrote was added to what was there.
    fn grew_by(self, said: Self, before: Self) -> bool {
        // each run finds the head it is given in the store, and links and counts it anew
        self.tip >= before.tip
            && self.headers + 1 >= before.headers + said.headers
            && self.bodies >= before.bodies + said.bodies
    }
}

/// What a run says of itself, and this includes of what it wrote since it started.
fn metrics(addr: SocketAddr) -> String {
    let mut text = String::new();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// A sync to be tormented.
pub struct Tormented {
    /// The binary.
    moorline: &'static str,
    world: World,
    peers: Devnet,
    torment: Torment,
}

impl Tormented {
    /// A chain, and peers that serve it.
    pub async fn new(moorline: &'static str, torment: Torment) -> Self {
        let world = World::new(torment.profile, usize::try_from(torment.blocks).unwrap());
        let chain: Arc<dyn Chain> = world.chain.clone();
        let pace = Pace { work: torment.work, ..Pace::default() };
        let mix = (0..torment.peers).map(|_| (Behaviour::Honest, pace));
        let peers = Devnet::start(chain, Arc::clone(&world.spec), mix).await.unwrap();
        Self { moorline, world, peers, torment }
    }

    fn served(&self) -> (u64, u64) {
        let all = self.peers.peers().iter().map(|peer| peer.stats());
        all.fold((0, 0), |sum, stats| (sum.0 + stats.headers, sum.1 + stats.bodies))
    }

    fn start(&self) -> Child {
        let mut words =
            ["sync", "--json", "--metrics.port", "0", "--chain"].map(str::to_owned).to_vec();
        words.extend([self.world.genesis(), "--datadir".to_owned(), self.world.arg("copy")]);
        words.extend(["--head".to_owned(), self.world.head().to_string()]);
        words.extend(peer_args(&self.peers.records()));
        Child::start(self.moorline, &words)
    }

    /// What is on disk, as whoever opens the store next finds it.
    fn held(&self) -> Held {
        Held::of(&self.world.store(STORE).stats().unwrap())
    }

    /// Lets a run fetch so much more, and kills it a moment later.
    fn kill_after(&self, more: u64, moment: Duration, before: Held) -> (Held, bool) {
        let done = || self.served().0 + self.served().1;
        let wanted = done() + more;
        let mut node = self.start();
        let addr = node.address_after("metrics are at http://");
        let started = moorline_kit::now();
        while done() < wanted {
            assert!(started.elapsed() < PATIENCE, "nothing is fetched");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(moment);
        let said = metrics(addr);
        let killed = node.kill();
        assert_eq!(killed.code(), None, "it ended by itself: {}{}", killed.stdout, killed.stderr);
        let said = Held {
            // the tree's tip may be ahead of the disk
            tip: 0,
            headers: metric(&said, "moorline_headers_total"),
            bodies: metric(&said, "moorline_blocks_total"),
        };
        let after = self.held();
        assert!(after.grew_by(said, before), "{before:?}, {said:?}, now {after:?}");
        (after, said.headers + said.bodies > 0)
    }

    /// The sync, to its end.
    pub fn run(&self) -> Outcome {
        let Torment { blocks, kills, seed, work, .. } = self.torment;
        let bodies_needed = self.world.bodies();
        let mut random = Random(seed.max(1));
        // some of it is left for the last run, which nobody kills
        let before_last = (blocks + bodies_needed) * 8 / 10;
        let began = moorline_kit::now();
        let (mut held, mut kills_of_writers) = (Held::default(), 0);
        for left in (1..=kills).rev() {
            let each = before_last.saturating_sub(held.headers + held.bodies) / left;
            let moment = Duration::from_micros(random.below(work.as_micros() as u64 + 1));
            let (after, wrote) = self.kill_after(random.below(2 * each + 1), moment, held);
            (held, kills_of_writers) = (after, kills_of_writers + u64::from(wrote));
        }
        let last = self.start().finish();
        assert_eq!(last.code(), Some(0), "{}", last.stderr);
        let took = began.elapsed();
        let (headers_served, bodies_served) = self.served();
        self.check();
        Outcome {
            headers_needed: blocks,
            headers_served,
            bodies_needed,
            bodies_served,
            kills_of_writers,
            took,
        }
    }

    fn check(&self) {
        let report = self.world.check(STORE);
        assert!(report.is_sound(), "{report:?}");
        let (copy, out) = (self.world.arg("copy"), self.world.arg("out.rlp"));
        let exported = run(self.moorline, &["chain", "export", "--datadir", &copy, &out]);
        assert_eq!(exported.code(), Some(0), "{}", exported.stderr);
        assert!(
            std::fs::read(Path::new(&out)).unwrap() == self.world.file(),
            "it is another chain"
        );
    }
}
