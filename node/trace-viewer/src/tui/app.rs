//! What is shown, and what keys do to it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moorline_trace::{
    Model,
    follow::{Followed, Key, follow},
    model::MarkKind,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    open,
    sheet::{self, Only, Sheet, Target},
    status::{self, Moment},
};
use crate::{text::tame, watched::Watched};

/// Characters of a key that can be typed: an enode address is shorter.
const TYPED_MAX: usize = 256;
/// A table is made again at most this often while the trace changes,
const REMAKE_MIN: Duration = Duration::from_millis(250);
/// and after so many times what making it took: it then costs this share of a core at most.
const REMAKE_SHARE: u32 = 25;
/// Of a trace that told nothing for so long, the end is shown and not the silence.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Causes that are looked through for a block that a row is about.
const CAUSES_MAX: usize = 64;
/// Rows that PgUp and PgDn pass.
const PAGE_ROWS: usize = 10;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Status,
    Open,
    Latency,
    Slowest,
    Marks,
    Follow,
}

impl Tab {
    pub(super) const ALL: [Self; 6] =
        [Self::Status, Self::Open, Self::Latency, Self::Slowest, Self::Marks, Self::Follow];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Open => "open",
            Self::Latency => "latency",
            Self::Slowest => "slowest",
            Self::Marks => "marks",
            Self::Follow => "follow",
        }
    }

    fn next(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|tab| *tab == self).unwrap_or_default();
        Self::ALL.iter().copied().cycle().nth(at.saturating_add(steps)).unwrap_or(self)
    }
}

pub(super) struct App {
    watched: Arc<Watched>,
    pub(super) tab: Tab,
    pub(super) sheet: Sheet,
    /// A second table, for which the first leaves room.
    pub(super) below: Option<Sheet>,
    pub(super) selected: usize,
    pub(super) typed: Option<String>,
    pub(super) said: Option<String>,
    pub(super) source_said: Option<String>,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) title: String,
    sort: usize,
    only: Only,
    followed: Option<(String, Key, Followed)>,
    /// What the table was made of; nothing when it must be made now.
    made_of: Option<(u64, u64)>,
    /// When it may be made again.
    next: Option<Instant>,
}

impl App {
    pub(super) fn new(watched: Arc<Watched>) -> Self {
        Self {
            watched,
            tab: Tab::Status,
            sheet: Sheet::default(),
            below: None,
            selected: 0,
            typed: None,
            said: None,
            source_said: None,
            help: false,
            paused: false,
            title: String::new(),
            sort: 0,
            only: Only::All,
            followed: None,
            made_of: None,
            next: None,
        }
    }

    /// Makes the table again if the trace has changed, but not all the time.
    pub(super) fn refresh(&mut self, now: Instant) {
        let watched = self.watched.clone();
        let look = watched.look();
        let model = look.model();
        let version = (look.generation(), model.version());
        self.title = title(&watched, model);
        self.source_said = look.said().map(str::to_owned);
        let moment = moment(&watched, model);
        let is_wanted = match self.made_of {
            None => true,
            Some(_) if self.paused || self.next.is_some_and(|next| now < next) => false,
            // how long something has waited grows while nothing happens
            Some(made_of) => made_of != version || moment.is_now && self.shows_now(),
        };
        if is_wanted {
            let begun = super::now();
            self.make(model, moment);
            self.made_of = Some(version);
            let wait = super::now()
                .saturating_duration_since(begun)
                .saturating_mul(REMAKE_SHARE)
                .max(REMAKE_MIN);
            self.next = now.checked_add(wait);
        }
    }

    fn shows_now(&self) -> bool {
        matches!(self.tab, Tab::Status | Tab::Open)
    }

    fn make(&mut self, model: &Model, moment: Moment) {
        let selected = self.sheet.rows.get(self.selected).map(|row| row.target);
        if let Some((_, key, followed)) = &mut self.followed {
            *followed = follow(model, key);
        }
        self.below = None;
        self.sheet = match self.tab {
            Tab::Status => {
                let (lanes, pairs) = status::status(model, moment);
                self.below = Some(pairs);
                lanes
            }
            Tab::Open => open::open(model, moment),
            Tab::Latency => sheet::latency(model, self.sort),
            Tab::Slowest => sheet::slowest(model, self.only),
            Tab::Marks => sheet::marks(model),
            Tab::Follow => sheet::followed(
                model,
                self.followed.as_ref().map(|(text, _, followed)| (text.as_str(), followed)),
            ),
        };
        // what is chosen stays chosen when others come before it; the first place stays the first place
        let chosen = selected.filter(|target| self.selected > 0 && *target != Target::Nothing);
        let place =
            chosen.and_then(|chosen| self.sheet.rows.iter().position(|row| row.target == chosen));
        self.select(place.unwrap_or(self.selected));
    }

