//! Where tests find data that nobody on this project wrote.

use serde::de::DeserializeOwned;

/// Reads a JSON file of `../shared/data`; `None`, with a line that says so, where it is absent.
pub(crate) fn load<T: DeserializeOwned>(path: &str) -> Option<T> {
    Some(serde_json::from_slice(&load_bytes(path)?).unwrap())
}

/// Reads any file of `../shared/data`.
pub(crate) fn load_bytes(path: &str) -> Option<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let bytes = std::fs::read(format!("{root}/{path}"));
    if bytes.is_err() {
        say_skipped();
    }
    bytes.ok()
}

/// Bytes behind hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.trim().trim_start_matches("0x")).unwrap()
}

pub(crate) fn unhex_array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
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
