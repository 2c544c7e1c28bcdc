//! The one registry of what is wanted beside headers, forks included, for each kind of part: none is
//! asked for twice at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use moorline_messages::{BlockNumHash, Conduct, DownloadFailure, PeerId, RequestId, SealedHeader};
use moorline_rules::ChainSpec;

use super::{descent::Ask, part::Part, ready::Ready, retry::Retry};

/// Size at which an answer is aimed, below the 2 MiB at which peers stop (devp2p eth, soft limit).
const ANSWER_BYTES_AIM: usize = 1_500_000;

/// The size a part is taken to have before any was seen: small, since peers cut at two mebibytes what
/// turns out large, and many small requests would keep a slow peer busy for long.
const FIRST_GUESS_BYTES: usize = 12 * 1024;

/// Failures that one answer or one call may bring up; the rest follow at the next.
const FAILURES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the queue, or waiting to be retried.
    Wanted,
    Asked(RequestId),
    /// Proved, and on its way to the disk.
    Writing,
}

#[derive(Debug)]
struct Wanted {
    header: Arc<SealedHeader>,
    urgent: bool,
    retry: Retry,
    state: State,
}

/// A part that matched its header.
#[derive(Debug)]
pub(super) struct Proved<P: Part> {
    pub(super) block: BlockNumHash,
    pub(super) part: Arc<P>,
}

/// What an answer came to.
#[derive(Debug)]
pub(super) struct Harvest<P: Part> {
    pub(super) proved: Vec<Proved<P>>,
    pub(super) conduct: Option<Conduct>,
    pub(super) failures: Vec<(BlockNumHash, DownloadFailure)>,
    /// Parts that nobody wanted any more.
    pub(super) unneeded: u64,
}

impl<P: Part> Harvest<P> {
    const fn nothing_of(unneeded: u64) -> Self {
        Self { proved: Vec::new(), conduct: None, failures: Vec::new(), unneeded }
    }
}

/// A fetch that is out.
#[derive(Debug)]
struct Asked<P: Part> {
    /// With the key each part must have, which outlives the wish for it.
    blocks: Vec<(BlockNumHash, P::Key)>,
    /// What the answer will probably bring.
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Parts<P: Part> {
    wanted: BTreeMap<BlockNumHash, Wanted>,
    /// No longer wanted, but asked for together with others that are.
    on_the_way: BTreeMap<BlockNumHash, RequestId>,
    ready: Ready,
    waiting: BTreeSet<(Instant, BlockNumHash)>,
    asked: BTreeMap<RequestId, Asked<P>>,
    expected_bytes: usize,
    mean_bytes: usize,
}

impl<P: Part> Parts<P> {
    pub(super) fn new() -> Self {
        Self {
            wanted: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            ready: Ready::default(),
            waiting: BTreeSet::new(),
            asked: BTreeMap::new(),
            expected_bytes: 0,
            mean_bytes: FIRST_GUESS_BYTES,
        }
    }

    /// Registers a part; an urgent one goes first, even if it was registered as another.
    pub(super) fn want(&mut self, header: &Arc<SealedHeader>, urgent: bool) {
        let block = BlockNumHash::of(header);
        if let Some(wanted) = self.wanted.get_mut(&block) {
            if urgent && !wanted.urgent {
                wanted.urgent = true;
                self.ready.push_back(block, urgent);
            }
            return;
        }
        let state = match self.on_the_way.remove(&block) {
            Some(fetch) => State::Asked(fetch),
            None => {
                self.ready.push_back(block, urgent);
                State::Wanted
            }
        };
        let header = Arc::clone(header);
        let wanted = Wanted { header, urgent, retry: Retry::default(), state };
        self.wanted.insert(block, wanted);
    }

    /// Whether a part is wanted, or on its way to the disk.
    pub(super) fn wants(&self, block: &BlockNumHash) -> bool {
        self.wanted.contains_key(block)
    }

    /// How many fetches are out.
    pub(super) fn asked_fetches(&self) -> usize {
        self.asked.len()
    }

    /// How many parts are wanted, asked for or not.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Bytes that the answers under way will probably bring.
    pub(super) const fn expected_bytes(&self) -> usize {
        self.expected_bytes
    }

    fn take_asked(&mut self, fetch: RequestId) -> Option<Vec<(BlockNumHash, P::Key)>> {
        let asked = self.asked.remove(&fetch)?;
        self.expected_bytes = self.expected_bytes.saturating_sub(asked.bytes);
        if !self.on_the_way.is_empty() {
            self.on_the_way.retain(|_, by| *by != fetch);
        }
        Some(asked.blocks)
    }

    /// Forgets fetches of which no part is wanted any more, and says which they were.
    pub(super) fn forget_needless(&mut self) -> Vec<RequestId> {
        let wanted = &self.wanted;
        let is_needless = |(id, asked): (&RequestId, &Asked<P>)| {
            let waits = |block| wanted.get(block).is_some_and(|w| w.state == State::Asked(*id));
            (!asked.blocks.iter().any(|(block, _)| waits(block))).then_some(*id)
        };
        let needless: Vec<_> = self.asked.iter().filter_map(is_needless).collect();
        for fetch in &needless {
            self.take_asked(*fetch);
        }
        needless
    }

