//! Progress for a person: a bar on a terminal, a line now and then without one.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use tokio::{sync::watch, task::JoinHandle, time::interval};

use crate::{
    observe::Observed,
    pace::{IDLE_AFTER, Phase},
    terminal,
};

/// How often a line is logged where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(8);
/// How long a line that says nothing new is left out.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Parts that a bar has.
const WHOLE: u64 = 1_000;
/// Columns kept for the time left, so that the bar ends where it did.
const OUTLOOK_COLUMNS: usize = 18;
/// Between facts below a bar.
const GAP: &str = "  ";

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

/// What is said before a head is named, by who names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeadFrom {
    /// A consensus client, some time.
    ConsensusClient,
    /// The command line, at once.
    CommandLine,
}

/// Shows how far a sync has come. `quiet` leaves it to log lines.
pub(crate) fn show(watched: watch::Receiver<Observed>, head: HeadFrom, quiet: bool) -> Shown {
    let bar = (!quiet && std::io::stderr().is_terminal()).then(terminal::bar);
    let task = tokio::spawn(follow(watched, head, bar.clone()));
    Shown { task, bar }
}

async fn follow(watched: watch::Receiver<Observed>, head: HeadFrom, bar: Option<ProgressBar>) {
    let mut ticks = interval(if bar.is_some() { DRAW_EVERY } else { LINE_EVERY });
    ticks.tick().await;
    let mut rested: Option<(String, Instant)> = None;
    loop {
        ticks.tick().await;
        let seen = watched.borrow().clone();
        match (&bar, seen.pace.phase) {
            (Some(bar), Phase::Syncing) => draw(bar, &seen),
            (Some(bar), _) => {
                bar.set_style(terminal::resting());
                bar.set_message(rest(&seen, head));
            }
            (None, Phase::Syncing) => tracing::info!("syncing: {}", line(&seen)),
            (None, _) => say_when_new(rest(&seen, head), &mut rested),
        }
    }
}

fn draw(bar: &ProgressBar, seen: &Observed) {
    let [percent, outlook] = heading(seen);
    let below = wrap(facts(seen), terminal::width());
    bar.set_style(terminal::moving());
    bar.set_length(WHOLE);
    bar.set_position((seen.pace.percent * WHOLE as f64 / 100.0) as u64);
    if seen.pace.stalled.is_some() {
        // too long for the place beside the bar
        let why = wrap(outlook.split(' ').map(str::to_owned), terminal::width());
        bar.set_prefix(format!("{percent:>5}"));
        bar.set_message(format!("{}\n{below}", why.replace(GAP, " ")));
    } else {
        bar.set_prefix(format!("{percent:>5} {outlook:<OUTLOOK_COLUMNS$}"));
        bar.set_message(below);
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
fn rest(seen: &Observed, head: HeadFrom) -> String {
    let peers = peers_of(seen);
    match &seen.tree {
        Some(tree) if tree.invalid => {
            format!("at block {}, the head that was named is invalid, {peers}", seen.tip())
        }
        Some(tree) if tree.target.is_some() => format!("at block {}, {peers}", seen.tip()),
        _ => match head {
            HeadFrom::ConsensusClient => {
                format!("waiting for a consensus client to name a head, {peers}")
            }
            HeadFrom::CommandLine => format!("starting, {peers}"),
        },
    }
}

/// All there is to say while something is missing.
fn line(seen: &Observed) -> String {
    let all: Vec<_> = heading(seen).into_iter().chain(facts(seen)).collect();
    all.join(", ")
}

/// How far, and either how long still or why nothing comes.
fn heading(seen: &Observed) -> [String; 2] {
    let pace = &seen.pace;
    let outlook = match (pace.stalled, pace.eta) {
        (Some(why), _) => format!("nothing for {}: {why}", short(pace.idle)),
        (None, _) if pace.idle >= IDLE_AFTER => format!("nothing for {}", short(pace.idle)),
        (None, Some(left)) => format!("{} left", short(left.max(Duration::from_secs(1)))),
        (None, None) => "no estimate yet".to_owned(),
    };
    // what is not whole is not rounded to it
    let percent = (pace.percent * 10.0).floor() / 10.0;
    [format!("{percent:.1}%"), outlook]
}

fn facts(seen: &Observed) -> [String; 6] {
    let pace = &seen.pace;
    [
        format!("{:.0} headers/s", pace.headers_per_s),
        format!("{:.0} blocks/s", pace.blocks_per_s),
        format!("{:.1} MB/s", pace.bytes_per_s / 1e6),
        peers_of(seen),
        format!("{} in flight", seen.in_flight()),
        format!("budget {:.0}%", pace.budget_used_percent),
    ]
}

fn peers_of(seen: &Observed) -> String {
    match seen.peers.peers.len() {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    }
}

/// A time in its two greatest units.
fn short(time: Duration) -> String {
    let (seconds, minutes) = (time.as_secs(), time.as_secs() / 60);
    let (hours, days) = (minutes / 60, minutes / 60 / 24);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// As many on each line as fit, none cut in two.
fn wrap(words: impl IntoIterator<Item = String>, width: usize) -> String {
    let (mut text, mut used) = (String::new(), 0_usize);
    for word in words {
        let length = console::measure_text_width(&word);
        let with_gap = used.saturating_add(GAP.len()).saturating_add(length);
        if text.is_empty() {
            used = length;
        } else if with_gap <= width {
            text.push_str(GAP);
            used = with_gap;
        } else {
            text.push('\n');
            used = length;
        }
        text.push_str(&word);
    }
    text
}

#[cfg(test)]
mod tests {
    use moorline_messages::Stall;

    use super::*;

    fn busy() -> Observed {
        let mut seen = Observed::default();
        seen.progress.in_flight = 96;
        seen.pace.phase = Phase::Syncing;
        seen.pace.percent = 43.27;
        seen.pace.headers_per_s = 12_345.6;
        seen.pace.blocks_per_s = 4_321.0;
        seen.pace.bytes_per_s = 123_456_789.0;
        seen.pace.eta = Some(Duration::from_secs(730));
        seen.pace.budget_used_percent = 37.4;
        seen
    }

    #[test]
    fn a_line_tells_how_far_how_fast_and_how_long_still() {
        assert_eq!(
            line(&busy()),
            "43.2%, 12m 10s left, 12346 headers/s, 4321 blocks/s, 123.5 MB/s, 0 peers, 96 in \
             flight, budget 37%"
        );
    }

    #[test]
    fn a_stall_is_told_in_place_of_the_time_left() {
        let mut seen = busy();
        seen.pace.idle = Duration::from_secs(24);
        assert!(line(&seen).starts_with("43.2%, nothing for 24s, 12346"), "{}", line(&seen));
        seen.pace.stalled = Some(Stall::NoPeer);
        let line = line(&seen);
        let why = "43.2%, nothing for 24s: no peer can be asked for what is missing, 12346";
        assert!(line.starts_with(why), "{line}");
        assert!(!line.contains("left"), "{line}");
    }

    #[test]
    fn the_facts_stand_on_one_line_of_eighty_columns_and_on_whole_ones_of_forty() {
        let wide = wrap(facts(&busy()), 80);
        assert_eq!(
            wide,
            "12346 headers/s  4321 blocks/s  123.5 MB/s  0 peers  96 in flight  budget 37%"
        );
        let narrow = wrap(facts(&busy()), 40);
        assert_eq!(
            narrow.split_whitespace().collect::<Vec<_>>(),
            wide.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(narrow.lines().count(), 3);
        assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7_380, "2h 3m"), (180_000, "2d 2h")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
