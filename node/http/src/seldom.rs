//! Lines in the log that a stranger could fill it with.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How far apart two lines of one kind are.
pub const SELDOM: Duration = Duration::from_secs(60);

/// Lets one of many like lines through, and counts the others.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State { said_at: None, unsaid: 0 }))
    }

    /// Whether to say it: `None` if something was said less than [`SELDOM`] ago, otherwise how many lines
    /// were left out since.
    pub fn count(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_soon = |at: Instant| now.saturating_duration_since(at) < SELDOM;
        if state.said_at.is_some_and(is_soon) {
            state.unsaid = state.unsaid.saturating_add(1);
            return None;
        }
        state.said_at = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}
