//! A sync beside the least that any program must do for it: `cargo bench -p moorline --bench sync`.
//!
//! A peer in another process serves a chain over loopback, without delay. Two sides take turns, each
//! with a new directory: a bare loop on one thread that reads the same frames, decodes, proves and
//! writes as the store does ([`bare`]), and the node as `moorline sync` composes it. What is asked for
//! is at least half of the bare loop's blocks/s. Options by environment: BLOCKS, PROFILE, PAIRS.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod bare;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use moorline::{Budget, Node, NodeConfig, Observed};
use moorline_devnet::{Chain, FileChain, Generator, Profile, genesis_header, genesis_json};
use moorline_messages::NodeRecord;
use moorline_rules::ChainSpec;
use moorline_store::Disk;
use moorline_trace::{RecorderConfig, Recording};
use tempfile::TempDir;

// as the binary has it
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A chain in a file, and what is known of it.
struct World {
    dir: TempDir,
    spec: Arc<ChainSpec>,
    head: B256,
    blocks: u64,
}

impl World {
    fn new(profile: Profile, blocks: u64) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("genesis.json"), genesis_json()).unwrap();
        let made = Generator::new(profile, 1).take(blocks as usize);
        let file = dir.path().join("chain.rlp");
        let chain = FileChain::create(&file, Arc::new(genesis_header()), made).unwrap();
        let spec = Arc::new(ChainSpec::from_genesis_json(&genesis_json()).unwrap());
        Self { dir, spec, head: chain.tip().hash, blocks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn disk(&self, dir: &Path) -> Disk {
        Disk::open(dir, self.spec.genesis(), self.spec.chain_id(), None).unwrap()
    }
}

/// A peer in a process of its own: this binary again, as `moorline chain serve`.
struct Peer {
    process: Child,
    record: NodeRecord,
}

impl Peer {
    fn start(world: &World) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["chain", "serve", "--chain"])
            .args([world.path("genesis.json"), world.path("chain.rlp")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut enode = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut enode).unwrap();
        Self { process, record: enode.trim().parse().expect("an enode") }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let _saves_memory_only = rustix::thread::disable_transparent_huge_pages(true);
    if env::args().nth(1).is_some_and(|word| word == "chain") {
        return moorline::main();
    }
    let option = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let blocks = option("BLOCKS", "3000").parse().expect("BLOCKS is a number");
    let profile = option("PROFILE", "mainnet").parse::<Profile>().expect("PROFILE is a profile");
    let pairs: usize = option("PAIRS", "3").parse().expect("PAIRS is a number");

    let world = World::new(profile, blocks);
    let bytes = fs::metadata(world.path("chain.rlp")).unwrap().len();
    println!("{blocks} {profile} blocks of {} bytes, from one peer on loopback", bytes / blocks);
    let peer = Peer::start(&world);
    let sides: [(&str, Side); 2] = [("bare loop", bare::sync), ("node", node)];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..pairs {
        for ((name, side), rates) in sides.iter().zip(&mut rates) {
            let cpu_before = cpu();
            let (took, peak_rss) = measure(&world, &peer, *side);
            let cpu_us = (cpu() - cpu_before).as_micros() as f64 / blocks as f64;
            let rate = blocks as f64 / took.as_secs_f64();
            let mbs = bytes as f64 / took.as_secs_f64() / 1e6;
            let peak_mib = peak_rss >> 20;
            println!(
                "{name:<10} {rate:>8.0} blocks/s {mbs:>7.1} MB/s {peak_mib:>5} MiB \
                 {cpu_us:>6.0} us of CPU a block"
            );
            rates.push(rate);
        }
    }
    let [bare, node] = rates.map(median);
    println!("medians: {bare:.0} blocks/s of the bare loop, {node:.0} of the node");
    let ratio = node / bare;
    println!("ratio {ratio:.2} (at least 0.5 is asked for)");
    if ratio < 0.5 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Fetches the chain from a peer into a directory, and says how long that took.
type Side = fn(&World, NodeRecord, &Path) -> Duration;

/// How long one side took, and the most memory that this process had resident meanwhile.
fn measure(world: &World, peer: &Peer, side: Side) -> (Duration, u64) {
    let dir = TempDir::new_in(world.dir.path()).unwrap();
    // on Linux this sets the peak back to what is resident now
    fs::write("/proc/self/clear_refs", "5").unwrap();
    // on a thread of its own, since an actix system leaves something behind on the one it had
    let took = std::thread::scope(|scope| {
        scope.spawn(|| side(world, peer.record, dir.path())).join().unwrap()
    });
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let stats = world.disk(dir.path()).stats().unwrap();
    assert_eq!((stats.tip.hash, stats.canonical), (world.head, world.blocks));
    (took, peak_kib << 10)
}

/// Processor time that this process has used, the peer's process apart.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    // user and system time, in ticks of 10 ms (proc_pid_stat(5), fields 14 and 15)
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The node, with everything that `moorline sync` gives it.
fn node(world: &World, peer: NodeRecord, dir: &Path) -> Duration {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    let (tracer, recording) = Recording::start(RecorderConfig::new("the benchmark")).unwrap();
    let config = NodeConfig {
        spec: Arc::clone(&world.spec),
        store: Arc::new(world.disk(dir)),
        node_key: moorline_rlpx::random_key(),
        listen: None,
        peers: vec![peer],
        trusted: Vec::new(),
        peers_max: 50,
        book: moorline_messages::PeerBookReport::default(),
        discovery: None,
        external_ip: None,
        budget: Budget::default(),
        floor: 1,
        sync_trigger: moorline_tree::SyncTrigger::Forkchoice,
        engine: None,
        http: None,
        metrics: None,
        tracer,
    };
    let took = system.block_on(async {
        let began = Instant::now();
        let node = Node::start(config).await.unwrap();
        node.follow(world.head).await.unwrap();
        let synced = |seen: &Observed| {
            seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.tip.hash == world.head)
        };
        node.watched().all.wait_for(synced).await.unwrap();
        let took = began.elapsed();
        node.stop().await;
        took
    });
    recording.stop();
    took
}
