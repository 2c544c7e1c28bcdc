//! Lists in a zone that lies in memory.
#![allow(clippy::arithmetic_side_effects)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_eip2124::{ForkFilter, Head};
use alloy_primitives::keccak256;
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use futures_util::future::BoxFuture;
use moorline_messages::PeerId;
use moorline_rules::ChainSpec;
use proptest::prelude::*;
use tokio::sync::watch;

use super::{
    ResolveError, TreeLink, TxtResolver, Walk,
    entry::EntryError,
    walk::{Found, NAMES_PER_TREE_MAX, TREES_MAX},
};
use crate::{
    Bounds, Discovery, DiscoveryConfig, DiscoveryHandle, Mechanisms, Via, key::NodeKey,
    record::LocalRecord,
};

const RECHECK: Duration = Duration::from_secs(1_800);

/// Names and their texts, and what was asked.
#[derive(Debug, Default)]
struct Zone {
    texts: Mutex<BTreeMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl Zone {
    fn put(&self, name: &str, text: &str) {
        self.texts.lock().unwrap().insert(name.to_owned(), text.to_owned());
    }

    fn texts_of(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        self.asked.lock().unwrap().push(name.to_owned());
        let texts = self.texts.lock().unwrap();
        let text = texts.get(name).ok_or_else(|| ResolveError::Missing(name.to_owned()))?;
        // others keep texts under the same name
        Ok(vec!["v=spf1 -all".to_owned(), text.clone()])
    }
}

impl TxtResolver for Zone {
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, ResolveError>> {
        Box::pin(async move { self.texts_of(name) })
    }
}

/// Somebody who publishes lists.
struct Publisher {
    key: NodeKey,
    domain: &'static str,
}

impl Publisher {
    fn new(number: u8, domain: &'static str) -> Self {
        Self { key: NodeKey::new(&[number; 32]).unwrap(), domain }
    }

    fn link(&self) -> String {
        let [.., parity] = self.key.id().0.0;
        let mut compressed = vec![2 + (parity & 1)];
        compressed.extend_from_slice(&self.key.id().0[..32]);
        format!("enrtree://{}@{}", BASE32_NOPAD.encode(&compressed), self.domain)
    }

    fn tree(&self) -> TreeLink {
        self.link().parse().unwrap()
    }

    /// Puts a text under its hash; gives the label.
    fn put(&self, zone: &Zone, text: &str) -> String {
        let label = BASE32_NOPAD.encode(&keccak256(text.as_bytes())[..16]);
        zone.put(&format!("{label}.{}", self.domain), text);
        label
    }

    /// Puts texts, and branches of up to three above them.
    fn put_all(&self, zone: &Zone, texts: &[String]) -> String {
        let mut labels: Vec<_> = texts.iter().map(|text| self.put(zone, text)).collect();
        loop {
            let branch =
                |labels: &[String]| self.put(zone, &format!("enrtree-branch:{}", labels.join(",")));
            labels = if labels.is_empty() {
                vec![branch(&[])]
            } else {
                labels.chunks(3).map(branch).collect()
            };
            if let [root] = &labels[..] {
                return root.clone();
            }
        }
    }

    fn sign_root(&self, records: &str, links: &str, seq: u64) -> String {
        let signed = format!("enrtree-root:v1 e={records} l={links} seq={seq}");
        let signature = self.key.sign(keccak256(signed.as_bytes()));
        format!("{signed} sig={}", BASE64URL_NOPAD.encode(&signature))
    }

    fn publish(&self, zone: &Zone, records: &[String], links: &[String], seq: u64) {
        let (records, links) = (self.put_all(zone, records), self.put_all(zone, links));
        zone.put(self.domain, &self.sign_root(&records, &links, seq));
    }
}

fn forks() -> ForkFilter {
    ChainSpec::mainnet().fork_filter(Head::default())
}

/// The records of some nodes, and who they are.
fn nodes(numbers: std::ops::Range<u8>) -> (Vec<String>, BTreeSet<PeerId>) {
    let node = |number| {
        let key = NodeKey::new(&[number; 32]).unwrap();
        let id = key.id();
        let ip = Some([1, number, 1, 1].into());
        let record = LocalRecord::new(key, ip, 30_303, 30_303, forks().current(), 1).unwrap();
        (record.text(), id)
    };
    numbers.map(node).unzip()
}

/// A walk without waits.
struct Rig {
    zone: Zone,
    walk: Walk,
    now: std::time::Instant,
    failures: Vec<EntryError>,
}

impl Rig {
    fn new(links: Vec<TreeLink>) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let walk = Walk::new(links, RECHECK, 7, now);
        Self { zone: Zone::default(), walk, now, failures: Vec::new() }
    }

