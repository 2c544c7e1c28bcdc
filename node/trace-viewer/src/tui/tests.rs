use std::sync::Arc;

use moorline_trace::{Feed, Model};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{app::App, draw::draw};
use crate::watched::Watched;

const TRACE: &str = concat!(
    r#"{"v":1,"k":"hdr","run":"r","by":"moorline/test","t0_unix_ns":"1700000000000000000","clock":"real","segment":0,"ports":[{"p":1,"name":"tree.in","to":"tree","items":8,"bytes":1000}]}"#,
    "\n",
    r#"{"q":0,"t":1000,"k":"send","f":"engine-api","to":"tree","m":"TreeRequest::ForkchoiceUpdated","id":1,"p":1,"d":4,"key":{"n":77}}"#,
    "\n",
    r#"{"q":1,"t":2000,"k":"send","f":"tree","to":"downloader","m":"Evil\u001b[2J\u202ename","id":2,"c":1,"r":1,"key":{"n":77},"note":"geth\u0007"}"#,
    "\n",
    r#"{"q":2,"t":3000,"k":"done","to":"tree","m":"TreeRequest::ForkchoiceUpdated","id":1,"p":1,"d":4,"w":500,"b":1500}"#,
    "\n",
    r#"{"q":3,"t":9000,"k":"panic","to":"downloader","id":2,"note":"boom\u001b]0;x\u0007"}"#,
    "\n",
);

fn app() -> App {
    let watched = Watched::new("trace\u{1b}[31m.jsonl", Model::new(), false, None);
    let mut feed = Feed::new();
    feed.push(TRACE.as_bytes());
    watched.absorb(&feed.take());
    App::new(Arc::new(watched))
}

fn press(app: &mut App, code: KeyCode) -> bool {
    let ended = app.press(KeyEvent::new(code, KeyModifiers::NONE));
    app.refresh();
    ended
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    app.refresh();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn the_status_shows_lanes_with_their_mailboxes() {
    let text = screen(&mut app(), 80, 24);
    println!("{text}");
    assert!(text.contains("2 rows, ended: trace\\u{1b}[31m.jsonl"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("tree ") && l.contains("4/8 ####....")), "{text}");
    let downloader = text.lines().find(|line| line.starts_with("downloader")).unwrap();
    assert_eq!(downloader.split_whitespace().rev().nth(2), Some("1"), "its panic: {text}");
}

#[test]
fn every_table_fits_any_terminal_and_obeys_no_text() {
    for (width, height) in [(80, 24), (40, 12), (200, 60), (10, 3), (1, 1)] {
        let mut app = app();
        for _ in 0..5 {
            let text = screen(&mut app, width, height);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(!text.contains('\u{202e}'));
            press(&mut app, KeyCode::Tab);
        }
    }
}

#[test]
fn in_a_small_terminal_the_first_columns_are_there() {
    let mut app = app();
    press(&mut app, KeyCode::Tab);
    let text = screen(&mut app, 40, 12);
    println!("{text}");
    assert!(
        text.contains("message") && text.contains("count") && text.contains("TreeRequest"),
        "{text}"
    );
}

#[test]
fn a_typed_number_is_followed() {
    let mut app = app();
    for c in "/77".chars() {
        assert!(!press(&mut app, KeyCode::Char(c)));
    }
    press(&mut app, KeyCode::Enter);
    let text = screen(&mut app, 100, 24);
    println!("{text}");
    assert!(text.contains("77: 2 hops"), "{text}");
    assert!(text.contains("TreeRequest::ForkchoiceUpdated"), "{text}");
}

#[test]
fn what_is_no_key_is_said_and_not_followed() {
    let mut app = app();
    for c in "/zz".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 24).contains("a key is a block hash"));
}

#[test]
fn enter_leads_from_a_message_to_its_slowest_and_on_to_its_block() {
    let mut app = app();
    press(&mut app, KeyCode::Tab);
    app.refresh();
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 24).contains("only TreeRequest::ForkchoiceUpdated"));
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 24).contains("77: 2 hops"));
}

#[test]
fn q_and_control_c_end_it_but_not_while_typing_a_q() {
    let mut app = app();
    assert!(press(&mut app, KeyCode::Char('q')));
    assert!(app.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    press(&mut app, KeyCode::Char('/'));
    assert!(!press(&mut app, KeyCode::Char('q')));
}
