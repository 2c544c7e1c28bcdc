//! `moorline demo`: the whole job, with nothing installed.

mod check;
mod client;
mod net;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use eyre::{Context, Result, bail, eyre};
use moorline_devnet::genesis_json;
use moorline_downloader::Budget;
use moorline_kit::Tracer;
use moorline_messages::{ActorName, BlockNumHash, StoreError};
use moorline_rules::ChainSpec;

use self::{client::Consensus, net::Net};
use crate::{
    cli::DemoArgs,
    config::TraceSettings,
    datadir::DataDir,
    node::{Node, NodeConfig, NodeError},
    observe::Observed,
    progress::{self, HeadFrom},
    recording::Recorded,
    summary::Summary,
    terminal,
};

/// New heads that the demonstration lets the chain have.
const NEW_HEADS: usize = 6;

/// Blocks that its reorg replaces.
const REORG_DEPTH: u64 = 4;

/// Most peers beside those of the demonstration.
const PEERS_MAX: usize = 50;

/// How long nothing may move.
const STALL_PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let place = Place::new(args.datadir.as_deref())?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut demo = tokio::select! {
        biased;
        () = super::asked_to_end() => {
            // the generator runs on a thread of its own
            stop.store(true, Ordering::Relaxed);
            bail!("stopped");
        }
        demo = Demo::prepare(&args, place, Arc::clone(&stop)) => demo?,
    };
    let outcome = tokio::select! {
        biased;
        () = super::asked_to_end() => Err(eyre!("stopped")),
        outcome = demo.play() => outcome,
    };
    if outcome.is_ok() && args.hold {
        demo.hold().await;
    }
    let done = Box::pin(demo.finish(outcome)).await;
    let summary = done?;
    if args.json {
        terminal::print(&serde_json::to_string(&summary)?)?;
    } else {
        print_summary(&summary)?;
    }
    Ok(())
}

/// Where the demonstration keeps what it makes; a temporary place is removed at the end.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Stays in any case: it is what there is to look at afterwards.
    trace: PathBuf,
    temporary: bool,
}

impl Place {
    fn new(named: Option<&Path>) -> Result<Self> {
        let temporary = named.is_none();
        let dir = named.map_or_else(
            || std::env::temp_dir().join(format!("moorline-demo-{}", std::process::id())),
            Path::to_owned,
        );
        let trace = if temporary { dir.with_extension("trace") } else { dir.join("trace") };
        std::fs::create_dir_all(&dir)
            .wrap_err_with(|| format!("cannot make the directory {}", dir.display()))?;
        if dir.join("node").exists() {
            bail!("{} holds an earlier demonstration: name another --datadir", dir.display());
        }
        Ok(Self { dir, trace, temporary })
    }

