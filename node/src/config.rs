//! The configuration that flags, environment and file come to.

mod discovery;

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use eyre::{Context, Result, eyre};
use moorline_downloader::Budget;
use moorline_messages::NodeRecord;
use moorline_rpc::Namespace;
use moorline_rules::ChainSpec;
use moorline_trace_viewer::may_show_at;
use moorline_tree::SyncTrigger;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use self::discovery::Discovery;
use crate::{
    budget_bytes::BudgetBytes,
    cli::{CommonArgs, DiscoveryArgs, NO_BLOCKS, NodeArgs, RecordArgs, ResourceArgs, SyncArgs},
    failure::Misuse,
};

/// What starts a download, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trigger {
    /// Only a head that the consensus client names.
    #[default]
    Forkchoice,
    /// That, and a payload whose parent is missing.
    ForkchoiceAndPayload,
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forkchoice" => Ok(Self::Forkchoice),
            "forkchoice-and-payload" => Ok(Self::ForkchoiceAndPayload),
            _ => Err("expected forkchoice or forkchoice-and-payload".to_owned()),
        }
    }
}

impl From<Trigger> for SyncTrigger {
    fn from(trigger: Trigger) -> Self {
        match trigger {
            Trigger::Forkchoice => Self::Forkchoice,
            Trigger::ForkchoiceAndPayload => Self::ForkchoiceAndPayload,
        }
    }
}

