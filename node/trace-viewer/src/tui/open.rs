//! What was sent and is not done yet.

use moorline_trace::{
    Model,
    model::{NO_PORT, state},
};

use super::{
    sheet::{ROWS_MAX, Sheet, Target},
    status::Moment,
};
use crate::text::{duration, tame};

/// Messages that are in a mailbox, being handled, or lost; the oldest first.
pub(super) fn open(model: &Model, moment: Moment) -> Sheet {
    let columns = model.columns();
    let rows = columns.state.iter().enumerate();
    let open: Vec<usize> =
        rows.filter(|(_, now)| **now == state::IN_FLIGHT).map(|(row, _)| row).collect();
    let above = match open.len() {
        0 => "nothing waits, and nothing is being handled".to_owned(),
        open => format!("{open} wait, are being handled, or were lost; the oldest first"),
    };
    let mut sheet = Sheet::new(above, &["message", "sent", "mailbox", "from", "to", "note"]);
    for row in open.into_iter().take(ROWS_MAX) {
        let lane = |column: &[u8]| tame(column.get(row).map_or("", |lane| model.lane_name(*lane)));
        let ago_ns = moment.ns - columns.t.get(row).copied().unwrap_or_default();
        sheet.push(
            Target::Row(row),
            columns.bad.get(row) == Some(&1),
            vec![
                tame(model.type_name(row)),
                format!("{} ago", duration(ago_ns)),
                depth(model, row),
                lane(&columns.from),
                lane(&columns.to),
                tame(model.note(row)),
            ],
        );
    }
    sheet
}

/// How full its port was when it was sent.
fn depth(model: &Model, row: usize) -> String {
    let columns = model.columns();
    let port = columns.port.get(row).copied().unwrap_or(NO_PORT);
    let depth = columns.depth.get(row).copied().unwrap_or_default();
    match model.ports().get(&port).filter(|port| port.items > 0) {
        Some(port) => format!("{depth}/{}", port.items),
        None => "-".to_owned(),
    }
}
