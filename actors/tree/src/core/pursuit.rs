//! The standing target: what it still needs, and who was asked for it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, BlockNumber};
use moorline_messages::{DownloadRequest, RequestId, SealedHeader, TreeEvent};

use super::{ASK_AGAIN, Core, Effect};

/// A new target at most this far above the range of the last one is fetched down to that range only.
const JOIN_BLOCKS_MAX: u64 = 512;

/// A head to reach.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) head: B256,
    /// Its header, once it was seen.
    pub(crate) header: Option<Arc<SealedHeader>>,
    /// Named by a payload only: fetched, but not followed against what the forkchoice says.
    pub(crate) is_soft: bool,
    pub(crate) is_reached: bool,
    /// It, or something under it, breaks a rule.
    pub(crate) is_invalid: bool,
    pub(crate) failures: u32,
    pub(crate) paused_until: Option<Instant>,
}

impl Target {
    const fn named(head: B256, header: Option<Arc<SealedHeader>>) -> Self {
        Self {
            head,
            header,
            is_soft: false,
            is_reached: false,
            is_invalid: false,
            failures: 0,
            paused_until: None,
        }
    }

    /// Whether it stands in the way of nothing: it is here, or a payload named it in vain.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_reached || (self.is_soft && (self.is_invalid || self.failures > 0))
    }

    pub(crate) const fn prefetched(head: B256, header: Option<Arc<SealedHeader>>) -> Self {
        let mut target = Self::named(head, header);
        target.is_soft = true;
        target
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Block(B256),
    Range {
        head: B256,
        /// The head's height.
        top: BlockNumber,
        count: u64,
    },
}

/// A request that is out.
#[derive(Debug)]
pub(crate) struct Download {
    id: RequestId,
    /// The target it is known to lie under.
    serves: B256,
    pub(crate) want: Want,
    pub(crate) heard_at: Instant,
    /// The first block it delivered.
    pub(crate) bottom: Option<Arc<SealedHeader>>,
}

impl Download {
    fn request(&self) -> DownloadRequest {
        match self.want {
            Want::Block(hash) => {
                DownloadRequest::BlockSet { id: self.id, hashes: BTreeSet::from([hash]) }
            }
            Want::Range { head, count, .. } => {
                DownloadRequest::BlockRange { id: self.id, head, count }
            }
        }
    }

    pub(crate) const fn top(&self) -> Option<BlockNumber> {
        match self.want {
            Want::Block(_) => None,
            Want::Range { top, .. } => Some(top),
        }
    }
}

impl Core {
    /// Follows a head. Naming the standing target again changes nothing.
    pub(super) fn retarget(&mut self, head: B256) {
        let stands = self
            .target
            .as_ref()
            .is_some_and(|target| target.head == head && !target.is_soft && !target.is_invalid);
        if !stands {
            self.target = Some(Target::named(head, self.header(&head).cloned()));
            self.last_want = None;
            self.bridge_blocks = 1;
            self.status.trouble = None;
        }
    }

    /// Nothing is to be reached any longer.
    pub(super) fn drop_target(&mut self, effects: &mut Vec<Effect>) {
        self.target = None;
        self.cancel_all(effects);
    }

    /// The target is here: what is still out for it is of no use.
    pub(super) fn finish_target(&mut self, effects: &mut Vec<Effect>) {
        self.cancel_all(effects);
        self.status.trouble = None;
    }

    /// The target will never be reached.
    pub(super) fn give_up_target(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        if let Some(target) = self.target.as_mut() {
            target.is_invalid = true;
            self.status.trouble = Some(reason.to_owned());
        }
        self.cancel_all(effects);
        self.buffer.unfollow();
    }

    /// Memory is about to be read anew: the target stands, what is known of it does not.
    pub(super) fn suspend_target(&mut self, effects: &mut Vec<Effect>) {
        self.cancel_all(effects);
        self.followed = None;
        if let Some(target) = self.target.as_mut() {
            target.header = None;
            target.is_reached = false;
        }
    }

    /// A request brought something invalid: so is the target, if the request is known to lie under it.
    pub(super) fn condemn_served(
        &mut self,
        slot: Slot,
        download: &Download,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        if slot == Slot::Base {
            self.buffer.unfollow();
        } else if download.serves == self.target_head() {
            let text = format!("an ancestor is invalid: {reason}");
            self.invalid.insert(download.serves, text);
            self.give_up_target(reason, effects);
        }
    }

    fn target_head(&self) -> B256 {
        self.target.as_ref().map_or(B256::ZERO, |target| target.head)
    }

    fn cancel_all(&mut self, effects: &mut Vec<Effect>) {
        for slot in [&mut self.main, &mut self.bridge, &mut self.base] {
            if let Some(download) = slot.take() {
                cancel(&download, effects);
            }
        }
        self.last_want = None;
        self.retry_at = None;
    }

