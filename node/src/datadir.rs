//! What lies in a data directory beside the store.
//!
//! ```text
//! chain      which chain it is: a preset's name or a genesis file's text
//! nodekey    this node's secp256k1 key, in hex
//! enode      where this node can be reached, while it runs
//! enr        its signed record, while discovery runs
//! authrpc    where its authenticated port is, and the file with that port's secret, while it runs
//! peers.json what is known of peers: good ones, and bans
//! jwt.hex    the secret shared with the consensus client, unless another file is named
//! store/     the chain
//! ```

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::hex;
use eyre::{Context, Result, bail, eyre};
use moorline_rules::ChainSpec;
use moorline_store::Disk;

use crate::{config::spec_of, node::Started, whole_file::write_whole};

/// The file that says where the authenticated port is.
const RUNNING_AT: &str = "authrpc";

/// A data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the last of the trace is written when an actor panics.
    pub(crate) fn flights(&self) -> PathBuf {
        self.0.join("trace")
    }

    /// Opens the store, makes what is missing, and remembers which chain it is. `receipts` says whether it
    /// is to keep them, if it matters.
    pub(crate) fn open(
        &self,
        chain: &str,
        spec: &ChainSpec,
        receipts: Option<bool>,
    ) -> Result<Arc<Disk>> {
        fs::create_dir_all(&self.0)
            .wrap_err_with(|| format!("cannot make the data directory {}", self.0.display()))?;
        let disk = Disk::open(&self.0.join("store"), spec.genesis(), spec.chain_id(), receipts)?;
        let text = match ChainSpec::preset(chain) {
            Some(_) => chain.to_owned(),
            None => fs::read_to_string(chain).wrap_err("cannot read the genesis file again")?,
        };
        write_whole(&self.0.join("chain"), |path| {
            fs::write(path, text).wrap_err("cannot write to the data directory")
        })?;
        Ok(Arc::new(disk))
    }

    /// Opens a store that must be there already; it knows its chain.
    pub(crate) fn open_existing(&self) -> Result<Disk> {
        let shown = self.0.display();
        let text = fs::read_to_string(self.0.join("chain"))
            .map_err(|_| eyre!("{shown} holds no chain: name another one with --datadir"))?;
        let spec = match ChainSpec::preset(text.trim()) {
            Some(spec) => spec,
            None => ChainSpec::from_genesis_json(&text)
                .wrap_err_with(|| format!("{shown}/chain is damaged"))?,
        };
        Ok(Disk::open(&self.0.join("store"), spec.genesis(), spec.chain_id(), None)?)
    }

    /// This node's key, made when there is none.
    pub(crate) fn node_key(&self) -> Result<[u8; 32]> {
        let path = self.0.join("nodekey");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let mut key = [0; 32];
                if hex::decode_to_slice(text.trim(), &mut key).is_err() {
                    bail!(
                        "{} is not a key of 64 hexadecimal digits: delete it to have a new one made",
                        path.display()
                    );
                }
                Ok(key)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = moorline_rlpx::random_key();
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| writeln!(file, "{}", hex::encode(key)))
                    .wrap_err_with(|| format!("cannot write {}", path.display()))?;
                Ok(key)
            }
            Err(error) => Err(error).wrap_err_with(|| format!("cannot read {}", path.display())),
        }
    }

    /// What is remembered of peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.0.join("peers.json")
    }

    /// Tells scripts, and other commands, where this node can be reached.
    pub(crate) fn write_running(&self, started: &Started, jwt_secret: &Path) -> Result<()> {
        let write = |name, lines: &[String]| {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(self.0.join(name), lines).wrap_err("cannot write to the data directory")
        };
        write("enode", &[started.enode_url()])?;
        if let Some((_, enr)) = &started.discovery {
            write("enr", std::slice::from_ref(enr))?;
        }
        let Some(addr) = started.engine else { return Ok(()) };
        let secret = std::path::absolute(jwt_secret).unwrap_or_else(|_| jwt_secret.to_owned());
        write(RUNNING_AT, &[addr.to_string(), secret.display().to_string()])
    }

    /// Where the node of this directory has its authenticated port, and the file with the secret.
    pub(crate) fn running(&self) -> Option<(SocketAddr, PathBuf)> {
        let text = fs::read_to_string(self.0.join(RUNNING_AT)).ok()?;
        let (addr, secret) = text.split_once('\n')?;
        Some((addr.parse().ok()?, PathBuf::from(secret.trim_end())))
    }
}

/// The store that a command names by directory or by chain.
pub(crate) fn existing(place: &crate::cli::PlaceArgs) -> Result<Disk> {
    let common = crate::cli::CommonArgs {
        config: place.config.clone(),
        datadir: place.datadir.clone(),
        chain: place.chain.clone(),
        ..crate::cli::CommonArgs::default()
    };
    if let (Some(chain), None) = (&place.chain, &place.datadir) {
        spec_of(chain)?;
    }
    let settings = crate::config::Settings::of_common(&common)?;
    DataDir::new(&settings.datadir).open_existing()
}
