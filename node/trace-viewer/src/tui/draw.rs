//! Putting it on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use super::app::{App, Tab};
use crate::text::tame;

/// The first column is cut rather than others left out, down to this many cells.
const FIRST_MIN_CELLS: usize = 16;
const HELP: &str = "Tab, arrows  another table, another row\nEnter        from a message to its slowest, \
from a row to its block\n/            follow a block, number, peer or session\ns            sort the latencies\n\
Esc          show all messages again\nq, Ctrl-C    end\nany key closes this";

pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let lines = [1, 1, 2].map(Constraint::Length);
    let [title, tabs, above] = lines;
    let areas = Layout::vertical([title, tabs, above, Constraint::Min(1), Constraint::Length(1)]);
    let [title, tabs, above, body, foot] = areas.areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(app.title.as_str(), bold), title);
    frame.render_widget(tab_line(app.tab), tabs);
    frame.render_widget(Paragraph::new(app.sheet.above.as_str()).wrap(Wrap { trim: true }), above);
    frame.render_widget(foot_line(app), foot);
    if app.help {
        return frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), body);
    }
    let room = usize::from(body.height).saturating_sub(1);
    let first = app.selected.saturating_sub(room.saturating_sub(1));
    let widths = widths(app, usize::from(body.width), first, room);
    let head: Vec<String> = app.sheet.head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut lines = vec![Line::styled(row_text(&head, &widths), bold)];
    for (index, row) in app.sheet.rows.iter().enumerate().skip(first).take(room) {
        let style = if index == app.selected {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        lines.push(Line::styled(row_text(row, &widths), style));
    }
    frame.render_widget(Paragraph::new(lines), body);
}

fn tab_line(shown: Tab) -> Line<'static> {
    let spans = Tab::ALL.into_iter().flat_map(|tab| {
        let style =
            if tab == shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(tab.name(), style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn foot_line(app: &App) -> Line<'static> {
    match (&app.typed, &app.said) {
        (Some(typed), _) => Line::raw(format!("follow: {}_", tame(typed))),
        (None, Some(said)) => Line::raw(said.clone()),
        (None, None) => Line::raw("q end  Tab next  / follow  ? keys"),
    }
}

/// How wide columns are; of those for which there is no room, none.
fn widths(app: &App, total: usize, first: usize, room: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = app.sheet.head.iter().map(|cell| cell.chars().count()).collect();
    for row in app.sheet.rows.iter().skip(first).take(room) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let Some((name, others)) = widths.split_first() else { return widths };
    let mut left = total.saturating_sub(FIRST_MIN_CELLS.min(*name));
    let kept: Vec<usize> = others
        .iter()
        .map_while(|width| {
            left = left.checked_sub(width.saturating_add(1))?;
            Some(*width)
        })
        .collect();
    let first_width = FIRST_MIN_CELLS.min(*name).saturating_add(left).min(*name);
    std::iter::once(first_width).chain(kept).collect()
}

fn row_text(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cut: String = cell.chars().take(*width).collect();
        let width = *width;
        if index == 0 {
            text.push_str(&format!("{cut:<width$}"));
        } else {
            text.push_str(&format!(" {cut:>width$}"));
        }
    }
    text
}