    fn record(&self) -> Result<Recorded> {
        let settings = TraceSettings { dir: Some(self.trace.clone()), ..TraceSettings::default() };
        Recorded::start(&settings, &self.trace)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

#[derive(Debug)]
struct Demo {
    quiet: bool,
    place: Place,
    spec: Arc<ChainSpec>,
    net: Net,
    recorded: Option<Recorded>,
    /// The node of the moment: it is stopped and started again half-way.
    node: Option<Node>,
    consensus: Consensus,
    started: Instant,
    synced_in: Duration,
    /// What the node had seen when it was stopped.
    before: Observed,
    survived: Vec<String>,
}

impl Demo {
    async fn prepare(args: &DemoArgs, place: Place, stop: Arc<AtomicBool>) -> Result<Self> {
        let quiet = args.json;
        let genesis = place.dir.join("genesis.json");
        std::fs::write(&genesis, genesis_json())
            .wrap_err_with(|| format!("cannot write {}", genesis.display()))?;
        let spec = Arc::new(ChainSpec::from_genesis_json(&genesis_json())?);
        say(quiet, &format!("making {} blocks ({})", args.blocks, args.profile.as_str()));
        let net = Net::start(args, &place.dir, &spec, stop).await?;
        say(quiet, &format!("peers that serve them on loopback: {}", net.describe()));
        let consensus = Consensus::new(&place.dir.join("jwt.hex"))?;
        let recorded = if args.no_trace { None } else { Some(place.record()?) };
        let mut demo = Self {
            quiet,
            place,
            spec,
            net,
            recorded,
            node: None,
            consensus,
            started: moorline_kit::now(),
            synced_in: Duration::ZERO,
            before: Observed::default(),
            survived: Vec::new(),
        };
        demo.start_node().await?;
        Ok(demo)
    }

    async fn start_node(&mut self) -> Result<()> {
        let datadir = DataDir::new(&self.place.dir.join("node"));
        let genesis = self.place.dir.join("genesis.json");
        let store = datadir.open(&genesis.to_string_lossy(), &self.spec, Some(true))?;
        let loopback = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let node = Node::start(NodeConfig {
            spec: Arc::clone(&self.spec),
            store,
            node_key: datadir.node_key()?,
            listen: Some(loopback),
            peers: self.net.records(),
            trusted: Vec::new(),
            peers_max: PEERS_MAX,
            book: moorline_messages::PeerBookReport::default(),
            discovery: None,
            external_ip: None,
            budget: Budget::default(),
            floor: 1,
            sync_trigger: moorline_tree::SyncTrigger::Forkchoice,
            engine: Some((loopback, self.consensus.jwt())),
            http: Some((loopback, moorline_rpc::Namespace::READING.to_vec())),
            metrics: None,
            tracer: self.recorded.as_ref().map_or(Tracer::OFF, Recorded::tracer),
        })
        .await?;
        if let Some(addr) = node.started().engine {
            self.consensus.drive(addr);
        }
        self.node = Some(node);
        Ok(())
    }

    fn node(&self) -> Result<&Node> {
        self.node.as_ref().ok_or_else(|| eyre!("the node is not running"))
    }

    fn seen(&self) -> Observed {
        self.node.as_ref().map(|node| node.watched().all.borrow().clone()).unwrap_or_default()
    }

    async fn play(&mut self) -> Result<()> {
        self.sync_backwards().await?;
        self.follow_new_heads().await?;
        self.reorganise().await?;
        self.net.add_survived(&mut self.survived);
        Ok(())
    }

    /// The main job, with every actor made to panic and the whole node stopped half-way.
    async fn sync_backwards(&mut self) -> Result<()> {
        let head = self.net.tip();
        say(self.quiet, &format!("the consensus client names head {}", head.number));
        say(self.quiet, "every actor is made to panic, and the node is restarted, in the middle");
        self.started = moorline_kit::now();
        self.consensus.follow(head.hash).await?;
        let shown =
            progress::show(self.node()?.watched().all, HeadFrom::ConsensusClient, self.quiet);
        self.crash_while_syncing(head).await?;
        drop(shown);
        self.restart_while_syncing(head).await?;
        let shown =
            progress::show(self.node()?.watched().all, HeadFrom::ConsensusClient, self.quiet);
        self.wait_for(head).await?;
        drop(shown);
        self.synced_in = moorline_kit::now().saturating_duration_since(self.started);
        let seconds = self.synced_in.as_secs_f64();
        say(self.quiet, &format!("{} blocks proved and stored in {seconds:.1} s", head.number));
        Ok(())
    }

    async fn crash_while_syncing(&mut self, head: BlockNumHash) -> Result<()> {
        let crashers = self.node()?.crashers();
        for (place, actor) in ActorName::ALL.into_iter().enumerate() {
            let share = place as f64 * 0.12 + 0.03;
            let while_syncing = self.wait_for_share(share).await?;
            let before = self.seen().total_restarts();
            if !crashers.crash(actor) {
                bail!("the order to crash did not reach the {actor}");
            }
            let ordered = moorline_kit::now();
            self.wait_until("an actor did not come back", |seen| seen.total_restarts() > before)
                .await?;
            let took = moorline_kit::now().saturating_duration_since(ordered).as_millis();
            say(self.quiet, &format!("the {actor} panicked, and was rebuilt in {took} ms"));
            let when = if while_syncing { " in the middle of the sync" } else { "" };
            self.survived.push(format!("a panic in the {actor}{when}"));
        }
        if self.seen().tip() > head.number {
            bail!("the node went beyond the head it was given");
        }
        Ok(())
    }

    /// Stops the node and starts it over the same directory. Nobody names the head again.
    async fn restart_while_syncing(&mut self, head: BlockNumHash) -> Result<()> {
        let while_syncing = self.wait_for_share(0.6).await?;
        let shown_head = self.seen().tree.and_then(|tree| tree.target).map(|target| target.hash);
        if while_syncing && shown_head != Some(head.hash) {
            bail!("the node does not follow the head it was given");
        }
        let Some(node) = self.node.take() else { return Ok(()) };
        let all = node.watched().all;
        node.stop().await;
        self.before = all.borrow().clone();
        self.start_node().await?;
        say(self.quiet, "the node was stopped and started again, and goes on by itself");
        let when = if while_syncing { " in the middle of the sync" } else { "" };
        let text = format!("a restart of the whole node{when}, without being told the head again");
        self.survived.push(text);
        Ok(())
    }

    async fn follow_new_heads(&mut self) -> Result<()> {
        for (place, block) in self.net.new_blocks(NEW_HEADS)?.into_iter().enumerate() {
            // every other block reaches the node by its peers alone
            if place % 2 == 0 {
                self.consensus.deliver(&block).await?;
            }
            self.consensus.follow(block.header.hash()).await?;
            self.wait_for(block.num_hash()).await?;
        }
        say(self.quiet, &format!("followed {NEW_HEADS} new heads"));
        Ok(())
    }

    async fn reorganise(&mut self) -> Result<()> {
        let head = self.net.reorganise(REORG_DEPTH)?;
        self.consensus.follow(head.hash).await?;
        self.wait_for(head).await?;
        self.survived.push(format!("a reorg {REORG_DEPTH} blocks deep"));
        say(self.quiet, &format!("reorganised to another block {}", head.number));
        Ok(())
    }

    /// Waits until everything up to a head is on disk.
    async fn wait_for(&self, head: BlockNumHash) -> Result<()> {
        let reached = |seen: &Observed| {
            seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.tip == head)
        };
        self.wait_until("the head is not reached", reached).await
    }

    /// Waits until this share of the blocks is here. Returns whether the rest is still missing.
    async fn wait_for_share(&self, share: f64) -> Result<bool> {
        let total = self.net.tip().number as f64;
        let done = |seen: &Observed| {
            let here = self.before.progress.blocks.saturating_add(seen.progress.blocks);
            here as f64 / total >= share || is_synced(seen)
        };
        self.wait_until("the sync stands still", done).await?;
        Ok(!is_synced(&self.seen()))
    }

    async fn wait_until(&self, trouble: &str, done: impl Fn(&Observed) -> bool) -> Result<()> {
        let all = self.node()?.watched().all;
        let mut moved = (moorline_kit::now(), 0, 0);
        loop {
            let seen = all.borrow().clone();
            if done(&seen) {
                return Ok(());
            }
            if let Some(gave_up) = &seen.gave_up {
                return Err(NodeError::GaveUp(gave_up.clone()).into());
            }
            if let Some(error @ StoreError::Full(_)) = &seen.store_failure {
                bail!("{error}; make room and start again");
            }
            let now = moorline_kit::now();
            let marks = (seen.progress.headers, seen.progress.blocks);
            if marks != (moved.1, moved.2) {
                moved = (now, marks.0, marks.1);
            }
            if now.saturating_duration_since(moved.0) > STALL_PATIENCE {
                let why = seen.tree.and_then(|tree| tree.trouble).unwrap_or_default();
                bail!("{trouble} {why}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn hold(&self) {
        let Ok(node) = self.node() else { return };
        let started = node.started();
        terminal::say(
            "- the node keeps running, until Ctrl-C; then it is checked against the chain",
        );
        terminal::say(&format!("  peers      {}", started.enode));
        if let (Some(http), Some(engine)) = (started.http, started.engine) {
            terminal::say(&format!("  JSON-RPC   http://{http}"));
            let jwt = self.place.dir.join("jwt.hex");
            terminal::say(&format!("  Engine API http://{engine}, secret in {}", jwt.display()));
        }
        super::asked_to_end().await;
    }

    /// Stops the node, compares what is on disk with the chain, and sums up.
    async fn finish(mut self, outcome: Result<()>) -> Result<Summary> {
        let mut seen = self.seen();
        let peers = self.node.as_ref().map_or(0, |node| *node.watched().peers.borrow());
        if let Some(node) = self.node.take() {
            let all = node.watched().all;
            node.stop().await;
            seen = all.borrow().clone();
        }
        self.net.stop();
        let trace = match self.recorded.take() {
            Some(recorded) => {
                recorded.stop().await;
                Some(self.place.trace.clone())
            }
            None => None,
        };
        if let (Err(_), Some(trace)) = (&outcome, &trace) {
            terminal::say(&format!("what happened is in {}", trace.display()));
        }
        outcome?;
        let datadir = DataDir::new(&self.place.dir.join("node"));
        let checked = check::compare(&datadir, &self.net)?;
        say(self.quiet, &format!("all {checked} blocks on disk are those of the chain"));
        let head = self.net.tip();
        let mut summary = Summary::new(&seen, head, 1, peers, self.synced_in, datadir.path());
        summary.add_run(&self.before);
        if self.place.temporary {
            summary.datadir = None;
        }
        summary.trace = trace;
        summary.keeps_receipts = true;
        summary.survived = std::mem::take(&mut self.survived);
        Ok(summary)
    }
}

fn is_synced(seen: &Observed) -> bool {
    seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.target.is_some())
}

/// One line about what goes on.
fn say(quiet: bool, text: &str) {
    if !quiet {
        terminal::say(&format!("- {text}"));
    }
}

fn print_summary(summary: &Summary) -> Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let seconds = summary.elapsed_ms as f64 / 1_000.0;
    let mut lines = vec![
        format!("head       {} ({})", summary.head.number, summary.head.hash),
        format!("blocks     {}, gap-free from {}", summary.blocks, summary.first),
        format!(
            "speed      {:.0} blocks/s, {:.1} MiB in {seconds:.1} s",
            summary.blocks_per_s,
            mib(summary.bytes),
        ),
        format!("refetched  {}, in flight when something was crashed", summary.refetched),
        format!(
            "memory     {:.0} MiB at most, with peers and chain generator",
            mib(summary.peak_rss_bytes)
        ),
        "survived".to_owned(),
    ];
    lines.extend(summary.survived.iter().map(|line| format!("  {line}")));
    if let Some(trace) = &summary.trace {
        lines.push("look at it".to_owned());
        lines.push(format!("  moorline trace view {}", trace.display()));
    }
    terminal::print(&lines.join("\n"))
}
