//! The four actors on one thread whose clock stands still, with peers that are a function of what
//! they are asked: what their trace tells is compared with what the peers and the store have seen.
#![allow(clippy::arithmetic_side_effects)]

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_primitives::{B256, B512};
use moorline_devnet::{Generator, Profile, genesis_json, receipts_of};
use moorline_messages::{
    Block, BlockNumHash, Direction, FetchItems, FetchedItems, Forkchoice, FoundBlock, HashOrNumber,
    PeerId, PeerInfo, SessionEvent, SessionId, StoreAnswer, StoreBatch, StoreError, StoreQuery,
    StoredState, TreeRequest, TreeVerdict, Weigh,
};
use moorline_rules::ChainSpec;
use moorline_store::Memory;
use moorline_trace::{
    Model, RecorderConfig, Recording, WhenFull,
    check::{Checks, Severity, check},
    follow::{Key, follow},
    load,
};
use moorline_tree::SyncTrigger;

use super::*;
use crate::{bridge, observe};

const BLOCKS: usize = 1_500;
const PEERS: u64 = 3;
const DELAY: Duration = Duration::from_millis(20);

/// What one block went through, as seen from outside the actors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hops(BTreeMap<&'static str, usize>);

impl Hops {
    fn add(&mut self, label: &'static str) {
        *self.0.entry(label).or_default() += 1;
    }
}

type Seen = Arc<Mutex<Hops>>;

/// A store that notes when it is given a block.
#[derive(Debug)]
struct Noting {
    memory: Memory,
    block: BlockNumHash,
    seen: Seen,
}

impl Backend for Noting {
    fn commit(&self, batches: &[&StoreBatch]) -> Vec<Result<(), StoreError>> {
        for batch in batches {
            let is_in = batch.canonical.contains(&self.block)
                || batch.bodies.iter().any(|(block, _)| *block == self.block)
                || batch.receipts.iter().any(|(block, _)| *block == self.block)
                || batch.headers.iter().any(|header| header.hash() == self.block.hash);
            if is_in {
                self.seen.lock().unwrap().add(match batch {
                    batch if !batch.canonical.is_empty() => "StoreRequest::Persist::Canonical",
                    batch if !batch.bodies.is_empty() => "StoreRequest::Persist::Bodies",
                    batch if !batch.receipts.is_empty() => "StoreRequest::Persist::Receipts",
                    _ => "StoreRequest::Persist::Headers",
                });
            }
        }
        self.memory.commit(batches)
    }

    fn load(&self) -> Result<StoredState, StoreError> {
        self.memory.load()
    }

    fn find(&self, hashes: &[B256]) -> Result<Vec<Option<FoundBlock>>, StoreError> {
        self.memory.find(hashes)
    }

    fn walk(&self, top: BlockNumHash, limit: u64) -> Result<Vec<FoundBlock>, StoreError> {
        self.memory.walk(top, limit)
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreAnswer, StoreError> {
        self.memory.answer(query)
    }
}

/// Every peer there is: each answers everything, after the same time.
struct Peers {
    blocks: Vec<Block>,
    block: BlockNumHash,
    seen: Seen,
}

impl Peers {
    fn number_of(&self, block: HashOrNumber) -> Option<u64> {
        match block {
            HashOrNumber::Number(number) => Some(number),
            HashOrNumber::Hash(hash) => {
                let found = self.blocks.iter().find(|block| block.header.hash() == hash);
                found.map(|block| block.header.number)
            }
        }
    }

    fn at(&self, number: u64) -> Option<&Block> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.blocks.get(place)
    }

