//! The flags of `dhih-index pairs`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dhih_index::Linkage;

use super::IndexArgs;

#[derive(Debug, Args)]
pub(crate) struct PairsArgs {
    #[command(flatten)]
    pub(crate) on: IndexArgs,
    /// Find pairs of items that differ in at most R bits
    #[arg(long, env = "DHIH_RADIUS", value_name = "R")]
    pub(crate) radius: u32,
    /// Find pairs of an item of INDEX and one of this index
    #[arg(long, env = "DHIH_PAIRS_AGAINST", value_name = "DIR", conflicts_with = "group")]
    pub(crate) against: Option<PathBuf>,
    /// Write groups of items in place of pairs; of each group the item with the least id is kept
    #[arg(long, env = "DHIH_GROUP", value_name = "LINKAGE", value_enum)]
    pub(crate) group: Option<GroupBy>,
    /// Memory for the search, as in 2GiB, 500MB or plain bytes; 64MiB at least [default: three quarters of what the machine has
    /// available]
    #[arg(long, env = "DHIH_MEMORY", value_name = "SIZE", value_parser = super::bytes)]
    pub(crate) memory: Option<u64>,
    /// File to write: .parquet, .jsonl or .csv
    #[arg(long, env = "DHIH_PAIRS_OUT", value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// When items are one group.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum GroupBy {
    /// The kept item and those within the radius of it, in the order of their ids
    Stars,
    /// Items that a chain of pairs connects; its ends may be far apart
    Components,
    /// Items that are all within the radius of each other
    Complete,
}

impl From<GroupBy> for Linkage {
    fn from(by: GroupBy) -> Self {
        match by {
            GroupBy::Stars => Self::Stars,
            GroupBy::Components => Self::Components,
            GroupBy::Complete => Self::Complete,
        }
    }
}
