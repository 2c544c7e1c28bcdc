//! The trace in a terminal, for a session over ssh: status, latencies, what was slow, one key followed.

mod app;
mod draw;
mod sheet;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::{
    error::ViewerError,
    source::{Source, watch},
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

/// Shows a trace in the terminal until `q` is pressed. The terminal is restored, also after a panic.
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
    let mut terminal = ratatui::try_init().map_err(ViewerError::Terminal)?;
    let mut app = App::new(watched);
    let ended = loop {
        app.refresh();
        if let Err(error) = terminal.draw(|frame| draw::draw(&app, frame)) {
            break Err(error);
        }
        match next_key() {
            Ok(Some(key)) if app.press(key) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    ended.map_err(ViewerError::Terminal)
}

fn next_key() -> io::Result<Option<event::KeyEvent>> {
    if !event::poll(REDRAW)? {
        return Ok(None);
    }
    match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => Ok(Some(key)),
        _ => Ok(None),
    }
}
