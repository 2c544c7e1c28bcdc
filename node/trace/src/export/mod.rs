//! Traces in the formats of other tools.

mod otlp;
mod perfetto;

pub use otlp::{MAX_SPANS, otlp};
pub use perfetto::perfetto;

use crate::model::Columns;

/// When a row's handling began, was over, and came to its very end; in nanoseconds since the run began.
#[derive(Clone, Copy)]
struct Times {
    sent: u64,
    begun: u64,
    over: u64,
    end: u64,
}

fn times(columns: &Columns, row: usize) -> Option<Times> {
    let part = |column: &[f32]| column.get(row).copied().filter(|part| part.is_finite());
    let sent = columns.t.get(row).copied()? as u64;
    let begun = sent.saturating_add(part(&columns.wait)? as u64);
    let over = begun.saturating_add(part(&columns.busy).unwrap_or_default() as u64);
    let end = over.saturating_add(part(&columns.late).unwrap_or_default() as u64);
    Some(Times { sent, begun, over, end })
}

#[cfg(test)]
mod tests;
