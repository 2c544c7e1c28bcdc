//! A thousand random sequences of forkchoices and payloads over random graphs of blocks, with forks, gaps
//! and invalid blocks, against a model in sets: the same answers and the same canonical chain after
//! every call, and nothing left undone that could be done.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::B256;
use moorline_messages::{
    Block, DownloadFailure, DownloadRequest, Forkchoice, SealedHeader, TreeRequest, TreeVerdict,
};

use super::{
    rig::{Rig, child, grow, hash, spec},
    simulation::Dice,
};

/// Longer than any pause between two attempts.
const LONG: Duration = Duration::from_secs(70);

/// Every block there is.
struct Graph {
    blocks: BTreeMap<B256, Block>,
    order: Vec<B256>,
    /// Blocks that break a rule beside their parent.
    breaches: BTreeSet<B256>,
    /// Blocks that break a rule alone.
    lone_breaches: BTreeSet<B256>,
    /// Blocks that peers have, and so all below them.
    available: BTreeSet<B256>,
}

impl Graph {
    fn grown(dice: &mut Dice) -> Self {
        let mut graph = Self {
            blocks: BTreeMap::new(),
            order: Vec::new(),
            breaches: BTreeSet::new(),
            lone_breaches: BTreeSet::new(),
            available: BTreeSet::from([spec().genesis().hash()]),
        };
        let length = dice.roll(12) + 4;
        graph.add(grow(spec().genesis(), length, 0), true);
        for salt in 1..8 {
            let from = graph.any(dice);
            let parent = graph.header(from);
            // what peers have they have from the bottom up
            let is_available = graph.available.contains(&from) && !dice.one_in(3);
            let length = dice.roll(8) + 1;
            graph.add(grow(&parent, length, salt), is_available);
            if dice.one_in(3) {
                graph.add_breach(dice, salt, is_available);
            }
        }
        graph
    }

    /// A block that breaks a rule on top of the last one, and some that do not on top of it.
    fn add_breach(&mut self, dice: &mut Dice, salt: u8, is_available: bool) {
        let parent = self.header(*self.order.last().unwrap());
        // a peer never gets one past the downloader that is wrong alone
        let is_lone = !is_available && dice.one_in(2);
        let bad = child(&parent, salt, |header| match is_lone {
            true => header.gas_used = header.gas_limit + 1,
            false => header.base_fee_per_gas = Some(1),
        });
        if is_lone { &mut self.lone_breaches } else { &mut self.breaches }.insert(hash(&bad));
        let above = grow(&bad.header, dice.roll(5), salt);
        self.add([vec![bad], above].concat(), is_available);
    }

    fn add(&mut self, blocks: Vec<Block>, is_available: bool) {
        for block in blocks {
            let hash = hash(&block);
            if is_available {
                self.available.insert(hash);
            }
            self.order.push(hash);
            self.blocks.insert(hash, block);
        }
    }

    fn any(&self, dice: &mut Dice) -> B256 {
        self.order[dice.roll(self.order.len() as u64) as usize]
    }

    fn is_bad(&self, path: Vec<B256>) -> bool {
        path.iter().any(|block| self.breaches.contains(block) || self.lone_breaches.contains(block))
    }

    fn header(&self, hash: B256) -> Arc<SealedHeader> {
        self.blocks
            .get(&hash)
            .map_or_else(|| spec().genesis().clone(), |block| block.header.clone())
    }

    fn number(&self, hash: B256) -> u64 {
        self.header(hash).number
    }

    fn parent(&self, hash: B256) -> B256 {
        self.header(hash).parent_hash
    }

    /// The blocks from one downwards, so many or to the first, ascending; `None` where peers lack one.
    fn run(&self, top: B256, count: u64) -> Option<Vec<B256>> {
        let mut run = Vec::new();
        let mut next = top;
        while (run.len() as u64) < count && self.blocks.contains_key(&next) {
            if !self.available.contains(&next) {
                return None;
            }
            run.push(next);
            next = self.parent(next);
        }
        run.reverse();
        (!run.is_empty()).then_some(run)
    }
}

/// What a tree knows, without any clock, store, request or bound.
struct Model<'g> {
    graph: &'g Graph,
    genesis: B256,
    connected: BTreeSet<B256>,
    waiting: BTreeSet<B256>,
    /// Waiting blocks that were fetched for a head.
    followed: BTreeSet<B256>,
    invalid: BTreeSet<B256>,
    canonical: Vec<B256>,
    target: Option<B256>,
    /// The highest block that a call connected and that was fetched for a head.
    best: Option<B256>,
}

impl<'g> Model<'g> {
    fn new(graph: &'g Graph) -> Self {
        let genesis = spec().genesis().hash();
        Self {
            graph,
            genesis,
            connected: BTreeSet::from([genesis]),
            waiting: BTreeSet::new(),
            followed: BTreeSet::new(),
            invalid: BTreeSet::new(),
            canonical: vec![genesis],
            target: None,
            best: None,
        }
    }