    /// Forgets whatever no download wants any more.
    pub(super) fn retain(&mut self, still_wanted: impl Fn(&BlockNumHash) -> bool) {
        let on_the_way = &mut self.on_the_way;
        self.wanted.retain(|block, wanted| {
            let keep = still_wanted(block);
            if let (false, State::Asked(fetch)) = (keep, wanted.state) {
                on_the_way.insert(*block, fetch);
            }
            keep
        });
        let wanted = &self.wanted;
        self.ready.retain(|block| wanted.contains_key(block));
        self.waiting.retain(|(_, block)| wanted.contains_key(block));
    }

    /// It is on disk, or nobody waits for it any more.
    pub(super) fn forget(&mut self, block: &BlockNumHash) {
        self.wanted.remove(block);
    }

    /// Whether the next request is urgent; `None` where nothing is to be asked for.
    pub(super) fn next_is_urgent(&mut self) -> Option<bool> {
        loop {
            let block = self.ready.front()?;
            match self.wanted.get(&block) {
                Some(wanted) if wanted.state == State::Wanted => return Some(wanted.urgent),
                _ => self.ready.pop_front(),
            }
        }
    }

    /// The next request, made of parts that share a history, oldest wish first. Its answer is to bring
    /// no more than `room_bytes`, but for a single part.
    pub(super) fn next_fetch(
        &mut self,
        fetch: RequestId,
        room_bytes: usize,
    ) -> Option<(Ask, bool)> {
        let most = ANSWER_BYTES_AIM.min(room_bytes).checked_div(self.mean_bytes).unwrap_or(1);
        let most = most.clamp(1, P::ITEMS_MAX);
        let mut asked = Vec::new();
        let mut history: Option<(Vec<PeerId>, bool)> = None;
        while asked.len() < most {
            let Some(block) = self.ready.front() else { break };
            let Some(wanted) = self.wanted.get_mut(&block).filter(|w| w.state == State::Wanted)
            else {
                self.ready.pop_front();
                continue;
            };
            let its_history = (wanted.retry.avoid(), wanted.urgent);
            if history.as_ref().is_some_and(|history| *history != its_history) {
                break;
            }
            history = Some(its_history);
            wanted.state = State::Asked(fetch);
            self.ready.pop_front();
            asked.push((block, P::key_in(&wanted.header)));
        }
        let (avoid, urgent) = history?;
        let items = P::ask(asked.iter().map(|(block, _)| *block).collect());
        // small blocks are followed by large ones some day, and then all that is out is large
        let least = asked.len().saturating_mul(FIRST_GUESS_BYTES).min(ANSWER_BYTES_AIM);
        let bytes = asked.len().saturating_mul(self.mean_bytes).max(least);
        self.expected_bytes = self.expected_bytes.saturating_add(bytes);
        self.asked.insert(fetch, Asked { blocks: asked, bytes });
        Some((Ask { items, avoid }, urgent))
    }

