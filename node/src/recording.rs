//! The trace of a run: what is recorded of it, and what has it written down.

use std::path::Path;

use eyre::Result;
use moorline_kit::Tracer;
use moorline_trace::{FlightRecorder, Live, RecorderConfig, Recording};
use moorline_trace_viewer::{Serving, serve_live};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{config::TraceSettings, node::CLIENT};

/// What runs while a node runs, to record it.
#[derive(Debug)]
pub(crate) struct Recorded {
    tracer: Tracer,
    recording: Recording,
    /// Shows the run while it goes on.
    page: Option<Serving>,
}

impl Recorded {
    /// Starts to record. Without a directory the last records are kept in memory, and written to
    /// `flights` when an actor panics or a signal asks for it.
    pub(crate) fn start(settings: &TraceSettings, flights: &Path) -> Result<Self> {
        if settings.compress && settings.dir.is_none() {
            tracing::warn!("--trace-compress does nothing without --trace");
        }
        let (live, page) = match settings.listen {
            Some(addr) => {
                let (sender, page) = serve_live(addr)?;
                tracing::info!("the trace is shown at {}", page.url());
                let live: Live = Box::new(move |lines| sender.offer(lines));
                (Some(live), Some(page))
            }
            None => (None, None),
        };
        let config = RecorderConfig {
            dir: settings.dir.clone(),
            flights: Some(flights.to_owned()),
            compress: settings.compress,
            live,
            ..RecorderConfig::new(CLIENT)
        };
        let (tracer, recording) = Recording::start(config)?;
        // before anything else runs: the signal ends a process that does not expect it
        match signal(SignalKind::user_defined1()) {
            Ok(asked) => drop(tokio::spawn(write_when_asked(asked, recording.flight_recorder()))),
            Err(error) => tracing::warn!(%error, "SIGUSR1 cannot be had"),
        }
        Ok(Self { tracer, recording, page })
    }

    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Writes what is still in memory, and shows nothing any more.
    pub(crate) async fn stop(self) {
        let Self { recording, page, .. } = self;
        let ends = tokio::task::spawn_blocking(move || {
            recording.stop();
            drop(page);
        });
        drop(ends.await);
    }
}

/// On SIGUSR1, as long as the recording goes on.
async fn write_when_asked(mut asked: Signal, flights: FlightRecorder) {
    while asked.recv().await.is_some() {
        flights.write();
    }
}
