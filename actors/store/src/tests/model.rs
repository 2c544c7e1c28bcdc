//! Random batches and reopenings, on disk and in memory, against a model that is small enough to be
//! believed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{BlockNumHash, Forkchoice, Span, StoreBatch};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::{Disk, Memory};

/// Heights 1 to 40, and a branch that leaves the chain above height 14: sixteen heights share an entry of
/// the index, and runs, forks and reorgs reach over its ends.
const LENGTH: usize = 40;
const FORK: usize = 14;

struct World {
    chain: Vec<Block>,
    branch: Vec<Block>,
}

impl World {
    fn new() -> Self {
        let chain = chain(LENGTH);
        let above = chain_above(&chain[FORK - 1].header, LENGTH - FORK, 1);
        let branch = [chain[..FORK].to_vec(), above].concat();
        Self { chain, branch }
    }

    fn run(&self, run: &Run) -> &[Block] {
        let blocks = if run.branch { &self.branch } else { &self.chain };
        let from = run.from.min(LENGTH);
        &blocks[from..(from + run.len).min(LENGTH)]
    }

    fn all(&self) -> Vec<Block> {
        [&self.chain[..], &self.branch[FORK..]].concat()
    }
}

#[derive(Clone, Debug)]
struct Run {
    branch: bool,
    from: usize,
    len: usize,
}

fn run(most: usize) -> impl Strategy<Value = Run> {
    (any::<bool>(), 0..LENGTH, 0..=most).prop_map(|(branch, from, len)| Run { branch, from, len })
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Wish>),
    Reopen,
}

#[derive(Clone, Debug)]
struct Wish {
    headers: Run,
    bodies: Run,
    receipts: Run,
    canonical: Run,
    span: Run,
    forkchoice: Option<u8>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let forkchoice = proptest::option::of(any::<u8>());
    (run(LENGTH), run(LENGTH), run(LENGTH), run(24), run(5), forkchoice).prop_map(
        |(headers, bodies, receipts, canonical, span, forkchoice)| Wish {
            headers,
            bodies,
            receipts,
            canonical,
            span,
            forkchoice,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => vec(wish(), 1..4).prop_map(Step::Commit), 1 => Just(Step::Reopen)]
}

fn batch_of(world: &World, wish: &Wish, brings_receipts: bool) -> StoreBatch {
    let span = world.run(&wish.span);
    let bodies = whole(world.run(&wish.bodies)).bodies;
    let receipts = with_receipts(world.run(&wish.receipts), StoreBatch::default()).receipts;
    StoreBatch {
        bodies,
        receipts: if brings_receipts { receipts } else { vec![] },
        spans: if span.is_empty() { vec![] } else { vec![span_of(span)] },
        canonical: names(world.run(&wish.canonical)),
        forkchoice: wish
            .forkchoice
            .map(|byte| Forkchoice { head: B256::repeat_byte(byte), ..Forkchoice::default() }),
        ..headers_of(world.run(&wish.headers))
    }
}

#[derive(Clone, Debug)]
struct Model {
    headers: BTreeMap<B256, BlockNumHash>,
    parents: BTreeMap<B256, B256>,
    bodies: BTreeSet<B256>,
    keeps_receipts: bool,
    /// Blocks whose receipts are there.
    receipts: BTreeSet<B256>,
    /// Genesis, and from `earliest` on without a gap.
    canonical: BTreeMap<BlockNumber, B256>,
    spans: BTreeMap<BlockNumHash, Span>,
    forkchoice: Forkchoice,
}

impl Model {
    fn new(keeps_receipts: bool) -> Self {
        let at = BlockNumHash::of(&genesis());
        Self {
            keeps_receipts,
            receipts: BTreeSet::new(),
            headers: [(at.hash, at)].into(),
            parents: [(at.hash, B256::ZERO)].into(),
            bodies: [at.hash].into(),
            canonical: [(0, at.hash)].into(),
            spans: BTreeMap::new(),
            forkchoice: Forkchoice::default(),
        }
    }

    /// Whether they are there, or the block has none.
    fn has_receipts(&self, at: BlockNumHash) -> bool {
        at.number.is_multiple_of(4) || self.receipts.contains(&at.hash)
    }

    fn tip(&self) -> BlockNumHash {
        let (number, hash) = self.canonical.last_key_value().unwrap();
        BlockNumHash::new(*number, *hash)
    }

    fn earliest(&self) -> BlockNumber {
        self.canonical.keys().copied().find(|number| *number > 0).unwrap_or(1)
    }

    /// Whether the batch was taken on.
    fn apply(&mut self, batch: &StoreBatch) -> bool {
        let mut next = self.clone();
        let fits = next.try_apply(batch);
        if fits {
            *self = next;
        }
        fits
    }