    /// The downloader lost its memory: what is still wanted is asked anew.
    pub(super) fn forget_downloads(&mut self) {
        (self.main, self.bridge, self.base) = (None, None, None);
        self.last_want = None;
    }

    /// Asks for what the target needs next, unless that is under way.
    pub(super) fn pursue(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.retry_at = None;
        let Some(target) = self.target.as_ref() else { return };
        if target.is_reached || target.is_invalid {
            return;
        }
        // what the consensus client delivered is looked for in the store, once it is there
        if target.header.is_none() && self.ledger.is_keeping(&target.head) {
            return;
        }
        if let Some(until) = target.paused_until.filter(|until| now < *until) {
            self.retry_at = Some(until);
            return;
        }
        if let Some(want) = self.next_want(effects) {
            let want = self.sort_out(want, effects);
            if self.main.is_none() && !self.ended_lately(now, want) {
                self.main = Some(self.ask(now, want, effects));
            }
            self.bridge(now, effects);
        }
        if self.main.is_none() {
            self.retry_at = Some(after(now, ASK_AGAIN));
        }
    }

    fn ask(&mut self, now: Instant, want: Want, effects: &mut Vec<Effect>) -> Download {
        let serves = self.target_head();
        let download = Download { id: self.ids.take(), serves, want, heard_at: now, bottom: None };
        effects.push(Effect::Emit(TreeEvent::Download(download.request())));
        download
    }

    fn ended_lately(&self, now: Instant, want: Want) -> bool {
        self.last_want.is_some_and(|(last, at)| last == want && now < after(at, ASK_AGAIN))
    }

    /// The highest block that is missing under the target, and how many below it.
    fn next_want(&mut self, effects: &mut Vec<Effect>) -> Option<Want> {
        let target = self.target.as_ref()?;
        let Some(header) = target.header.as_ref() else { return Some(self.want_head(target.head)) };
        let lowest = self.buffer.lowest_below(header);
        self.want_below(&lowest, effects)
    }

    /// A head of which nothing but its name is known, or its height too: then what lies under it is
    /// asked for with it, and does not wait for it.
    fn want_head(&self, head: B256) -> Want {
        let here = self.highest_kept();
        match self.incomplete.number(&head).filter(|top| *top > here) {
            Some(top) => Want::Range { head, top, count: top.saturating_sub(here) },
            None => Want::Block(head),
        }
    }

    /// The height down to which a run from above goes.
    fn highest_kept(&self) -> BlockNumber {
        if self.chain.is_at_genesis() {
            self.config.floor.max(1).saturating_sub(1)
        } else {
            self.chain.tip().number
        }
    }

    /// The run that should connect a header: down to the tip, or a bridge where the chain it lies on
    /// has left ours below the tip.
    fn want_below(&mut self, child: &SealedHeader, effects: &mut Vec<Effect>) -> Option<Want> {
        let head = child.parent_hash;
        let top = child.number.saturating_sub(1);
        let floor = self.config.floor.max(1);
        let here = self.highest_kept();
        if top > here {
            return Some(Want::Range { head, top, count: top.saturating_sub(here) });
        }
        if top < floor {
            self.status.trouble = Some(format!("block {head} lies below {floor}, the lowest kept"));
            return None;
        }
        if self.extend_window(top, effects) {
            return None;
        }
        let room = top.saturating_sub(floor).saturating_add(1);
        Some(Want::Range { head, top, count: self.bridge_blocks.min(room) })
    }

    /// Decides what becomes of the requests that are out, given what is wanted now. Gives the want
    /// back, shortened where a former target's range covers the rest.
    fn sort_out(&mut self, want: Want, effects: &mut Vec<Effect>) -> Want {
        let target = self.target_head();
        if self.main.as_ref().is_some_and(|download| self.covers(download, want)) {
            self.main.iter_mut().for_each(|download| download.serves = target);
            self.drop_left_behind(want, effects);
            return want;
        }
        let old = self.main.take();
        for slot in [Slot::Bridge, Slot::Base] {
            if self.slot(slot).as_ref().is_some_and(|download| self.covers(download, want)) {
                self.main = self.slot_mut(slot).take();
                self.main.iter_mut().for_each(|download| download.serves = target);
                old.iter().for_each(|download| cancel(download, effects));
                return want;
            }
        }
        if let Some(bridge) = self.bridge.take() {
            cancel(&bridge, effects);
        }
        match old {
            Some(range) if range.top().is_some() && self.base.is_none() => self.base = Some(range),
            Some(other) => cancel(&other, effects),
            None => {}
        }
        self.join_base(want, effects)
    }

