//! What upstream's users met and its tests did not: the four actors on one thread whose clock stands
//! still, with peers of every manner.
#![allow(clippy::arithmetic_side_effects)]

mod world;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_primitives::{B256, B512};
use moorline_devnet::{Generator, Profile, genesis_json};
use moorline_messages::{
    Block, Direction, Forkchoice, PeerId, PeerInfo, SessionEvent, SessionId, TreeRequest,
    TreeVerdict, Weigh,
};
use moorline_rules::ChainSpec;
use moorline_store::Memory;
use moorline_tree::SyncTrigger;
use tokio::sync::watch;

use self::world::{Manner, World};
use super::*;
use crate::observe::{self, Observed};

const DELAY: Duration = Duration::from_millis(20);

/// Longest time on the paused clock for anything.
const PATIENCE: Duration = Duration::from_secs(600);

type Shared = Arc<Mutex<World>>;

/// What the store keeps beside headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Bodies,
    /// And bodies.
    Receipts,
}

/// The four actors, and peers of these manners.
struct Stage {
    world: Shared,
    wired: Wired,
    watched: watch::Receiver<Observed>,
    gone: Arc<Mutex<BTreeSet<u64>>>,
}

impl Stage {
    async fn new(keeping: Keeping, manners: &[Manner]) -> Self {
        let tracer = Tracer::OFF;
        let spec = Arc::new(ChainSpec::from_genesis_json(&genesis_json()).unwrap());
        let (reporters, mut watched) = observe::start(&tracer, Budget::default());
        let memory = match keeping {
            Keeping::Bodies => Memory::new(spec.genesis(), spec.chain_id()),
            Keeping::Receipts => Memory::keeping_receipts(spec.genesis(), spec.chain_id()),
        };
        let store = Arc::new(memory.unwrap());
        let actors = Actors {
            tree: TreeConfig { spec, sync_trigger: SyncTrigger::Forkchoice, floor: 1 },
            budget: Budget::default(),
            peers: PeerManagerConfig::default(),
            store,
        };
        let here = || Arbiter::current();
        let threads = Threads { handles: [here(), here(), here(), here()], arbiters: Vec::new() };
        let (wired, asked) = wire(actors, &reporters, &tracer, threads).unwrap();
        let (world, gone) = (Shared::default(), Arc::default());
        let peers = Peers {
            manners: manners.to_vec(),
            world: Arc::clone(&world),
            gone: Arc::clone(&gone),
            to: wired.session_events.clone(),
        };
        tokio::task::spawn_local(peers.serve(asked));
        watched.all.wait_for(|seen| seen.tree.is_some()).await.unwrap();
        Self { world, wired, watched: watched.all, gone }
    }

    /// A stage on which a chain of so many blocks was served, and synced to its end.
    async fn synced(keeping: Keeping, manners: &[Manner], count: usize) -> (Self, Vec<Block>) {
        let mut stage = Self::new(keeping, manners).await;
        let blocks = made(count);
        stage.serve(&blocks);
        stage.name_head(&blocks[count - 1]).await;
        stage.expect_tip(&blocks[count - 1]).await;
        (stage, blocks)
    }

    fn serve(&self, blocks: &[Block]) {
        self.world.lock().unwrap().make_canonical(blocks);
    }

    async fn name(&self, forkchoice: Forkchoice) -> TreeVerdict {
        self.wired.tree.ask(TreeRequest::ForkchoiceUpdated(forkchoice)).await.unwrap()
    }

    async fn name_head(&self, head: &Block) {
        let head = head.header.hash();
        let verdict = self.name(Forkchoice { head, ..Forkchoice::default() }).await;
        assert!(matches!(verdict, TreeVerdict::Syncing), "{verdict:?}");
    }

    async fn wait(&mut self, what: &str, done: impl Fn(&Observed) -> bool) {
        let seen = tokio::time::timeout(PATIENCE, self.watched.wait_for(|seen| done(seen))).await;
        drop(seen.unwrap_or_else(|_| panic!("{what}")));
    }

