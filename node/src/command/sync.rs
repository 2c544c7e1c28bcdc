//! `moorline sync`

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use eyre::{Result, bail, eyre};
use moorline_messages::{
    BlockNumHash, CloseReason, HashOrNumber, ProgressReport, StoreAnswer, StoreError, StoreQuery,
    TreeVerdict,
};
use moorline_store::{Backend, Disk};
use moorline_tree::SyncTrigger;

use crate::{
    cli::SyncArgs,
    config::Settings,
    datadir::DataDir,
    failure::Misuse,
    node::{DiscoverySetup, Node, NodeConfig, NodeError},
    observe::Observed,
    peer_book::PeerBook,
    progress::{self, HeadFrom},
    recording::Recorded,
    summary::Summary,
    terminal,
};

/// How long to wait for the first peer.
const PEER_PATIENCE: Duration = Duration::from_secs(20);

/// How long to look for one.
const FINDING_PATIENCE: Duration = Duration::from_secs(180);

/// How long nothing may move after a failure that nobody is trying to mend, or without a peer.
const STALL_PATIENCE: Duration = Duration::from_secs(120);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run(args: SyncArgs) -> Result<()> {
    let settings = Settings::of_sync(&args)?;
    let discovery = who_to_ask(&settings)?;
    let spec = Arc::new(settings.spec()?);
    let datadir = DataDir::new(&settings.datadir);
    let store = datadir.open(&settings.chain, &spec, settings.receipts)?;
    let floor = args.until.unwrap_or(1);
    if let Some(head) = held(&store, args.head, floor, &settings.datadir)? {
        let mut summary =
            Summary::new(&Observed::default(), head, floor, 0, Duration::ZERO, datadir.path());
        summary.keeps_receipts = store.keeps_receipts();
        return tell(&summary, args.json);
    }
    let listen = settings.port_given.then(|| SocketAddr::new(settings.addr, settings.port));
    let (mut kept, mut book) = PeerBook::open(datadir.peers());
    if discovery.is_none() {
        kept.keep_back(std::mem::take(&mut book.good));
    }
    let recorded = Recorded::start(&settings.trace, &datadir.flights())?;
    let node = Node::start(NodeConfig {
        spec: Arc::clone(&spec),
        store: Arc::clone(&store),
        node_key: datadir.node_key()?,
        listen,
        peers: settings.peer.clone(),
        trusted: settings.trusted.clone(),
        peers_max: settings.maxpeers,
        book,
        discovery,
        external_ip: settings.external_ip,
        budget: settings.download.budget(),
        floor,
        sync_trigger: SyncTrigger::Forkchoice,
        engine: None,
        http: None,
        metrics: settings.metrics.listen(),
        tracer: recorded.tracer(),
    })
    .await?;
    super::say_where_metrics_are(&node.started());
    let keeping = kept.keep(node.watched().all);
    let shown = progress::show(node.watched().all, HeadFrom::CommandLine, args.json);
    let started = moorline_kit::now();
    let done = tokio::select! {
        biased;
        () = super::asked_to_end() => Err(eyre!("stopped; the same command goes on from here")),
        done = reach(&node, args.head, floor, settings.peer.len()) => done,
    };
    drop(shown);
    let seen = node.watched().all.borrow().clone();
    let peers = *node.watched().peers.borrow();
    let elapsed = moorline_kit::now().saturating_duration_since(started);
    node.stop().await;
    keeping.finish().await;
    recorded.stop().await;
    let head = done?;
    let first = earliest(&store)?;
    let mut summary = Summary::new(&seen, head, first, peers, elapsed, datadir.path());
    summary.headers_elapsed_ms = seen.headers_proved_at.map(|at| millis(at, started));
    summary.trace = settings.trace.dir;
    summary.keeps_receipts = store.keeps_receipts();
    tell(&summary, args.json)
}

/// Those that are named. Where nobody is, peers are looked for, from a port of their own unless one is
/// given: nobody needs to find a sync.
fn who_to_ask(settings: &Settings) -> Result<Option<DiscoverySetup>> {
    if !settings.peer.is_empty() {
        return Ok(None);
    }
    if !settings.discovery.enabled || !settings.discovery.knows_somebody() {
        let text = "sync needs somebody to ask: name a peer with --peer enode://..., or a node to \
                    find peers by with --bootnode";
        bail!(Misuse(text.to_owned()));
    }
    let port = (!settings.port_given).then_some(0);
    settings.discovery.setup(settings.addr, settings.external_ip, port)
}

