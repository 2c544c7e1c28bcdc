//! Notices that nothing comes, and says why.

use std::time::{Duration, Instant};

use moorline_messages::{Conduct, FetchError, Stall};

use super::{DownloaderCore, Effect, chain::Chain, writer::later};

/// How often progress is reported while there is any.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Nothing for this long, and it is said if there is evidence why.
const STALL_AFTER: Duration = Duration::from_secs(12);

/// Nothing for this long, and it is said in any case: longer than a fetch may take, so that some came
/// to an end.
const STALL_AT_LAST: Duration = Duration::from_secs(36);

/// What happened since something last came.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    moved: bool,
    moved_at: Option<Instant>,
    stalled: Option<Stall>,
    look_at: Option<Instant>,
    /// A fetch found nobody to ask.
    no_peer: bool,
    no_answer: u32,
    lacking: u32,
    lies: u32,
}

impl Watchdog {
    /// Something was proved, stored or delivered, if `moved` says so.
    pub(super) const fn moves(&mut self, moved: bool) {
        self.moved |= moved;
    }

    /// Somebody answered, and this is what it was worth.
    pub(super) fn judged(&mut self, conduct: Conduct) {
        let count = match conduct {
            // what is worth something moves the download
            Conduct::Served => return,
            Conduct::Lacked | Conduct::OtherBranch => &mut self.lacking,
            Conduct::WrongAnchor
            | Conduct::BrokenLink
            | Conduct::UnaskedBody
            | Conduct::UnaskedReceipts
            | Conduct::TooMany => &mut self.lies,
        };
        *count = count.saturating_add(1);
    }

    /// A fetch brought nothing.
    pub(super) fn failed(&mut self, error: FetchError) {
        match error {
            FetchError::NoPeer => self.no_peer = true,
            FetchError::TimedOut => self.no_answer = self.no_answer.saturating_add(1),
            // whoever hangs up is not there to be asked
            FetchError::Disconnected => {}
        }
    }

    pub(super) const fn next_wakeup(&self) -> Option<Instant> {
        self.look_at
    }

    /// What peers did most since something last came.
    fn of_peers(&self) -> Option<Stall> {
        let counts = [
            (self.lies, Stall::Lies),
            (self.lacking, Stall::Lacking),
            (self.no_answer, Stall::NoAnswer),
        ];
        let most = counts.into_iter().rev().max_by_key(|(count, _)| *count);
        match most {
            Some((1.., stall)) => Some(stall),
            _ => self.no_peer.then_some(Stall::NoPeer),
        }
    }
}

impl DownloaderCore {
    /// Looks whether anything came lately, and says once when nothing did, and once when it does again.
    pub(super) fn watch(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let idle = self.chains.is_empty() && !self.is_loading();
        if idle || self.watchdog.moved || self.watchdog.moved_at.is_none() {
            let was = self.watchdog.stalled;
            self.watchdog = Watchdog::default();
            if !idle {
                self.watchdog.moved_at = Some(now);
                self.watchdog.look_at = Some(later(now, STALL_AFTER));
            }
            if was.is_some() {
                self.tell_at = Some(now);
                effects.push(Effect::Stalled(None));
            }
            return;
        }
        if self.watchdog.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.watchdog.look_at = Some(later(now, STALL_AFTER));
        let since = self.watchdog.moved_at.unwrap_or(now);
        let waited = now.saturating_duration_since(since);
        let at_last = (waited >= STALL_AT_LAST).then_some(Stall::NoAnswer);
        let Some(stall) = self.why_stalled().or(at_last) else { return };
        if self.watchdog.stalled != Some(stall) {
            self.watchdog.stalled = Some(stall);
            self.tell_at = Some(now);
            effects.push(Effect::Stalled(Some((stall, waited))));
        }
    }

    fn why_stalled(&self) -> Option<Stall> {
        let store_owes = self.is_loading() || !self.reads.is_empty() || self.writer.is_writing();
        if !self.tree_has_room {
            Some(Stall::Tree)
        } else if store_owes && self.out.is_empty() || self.writer.is_writing() {
            Some(Stall::Store)
        } else {
            self.watchdog.of_peers()
        }
    }

    pub(super) fn report_progress(&mut self, now: Instant, woken: bool, effects: &mut Vec<Effect>) {
        let headers = self.chains.iter().map(|chain| chain.descent.remaining());
        let remaining_headers: u64 = headers.sum();
        // whoever times the headers hears at once that they are asked for, and that all are proved
        if (remaining_headers == 0) != (self.told.remaining_headers == 0) {
            self.tell_at = Some(now);
        }
        match self.tell_at {
            None if woken => return,
            None => self.tell_at = Some(later(now, PROGRESS_EVERY)),
            Some(at) if at <= now => self.tell_at = None,
            Some(_) => {}
        }
        if self.tell_at.is_some() {
            return;
        }
        self.progress.remaining_headers = remaining_headers;
        self.progress.remaining_blocks = self.chains.iter().map(Chain::remaining).sum();
        self.progress.highest = self.chains.iter().map(Chain::highest).max().unwrap_or(0);
        self.progress.in_flight = self.out.len() as u64;
        self.progress.in_flight_bytes = self.in_flight_bytes() as u64;
        self.progress.buffered_bytes = self.buffered_bytes() as u64;
        self.progress.queued = self.bodies.len().max(self.receipts.len()) as u64;
        self.progress.stalled = self.watchdog.stalled;
        if self.progress != self.told {
            self.told = self.progress;
            effects.push(Effect::Progress(self.progress));
        }
    }
}
