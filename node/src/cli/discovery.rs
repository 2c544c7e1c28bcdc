//! The words about finding peers.

use std::net::IpAddr;

use clap::{Args, builder::BoolishValueParser};
use moorline_messages::NodeRecord;

/// How peers are found. Each is also an environment variable and a key of the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DiscoveryArgs {
    /// Do not look for peers: dial those that are named, and take those that come
    #[arg(
        long,
        env = "MOORLINE_NO_DISCOVERY",
        value_name = "yes|no",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) no_discovery: Option<bool>,
    /// A node to begin the search with, or none; may be given more than once [default: those of the
    /// chain, none for a genesis file]
    #[arg(
        long = "bootnode",
        env = "MOORLINE_BOOTNODE",
        value_name = "ENODE|ENR",
        value_delimiter = ','
    )]
    pub(crate) bootnodes: Vec<String>,
    /// UDP port of discovery [default: that of --port; sync takes a free one unless --port is given]
    #[arg(long = "discovery.port", env = "MOORLINE_DISCOVERY_PORT", value_name = "PORT")]
    pub(crate) discovery_port: Option<u16>,
    /// A DNS list of nodes as enrtree://KEY@DOMAIN, or none; may be given more than once [default: that
    /// of the chain]
    #[arg(
        long = "discovery.dns",
        env = "MOORLINE_DISCOVERY_DNS",
        value_name = "ENRTREE",
        value_delimiter = ','
    )]
    pub(crate) dns: Vec<String>,
    /// Find peers by discv4 [default: yes]
    #[arg(
        long = "discovery.v4",
        env = "MOORLINE_DISCOVERY_V4",
        value_name = "yes|no",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) discv4: Option<bool>,
    /// Find peers by discv5 [default: yes]
    #[arg(
        long = "discovery.v5",
        env = "MOORLINE_DISCOVERY_V5",
        value_name = "yes|no",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) discv5: Option<bool>,
    /// The address that others reach this node at [default: --addr if it is a particular one, else what
    /// other nodes see]
    #[arg(long, env = "MOORLINE_EXTERNAL_IP", value_name = "IP")]
    pub(crate) external_ip: Option<IpAddr>,
    /// A peer that is let in whenever it comes, beyond --maxpeers; may be given more than once
    #[arg(
        long = "trusted-peer",
        env = "MOORLINE_TRUSTED_PEER",
        value_name = "ENODE",
        value_delimiter = ','
    )]
    pub(crate) trusted: Vec<NodeRecord>,
}
