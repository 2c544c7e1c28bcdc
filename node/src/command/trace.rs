//! `moorline trace`

use std::{fs::File, io::BufWriter, path::Path};

use eyre::{Context, Result, bail};
use moorline_trace::{
    Model,
    check::{Checks, Severity, check},
    diff::diff,
    export::{otlp, perfetto},
    follow::{Key, follow},
    load,
    reader::segments,
    stats::stats,
};
use moorline_trace_viewer::{SnapshotArgs, TuiArgs, ViewArgs, snapshot, text, tui, view};
use serde::Serialize;

use crate::{
    cli::{ExportForm, TraceArg, TraceCommand},
    failure::Misuse,
    terminal,
    whole_file::write_whole,
};

pub(crate) fn run(command: TraceCommand) -> Result<()> {
    match command {
        TraceCommand::View { source, out: Some(out), .. } => write_page(&source, &out),
        TraceCommand::View { source, against, listen, out: None } => {
            serve_page(&ViewArgs { source, against, listen })
        }
        TraceCommand::Tui { source } => Ok(tui(&TuiArgs { source })?),
        TraceCommand::Stats { trace } => {
            let found = stats(&read(&trace.path)?);
            tell(&trace, &found, || text::stats(&found))
        }
        TraceCommand::Check { trace, within } => look_for_faults(&trace, within),
        TraceCommand::Follow { key, trace } => show_hops(&key, &trace),
        TraceCommand::Diff { a, b } => {
            let names = (a.display().to_string(), b.path.display().to_string());
            let found = diff((&names.0, &read(&a)?), (&names.1, &read(&b.path)?));
            tell(&b, &found, || text::diff(&found))
        }
        TraceCommand::Export { form, trace, out } => export(form, &trace, &out),
    }
}

/// Reads a trace, and says what of it cannot be read.
fn read(path: &Path) -> Result<Model> {
    if path.to_string_lossy().starts_with("http://") {
        let text = "only view and tui read a running node; this reads a file or a directory";
        bail!(Misuse(text.to_owned()));
    }
    let loaded = load(path)?;
    for skipped in loaded.model.skipped() {
        let times = if skipped.count == 1 { "once" } else { &format!("{} times", skipped.count) };
        let place = match (&*skipped.place.file, skipped.place.line) {
            ("", _) => String::new(),
            (file, line) => format!(", first in line {line} of {file}"),
        };
        let text = format!("warning: skipped {}, {times}{place}", skipped.what);
        terminal::say(&text::tame(&text));
    }
    if loaded.model.rows() == 0 && loaded.model.header().run.is_empty() {
        bail!("{} is not a trace: it has neither a header nor messages", path.display());
    }
    let left_out = loaded.segments.left_out.len();
    if left_out > 0 {
        terminal::say(&format!(
            "note: {} holds other recordings too ({left_out} of its files); name a file to read its run",
            path.display()
        ));
    }
    Ok(loaded.model)
}

fn tell(how: &TraceArg, found: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if how.json {
        terminal::print(&serde_json::to_string(found)?)
    } else {
        terminal::print(text().trim_end())
    }
}

fn serve_page(args: &ViewArgs) -> Result<()> {
    let serving = view(args)?;
    terminal::print(&serving.url())?;
    terminal::say("open it in a browser on this machine; Ctrl-C ends it");
    super::on_actix(async {
        super::asked_to_end().await;
        Ok(())
    })
}

/// Refuses to write over what is read.
fn keep_apart(trace: &Path, out: &Path) -> Result<()> {
    let Ok(out_file) = out.canonicalize() else { return Ok(()) };
    let files = segments(trace)?.files;
    if files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == out_file)) {
        bail!(Misuse(format!("{} is the trace itself: name another file to write", out.display())));
    }
    Ok(())
}

fn write_page(source: &str, out: &Path) -> Result<()> {
    keep_apart(Path::new(source), out)?;
    let written = write_whole(out, |path| {
        Ok(snapshot(&SnapshotArgs { trace: source.into(), out: path.to_owned() })?)
    })?;
    if written.trimmed_rows > 0 {
        terminal::say(&format!(
            "note: the first {} messages are left out: a page holds {}",
            written.trimmed_rows, written.rows
        ));
    }
    terminal::say(&format!("{} messages written to {}", written.rows, out.display()));
    Ok(())
}

fn look_for_faults(trace: &TraceArg, within: Vec<moorline_trace::check::Within>) -> Result<()> {
    let model = read(&trace.path)?;
    let findings = check(&model, &Checks { within, ..Checks::default() });
    tell(trace, &findings, || text::findings(&findings))?;
    let wrong = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if wrong > 0 {
        bail!("something is wrong: {wrong} of what is listed above must not be");
    }
    Ok(())
}

fn show_hops(key: &Key, trace: &TraceArg) -> Result<()> {
    let model = read(&trace.path)?;
    let followed = follow(&model, key);
    if followed.hops.is_empty() {
        bail!("nothing in {} is about that", trace.path.display());
    }
    tell(trace, &text::followed_json(&model, &followed), || text::followed(&model, &followed))
}

fn export(form: ExportForm, trace: &Path, out: &Path) -> Result<()> {
    keep_apart(trace, out)?;
    let model = read(trace)?;
    let cannot = || format!("cannot write {}", out.display());
    let write = |path: &Path| {
        let mut file = BufWriter::new(File::create(path).wrap_err_with(cannot)?);
        match form {
            ExportForm::Perfetto => perfetto(&model, &mut file),
            ExportForm::Otlp => otlp(&model, &mut file),
        }
        .wrap_err_with(cannot)?;
        std::io::Write::flush(&mut file).wrap_err_with(cannot)
    };
    write_whole(out, write)
}
