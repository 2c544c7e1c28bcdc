//! How blocks come in: judged, connected or buffered, and made canonical under the target.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use alloy_primitives::B256;
use moorline_messages::{BlockNumHash, Breach, SealedHeader};
use moorline_rules::header::{validate_header_against_parent, validate_header_alone};

use super::{Core, Effect, buffer::Buffered};

impl Core {
    /// Takes a header in. `followed` says that it is proved to lie under a head that the consensus
    /// client named. The error is the reason why it is invalid; it is remembered by then.
    pub(super) fn take_in(
        &mut self,
        header: Arc<SealedHeader>,
        followed: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let hash = header.hash();
        if self.chain.contains(&hash) {
            self.note_followed(&header, followed);
            return Ok(());
        }
        if let Some(target) = self.target.as_mut().filter(|target| target.head == hash) {
            target.header = Some(Arc::clone(&header));
        }
        let known = self.invalid.reason(&hash).map(str::to_owned);
        let known = known.or_else(|| self.why_above_invalid(&header));
        let judged = known.map_or(Ok(()), Err);
        if let Err(reason) = judged.and_then(|()| self.judge_alone(&header)) {
            self.condemn(BlockNumHash::of(&header), reason.clone(), effects);
            return Err(reason);
        }
        let is_floor = followed && self.is_floor(&header);
        if self.chain.contains(&header.parent_hash) || is_floor {
            self.buffer.remove(&hash);
            return self.connect(header, followed, effects);
        }
        // the lowest headers stay longest in the buffer, and these would stay for ever
        if !self.chain.is_out_of_reach(header.number) {
            self.buffer.insert(header, followed);
        }
        Ok(())
    }

    /// Why a block is invalid whose parent is.
    fn why_above_invalid(&self, header: &SealedHeader) -> Option<String> {
        self.invalid.reason(&header.parent_hash).map(|_| above_invalid(header))
    }

    pub(super) fn judge_alone(&self, header: &SealedHeader) -> Result<(), String> {
        let genesis = self.genesis_hash();
        if header.number == 0 || (header.number == 1 && header.parent_hash != genesis) {
            let breach = Breach::ParentHash { found: header.parent_hash, expected: genesis };
            return Err(breach.to_string());
        }
        validate_header_alone(&self.config.spec, header).map_err(|breach| breach.to_string())
    }

    /// Whether nothing below this block is wanted: it stands without a parent, in an empty store.
    fn is_floor(&self, header: &SealedHeader) -> bool {
        let floor = self.config.floor;
        floor > 1 && header.number == floor && self.chain.is_at_genesis()
    }

    /// Connects a header and everything buffered above it. What is wrong above it is condemned; the
    /// error concerns the header itself.
    fn connect(
        &mut self,
        header: Arc<SealedHeader>,
        followed: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        self.connect_one(&header, followed).inspect_err(|reason| {
            self.condemn(BlockNumHash::of(&header), reason.clone(), effects);
        })?;
        self.connect_children(header.hash(), effects);
        Ok(())
    }

    /// Connects what is buffered above a connected block.
    pub(super) fn connect_children(&mut self, parent: B256, effects: &mut Vec<Effect>) {
        let mut parents = VecDeque::from([parent]);
        while let Some(parent) = parents.pop_front() {
            for Buffered { header, followed } in self.buffer.take_children(&parent) {
                match self.connect_one(&header, followed) {
                    Ok(()) => parents.push_back(header.hash()),
                    Err(reason) => self.condemn(BlockNumHash::of(&header), reason, effects),
                }
            }
        }
    }

    /// Connects whatever is buffered and has its parent here by now.
    pub(super) fn connect_buffered(&mut self, effects: &mut Vec<Effect>) {
        for parent in self.buffer.missing_parents() {
            if self.chain.contains(&parent) {
                self.connect_children(parent, effects);
            }
        }
    }

    fn connect_one(&mut self, header: &Arc<SealedHeader>, followed: bool) -> Result<(), String> {
        if let Some(parent) = self.chain.get(&header.parent_hash) {
            validate_header_against_parent(&self.config.spec, header, parent)
                .map_err(|breach| breach.to_string())?;
            self.chain.connect(Arc::clone(header));
        } else {
            self.chain.connect_anchor(Arc::clone(header));
        }
        self.note_followed(header, followed);
        Ok(())
    }