    /// Puts what has waited long enough back into the queue, whether or not there is a free slot: a
    /// wait that is over must not ask for a wakeup.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((at, block)) = self.waiting.first().copied() {
            if at > now {
                return;
            }
            self.waiting.pop_first();
            let urgent = self.wanted.get(&block).is_some_and(|wanted| wanted.urgent);
            self.ready.push_front(block, urgent);
        }
    }

    /// When a part that failed may be asked for again.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// A fetch brought nothing.
    pub(super) fn on_failed(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: Option<PeerId>,
        counts: bool,
    ) -> Vec<(BlockNumHash, DownloadFailure)> {
        let asked = self.take_asked(fetch).unwrap_or_default();
        self.put_back(now, fetch, &asked, peer, counts)
    }

    /// Forgets that anything was asked for: the peer manager lost it. Costs no attempt.
    pub(super) fn forget_asked(&mut self) {
        self.expected_bytes = 0;
        for (fetch, asked) in std::mem::take(&mut self.asked) {
            for (block, _) in asked.blocks.iter().rev() {
                let wanted = self.wanted.get_mut(block);
                if let Some(wanted) = wanted.filter(|w| w.state == State::Asked(fetch)) {
                    wanted.state = State::Wanted;
                    self.ready.push_front(*block, wanted.urgent);
                }
            }
        }
        self.on_the_way.clear();
    }

    fn put_back(
        &mut self,
        now: Instant,
        fetch: RequestId,
        blocks: &[(BlockNumHash, P::Key)],
        peer: Option<PeerId>,
        counts: bool,
    ) -> Vec<(BlockNumHash, DownloadFailure)> {
        let mut failures = Vec::new();
        for (block, _) in blocks.iter().rev() {
            let wanted = self.wanted.get_mut(block);
            let Some(wanted) = wanted.filter(|w| w.state == State::Asked(fetch)) else { continue };
            wanted.state = State::Wanted;
            wanted.retry.again(now, peer, counts);
            if wanted.retry.is_exhausted() && failures.len() < FAILURES_MAX {
                let attempts = wanted.retry.attempts();
                let failure = DownloadFailure::Unobtainable { hash: block.hash, attempts };
                failures.push((*block, failure));
            }
            match wanted.retry.due_at().filter(|at| *at > now) {
                Some(at) => {
                    self.waiting.insert((at, *block));
                }
                None => self.ready.push_front(*block, wanted.urgent),
            }
        }
        failures
    }

    /// Matches an answer by root, never by position. Each part comes with its proof, computed by whoever
    /// calls, and may come as often as blocks that were asked for have its key.
    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        spec: &ChainSpec,
        fetch: RequestId,
        peer: PeerId,
        answer: Vec<(P::Proof, Arc<P>)>,
    ) -> Harvest<P> {
        let Some(asked) = self.take_asked(fetch) else {
            return Harvest::nothing_of(answer.len() as u64);
        };
        let mut harvest = Harvest::nothing_of(0);
        let mut by_key = index::<P>(&asked);
        let too_many = answer.len() > asked.len();
        let mut last_served = None;
        let mut unasked = false;
        for (proof, part) in answer.into_iter().take(asked.len()) {
            if P::is_absence(&proof) {
                continue;
            }
            let places = P::key_of(&proof).and_then(|key| by_key.get_mut(&key));
            let Some((left, positions)) = places.filter(|(left, _)| *left > 0) else {
                unasked = true;
                break;
            };
            *left = left.saturating_sub(1);
            self.learn_size(part.weight_bytes());
            for (position, block) in positions {
                last_served = last_served.max(Some(*position));
                self.accept(spec, fetch, *block, (&proof, &part), &mut harvest);
            }
        }
        harvest.conduct = Some(if too_many {
            Conduct::TooMany
        } else if unasked {
            P::UNASKED
        } else if last_served.is_none() {
            Conduct::Lacked
        } else {
            Conduct::Served
        });
        let honest = !too_many && !unasked;
        self.put_back_rest(now, fetch, peer, &asked, last_served.filter(|_| honest), &mut harvest);
        harvest
    }

    /// What was skipped is asked of others; what follows the last part was only cut off.
    fn put_back_rest(
        &mut self,
        now: Instant,
        fetch: RequestId,
        peer: PeerId,
        asked: &[(BlockNumHash, P::Key)],
        last_served: Option<usize>,
        harvest: &mut Harvest<P>,
    ) {
        let (skipped, cut) = match last_served {
            Some(last) => asked.split_at(last.saturating_add(1).min(asked.len())),
            None => (asked, [].as_slice()),
        };
        for (block, _) in cut.iter().rev() {
            let wanted = self.wanted.get_mut(block);
            if let Some(wanted) = wanted.filter(|w| w.state == State::Asked(fetch)) {
                wanted.state = State::Wanted;
                self.ready.push_front(*block, wanted.urgent);
            }
        }
        harvest.failures.extend(self.put_back(now, fetch, skipped, Some(peer), true));
    }

    fn accept(
        &mut self,
        spec: &ChainSpec,
        fetch: RequestId,
        block: BlockNumHash,
        (proof, part): (&P::Proof, &Arc<P>),
        harvest: &mut Harvest<P>,
    ) {
        let Some(wanted) = self.wanted.get_mut(&block) else { return };
        if wanted.state != State::Asked(fetch) {
            return;
        }
        wanted.state = State::Writing;
        // no peer's fault: the roots are right
        match P::validate(spec, &wanted.header, (proof, part)) {
            Ok(()) => harvest.proved.push(Proved { block, part: Arc::clone(part) }),
            Err(breach) => {
                harvest.failures.push((block, DownloadFailure::Invalid { block, breach }));
            }
        }
    }

    /// An answer's size follows the last parts seen, one part in sixteen each.
    fn learn_size(&mut self, bytes: usize) {
        let sixteenth = |value: usize| value.checked_div(16).unwrap_or(0);
        let kept = self.mean_bytes.saturating_sub(sixteenth(self.mean_bytes));
        self.mean_bytes = kept.saturating_add(sixteenth(bytes)).max(16);
    }
}

/// How often a part of some key may come, and where in the request the blocks with it stand.
type Places = (usize, Vec<(usize, BlockNumHash)>);

/// Equal blocks share one part.
fn index<P: Part>(asked: &[(BlockNumHash, P::Key)]) -> BTreeMap<P::Key, Places> {
    let mut by_key: BTreeMap<P::Key, Places> = BTreeMap::new();
    for (position, (block, key)) in asked.iter().enumerate() {
        let (times, places) = by_key.entry(*key).or_default();
        *times = times.saturating_add(1);
        places.push((position, *block));
    }
    by_key
}
