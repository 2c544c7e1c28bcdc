//! Standard error, shared by log lines, a command's own words and at most one progress bar.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use eyre::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar at the bottom of the terminal; invisible where standard error is none.
pub(crate) fn bar() -> ProgressBar {
    BARS.add(ProgressBar::new(1).with_style(moving()))
}

/// Columns of the terminal.
pub(crate) fn width() -> usize {
    usize::from(console::Term::stderr().size().1)
}

/// How a bar looks while something is missing: its words fit into its lines already.
pub(crate) fn moving() -> ProgressStyle {
    style("{wide_bar:.cyan/blue} {prefix}\n{msg}")
}

/// How it looks while nothing is: only its words.
pub(crate) fn resting() -> ProgressStyle {
    style("{wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Says something above the bar. Where nobody listens it is lost.
pub(crate) fn say(text: &str) {
    drop(BARS.suspend(|| writeln!(io::stderr(), "{text}")));
}

/// Prints a result. A reader that has left, as `head` does, is no failure.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).wrap_err("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// A writer for log lines: each goes above the bar, whole.
#[derive(Debug, Default)]
pub(crate) struct AboveTheBar(Vec<u8>);

impl Write for AboveTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.0);
        BARS.suspend(|| io::stderr().write_all(&line))
    }
}

impl Drop for AboveTheBar {
    fn drop(&mut self) {
        // a log line that cannot be written has nowhere to be reported
        drop(self.flush());
    }
}
