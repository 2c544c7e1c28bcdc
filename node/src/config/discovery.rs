//! How peers are found, as flags, environment and file say.

use std::net::IpAddr;

use eyre::Result;
use moorline_discovery::{Bootnode, Mechanisms, check_dns_tree, preset_bootnodes, preset_dns_tree};
use serde::{Deserialize, Serialize};

use crate::{cli::DiscoveryArgs, failure::Misuse, node::DiscoverySetup};

/// What stands for an empty list where the default is not one.
const NONE: &str = "none";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DiscoveryFile {
    enabled: Option<bool>,
    port: Option<u16>,
    bootnode: Vec<String>,
    dns: Vec<String>,
    v4: Option<bool>,
    v5: Option<bool>,
}

/// What they come to, in the form of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Discovery {
    pub(crate) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    bootnode: Vec<String>,
    dns: Vec<String>,
    v4: bool,
    v5: bool,
}

impl Discovery {
    pub(super) fn of(args: &DiscoveryArgs, file: &DiscoveryFile, chain: &str) -> Result<Self> {
        let off = args.no_discovery.or(file.enabled.map(|enabled| !enabled));
        let discovery = Self {
            enabled: !off.unwrap_or(false),
            port: args.discovery_port.or(file.port),
            bootnode: listed(&args.bootnodes, &file.bootnode, || {
                let nodes = preset_bootnodes(chain).unwrap_or_default();
                nodes.iter().map(ToString::to_string).collect()
            }),
            dns: listed(&args.dns, &file.dns, || preset_dns_tree(chain).into_iter().collect()),
            v4: args.discv4.or(file.v4).unwrap_or(true),
            v5: args.discv5.or(file.v5).unwrap_or(true),
        };
        discovery.bootnodes()?;
        for link in unless_none(&discovery.dns) {
            check_dns_tree(link).map_err(|error| Misuse(format!("--discovery.dns: {error}")))?;
        }
        Ok(discovery)
    }

    /// Nodes to begin with.
    fn bootnodes(&self) -> Result<Vec<Bootnode>> {
        let parse = |text: &String| {
            let wrong = |error| Misuse(format!("--bootnode {text}: {error}"));
            Ok(text.parse::<Bootnode>().map_err(wrong)?)
        };
        unless_none(&self.bootnode).iter().map(parse).collect()
    }

    /// Whether there is anybody to begin with. Others may still come upon a node that listens.
    pub(crate) fn knows_somebody(&self) -> bool {
        let asks = self.v4 || self.v5;
        (asks && !unless_none(&self.bootnode).is_empty()) || !unless_none(&self.dns).is_empty()
    }

    /// What discovery is started with, if it is. `port` is taken where none was given.
    pub(crate) fn setup(
        &self,
        addr: IpAddr,
        external_ip: Option<IpAddr>,
        port: Option<u16>,
    ) -> Result<Option<DiscoverySetup>> {
        if !self.enabled {
            return Ok(None);
        }
        Ok(Some(DiscoverySetup {
            addr,
            port: self.port.or(port),
            external_ip,
            bootnodes: self.bootnodes()?,
            dns_trees: unless_none(&self.dns).to_vec(),
            mechanisms: Mechanisms { discv4: self.v4, discv5: self.v5, dns: true },
        }))
    }
}

/// The flags' list, or else the file's, or else the usual one.
fn listed(
    given: &[String],
    written: &[String],
    usual: impl FnOnce() -> Vec<String>,
) -> Vec<String> {
    match (given, written) {
        ([], []) => usual(),
        ([], written) => written.to_vec(),
        (given, _) => given.to_vec(),
    }
}

fn unless_none(list: &[String]) -> &[String] {
    if list == [NONE] { &[] } else { list }
}