    async fn expect_tip(&mut self, head: &Block) {
        let head = head.num_hash();
        let reached = move |seen: &Observed| {
            seen.tree.as_ref().is_some_and(|tree| tree.synced && tree.tip == head)
        };
        self.wait("the head is not reached", reached).await;
    }

    /// Ends the actors, and checks what holds of every run.
    async fn end(self) {
        self.wired.stops.stop_workers().await;
        self.wired.stops.stop_store().await.unwrap();
        assert_eq!(self.world.lock().unwrap().asked_twice, 0, "asked for twice at the same time");
    }

    /// How often the bodies of these blocks were sent, most and least.
    fn sent(&self, blocks: &[Block]) -> (u64, u64) {
        let world = self.world.lock().unwrap();
        let times = blocks
            .iter()
            .filter(|block| !is_empty(block))
            .map(|block| world.sent.get(&block.header.hash()).copied().unwrap_or(0));
        times.fold((0, u64::MAX), |(most, least), times| (most.max(times), least.min(times)))
    }

    fn is_gone(&self, peer: u64) -> bool {
        self.gone.lock().unwrap().contains(&peer)
    }
}

fn is_empty(block: &Block) -> bool {
    let withdrawals = block.body.withdrawals.iter().flatten().count();
    block.body.transactions.is_empty() && withdrawals == 0
}

struct Peers {
    manners: Vec<Manner>,
    world: Shared,
    gone: Arc<Mutex<BTreeSet<u64>>>,
    to: Port<SessionEvent>,
}

impl Peers {
    async fn serve(self, mut asked: Inbox<SessionCommand>) {
        for session in 0..self.manners.len() as u64 {
            let peer = PeerInfo {
                id: PeerId(B512::with_last_byte(session as u8)),
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 30_303)),
                direction: Direction::Outbound,
                client: "simulated".to_owned(),
                eth_version: 69,
                range: None,
            };
            self.to.tell(SessionEvent::Opened { session: SessionId(session), peer }).unwrap();
        }
        while let Some(command) = asked.next().await {
            let (session, request, items) = match command {
                SessionCommand::Fetch { session, request, items } => (session, request, items),
                SessionCommand::Disconnect { session, .. } => {
                    self.gone.lock().unwrap().insert(session.0);
                    continue;
                }
                _ => continue,
            };
            let manner = self.manners[session.0 as usize];
            if manner == Manner::Dribbles {
                continue;
            }
            let (world, gone, to) =
                (Arc::clone(&self.world), Arc::clone(&self.gone), self.to.clone());
            world.lock().unwrap().note_asked(&items);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(DELAY).await;
                world.lock().unwrap().note_answered(&items);
                if gone.lock().unwrap().contains(&session.0) {
                    return;
                }
                let answer = world.lock().unwrap().answer(manner, &items);
                let wire_bytes = answer.weight_bytes();
                let answered =
                    SessionEvent::Answered { session, request, items: answer, wire_bytes };
                to.send(answered).await.unwrap();
            });
        }
    }
}

fn made(count: usize) -> Vec<Block> {
    Generator::new(Profile::Small, 3).take(count).collect()
}

/// Another branch of `count` blocks on top of one of these.
fn branch(parent: &Block, count: usize) -> Vec<Block> {
    Generator::new(Profile::Small, 3).fork_at(&parent.header, 99).take(count).collect()
}

/// Plays a situation over a store that keeps receipts, and over one that keeps none.
fn on_stages<F: Future<Output = ()>>(play: impl Fn(Keeping) -> F + Copy + 'static) {
    for keeping in [Keeping::Bodies, Keeping::Receipts] {
        moorline_kit::simulated(async move { play(keeping).await });
    }
}

use Manner::*;