fn millis(at: Instant, since: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

fn tell(summary: &Summary, json: bool) -> Result<()> {
    if json {
        return terminal::print(&serde_json::to_string(summary)?);
    }
    let Summary { blocks, keeps_receipts, first, head, .. } = summary;
    let seconds = summary.elapsed_ms as f64 / 1_000.0;
    let with = if *keeps_receipts { " with their receipts" } else { "" };
    terminal::print(&format!(
        "{blocks} blocks{with}, {first} to {}, proved against {} and on disk after {seconds:.1} s",
        head.number, head.hash,
    ))
}

/// The head, if everything under it is here already. A store that begins above the lowest block
/// wanted cannot be extended downwards.
fn held(store: &Disk, head: B256, floor: u64, datadir: &Path) -> Result<Option<BlockNumHash>> {
    let StoreAnswer::Status(status) = store.answer(&StoreQuery::Status)? else {
        bail!("the store does not say how far it goes");
    };
    if status.tip.number > 0 && status.earliest > floor {
        bail!(
            "{} begins at block {} and cannot be extended downwards: choose another --datadir for \
             the blocks from {floor} on",
            datadir.display(),
            status.earliest
        );
    }
    let query = StoreQuery::Block { block: HashOrNumber::Hash(head) };
    let StoreAnswer::Block(Some(found)) = store.answer(&query)? else { return Ok(None) };
    Ok(found.canonical.then(|| found.block.num_hash()))
}

/// The lowest block held, from which on nothing is missing.
fn earliest(store: &Disk) -> Result<u64> {
    match store.answer(&StoreQuery::Status)? {
        StoreAnswer::Status(status) => Ok(status.earliest),
        _ => Err(eyre!("the store does not say how far it goes")),
    }
}

/// Follows the head until everything under it is on disk, or until that turns out to be hopeless.
async fn reach(node: &Node, head: B256, lowest: u64, peers_named: usize) -> Result<BlockNumHash> {
    if let TreeVerdict::Invalid { reason } | TreeVerdict::Inconsistent { reason } =
        node.follow(head).await?
    {
        bail!("{head} cannot be the head: {reason}");
    }
    let all = node.watched().all;
    let mut watch = Watch::new(peers_named);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let seen = all.borrow().clone();
        if let Some(tree) = seen.tree.as_ref().filter(|tree| tree.synced && tree.tip.hash == head) {
            return Ok(tree.tip);
        }
        let above = |number: &u64| *number < lowest;
        let target = seen.tree.as_ref().and_then(|tree| tree.target);
        if let Some(number) = target.and_then(|target| target.number).filter(above) {
            bail!(Misuse(format!("--until {lowest} lies above the head, which is block {number}")));
        }
        watch.look(head, &seen)?;
    }
}

/// Notices that waiting longer is hopeless.
struct Watch {
    peers_named: usize,
    now: Instant,
    met_a_peer: bool,
    /// When something last moved: headers, blocks, receipts and the tip, as they were then.
    moved: (Instant, [u64; 4]),
}

impl Watch {
    fn new(peers_named: usize) -> Self {
        let now = moorline_kit::now();
        Self { peers_named, now, met_a_peer: false, moved: (now, [0; 4]) }
    }

    fn look(&mut self, head: B256, seen: &Observed) -> Result<()> {
        let now = moorline_kit::now();
        if let Some(gave_up) = &seen.gave_up {
            return Err(NodeError::GaveUp(gave_up.clone()).into());
        }
        // a batch that does not fit is made anew; a disk that fails is for a person to mend
        if let Some(error) = seen.store_failure.as_ref().filter(|error| !is_rejection(error)) {
            bail!("{error}; mend that, and the same command goes on from here");
        }
        self.met_a_peer |= !seen.peers.peers.is_empty();
        let patience = if self.peers_named == 0 { FINDING_PATIENCE } else { PEER_PATIENCE };
        if !self.met_a_peer && now.saturating_duration_since(self.now) > patience {
            if self.peers_named == 0 {
                bail!(
                    "no peer was found that could be reached: check that UDP and TCP get through, or \
                     name a peer with --peer"
                );
            }
            bail!("no peer could be reached: {}", why_no_peer(seen));
        }
        // the only peer there is will not change its network while we wait
        let foreign = |reason: &CloseReason| matches!(reason, CloseReason::OtherNetwork(_));
        if self.peers_named == 1 && seen.dial_failure.as_ref().is_some_and(|(_, why)| foreign(why))
        {
            bail!("no peer could be reached: {}", why_no_peer(seen));
        }
        let ProgressReport { headers, blocks, receipts, .. } = seen.progress;
        let so_far = [headers, blocks, receipts, seen.tip()];
        if so_far != self.moved.1 {
            self.moved = (now, so_far);
        }
        let stalled = now.saturating_duration_since(self.moved.0) > STALL_PATIENCE;
        if stalled && self.met_a_peer && seen.peers.peers.is_empty() {
            bail!(
                "every peer is gone: name others with --peer, the same command goes on from here"
            );
        }
        let Some(tree) = &seen.tree else { return Ok(()) };
        if tree.invalid {
            let why = tree.trouble.as_deref().unwrap_or("it breaks a rule");
            bail!("{head} is not the head of a valid chain: {why}");
        }
        let Some(trouble) = &tree.trouble else { return Ok(()) };
        let target_unknown = tree.target.is_none_or(|target| target.number.is_none());
        // of those that are named the first answers count; others may be found who know it
        if target_unknown && (self.peers_named > 0 || stalled) {
            bail!("{trouble}; check the hash, or name other peers with --peer");
        }
        if stalled {
            bail!("{trouble}; name other peers with --peer, the same command goes on from here");
        }
        Ok(())
    }
}

const fn is_rejection(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(_))
}

fn why_no_peer(seen: &Observed) -> String {
    match &seen.dial_failure {
        Some((node, reason @ CloseReason::OtherNetwork(_))) => {
            format!("{reason} ({}); check --chain and --peer", node.addr)
        }
        Some((node, reason)) => {
            format!("{reason} ({}); check that it runs and that --peer names it rightly", node.addr)
        }
        None => "none answered; check --peer".to_owned(),
    }
}
