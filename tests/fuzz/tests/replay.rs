//! Every target reads its corpus, its seeds and real data again, each within its memory.
// how a test fails
#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    fs,
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use moorline_fuzz::{RUN_BYTES_MAX, TARGETS, Target, real, within};

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "corpus", target.name].iter().collect();
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.display().to_string(), fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let named = |(at, seed)| (format!("seed {at} of {}", target.name), seed);
    (target.seeds)().into_iter().enumerate().map(named).collect()
}

fn real_inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let named = |(at, input)| (format!("real input {at} of {}", target.name), input);
    real::inputs(target.name).into_iter().enumerate().map(named).collect()
}

/// One test for all: what one target takes must not count against another.
#[test]
fn every_target_reads_its_corpus_within_its_memory() {
    if !real::is_present() {
        let text = "skipped: inputs from ../shared/data, which is not beside this checkout";
        writeln!(io::stderr(), "{text}").unwrap();
    }
    let trace = concat!(env!("CARGO_TARGET_TMPDIR"), "/replay");
    writeln!(io::stderr(), "if this process ends early, {trace} says at which input").unwrap();
    let mut trace = fs::File::create(trace).unwrap();
    for target in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "the corpus of {} is empty", target.name);
        let mut good = [0, 0, 0];
        for (at, inputs) in [seeds(target), corpus, real_inputs(target)].into_iter().enumerate() {
            for (name, input) in inputs {
                trace.seek(SeekFrom::Start(0)).unwrap();
                trace.set_len(0).unwrap();
                writeln!(trace, "{name}").unwrap();
                good[at] += u32::from(target.run(&input));
            }
        }
        let [seeds, corpus, _] = good;
        assert!(seeds > 0, "no seed of {} is good", target.name);
        assert!(corpus > 0, "nothing in the corpus of {} is good", target.name);
    }
    too_much_memory_is_refused();
}

fn too_much_memory_is_refused() {
    let can_have =
        |bytes| within(RUN_BYTES_MAX, || Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    assert!(can_have(RUN_BYTES_MAX));
    assert!(!can_have(RUN_BYTES_MAX + 1));
    let held = within(RUN_BYTES_MAX, || {
        let _held = vec![1_u8; RUN_BYTES_MAX / 2];
        Vec::<u8>::new().try_reserve_exact(RUN_BYTES_MAX / 2 + 1).is_ok()
    });
    assert!(!held, "what a run holds already counts as well");
}
