//! From whom: of all that are connected, the one to ask for some items.

use std::time::Instant;

use moorline_messages::{FetchItems, FetchRequest, Priority, SessionId};

use super::{
    after,
    peers::{Peer, Peers},
    score::{Kind, Meter, asked_items},
};

/// Peers whose expected times differ by less than this part of the least are alike, and take turns.
const ALIKE_PART: u64 = 4;
/// Blocks by which a peer's announced head may lag: updates are due every 32 blocks, and nobody
/// sends them in the same moment (EIP-7642).
const LATEST_LAG_BLOCKS: u64 = 64;

/// How far a peer can be trusted to have some items; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// It failed at them already.
    avoided: bool,
    /// It says that it is too far behind to have them.
    behind: bool,
}

/// What decides whether a peer has some items at all.
#[derive(Clone, Copy, Debug)]
struct Heights {
    lowest_of_blocks: Option<u64>,
    highest: Option<u64>,
}

impl Heights {
    fn of(items: &FetchItems) -> Self {
        Self { lowest_of_blocks: items.lowest_of_blocks(), highest: items.highest() }
    }
}

/// A peer of the best standing towards a request.
#[derive(Clone, Copy, Debug)]
struct Candidate<'a> {
    session: SessionId,
    peer: &'a Peer,
    meter: &'a Meter,
}

/// What limits the choice of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whether a peer to avoid may be asked if nobody else has the items.
    pub(crate) may_repeat: bool,
    /// Whether a peer may be asked of which nobody knows when it is done.
    pub(crate) may_try: bool,
    /// When it must usually be done.
    pub(crate) done_before: Option<Instant>,
}

/// What to do with a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This session gets it.
    Ask(SessionId),
    /// A busy peer is expected to be done with it before any free one would be. Should that peer not
    /// answer anything until then, there is no sense in waiting for it.
    Hold(Instant),
    /// Nobody is free who should get it.
    Nobody,
}

impl Peer {
    /// `None` if it says that it does not have these items.
    fn standing(&self, request: &FetchRequest, heights: Heights) -> Option<Standing> {
        let avoided = request.avoid.contains(&self.info.id);
        let Some(range) = &self.info.range else {
            return Some(Standing { avoided, behind: false });
        };
        let reach = range.latest.saturating_add(LATEST_LAG_BLOCKS);
        let behind = heights.highest.is_some_and(|highest| highest > reach);
        let has = heights.lowest_of_blocks.is_none_or(|lowest| lowest >= range.earliest);
        has.then_some(Standing { avoided, behind })
    }

    /// Until when a busy peer can be believed to give its next answer soon.
    fn answers_by(&self, meter: &Meter) -> Option<Instant> {
        Some(after(self.owes_since?, meter.unusual_next(self.ahead())?))
    }

    fn expected_us(&self, meter: &Meter, now: Instant, request: &FetchRequest) -> u64 {
        let kind = Kind::of(&request.items);
        let mut items = asked_items(&request.items);
        let ahead = self.ahead();
        // the tip is no time to try
        if request.priority == Priority::History {
            items = meter.tried_items(kind, items);
            if ahead.is_nothing() {
                return meter.hoped_us(now, kind, items);
            }
        }
        let late = self.owes_since.map(|since| now.saturating_duration_since(since));
        meter.expected_us(now, kind, items, ahead, late.unwrap_or_default())
    }

    fn is_done_in_time(
        &self,
        meter: &Meter,
        now: Instant,
        request: &FetchRequest,
        terms: Terms,
    ) -> bool {
        let Some(end) = terms.done_before else { return true };
        let kind = Kind::of(&request.items);
        let portion = meter.portion(kind, asked_items(&request.items));
        let usual = meter.usual(kind, portion, self.ahead());
        usual.map_or(terms.may_try, |usual| after(now, usual) < end)
    }
}

impl Peers {
    /// Who should get these items: of the best standing that anybody connected has towards them, the
    /// peer that is free and expected to be done first, alike ones in turns. While those are all busy,
    /// the request waits. The tip also waits for a busy peer that is expected to be done sooner. Who
    /// would not be done in time is not asked, as the answer would be for nobody.
    pub(crate) fn choose(&self, now: Instant, request: &FetchRequest, terms: Terms) -> Choice {
        let candidates = self.candidates(request, terms.may_repeat);
        let expected = |it: &Candidate<'_>| it.peer.expected_us(it.meter, now, request);
        let free = candidates.iter().filter(|it| it.peer.is_free());
        let in_time = free.filter(|it| it.peer.is_done_in_time(it.meter, now, request, terms));
        let free: Vec<_> = in_time.map(|it| (expected(it), it)).collect();
        let Some(least_us) = free.iter().map(|(expected_us, _)| *expected_us).min() else {
            return Choice::Nobody;
        };
        if request.priority == Priority::Tip {
            let busy = candidates.iter().filter(|it| !it.peer.is_free());
            let sooner = busy.filter(|it| expected(it) < least_us);
            let end = sooner.filter_map(|it| it.peer.answers_by(it.meter)).max();
            if let Some(end) = end.filter(|end| *end > now) {
                return Choice::Hold(end);
            }
        }
        let alike_us = least_us.saturating_add(least_us / ALIKE_PART);
        let alike = free.iter().filter(|(expected_us, _)| *expected_us <= alike_us);
        alike
            .map(|(_, it)| it)
            .min_by_key(|it| (it.peer.turn, it.peer.info.id))
            .map_or(Choice::Nobody, |it| Choice::Ask(it.session))
    }

    fn candidates(&self, request: &FetchRequest, may_repeat: bool) -> Vec<Candidate<'_>> {
        let heights = Heights::of(&request.items);
        let able = self.sessions.iter().filter_map(|(session, peer)| {
            let meter = &self.records.get(&peer.info.id)?.meter;
            let session = *session;
            Some((peer.standing(request, heights)?, Candidate { session, peer, meter }))
        });
        let able: Vec<_> = able.collect();
        let best = able.iter().map(|(standing, _)| *standing).min();
        let best = best.filter(|best| may_repeat || !best.avoided);
        let fit = able.into_iter().filter(|(standing, _)| Some(*standing) == best);
        fit.map(|(_, candidate)| candidate).collect()
    }
}
