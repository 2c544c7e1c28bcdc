//! The trace in a terminal, for a session over ssh: who is busy, who waits for whom, what was slow, one key followed.

mod app;
mod draw;
mod open;
mod sheet;
mod status;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    error::ViewerError,
    source::{Source, spawn, watch},
};
use app::App;

/// How long a key is waited for before the screen is drawn again.
const REDRAW: Duration = Duration::from_millis(250);

/// What to look at.
#[derive(Clone, Debug)]
pub struct TuiArgs {
    /// A file, a directory, or the `http://` address of a running node.
    pub source: String,
}

/// Shows a trace in the terminal until `q` is pressed or a signal asks for the end. The terminal is restored, also
/// after a panic.
///
/// # Errors
///
/// When output is no terminal, or the trace cannot be read.
pub fn tui(args: &TuiArgs) -> Result<(), ViewerError> {
    if !io::stdout().is_terminal() {
        return Err(ViewerError::NoTerminal);
    }
    let (watched, ready) = watch(&Source::open(&args.source)?)?;
    // a thread that ended without a word has nothing more to tell
    let _ = ready.recv();
    watched.is_a_trace()?;
    let ended = end_by_signal()?;
    let terminal = ratatui::try_init().map_err(ViewerError::Terminal)?;
    let broken = tell_of_panics();
    let shown = show(terminal, App::new(watched), &ended, &broken);
    ratatui::restore();
    if broken.load(Ordering::Relaxed) {
        return Err(ViewerError::Broken);
    }
    shown.map_err(ViewerError::Terminal)
}

fn show(
    mut terminal: DefaultTerminal,
    mut app: App,
    ended: &AtomicBool,
    broken: &AtomicBool,
) -> io::Result<()> {
    while !ended.load(Ordering::Relaxed) && !broken.load(Ordering::Relaxed) {
        app.refresh(now());
        terminal.draw(|frame| draw::draw(&app, frame))?;
        // what was pasted is taken in before the next drawing
        let mut wait = REDRAW;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && app.press(key) => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a terminal and whoever looks at it live in real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// A signal would end the process at once, and leave the terminal as it is.
fn end_by_signal() -> Result<Arc<AtomicBool>, ViewerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ViewerError::Start)?;
    let ended = Arc::new(AtomicBool::new(false));
    let signalled = ended.clone();
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let signals = {
        let _entered = runtime.enter();
        kinds.map(signal)
    };
    spawn("trace-signals", move || {
        let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = signals else { return };
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        signalled.store(true, Ordering::Relaxed);
    })?;
    Ok(ended)
}

/// The terminal is restored before a panic is printed: nothing may be drawn after it, whichever thread it was on.
fn tell_of_panics() -> Arc<AtomicBool> {
    let broken = Arc::new(AtomicBool::new(false));
    let (told, restoring) = (broken.clone(), panic::take_hook());
    panic::set_hook(Box::new(move |about| {
        told.store(true, Ordering::Relaxed);
        restoring(about);
    }));
    broken
}
