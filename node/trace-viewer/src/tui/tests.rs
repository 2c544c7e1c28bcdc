use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use moorline_trace::{Feed, Model};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{app::App, draw::draw, now};
use crate::watched::Watched;

const TRACE: &str = concat!(
    r#"{"v":1,"k":"hdr","run":"r","by":"moorline/test","t0_unix_ns":"1700000000000000000","clock":"real","segment":0,"ports":[{"p":1,"name":"tree.in","to":"tree","items":8,"bytes":1000},{"p":2,"name":"store.in","to":"store","items":4,"bytes":1000}]}"#,
    "\n",
    r#"{"q":0,"t":1000,"k":"send","f":"engine-api","to":"tree","m":"TreeRequest::ForkchoiceUpdated","id":1,"p":1,"d":4,"key":{"n":77}}"#,
    "\n",
    r#"{"q":1,"t":2000,"k":"send","f":"tree","to":"downloader","m":"Evil\u001b[2J\u202ename","id":2,"c":1,"r":1,"key":{"n":77},"note":"geth\u0007"}"#,
    "\n",
    r#"{"q":2,"t":3000,"k":"done","to":"tree","m":"TreeRequest::ForkchoiceUpdated","id":1,"p":1,"d":2,"w":500,"b":1500}"#,
    "\n",
    r#"{"q":3,"t":3000,"k":"send","f":"tree","to":"store","m":"StoreRequest::Persist","id":3,"c":1,"r":1,"p":2,"d":1}"#,
    "\n",
    r#"{"q":4,"t":4000,"k":"send","f":"tree","to":"store","m":"StoreRequest::Persist","id":4,"c":1,"r":1,"p":2,"d":3}"#,
    "\n",
    r#"{"q":5,"t":9000,"k":"panic","to":"downloader","id":2,"note":"boom\u001b]0;x\u0007"}"#,
    "\n",
);

/// A panic of the peer manager, later.
const PLANTED: &str =
    concat!(r#"{"q":6,"t":9100,"k":"panic","to":"peer-manager","note":"planted"}"#, "\n",);

/// A timer that took longer than all.
const SLOW: &str = concat!(
    r#"{"q":6,"t":9100,"k":"timer","to":"tree","m":"timer: slow","id":5}"#,
    "\n",
    r#"{"q":7,"t":9900,"k":"done","to":"tree","m":"timer: slow","id":5,"b":700000}"#,
    "\n",
);

fn watched() -> (Arc<Watched>, Feed) {
    let watched = Watched::new("trace\u{1b}[31m.jsonl", Model::new(), false, None);
    let mut feed = Feed::new();
    feed.push(TRACE.as_bytes());
    watched.absorb(&feed.take());
    (Arc::new(watched), feed)
}

fn app() -> App {
    App::new(watched().0)
}

fn press(app: &mut App, code: KeyCode) -> bool {
    let ended = app.press(KeyEvent::new(code, KeyModifiers::NONE));
    app.refresh(now());
    ended
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    app.refresh(now());
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
fn the_status_shows_who_is_busy_and_who_waits_for_whom() {
    let text = screen(&mut app(), 80, 24);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "4 rows, ended: trace\\u{1b}[31m.jsonl");
    assert_eq!(
        lines[2],
        "the last 8.0 us of the trace; in all 0 records missing, 0 messages refused"
    );
    let tree = "tree       18.8 % 125000    0     2/8 4 ####.... 500 ns      0        0        1";
    let store = "store       0.0 % 250000    2     3/4 3 ######.. 6.0 us      0        0        2";
    let downloader =
        "downloader  0.0 % 125000    0       -                 -      1        0        1";
    for (line, expected) in lines[5..8].iter().zip([tree, downloader, store]) {
        assert_eq!(line, &expected, "{text}");
    }
    // what waits still has waited until now
    assert_eq!(
        lines[10], "tree > store       6.0 us      - 250000    2 StoreRequest::Persist",
        "{text}"
    );
    assert_eq!(
        lines[11],
        "engine-api > tree  500 ns 500 ns 125000    0 TreeRequest::ForkchoiceUpdated"
    );
}

#[test]
fn what_is_open_is_shown_with_the_oldest_first_and_how_full_its_mailbox_was() {
    let mut app = app();
    press(&mut app, KeyCode::Char('2'));
    let text = screen(&mut app, 80, 24);
    assert!(text.contains("2 wait, are being handled, or were lost"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("Persist")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].contains("6.0 us ago     1/4 tree store"), "{text}");
    assert!(rows[1].contains("5.0 us ago     3/4 tree store"), "{text}");
}

#[test]
fn a_busy_trace_does_not_have_the_table_made_all_the_time() {
    let (watched, mut feed) = watched();
    let mut app = App::new(watched.clone());
    let mut now = now();
    app.refresh(now);
    feed.push(PLANTED.as_bytes());
    watched.absorb(&feed.take());
    app.refresh(now);
    assert_eq!(app.sheet.rows.len(), 3, "made again at once");
    now += Duration::from_secs(60);
    app.paused = true;
    app.refresh(now);
    assert_eq!(app.sheet.rows.len(), 3, "made again while it is paused");
    app.paused = false;
    app.refresh(now);
    assert_eq!(app.sheet.rows.len(), 4);
}

#[test]
fn what_is_chosen_stays_chosen_while_others_come_before_it() {
    let (watched, mut feed) = watched();
    let mut app = App::new(watched.clone());
    press(&mut app, KeyCode::Char('4'));
    assert_eq!((app.sheet.rows.len(), app.selected), (4, 0));
    press(&mut app, KeyCode::Down);
    let chosen = app.sheet.rows[1].target;
    feed.push(SLOW.as_bytes());
    watched.absorb(&feed.take());
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.sheet.rows.len(), app.selected), (5, 2));
    assert_eq!(app.sheet.rows[2].target, chosen);
}

#[test]
fn what_there_is_to_say_of_the_source_stands_above_the_table() {
    let (watched, _) = watched();
    watched.say(Some("the node does not answer\u{7}".to_owned()));
    let mut app = App::new(watched);
    assert_eq!(screen(&mut app, 80, 24).lines().nth(2), Some("the node does not answer\\u{7}"));
}

#[test]
fn every_table_fits_any_terminal_and_obeys_no_text() {
    for (width, height) in [(80, 24), (40, 12), (200, 60), (10, 3), (1, 1)] {
        let mut app = app();
        for _ in 0..6 {
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
    press(&mut app, KeyCode::Char('3'));
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
    press(&mut app, KeyCode::Char('3'));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Up);
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

#[test]
fn what_waits_in_a_silent_node_waits_on() {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() - 60_000_000_000;
    let watched = Watched::new("a node", Model::new(), true, None);
    let mut feed = Feed::new();
    feed.push(TRACE.replace("1700000000000000000", &now_ns.to_string()).as_bytes());
    watched.absorb(&feed.take());
    let mut app = App::new(Arc::new(watched));
    press(&mut app, KeyCode::Char('2'));
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("last record 60 s ago") && text.contains("60.00 s ago     1/4"),
        "{text}"
    );
    press(&mut app, KeyCode::Char('1'));
    let text = screen(&mut app, 80, 24);
    assert!(text.contains("the last 10.00 s; in all"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("store      0.0 %   0.0    2     3/4 3 ######..")),
        "{text}"
    );
}
