//! The trace of what actors tell one another: recorder, file format, reader, analysis.

pub mod batch;
mod careful;
pub mod check;
pub mod diff;
mod encode;
pub mod export;
mod feed;
pub mod follow;
pub mod line;
pub mod model;
mod quick;
pub mod reader;
mod recorder;
pub mod stats;

pub use feed::{Feed, MAX_GAPS};
pub use model::Model;
pub use reader::{Loaded, ReadError, load};
pub use recorder::{FlightRecorder, Live, RecorderConfig, RecorderError, Recording, WhenFull};

#[cfg(test)]
mod analysis_tests;
#[cfg(test)]
mod robustness_tests;
