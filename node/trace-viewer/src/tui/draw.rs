//! Putting it on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use super::{
    app::{App, Tab},
    sheet::Sheet,
};
use crate::text::tame;

/// The first column is cut rather than others left out, down to this many cells or this share of the width.
const FIRST_MIN_CELLS: usize = 16;
const FIRST_MIN_PERCENT: usize = 42;
/// Lines of what is said above a table, at most.
const ABOVE_LINES_MAX: usize = 4;
/// A terminal of fewer lines has none to spare.
const ROOMY_LINES: u16 = 16;
/// Cells of words that are worth being shown when there is no room for all.
const WORDS_MIN_CELLS: usize = 8;
/// Heads of the columns that hold words.
const WORDS: [&str; 6] = ["from", "to", "lane", "note", "handling", "longest of"];
const HELP: &str = "Tab, left, right, 1-6  another table\nup, down, PgUp, PgDn   another row, also Home, End\n\
Enter                  from a lane or a message to its slowest,\n                       from a row to all that was done about its block\n\
/                      follow a block, number, peer or session\ns                      sort the latencies otherwise\n\
p                      pause, go on\nEsc                    show all messages again\nq, Ctrl-C              end\n\n\
any key closes this";

pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let above = above_lines(app, frame.area());
    let foot_lines = foot_lines(app, usize::from(frame.area().width));
    let [title, tabs, said, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(u16::try_from(above.len()).unwrap_or_default()),
        Constraint::Min(1),
        Constraint::Length(u16::try_from(foot_lines.len()).unwrap_or(1)),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(app.title.as_str(), bold), title);
    frame.render_widget(tab_line(app.tab), tabs);
    frame.render_widget(Paragraph::new(above), said);
    frame.render_widget(Paragraph::new(foot_lines), foot);
    if app.help {
        return frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), body);
    }
    let upper = match &app.below {
        Some(_) => u16::try_from(app.sheet.rows.len()).unwrap_or(u16::MAX).saturating_add(2),
        None => body.height,
    };
    let [body, below] = Layout::vertical([Constraint::Max(upper), Constraint::Min(0)]).areas(body);
    table(frame, &app.sheet, Some(app.selected), body);
    // a head alone says nothing
    if let Some(sheet) = app.below.as_ref().filter(|_| below.height > 1) {
        table(frame, sheet, None, below);
    }
}

fn above_lines(app: &App, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width).max(1);
    let most = usize::from(area.height / 3).min(ABOVE_LINES_MAX);
    let said = app.source_said.iter().flat_map(|said| fold(&tame(said), width));
    let said = said.map(|line| Line::styled(line, Style::new().fg(Color::Red)));
    let above = fold(&app.sheet.above, width).into_iter().map(Line::raw);
    let mut lines: Vec<_> = said.chain(above).take(most).collect();
    if lines.len() < most && area.height >= ROOMY_LINES {
        lines.push(Line::raw(""));
    }
    lines
}

/// Lines of at most so many characters, broken between words where it can be.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let used = lines.last().map_or(0, |line| line.chars().count());
        let needed = used.saturating_add(1).saturating_add(word.chars().count());
        match lines.last_mut() {
            Some(line) if used == 0 => line.push_str(word),
            Some(line) if needed <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn tab_line(shown: Tab) -> Line<'static> {
    let spans = Tab::ALL.into_iter().flat_map(|tab| {
        let style =
            if tab == shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(tab.name(), style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn foot_lines(app: &App, width: usize) -> Vec<Line<'static>> {
    match (&app.typed, &app.said) {
        (Some(typed), _) => {
            let shown = format!("follow: {}_", tame(typed));
            let surplus = shown.chars().count().saturating_sub(width);
            vec![Line::raw(shown.chars().skip(surplus).collect::<String>())]
        }
        (None, Some(said)) => {
            let red = Style::new().fg(Color::Red);
            let lines = fold(said, width).into_iter().take(ABOVE_LINES_MAX);
            lines.map(|line| Line::styled(line, red)).collect()
        }
        (None, None) if app.paused => vec![Line::raw("paused  p goes on  q end  ? keys")],
        (None, None) => vec![Line::raw("q end  Tab next  / follow  ? keys")],
    }
}

fn table(frame: &mut Frame<'_>, sheet: &Sheet, selected: Option<usize>, area: Rect) {
    if sheet.rows.is_empty() {
        return;
    }
    let room = usize::from(area.height).saturating_sub(1);
    let first = selected.unwrap_or_default().saturating_sub(room.saturating_sub(1));
    let widths = widths(sheet, usize::from(area.width), first, room);
    let head: Vec<String> = sheet.head.iter().map(|cell| (*cell).to_owned()).collect();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::styled(row_text(sheet, &head, &widths), bold)];
    for (index, row) in sheet.rows.iter().enumerate().skip(first).take(room) {
        let mut style = Style::new();
        if row.is_bad {
            style = style.fg(Color::Red);
        }
        if selected == Some(index) {
            style = style.add_modifier(Modifier::REVERSED);
        }
        lines.push(Line::styled(row_text(sheet, &row.cells, &widths), style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// How wide columns are; of those for which there is no room, none.
fn widths(sheet: &Sheet, total: usize, first: usize, room: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = sheet.head.iter().map(|cell| cell.chars().count()).collect();
    for row in sheet.rows.iter().skip(first).take(room) {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let Some((name, others)) = widths.split_first() else { return widths };
    let share = total.saturating_mul(FIRST_MIN_PERCENT) / 100;
    let reserved = FIRST_MIN_CELLS.max(share).min(*name);
    let mut left = total.saturating_sub(reserved);
    let mut kept = Vec::new();
    for (head, width) in sheet.head.iter().skip(1).zip(others) {
        let room = left.saturating_sub(1);
        let is_cut = *width > room;
        if is_cut && (!WORDS.contains(head) || room < WORDS_MIN_CELLS) {
            break;
        }
        kept.push((*width).min(room));
        left = room.saturating_sub(*width);
        if is_cut {
            break;
        }
    }
    let first_width = reserved.saturating_add(left).min(*name);
    std::iter::once(first_width).chain(kept).collect()
}

fn row_text(sheet: &Sheet, cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cut: String = cell.chars().take(*width).collect();
        let width = *width;
        let is_word = sheet.head.get(index).is_some_and(|head| WORDS.contains(head));
        match (index, is_word) {
            (0, _) => text.push_str(&format!("{cut:<width$}")),
            (_, true) => text.push_str(&format!(" {cut:<width$}")),
            _ => text.push_str(&format!(" {cut:>width$}")),
        }
    }
    text
}
