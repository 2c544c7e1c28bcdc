//! How far things are, for whoever watches.

use std::time::{Duration, Instant};

use moorline_messages::{BlockNumHash, TreeReport, TreeTarget};

use super::{Core, Effect, pursuit::after, storing::Phase};

/// Two reports are at least this far apart, unless the second one says that something ended.
const REPORT_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(crate) struct Status {
    /// What went wrong last, until things move again.
    pub(crate) trouble: Option<String>,
    told: Option<(TreeReport, Instant)>,
    due: Option<Instant>,
}

impl Status {
    /// When a report that was held back is to be told.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Core {
    /// Tells how far things are, if that changed and not too often.
    pub(super) fn report(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let has_nothing_to_say =
            matches!(self.phase, Phase::Unasked | Phase::Loading(_) | Phase::Walking(_));
        self.status.due = None;
        if has_nothing_to_say {
            return;
        }
        let report = self.status_now();
        if let Some((told, at)) = &self.status.told {
            let due = after(*at, REPORT_EVERY);
            let is_ending = (report.synced && !told.synced) || (report.invalid && !told.invalid);
            if *told == report {
                return;
            }
            if now < due && !is_ending {
                self.status.due = Some(due);
                return;
            }
        }
        effects.push(Effect::Report(report.clone()));
        self.status.told = Some((report, now));
    }

    /// Whether the head that was named is the genesis block, which needs nothing that is not here.
    fn is_genesis_the_head(&self) -> bool {
        let head = self.forkchoice.map(|forkchoice| forkchoice.head);
        self.target.is_none() && self.chain.is_at_genesis() && head == Some(self.genesis_hash())
    }

    fn status_now(&self) -> TreeReport {
        let tip = BlockNumHash::of(self.chain.tip());
        let target = self.target.as_ref();
        let is_reached = target
            .is_some_and(|target| target.is_reached && !target.is_soft && target.head == tip.hash);
        TreeReport {
            tip,
            target: target.map(|target| {
                let number = target.header.as_ref().map(|header| header.number);
                let number = number.or_else(|| self.incomplete.number(&target.head));
                TreeTarget { hash: target.head, number }
            }),
            synced: self.is_ready()
                && (is_reached || self.is_genesis_the_head())
                && self.ledger.is_tip_settled(),
            invalid: target.is_some_and(|target| target.is_invalid),
            trouble: self.status.trouble.clone(),
        }
    }
}
