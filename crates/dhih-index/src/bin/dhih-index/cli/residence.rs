//! The flags of where an index is while it is searched, in `search` and `bench`.

use std::path::Path;

use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_index::{Index, OpenOptions};

/// Where an index is while it is searched.
#[derive(Debug, Args)]
pub(crate) struct ResidenceArgs {
    /// Read the index into memory first, on large pages: opening takes longer, searches less time
    #[arg(long, env = "DHIH_IN_MEMORY", value_parser = FalseyValueParser::new())]
    in_memory: bool,
    /// For an index that is larger than memory: read no more of it than is needed, and ask for many pages at a time
    #[arg(long, env = "DHIH_ON_DISK", value_parser = FalseyValueParser::new(), conflicts_with = "in_memory")]
    on_disk: bool,
}

impl ResidenceArgs {
    /// Opens an index.
    pub(crate) fn open(&self, dir: &Path) -> dhih_index::Result<Index> {
        OpenOptions::new().huge_pages(self.in_memory).on_disk(self.on_disk).open(dir)
    }
}