#[test]
fn a_gap_over_1024_is_closed_though_finalized_is_known() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 3]).await;
        let blocks = made(4_000);
        stage.serve(&blocks);
        stage.name_head(&blocks[299]).await;
        stage.expect_tip(&blocks[299]).await;
        let (head, finalized) = (blocks[3_999].header.hash(), blocks[199].header.hash());
        let verdict = stage.name(Forkchoice { head, safe: finalized, finalized }).await;
        assert!(matches!(verdict, TreeVerdict::Syncing));
        stage.expect_tip(&blocks[3_999]).await;
        assert_eq!(stage.sent(&blocks), (1, 1), "every body came once");
        stage.end().await;
    });
}

#[test]
fn headers_repeated_or_forged_after_a_true_first_one_cost_their_sender_and_nothing_else() {
    on_stages(|keeping| async move {
        let (stage, blocks) = Stage::synced(keeping, &[Repeats, Forges, Honest], 6_000).await;
        assert_eq!(stage.sent(&blocks), (1, 1));
        assert!(stage.is_gone(0) && stage.is_gone(1) && !stage.is_gone(2));
        stage.end().await;
    });
}

#[test]
fn one_skipped_body_in_a_full_answer_is_asked_of_others() {
    on_stages(|keeping| async move {
        let (stage, blocks) = Stage::synced(keeping, &[SkipsOne, Honest], 1_500).await;
        assert_eq!(stage.sent(&blocks), (1, 1), "nothing was misaligned, so nothing came twice");
        assert!(!stage.is_gone(0), "to skip is no offence");
        stage.end().await;
    });
}

#[test]
fn a_head_replaced_by_its_child_half_way_costs_one_block() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 3]).await;
        let blocks = made(3_000);
        stage.serve(&blocks[..2_999]);
        stage.name_head(&blocks[2_998]).await;
        stage.wait("no body comes", |seen| seen.progress.blocks > 500).await;
        stage.serve(&blocks);
        stage.name_head(&blocks[2_999]).await;
        stage.expect_tip(&blocks[2_999]).await;
        assert_eq!(stage.sent(&blocks), (1, 1));
        assert!(stage.world.lock().unwrap().headers_sent < 3_000 + 600);
        stage.end().await;
    });
}

#[test]
fn a_head_replaced_by_a_fork_half_way_keeps_what_both_share() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 3]).await;
        let blocks = made(3_000);
        stage.serve(&blocks);
        stage.name_head(&blocks[2_999]).await;
        stage.wait("no body comes", |seen| seen.progress.blocks > 500).await;
        let fork = branch(&blocks[2_900], 120);
        stage.serve(&fork);
        stage.name_head(&fork[119]).await;
        stage.expect_tip(&fork[119]).await;
        let shared = &blocks[..=2_900];
        let (most, least) = stage.sent(shared);
        assert!(least == 1 && most <= 2, "{most}");
        let twice = shared.iter().filter(|block| stage.sent(&[(*block).clone()]).0 > 1).count();
        // what was on its way when the head was replaced
        assert!(twice <= 2_048, "{twice}");
        assert_eq!(stage.sent(&fork), (1, 1));
        stage.end().await;
    });
}

#[test]
fn a_head_replaced_by_something_unrelated_is_found_again_where_it_was_left() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 3]).await;
        let blocks = made(3_000);
        stage.serve(&blocks);
        stage.name_head(&blocks[2_999]).await;
        stage.wait("no body comes", |seen| seen.progress.blocks > 500).await;
        let head = B256::repeat_byte(7);
        let verdict = stage.name(Forkchoice { head, ..Forkchoice::default() }).await;
        assert!(matches!(verdict, TreeVerdict::Syncing));
        let trouble =
            |seen: &Observed| seen.tree.as_ref().is_some_and(|tree| tree.trouble.is_some());
        stage.wait("nobody says that it cannot be had", trouble).await;
        stage.name_head(&blocks[2_999]).await;
        stage.expect_tip(&blocks[2_999]).await;
        assert!(stage.sent(&blocks).0 <= 2);
        stage.end().await;
    });
}