    /// Does what a key asks for; `true` to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return true;
        }
        if self.typed.is_some() {
            self.press_typing(key.code);
            return false;
        }
        if self.help {
            self.help = false;
            return false;
        }
        self.said = None;
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char('/') => self.typed = Some(String::new()),
            KeyCode::Char('s') => self.sort_next(),
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char(digit @ '1'..='6') => {
                let place = digit.to_digit(10).unwrap_or_default().saturating_sub(1) as usize;
                self.show(Tab::ALL.get(place).copied().unwrap_or(self.tab));
            }
            KeyCode::Tab | KeyCode::Right => self.show(self.tab.next(1)),
            KeyCode::BackTab | KeyCode::Left => {
                self.show(self.tab.next(Tab::ALL.len().saturating_sub(1)));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE_ROWS),
            KeyCode::PageDown => self.select(self.selected.saturating_add(PAGE_ROWS)),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Esc => {
                self.only = Only::All;
                self.made_of = None;
            }
            KeyCode::Enter => self.enter(),
            _ => {}
        }
        false
    }

    fn press_typing(&mut self, key: KeyCode) {
        let Some(typed) = &mut self.typed else { return };
        match key {
            KeyCode::Esc => self.typed = None,
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(c) if typed.len() < TYPED_MAX => typed.push(c),
            KeyCode::Enter => {
                let text = std::mem::take(typed);
                self.typed = None;
                self.follow(&text);
            }
            _ => {}
        }
    }

    fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
        self.sheet = Sheet::default();
        self.made_of = None;
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.sheet.rows.len().saturating_sub(1));
    }

    fn sort_next(&mut self) {
        self.sort = self.sort.saturating_add(1) % sheet::LATENCY_SORTS;
        self.made_of = None;
    }

    fn follow(&mut self, text: &str) {
        match text.parse::<Key>() {
            Ok(key) => {
                self.followed = Some((text.to_owned(), key, Followed::default()));
                self.show(Tab::Follow);
            }
            Err(error) => self.said = Some(error.to_string()),
        }
    }

    /// From a lane or a message to its slowest rows, from a row to the block that it names.
    fn enter(&mut self) {
        let watched = self.watched.clone();
        let look = watched.look();
        let row = match self.sheet.rows.get(self.selected).map(|row| row.target) {
            Some(Target::Row(row)) => row,
            Some(Target::Lane(lane)) => {
                self.only = Only::Lane(lane);
                return self.show(Tab::Slowest);
            }
            Some(Target::Nothing) | None => return,
        };
        if self.tab == Tab::Latency {
            let only = look.model().columns().type_.get(row).copied();
            self.only = only.map_or(Only::All, Only::Type);
            return self.show(Tab::Slowest);
        }
        match key_of(look.model(), row) {
            Some(key) => self.follow(&key),
            None => self.said = Some("this one names no block, session or peer".to_owned()),
        }
    }
}

/// The block that a row is about, or that what led to it is about; failing that, its session or peer.
fn key_of(model: &Model, row: usize) -> Option<String> {
    let columns = model.columns();
    let cause = |row: &usize| usize::try_from(*columns.cause.get(*row)?).ok();
    let inherited = |row: &usize| cause(row).filter(|_| columns.inherits.get(*row) == Some(&1));
    let mut rows = std::iter::successors(Some(row), inherited).take(CAUSES_MAX);
    rows.find_map(|row| block_of(model, row)).or_else(|| {
        let session = columns.session.get(row).filter(|session| session.is_finite());
        let peer = columns.peer.get(row).and_then(|peer| (*peer as usize).checked_sub(1));
        let peer = peer.and_then(|peer| model.peers().get(peer));
        session.map(|session| format!("s{session:.0}")).or(peer.map(|peer| format!("{peer:016x}")))
    })
}

fn block_of(model: &Model, row: usize) -> Option<String> {
    let columns = model.columns();
    let hash = columns.hash.get(row).and_then(|hash| (*hash as usize).checked_sub(1));
    if let Some(hash) = hash.and_then(|hash| model.hashes().get(hash)) {
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        return Some(format!("0x{digits}"));
    }
    let number = columns.high.get(row).filter(|number| number.is_finite());
    number.map(|number| format!("{number:.0}"))
}

fn title(watched: &Watched, model: &Model) -> String {
    format!("{} rows, {}: {}", model.rows(), progress(watched, model), tame(watched.source()))
}

fn progress(watched: &Watched, model: &Model) -> String {
    if model.header().clock == "sim" {
        return "simulated".to_owned();
    }
    let ago = ago(since_last(model).as_secs());
    match (model.rows(), watched.is_live()) {
        (0, true) => "waiting for the first".to_owned(),
        _ if has_stopped(model) => format!("stopped {ago} ago"),
        (_, false) => "ended".to_owned(),
        _ => format!("last record {ago} ago"),
    }
}

/// How long ago the last record was made.
fn since_last(model: &Model) -> Duration {
    let began = model.header().t0_unix_ns.parse::<u64>().unwrap_or_default();
    let latest = Duration::from_nanos(began.saturating_add(model.last_ns()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(latest)
}

/// Now, while the trace goes on; or else its end, since nothing is told by how long ago that was.
fn moment(watched: &Watched, model: &Model) -> Moment {
    let silent = since_last(model);
    let is_now = watched.is_live()
        && model.header().clock == "real"
        && silent < SILENCE_MAX
        && !has_stopped(model);
    let silent_ns = if is_now { silent.as_secs_f64() * 1e9 } else { 0.0 };
    Moment { ns: model.last_ns() as f64 + silent_ns, is_now }
}

/// Whether all actors have ended in an orderly way.
fn has_stopped(model: &Model) -> bool {
    let moved = |kind| matches!(kind, MarkKind::Start | MarkKind::Restart | MarkKind::Stop);
    let mut last = model.marks().iter().rev().filter(|mark| moved(mark.kind)).take(model.actors());
    let stopped = |mark: &moorline_trace::model::Mark| mark.kind == MarkKind::Stop;
    !model.marks().is_empty() && last.clone().count() > 0 && last.all(stopped)
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
