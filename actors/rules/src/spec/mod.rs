//! What a chain agreed on beforehand: its genesis block, its forks, its blob schedule.

mod fork;
#[cfg(test)]
mod fork_id_tests;
mod genesis;
mod presets;

use std::{collections::BTreeMap, sync::Arc};

use alloy_eip2124::{ForkFilter, ForkFilterKey, ForkId, Head};
use alloy_eips::eip7840::BLOB_BASE_COST;
pub use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;
pub(crate) use fork::Schedule;
pub use fork::{Activation, Fork};
pub use genesis::GenesisError;
use moorline_messages::{Blame, SealedHeader};
use thiserror::Error;

/// A chain: its genesis block and every rule that depends on height or time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    name: String,
    chain_id: u64,
    genesis: Arc<SealedHeader>,
    schedule: Schedule,
    /// Blob parameters by the fork that brings them in: Cancun, Prague, BPO1 to BPO5 (EIP-7892).
    blobs: BTreeMap<Fork, BlobParams>,
    /// The total difficulty of the last proof-of-work block, where history knows it.
    final_total_difficulty: Option<U256>,
    warnings: Vec<String>,
}

/// Why a fork cannot be moved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OverrideError {
    /// No fork goes by this name.
    #[error("there is no fork called {0}; the forks with a time are {1}")]
    UnknownFork(String, String),
    /// The fork is scheduled by height, and its blocks are history.
    #[error("fork {0} is scheduled by height and cannot be given a time")]
    NotTimed(&'static str),
    /// Moving the fork into or out of the genesis block would make it another chain.
    #[error("moving fork {0} across the genesis block would change the genesis hash")]
    ChangesGenesis(&'static str),
}

impl OverrideError {
    /// Whose fault it was: this node was configured wrongly.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// Why a schedule cannot be followed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// A later fork comes before an earlier one.
    #[error("fork {later} is scheduled for {later_time}, before fork {earlier} at {earlier_time}")]
    Order {
        /// The fork that must come first.
        earlier: &'static str,
        /// Its timestamp, in seconds.
        earlier_time: u64,
        /// The fork that must follow.
        later: &'static str,
        /// Its timestamp, in seconds.
        later_time: u64,
    },
    /// A fork extends the header that a fork which is not scheduled should have extended first.
    #[error("fork {later} is scheduled, but fork {earlier}, which it builds on, is not")]
    Missing {
        /// The fork that is not scheduled.
        earlier: &'static str,
        /// The fork that is.
        later: &'static str,
    },
    /// A fork changes the blob schedule and nobody says to what.
    #[error("fork {0} is scheduled, but blobSchedule has no entry for it")]
    NoBlobParams(&'static str),
    /// Blob parameters that no block could follow.
    #[error("blobSchedule of fork {0} needs target <= max and a baseFeeUpdateFraction above zero")]
    BlobParams(&'static str),
}

impl ScheduleError {
    /// Whose fault it was: this node was configured wrongly.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// The forks that extend the header, each building on the one before.
const HEADER_FORKS: [Fork; 5] =
    [Fork::London, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Amsterdam];

/// Forks whose times must ascend. A BPO fork may fall on either side of Amsterdam (EIP-7892).
const ORDERED: [&[Fork]; 2] = [
    &[Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka, Fork::Amsterdam, Fork::Bogota],
    &[Fork::Osaka, Fork::Bpo1, Fork::Bpo2, Fork::Bpo3, Fork::Bpo4, Fork::Bpo5],
];

/// Forks that set blob parameters, the latest first. Osaka and Amsterdam inherit (EIP-7892).
const BLOB_FORKS: [Fork; 7] =
    [Fork::Bpo5, Fork::Bpo4, Fork::Bpo3, Fork::Bpo2, Fork::Bpo1, Fork::Prague, Fork::Cancun];

impl ChainSpec {
    /// The chain's name: a preset's, or `chain N` for a genesis file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The chain id (EIP-155), which is also the devp2p network id.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The genesis block's header.
    pub const fn genesis(&self) -> &Arc<SealedHeader> {
        &self.genesis
    }

    /// What is odd about the genesis file but can be lived with; empty for presets.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether transactions with access lists (EIP-2930) are known at this height.
    pub fn is_berlin(&self, number: u64) -> bool {
        self.schedule.is_active(Fork::Berlin, number, 0)
    }

    /// Whether blocks of this height have a base fee (EIP-1559).
    pub fn is_london(&self, number: u64) -> bool {
        self.schedule.is_active(Fork::London, number, 0)
    }

    /// Whether blocks of this timestamp have withdrawals (EIP-4895).
    pub fn is_shanghai(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Shanghai, timestamp)
    }

    /// Whether blocks of this timestamp have blobs and a beacon root (EIP-4844, EIP-4788).
    pub fn is_cancun(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Cancun, timestamp)
    }

    /// Whether blocks of this timestamp have execution requests (EIP-7685).
    pub fn is_prague(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Prague, timestamp)
    }

    /// Whether blocks of this timestamp follow Osaka (EIP-7607).
    pub fn is_osaka(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Osaka, timestamp)
    }

    /// Whether blocks of this timestamp have access lists and slot numbers (EIP-7928, EIP-7843).
    pub fn is_amsterdam(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Amsterdam, timestamp)
    }

    /// Whether blocks of this timestamp follow Bogota (EIP-8081).
    pub fn is_bogota(&self, timestamp: u64) -> bool {
        self.is_timed_active(Fork::Bogota, timestamp)
    }

    fn is_timed_active(&self, fork: Fork, timestamp: u64) -> bool {
        self.schedule.is_active(fork, 0, timestamp)
    }

    /// Whether no block but genesis may carry proof of work: the genesis block's own difficulty
    /// already reaches the terminal one (EIP-3675).
    pub fn is_merged_from_genesis(&self) -> bool {
        self.schedule
            .terminal_total_difficulty
            .is_some_and(|terminal| terminal <= self.genesis.difficulty)
    }

    /// The blob parameters for a block of this timestamp; `None` before Cancun (EIP-7840).
    pub fn blob_params(&self, timestamp: u64) -> Option<BlobParams> {
        let params = BLOB_FORKS
            .into_iter()
            .filter(|fork| self.is_timed_active(*fork, timestamp))
            .find_map(|fork| self.blobs.get(&fork))?;
        // EIP-7918 sets a reserve price from Osaka on, whichever fork the numbers come from.
        let base_cost = if self.is_osaka(timestamp) { BLOB_BASE_COST } else { 0 };
        Some(params.with_blob_base_cost(base_cost))
    }

    /// Moves a fork to another time, in seconds; geth's `--override.NAME`. The caller moves all it
    /// wants to move, then asks [`Self::check_schedule`].
    pub fn override_fork_time(&mut self, fork: &str, time: u64) -> Result<(), OverrideError> {
        let Some(fork) = Fork::from_name(fork) else {
            let timed = Fork::ALL.into_iter().filter(|fork| fork.is_timed()).map(Fork::name);
            let timed = timed.collect::<Vec<_>>().join(", ");
            return Err(OverrideError::UnknownFork(fork.to_owned(), timed));
        };
        if !fork.is_timed() {
            return Err(OverrideError::NotTimed(fork.name()));
        }
        let genesis_time = self.genesis.timestamp;
        let was_live = self.is_timed_active(fork, genesis_time);
        if fork.extends_header() && was_live != (time <= genesis_time) {
            return Err(OverrideError::ChangesGenesis(fork.name()));
        }
        self.schedule.forks.insert(fork, Activation::Time(time));
        Ok(())
    }

    /// Whether the schedule can be followed: forks in order, none left out that a later one builds
    /// on, blob parameters for each fork that changes them (EIP-7840, EIP-7892).
    pub fn check_schedule(&self) -> Result<(), ScheduleError> {
        for line in ORDERED {
            let mut timed =
                line.iter().filter_map(|fork| Some((fork, self.schedule.time_of(*fork)?)));
            let Some((mut earlier, mut earlier_time)) = timed.next() else { continue };
            for (later, later_time) in timed {
                if later_time < earlier_time {
                    return Err(ScheduleError::Order {
                        earlier: earlier.name(),
                        earlier_time,
                        later: later.name(),
                        later_time,
                    });
                }
                (earlier, earlier_time) = (later, later_time);
            }
        }
        for (earlier, later) in HEADER_FORKS.iter().zip(HEADER_FORKS.iter().skip(1)) {
            if self.schedule.forks.contains_key(later) && !self.schedule.forks.contains_key(earlier)
            {
                return Err(ScheduleError::Missing {
                    earlier: earlier.name(),
                    later: later.name(),
                });
            }
        }
        self.check_blobs()
    }

    fn check_blobs(&self) -> Result<(), ScheduleError> {
        for fork in BLOB_FORKS {
            if self.schedule.time_of(fork).is_none() {
                continue;
            }
            let params = self.blobs.get(&fork).ok_or(ScheduleError::NoBlobParams(fork.name()))?;
            if params.update_fraction == 0 || params.target_blob_count > params.max_blob_count {
                return Err(ScheduleError::BlobParams(fork.name()));
            }
        }
        Ok(())
    }

    /// The fork id to announce with this head (EIP-2124, EIP-6122).
    pub fn fork_id(&self, head_number: u64, head_timestamp: u64) -> ForkId {
        let head = Head { number: head_number, timestamp: head_timestamp, ..Head::default() };
        self.fork_filter(head).current()
    }

    /// Judges the fork ids of others as seen from this head (EIP-2124). Only the head's number and
    /// timestamp matter.
    pub fn fork_filter(&self, head: Head) -> ForkFilter {
        let keys = self.schedule.forks.values().map(|activation| match activation {
            Activation::Block(number) => ForkFilterKey::Block(*number),
            Activation::Time(time) => ForkFilterKey::Time(*time),
        });
        ForkFilter::new(head, self.genesis.hash(), self.genesis.timestamp, keys)
    }

    /// The total difficulty to announce in an eth/68 Status: the last proof-of-work block's where
    /// history knows it; otherwise the configured terminal one, and never less than genesis's own.
    pub fn terminal_total_difficulty(&self) -> U256 {
        self.final_total_difficulty.unwrap_or_else(|| {
            self.schedule.terminal_total_difficulty.unwrap_or_default().max(self.genesis.difficulty)
        })
    }

    /// Every scheduled fork by name, in the order of the schedule.
    pub fn fork_schedule(&self) -> impl Iterator<Item = (&'static str, Activation)> + '_ {
        self.schedule.forks.iter().map(|(fork, activation)| (fork.name(), *activation))
    }
}