    /// Asks until there is nothing more to ask; gives the nodes that were found.
    fn run(&mut self) -> Vec<PeerId> {
        let mut found = Vec::new();
        while let Some(question) = self.walk.next_question(self.now) {
            match self.zone.texts_of(&question.name) {
                Err(_) => self.walk.unanswered(question, self.now),
                Ok(texts) => match self.walk.answered(question, &texts, self.now) {
                    Ok(Found::Record(record)) => found.push(record.id()),
                    Ok(Found::Nothing) => {}
                    Err(error) => self.failures.push(error),
                },
            }
        }
        found
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut *self.zone.asked.lock().unwrap()).len()
    }
}

#[test]
fn the_example_of_eip_1459_is_walked() {
    let link = "enrtree://AKPYQIUQIL7PSIACI32J7FGZW56E5FKHEFCCOFHILBIMW3M6LWXS2@nodes.example.org";
    let mut rig = Rig::new(vec![link.parse().unwrap()]);
    assert_eq!(link.parse::<TreeLink>().unwrap().to_string(), link);
    for (label, text) in [
        (
            "",
            "enrtree-root:v1 e=JWXYDBPXYWG6FX3GMDIBFA6CJ4 l=C7HRFPF3BLGF3YR4DY5KX3SMBE seq=1 sig=o908WmNp7LibOfPsr4btQwatZJ5URBr2ZAuxvK4UWHlsB9sUOTJQaGAlLPVAhM__XJesCHxLISo94z5Z2a463gA",
        ),
        (
            "C7HRFPF3BLGF3YR4DY5KX3SMBE.",
            "enrtree://AM5FCQLWIZX2QFPNJAP7VUERCCRNGRHWZG3YYHIUV7BVDQ5FDPRT2@morenodes.example.org",
        ),
        (
            "JWXYDBPXYWG6FX3GMDIBFA6CJ4.",
            "enrtree-branch:2XS2367YHAXJFGLZHVAWLQD4ZY,H4FHT4B454P6UXFD7JCYQ5PWDY,MHTDO6TMUBRIA2XWG5LUDACK24",
        ),
        (
            "2XS2367YHAXJFGLZHVAWLQD4ZY.",
            "enr:-HW4QOFzoVLaFJnNhbgMoDXPnOvcdVuj7pDpqRvh6BRDO68aVi5ZcjB3vzQRZH2IcLBGHzo8uUN3snqmgTiE56CH3AMBgmlkgnY0iXNlY3AyNTZrMaECC2_24YYkYHEgdzxlSNKQEnHhuNAbNlMlWJxrJxbAFvA",
        ),
        (
            "H4FHT4B454P6UXFD7JCYQ5PWDY.",
            "enr:-HW4QAggRauloj2SDLtIHN1XBkvhFZ1vtf1raYQp9TBW2RD5EEawDzbtSmlXUfnaHcvwOizhVYLtr7e6vw7NAf6mTuoCgmlkgnY0iXNlY3AyNTZrMaECjrXI8TLNXU0f8cthpAMxEshUyQlK-AM0PW2wfrnacNI",
        ),
        (
            "MHTDO6TMUBRIA2XWG5LUDACK24.",
            "enr:-HW4QLAYqmrwllBEnzWWs7I5Ev2IAs7x_dZlbYdRdMUx5EyKHDXp7AV5CkuPGUPdvbv1_Ms1CPfhcGCvSElSosZmyoqAgmlkgnY0iXNlY3AyNTZrMaECriawHKWdDRk2xeZkrOXBQ0dfMFLHY4eENZwdufn1S1o",
        ),
    ] {
        rig.zone.put(&format!("{label}nodes.example.org"), text);
    }
    assert_eq!(rig.run().len(), 3);
    let asked = rig.zone.asked.lock().unwrap().clone();
    assert!(asked.contains(&"morenodes.example.org".to_owned()), "links are followed");
    assert!(rig.failures.is_empty());
}

