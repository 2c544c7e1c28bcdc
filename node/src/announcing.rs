//! What others are told of our chain: what can be had here, and which fork we are on.

use alloy_eip2124::{ForkFilter, Head};
use moorline_messages::{
    AnnouncedRange, BlockNumHash, HashOrNumber, SessionCommand, StoreAnswer, StoreQuery,
    StoreStatus,
};
use moorline_rpc::StorePort;
use moorline_rules::ChainSpec;
use tokio::sync::{mpsc, watch};

use crate::{node::NodeError, observe::Watched};

/// How far the chain on disk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) range: AnnouncedRange,
    pub(crate) tip: BlockNumHash,
    /// Of the tip, in seconds since 1970.
    timestamp: u64,
}

impl Standing {
    pub(crate) async fn of(store: &StorePort) -> Result<Self, NodeError> {
        let StoreAnswer::Status(status) = store.ask(StoreQuery::Status).await?? else {
            return Ok(Self::nowhere());
        };
        let block = HashOrNumber::Hash(status.tip.hash);
        let timestamp = match store.ask(StoreQuery::Block { block }).await?? {
            StoreAnswer::Block(Some(found)) => found.block.header.timestamp,
            _ => 0,
        };
        Ok(Self { range: served(&status), tip: status.tip, timestamp })
    }

    fn nowhere() -> Self {
        Self { range: AnnouncedRange::default(), tip: BlockNumHash::default(), timestamp: 0 }
    }

    pub(crate) const fn announcement(&self) -> SessionCommand {
        SessionCommand::AnnounceRange { range: self.range, tip: self.tip }
    }

    const fn head(&self) -> Head {
        Head {
            number: self.tip.number,
            timestamp: self.timestamp,
            hash: self.tip.hash,
            difficulty: alloy_primitives::U256::ZERO,
            total_difficulty: alloy_primitives::U256::ZERO,
        }
    }

    /// Which forks we are on, and those that go with them (EIP-2124).
    pub(crate) fn fork_filter(&self, spec: &ChainSpec) -> ForkFilter {
        spec.fork_filter(self.head())
    }
}

/// A range promises bodies and receipts (EIP-7642). Where no receipts are kept that holds for the
/// genesis block alone, which has none.
fn served(status: &StoreStatus) -> AnnouncedRange {
    if status.keeps_receipts {
        return AnnouncedRange {
            earliest: status.earliest.min(status.tip.number),
            latest: status.tip.number,
            latest_hash: status.tip.hash,
        };
    }
    AnnouncedRange { earliest: 0, latest: 0, latest_hash: status.genesis }
}

/// Tells the sessions, and discovery by way of the fork filter, whenever the tip has moved.
pub(crate) async fn announce(
    mut watched: Watched,
    store: StorePort,
    commands: mpsc::Sender<SessionCommand>,
    forks: watch::Sender<ForkFilter>,
) {
    let mut told = None;
    while watched.all.changed().await.is_ok() {
        let tip = watched.all.borrow_and_update().tree.as_ref().map(|tree| tree.tip);
        if tip.is_none() || tip == told {
            continue;
        }
        // the tree may be ahead of the disk, and peers are told only of what is on it
        let Ok(standing) = Standing::of(&store).await else { continue };
        told = Some(standing.tip);
        follow(&forks, &standing);
        if commands.send(standing.announcement()).await.is_err() {
            return;
        }
    }
}

/// Moves the filter along. Only another fork is news to discovery, which signs its record for it.
fn follow(forks: &watch::Sender<ForkFilter>, standing: &Standing) {
    forks.send_if_modified(|filter| {
        let before = filter.current();
        filter.set_head(standing.head());
        filter.current() != before
    });
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use moorline_messages::Forkchoice;

    use super::*;

    fn status(keeps_receipts: bool, earliest: u64, tip: u64) -> StoreStatus {
        StoreStatus {
            genesis: B256::repeat_byte(9),
            earliest,
            tip: BlockNumHash::new(tip, B256::repeat_byte(1)),
            forkchoice: Forkchoice::default(),
            keeps_receipts,
        }
    }

    #[test]
    fn only_what_is_there_with_its_receipts_is_announced() {
        let genesis = AnnouncedRange { earliest: 0, latest: 0, latest_hash: B256::repeat_byte(9) };
        assert_eq!(served(&status(false, 1, 600)), genesis);
        let range = |earliest, latest| AnnouncedRange {
            earliest,
            latest,
            latest_hash: B256::repeat_byte(1),
        };
        assert_eq!(served(&status(true, 101, 600)), range(101, 600));
        assert_eq!(served(&status(true, 1, 0)), range(0, 0), "a new store has genesis");
    }

    #[test]
    fn a_node_that_has_only_genesis_takes_those_at_the_newest_fork_and_they_take_it() {
        for spec in [ChainSpec::mainnet(), ChainSpec::sepolia(), ChainSpec::hoodi()] {
            let at_genesis =
                Standing { timestamp: spec.genesis().timestamp, ..Standing::nowhere() };
            let ours = at_genesis.fork_filter(&spec);
            let newest = Standing {
                tip: BlockNumHash::new(u64::MAX / 2, B256::ZERO),
                timestamp: u64::MAX / 2,
                ..at_genesis
            };
            let theirs = newest.fork_filter(&spec);
            assert_ne!(ours.current(), theirs.current(), "{}", spec.name());
            assert!(ours.validate(theirs.current()).is_ok(), "{}", spec.name());
            assert!(theirs.validate(ours.current()).is_ok(), "{}", spec.name());
            // and one of a chain that is none of these
            let other = alloy_eip2124::ForkId { hash: alloy_eip2124::ForkHash([1; 4]), next: 0 };
            assert!(ours.validate(other).is_err());
        }
    }

    #[test]
    fn discovery_hears_of_another_fork_and_of_nothing_else() {
        let spec = ChainSpec::mainnet();
        let standing = |number, timestamp| Standing {
            tip: BlockNumHash::new(number, B256::ZERO),
            timestamp,
            ..Standing::nowhere()
        };
        let (forks, mut heard) = watch::channel(standing(0, 0).fork_filter(&spec));
        follow(&forks, &standing(1_149_999, 1));
        assert!(!heard.has_changed().unwrap());
        follow(&forks, &standing(1_150_000, 1));
        assert!(heard.has_changed().unwrap(), "Homestead");
        assert_eq!(heard.borrow_and_update().current().next, 1_920_000);
    }
}
