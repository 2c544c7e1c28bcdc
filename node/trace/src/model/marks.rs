//! Moments that a viewer marks.

use crate::{
    batch::{Batch, UnexplainedGap},
    line::{Event, Kind},
};

use super::{MAX_MARKS, Model, NO_LANE, cut};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkKind {
    /// An actor panicked.
    Panic,
    /// An actor began again after a panic.
    Restart,
    /// An actor began.
    Start,
    /// An actor ended.
    Stop,
    /// Records are missing.
    Gap,
    /// A handling lasts long and is not over.
    Slow,
    /// A port was full or closed.
    Refuse,
}

impl MarkKind {
    pub(super) const fn is_frequent(self) -> bool {
        matches!(self, Self::Refuse | Self::Slow)
    }

    /// Its name, such as `panic`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Gap => "gap",
            Self::Slow => "slow",
            Self::Refuse => "refuse",
        }
    }
}

/// A moment that a viewer marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What happened.
    pub kind: MarkKind,
    /// When, in nanoseconds since the run began.
    pub t_ns: u64,
    /// On which lane; of a refusal, that of the receiver.
    pub lane: Option<u8>,
    /// Lane of the sender that was refused.
    pub from: Option<u8>,
    /// Incarnation of the actor.
    pub incarnation: u64,
    /// The message that it is about; 0 for none. [`Model::mark_row`](super::Model::mark_row) has its row.
    pub id: u64,
    /// A few words.
    pub note: String,
    /// Whether it is a gap that no record explains.
    pub unexplained: bool,
    /// How many records are missing.
    pub missing: u64,
    /// When it began: of a gap the first missing record, of a slow handling its beginning; in nanoseconds.
    pub since_ns: u64,
    /// When it ended, in nanoseconds.
    pub until_ns: u64,
}

impl Mark {
    pub(super) fn of(event: &Event, lane: u8, from: u8, note: String) -> Option<Self> {
        let kind = match event.kind {
            Kind::Panic => MarkKind::Panic,
            Kind::Restart => MarkKind::Restart,
            Kind::Start => MarkKind::Start,
            Kind::Stop => MarkKind::Stop,
            Kind::Gap => MarkKind::Gap,
            Kind::Slow => MarkKind::Slow,
            Kind::Refuse => MarkKind::Refuse,
            Kind::Send | Kind::Done | Kind::Drop | Kind::Timer => return None,
        };
        let (since_ns, until_ns) = match kind {
            MarkKind::Gap => (event.since, event.until),
            MarkKind::Slow => (event.t.saturating_sub(event.busy.unwrap_or_default()), event.t),
            _ => (event.t, event.t),
        };
        Some(Self {
            kind,
            t_ns: event.t,
            lane: Some(lane).filter(|lane| *lane != NO_LANE),
            from: Some(from).filter(|lane| *lane != NO_LANE),
            incarnation: event.incarnation,
            id: event.id,
            note,
            unexplained: false,
            missing: event.missing,
            since_ns,
            until_ns,
        })
    }

    pub(super) fn unexplained(gap: &UnexplainedGap) -> Self {
        Self {
            kind: MarkKind::Gap,
            t_ns: gap.until_ns,
            lane: None,
            from: None,
            incarnation: 0,
            id: 0,
            note: "nothing explains it".to_owned(),
            unexplained: true,
            missing: gap.missing,
            since_ns: gap.since_ns,
            until_ns: gap.until_ns,
        }
    }
}

impl Model {
    pub(super) fn mark_event(&mut self, event: &Event, batch: &Batch) {
        let lane = self.lane(batch.bytes(event.to));
        let from = self.lane(batch.bytes(event.from));
        let words: Vec<_> = [event.why, event.name, event.note]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| cut(batch.bytes(text)))
            .collect();
        let note = words.join(": ");
        let Some(mark) = Mark::of(event, lane, from, note) else { return };
        self.mark(mark);
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        // refusals come by the thousand, and must not leave panics without a place
        let frequent = mark.kind.is_frequent();
        let others = self.marks.len().saturating_sub(self.frequent_marks);
        let (of_its_kind, what) = match frequent {
            true => (self.frequent_marks, "a refusal or a slow handling after the first 200,000"),
            false => (others, "a mark (a panic, a gap, a restart) after the first 200,000"),
        };
        if of_its_kind >= MAX_MARKS {
            return self.skip_here(what);
        }
        self.frequent_marks = self.frequent_marks.saturating_add(usize::from(frequent));
        self.marks.push(mark);
    }
}