#[test]
fn while_no_peer_has_it_the_target_stands_and_is_reached_when_one_does() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 2]).await;
        let blocks = made(50);
        stage.name_head(&blocks[49]).await;
        let says_so = |seen: &Observed| {
            let trouble = seen.tree.as_ref().and_then(|tree| tree.trouble.as_ref());
            trouble.is_some_and(|text| text.contains("no peer has block"))
        };
        stage.wait("nobody says that no peer has it", says_so).await;
        stage.serve(&blocks);
        stage.expect_tip(&blocks[49]).await;
        assert_eq!(stage.sent(&blocks), (1, 1));
        stage.end().await;
    });
}

#[test]
fn peers_that_have_nothing_are_no_liars_and_hold_nobody_up() {
    on_stages(|keeping| async move {
        let (stage, _) = Stage::synced(keeping, &[Empty, Empty, Empty, Honest], 2_000).await;
        assert!((0..4).all(|peer| !stage.is_gone(peer)));
        stage.end().await;
    });
}

#[test]
fn a_block_buffered_above_a_range_is_not_fetched_when_the_range_ends() {
    on_stages(|keeping| async move {
        let mut stage = Stage::new(keeping, &[Honest; 2]).await;
        let blocks = made(1_200);
        stage.serve(&blocks[..1_199]);
        stage.name_head(&blocks[1_198]).await;
        let payload = TreeRequest::NewPayload(blocks[1_199].clone());
        let verdict = stage.wired.tree.ask(payload).await.unwrap();
        assert!(matches!(verdict, TreeVerdict::Syncing), "{verdict:?}");
        stage.expect_tip(&blocks[1_198]).await;
        if keeping == Keeping::Receipts {
            // whoever has its receipts has all of it
            stage.serve(&blocks[1_199..]);
        }
        stage.name(Forkchoice { head: blocks[1_199].header.hash(), ..Forkchoice::default() }).await;
        stage.expect_tip(&blocks[1_199]).await;
        assert_eq!(stage.sent(&blocks[1_199..]).0, 0, "the consensus client delivered it");
        stage.end().await;
    });
}

#[test]
fn a_peer_that_answers_one_body_of_many_is_enough_alone_and_outdone_by_others() {
    on_stages(|keeping| async move {
        let (alone, blocks) = Stage::synced(keeping, &[OneBody], 300).await;
        assert_eq!(alone.sent(&blocks), (1, 1));
        assert!(!alone.is_gone(0));
        alone.end().await;

        let started = tokio::time::Instant::now();
        let (stage, blocks) = Stage::synced(keeping, &[OneBody, Honest], 3_000).await;
        assert_eq!(stage.sent(&blocks), (1, 1));
        // one by one, all of them alone would take a minute
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        stage.end().await;
    });
}

#[test]
fn a_peer_whose_answers_never_end_loses_its_work_to_others() {
    on_stages(|keeping| async move {
        let started = tokio::time::Instant::now();
        let (stage, blocks) = Stage::synced(keeping, &[Dribbles, Honest, Dribbles], 3_000).await;
        assert_eq!(stage.sent(&blocks), (1, 1));
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        stage.end().await;
    });
}

#[test]
fn nine_liars_in_ten_peers_do_not_stop_it() {
    on_stages(|keeping| async move {
        let manners =
            [Repeats, Forges, Swaps, Repeats, Forges, Swaps, Repeats, Forges, Honest, Swaps];
        let (stage, _) = Stage::synced(keeping, &manners, 3_000).await;
        let gone = (0..10).filter(|peer| stage.is_gone(*peer)).count();
        assert!(gone >= 8 && !stage.is_gone(8), "{gone} of nine liars are gone");
        stage.end().await;
    });
}
