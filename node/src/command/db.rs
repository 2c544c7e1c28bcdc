//! `moorline db stats` and `moorline db check`

use eyre::{Result, bail};
use indicatif::HumanBytes;

use crate::{cli::DbCommand, datadir::existing};

pub(crate) fn run(command: DbCommand) -> Result<()> {
    match command {
        DbCommand::Stats { place, json } => stats(&existing(&place)?, json),
        DbCommand::Check { place, json } => check(&existing(&place)?, json),
    }
}

fn stats(disk: &moorline_store::Disk, json: bool) -> Result<()> {
    let stats = disk.stats()?;
    if json {
        println!("{}", serde_json::to_string(&stats)?);
        return Ok(());
    }
    println!("tip        {}", stats.tip);
    println!("earliest   {}", stats.earliest);
    println!("canonical  {} blocks", stats.canonical);
    println!("headers    {}", stats.headers);
    println!("bodies     {} in {}", stats.bodies, HumanBytes(stats.bodies_bytes));
    println!("index      {}", HumanBytes(stats.index_bytes));
    println!("unfinished {} spans", stats.spans.len());
    Ok(())
}

fn check(disk: &moorline_store::Disk, json: bool) -> Result<()> {
    let bar = indicatif::ProgressBar::new(0);
    let report = disk.check(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{} blocks read back, {} bodies reached", report.blocks, report.pointers);
        for found in &report.faults {
            println!("block {}: {}", found.block, found.fault);
        }
    }
    if !report.is_sound() {
        bail!("the store has {} faults: move it aside and sync again", report.fault_count);
    }
    Ok(())
}