/// The configuration file: the same keys as the flags, all optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    chain: Option<String>,
    datadir: Option<PathBuf>,
    peer: Vec<String>,
    addr: Option<IpAddr>,
    port: Option<u16>,
    maxpeers: Option<usize>,
    #[serde(rename = "trusted-peer")]
    trusted_peer: Vec<String>,
    #[serde(rename = "external-ip")]
    external_ip: Option<IpAddr>,
    receipts: Option<bool>,
    #[serde(rename = "override")]
    overrides: BTreeMap<String, u64>,
    discovery: discovery::DiscoveryFile,
    authrpc: EngineFile,
    http: HttpFile,
    sync: Sync,
    download: DownloadFile,
    metrics: MetricsFile,
    trace: TraceSettings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EngineFile {
    addr: Option<IpAddr>,
    port: Option<u16>,
    jwtsecret: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpFile {
    addr: Option<IpAddr>,
    port: Option<u16>,
    api: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sync {
    trigger: Option<Trigger>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct DownloadFile {
    in_flight_bytes: Option<BudgetBytes>,
    buffer_bytes: Option<BudgetBytes>,
    #[serde(deserialize_with = "some_blocks")]
    queue_items: Option<NonZeroUsize>,
}

/// A number of blocks, refused in the words of the flag.
fn some_blocks<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroUsize>, D::Error> {
    let number = i64::deserialize(from)?;
    let blocks = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    blocks.map(Some).ok_or_else(|| serde::de::Error::custom(NO_BLOCKS))
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetricsFile {
    addr: Option<IpAddr>,
    port: Option<u16>,
}

/// The effective configuration, in the form of the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) chain: String,
    pub(crate) datadir: PathBuf,
    #[serde(serialize_with = "as_text")]
    pub(crate) peer: Vec<NodeRecord>,
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) maxpeers: usize,
    #[serde(rename = "trusted-peer", serialize_with = "as_text")]
    pub(crate) trusted: Vec<NodeRecord>,
    #[serde(rename = "external-ip", skip_serializing_if = "Option::is_none")]
    pub(crate) external_ip: Option<IpAddr>,
    /// Whether receipts are kept; none is whatever the data directory has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipts: Option<bool>,
    #[serde(skip)]
    pub(crate) port_given: bool,
    #[serde(rename = "override")]
    pub(crate) overrides: BTreeMap<String, u64>,
    pub(crate) discovery: Discovery,
    pub(crate) authrpc: Engine,
    pub(crate) http: Http,
    pub(crate) sync: SyncSettings,
    pub(crate) download: Download,
    pub(crate) metrics: Metrics,
    pub(crate) trace: TraceSettings,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Engine {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) jwtsecret: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Http {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    #[serde(serialize_with = "as_text")]
    pub(crate) api: Vec<Namespace>,
}

/// What a download may hold and have under way.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Download {
    in_flight_bytes: BudgetBytes,
    buffer_bytes: BudgetBytes,
    queue_items: NonZeroUsize,
}

impl Download {
    fn of(args: &ResourceArgs, file: DownloadFile) -> Self {
        let usual = Budget::default();
        let bytes = |given: Option<BudgetBytes>, written: Option<BudgetBytes>, usual| {
            given.or(written).unwrap_or(BudgetBytes(usual))
        };
        let queue_items = args.queue_items.or(file.queue_items);
        Self {
            in_flight_bytes: bytes(
                args.in_flight_bytes,
                file.in_flight_bytes,
                usual.in_flight_bytes,
            ),
            buffer_bytes: bytes(args.buffer_bytes, file.buffer_bytes, usual.buffer_bytes),
            queue_items: queue_items
                .or(NonZeroUsize::new(usual.queue_items))
                .unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// The budget that these come to.
    pub(crate) fn budget(self) -> Budget {
        Budget {
            in_flight_bytes: self.in_flight_bytes.0,
            buffer_bytes: self.buffer_bytes.0,
            queue_items: self.queue_items.get(),
            ..Budget::default()
        }
    }
}

/// Where metrics are served, if anywhere.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Metrics {
    addr: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl Metrics {
    fn of(args: &ResourceArgs, file: MetricsFile) -> Self {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            addr: args.metrics_addr.or(file.addr).unwrap_or(local),
            port: args.metrics_port.or(file.port),
        }
    }

    /// The address, if a port was given.
    pub(crate) fn listen(self) -> Option<SocketAddr> {
        self.port.map(|port| SocketAddr::new(self.addr, port))
    }
}

/// What of a run is recorded, and who may look on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TraceSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    pub(crate) compress: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
}

impl TraceSettings {
    fn of(args: &RecordArgs, file: Self) -> Result<Self> {
        let listen = args.listen.or(file.listen);
        if let Some(addr) = listen {
            may_show_at(addr).map_err(|error| Misuse(format!("--trace-listen: {error}")))?;
        }
        let compress = args.compress || file.compress;
        Ok(Self { dir: args.dir.clone().or(file.dir), compress, listen })
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SyncSettings {
    pub(crate) trigger: Trigger,
}

fn as_text<T: ToString, S: serde::Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(ToString::to_string))
}

impl Settings {
    /// What a node's flags come to.
    pub(crate) fn of_node(args: &NodeArgs) -> Result<Self> {
        let file = read_file(args.common.config.as_deref())?;
        let mut settings = Self::of(&args.common, &args.discovery, &file)?;
        let engine = &mut settings.authrpc;
        if let Some(addr) = args.engine_addr.or(file.authrpc.addr) {
            engine.addr = addr;
        }
        if let Some(port) = args.engine_port.or(file.authrpc.port) {
            engine.port = port;
        }
        if let Some(path) = args.jwt_secret.clone().or(file.authrpc.jwtsecret) {
            engine.jwtsecret = path;
        }
        if let Some(addr) = args.http_addr.or(file.http.addr) {
            settings.http.addr = addr;
        }
        if let Some(port) = args.http_port.or(file.http.port) {
            settings.http.port = port;
        }
        let api = or_written(&args.http_api, &file.http.api, "http.api")?;
        if !api.is_empty() {
            settings.http.api = api;
        }
        if let Some(trigger) = args.sync_trigger.or(file.sync.trigger) {
            settings.sync.trigger = trigger;
        }
        settings.receipts = args.keep.receipts.or(settings.receipts);
        settings.download = Download::of(&args.resources, file.download);
        settings.metrics = Metrics::of(&args.resources, file.metrics);
        settings.trace = TraceSettings::of(&args.record, file.trace)?;
        Ok(settings)
    }

    /// What a one-shot sync's flags come to.
    pub(crate) fn of_sync(args: &SyncArgs) -> Result<Self> {
        let file = read_file(args.common.config.as_deref())?;
        let mut settings = Self::of(&args.common, &args.discovery, &file)?;
        settings.receipts = args.keep.receipts.or(settings.receipts);
        settings.download = Download::of(&args.resources, file.download);
        settings.metrics = Metrics::of(&args.resources, file.metrics);
        settings.trace = TraceSettings::of(&args.record, file.trace)?;
        Ok(settings)
    }

    /// What the common flags come to.
    pub(crate) fn of_common(args: &CommonArgs) -> Result<Self> {
        let file = read_file(args.config.as_deref())?;
        Self::of(args, &DiscoveryArgs::default(), &file)
    }

    fn of(args: &CommonArgs, finding: &DiscoveryArgs, file: &File) -> Result<Self> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let chain = args.chain.clone().or_else(|| file.chain.clone());
        let chain = chain.unwrap_or_else(|| "mainnet".to_owned());
        let datadir = args.datadir.clone().or_else(|| file.datadir.clone());
        let datadir = datadir.map_or_else(|| default_datadir(&chain), Ok)?;
        let peer = or_written(&args.peers, &file.peer, "peer")?;
        let trusted = or_written(&finding.trusted, &file.trusted_peer, "trusted-peer")?;
        let discovery = Discovery::of(finding, &file.discovery, &chain)?;
        let mut overrides = file.overrides.clone();
        overrides.extend(args.overrides.iter().cloned());
        let port = args.port.or(file.port);
        Ok(Self {
            authrpc: Engine { addr: local, port: 8551, jwtsecret: datadir.join("jwt.hex") },
            http: Http { addr: local, port: 8545, api: Namespace::READING.to_vec() },
            sync: SyncSettings { trigger: Trigger::default() },
            download: Download::of(&ResourceArgs::default(), file.download),
            metrics: Metrics::of(&ResourceArgs::default(), file.metrics),
            trace: TraceSettings::default(),
            chain,
            datadir,
            peer,
            addr: args.addr.or(file.addr).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: port.unwrap_or(30_303),
            port_given: port.is_some(),
            maxpeers: args.maxpeers.or(file.maxpeers).unwrap_or(50),
            trusted,
            external_ip: finding.external_ip.or(file.external_ip),
            discovery,
            receipts: file.receipts,
            overrides,
        })
    }

    /// The rules of the chain that is meant.
    pub(crate) fn spec(&self) -> Result<ChainSpec> {
        let mut spec = spec_of(&self.chain)?;
        for (fork, time) in &self.overrides {
            let moved = spec.override_fork_time(fork, *time);
            moved.map_err(|error| Misuse(format!("--override {fork}={time}: {error}")))?;
        }
        spec.check_schedule()
            .map_err(|error| Misuse(format!("the fork times do not fit together: {error}")))?;
        Ok(spec)
    }
}

/// What the flags list, or else what the file does under this key.
fn or_written<T>(given: &[T], written: &[String], key: &str) -> Result<Vec<T>>
where
    T: Clone + FromStr,
    T::Err: Display,
{
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let read = |text: &String| {
        let wrong = |error| Misuse(format!("the configuration's {key} {text}: {error}"));
        Ok(text.parse().map_err(wrong)?)
    };
    written.iter().map(read).collect()
}

/// The rules of a chain named by a preset or a genesis file.
pub(crate) fn spec_of(chain: &str) -> Result<ChainSpec> {
    if let Some(spec) = ChainSpec::preset(chain) {
        return Ok(spec);
    }
    let json = fs::read_to_string(chain).map_err(|error| {
        Misuse(format!(
            "{chain} is neither mainnet, sepolia or hoodi nor a genesis file that can be read: {error}"
        ))
    })?;
    let spec = ChainSpec::from_genesis_json(&json)
        .wrap_err_with(|| format!("{chain} is not a genesis file as geth reads it"))?;
    for warning in spec.warnings() {
        tracing::warn!(file = chain, "{warning}");
    }
    Ok(spec)
}

fn read_file(path: Option<&Path>) -> Result<File> {
    let Some(path) = path else { return Ok(File::default()) };
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Misuse(format!("cannot read the configuration file {shown}: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        // the message alone: what else there is draws the place in several lines
        let line =
            error.span().map_or(0, |span| text.get(..span.start).unwrap_or("").lines().count());
        let (line, why) = (line.max(1), error.message());
        Misuse(format!("the configuration file {shown} is wrong near line {line}: {why}")).into()
    })
}

/// The data directory of a chain when none is named.
fn default_datadir(chain: &str) -> Result<PathBuf> {
    let base =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
    let base =
        base.or_else(home).ok_or_else(|| eyre!("say where to keep the chain: --datadir DIR"))?;
    let name = Path::new(chain).file_stem().unwrap_or_default();
    Ok(base.join("moorline").join(name))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, ConfigCommand};

    /// What these flags come to, with this file.
    fn settings(file: &str, flags: &[&str]) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("moorline.toml");
        fs::write(&path, file).unwrap();
        let words = ["moorline", "config", "show", "--datadir", "x", "--config"];
        let words = words.into_iter().chain(path.to_str()).chain(flags.iter().copied());
        match Cli::try_parse_from(words)?.command {
            Command::Config(ConfigCommand::Show(args)) => Settings::of_node(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn budgets_come_from_flags_then_the_file_then_the_default_and_reach_the_downloader() {
        let file = "[download]\nin-flight-bytes = 3145728\nbuffer-bytes = \"2MiB\"\n";
        let flags = ["--download.in-flight-bytes", "5MiB", "--download.queue-items", "7"];
        let usual = Budget::default();
        assert_eq!(settings("", &[]).unwrap().download.budget(), usual);
        let expected = Budget { in_flight_bytes: 3 << 20, buffer_bytes: 2 << 20, ..usual };
        assert_eq!(settings(file, &[]).unwrap().download.budget(), expected);
        let expected = Budget { in_flight_bytes: 5 << 20, queue_items: 7, ..expected };
        assert_eq!(settings(file, &flags).unwrap().download.budget(), expected);
    }

    #[test]
    fn metrics_are_off_unless_a_port_is_given_and_local_unless_an_address_is() {
        let listen = |file: &str, flags: &[&str]| settings(file, flags).unwrap().metrics.listen();
        assert_eq!(listen("[metrics]\naddr = \"192.0.2.1\"\n", &[]), None);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_100));
        assert_eq!(listen("[metrics]\nport = 9100\n", &[]), Some(local));
        let flags = ["--metrics.addr", "192.0.2.1", "--metrics.port", "0"];
        let elsewhere = Some(SocketAddr::from(([192, 0, 2, 1], 0)));
        assert_eq!(listen("[metrics]\nport = 9100\n", &flags), elsewhere);
    }

    #[test]
    fn what_is_no_budget_is_refused_in_the_file_with_its_line() {
        for (line, why) in [
            ("buffer-bytes = 0", "a budget is at least 1MiB"),
            ("in-flight-bytes = -1", "a budget is not negative"),
            ("buffer-bytes = \"64MB\"", "expected bytes, or KiB, MiB or GiB, as in 64MiB"),
            ("queue-items = 0", "expected a number of blocks, at least 1"),
        ] {
            let error = settings(&format!("[download]\n{line}\n"), &[]).unwrap_err();
            assert!(crate::failure::is_misuse(&error), "{line}");
            let text = crate::failure::sentence(&error);
            assert!(text.contains("near line 2") && text.contains(why), "{text}");
        }
    }
}
