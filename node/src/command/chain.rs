//! `moorline chain generate | import | export | serve | verify`

mod serve;

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use eyre::{Context, Result, bail, eyre};
use moorline_devnet::{FileChain, Generator, Pace, Profile, genesis_header, genesis_json};
use moorline_messages::{
    Block, BlockNumHash, HashOrNumber, SealedHeader, StoreAnswer, StoreBatch, StoreQuery,
    StoreStatus, Weigh,
};
use moorline_rules::{
    BlockReader, ChainSpec, block_rlp, body_matches, validate_body, validate_header_against_parent,
    validate_header_alone,
};
use moorline_store::{Backend, Disk};

use crate::{
    cli::{ChainCommand, CommonArgs, PlaceArgs},
    config::{Settings, spec_of},
    datadir::{DataDir, existing},
    failure::Misuse,
    terminal,
    whole_file::write_whole,
};

/// Size at which imported blocks are written, in bytes.
const BATCH_BYTES: usize = 8 << 20;

pub(crate) fn run(command: ChainCommand) -> Result<()> {
    match command {
        ChainCommand::Generate { blocks, profile, seed, genesis, file } => {
            generate(blocks, profile, seed, genesis.as_deref(), &file)
        }
        ChainCommand::Import { common, file } => import(&common, &file),
        ChainCommand::Export { place, from, to, file } => export(&place, from, to, &file),
        ChainCommand::Serve { chain, peers, port, delay_ms, work_ms, file } => {
            let [delay, work] = [delay_ms, work_ms].map(Duration::from_millis);
            super::on_actix(serve::run(&chain, peers, port, Pace { delay, work }, &file))
        }
        ChainCommand::Verify { chain, file } => verify(&chain, &file),
    }
}

fn generate(
    blocks: u64,
    profile: Profile,
    seed: u64,
    genesis: Option<&Path>,
    file: &Path,
) -> Result<()> {
    if let Some(path) = genesis {
        fs::write(path, genesis_json())
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    let count = usize::try_from(blocks).wrap_err("that many blocks do not fit this machine")?;
    let bar = terminal::bar();
    bar.set_length(blocks);
    write_whole(file, |file| {
        let made = Generator::new(profile, seed).take(count).inspect(|_| bar.inc(1));
        FileChain::create(file, Arc::new(genesis_header()), made)
            .wrap_err_with(|| format!("cannot write {}", file.display()))
    })?;
    bar.finish_and_clear();
    terminal::say(&format!("{blocks} blocks in {}", file.display()));
    Ok(())
}

/// The blocks of a file, each checked against the one before it.
struct Checked<'a> {
    spec: &'a ChainSpec,
    reader: BlockReader,
    parent: Arc<SealedHeader>,
    file: &'a Path,
}

