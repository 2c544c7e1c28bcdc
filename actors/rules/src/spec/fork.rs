//! The forks of Ethereum, as geth's genesis files name them.

use std::fmt;

use alloy_genesis::ChainConfig;
use alloy_hardforks::{EthereumHardfork, ForkCondition};
use alloy_primitives::U256;

use super::GenesisError;

/// A fork that enters the fork id (EIP-2124, EIP-6122), in the order of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// EIP-606.
    Homestead,
    /// The DAO fork, EIP-779.
    Dao,
    /// Tangerine Whistle, EIP-608.
    Eip150,
    /// Replay protection, the first half of Spurious Dragon, EIP-607.
    Eip155,
    /// State clearing, the second half of Spurious Dragon, EIP-607.
    Eip158,
    /// EIP-609.
    Byzantium,
    /// EIP-1013.
    Constantinople,
    /// EIP-1716.
    Petersburg,
    /// EIP-1679.
    Istanbul,
    /// EIP-2387.
    MuirGlacier,
    /// Typed transactions, EIP-2718 and EIP-2930.
    Berlin,
    /// The base fee, EIP-1559.
    London,
    /// EIP-4345.
    ArrowGlacier,
    /// EIP-5133.
    GrayGlacier,
    /// Not a change of rules: the height at which unmerged nodes are told apart (EIP-3675).
    MergeNetsplit,
    /// Withdrawals, EIP-4895.
    Shanghai,
    /// Blobs, EIP-7569.
    Cancun,
    /// Execution requests, EIP-7600.
    Prague,
    /// EIP-7607.
    Osaka,
    /// First fork of blob parameters only, EIP-7892.
    Bpo1,
    /// Second fork of blob parameters only.
    Bpo2,
    /// Third fork of blob parameters only.
    Bpo3,
    /// Fourth fork of blob parameters only.
    Bpo4,
    /// Fifth fork of blob parameters only.
    Bpo5,
    /// Block access lists, EIP-7773.
    Amsterdam,
    /// EIP-8081.
    Bogota,
    /// The unified binary trie, EIP-7864.
    Ubt,
}

impl Fork {
    /// Every fork, in the order of the schedule.
    pub const ALL: [Self; 27] = [
        Self::Homestead,
        Self::Dao,
        Self::Eip150,
        Self::Eip155,
        Self::Eip158,
        Self::Byzantium,
        Self::Constantinople,
        Self::Petersburg,
        Self::Istanbul,
        Self::MuirGlacier,
        Self::Berlin,
        Self::London,
        Self::ArrowGlacier,
        Self::GrayGlacier,
        Self::MergeNetsplit,
        Self::Shanghai,
        Self::Cancun,
        Self::Prague,
        Self::Osaka,
        Self::Bpo1,
        Self::Bpo2,
        Self::Bpo3,
        Self::Bpo4,
        Self::Bpo5,
        Self::Amsterdam,
        Self::Bogota,
        Self::Ubt,
    ];

    /// The fork's name as in geth's genesis files and `--override.` flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Homestead => "homestead",
            Self::Dao => "daoFork",
            Self::Eip150 => "eip150",
            Self::Eip155 => "eip155",
            Self::Eip158 => "eip158",
            Self::Byzantium => "byzantium",
            Self::Constantinople => "constantinople",
            Self::Petersburg => "petersburg",
            Self::Istanbul => "istanbul",
            Self::MuirGlacier => "muirGlacier",
            Self::Berlin => "berlin",
            Self::London => "london",
            Self::ArrowGlacier => "arrowGlacier",
            Self::GrayGlacier => "grayGlacier",
            Self::MergeNetsplit => "mergeNetsplit",
            Self::Shanghai => "shanghai",
            Self::Cancun => "cancun",
            Self::Prague => "prague",
            Self::Osaka => "osaka",
            Self::Bpo1 => "bpo1",
            Self::Bpo2 => "bpo2",
            Self::Bpo3 => "bpo3",
            Self::Bpo4 => "bpo4",
            Self::Bpo5 => "bpo5",
            Self::Amsterdam => "amsterdam",
            Self::Bogota => "bogota",
            Self::Ubt => "ubt",
        }
    }

    /// Finds a fork by its name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fork| fork.name().eq_ignore_ascii_case(name))
    }

    /// Whether the fork is scheduled by timestamp (from Shanghai on) and not by height.
    pub fn is_timed(self) -> bool {
        self >= Self::Shanghai
    }

    /// Whether the fork adds fields to the header, so that being in force at genesis changes the
    /// genesis hash.
    pub(crate) const fn extends_header(self) -> bool {
        matches!(
            self,
            Self::London | Self::Shanghai | Self::Cancun | Self::Prague | Self::Amsterdam
        )
    }

    /// The forks that one of alloy's stands for; Tangerine Whistle and Spurious Dragon go by the
    /// numbers of their EIPs.
    const fn of_hardfork(fork: EthereumHardfork) -> &'static [Self] {
        match fork {
            EthereumHardfork::Homestead => &[Self::Homestead],
            EthereumHardfork::Dao => &[Self::Dao],
            EthereumHardfork::Tangerine => &[Self::Eip150],
            EthereumHardfork::SpuriousDragon => &[Self::Eip155, Self::Eip158],
            EthereumHardfork::Byzantium => &[Self::Byzantium],
            EthereumHardfork::Constantinople => &[Self::Constantinople],
            EthereumHardfork::Petersburg => &[Self::Petersburg],
            EthereumHardfork::Istanbul => &[Self::Istanbul],
            EthereumHardfork::MuirGlacier => &[Self::MuirGlacier],
            EthereumHardfork::Berlin => &[Self::Berlin],
            EthereumHardfork::London => &[Self::London],
            EthereumHardfork::ArrowGlacier => &[Self::ArrowGlacier],
            EthereumHardfork::GrayGlacier => &[Self::GrayGlacier],
            EthereumHardfork::Paris => &[Self::MergeNetsplit],
            EthereumHardfork::Shanghai => &[Self::Shanghai],
            EthereumHardfork::Cancun => &[Self::Cancun],
            EthereumHardfork::Prague => &[Self::Prague],
            EthereumHardfork::Osaka => &[Self::Osaka],
            EthereumHardfork::Bpo1 => &[Self::Bpo1],
            EthereumHardfork::Bpo2 => &[Self::Bpo2],
            EthereumHardfork::Bpo3 => &[Self::Bpo3],
            EthereumHardfork::Bpo4 => &[Self::Bpo4],
            EthereumHardfork::Bpo5 => &[Self::Bpo5],
            EthereumHardfork::Amsterdam => &[Self::Amsterdam],
            EthereumHardfork::Bogota => &[Self::Bogota],
            _ => &[],
        }
    }
}

