//! What is shown, and what keys do to it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use moorline_trace::follow::{Followed, Key, follow};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sheet::{self, Sheet};
use crate::{
    text::{duration, tame},
    watched::Watched,
};

/// Characters of a key that can be typed: an enode address is shorter.
const TYPED_MAX: usize = 256;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Status,
    Latency,
    Slowest,
    Marks,
    Follow,
}

impl Tab {
    pub(super) const ALL: [Self; 5] =
        [Self::Status, Self::Latency, Self::Slowest, Self::Marks, Self::Follow];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
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
    pub(super) selected: usize,
    pub(super) typed: Option<String>,
    pub(super) said: Option<String>,
    pub(super) help: bool,
    pub(super) title: String,
    sort: usize,
    only_type: Option<u16>,
    followed: Option<(String, Key, Followed)>,
    shown: Option<(u64, u64)>,
}

impl App {
    pub(super) fn new(watched: Arc<Watched>) -> Self {
        Self {
            watched,
            tab: Tab::Status,
            sheet: Sheet::default(),
            selected: 0,
            typed: None,
            said: None,
            help: false,
            title: String::new(),
            sort: 0,
            only_type: None,
            followed: None,
            shown: None,
        }
    }

    /// Makes the table again if the trace has changed.
    pub(super) fn refresh(&mut self) {
        let watched = self.watched.clone();
        let look = watched.look();
        let model = look.model();
        let version = (look.generation(), model.version());
        self.title = title(&watched, model);
        if self.shown == Some(version) {
            return;
        }
        self.shown = Some(version);
        if let Some((_, key, followed)) = &mut self.followed {
            *followed = follow(model, key);
        }
        self.sheet = match self.tab {
            Tab::Status => sheet::status(model),
            Tab::Latency => sheet::latency(model, self.sort),
            Tab::Slowest => sheet::slowest(model, self.only_type),
            Tab::Marks => sheet::marks(model),
            Tab::Follow => sheet::followed(
                model,
                self.followed.as_ref().map(|(text, _, followed)| (text.as_str(), followed)),
            ),
        };
        self.selected = self.selected.min(self.sheet.rows.len().saturating_sub(1));
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
            KeyCode::Tab | KeyCode::Right => self.show(self.tab.next(1)),
            KeyCode::BackTab | KeyCode::Left => {
                self.show(self.tab.next(Tab::ALL.len().saturating_sub(1)));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::PageDown => self.select(self.selected.saturating_add(10)),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Esc => {
                self.only_type = None;
                self.shown = None;
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
        self.shown = None;
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.sheet.rows.len().saturating_sub(1));
    }

    fn sort_next(&mut self) {
        self.sort = self.sort.saturating_add(1) % sheet::LATENCY_SORTS;
        self.shown = None;
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

    /// From a message to its slowest rows, from a row to the block that it names.
    fn enter(&mut self) {
        let Some(row) = self.sheet.trace_rows.get(self.selected).copied().flatten() else { return };
        let watched = self.watched.clone();
        let look = watched.look();
        let columns = look.model().columns();
        if self.tab == Tab::Latency {
            self.only_type = columns.type_.get(row).copied();
            return self.show(Tab::Slowest);
        }
        let hash = columns.hash.get(row).and_then(|hash| (*hash as usize).checked_sub(1));
        let hash = hash.and_then(|hash| look.model().hashes().get(hash));
        let number = columns.high.get(row).filter(|number| number.is_finite());
        match (hash, number) {
            (Some(hash), _) => {
                let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                self.follow(&format!("0x{digits}"));
            }
            (None, Some(number)) => self.follow(&format!("{number:.0}")),
            (None, None) => self.said = Some("this one names no block".to_owned()),
        }
    }
}

fn title(watched: &Watched, model: &moorline_trace::Model) -> String {
    let skipped: u64 = model.skipped().iter().map(|skipped| skipped.count).sum();
    let began = model.header().t0_unix_ns.parse::<u64>().unwrap_or_default();
    let latest = Duration::from_nanos(began.saturating_add(model.last_ns()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lag = if watched.is_live() {
        format!("last record {} ago", duration(now.saturating_sub(latest).as_secs_f64() * 1e9))
    } else {
        "ended".to_owned()
    };
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    format!("{} rows{skipped}, {lag}: {}", model.rows(), tame(watched.source()))
}
