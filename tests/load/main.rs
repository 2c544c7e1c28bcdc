//! Loads that take minutes and a release build, each with bounds past which it fails. The scripts in `tests/bench`
//! name the one they want: `cargo bench -p moorline-tests --bench load -- engine`.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod engine;
mod kills;

/// The binary under load.
const MOORLINE: &str = env!("CARGO_BIN_EXE_moorline-under-test");

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("engine") => {
            engine::a_thousand_forkchoices_a_second().await;
            engine::calls_in_a_sync_at_full_speed().await;
        }
        Some("kills") => kills::a_hundred_times().await,
        _ => eprintln!("name a load: engine or kills"),
    }
}

/// What the environment says of a load.
fn option<T: std::str::FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}?")))
}
