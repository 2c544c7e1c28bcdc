//! Which methods a port has.

use std::{fmt, str::FromStr};

use jsonrpsee::RpcModule;
use thiserror::Error;

/// Methods that belong together: their names begin with its name and an underscore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// Blocks, logs, and how far the sync is.
    Eth,
    /// The network.
    Net,
    /// The client.
    Web3,
    /// Blocks as they lie on disk.
    Debug,
    /// Peers, and orders about them.
    Admin,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Eth, Self::Net, Self::Web3, Self::Debug, Self::Admin];

    /// Those that read the chain and change nothing.
    pub const READING: [Self; 4] = [Self::Eth, Self::Net, Self::Web3, Self::Debug];

    /// As it stands before the underscore.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eth => "eth",
            Self::Net => "net",
            Self::Web3 => "web3",
            Self::Debug => "debug",
            Self::Admin => "admin",
        }
    }

    fn has(self, method: &str) -> bool {
        method.split_once('_').is_some_and(|(before, _)| before == self.as_str())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no namespace. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected eth, net, web3, debug or admin")]
pub struct UnknownNamespace;

impl FromStr for Namespace {
    type Err = UnknownNamespace;

    fn from_str(text: &str) -> Result<Self, UnknownNamespace> {
        let named = Self::ALL.into_iter().find(|each| each.as_str() == text.trim());
        named.ok_or(UnknownNamespace)
    }
}

/// Leaves out every method that is in none of these namespaces.
pub fn only(mut module: RpcModule<()>, namespaces: &[Namespace]) -> RpcModule<()> {
    let others: Vec<_> = module
        .method_names()
        .filter(|method| !namespaces.iter().any(|namespace| namespace.has(method)))
        .collect();
    for method in others {
        module.remove_method(method);
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_namespaces_that_it_should_and_no_others() {
        let mut module = RpcModule::new(());
        for name in ["eth_a", "eth_b", "net_a", "admin_a", "ethx_a", "eth"] {
            module.register_method(name, |_, _, _| true).unwrap();
        }
        let left = only(module, &[Namespace::Eth, Namespace::Net]);
        let mut names: Vec<_> = left.method_names().collect();
        names.sort_unstable();
        assert_eq!(names, ["eth_a", "eth_b", "net_a"]);
    }

    #[test]
    fn a_namespace_is_read_back_from_its_name() {
        for namespace in Namespace::ALL {
            assert_eq!(namespace.to_string().parse(), Ok(namespace));
        }
        assert_eq!("personal".parse::<Namespace>(), Err(UnknownNamespace));
    }
}
