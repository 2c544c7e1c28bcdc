//! What the consensus client asks, and the honest answers (execution-apis, `paris.md`).

use std::sync::Arc;

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{Block, BlockNumHash, Forkchoice, SealedHeader, TreeVerdict};
use moorline_rules::{
    body::validate_body,
    header::{validate_header_against_parent, validate_header_alone},
};

use super::{Core, Effect, intake::above_invalid, pursuit::Target};
use crate::SyncTrigger;

/// A disconnected payload starts a download of its own only if it is no farther above the tip: nothing in
/// between may become canonical before a forkchoice names it, so all of it must fit in memory.
const PREFETCH_BLOCKS_MAX: u64 = 1_024;

impl Core {
    /// `engine_forkchoiceUpdated`.
    pub(super) fn on_forkchoice(
        &mut self,
        forkchoice: Forkchoice,
        effects: &mut Vec<Effect>,
    ) -> TreeVerdict {
        let head = forkchoice.head;
        if head == B256::ZERO {
            return TreeVerdict::Inconsistent { reason: "the head hash is zero".to_owned() };
        }
        if let Some(reason) = self.invalid.ask(&head) {
            return TreeVerdict::Invalid { reason };
        }
        if let Err(reason) = self.check_consistency(&forkchoice) {
            return TreeVerdict::Inconsistent { reason };
        }
        if self.forkchoice.replace(forkchoice) != Some(forkchoice) {
            self.ledger.follow(forkchoice);
        }
        if head == self.genesis_hash() {
            self.drop_target(effects);
            return TreeVerdict::Valid;
        }
        self.retarget(head);
        TreeVerdict::Syncing
    }

    /// Safe and finalized must lie on the head's chain, in this order from below, as far as what is
    /// here can prove it. Below the genesis block there is nothing.
    fn check_consistency(&self, forkchoice: &Forkchoice) -> Result<(), String> {
        let mut above = forkchoice.head;
        for (name, hash) in [("safe", forkchoice.safe), ("finalized", forkchoice.finalized)] {
            if hash == B256::ZERO {
                continue;
            }
            if above == self.genesis_hash() && hash != above {
                return Err(format!("the {name} block {hash} is not the genesis block"));
            }
            let Some(number) = self.header(&hash).map(|header| header.number) else { continue };
            if self.ancestor(&above, number).is_some_and(|ancestor| ancestor != hash) {
                return Err(format!("the {name} block {hash} is not an ancestor of {above}"));
            }
            above = hash;
        }
        Ok(())
    }

    /// The ancestor of a block at a height: the block itself at its own, zero above it (no block has
    /// that hash), `None` where the way down is not known.
    fn ancestor(&self, hash: &B256, number: BlockNumber) -> Option<B256> {
        let mut header = self.header(hash)?;
        if header.number < number {
            return Some(B256::ZERO);
        }
        while header.number > number {
            if self.chain.is_canonical(header) {
                return self.chain.canonical_at(number);
            }
            header = self.header(&header.parent_hash)?;
        }
        Some(header.hash())
    }

    /// `engine_newPayload`, for a block whose hash is right.
    pub(super) fn on_payload(&mut self, block: &Block, effects: &mut Vec<Effect>) -> TreeVerdict {
        let header = &block.header;
        let hash = header.hash();
        if hash == self.genesis_hash() {
            return TreeVerdict::Valid;
        }
        if let Some(reason) = self.invalid.ask(&hash) {
            return TreeVerdict::Invalid { reason };
        }
        if self.header(&hash).is_some() {
            return self.verdict_on(header);
        }
        if self.invalid.ask(&header.parent_hash).is_some() {
            return self.condemn_payload(header, above_invalid(header), effects);
        }
        let spec = &self.config.spec;
        let judged = validate_header_alone(spec, header)
            .and_then(|()| validate_body(spec, header, &block.body));
        if let Err(breach) = judged {
            return self.condemn_payload(header, breach.to_string(), effects);
        }
        if !self.is_ready() || !self.ledger.has_room_for(block) {
            return TreeVerdict::Syncing;
        }
        if self.keeps_receipts {
            return self.on_payload_without_receipts(block, effects);
        }
        if let Err(reason) = self.take_in(Arc::clone(header), false, effects) {
            return TreeVerdict::Invalid { reason };
        }
        let id = self.ids.take();
        effects.push(Effect::Store(self.ledger.keep(id, block)));
        self.prefetch(header);
        self.verdict_on(header)
    }

