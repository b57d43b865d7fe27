//! A merge of some components into one segment, on whatever thread it runs. `compaction.rs` decides which components are merged, and
//! installs the segment.

use std::thread::JoinHandle;
use std::time::Instant;

use crate::build::layout::{SegmentSpec, Substrings};
use crate::build::{IndexConfig, write_segment_of_stream};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::Component;
use crate::index::merged::Merged;
use crate::index::verify::check_sources;
use crate::progress::{Listener, Reporter};
use crate::store::format::Origin;
use crate::store::manifest::Entry;
use crate::table::substring::{self, Substring};

/// The number of items at which the memtable becomes a segment. This many are scanned in the time of a few look-ups.
pub(super) const MEMTABLE: usize = 1 << 16;
/// The default limit of the memory of a merge, in bytes.
const MEMORY: u64 = 1 << 30;

/// A merge that runs in the background.
#[derive(Debug)]
pub(super) struct Merge {
    /// The components that it reads, as they were when it began.
    pub(super) inputs: Vec<Component>,
    pub(super) thread: JoinHandle<Result<Option<Entry>>>,
}

/// A merge that failed. No item is lost by it, and it is tried again.
#[derive(Debug)]
pub(super) struct MergeFailure {
    pub(super) error: Error,
    /// Merges that failed since one succeeded.
    pub(super) times: u32,
    pub(super) at: Instant,
}

/// A merge, on whatever thread it runs.
pub(super) struct MergeJob {
    pub(super) index: Index,
    pub(super) inputs: Vec<Component>,
    /// Whether a segment is written even where no item is left.
    pub(super) must_write: bool,
    pub(super) config: IndexConfig,
    pub(super) origin: Origin,
    pub(super) listener: Option<Listener>,
}

impl MergeJob {
    /// Writes the segment; `None` where no item is left and none has to be written.
    pub(super) fn run(&self) -> Result<Option<Entry>> {
        let items: usize = self.inputs.iter().map(Component::len).sum();
        if items == 0 && !self.must_write {
            return Ok(None);
        }
        check_sources(&self.inputs)?;
        let shape = self.index.shape();
        let spec = SegmentSpec {
            shape,
            metadata: self.index.metadata.to_json()?,
            rows: items,
            substrings: self.substrings(items)?,
            memory: Some(self.config.memory.unwrap_or(MEMORY)),
            origin: self.origin,
        };
        let mut rows = Merged::new(shape, &self.inputs);
        let reporter = Reporter::new(self.listener.clone());
        write_segment_of_stream(&spec, &mut rows, &self.index.dir, &reporter).map(Some)
    }

    /// The substrings of the largest input, unless `items` items need another number or another length of substrings. A number that the
    /// user set when that input was built is kept.
    fn substrings(&self, items: usize) -> Result<Substrings> {
        let segments = self.inputs.iter().filter_map(Component::segment);
        let largest = segments.max_by_key(|segment| segment.rows);
        let largest = largest.filter(|segment| segment.table_count() > 0);
        let Some(largest) = largest.filter(|_| self.config.substrings.is_none()) else {
            return Ok(Substrings::Choose(self.config.substrings));
        };
        let suitable = |rows: usize| -> Result<Vec<u32>> {
            let chosen = substring::choose_by_sample(largest.bits, rows, &[], None)?;
            Ok(chosen.iter().map(Substring::bits).collect())
        };
        let (before, now) = (suitable(largest.rows)?, suitable(items)?);
        let count = largest.table_count();
        Ok(match (before == now, before.len() == count) {
            (true, _) => Substrings::Keep(largest.substrings().cloned().collect()),
            (false, true) => Substrings::Choose(None),
            (false, false) => Substrings::Choose(Some(count as u32)),
        })
    }
}
