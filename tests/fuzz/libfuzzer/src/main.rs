//! Runs the target that `MOORLINE_FUZZ_TARGET` names under libFuzzer, or prints each target's name and
//! longest input where that is not set. What the target begins with, real data included, is written
//! into the directory that `MOORLINE_FUZZ_SEEDS` names.
#![no_main]

use std::{env, fs, path::Path, process, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use moorline_fuzz::{TARGETS, Target, real};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn named() -> &'static Target {
    let Ok(name) = env::var("MOORLINE_FUZZ_TARGET") else {
        TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.max_len));
        process::exit(0);
    };
    moorline_fuzz::target(&name).expect("MOORLINE_FUZZ_TARGET names no target")
}

fn write_seeds(target: &Target, dir: &Path) {
    fs::create_dir_all(dir).expect("MOORLINE_FUZZ_SEEDS names no directory");
    let inputs = (target.seeds)().into_iter().chain(real::inputs(target.name));
    for (at, input) in inputs.enumerate() {
        // what is made once for all runs belongs to none of them
        (target.read)(&input);
        fs::write(dir.join(at.to_string()), input)
            .expect("MOORLINE_FUZZ_SEEDS cannot be written to");
    }
}

fuzz_target!(
    init: {
        let target = TARGET.get_or_init(named);
        let dir = env::var_os("MOORLINE_FUZZ_SEEDS").expect("MOORLINE_FUZZ_SEEDS is not set");
        write_seeds(target, Path::new(&dir));
    },
    |input: &[u8]| {
        TARGET.get_or_init(named).run(input);
    }
);
