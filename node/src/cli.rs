//! The words of the command line.

mod discovery;
mod peers;
mod trace;

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf};

use alloy_primitives::B256;
use clap::{Args, Parser, Subcommand};
use moorline_devnet::Profile;
use moorline_messages::NodeRecord;
use moorline_rpc::Namespace;

use crate::{budget_bytes::BudgetBytes, logging::Logging};

pub(crate) use self::{
    discovery::DiscoveryArgs,
    peers::PeersArgs,
    trace::{ExportForm, RecordArgs, TraceArg, TraceCommand},
};

/// A verified, gap-free copy of an Ethereum chain, moored to the head that a consensus client names.
#[derive(Debug, Parser)]
#[command(name = "moorline", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logging: Logging,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow the chain that a consensus client names, and serve it
    Node(NodeArgs),
    /// Get the history under one trusted block hash, and exit
    Sync(SyncArgs),
    /// See it all work, with nothing installed: peers, liars, a reorg, crashes
    Demo(DemoArgs),
    /// Make, move and check files of blocks
    #[command(subcommand)]
    Chain(ChainCommand),
    /// Look at what is stored
    #[command(subcommand)]
    Db(DbCommand),
    /// Look at what a node recorded: what its actors told one another
    #[command(subcommand)]
    Trace(TraceCommand),
    /// See who a running node's peers are, and how they do
    Peers(PeersArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What node and sync have in common. Each is also an environment variable and a key of the
/// configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CommonArgs {
    /// Configuration file (TOML); flags and environment variables override it
    #[arg(long, env = "MOORLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// mainnet, sepolia, hoodi, or a genesis.json as geth reads it [default: mainnet]
    #[arg(long, env = "MOORLINE_CHAIN", value_name = "NAME|FILE")]
    pub(crate) chain: Option<String>,
    /// Where to keep the chain [default: a directory per chain in the user's data directory]
    #[arg(long, env = "MOORLINE_DATADIR", value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,
    /// A peer to connect to and stay connected to; may be given more than once
    #[arg(long = "peer", env = "MOORLINE_PEER", value_name = "ENODE", value_delimiter = ',')]
    pub(crate) peers: Vec<NodeRecord>,
    /// Address to listen on for peers [default: 0.0.0.0; sync does not listen unless --port is given]
    #[arg(long, env = "MOORLINE_ADDR", value_name = "IP")]
    pub(crate) addr: Option<IpAddr>,
    /// Port to listen on for peers; 0 takes a free one [default: 30303]
    #[arg(long, env = "MOORLINE_PORT")]
    pub(crate) port: Option<u16>,
    /// Most peers, those that are named aside; the peers may open 60 % of the connections [default: 50]
    #[arg(long, env = "MOORLINE_MAXPEERS", value_name = "N")]
    pub(crate) maxpeers: Option<usize>,
    /// Activate a fork at another time than the chain says, as in amsterdam=1790000000; may be given
    /// more than once
    #[arg(
        long = "override",
        env = "MOORLINE_OVERRIDE",
        value_name = "FORK=TIME",
        value_delimiter = ',',
        value_parser = fork_time
    )]
    pub(crate) overrides: Vec<(String, u64)>,
}

/// What is kept of a block.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct KeepArgs {
    /// Keep receipts, and so logs, with every block; decided when a data directory is new [default: as
    /// the data directory has it, no in a new one]
    #[arg(
        long,
        env = "MOORLINE_RECEIPTS",
        value_name = "yes|no",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) receipts: Option<bool>,
}