    fn try_apply(&mut self, batch: &StoreBatch) -> bool {
        for header in &batch.headers {
            self.headers.insert(header.hash(), BlockNumHash::of(header));
            self.parents.insert(header.hash(), header.parent_hash);
        }
        self.bodies.extend(batch.bodies.iter().map(|(at, _)| at.hash));
        self.receipts.extend(batch.receipts.iter().map(|(at, _)| at.hash));
        if !self.keeps_receipts && !batch.receipts.is_empty() {
            return false;
        }
        let moves = batch.canonical.first().copied();
        if let Some(first) = moves {
            if first.number > self.tip().number + 1 || first.number < self.earliest() {
                self.canonical.retain(|number, _| *number == 0);
            }
            self.canonical.retain(|number, _| *number < first.number);
            for block in &batch.canonical {
                let stored = self.headers.contains_key(&block.hash)
                    && self.bodies.contains(&block.hash)
                    && (!self.keeps_receipts || self.has_receipts(*block));
                let below = self.canonical.get(&(block.number - 1));
                if !stored || below.is_some_and(|below| *below != self.parents[&block.hash]) {
                    return false;
                }
                self.canonical.insert(block.number, block.hash);
            }
        }
        let tip = self.tip().number;
        for span in &batch.spans {
            if moves.is_some() && span.top.number <= tip {
                continue;
            }
            let known = |block: &BlockNumHash| self.headers.contains_key(&block.hash);
            if !known(&span.top) || !known(&span.bottom) {
                return false;
            }
            let kept = self.spans.entry(span.top).or_insert(*span);
            if span.bottom.number < kept.bottom.number {
                *kept = *span;
            }
        }
        if moves.is_some() {
            self.spans.retain(|top, _| top.number > tip);
        }
        self.forkchoice = batch.forkchoice.unwrap_or(self.forkchoice);
        true
    }

    fn expect_same(&self, store: &dyn Backend, world: &World) {
        let state = store.load().unwrap();
        let mut spans = state.spans;
        spans.sort();
        assert_eq!(BlockNumHash::of(&state.tip), self.tip());
        assert_eq!(state.forkchoice, self.forkchoice);
        assert_eq!(state.keeps_receipts, self.keeps_receipts);
        assert_eq!(spans, self.spans.values().copied().collect::<Vec<_>>());
        assert_eq!(status(store).earliest, self.earliest());
        let from = self.earliest();
        let expected: Vec<_> = self.canonical.range(from..).map(|(_, hash)| *hash).collect();
        assert_eq!(canonical_hashes(store, from), expected);
        assert_eq!(store.load().unwrap().tip.number, self.tip().number);
        for expected in world.all() {
            let hash = expected.header.hash();
            let has_header = self.headers.contains_key(&hash);
            let has_body = self.bodies.contains(&hash);
            let found = store.find(&[hash]).unwrap().remove(0);
            let has_receipts = self.has_receipts(expected.num_hash());
            let halves = has_header.then_some((has_body, has_receipts));
            assert_eq!(found.map(|f| (f.has_body, f.has_receipts)), halves);
            let is_canonical = self.canonical.get(&expected.header.number) == Some(&hash);
            let served = (self.keeps_receipts && is_canonical).then(|| receipts_of(&expected));
            assert_eq!(receipts(store, &[hash]), Vec::from_iter(served));
            let expected = (has_header && has_body).then_some((expected, is_canonical));
            assert_eq!(block(store, HashOrNumber::Hash(hash)), expected);
        }
    }
}

/// Where no receipts are kept, every third batch brings some all the same.
fn behaves<S: Backend>(
    steps: &[Step],
    keeps_receipts: bool,
    mut store: S,
    mut reopen: impl FnMut(S) -> S,
) {
    let (world, mut model) = (World::new(), Model::new(keeps_receipts));
    let mut count = 0;
    for step in steps {
        match step {
            Step::Reopen => store = reopen(store),
            Step::Commit(wishes) => {
                let batch = |wish| {
                    count += 1;
                    batch_of(&world, wish, keeps_receipts || count % 3 == 0)
                };
                let batches: Vec<_> = wishes.iter().map(batch).collect();
                let verdicts = store.commit(&batches.iter().collect::<Vec<_>>());
                let expected: Vec<_> = batches.iter().map(|batch| model.apply(batch)).collect();
                let accepted: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
                assert_eq!(accepted, expected, "{verdicts:?}");
            }
        }
        model.expect_same(&store, &world);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_store_in_memory_behaves_as_the_model(steps in vec(step(), 1..12)) {
        behaves(&steps, false, Memory::new(&genesis(), CHAIN_ID).unwrap(), |store| store);
        let store = Memory::keeping_receipts(&genesis(), CHAIN_ID).unwrap();
        behaves(&steps, true, store, |store| store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn the_store_on_disk_behaves_as_the_model(steps in vec(step(), 1..12)) {
        for keeps_receipts in [false, true] {
            let dir = TempDir::new().unwrap();
            let open = |receipts| Disk::open(dir.path(), &genesis(), CHAIN_ID, receipts).unwrap();
            behaves(&steps, keeps_receipts, open(Some(keeps_receipts)), |store| {
                drop(store);
                open(None)
            });
        }
    }
}