    fn answer(&self, items: &FetchItems) -> FetchedItems {
        let (items, asked, answered) = match items {
            FetchItems::Headers { top, limit } => {
                let top = self.number_of(*top).unwrap_or(0);
                let numbers = (0..*limit).filter_map(|below| top.checked_sub(below));
                let blocks = numbers.filter_map(|number| self.at(number));
                let headers = blocks.map(|block| block.header.clone()).collect();
                let labels = ("SessionCommand::Fetch::Headers", "SessionEvent::Answered::Headers");
                (FetchedItems::Headers(headers), labels.0, labels.1)
            }
            FetchItems::Bodies { blocks } => {
                let blocks = blocks.iter().filter_map(|block| self.at(block.number));
                let bodies = blocks.map(|block| block.body.clone()).collect();
                let labels = ("SessionCommand::Fetch::Bodies", "SessionEvent::Answered::Bodies");
                (FetchedItems::Bodies(bodies), labels.0, labels.1)
            }
            FetchItems::Receipts { blocks } => {
                let blocks = blocks.iter().filter_map(|block| self.at(block.number));
                let receipts = blocks.map(|block| Arc::new(receipts_of(block).unwrap())).collect();
                let labels =
                    ("SessionCommand::Fetch::Receipts", "SessionEvent::Answered::Receipts");
                (FetchedItems::Receipts(receipts), labels.0, labels.1)
            }
        };
        let is_in = match &items {
            FetchedItems::Headers(headers) => {
                headers.iter().any(|header| header.hash() == self.block.hash)
            }
            FetchedItems::Bodies(bodies) => {
                let body = &self.at(self.block.number).unwrap().body;
                bodies.iter().any(|found| found == body)
            }
            FetchedItems::Receipts(blocks) => {
                let receipts = receipts_of(self.at(self.block.number).unwrap()).unwrap();
                blocks.iter().any(|found| **found == receipts)
            }
        };
        if is_in {
            let mut seen = self.seen.lock().unwrap();
            seen.add(asked);
            seen.add(answered);
        }
        items
    }

    /// Opens the sessions, and answers what is asked over them.
    async fn serve(self, mut asked: Inbox<SessionCommand>, to: Port<SessionEvent>) {
        let causes = bridge::Asked::default();
        for session in 0..PEERS {
            let peer = PeerInfo {
                id: PeerId(B512::with_last_byte(session as u8)),
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 30_303)),
                direction: Direction::Outbound,
                client: "simulated".to_owned(),
                eth_version: 69,
                range: None,
            };
            to.tell(SessionEvent::Opened { session: SessionId(session), peer }).unwrap();
        }
        while let Some(envelope) = asked.next_held().await {
            let (command, handling) = envelope.part();
            causes.note(&command, handling.cause());
            drop(handling);
            let SessionCommand::Fetch { session, request, items } = command else { continue };
            let items = self.answer(&items);
            let wire_bytes = items.weight_bytes();
            let answered = SessionEvent::Answered { session, request, items, wire_bytes };
            let (to, cause) = (to.clone(), causes.cause_of(&answered));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(DELAY).await;
                cause.during(to.send(answered)).await.unwrap();
            });
        }
    }
}

/// Syncs a chain of the seed under a paused clock, and records it in a directory. Returns a block in the
/// middle of the chain, and what is known of its hops.
fn simulate(seed: u64, dir: &Path) -> (BlockNumHash, Hops) {
    let blocks: Vec<Block> = Generator::new(Profile::Small, seed).take(BLOCKS).collect();
    let block = blocks[BLOCKS / 2].num_hash();
    let seen = Seen::default();
    let (for_run, dir) = (Arc::clone(&seen), dir.to_owned());
    moorline_kit::simulated(async move {
        let config = RecorderConfig {
            dir: Some(dir),
            simulated: true,
            when_full: WhenFull::Wait,
            ..RecorderConfig::new("a simulation")
        };
        let (tracer, recording) = Recording::start(config).unwrap();
        run(blocks, block, for_run, &tracer).await;
        drop(tracer);
        recording.stop();
    });
    let hops = seen.lock().unwrap().clone();
    (block, hops)
}

