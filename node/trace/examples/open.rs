//! How long a trace takes to open and to follow: `open FILE|DIR [KEY]`.

use std::{env, path::Path};

use moorline_trace::{
    check::{Checks, check},
    follow::{Key, follow},
    load,
    stats::stats,
};

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = moorline_kit::now();
    let made = work();
    println!("{what:>8} {:>9.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    made
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).ok_or("name a trace: open FILE|DIR [KEY]")?;
    let loaded = timed("open", || load(Path::new(&path)))?;
    let model = &loaded.model;
    println!("{:>8} {}", "rows", model.rows());
    let middle = model.hashes().get(model.hashes().len() / 2).copied().unwrap_or_default();
    let key = env::args().nth(2).map_or(Ok(Key::Hash(middle)), |key| key.parse())?;
    let followed = timed("follow", || follow(model, &key));
    println!("{:>8} {}", "hops", followed.hops.len());
    timed("stats", || stats(model));
    let findings = timed("check", || check(model, &Checks::default()));
    for finding in findings.iter().take(5) {
        println!("{:?} {} x {}", finding.severity, finding.count, finding.what);
    }
    Ok(())
}
