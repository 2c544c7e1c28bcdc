//! `moorline db stats` and `moorline db check`

use eyre::{Result, bail};
use indicatif::HumanBytes;

use crate::{cli::DbCommand, datadir::existing, terminal};

pub(crate) fn run(command: DbCommand) -> Result<()> {
    match command {
        DbCommand::Stats { place, json } => stats(&existing(&place)?, json),
        DbCommand::Check { place, json } => check(&existing(&place)?, json),
    }
}

fn stats(disk: &moorline_store::Disk, json: bool) -> Result<()> {
    let stats = disk.stats()?;
    if json {
        return terminal::print(&serde_json::to_string(&stats)?);
    }
    let lines = [
        format!("tip        {}", stats.tip),
        format!("earliest   {}", stats.earliest),
        format!("canonical  {} blocks, the genesis block aside", stats.canonical),
        format!("headers    {}", stats.headers),
        format!("bodies     {}", stats.bodies),
        format!(
            "receipts   {}",
            if stats.keeps_receipts { stats.receipts.to_string() } else { "not kept".to_owned() }
        ),
        format!("files      {}", HumanBytes(stats.blocks_bytes)),
        format!("index      {}", HumanBytes(stats.index_bytes)),
        format!("unfinished {} spans", stats.spans.len()),
    ];
    terminal::print(&lines.join("\n"))
}

fn check(disk: &moorline_store::Disk, json: bool) -> Result<()> {
    let bar = terminal::bar();
    let report = disk.check(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("{} of {}", progress.done, progress.total));
    })?;
    bar.finish_and_clear();
    if json {
        terminal::print(&serde_json::to_string(&report)?)?;
    } else {
        let (blocks, records) = (report.blocks, report.pointers);
        let receipts = if disk.keeps_receipts() {
            format!(", {} of them with transactions and their receipts", report.receipts)
        } else {
            String::new()
        };
        terminal::print(&format!(
            "{blocks} blocks proved again{receipts}, {records} records reached"
        ))?;
        for found in &report.faults {
            terminal::print(&format!("block {}: {}", found.block, found.fault))?;
        }
    }
    if !report.is_sound() {
        bail!("the store has {} faults: move it aside and sync again", report.fault_count);
    }
    Ok(())
}