    fn is_known(&self, hash: B256) -> bool {
        self.connected.contains(&hash) || self.waiting.contains(&hash)
    }

    fn is_lost(&self) -> bool {
        self.target.is_some_and(|target| self.invalid.contains(&target))
    }

    fn tip(&self) -> B256 {
        *self.canonical.last().unwrap()
    }

    fn path(&self, to: B256) -> Vec<B256> {
        let mut path = vec![to];
        while *path.last().unwrap() != self.genesis {
            path.push(self.graph.parent(*path.last().unwrap()));
        }
        path.reverse();
        path
    }

    /// A block is invalid, and so is what waits above it.
    fn condemn(&mut self, hash: B256) {
        let mut doomed = vec![hash];
        while let Some(block) = doomed.pop() {
            self.waiting.remove(&block);
            self.followed.remove(&block);
            self.invalid.insert(block);
            doomed.extend(self.children_of(block));
        }
        self.unfollow_if_lost();
    }

    fn unfollow_if_lost(&mut self) {
        if self.is_lost() {
            self.followed.clear();
        }
    }

    fn children_of(&self, parent: B256) -> Vec<B256> {
        let is_child = |block: &&B256| self.graph.parent(**block) == parent;
        self.waiting.iter().filter(is_child).copied().collect()
    }

    fn note(&mut self, hash: B256) {
        let number = self.graph.number(hash);
        if self.best.is_none_or(|best| self.graph.number(best) < number) {
            self.best = Some(hash);
        }
    }

    /// Whether the block came in; it and what waited for it are connected if its parent was.
    fn take_in(&mut self, hash: B256, is_followed: bool) -> bool {
        if self.connected.contains(&hash) {
            if is_followed {
                self.note(hash);
            }
            return true;
        }
        let parent = self.graph.parent(hash);
        if self.invalid.contains(&hash)
            || self.invalid.contains(&parent)
            || self.graph.lone_breaches.contains(&hash)
        {
            self.condemn(hash);
            return false;
        }
        self.waiting.insert(hash);
        if is_followed {
            self.followed.insert(hash);
        }
        let is_ready = self.connected.contains(&parent);
        let mut ready = VecDeque::from_iter(is_ready.then_some(hash));
        while let Some(block) = ready.pop_front() {
            if self.graph.breaches.contains(&block) {
                self.condemn(block);
                continue;
            }
            self.waiting.remove(&block);
            self.connected.insert(block);
            if self.followed.remove(&block) {
                self.note(block);
            }
            ready.extend(self.children_of(block));
        }
        self.is_known(hash)
    }

    fn new_payload(&mut self, hash: B256) -> TreeVerdict {
        if self.invalid.contains(&hash) || (!self.is_known(hash) && !self.take_in(hash, false)) {
            return invalid();
        }
        // the verdict is on the chain as it is when the payload comes
        let is_aside = self.connected.contains(&hash) && !self.canonical.contains(&hash) && {
            let path = self.path(hash);
            let root = path.iter().rev().find(|block| self.canonical.contains(block));
            root != Some(&self.tip())
        };
        self.advance();
        self.pursue();
        if is_aside { TreeVerdict::Accepted } else { TreeVerdict::Syncing }
    }

    fn forkchoice(&mut self, forkchoice: Forkchoice) -> TreeVerdict {
        if self.invalid.contains(&forkchoice.head) {
            return invalid();
        }
        if !self.is_consistent(&forkchoice) {
            return TreeVerdict::Inconsistent { reason: String::new() };
        }
        if forkchoice.head == self.genesis {
            self.target = None;
            return TreeVerdict::Valid;
        }
        self.target = Some(forkchoice.head);
        self.advance();
        self.pursue();
        TreeVerdict::Syncing
    }

    /// The tip moves to the target, or as far towards it as it is known to be good.
    fn advance(&mut self) {
        let best = self.best.take();
        let Some(target) = self.target else { return };
        if self.connected.contains(&target) {
            self.canonical = self.path(target);
        } else if let Some(best) = best
            && self.graph.number(best) > self.graph.number(self.tip())
        {
            self.canonical = self.path(best);
        }
    }

    fn is_consistent(&self, forkchoice: &Forkchoice) -> bool {
        let mut above = forkchoice.head;
        for named in [forkchoice.safe, forkchoice.finalized] {
            if named == B256::ZERO {
                continue;
            }
            if above == self.genesis && named != above {
                return false;
            }
            if !self.is_known(named) {
                continue;
            }
            // down from `above`, as far as the way is known
            let mut block = above;
            while self.is_known(block) && self.graph.number(block) > self.graph.number(named) {
                block = self.graph.parent(block);
            }
            if self.is_known(block) && block != named {
                return false;
            }
            above = named;
        }
        true
    }

