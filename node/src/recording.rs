//! The trace of a run: what is recorded of it, and what has it written down.

use std::path::Path;

use eyre::Result;
use moorline_kit::Tracer;
use moorline_trace::{FlightRecorder, RecorderConfig, Recording};
use tokio::signal::unix::{SignalKind, signal};

use crate::{config::TraceSettings, node::CLIENT};

/// What runs while a node runs, to record it.
#[derive(Debug)]
pub(crate) struct Recorded {
    tracer: Tracer,
    recording: Recording,
}

impl Recorded {
    /// Starts to record. Without a directory the last records are kept in memory, and written to
    /// `flights` when an actor panics or a signal asks for it.
    pub(crate) fn start(settings: &TraceSettings, flights: &Path) -> Result<Self> {
        let config = RecorderConfig {
            dir: settings.dir.clone(),
            flights: Some(flights.to_owned()),
            compress: settings.compress,
            ..RecorderConfig::new(CLIENT)
        };
        let (tracer, recording) = Recording::start(config)?;
        tokio::spawn(write_when_asked(recording.flight_recorder()));
        Ok(Self { tracer, recording })
    }

    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Writes what is still in memory.
    pub(crate) async fn stop(self) {
        drop(tokio::task::spawn_blocking(move || self.recording.stop()).await);
    }
}

/// On SIGUSR1, as long as the recording goes on.
async fn write_when_asked(flights: FlightRecorder) {
    let Ok(mut asked) = signal(SignalKind::user_defined1()) else { return };
    while asked.recv().await.is_some() {
        flights.write();
    }
}
