//! `moorline config show`

use eyre::Result;

use crate::{cli::NodeArgs, config::Settings};

pub(crate) fn run(args: &NodeArgs) -> Result<()> {
    let settings = Settings::of_node(args)?;
    let spec = settings.spec()?;
    println!("# {}, chain id {}, genesis {}", spec.name(), spec.chain_id(), spec.genesis().hash());
    for (fork, activation) in spec.fork_schedule() {
        println!("#   {fork}: {activation}");
    }
    print!("{}", toml::to_string(&settings)?);
    Ok(())
}