    /// Everything that can be done for the target is done.
    fn pursue(&mut self) {
        let mut bridge = 1;
        while let Some(head) = self.target
            && !self.is_lost()
            && !self.connected.contains(&head)
        {
            let mut top = head;
            while self.waiting.contains(&top) {
                top = self.graph.parent(top);
            }
            let above_tip = self.graph.number(top).saturating_sub(self.graph.number(self.tip()));
            let count = match above_tip {
                _ if top == head => 1,
                0 => bridge,
                _ => above_tip,
            };
            if above_tip == 0 && top != head {
                bridge *= 2;
            }
            let Some(run) = self.graph.run(top, count) else { return };
            let came_in = run.iter().all(|block| self.take_in(*block, true));
            if !came_in {
                self.invalid.insert(head);
                self.unfollow_if_lost();
            }
            self.advance();
        }
    }
}

fn invalid() -> TreeVerdict {
    TreeVerdict::Invalid { reason: String::new() }
}

/// A verdict without its reason.
fn plain(verdict: TreeVerdict) -> TreeVerdict {
    match verdict {
        TreeVerdict::Invalid { .. } => invalid(),
        TreeVerdict::Inconsistent { .. } => TreeVerdict::Inconsistent { reason: String::new() },
        other => other,
    }
}

/// A tree, its peers, and the canonical chain by what the store was told.
struct Tree<'g> {
    rig: Rig,
    graph: &'g Graph,
    canonical: Vec<B256>,
}

impl<'g> Tree<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self { rig: Rig::at_genesis(), graph, canonical: vec![spec().genesis().hash()] }
    }

    fn ask(&mut self, request: TreeRequest) -> TreeVerdict {
        let verdict = self.rig.ask(request);
        self.serve();
        self.rig.pass(LONG);
        self.serve();
        while let Some(names) = self.rig.canonical.pop_front() {
            self.canonical.truncate(names[0].number as usize);
            self.canonical.extend(names.iter().map(|name| name.hash));
        }
        plain(verdict)
    }

    /// Peers give all that is asked for or nothing, at once.
    fn serve(&mut self) {
        for _ in 0..200 {
            let Some(request) = self.rig.downloads.pop_front() else { return };
            let (id, run) = match request {
                DownloadRequest::BlockSet { id, hashes } => {
                    (id, self.graph.run(*hashes.first().unwrap(), 1))
                }
                DownloadRequest::BlockRange { id, head, count } => {
                    (id, self.graph.run(head, count))
                }
                DownloadRequest::Cancel { .. } => continue,
            };
            match run {
                Some(run) => {
                    let blocks: Vec<_> =
                        run.iter().map(|hash| self.graph.blocks[hash].clone()).collect();
                    self.rig.deliver(id, &blocks, 0);
                }
                None => {
                    let reason = DownloadFailure::Unobtainable { hash: B256::ZERO, attempts: 10 };
                    self.rig.fail(id, reason);
                }
            }
        }
        panic!("the tree asks without end");
    }
}

fn any_forkchoice(graph: &Graph, dice: &mut Dice) -> Forkchoice {
    let head = match dice.roll(12) {
        0 => spec().genesis().hash(),
        1 => B256::repeat_byte(7),
        _ => graph.any(dice),
    };
    let mut below = |of: B256| match dice.roll(8) {
        0..4 => B256::ZERO,
        4 => graph.any(dice),
        _ if !graph.blocks.contains_key(&of) => spec().genesis().hash(),
        steps => (0..steps - 5).fold(of, |block, _| match graph.blocks.contains_key(&block) {
            true => graph.parent(block),
            false => block,
        }),
    };
    let safe = below(head);
    let finalized = below(if safe == B256::ZERO { head } else { safe });
    Forkchoice { head, safe, finalized }
}

#[test]
fn a_thousand_random_sequences_get_the_answers_and_the_chain_of_the_model() {
    let mut seen = BTreeMap::new();
    for seed in 0..1_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let graph = Graph::grown(&mut dice);
        let (mut model, mut tree) = (Model::new(&graph), Tree::new(&graph));
        for step in 0..dice.roll(40) + 10 {
            let (expected, found, what) = if dice.one_in(3) {
                let forkchoice = any_forkchoice(&graph, &mut dice);
                let expected = model.forkchoice(forkchoice);
                let found = tree.ask(TreeRequest::ForkchoiceUpdated(forkchoice));
                (expected, found, format!("{forkchoice:?}"))
            } else {
                let block = graph.blocks[&graph.any(&mut dice)].clone();
                let what = format!("payload {}", block.num_hash());
                let expected = model.new_payload(hash(&block));
                (expected, tree.ask(TreeRequest::NewPayload(block)), what)
            };
            assert_eq!(found, expected, "seed {seed} step {step}: {what}");
            assert_eq!(tree.canonical, model.canonical, "seed {seed} step {step}: {what}");
            // both could be wrong together
            let is_bad = |block: &B256| graph.is_bad(model.path(*block));
            assert!(model.invalid.iter().all(is_bad) && !graph.is_bad(model.canonical.clone()));
            *seen.entry(format!("{found:?}")).or_insert(0) += 1;
        }
    }
    // it was no walk in the park: every answer was given often
    assert_eq!(seen.len(), 5);
    assert!(seen.values().all(|count| *count > 300), "{seen:?}");
}