    /// A former target's range is worth keeping while the new target is unknown or above it.
    fn join_base(&mut self, want: Want, effects: &mut Vec<Effect>) -> Want {
        let Want::Range { head, top, .. } = want else { return want };
        let Some(base_top) = self.base.as_ref().and_then(Download::top) else { return want };
        let above = top.saturating_sub(base_top);
        if above > 0 && above <= JOIN_BLOCKS_MAX {
            return Want::Range { head, top, count: above };
        }
        self.drop_base(effects);
        want
    }

    /// Below the top of a former target's range that it did not meet, the target lies on a fork.
    fn drop_left_behind(&mut self, want: Want, effects: &mut Vec<Effect>) {
        let base_top = self.base.as_ref().and_then(Download::top);
        if let (Want::Range { top, .. }, Some(base_top)) = (want, base_top)
            && top <= base_top
        {
            self.drop_base(effects);
        }
    }

    pub(super) fn drop_base(&mut self, effects: &mut Vec<Effect>) {
        if let Some(base) = self.base.take() {
            cancel(&base, effects);
            self.buffer.unfollow();
            self.followed = None;
        }
    }

    /// Whether a request brings what is wanted.
    fn covers(&self, download: &Download, want: Want) -> bool {
        match (download.want, want) {
            (Want::Block(asked), Want::Block(wanted)) => asked == wanted,
            (Want::Range { head, top, count }, Want::Range { top: wanted, .. }) => {
                let reaches = top.saturating_sub(wanted) < count;
                let leads_on = head == self.target_head() || self.is_under_target(&head);
                reaches && wanted <= top && leads_on
            }
            (Want::Block(_), Want::Range { .. }) | (Want::Range { .. }, Want::Block(_)) => false,
        }
    }

    /// Whether the buffered run below the target passes a block or ends right above it.
    fn is_under_target(&self, hash: &B256) -> bool {
        let mut header = self.target.as_ref().and_then(|target| target.header.as_ref());
        while let Some(above) = header {
            if above.parent_hash == *hash {
                return true;
            }
            header = self.buffer.get(&above.parent_hash);
        }
        false
    }

    /// Where a range has begun to arrive and does not link, looks for the common ancestor meanwhile.
    fn bridge(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let bottom = self.main.as_ref().and_then(|download| download.bottom.clone());
        let Some(bottom) = bottom.filter(|bottom| self.buffer.contains(&bottom.hash())) else {
            return;
        };
        let lowest = self.buffer.lowest_below(&bottom);
        let Some(want) = self.want_below(&lowest, effects) else { return };
        let Want::Range { head, top, .. } = want else { return };
        let is_above_tip = top > self.chain.tip().number;
        let is_asked = [&self.main, &self.bridge].into_iter().flatten().any(
            |download| matches!(download.want, Want::Range { head: asked, .. } if asked == head),
        );
        if is_above_tip || is_asked || self.ended_lately(now, want) {
            return;
        }
        if let Some(other) = self.bridge.take() {
            cancel(&other, effects);
        }
        self.bridge = Some(self.ask(now, want, effects));
    }

    /// Repeats requests that have been silent for too long, word for word.
    pub(super) fn repeat_silent_downloads(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for slot in [&mut self.main, &mut self.bridge, &mut self.base] {
            if let Some(download) = slot
                && after(download.heard_at, ASK_AGAIN) <= now
            {
                download.heard_at = now;
                effects.push(Effect::Emit(TreeEvent::Download(download.request())));
            }
        }
    }

    /// When the next download is to be asked, again or for the first time.
    pub(super) fn download_due(&self) -> Option<Instant> {
        let silent = [&self.main, &self.bridge, &self.base]
            .into_iter()
            .flatten()
            .map(|download| after(download.heard_at, ASK_AGAIN))
            .min();
        [silent, self.retry_at].into_iter().flatten().min()
    }

    pub(super) fn find(&self, id: RequestId) -> Option<Slot> {
        [Slot::Main, Slot::Bridge, Slot::Base]
            .into_iter()
            .find(|slot| self.slot(*slot).as_ref().is_some_and(|download| download.id == id))
    }

    pub(super) const fn slot(&self, slot: Slot) -> &Option<Download> {
        match slot {
            Slot::Main => &self.main,
            Slot::Bridge => &self.bridge,
            Slot::Base => &self.base,
        }
    }

    pub(super) const fn slot_mut(&mut self, slot: Slot) -> &mut Option<Download> {
        match slot {
            Slot::Main => &mut self.main,
            Slot::Bridge => &mut self.bridge,
            Slot::Base => &mut self.base,
        }
    }
}

/// Which of the requests that may be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Main,
    Bridge,
    Base,
}

pub(super) fn cancel(download: &Download, effects: &mut Vec<Effect>) {
    let request = DownloadRequest::Cancel { id: download.id };
    effects.push(Effect::Emit(TreeEvent::Download(request)));
}

/// A moment after another; the same one where the clock cannot express it.
pub(super) fn after(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait).unwrap_or(at)
}
