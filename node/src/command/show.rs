//! `moorline config show`

use std::fmt::Write;

use eyre::Result;

use crate::{cli::NodeArgs, config::Settings, terminal};

pub(crate) fn run(args: &NodeArgs) -> Result<()> {
    let settings = Settings::of_node(args)?;
    let spec = settings.spec()?;
    let (name, id, genesis) = (spec.name(), spec.chain_id(), spec.genesis().hash());
    let mut text = format!("# {name}, chain id {id}, genesis {genesis}\n");
    for (fork, activation) in spec.fork_schedule() {
        writeln!(text, "#   {fork}: {activation}")?;
    }
    text.push_str(toml::to_string(&settings)?.trim_end());
    terminal::print(&text)
}