/// When a fork takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activation {
    /// From this height on.
    Block(u64),
    /// From this timestamp on, in seconds since 1970.
    Time(u64),
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(number) => write!(f, "block {number}"),
            Self::Time(time) => write!(f, "time {time}"),
        }
    }
}

/// When each fork takes effect; a fork without an entry never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) forks: std::collections::BTreeMap<Fork, Activation>,
    /// The total difficulty at which proof of work ended; `None` where it never does.
    pub(crate) terminal_total_difficulty: Option<U256>,
}

impl Schedule {
    /// Reads one of alloy's schedules.
    pub(crate) fn from_hardforks(
        hardforks: impl IntoIterator<Item = (EthereumHardfork, ForkCondition)>,
    ) -> Self {
        let mut schedule = Self::default();
        for (hardfork, condition) in hardforks {
            let activation = match condition {
                ForkCondition::Block(number) => Some(Activation::Block(number)),
                ForkCondition::Timestamp(time) => Some(Activation::Time(time)),
                ForkCondition::TTD { total_difficulty, fork_block, .. } => {
                    schedule.terminal_total_difficulty = Some(total_difficulty);
                    fork_block.map(Activation::Block)
                }
                ForkCondition::Never => None,
            };
            let Some(activation) = activation else { continue };
            for fork in Fork::of_hardfork(hardfork) {
                schedule.forks.insert(*fork, activation);
            }
        }
        schedule
    }

    /// Reads the `config` object of a genesis file.
    pub(crate) fn from_config(config: &ChainConfig) -> Result<Self, GenesisError> {
        let ubt_time = config
            .extra_fields
            .get_deserialized::<u64>("ubtTime")
            .transpose()
            .map_err(|error| GenesisError::Json(format!("ubtTime: {error}")))?;
        let blocks = [
            (Fork::Homestead, config.homestead_block),
            (Fork::Dao, config.dao_fork_block),
            (Fork::Eip150, config.eip150_block),
            (Fork::Eip155, config.eip155_block),
            (Fork::Eip158, config.eip158_block),
            (Fork::Byzantium, config.byzantium_block),
            (Fork::Constantinople, config.constantinople_block),
            (Fork::Petersburg, config.petersburg_block),
            (Fork::Istanbul, config.istanbul_block),
            (Fork::MuirGlacier, config.muir_glacier_block),
            (Fork::Berlin, config.berlin_block),
            (Fork::London, config.london_block),
            (Fork::ArrowGlacier, config.arrow_glacier_block),
            (Fork::GrayGlacier, config.gray_glacier_block),
            (Fork::MergeNetsplit, config.merge_netsplit_block),
        ];
        let times = [
            (Fork::Shanghai, config.shanghai_time),
            (Fork::Cancun, config.cancun_time),
            (Fork::Prague, config.prague_time),
            (Fork::Osaka, config.osaka_time),
            (Fork::Bpo1, config.bpo1_time),
            (Fork::Bpo2, config.bpo2_time),
            (Fork::Bpo3, config.bpo3_time),
            (Fork::Bpo4, config.bpo4_time),
            (Fork::Bpo5, config.bpo5_time),
            (Fork::Amsterdam, config.amsterdam_time),
            (Fork::Bogota, config.bogota_time),
            (Fork::Ubt, ubt_time),
        ];
        let blocks = blocks.map(|(fork, at)| (fork, at.map(Activation::Block)));
        let times = times.map(|(fork, at)| (fork, at.map(Activation::Time)));
        Ok(Self {
            forks: blocks
                .into_iter()
                .chain(times)
                .filter_map(|(fork, at)| at.map(|at| (fork, at)))
                .collect(),
            terminal_total_difficulty: config.terminal_total_difficulty,
        })
    }

    /// Whether the fork is in force in a block of this height and timestamp.
    pub(crate) fn is_active(&self, fork: Fork, number: u64, timestamp: u64) -> bool {
        match self.forks.get(&fork) {
            Some(Activation::Block(from)) => number >= *from,
            Some(Activation::Time(from)) => timestamp >= *from,
            None => false,
        }
    }

    /// The timestamp of a fork that has one.
    pub(crate) fn time_of(&self, fork: Fork) -> Option<u64> {
        match self.forks.get(&fork) {
            Some(Activation::Time(time)) => Some(*time),
            _ => None,
        }
    }
}
