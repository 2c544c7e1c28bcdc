//! Walking node lists: which name to ask for next, and what to make of the answer. No DNS here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::entry::{Entry, EntryError, Label, Root, TEXT_BYTES_MAX, TreeLink};
use crate::record::SignedRecord;

/// Lists that are walked at most, those that others link to included.
pub(crate) const TREES_MAX: usize = 8;
/// Names of one list that are asked for at most.
pub(crate) const NAMES_PER_TREE_MAX: usize = 16_384;
/// How long to wait after a root could not be had.
const ROOT_RETRY: Duration = Duration::from_secs(60);
/// A name that could not be had is asked for so often.
const NAME_TRIES: u8 = 3;

/// Which half of a list a name belongs to: records may not stand among links, nor links among
/// records (EIP-1459).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Links,
    Records,
}

/// A name that is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    label: Label,
    half: Half,
    tries: u8,
}

/// What is asked of DNS now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The name whose TXT record is wanted.
    pub(crate) name: String,
    tree: TreeLink,
    wanted: Option<Wanted>,
}

/// What an answer brought.
#[derive(Debug)]
pub(crate) enum Found {
    /// A node.
    Record(Box<SignedRecord>),
    /// Something that leads on, or nothing new.
    Nothing,
}

#[derive(Debug)]
struct Tree {
    seq: Option<u64>,
    root_at: Instant,
    wanted: Vec<Wanted>,
    seen: BTreeSet<Label>,
}

impl Tree {
    fn new(now: Instant) -> Self {
        Self { seq: None, root_at: now, wanted: Vec::new(), seen: BTreeSet::new() }
    }

    fn want(&mut self, label: Label, half: Half) {
        if self.seen.len() < NAMES_PER_TREE_MAX && self.seen.insert(label.clone()) {
            self.wanted.push(Wanted { label, half, tries: 0 });
        }
    }
}

/// Some lists, walked in random order so that not every node dials the same ones first.
#[derive(Debug)]
pub(crate) struct Walk {
    trees: BTreeMap<TreeLink, Tree>,
    recheck_every: Duration,
    rng: StdRng,
}

impl Walk {
    pub(crate) fn new(
        links: impl IntoIterator<Item = TreeLink>,
        recheck_every: Duration,
        randomness: u64,
        now: Instant,
    ) -> Self {
        let trees = links.into_iter().take(TREES_MAX).map(|link| (link, Tree::new(now))).collect();
        Self { trees, recheck_every, rng: StdRng::seed_from_u64(randomness) }
    }

    /// What to ask now, if anything: roots that are due first, then names in random order.
    pub(crate) fn next_question(&mut self, now: Instant) -> Option<Question> {
        let due = self.trees.iter_mut().find(|(_, tree)| tree.root_at <= now);
        if let Some((link, tree)) = due {
            tree.root_at = later(now, self.recheck_every);
            let name = link.domain.clone();
            return Some(Question { name, tree: link.clone(), wanted: None });
        }
        let (link, tree) = self.trees.iter_mut().find(|(_, tree)| !tree.wanted.is_empty())?;
        let at = self.rng.random_range(0..tree.wanted.len());
        let wanted = tree.wanted.swap_remove(at);
        let name = wanted.label.name_under(&link.domain);
        Some(Question { name, tree: link.clone(), wanted: Some(wanted) })
    }

    /// Nobody knew the answer.
    pub(crate) fn unanswered(&mut self, question: Question, now: Instant) {
        let Some(tree) = self.trees.get_mut(&question.tree) else { return };
        match question.wanted {
            None => tree.root_at = later(now, ROOT_RETRY.min(self.recheck_every)),
            Some(wanted) if wanted.tries.saturating_add(1) < NAME_TRIES => {
                tree.wanted.push(Wanted { tries: wanted.tries.saturating_add(1), ..wanted });
            }
            Some(_) => {}
        }
    }

    /// Takes the texts of a name: the one that verifies counts, others are other people's.
    pub(crate) fn answered(
        &mut self,
        question: Question,
        texts: &[String],
        now: Instant,
    ) -> Result<Found, EntryError> {
        let mut outcome = Err(EntryError::Syntax);
        for text in texts.iter().filter(|text| text.len() <= TEXT_BYTES_MAX) {
            outcome = match &question.wanted {
                None => Root::verified(text, &question.tree)
                    .map(|root| self.take_root(&question.tree, root)),
                Some(wanted) => Entry::verified(text, &wanted.label)
                    .and_then(|entry| self.take_entry(&question.tree, wanted.half, entry, now)),
            };
            if outcome.is_ok() {
                return outcome;
            }
        }
        self.unanswered(question, now);
        outcome
    }

    /// A list goes only forwards: an older root is a replay.
    pub(crate) fn take_root(&mut self, link: &TreeLink, root: Root) -> Found {
        if let Some(tree) = self.trees.get_mut(link)
            && tree.seq.is_none_or(|seq| root.seq > seq)
        {
            tree.seq = Some(root.seq);
            tree.wanted.clear();
            tree.seen.clear();
            tree.want(root.links, Half::Links);
            tree.want(root.records, Half::Records);
        }
        Found::Nothing
    }

    fn take_entry(
        &mut self,
        link: &TreeLink,
        half: Half,
        entry: Entry,
        now: Instant,
    ) -> Result<Found, EntryError> {
        match (entry, half) {
            (Entry::Branch(children), _) => {
                if let Some(tree) = self.trees.get_mut(link) {
                    children.into_iter().for_each(|child| tree.want(child, half));
                }
                Ok(Found::Nothing)
            }
            (Entry::Link(to), Half::Links) => {
                if self.trees.len() < TREES_MAX {
                    self.trees.entry(to).or_insert_with(|| Tree::new(now));
                }
                Ok(Found::Nothing)
            }
            (Entry::Record(record), Half::Records) => Ok(Found::Record(record)),
            (Entry::Link(_), Half::Records) | (Entry::Record(_), Half::Links) => {
                Err(EntryError::Syntax)
            }
        }
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}