    fn note_followed(&mut self, header: &Arc<SealedHeader>, followed: bool) {
        if followed && self.followed.as_ref().is_none_or(|best| best.number < header.number) {
            self.followed = Some(Arc::clone(header));
        }
    }

    /// Remembers that a block breaks a rule, and with it everything above it that is here. What of it is
    /// canonical is so no longer.
    pub(super) fn condemn(
        &mut self,
        block: BlockNumHash,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Warn(format!("block {block} is invalid: {reason}")));
        let ancestor = Breach::Ancestor(block).to_string();
        self.buffer.remove(&block.hash);
        self.invalid.insert(block.hash, reason.clone());
        let mut doomed = self.cut_off(block, effects);
        doomed.insert(block.hash);
        for hash in doomed.clone() {
            let above = self.buffer.take_descendants(&hash);
            doomed.extend(above.iter().map(|header| header.hash()));
        }
        if let Some(header) = self.target.as_ref().and_then(|target| target.header.as_ref())
            && doomed.contains(&header.parent_hash)
        {
            doomed.insert(header.hash());
        }
        for hash in &doomed {
            self.invalid.insert(*hash, ancestor.clone());
        }
        if self.target.as_ref().is_some_and(|target| doomed.contains(&target.head)) {
            self.give_up_target(&reason, effects);
        }
    }

    /// Takes a connected block and everything above it out of the chain, the tip back below it first.
    fn cut_off(&mut self, block: BlockNumHash, effects: &mut Vec<Effect>) -> BTreeSet<B256> {
        let Some(header) = self.chain.get(&block.hash) else { return BTreeSet::new() };
        let parent = header.parent_hash;
        if self.chain.is_canonical(header) {
            // what is read anew from the store is not there yet, and judged when it is
            if !self.is_ready() || !self.chain.contains(&parent) {
                return BTreeSet::new();
            }
            self.move_tip(&parent, effects);
        }
        let cut = self.chain.cut(block);
        self.followed = self.followed.take().filter(|best| !cut.contains(&best.hash()));
        cut
    }

    /// Moves the tip to the target, or as far towards it as is known. What a payload alone asked for is
    /// fetched and connected, and becomes canonical once a forkchoice names it.
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
        self.connect_target(effects);
        let best = self.followed.take();
        let Some(target) = self.target.as_mut() else { return };
        let is_soft = target.is_soft;
        if self.chain.contains(&target.head) {
            let was_reached = std::mem::replace(&mut target.is_reached, true);
            let head = target.head;
            if !was_reached {
                self.finish_target(effects);
            }
            if !is_soft {
                self.move_tip(&head, effects);
            }
        } else if let Some(best) = best
            && !is_soft
            && best.number > self.chain.tip().number
        {
            self.move_tip(&best.hash(), effects);
        }
    }

    /// The target's header may have been too far away to be buffered; it is at hand all the same.
    fn connect_target(&mut self, effects: &mut Vec<Effect>) {
        let Some(header) = self.target.as_ref().and_then(|target| target.header.clone()) else {
            return;
        };
        let is_new = !self.chain.contains(&header.hash());
        if is_new && (self.chain.contains(&header.parent_hash) || self.is_floor(&header)) {
            // a breach is remembered and ends the target
            drop(self.take_in(header, true, effects));
        }
    }

    fn move_tip(&mut self, hash: &B256, effects: &mut Vec<Effect>) {
        let from = BlockNumHash::of(self.chain.tip());
        let Some(names) = self.chain.set_tip(hash) else {
            self.chain.forget_sides();
            if let Some(target) = self.target.as_mut() {
                target.is_reached = false;
            }
            self.status.trouble = Some(format!("the branch of block {hash} is too long to follow"));
            return;
        };
        let is_reorg = names.first().is_some_and(|first| first.number <= from.number);
        if is_reorg {
            let to = BlockNumHash::of(self.chain.tip());
            effects.push(Effect::Note(format!("the chain was reorganised from {from} to {to}")));
        }
        if !names.is_empty() {
            self.bridge_blocks = 1;
            if self.target.as_ref().is_none_or(|target| !target.is_invalid) {
                self.status.trouble = None;
            }
        }
        self.ledger.canonize(names);
    }
}

/// What is wrong with a block whose parent is invalid: not what is wrong with its parent.
pub(super) fn above_invalid(header: &SealedHeader) -> String {
    let parent = BlockNumHash::new(header.number.saturating_sub(1), header.parent_hash);
    Breach::Ancestor(parent).to_string()
}