#[test]
fn every_node_of_a_list_is_found_and_nothing_is_asked_twice() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    let (records, ids) = nodes(1..30);
    publisher.publish(&rig.zone, &records, &[], 1);
    assert_eq!(rig.run().into_iter().collect::<BTreeSet<_>>(), ids);
    // root, 29 records, 10 + 4 + 2 + 1 branches, and the empty branch of links
    assert_eq!(rig.asked(), 1 + 29 + 17 + 1);
    rig.now += RECHECK;
    assert!(rig.run().is_empty());
    assert_eq!(rig.asked(), 1, "the same edition is not walked again");
}

#[test]
fn a_list_of_another_signer_is_not_walked() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    let forger = Publisher::new(201, "nodes.test");
    forger.publish(&rig.zone, &nodes(1..5).0, &[], 1);
    assert!(rig.run().is_empty());
    assert_eq!(rig.failures, [EntryError::Signature]);
    publisher.publish(&rig.zone, &nodes(1..5).0, &[], 1);
    rig.now += Duration::from_secs(60);
    assert_eq!(rig.run().len(), 4);
}

#[test]
fn every_part_of_a_root_is_signed() {
    let publisher = Publisher::new(200, "nodes.test");
    let zone = Zone::default();
    publisher.publish(&zone, &nodes(1..5).0, &[], 7);
    let root = zone.texts_of("nodes.test").unwrap().pop().unwrap();
    for changed in [
        root.replace("seq=7", "seq=8"),
        root.replace("sig=", "sig=A"),
        root.replace(" seq=7", " seq=7 x=1"),
        root.replace("v1", "v2"),
        root.split_once(" sig=").unwrap().0.to_owned(),
    ] {
        assert_ne!(changed, root);
        let mut rig = Rig::new(vec![publisher.tree()]);
        rig.zone.put("nodes.test", &changed);
        assert!(rig.run().is_empty());
        assert_eq!(rig.failures.len(), 1, "{changed}");
    }
}

#[test]
fn a_text_that_is_not_what_its_name_says_is_refused() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    let (records, ids) = nodes(1..5);
    publisher.publish(&rig.zone, &records, &[], 1);
    let (forged, forged_ids) = nodes(90..91);
    let label = BASE32_NOPAD.encode(&keccak256(records[2].as_bytes())[..16]);
    rig.zone.put(&format!("{label}.nodes.test"), &forged[0]);
    let found: BTreeSet<_> = rig.run().into_iter().collect();
    assert_eq!(found.len(), ids.len() - 1);
    assert!(found.is_disjoint(&forged_ids));
    // asked again in case the answer was damaged on its way
    assert_eq!(rig.failures, [EntryError::Hash; 3]);
}

#[test]
fn an_older_edition_is_a_replay() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    publisher.publish(&rig.zone, &nodes(1..5).0, &[], 9);
    assert_eq!(rig.run().len(), 4);
    for (seq, found) in [(8, 0), (9, 0), (10, 3)] {
        publisher.publish(&rig.zone, &nodes(40..43).0, &[], seq);
        rig.now += RECHECK;
        assert_eq!(rig.run().len(), found, "edition {seq}");
    }
}

#[test]
fn records_and_links_stay_in_their_halves() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    let other = Publisher::new(201, "other.test");
    other.publish(&rig.zone, &nodes(50..55).0, &[], 1);
    publisher.publish(&rig.zone, &[other.link()], &nodes(1..2).0, 1);
    assert!(rig.run().is_empty());
    assert!(rig.failures.iter().all(|failure| *failure == EntryError::Syntax));
    publisher.publish(&rig.zone, &nodes(1..2).0, &[other.link()], 2);
    rig.now += RECHECK;
    assert_eq!(rig.run().len(), 6);
}

