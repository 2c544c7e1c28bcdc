//! Where to begin on the chains that are built in (geth `params/bootnodes.go`, spec C26).

use crate::Bootnode;

const MAINNET: &str = include_str!("presets/mainnet.txt");
const SEPOLIA: &str = include_str!("presets/sepolia.txt");
const HOODI: &str = include_str!("presets/hoodi.txt");
/// discv5 is one network for all chains; these are nodes of consensus clients.
const DISCV5: &str = include_str!("presets/discv5.txt");
/// Who signs the public lists.
const DNS_SIGNER: &str = "AKA3AM6LPBYEUDMVNU3BSVQJ5AD45Y7YPOHJLEF6W26QOE4VTUDPE";

/// The bootnodes of a chain: its own for discv4, and those that discv5 has for all. None where the
/// chain is not built in.
pub fn preset_bootnodes(chain: &str) -> Option<Vec<Bootnode>> {
    let own = match chain {
        "mainnet" => MAINNET,
        "sepolia" => SEPOLIA,
        "hoodi" => HOODI,
        _ => return None,
    };
    Some(own.lines().chain(DISCV5.lines()).filter_map(|line| line.parse().ok()).collect())
}

/// The DNS list of a chain.
pub fn preset_dns_tree(chain: &str) -> Option<String> {
    let known = matches!(chain, "mainnet" | "sepolia" | "hoodi");
    known.then(|| format!("enrtree://{DNS_SIGNER}@all.{chain}.ethdisco.net"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::TreeLink;

    #[test]
    fn every_bootnode_and_list_of_the_presets_is_sound() {
        for (chain, own) in [("mainnet", MAINNET), ("sepolia", SEPOLIA), ("hoodi", HOODI)] {
            for line in own.lines().chain(DISCV5.lines()) {
                let node = line.parse::<Bootnode>();
                let node = node.unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(node.to_string(), line);
            }
            let nodes = preset_bootnodes(chain).unwrap();
            assert_eq!(nodes.len(), own.lines().count() + DISCV5.lines().count());
            let seeds = nodes.iter().filter_map(|node| node.seed()).count();
            assert_eq!(seeds, own.lines().count(), "consensus nodes do not speak discv4");
            let tree = preset_dns_tree(chain).unwrap();
            assert!(tree.parse::<TreeLink>().is_ok(), "{tree}");
        }
        assert!(preset_bootnodes("dev").is_none());
        assert!(preset_dns_tree("dev").is_none());
    }
}
