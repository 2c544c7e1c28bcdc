//! The arrows between crates, which nothing else keeps.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

const ACTORS: [&str; 4] =
    ["moorline-tree", "moorline-downloader", "moorline-peer-manager", "moorline-store"];
const EDGES: [&str; 5] = [
    "moorline-rlpx",
    "moorline-discovery",
    "moorline-engine-api",
    "moorline-rpc",
    "moorline-trace",
];
/// What edges that speak HTTP share.
const HTTP: &str = "moorline-http";
const SHELF: [&str; 3] = ["moorline-messages", "moorline-kit", "moorline-rules"];

/// What each crate of the workspace is built from, tests aside.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let of = |package: cargo_metadata::Package| {
        let dependencies = package.dependencies.into_iter();
        let built_from = dependencies.filter(|on| on.kind != DependencyKind::Development);
        (package.name.to_string(), built_from.map(|on| on.name).collect())
    };
    metadata.packages.into_iter().map(of).collect()
}

fn ours(of: &BTreeSet<String>) -> BTreeSet<&str> {
    of.iter().map(String::as_str).filter(|name| name.starts_with("moorline")).collect()
}

#[test]
fn no_actor_crate_knows_another() {
    let arrows = arrows();
    for actor in ACTORS {
        let strangers: Vec<_> =
            ours(&arrows[actor]).into_iter().filter(|name| !SHELF.contains(name)).collect();
        assert!(strangers.is_empty(), "{actor} must not depend on {strangers:?}");
    }
}

#[test]
fn no_edge_knows_an_actor_or_another_edge() {
    let arrows = arrows();
    assert!(ours(&arrows[HTTP]).is_empty());
    for edge in EDGES {
        let is_strange = |name: &&str| !SHELF.contains(name) && *name != HTTP;
        let strangers: Vec<_> = ours(&arrows[edge]).into_iter().filter(is_strange).collect();
        assert!(strangers.is_empty(), "{edge} must not depend on {strangers:?}");
    }
}

#[test]
fn the_contract_stands_alone_and_is_plain_data() {
    let arrows = arrows();
    let messages = &arrows["moorline-messages"];
    assert!(ours(messages).is_empty());
    for machinery in ["actix", "actix-rt", "tokio", "sled", "tracing"] {
        assert!(!messages.contains(machinery), "messages must not depend on {machinery}");
    }
}

#[test]
fn rules_need_neither_actors_nor_a_runtime() {
    let arrows = arrows();
    let rules = &arrows["moorline-rules"];
    assert_eq!(ours(rules), BTreeSet::from(["moorline-messages"]));
    for machinery in ["actix", "actix-rt", "tokio", "sled"] {
        assert!(!rules.contains(machinery), "rules must not depend on {machinery}");
    }
}

#[test]
fn only_the_store_knows_sled() {
    for (name, on) in arrows() {
        assert_eq!(on.contains("sled"), name == "moorline-store", "{name}");
    }
}

#[test]
fn the_viewer_knows_traces_and_nothing_of_the_node() {
    let arrows = arrows();
    assert_eq!(ours(&arrows["moorline-trace-viewer"]), BTreeSet::from(["moorline-trace"]));
}
