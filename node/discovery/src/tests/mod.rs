//! The crate as the node uses it, on loopback; and where tests find data of others.
#![allow(clippy::arithmetic_side_effects)]

mod gate;
mod record;
mod swarm;

use serde::de::DeserializeOwned;

/// Reads a JSON file of `../shared/data`; `None`, with a line that says so, where it is absent.
pub(crate) fn load<T: DeserializeOwned>(path: &str) -> Option<T> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let Ok(bytes) = std::fs::read(format!("{root}/{path}")) else {
        say_skipped();
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// Says once that tests are skipped, past the test runner's capture of what tests print.
fn say_skipped() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        use std::io::Write;
        let text = "skipped: tests that read ../shared/data, which is not beside this checkout";
        writeln!(std::io::stderr(), "{text}").unwrap();
    });
}

/// Bytes behind hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.trim().trim_start_matches("0x")).unwrap()
}

pub(crate) fn unhex_array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}