    /// `engine_newPayload`, for a block whose hash is right and which was found to be bad before it came here.
    /// It may be here all the same, from a peer.
    pub(super) fn on_bad_payload(
        &mut self,
        header: &Arc<SealedHeader>,
        reason: String,
        effects: &mut Vec<Effect>,
    ) -> TreeVerdict {
        if header.hash() == self.genesis_hash() {
            return TreeVerdict::Valid;
        }
        match self.invalid.ask(&header.hash()) {
            Some(reason) => TreeVerdict::Invalid { reason },
            None => self.condemn_payload(header, reason, effects),
        }
    }

    /// Where receipts are kept, a payload is not the whole block: it is judged and stored, and comes in by
    /// the downloader once it lies under a head that is named.
    fn on_payload_without_receipts(
        &mut self,
        block: &Block,
        effects: &mut Vec<Effect>,
    ) -> TreeVerdict {
        let header = &block.header;
        if let Err(reason) = self.judge_incomplete(header) {
            return self.condemn_payload(header, reason, effects);
        }
        if self.incomplete.number(&header.hash()).is_none() {
            self.incomplete.insert(header);
            let id = self.ids.take();
            effects.push(Effect::Store(self.ledger.keep(id, block)));
            self.prefetch(header);
        }
        let root = self.chain.branch_root(&header.parent_hash);
        let is_aside = root.is_some_and(|root| root.hash() != self.chain.tip().hash());
        if is_aside { TreeVerdict::Accepted } else { TreeVerdict::Syncing }
    }

    fn judge_incomplete(&self, header: &SealedHeader) -> Result<(), String> {
        self.judge_alone(header)?;
        let Some(parent) = self.header(&header.parent_hash) else { return Ok(()) };
        let judged = validate_header_against_parent(&self.config.spec, header, parent);
        judged.map_err(|breach| breach.to_string())
    }

    fn condemn_payload(
        &mut self,
        header: &Arc<SealedHeader>,
        reason: String,
        effects: &mut Vec<Effect>,
    ) -> TreeVerdict {
        self.condemn(BlockNumHash::of(header), reason.clone(), effects);
        TreeVerdict::Invalid { reason }
    }

    /// A block that is here and not known to be wrong. On top of the canonical chain it would have to
    /// be executed; beside it, it need not be (paris, payload validation 2 and 3).
    fn verdict_on(&self, header: &SealedHeader) -> TreeVerdict {
        let is_aside = !self.chain.is_canonical(header)
            && self
                .chain
                .branch_root(&header.hash())
                .is_some_and(|root| root.hash() != self.chain.tip().hash());
        if is_aside { TreeVerdict::Accepted } else { TreeVerdict::Syncing }
    }

    /// Lets a disconnected payload fetch its own ancestors, where that is wanted.
    fn prefetch(&mut self, header: &Arc<SealedHeader>) {
        let is_idle = self.target.as_ref().is_none_or(Target::is_over);
        let is_near = header.number.saturating_sub(self.chain.tip().number) <= PREFETCH_BLOCKS_MAX;
        let is_apart = if self.keeps_receipts {
            !self.chain.contains(&header.parent_hash)
        } else {
            self.buffer.contains(&header.hash())
        };
        if self.config.sync_trigger == SyncTrigger::ForkchoiceAndPayload
            && is_idle
            && is_near
            && is_apart
        {
            // what lacks its receipts is asked for like what lacks all
            let seen = (!self.keeps_receipts).then(|| Arc::clone(header));
            self.target = Some(Target::prefetched(header.hash(), seen));
        }
    }
}
