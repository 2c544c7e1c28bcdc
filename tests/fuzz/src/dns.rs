//! Node lists in DNS (EIP-1459): their texts, and the walk through them.

use std::{collections::BTreeMap, str, sync::OnceLock, time::Duration};

use moorline_discovery::fuzzing::{
    DnsLink, DnsWalk, dns_label, dns_link, read_dns_entry, read_dns_link, read_dns_root,
    sign_dns_root,
};
use tokio::time::Instant;

use crate::{
    Target,
    discv4::nodes,
    script::{Script, counted},
};

/// Links, roots and entries.
pub(crate) const TEXTS: Target =
    Target { name: "dns_texts", max_len: 512, read: texts, seeds: text_seeds };

/// A walk through lists whose names, texts and failures are made up.
pub(crate) const WALK: Target =
    Target { name: "dns_walk", max_len: 96, read: walk, seeds: walk_seeds };

const RECHECK: Duration = Duration::from_secs(1_800);
const QUESTIONS_MAX: usize = 16;

/// A list's link, and that of another.
fn links() -> &'static [String; 2] {
    static LINKS: OnceLock<[String; 2]> = OnceLock::new();
    LINKS.get_or_init(|| {
        let [_, one, other, ..] = nodes();
        [dns_link(one, "nodes.example"), dns_link(other, "more.example")]
    })
}

/// The first of them, read.
fn link() -> &'static DnsLink {
    static LINK: OnceLock<DnsLink> = OnceLock::new();
    LINK.get_or_init(|| DnsLink::new(&links()[0]).expect("the link is good"))
}

fn record() -> &'static str {
    static RECORD: OnceLock<String> = OnceLock::new();
    RECORD.get_or_init(|| nodes()[1].record_text())
}

fn texts(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let kind = script.below(8);
    let label = (kind == 7).then(|| str::from_utf8(script.counted()).unwrap_or_default());
    let Ok(text) = str::from_utf8(script.rest()) else { return false };
    match kind {
        0 => read_dns_link(text),
        1 | 2 => read_dns_root(text, &links()[0]),
        // much is cheaper to refuse than to sign
        3 if text.contains("seq=") => read_dns_root(&sign_dns_root(&nodes()[1], text), &links()[0]),
        7 => read_dns_entry(text, label.unwrap_or_default()),
        _ => read_dns_entry(text, &dns_label(text)),
    }
}

fn text_seeds() -> Vec<Vec<u8>> {
    let [link, other] = links();
    let label = dns_label("a text");
    let root = format!("enrtree-root:v1 e={label} l={label} seq=7");
    let branch = format!("enrtree-branch:{label},{label}");
    let record = nodes()[1].record_text();
    let with = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let named = [counted(dns_label(&branch).as_bytes()), branch.clone().into_bytes()].concat();
    vec![
        with(0, link),
        with(1, &sign_dns_root(&nodes()[1], &root)),
        with(3, &root),
        with(4, &branch),
        with(4, other),
        with(4, &record),
        [vec![7], named].concat(),
    ]
}

/// The texts of all lists by their labels, and the labels in order.
#[derive(Default)]
struct Zone {
    texts: BTreeMap<String, String>,
    labels: Vec<String>,
}

impl Zone {
    fn put(&mut self, text: String) {
        let label = dns_label(&text);
        self.labels.push(label.clone());
        self.texts.insert(label, text);
    }

    /// A text of the script's making. Branches lead to texts before them, or nowhere.
    fn add(&mut self, script: &mut Script<'_>) {
        let text = match script.below(16) {
            0 => String::from_utf8_lossy(script.counted()).into_owned(),
            1 => links()[script.below(2)].clone(),
            2 => record().to_owned(),
            _ => {
                let labels: Vec<_> = (0..script.below(6)).map(|_| self.label(script)).collect();
                format!("enrtree-branch:{}", labels.join(","))
            }
        };
        self.put(text);
    }

    fn label(&self, script: &mut Script<'_>) -> String {
        let at = usize::from(script.byte());
        self.labels.get(at).cloned().unwrap_or_else(|| dns_label(&at.to_string()))
    }
}

fn walk(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let mut zone = Zone::default();
    for _ in 0..script.below(12) {
        zone.add(&mut script);
    }
    let mut now = Instant::now().into_std();
    let mut walk = DnsWalk::new(link(), RECHECK, now);
    let mut brought = 0;
    for _ in 0..QUESTIONS_MAX {
        if script.is_over() {
            break;
        }
        let Some(name) = walk.next(now) else {
            now += Duration::from_secs(1 + u64::from(script.number()));
            continue;
        };
        let label = name.split('.').next().unwrap_or_default();
        match (zone.texts.get(label), script.below(8)) {
            (_, 0) => walk.unanswered(now),
            (Some(text), 1) => {
                let other = String::from_utf8_lossy(script.counted()).into_owned();
                brought += u32::from(walk.answered(&[other, text.clone()], now));
            }
            // to verify a record takes longer than all else together
            (Some(text), 2..) if text == record() => walk.unanswered(now),
            (Some(text), _) => brought += u32::from(walk.answered(std::slice::from_ref(text), now)),
            // the first list's root comes with its signature found right; all other names lead nowhere
            (None, 1) => drop(walk.answered(&[String::new()], now)),
            (None, _) => {
                let (records, links) = (zone.label(&mut script), zone.label(&mut script));
                walk.root(&records, &links, script.byte().into());
            }
        }
    }
    brought > 2
}

fn walk_seeds() -> Vec<Vec<u8>> {
    // a record, a link, a branch to the record, one to the link; then the root and answers
    let zone = [4, 2, 1, 1, 3, 1, 0, 3, 1, 1];
    let foreign = [vec![2, 0], counted(b"v=spf1"), vec![2]].concat();
    vec![
        [&zone[..], &[2, 2, 3, 1], &[1, 0, 0].repeat(4)].concat(),
        [&zone[..], &[2, 2, 3, 1, 0, 0, 0], &[2; 12], &[2, 3, 2, 9], &[2; 8]].concat(),
        [&foreign[..], &[2, 0, 1, 5], &[1, 0, 1, 65, 2, 2]].concat(),
    ]
}