impl<'a> Checked<'a> {
    fn open(spec: &'a ChainSpec, file: &'a Path) -> Result<Self> {
        let bytes = fs::read(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
        let parent = Arc::clone(spec.genesis());
        Ok(Self { spec, reader: BlockReader::new(bytes.into()), parent, file })
    }

    fn next(&mut self) -> Result<Option<Block>> {
        let shown = self.file.display();
        let genesis = self.spec.genesis().hash();
        // exports of other clients begin with the genesis block
        let is_genesis = |block: &Block| block.header.hash() == genesis;
        let next = self.reader.find(|block| !block.as_ref().is_ok_and(is_genesis));
        let Some(block) = next else { return Ok(None) };
        let block = block.wrap_err_with(|| {
            format!("{shown} is damaged or cut off after block {}", self.parent.number)
        })?;
        let name = block.num_hash();
        if block.header.parent_hash != self.parent.hash() {
            bail!(
                "block {name} in {shown} does not follow block {}",
                BlockNumHash::of(&self.parent)
            );
        }
        validate_header_alone(self.spec, &block.header)
            .and_then(|()| validate_header_against_parent(self.spec, &block.header, &self.parent))
            .and_then(|()| validate_body(self.spec, &block.header, &block.body))
            .wrap_err_with(|| format!("block {name} in {shown} is invalid"))?;
        body_matches(&block.header, &block.body)
            .wrap_err_with(|| format!("block {name} in {shown} has a wrong body"))?;
        self.parent = Arc::clone(&block.header);
        Ok(Some(block))
    }
}

fn verify(chain: &str, file: &Path) -> Result<()> {
    let spec = spec_of(chain)?;
    let mut blocks = Checked::open(&spec, file)?;
    let mut count = 0_u64;
    while blocks.next()?.is_some() {
        count = count.saturating_add(1);
    }
    let last = BlockNumHash::of(&blocks.parent);
    terminal::print(&format!("{count} blocks are right, the last is {last}"))
}

/// Why an import and receipts do not go together.
const NO_RECEIPTS: &str = "a file of blocks has no receipts, so import it into a --datadir without them, or get \
     blocks and receipts with sync --receipts";

/// Adds blocks to what is stored. Blocks that are there are left alone; those of another branch are
/// refused, since an import is no reason to give up a chain.
fn import(common: &CommonArgs, file: &Path) -> Result<()> {
    let settings = Settings::of_common(common)?;
    let spec = settings.spec()?;
    let mut blocks = Checked::open(&spec, file)?;
    if settings.receipts == Some(true) {
        bail!(Misuse(NO_RECEIPTS.to_owned()));
    }
    let disk = DataDir::new(&settings.datadir).open(&settings.chain, &spec, None)?;
    if disk.keeps_receipts() {
        bail!("{} keeps receipts: {NO_RECEIPTS}", settings.datadir.display());
    }
    let stored = status(&disk)?;
    if stored.earliest > 1 && stored.tip.number > 0 {
        bail!(
            "{} holds blocks {} to {} and none below: import into another --datadir",
            settings.datadir.display(),
            stored.earliest,
            stored.tip.number
        );
    }
    let bar = terminal::bar();
    let mut batch = StoreBatch::default();
    let (mut bytes, mut count) = (0_usize, 0_u64);
    while let Some(block) = blocks.next()? {
        let name = block.num_hash();
        if name.number <= stored.tip.number {
            if !is_canonical(&disk, name)? {
                bail!("block {name} in {} is not the one that is stored", file.display());
            }
            continue;
        }
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(block.weight_bytes());
        batch.canonical.push(name);
        batch.bodies.push((name, block.body));
        batch.headers.push(block.header);
        if bytes >= BATCH_BYTES {
            bar.set_style(terminal::resting());
            bar.set_message(format!("{count} blocks imported"));
            commit(&disk, &std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    commit(&disk, &batch)?;
    bar.finish_and_clear();
    let last = BlockNumHash::of(&blocks.parent);
    terminal::print(&format!("{count} blocks imported, the last is {last}"))
}

fn commit(disk: &Disk, batch: &StoreBatch) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    disk.commit(&[batch]).into_iter().collect::<Result<(), _>>().map_err(Into::into)
}

fn status(disk: &Disk) -> Result<StoreStatus> {
    match disk.answer(&StoreQuery::Status)? {
        StoreAnswer::Status(status) => Ok(status),
        _ => Err(eyre!("the store does not say how far it goes")),
    }
}

fn is_canonical(disk: &Disk, block: BlockNumHash) -> Result<bool> {
    let query = StoreQuery::Block { block: HashOrNumber::Hash(block.hash) };
    match disk.answer(&query)? {
        StoreAnswer::Block(found) => Ok(found.is_some_and(|found| found.canonical)),
        _ => Ok(false),
    }
}

fn export(place: &PlaceArgs, from: Option<u64>, to: Option<u64>, file: &Path) -> Result<()> {
    let disk = existing(place)?;
    let stored = status(&disk)?;
    // the genesis block is left out: whoever imports has it
    let from = from.unwrap_or(stored.earliest).max(1);
    let to = to.unwrap_or(stored.tip.number);
    if to > stored.tip.number || from < stored.earliest || from > to {
        let held = format!("{} to {}", stored.earliest, stored.tip.number);
        bail!(Misuse(format!("blocks {held} are stored: {from} to {to} cannot be exported")));
    }
    let count = write_whole(file, |file| write_blocks(&disk, from, to, file))?;
    terminal::say(&format!("{count} blocks in {}", file.display()));
    Ok(())
}

fn write_blocks(disk: &Disk, from: u64, to: u64, file: &Path) -> Result<u64> {
    let failed = || format!("cannot write {}", file.display());
    // as it comes, where it is a pipe
    let out = File::options().write(true).create(true).truncate(true).open(file);
    let mut out = BufWriter::with_capacity(1 << 20, out.wrap_err_with(failed)?);
    let mut count = 0_u64;
    for block in disk.blocks(from, to) {
        let block = block?;
        out.write_all(&block_rlp(&block.header, &block.body)).wrap_err_with(failed)?;
        count = count.saturating_add(1);
    }
    out.flush().wrap_err_with(failed)?;
    Ok(count)
}
