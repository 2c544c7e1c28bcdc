//! What comes of the requests that are out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_messages::{DownloadFailure, DownloadOutcome, SealedHeader};

use super::{
    ASK_AGAIN, Core, Effect,
    pursuit::{Download, Slot, after, cancel},
};

/// Longest wait after a failure before the target is tried again; doubled up to it.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Longest bridge: a range below the tip that looks for the common ancestor of a fork.
const BRIDGE_BLOCKS_MAX: u64 = 512;

impl Core {
    /// What the downloader says.
    pub(super) fn on_download(
        &mut self,
        now: Instant,
        outcome: DownloadOutcome,
        effects: &mut Vec<Effect>,
    ) {
        match outcome {
            DownloadOutcome::NewDownloadStarted { request, .. } => {
                if let Some(download) =
                    self.find(request).and_then(|slot| self.slot_mut(slot).as_mut())
                {
                    download.heard_at = now;
                }
            }
            DownloadOutcome::Blocks { request, blocks, remaining_blocks } => {
                if let Some(slot) = self.find(request) {
                    self.on_blocks(now, slot, blocks, remaining_blocks == 0, effects);
                }
            }
            DownloadOutcome::Failed { request, reason } => {
                if let Some(slot) = self.find(request) {
                    self.on_failure(now, slot, &reason, effects);
                }
            }
        }
    }

    fn on_blocks(
        &mut self,
        now: Instant,
        slot: Slot,
        blocks: Vec<Arc<SealedHeader>>,
        is_last: bool,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(download) = self.slot_mut(slot).as_mut() {
            download.heard_at = now;
            if download.bottom.is_none() {
                download.bottom = blocks.first().cloned();
            }
        }
        if let Some(target) = self.target.as_mut() {
            (target.failures, target.paused_until) = (0, None);
        }
        let ended = is_last.then(|| self.slot_mut(slot).take()).flatten();
        for header in blocks {
            if let Err(reason) = self.take_in(header, true, effects) {
                let going = self.slot_mut(slot).take();
                going.iter().for_each(|download| cancel(download, effects));
                if let Some(download) = ended.or(going) {
                    self.condemn_served(slot, &download, &reason, effects);
                }
                return;
            }
        }
        if let Some(download) = ended {
            self.on_ended(now, &download);
        }
    }

    fn on_ended(&mut self, now: Instant, download: &Download) {
        self.last_want = Some((download.want, now));
        let below_tip = download.top().is_some_and(|top| top <= self.chain.tip().number);
        if below_tip {
            self.bridge_blocks = self.bridge_blocks.saturating_mul(2).min(BRIDGE_BLOCKS_MAX);
        }
    }

    fn on_failure(
        &mut self,
        now: Instant,
        slot: Slot,
        failure: &DownloadFailure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(download) = self.slot_mut(slot).take() else { return };
        let reason = failure.to_string();
        match failure {
            DownloadFailure::Invalid { block, breach } => {
                self.condemn(*block, breach.to_string(), effects);
                self.condemn_served(slot, &download, &reason, effects);
            }
            DownloadFailure::TooShort { .. } => {
                self.condemn_served(slot, &download, &reason, effects);
            }
            DownloadFailure::Unobtainable { .. } if slot == Slot::Base => {}
            DownloadFailure::Unobtainable { .. } => self.pause_target(now, reason, effects),
        }
    }

    /// Nobody has it: the target stands, and is tried again later.
    fn pause_target(&mut self, now: Instant, reason: String, effects: &mut Vec<Effect>) {
        let Some(target) = self.target.as_mut() else { return };
        let wait = ASK_AGAIN.saturating_mul(2_u32.saturating_pow(target.failures)).min(RETRY_MAX);
        target.failures = target.failures.saturating_add(1);
        target.paused_until = Some(after(now, wait));
        if target.failures == 1 {
            let text = format!("{reason}; it is tried again until another head is named");
            effects.push(Effect::Warn(text));
        }
        self.status.trouble = Some(reason);
    }
}