#[test]
fn lists_that_link_on_without_end_are_not_followed_for_ever() {
    let publishers: Vec<_> = (0..20_u8)
        .map(|number| {
            let domain = format!("list{number}.test").leak();
            Publisher::new(200 + number, domain)
        })
        .collect();
    let mut rig = Rig::new(vec![publishers[0].tree()]);
    for (number, publisher) in publishers.iter().enumerate() {
        let next = &publishers[(number + 1) % publishers.len()];
        let number = 1 + number as u8;
        publisher.publish(&rig.zone, &nodes(number..number + 1).0, &[next.link()], 1);
    }
    assert_eq!(rig.run().len(), TREES_MAX);
}

#[test]
fn a_list_without_end_is_walked_to_its_bound() {
    let publisher = Publisher::new(200, "nodes.test");
    let mut rig = Rig::new(vec![publisher.tree()]);
    // labels of texts that nobody has, fifty to a branch
    let label = |number: u32| BASE32_NOPAD.encode(&keccak256(number.to_be_bytes())[..16]);
    let branch = |number: u32| {
        let labels: Vec<_> = (0..50).map(|at| label(number * 50 + at)).collect();
        format!("enrtree-branch:{}", labels.join(","))
    };
    let branches: Vec<_> = (0..500).map(branch).collect();
    publisher.publish(&rig.zone, &branches, &[], 1);
    assert!(rig.run().is_empty());
    assert!(rig.asked() <= 1 + 3 * NAMES_PER_TREE_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_nodes_of_a_list_become_candidates_at_the_pace_that_is_set() {
    let publisher = Publisher::new(200, "nodes.test");
    let zone = Arc::new(Zone::default());
    let (records, mut ids) = nodes(1..20);
    publisher.publish(&zone, &records, &[], 1);
    let mut handle = start(&publisher, zone.clone()).await;
    let started = tokio::time::Instant::now();
    while !ids.is_empty() {
        let found = handle.candidate().await.unwrap();
        assert_eq!(found.via, Via::Dns);
        assert!(ids.remove(&found.record.id));
    }
    let asked = zone.asked.lock().unwrap().len() as u64;
    assert!(asked <= 3 * started.elapsed().as_secs() + 4);
    assert!(handle.counters().dns_requests > 19);
    assert_eq!(handle.counters().dns_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_takes_nodes_dns_is_left_alone() {
    let publisher = Publisher::new(200, "nodes.test");
    let zone = Arc::new(Zone::default());
    publisher.publish(&zone, &nodes(1..100).0, &[], 1);
    let mut handle = start(&publisher, zone.clone()).await;
    let first = handle.candidate().await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(zone.asked.lock().unwrap().len() < 80);
    let mut seen = BTreeSet::from([first.record.id]);
    while seen.len() < 99 {
        assert!(seen.insert(handle.candidate().await.unwrap().record.id));
    }
}

/// Discovery by DNS alone, which holds no more than eight nodes for whoever takes them.
async fn start(publisher: &Publisher, zone: Arc<Zone>) -> DiscoveryHandle {
    let (_, forks) = watch::channel(forks());
    let mut config = DiscoveryConfig::new([250; 32], ([127, 0, 0, 1], 0).into(), 30_303, forks);
    config.mechanisms = Mechanisms { discv4: false, discv5: false, dns: true };
    config.bounds = Bounds { candidates_queued: 8, ..Bounds::default() };
    config.dns_trees = vec![publisher.link()];
    config.resolver = Some(zone);
    Discovery::start(config).await.unwrap()
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,300}", prefix in 0_usize..6) {
        let prefixes = ["", "enrtree-root:v1 ", "enrtree-branch:", "enrtree://", "enr:", "enrtree-root:v1 e="];
        let text = format!("{}{text}", prefixes[prefix]);
        let _ = text.parse::<TreeLink>();
        let publisher = Publisher::new(200, "nodes.test");
        let mut rig = Rig::new(vec![publisher.tree()]);
        rig.zone.put("nodes.test", &text);
        prop_assert!(rig.run().is_empty());
        // the same below a sound root
        publisher.publish(&rig.zone, &[text], &[], 1);
        rig.now += RECHECK;
        prop_assert!(rig.run().is_empty());
    }
}