async fn run(blocks: Vec<Block>, block: BlockNumHash, seen: Seen, tracer: &Tracer) {
    let spec = Arc::new(ChainSpec::from_genesis_json(&genesis_json()).unwrap());
    let (reporters, mut watched) = observe::start(tracer, Budget::default());
    let memory = Memory::keeping_receipts(spec.genesis(), spec.chain_id()).unwrap();
    let store = Arc::new(Noting { memory, block, seen: Arc::clone(&seen) });
    let actors = Actors {
        tree: TreeConfig { spec, sync_trigger: SyncTrigger::Forkchoice, floor: 1 },
        budget: Budget::default(),
        peers: PeerManagerConfig::default(),
        store,
    };
    let here = || Arbiter::current();
    let threads = Threads { handles: [here(), here(), here(), here()], arbiters: Vec::new() };
    let (wired, asked) = wire(actors, &reporters, tracer, threads).unwrap();
    let head = blocks.last().unwrap().num_hash();
    let peers = Peers { blocks, block, seen };
    tokio::task::spawn_local(peers.serve(asked, wired.session_events.clone()));
    // a head that is named while the tree still reads its store has two triggers
    watched.all.wait_for(|seen| seen.tree.is_some()).await.unwrap();
    let forkchoice = Forkchoice { head: head.hash, ..Forkchoice::default() };
    let verdict = wired.tree.ask(TreeRequest::ForkchoiceUpdated(forkchoice)).await;
    assert_eq!(verdict, Ok(TreeVerdict::Syncing));
    let done = |seen: &observe::Observed| {
        seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.tip == head)
    };
    tokio::time::timeout(Duration::from_secs(600), watched.all.wait_for(done))
        .await
        .expect("the sync stalls")
        .unwrap();
    wired.stops.stop_workers().await;
    wired.stops.stop_store().await.unwrap();
}

/// Every record but the header, which names the moment.
fn records(dir: &Path) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    simulate(7, one.path());
    simulate(7, other.path());
    let (one, other) = (records(one.path()), records(other.path()));
    for (a, b) in one.iter().zip(&other) {
        assert_eq!(a, b);
    }
    assert_eq!(one.len(), other.len());
}

/// How many hops of each kind a key has in a trace.
fn followed(model: &Model, key: &Key) -> BTreeMap<String, usize> {
    let mut hops = BTreeMap::new();
    for hop in follow(model, key).hops {
        *hops.entry(model.type_name(hop.row).to_owned()).or_default() += 1;
    }
    hops
}

#[test]
fn every_hop_of_a_block_is_found_in_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (block, seen) = simulate(11, dir.path());
    let model = load(dir.path()).unwrap().model;
    let hops = followed(&model, &Key::Hash(block.hash.0));
    for (label, times) in &seen.0 {
        assert_eq!(hops.get(*label), Some(times), "{label}: {hops:?}");
    }
    // what is told once for each of what was seen from outside
    for (label, like) in [
        ("FetchRequest::Headers", "SessionCommand::Fetch::Headers"),
        ("FetchOutcome::Headers", "SessionEvent::Answered::Headers"),
        ("FetchRequest::Bodies", "SessionCommand::Fetch::Bodies"),
        ("FetchOutcome::Bodies", "SessionEvent::Answered::Bodies"),
        ("FetchRequest::Receipts", "SessionCommand::Fetch::Receipts"),
        ("FetchOutcome::Receipts", "SessionEvent::Answered::Receipts"),
    ] {
        assert_eq!(hops.get(label), seen.0.get(like), "{label}");
    }
    let persisted = ["Headers", "Bodies", "Receipts", "Canonical"]
        .map(|what| hops.get(&format!("StoreRequest::Persist::{what}")).copied().unwrap_or(0));
    assert_eq!(hops["StoreOutcome::Persisted"], persisted.iter().sum::<usize>());
    assert_eq!(hops["DownloadOutcome::Blocks"], 1);
    assert_eq!(hops["TreeRequest::ForkchoiceUpdated"], 1, "the trigger");
}

#[test]
fn a_simulated_run_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    simulate(13, dir.path());
    let model = load(dir.path()).unwrap().model;
    let findings = check(&model, &Checks { lost_after_ns: 0, ..Checks::default() });
    let wrong = findings.iter().filter(|finding| finding.severity == Severity::Error);
    assert_eq!(wrong.count(), 0, "{findings:?}");
}
