//! `moorline peers`

mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use eyre::{Result, WrapErr, bail, eyre};
use moorline_engine_api::{EngineClient, EngineClientError, JwtSecret};
use moorline_rpc::{AdminPeer, NodeInfo};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use self::table::{Size, draw};
use crate::{
    cli::{CommonArgs, PeersArgs},
    config::{Settings, spec_of},
    datadir::DataDir,
    failure::Misuse,
    terminal,
};

/// A table that goes into a file or a pipe is not cut.
const PIPE: Size = Size { columns: 200, rows: usize::MAX };

/// What a node says of itself and its peers.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) node: NodeInfo,
    pub(super) peers: Vec<AdminPeer>,
}

pub(crate) async fn run(args: PeersArgs) -> Result<()> {
    let node = Source::of(&args)?;
    if args.json {
        return terminal::print(&serde_json::to_string(&node.look().await?)?);
    }
    let screen = console::Term::stdout();
    if args.once || !screen.is_term() {
        let size = if screen.is_term() { Size { rows: usize::MAX, ..size(&screen) } } else { PIPE };
        return terminal::print(&draw(&node.look().await?, size));
    }
    tokio::select! {
        biased;
        () = super::asked_to_end() => Ok(()),
        ended = watch(&node, &screen, Duration::from_secs(args.interval_s)) => ended,
    }
}

/// Draws the table again and again, over the one before.
async fn watch(node: &Source, screen: &console::Term, every: Duration) -> Result<()> {
    screen.clear_screen()?;
    loop {
        let text = draw(&node.look().await?, size(screen));
        screen.move_cursor_to(0, 0)?;
        for line in text.lines() {
            screen.clear_line()?;
            screen.write_line(line)?;
        }
        screen.clear_to_end_of_screen()?;
        tokio::time::sleep(every).await;
    }
}

/// The last line is left to the cursor.
fn size(screen: &console::Term) -> Size {
    let (rows, columns) = screen.size();
    Size { columns: columns.into(), rows: usize::from(rows).saturating_sub(1) }
}

/// A running node.
#[derive(Debug)]
struct Source {
    addr: SocketAddr,
    client: EngineClient,
}

impl Source {
    fn of(args: &PeersArgs) -> Result<Self> {
        let (addr, secret) = match (args.rpc, &args.jwt) {
            (Some(addr), Some(secret)) => (addr, secret.clone()),
            (_, secret) => {
                let (addr, usual) = of_directory(args)?;
                (addr, secret.clone().unwrap_or(usual))
            }
        };
        let secret = JwtSecret::from_file(&secret).map_err(|_| {
            let file = secret.display();
            Misuse(format!(
                "{file} is no secret of 64 hexadecimal digits: name the file with --jwt"
            ))
        })?;
        Ok(Self { addr, client: EngineClient::new(addr, secret) })
    }

    async fn look(&self) -> Result<View> {
        Ok(View { node: self.ask("admin_nodeInfo").await?, peers: self.ask("admin_peers").await? })
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str) -> Result<T> {
        let addr = self.addr;
        let answer = self.client.call(method, json!([])).await.map_err(|error| match error {
            EngineClientError::Connection { source, .. } => {
                eyre!("no node answers at {addr} ({source}): start moorline node, or name another with --datadir or --rpc")
            }
            EngineClientError::Refused { status: 401, .. } => {
                eyre!("the node at {addr} has another secret: name the file with --jwt")
            }
            EngineClientError::Rpc { code: -32601, .. } => {
                eyre!("what answers at {addr} does not know {method}: name the address of a moorline's --authrpc.port")
            }
            other => other.into(),
        })?;
        serde_json::from_value(answer)
            .wrap_err_with(|| format!("what answers at {addr} is not this version of moorline"))
    }
}

/// Where the node of the data directory says that it is.
fn of_directory(args: &PeersArgs) -> Result<(SocketAddr, PathBuf)> {
    let place = &args.place;
    if let (Some(chain), None) = (&place.chain, &place.datadir) {
        spec_of(chain)?;
    }
    let common = CommonArgs {
        config: place.config.clone(),
        datadir: place.datadir.clone(),
        chain: place.chain.clone(),
        ..CommonArgs::default()
    };
    let settings = Settings::of_common(&common)?;
    let Some((mut addr, secret)) = DataDir::new(&settings.datadir).running() else {
        bail!(
            "no node has run in {} yet: start moorline node, or name another with --datadir or --rpc",
            settings.datadir.display()
        );
    };
    if addr.ip().is_unspecified() {
        addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Ok((addr, secret))
}
