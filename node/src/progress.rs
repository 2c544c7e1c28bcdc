//! Progress for a person: a bar on a terminal, a line now and then without one.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar};
use tokio::{sync::watch, task::JoinHandle, time::interval};

use crate::{observe::Observed, terminal};

/// How often a line is logged where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(8);
/// How long a line that says nothing new is left out.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how far a sync has come. `quiet` leaves it to log lines.
pub(crate) fn show(watched: watch::Receiver<Observed>, quiet: bool) -> Shown {
    let bar = (!quiet && std::io::stderr().is_terminal()).then(terminal::bar);
    let task = tokio::spawn(follow(watched, bar.clone()));
    Shown { task, bar }
}

async fn follow(watched: watch::Receiver<Observed>, bar: Option<ProgressBar>) {
    let mut ticks = interval(if bar.is_some() { DRAW_EVERY } else { LINE_EVERY });
    ticks.tick().await;
    let mut rates = Rates::default();
    rates.update(&watched.borrow());
    let mut rested: Option<(String, Instant)> = None;
    loop {
        ticks.tick().await;
        let seen = watched.borrow().clone();
        let remaining = seen.progress.remaining_blocks;
        rates.update(&seen);
        match &bar {
            Some(bar) if remaining == 0 => {
                bar.set_style(terminal::resting());
                bar.set_message(rest(&seen));
            }
            Some(bar) => {
                bar.set_style(terminal::moving());
                bar.set_length(seen.progress.blocks.saturating_add(remaining).max(1));
                bar.set_position(seen.progress.blocks);
                bar.set_message(rates.describe(&seen));
            }
            None if remaining > 0 => tracing::info!("syncing: {}", rates.describe(&seen)),
            None => say_when_new(rest(&seen), &mut rested),
        }
    }
}

/// Logs what is new, and what is not every minute, so that silence means that something is wrong.
fn say_when_new(text: String, said: &mut Option<(String, Instant)>) {
    let now = moorline_kit::now();
    let old = |(last, at): &(String, Instant)| {
        *last == text && now.saturating_duration_since(*at) < SAY_AGAIN_AFTER
    };
    if !said.as_ref().is_some_and(old) {
        tracing::info!("{text}");
        *said = Some((text, now));
    }
}

/// What there is to say while nothing is missing.
fn rest(seen: &Observed) -> String {
    let peers = peers_of(seen);
    let target = seen.tree.as_ref().and_then(|tree| tree.target);
    match target {
        Some(_) => format!("at block {}, {peers}", seen.tip()),
        None => format!("waiting for a consensus client to name a head, {peers}"),
    }
}

fn peers_of(seen: &Observed) -> String {
    match seen.peers.peers.len() {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    }
}

/// Rates since the last look, smoothed.
#[derive(Debug, Default)]
struct Rates {
    last: Option<(Instant, u64, u64, u64)>,
    headers: f64,
    blocks: f64,
    bytes: f64,
}

impl Rates {
    fn update(&mut self, seen: &Observed) {
        let now = moorline_kit::now();
        let progress = &seen.progress;
        let (headers, blocks, bytes) = (progress.headers, progress.blocks, progress.bytes);
        if let Some((then, old_headers, old_blocks, old_bytes)) = self.last {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(0.001);
            let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            let blend = |old: f64, new: f64| if old == 0.0 { new } else { old * 0.7 + new * 0.3 };
            self.headers = blend(self.headers, rate(headers, old_headers));
            self.blocks = blend(self.blocks, rate(blocks, old_blocks));
            self.bytes = blend(self.bytes, rate(bytes, old_bytes));
        }
        self.last = Some((now, headers, blocks, bytes));
    }

    fn describe(&self, seen: &Observed) -> String {
        let progress = &seen.progress;
        let total = progress.blocks.saturating_add(progress.remaining_blocks);
        let eta = match self.blocks {
            rate if rate >= 0.1 => {
                let left = Duration::from_secs_f64(progress.remaining_blocks as f64 / rate);
                format!("{} left", HumanDuration(left))
            }
            _ => "no blocks yet".to_owned(),
        };
        format!(
            "{}/{total} blocks, {:.0} headers/s, {:.0} blocks/s, {}/s, {eta}, {}, {} in flight",
            progress.blocks,
            self.headers,
            self.blocks,
            HumanBytes(self.bytes as u64),
            peers_of(seen),
            progress.in_flight,
        )
    }
}