/// What a download may hold and have under way, and who may watch it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ResourceArgs {
    /// Bytes that the answers under way may bring, as in 64MiB [default: 48MiB]
    #[arg(
        long = "download.in-flight-bytes",
        env = "MOORLINE_DOWNLOAD_IN_FLIGHT_BYTES",
        value_name = "BYTES"
    )]
    pub(crate) in_flight_bytes: Option<BudgetBytes>,
    /// Bytes that may be held on their way to the disk, as in 64MiB [default: 64MiB]
    #[arg(
        long = "download.buffer-bytes",
        env = "MOORLINE_DOWNLOAD_BUFFER_BYTES",
        value_name = "BYTES"
    )]
    pub(crate) buffer_bytes: Option<BudgetBytes>,
    /// Blocks whose bodies and receipts may be wanted at once [default: 32768]
    #[arg(
        long = "download.queue-items",
        env = "MOORLINE_DOWNLOAD_QUEUE_ITEMS",
        value_name = "N",
        value_parser = blocks
    )]
    pub(crate) queue_items: Option<NonZeroUsize>,
    /// Address of the metrics [default: 127.0.0.1]
    #[arg(long = "metrics.addr", env = "MOORLINE_METRICS_ADDR", value_name = "IP")]
    pub(crate) metrics_addr: Option<IpAddr>,
    /// Port to serve metrics on, at /metrics, as Prometheus reads them; 0 takes a free one [default:
    /// none]
    #[arg(long = "metrics.port", env = "MOORLINE_METRICS_PORT", value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) discovery: DiscoveryArgs,
    /// File with the secret shared with the consensus client, 32 bytes in hex [default: jwt.hex in
    /// the data directory, made when absent]
    #[arg(long = "authrpc.jwtsecret", env = "MOORLINE_AUTHRPC_JWTSECRET", value_name = "FILE")]
    pub(crate) jwt_secret: Option<PathBuf>,
    /// Address of the Engine API [default: 127.0.0.1]
    #[arg(long = "authrpc.addr", env = "MOORLINE_AUTHRPC_ADDR", value_name = "IP")]
    pub(crate) engine_addr: Option<IpAddr>,
    /// Port of the Engine API [default: 8551]
    #[arg(long = "authrpc.port", env = "MOORLINE_AUTHRPC_PORT", value_name = "PORT")]
    pub(crate) engine_port: Option<u16>,
    /// Address of the JSON-RPC server [default: 127.0.0.1]
    #[arg(long = "http.addr", env = "MOORLINE_HTTP_ADDR", value_name = "IP")]
    pub(crate) http_addr: Option<IpAddr>,
    /// Port of the JSON-RPC server [default: 8545]
    #[arg(long = "http.port", env = "MOORLINE_HTTP_PORT", value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// What the JSON-RPC server answers: eth, net, web3, debug, admin; several after commas [default:
    /// eth,net,web3,debug]
    #[arg(
        long = "http.api",
        env = "MOORLINE_HTTP_API",
        value_name = "NAMESPACES",
        value_delimiter = ','
    )]
    pub(crate) http_api: Vec<Namespace>,
    /// What starts a download: forkchoice, or forkchoice-and-payload [default: forkchoice]
    #[arg(long = "sync.trigger", env = "MOORLINE_SYNC_TRIGGER", value_name = "TRIGGER")]
    pub(crate) sync_trigger: Option<crate::config::Trigger>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) discovery: DiscoveryArgs,
    /// The block hash to trust: everything under it is fetched and proved
    #[arg(long, env = "MOORLINE_HEAD", value_name = "HASH")]
    pub(crate) head: B256,
    /// The lowest block wanted [default: 1, the whole history]
    #[arg(long, env = "MOORLINE_UNTIL", value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) until: Option<u64>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// Print one JSON object at the end, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many blocks the chain has
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) blocks: u64,
    /// What its blocks are like: mainnet, small or empty
    #[arg(long, default_value = "mainnet")]
    pub(crate) profile: Profile,
    /// How many peers serve it; the last ones are slow, lie or hang up
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) peers: u64,
    /// Delay of every peer's answers, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_ms: u64,
    /// Keep the chain and the store in this directory instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,
    /// Do not record what the actors tell one another
    #[arg(long)]
    pub(crate) no_trace: bool,
    /// Print one JSON object at the end, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep node and peers running at the end, until Ctrl-C
    #[arg(long)]
    pub(crate) hold: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// Make a chain that obeys every rule that needs no execution
    Generate {
        /// How many blocks
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        blocks: u64,
        /// What they are like: mainnet, small or empty
        #[arg(long, default_value = "small")]
        profile: Profile,
        /// The same seed gives the same chain
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Also write its genesis.json here
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
        /// File for the blocks, in RLP one after another
        file: PathBuf,
    },
    /// Check every block of a file and store it
    Import {
        #[command(flatten)]
        common: CommonArgs,
        /// File of blocks in RLP, one after another
        file: PathBuf,
    },
    /// Write stored blocks to a file that other clients import
    Export {
        #[command(flatten)]
        place: PlaceArgs,
        /// The first block [default: the lowest stored]
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// The last block [default: the highest stored]
        #[arg(long, value_name = "M")]
        to: Option<u64>,
        /// File for the blocks, in RLP one after another
        file: PathBuf,
    },
    /// Serve a file of blocks to any client that dials, on loopback, without importing it
    Serve {
        /// mainnet, sepolia, hoodi, or a genesis.json as geth reads it
        #[arg(long, env = "MOORLINE_CHAIN", value_name = "NAME|FILE")]
        chain: String,
        /// How many peers serve it; their enodes are printed
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
        peers: u64,
        /// Port of the first peer, with the others on those after it, so that the enodes stay the same;
        /// 0 takes free ones
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Delay of every answer, in milliseconds; requests that come meanwhile are not held up
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// What a peer works on each answer, on one after another, in milliseconds
        #[arg(long, default_value_t = 0)]
        work_ms: u64,
        /// File of blocks in RLP, one after another
        file: PathBuf,
    },
    /// Check every block of a file: links, rules and roots
    Verify {
        /// mainnet, sepolia, hoodi, or a genesis.json as geth reads it
        #[arg(long, env = "MOORLINE_CHAIN", value_name = "NAME|FILE")]
        chain: String,
        /// File of blocks in RLP, one after another
        file: PathBuf,
    },
}

/// Where a store is. The store knows its own chain.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Configuration file (TOML) that may name them
    #[arg(long, env = "MOORLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory [default: that of the chain]
    #[arg(long, env = "MOORLINE_DATADIR", value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,
    /// The chain whose data directory is meant [default: mainnet]
    #[arg(long, env = "MOORLINE_CHAIN", value_name = "NAME|FILE")]
    pub(crate) chain: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Count what is stored
    Stats {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every block back and check it
    Check {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration that these flags, the environment and the file come to
    Show(NodeArgs),
}

/// Why something is no number of blocks.
pub(crate) const NO_BLOCKS: &str = "expected a number of blocks, at least 1";

fn blocks(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| NO_BLOCKS.to_owned())
}

fn fork_time(text: &str) -> Result<(String, u64), String> {
    let (fork, time) =
        text.split_once('=').ok_or("expected FORK=TIME, as in amsterdam=1790000000")?;
    let time = time.parse().map_err(|_| format!("{time} is not a time in seconds"))?;
    Ok((fork.to_owned(), time))
}
